"""HLT with interrupts on ends by an interrupt; the saved instruction pointer is behind it.  Ends by NMI: ipi.py.

With the kernel's interrupt controllers the vCPU waits inside KVM: KVM_GET_MP_STATE says so.  INIT ends that wait, and
the vCPU waits for SIPI.

The numbers are what the test of that name in guest_payloads/timers.c observes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from virtproof.conformance.areas.interrupts.kernel_state import of_the_kernel
from virtproof.conformance.case import At, Case, HostScript, Program, programs_of
from virtproof.conformance.guest import check_program
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.kvm.exits import MpStateValue
from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

halt = programs_of(
    "interrupts", "timers", sdm("2A", "Instruction Set Reference, 'HLT-Halt'"), apm(3, "System Instruction Reference, 'HLT'")
)  # fmt: skip
STATE = (linux("virt/kvm/api.rst", "KVM_GET_MP_STATE"),)
INIT = (sdm("3A", "Multiple-Processor Management, 'Multiple-Processor (MP) Initialization'"), *STATE)
HALTED, UNINITIALIZED, INIT_RECEIVED, RUNNABLE = (
    MpStateValue.HALTED, MpStateValue.UNINITIALIZED, MpStateValue.INIT_RECEIVED, MpStateValue.RUNNABLE,
)  # fmt: skip
TRIES, TRY = 40, 0.05  # a guest that has only to reach its HLT, seconds each


def _halted(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)
    with Machine(engine, irqchip=True) as machine:
        machine.memory.load(0x1000, b"\xfa\xf4")  # cli; hlt
        machine.vcpu.set_special_registers(modes.real16(machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=0x1000))
        before = machine.vcpu.mp_state()
        for _ in range(TRIES):
            machine.run(TRY)
            after = machine.vcpu.mp_state()
            if after != before:
                break
    yield Check("state before", RUNNABLE.name, before.name, before is RUNNABLE)
    yield Check("state in HLT", HALTED.name, after.name, after is HALTED)


def _states(first: MpStateValue, engine: Engine) -> Iterable[Check]:
    """The second vCPU never runs: whoever asks for its state makes it take INIT and SIPI."""
    of_the_kernel(engine)
    found: list[MpStateValue] = []

    def furnish(machine: Machine) -> None:
        machine.run = partial(machine.run, only={0})  # type: ignore[method-assign]
        if first is not UNINITIALIZED:
            machine.vcpus[1].set_mp_state(first)

    def look(machine: Machine) -> None:
        found.append(machine.vcpus[1].mp_state())

    guest = Program(
        id="shown_to_host", title="", area="smp", mode=Mode.LONG64, cite=(), image="startup", vcpus=2, irqchip=True,
        arguments=(At("shown_to_host"),), observations=(0,), seconds=10.0,
    )  # fmt: skip
    yield from check_program(guest, engine, furnish=furnish, calls={0: look, 1: look, 2: look})
    want = [first, INIT_RECEIVED, RUNNABLE]
    expected, saw = (", ".join(state.name for state in states) for states in (want, found))
    yield Check("states before INIT, after INIT, after SIPI", expected, saw, want == found)


# fmt: off
CASES: tuple[Case, ...] = (
    halt("int.halt.hlt_int", "The APIC timer ends HLT, and RIP is behind it", "wakes", (1, 1), refs=("priv.hlt.cpl0.long64",)),
    HostScript(id="int.halt.mpstate",  title="KVM_GET_MP_STATE is HALTED in HLT",             area="interrupts", mode=Mode.LONG64, cite=STATE, script=_halted, priority=2),
    HostScript(id="int.halt.hlt_init", title="INIT ends a halt; the vCPU waits for SIPI",     area="interrupts", mode=Mode.LONG64, cite=INIT,  script=partial(_states, HALTED), priority=2, seconds=10.0),
    HostScript(id="smp.mp_state",      title="Uninitialized, INIT received, runnable",        area="smp",        mode=Mode.LONG64, cite=INIT,  script=partial(_states, UNINITIALIZED), priority=2, seconds=10.0),
)
# fmt: on
