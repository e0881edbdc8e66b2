"""Worker processes: whatever happens to one, the others and the parent go on, and nothing is left behind."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from tests.processes import children, descriptors
from tests.vmm.guests import machine
from virtproof.vmm import modes
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.worker import WorkerDied, WorkerPool, WorkerRaised, WorkerTimedOut

SECONDS = 60.0


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    colour: Colour = Colour.RED


class Evil:
    """Pickles as a call of a function, which would end whoever calls it."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (1,)


def work(item: Any) -> Any:
    match item:
        case int():
            return Answer(item * item)
        case "pid":
            return os.getpid()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            faulthandler.disable()  # pytest has it print a stack
            os.abort()
        case "exit":
            os._exit(7)
        case "hang":
            signal.pause()
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise ValueError("three is right out")
        case "evil":
            return Evil()
        case "big":
            return bytes(3 << 20)
    return None


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    opened, processes = descriptors(), children()
    yield
    assert descriptors() == opened
    assert children() <= processes


def run(items: list[Any], *, workers: int = 2, seconds: float = SECONDS) -> dict[Any, Any]:
    with WorkerPool(work, workers) as pool:
        return dict(pool.map(items, seconds))


def test_every_item_is_answered_by_value() -> None:
    assert run(list(range(20))) == {n: Answer(n * n) for n in range(20)}


def test_a_large_answer_arrives_whole() -> None:
    assert run(["big"]) == {"big": bytes(3 << 20)}


def test_one_worker_serves_many_items_and_two_maps() -> None:
    with WorkerPool(work, 1) as pool:
        pids = {answer for _, answer in [*pool.map(["pid"] * 3, SECONDS), *pool.map(["pid"], SECONDS)]}
    assert len(pids) == 1
    assert os.getpid() not in pids


@pytest.mark.parametrize(
    ("item", "how"),
    [("die", "was killed by SIGKILL"), ("abort", "was killed by SIGABRT"), ("exit", "exited with status 7")],
)
def test_a_dead_worker_costs_its_item_only(item: str, how: str) -> None:
    assert run([1, item, 2, 3], workers=1) == {
        1: Answer(1),
        item: WorkerDied(how),
        2: Answer(4),
        3: Answer(9),
    }


def test_a_worker_killed_from_outside_costs_its_item_only() -> None:
    with WorkerPool(work, 1) as pool:
        pid: Any = dict(pool.map(["pid"], SECONDS))["pid"]
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert dict(pool.map([1], SECONDS)) == {1: WorkerDied("was killed by SIGKILL")}
        assert dict(pool.map([2], SECONDS)) == {2: Answer(4)}


@pytest.mark.parametrize("item", ["hang", "stop"])
def test_a_worker_that_does_not_answer_is_killed(item: str) -> None:
    assert run([item, 2], workers=1, seconds=0.5) == {item: WorkerTimedOut(0.5), 2: Answer(4)}


def test_an_exception_comes_back_as_text_and_the_worker_lives_on() -> None:
    with WorkerPool(work, 1) as pool:
        answers = [answer for _, answer in pool.map(["pid", "raise", "pid"], SECONDS)]
    first, raised, last = answers
    assert isinstance(raised, WorkerRaised)
    assert raised.how == "raised ValueError: three is right out"
    assert "in work" in raised.traceback
    assert first == last


def test_an_answer_that_is_no_plain_value_is_refused() -> None:
    answer = run(["evil"])["evil"]
    assert isinstance(answer, WorkerDied)
    assert "posix._exit is no plain value" in answer.how


@pytest.mark.kvm
def test_a_stuck_guest_costs_itself_only(engine: KvmEngine) -> None:
    def boot(code: bytes) -> str:
        with machine(engine, modes.real16, code) as guest:
            return str(guest.run(SECONDS * 10))

    with WorkerPool(boot, 1) as pool:
        halts, loops = b"\xf4", b"\xeb\xfe"
        assert list(pool.map([halts, loops, halts], 2.0)) == [
            (halts, "halted (HLT)"),
            (loops, WorkerTimedOut(2.0)),
            (halts, "halted (HLT)"),
        ]


def test_answers_come_in_order_of_completion() -> None:
    """The first item waits until we have seen the answers to the others."""
    reader, writer = os.pipe()

    def wait_or_work(item: Any) -> Any:
        return os.read(reader, 1) and work(item) if item == 0 else work(item)

    order = []
    with WorkerPool(wait_or_work, 2) as pool:
        for item, _ in pool.map([0, 1, 2], SECONDS):
            order.append(item)
            if len(order) == 2:
                os.write(writer, b"x")
    assert order == [1, 2, 0]
    os.close(reader)
    os.close(writer)


def test_leaving_early_kills_the_busy_workers() -> None:
    with WorkerPool(work, 2) as pool:
        answers = pool.map([1, "hang", "hang"], SECONDS)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert dict(pool.map([2], SECONDS)) == {2: Answer(4)}


def test_ctrl_c_propagates_and_every_worker_is_reaped() -> None:
    def interrupt(item: Any) -> Any:
        if item == 1:  # not both: a second ctrl-C while the first is handled is another story
            os.kill(os.getppid(), signal.SIGINT)
        return work("hang")

    with pytest.raises(KeyboardInterrupt), WorkerPool(interrupt, 2) as pool:
        list(pool.map([1, 2], SECONDS))


def test_ctrl_c_during_a_fork_loses_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork

    def interrupted_fork() -> int:
        signal.raise_signal(signal.SIGINT)
        return fork()

    monkeypatch.setattr(os, "fork", interrupted_fork)
    with pytest.raises(KeyboardInterrupt), WorkerPool(work, 2) as pool:
        list(pool.map([1, 2], SECONDS))


def test_a_worker_ignores_the_ctrl_c_that_reaches_its_group() -> None:
    def interrupted(item: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return item

    with WorkerPool(interrupted, 1) as pool:
        assert list(pool.map([1], SECONDS)) == [(1, 1)]


def test_a_worker_dies_with_its_parent() -> None:
    """A process that has a worker is killed; the worker's end of a pipe then closes."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            pool = WorkerPool(work, 1)
            next(pool.map(["pid"], SECONDS))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    os.waitpid(pid, 0)
    signal.alarm(int(SECONDS))
    assert os.read(reader, 1) == b""  # end of file: nobody has the other end any more
    signal.alarm(0)
    os.close(reader)
