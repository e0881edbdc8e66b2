import signal
from collections.abc import Iterator

import pytest

from virtproof.cli.stop import StopRequest


class Steps:
    """Steps that note whether their source was closed, and that can be interrupted in the middle of one."""

    def __init__(self, *, interrupt_at: int | None = None) -> None:
        self.closed = False
        self.interrupt_at = interrupt_at

    def __call__(self) -> Iterator[int]:
        try:
            for number in range(1, 4):
                if number == self.interrupt_at:
                    signal.raise_signal(signal.SIGINT)
                yield number
        finally:
            self.closed = True


def test_nobody_asks_and_all_steps_are_done() -> None:
    steps = Steps()
    with StopRequest() as stop:
        assert list(stop.until_asked(steps())) == [1, 2, 3]
    assert steps.closed
    assert not stop.asked


def test_a_request_in_the_middle_of_a_step_ends_it() -> None:
    steps = Steps(interrupt_at=2)
    with StopRequest() as stop:
        assert list(stop.until_asked(steps())) == [1]
    assert steps.closed
    assert stop.asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_between_steps_ends_them(number: signal.Signals) -> None:
    steps = Steps()
    seen = []
    with StopRequest() as stop:
        for step in stop.until_asked(steps()):
            seen.append(step)
            signal.raise_signal(number)
    assert seen == [1]
    assert steps.closed


def test_a_request_before_the_first_step_prevents_it() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert list(stop.until_asked(Steps()())) == []


def test_a_request_after_the_steps_is_remembered_and_tears_nothing_apart() -> None:
    with StopRequest() as stop:
        list(stop.until_asked(Steps()()))
        signal.raise_signal(signal.SIGINT)
        written = True
    assert written
    assert stop.asked


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
