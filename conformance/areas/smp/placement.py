"""A vCPU runs where and how the monitor says: started by KVM_SET_MP_STATE, moved from one processor of the host to another.

The numbers are what the test of that name in guest_payloads/startup.c or pingpong.c observes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable

from virtproof.conformance.case import At, Case, HostScript, Program
from virtproof.conformance.guest import Inapplicable, check_program
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode, start_state
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm.exits import MpStateValue
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

LONG64 = Mode.LONG64
CITE = (linux("virt/kvm/api.rst", "KVM_SET_MP_STATE"),)
RUN = (linux("virt/kvm/api.rst", "KVM_RUN"),)
STACK = 4096  # bytes, of each further processor: library/smp.c


def _runnable(engine: Engine) -> Iterable[Check]:
    """The second vCPU is given registers and made runnable before the first one runs; it never saw INIT or SIPI."""
    if not engine.kernel_irqchip:
        raise Inapplicable("the interrupt controllers are the monitor's own, KVM knows nothing of them")
    image = images.load("startup")

    def furnish(machine: Machine) -> None:
        second = machine.vcpus[1]
        second.set_special_registers(start_state(LONG64, image, second.special_registers()))
        second.set_registers(Registers(rip=image["second_entry"], rsp=image["ap_stacks"] + STACK))
        second.set_mp_state(MpStateValue.RUNNABLE)

    guest = Program(
        id="smp.mp_set", title="", area="smp", mode=LONG64, cite=CITE, image="startup", vcpus=2, irqchip=True,
        arguments=(At("made_runnable"),), observations=(1,), seconds=10.0,
    )  # fmt: skip
    return check_program(guest, engine, furnish=furnish)


def _migrates(engine: Engine) -> Iterable[Check]:
    """After each exit the vCPU goes on on the next processor of the host."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        raise Inapplicable("this process may use one processor only")
    places = itertools.cycle(sorted(allowed))

    def move(machine: Machine) -> None:
        os.sched_setaffinity(0, {next(places)})

    guest = Program(
        id="smp.migrate", title="", area="smp", mode=LONG64, cite=RUN, image="pingpong", irqchip=True,
        arguments=(At("general_registers"), 0x0123_4567_89AB_CDE1, 500), observations=(0,), seconds=20.0,
    )  # fmt: skip
    try:
        yield from check_program(guest, engine, calls={0: move})
    finally:
        os.sched_setaffinity(0, allowed)


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="smp.mp_set",  title="A vCPU that is made runnable runs from its registers", area="smp", mode=LONG64, cite=CITE, script=_runnable, seconds=10.0),
    HostScript(id="smp.migrate", title="A vCPU keeps its registers from processor to processor", area="smp", mode=LONG64, cite=RUN, script=_migrates, seconds=20.0),
)
# fmt: on
