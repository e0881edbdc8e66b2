"""The watchdog kicks what is guarded, when it is due, and only then."""

from __future__ import annotations

import os
import threading

from tests.processes import new_threads
from virtproof.vmm.watchdog import Guard, Watchdog, guard

PATIENCE = 60.0


class Vcpu:
    """Counts kicks; ``enough`` is set by the kick that makes ``wanted``."""

    def __init__(self, wanted: int = 1) -> None:
        self.kicks = 0
        self.wanted = wanted
        self.enough = threading.Event()

    def kick(self) -> None:
        self.kicks += 1
        if self.kicks == self.wanted:
            self.enough.set()


def test_a_vcpu_past_its_deadline_is_kicked_again_and_again() -> None:
    vcpu = Vcpu(wanted=3)
    with guard(vcpu, 0) as guarded:
        assert vcpu.enough.wait(PATIENCE)
        assert guarded.expired


def test_a_vcpu_that_comes_back_in_time_is_left_alone() -> None:
    early, late = Vcpu(), Vcpu()
    with guard(early, PATIENCE * 10) as guarded:
        pass
    with guard(late, 0):
        assert late.enough.wait(PATIENCE)
    assert early.kicks == 0
    assert not guarded.expired


def test_a_shorter_deadline_wakes_a_thread_that_sleeps_for_a_longer_one() -> None:
    slow, quick = Vcpu(), Vcpu()
    with guard(slow, PATIENCE * 10), guard(quick, 0):
        assert quick.enough.wait(PATIENCE)
    assert slow.kicks == 0


def test_nothing_is_kicked_after_its_guard() -> None:
    vcpu, other = Vcpu(), Vcpu(wanted=5)
    with guard(vcpu, 0):
        assert vcpu.enough.wait(PATIENCE)
    after = vcpu.kicks
    with guard(other, 0):
        assert other.enough.wait(PATIENCE)
    assert vcpu.kicks == after


def test_one_thread_serves_every_guard() -> None:
    watchdog = Watchdog()
    before = set(threading.enumerate())
    vcpus = [Vcpu() for _ in range(8)]
    for vcpu in vcpus:
        with Guard(watchdog, vcpu, 0):
            assert vcpu.enough.wait(PATIENCE)
    assert new_threads(before) == ["watchdog"]


def test_a_forked_child_has_a_watchdog_of_its_own() -> None:
    with guard(Vcpu(), 0):
        pid = os.fork()
        if pid == 0:
            vcpu = Vcpu()
            with guard(vcpu, 0):
                os._exit(0 if vcpu.enough.wait(PATIENCE) else 1)
    assert os.waitpid(pid, 0)[1] == 0
