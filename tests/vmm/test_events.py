"""The event loop: timers on a clock that stands still, readers on pipes."""

import os
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.processes import descriptors
from virtproof.vmm.events import CANCELLED_KEPT, EventLoop, ManualClock, MonotonicClock, Timer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000)


@pytest.fixture
def loop(clock: ManualClock) -> Iterator[EventLoop]:
    with EventLoop(clock) as loop:
        yield loop


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        with suppress(OSError):  # a test may have closed it
            os.close(fd)


def test_timers_run_in_order_and_once(loop: EventLoop, clock: ManualClock) -> None:
    seen: list[str] = []
    for name, ns in (("late", 30), ("early", 10), ("same, made later", 10), ("latest", 40)):
        loop.after(ns, lambda name=name: seen.append(name))  # type: ignore[misc]
    assert loop.next_deadline() == 1010
    loop.poll(0)
    assert seen == []
    clock.advance(30)
    loop.poll(0)
    assert seen == ["early", "same, made later", "late"]
    loop.poll(0)
    assert len(seen) == 3
    assert loop.next_deadline() == 1040


def test_a_cancelled_timer_never_runs(loop: EventLoop, clock: ManualClock) -> None:
    seen: list[int] = []
    second = loop.after(2, lambda: seen.append(2))
    loop.after(1, second.cancel)
    third = loop.after(3, lambda: seen.append(3))
    third.cancel()
    third.cancel()
    clock.advance(10)
    loop.poll(0)
    assert seen == []
    assert loop.next_deadline() is None


def test_cancelling_a_timer_that_ran_changes_nothing(loop: EventLoop) -> None:
    def cancel_itself() -> None:
        timer.cancel()

    timer: Timer = loop.after(0, cancel_itself)
    loop.poll(0)
    timer.cancel()
    assert not timer.pending
    assert loop._cancelled == 0


def test_a_timer_that_arms_itself_runs_once_a_poll(loop: EventLoop) -> None:
    runs: list[int] = []

    def again() -> None:
        runs.append(1)
        loop.after(0, again)

    loop.after(0, again)
    loop.poll(0)
    loop.poll(0)
    assert len(runs) == 2


def test_an_exception_loses_no_other_timer(loop: EventLoop, clock: ManualClock) -> None:
    seen: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    loop.after(1, fail)
    loop.after(2, lambda: seen.append(2))
    clock.advance(5)
    with pytest.raises(ZeroDivisionError):
        loop.poll(0)
    loop.poll(0)
    assert seen == [2]


def test_re_arming_for_ever_does_not_grow_the_heap(loop: EventLoop, clock: ManualClock) -> None:
    rng, due = random.Random(1), 0
    timers = []
    for _ in range(20_000):
        timers.append(loop.after(rng.randrange(1, 10**9), lambda: None))
        if len(timers) > 3:
            timers.pop(rng.randrange(len(timers))).cancel()
        due = max(due, len(loop._heap))
        if rng.random() < 0.01:
            clock.advance(rng.randrange(10**8))
            loop.poll(0)
    assert due <= 2 * CANCELLED_KEPT + 10
    clock.advance(10**9)
    loop.poll(0)
    assert loop.next_deadline() is None
    assert loop._cancelled == 0
    assert loop._heap == []


def test_a_reader_is_called_when_there_is_something_to_read(loop: EventLoop, pipe: tuple[int, int]) -> None:
    seen: list[bytes] = []
    loop.add_reader(pipe[0], lambda: seen.append(os.read(pipe[0], 10)))
    loop.poll(0)
    assert seen == []
    os.write(pipe[1], b"ab")
    loop.poll(10**9)
    assert seen == [b"ab"]
    os.close(pipe[1])
    loop.poll(10**9)
    assert seen == [b"ab", b""]  # hung up
    loop.remove_reader(pipe[0])
    loop.poll(0)
    assert len(seen) == 2


def test_a_reader_removed_by_another_is_not_called(loop: EventLoop) -> None:
    pipes = [os.pipe(), os.pipe()]
    seen: list[int] = []
    for n in (0, 1):
        os.write(pipes[n][1], b"x")

        def read(n: int = n) -> None:
            seen.append(n)
            loop.remove_reader(pipes[1 - n][0])

        loop.add_reader(pipes[n][0], read)
    loop.poll(0)
    assert len(seen) == 1
    for ends in pipes:
        os.close(ends[0])
        os.close(ends[1])


def test_one_descriptor_one_reader(loop: EventLoop, pipe: tuple[int, int]) -> None:
    loop.add_reader(pipe[0], lambda: None)
    with pytest.raises(ValueError, match="has a reader"):
        loop.add_reader(pipe[0], lambda: None)
    os.close(pipe[0])
    loop.remove_reader(pipe[0])
    loop.remove_reader(pipe[0])


def test_no_descriptor_is_opened_without_readers_and_none_stays_open(pipe: tuple[int, int]) -> None:
    before = descriptors()
    with EventLoop() as loop:
        loop.after(0, lambda: None)
        loop.poll(0)
        assert loop._epoll is None
        loop.add_reader(pipe[0], lambda: None)
        assert loop._epoll is not None
    assert descriptors() == before


def test_real_time_wakes_for_a_timer() -> None:
    with EventLoop(MonotonicClock()) as loop:
        seen: list[int] = []
        loop.after(1_000, lambda: seen.append(1))
        while not seen:
            loop.poll(10**9)
        assert seen == [1]
