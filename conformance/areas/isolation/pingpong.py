"""What one guest has in its registers another never sees, though both take turns on one processor of the host.

Two guests run the same program with different patterns, each on a thread of its own, bound to the same processor.  They
take turns: each sets its state, and hands over to the other in an exit; when it is its turn again, it compares.  State
that the host does not switch, or switches for one guest only, is found in the other.

The numbers are what the test of that name in guest_payloads/pingpong.c observes: rounds with a difference.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from virtproof.conformance.case import At, Case, HostScript, Program
from virtproof.conformance.guest import GuestStopped, run_program
from virtproof.guest_payloads.program import Ran
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite, apm, linux, sdm
from virtproof.spec.fault import Fault
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

PATTERNS = (0x0123_4567_89AB_CDE1, 0x0FED_CBA9_8765_4321)
ROUNDS, PATIENCE = 200, 10.0  # seconds that a guest waits for the other, which may have died
CITE = (
    sdm("3C", "VM Entries, 'Loading Guest State'"),
    apm(2, "Secure Virtual Machine, 'VMRUN Instruction'"),
    linux("virt/kvm/api.rst", "KVM_RUN"),
)


class Turns:
    """Two threads, one of which runs at a time; who is gone waits for nobody and keeps nobody waiting."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._turn = 0
        self._gone: set[int] = set()

    def hand_over(self, me: int) -> None:
        with self._changed:
            self._turn = 1 - me
            self._changed.notify_all()
        self.await_turn(me)

    def await_turn(self, me: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == me or 1 - me in self._gone, PATIENCE)

    def leave(self, me: int) -> None:
        with self._changed:
            self._gone.add(me)
            self._turn = 1 - me
            self._changed.notify_all()


def in_turns(programs: tuple[Program, Program], engine: Engine) -> tuple[Ran, Ran]:
    """Run two programs, each of which hands over to the other in its act 0.  Raises Fault where the engine fails."""
    turns, ran, failed = Turns(), dict[int, Ran](), list[BaseException]()
    processor = min(os.sched_getaffinity(0))

    def serve(me: int) -> None:
        def hand_over(machine: Machine) -> None:
            turns.hand_over(me)

        try:
            os.sched_setaffinity(0, {processor})  # this thread
            turns.await_turn(me)
            ran[me] = run_program(programs[me], engine, calls={0: hand_over})
        except BaseException as err:
            failed.append(err)
        finally:
            turns.leave(me)

    threads = [threading.Thread(target=serve, args=(me,), name=f"guest {me}", daemon=True) for me in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * (programs[0].seconds + PATIENCE))
    if failed:
        raise failed[0]
    if len(ran) < len(programs):
        raise Fault("run two guests in turns", "one did not come back", "see the kernel log (dmesg)")
    return ran[0], ran[1]


def _script(test: str, engine: Engine) -> Iterable[Check]:
    model = Program(
        id=test, title=test, area="isolation", mode=Mode.LONG64, cite=CITE, image="pingpong", irqchip=True,
        observations=(0,), seconds=20.0,
    )  # fmt: skip
    guests = [replace(model, arguments=(At(test), pattern, ROUNDS, n)) for n, pattern in enumerate(PATTERNS)]
    for n, ran in enumerate(in_turns((guests[0], guests[1]), engine), 1):
        if not ran.done:
            raise GuestStopped(f"guest {n}: {ran.end if ran.fault is None else f'exception {ran.fault}'}")
        wrong = ran.observations[0]
        yield Check(f"rounds of guest {n} with a difference", "0", str(wrong), wrong == 0)


def takes_turns(
    id: str,  # noqa: A002
    title: str,
    test: str,
    *cite: Cite,
    refs: tuple[str, ...] = (),
    requires: tuple[str, ...] = (),
    priority: int = 1,
) -> Case:
    return HostScript(
        id=id, title=title, area="isolation", mode=Mode.LONG64, cite=(*CITE, *cite), script=partial(_script, test),
        refs=refs, requires=requires, priority=priority, seconds=60.0,
    )  # fmt: skip


# fmt: off
CASES: tuple[Case, ...] = (
    takes_turns("iso.gpr_pingpong",  "General registers stay each guest's own",                "general_registers"),
    takes_turns("iso.xmm_pingpong",  "XMM registers stay each guest's own",                    "vector_registers"),
    takes_turns("iso.dr_pingpong",   "Debug registers stay each guest's own",                  "debug_registers"),
    takes_turns("iso.fsgs_pingpong", "FS, GS and SWAPGS bases stay each guest's own",          "bases"),
    takes_turns("iso.msr_pingpong",  "MSRs of system calls stay each guest's own",             "system_calls", refs=("msr.eff.star_ctxsw",)),
    takes_turns("iso.tlb_vpid",      "One address leads to each guest's own frame",            "translations"),
    takes_turns("iso.pcid_vm",       "... under the same PCID too",                            "same_pcid", requires=("pcid",), priority=2),
    takes_turns("iso.pkru",          "PKRU stays each guest's own",                            "protection_keys", requires=("pku",), priority=2),
    takes_turns("iso.cr8",           "CR8 stays each guest's own",                             "task_priority", priority=3),
)
# fmt: on
