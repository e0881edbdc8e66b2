"""What a guest's thread waits for a processor does not count as the guest's time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from virtproof.vmm import allowance
from virtproof.vmm.allowance import STRETCH, Allowance, of_this_thread
from virtproof.vmm.watchdog import Guard, Watchdog

PATIENCE = 20.0


class Machine:
    """Time that passes by hand, and what each thread has waited."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits = {"1": 7.0, "2": 3.0}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(allowance, "monotonic", lambda: made.now)
    monkeypatch.setattr(Allowance, "_waits", lambda self: dict(made.waits))
    return made


def test_on_an_idle_machine_it_is_the_seconds_asked_for(machine: Machine) -> None:
    whole = Allowance(2)
    assert whole.left() == 2
    machine.now += 1.5
    assert whole.left() == 0.5
    machine.now += 0.5
    assert whole.left() <= 0


def test_what_the_most_patient_thread_waits_is_added(machine: Machine) -> None:
    whole = Allowance(2)
    machine.now += 6
    machine.waits |= {"1": 8.0, "2": 8.0, "3": 1.0}  # 1, 5 and 1 second more than before
    assert whole.left() == 1
    machine.now += 1
    assert whole.left() <= 0


def test_a_thread_that_has_ended_does_not_count(machine: Machine) -> None:
    whole = Allowance(2)
    machine.now += 2
    machine.waits.clear()
    assert whole.left() <= 0


def test_it_is_used_up_at_last_however_long_threads_wait(machine: Machine) -> None:
    whole = Allowance(2)
    machine.now += 2 * STRETCH
    machine.waits["1"] += 1000
    assert whole.left() <= 0


def told(thread: int) -> float:
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9


@pytest.mark.parametrize("make", [of_this_thread, Allowance, lambda seconds: Allowance(seconds, pid=os.getpid())])
def test_the_kernel_tells_how_long_a_thread_waited(make: Callable[[float], Allowance]) -> None:
    thread = threading.get_native_id()
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel does not tell how long threads wait (CONFIG_SCHED_INFO)")
    before = told(thread)
    waits = make(1)._waits()[str(thread)]
    assert before <= waits <= told(thread)


def test_nobody_knows_what_a_process_that_is_gone_waited() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert Allowance(0, pid=pid).left() <= 0


class Vcpu:
    def __init__(self) -> None:
        self.kicked = threading.Event()

    def kick(self) -> None:
        self.kicked.set()


class Asked(Allowance):
    """An allowance that is used up when it is asked for the third time."""

    def __init__(self) -> None:
        self.asked = 0

    def left(self) -> float:
        self.asked += 1
        return 0.001 if self.asked < 3 else 0.0


def test_the_watchdog_waits_until_the_allowance_is_used_up() -> None:
    vcpu, whole = Vcpu(), Asked()
    with Guard(Watchdog(), vcpu, 0, whole) as guarded:
        assert vcpu.kicked.wait(PATIENCE)
        assert guarded.expired
    assert whole.asked == 3
