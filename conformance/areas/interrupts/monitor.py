"""Without an interrupt controller in the kernel the monitor is the controller: it hands over a vector at a time.

KVM takes a vector when the guest can be interrupted, and says when that is: the monitor asks for the window, and gets an
exit when it opens.  HLT is an exit too, and the interrupt that follows is saved with RIP behind it.  An exception that
the monitor puts into KVM_SET_VCPU_EVENTS comes before the next instruction.  A kick (immediate_exit, or a signal) ends
KVM_RUN between two instructions and loses nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from ctypes import sizeof

from virtproof.conformance.case import Case, Expect, HostScript, Insn, Script, SetLine, completes, family, faults
from virtproof.conformance.guest import HOST_PORT, GuestStopped, Inapplicable, boot, hosted, how_it_ended
from virtproof.conformance.of_kvm import kvm_vcpu
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import CapabilityMissing, enable_cap
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.exits import VcpuEventFlag
from virtproof.spec.kvm.structures import VcpuEvents
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmVm
from virtproof.vmm.exits import Halt, Interrupted
from virtproof.vmm.machine import Machine

LONG64 = Mode.LONG64
CITE = (linux("virt/kvm/api.rst", "KVM_INTERRUPT"), linux("virt/kvm/api.rst", "'The kvm_run structure'"))
row = family("interrupts", *CITE, irqchip="injected", regs={"rax": 0, "rdx": HOST_PORT}, acts=(SetLine(5, True),))  # fmt: skip

# fmt: off
RAISE, NOP, STI, CLI, HLT = Insn("ee", "out dx, al"), Insn("90", "nop"), Insn("fb", "sti"), Insn("fa", "cli"), Insn("f4", "hlt")
INC = Insn("ff c1", "inc ecx")


def interrupted(vector: int, at: int) -> Expect:
    return Expect(vector=vector, at=at)


ROWS = (
    row("int.user.inject", "With IF = 1 the vector comes at the next instruction", LONG64, (STI, NOP, RAISE, NOP), interrupted(0x25, 3)),
    row("int.user.window", "With IF = 0 it waits for the window, which STI opens an instruction later", LONG64, (RAISE, NOP, NOP, STI, NOP, NOP), interrupted(0x25, 5),
        refs=("int.user.not_ready", "int.user.shadow")),
    row("int.user.hlt_resume", "It ends HLT; RIP is behind it", LONG64, (RAISE, STI, HLT, NOP), interrupted(0x25, 3)),
    row("int.user.never", "With IF = 0 it never comes", LONG64, (RAISE, STI, CLI, NOP), completes()),
)
# fmt: on


def _halts(engine: Engine) -> Iterable[Check]:
    """HLT comes out, with RIP behind it."""
    guest = dataclasses.replace(ROWS[0], id="int.user.hlt_exit", code=(CLI, HLT, NOP), expect=completes(), acts=())
    image, answer, _ = boot(guest, engine)
    if answer.registers is None:
        raise GuestStopped("the guest went on behind HLT")
    yield Check("the guest ends with", "HLT", how_it_ended(answer), isinstance(answer.end, Halt))
    want, saw = image["kernel_code"] + 2, answer.registers.rip
    yield Check("RIP", f"{want:#x}", f"{saw:#x}", want == saw)


def _inject_gp(machine: Machine) -> None:
    """Put #GP with the error code 18H into the vCPU's events."""
    vcpu = kvm_vcpu(machine)
    events = VcpuEvents.from_buffer_copy(vcpu.get(Ioctl.GET_VCPU_EVENTS, sizeof(VcpuEvents)))
    exception = events.exception
    exception.injected, exception.nr, exception.has_error_code, exception.error_code = 1, Vector.GP, 1, 0x18
    vcpu.set(Ioctl.SET_VCPU_EVENTS, bytes(events))


def _pend_nmi(machine: Machine) -> None:
    vcpu = kvm_vcpu(machine)
    events = VcpuEvents.from_buffer_copy(vcpu.get(Ioctl.GET_VCPU_EVENTS, sizeof(VcpuEvents)))
    events.nmi.pending, events.flags = 1, VcpuEventFlag.NMI_PENDING
    vcpu.set(Ioctl.SET_VCPU_EVENTS, bytes(events))


PAYLOAD = 0x1234_5678_9000  # of a #PF: the address that CR2 is to hold


def _allow_payloads(machine: Machine) -> None:
    """Raises ``Inapplicable`` where KVM has none."""
    kvm_vcpu(machine)
    vm = machine.vm
    assert isinstance(vm, KvmVm)
    try:
        enable_cap(vm.fd, Cap.EXCEPTION_PAYLOAD, "hand over exceptions with their payload", 1)
    except CapabilityMissing as err:
        raise Inapplicable(str(err)) from err


def _pend_pf(machine: Machine) -> None:
    """Put #PF, a write of a page that is not there, into the vCPU's events, with the address as payload."""
    vcpu = kvm_vcpu(machine)
    events = VcpuEvents.from_buffer_copy(vcpu.get(Ioctl.GET_VCPU_EVENTS, sizeof(VcpuEvents)))
    exception = events.exception
    exception.pending, exception.nr, exception.has_error_code, exception.error_code = 1, Vector.PF, 1, 2
    events.exception_has_payload, events.exception_payload = 1, PAYLOAD
    events.flags |= VcpuEventFlag.PAYLOAD
    vcpu.set(Ioctl.SET_VCPU_EVENTS, bytes(events))


def _immediate(engine: Engine) -> Iterable[Check]:
    """A vCPU that was kicked before it runs comes back at once, and has not moved."""
    with Machine(engine) as machine:
        machine.memory.load(0x1000, b"\xff\xc0\xeb\xfc")  # inc ax; jmp to it
        special = machine.vcpu.special_registers()
        code = dataclasses.replace(special, cs=special.cs._replace(base=0, selector=0))
        machine.vcpu.set_special_registers(code)
        machine.vcpu.set_registers(dataclasses.replace(machine.vcpu.registers(), rip=0x1000))
        before = machine.vcpu.registers()
        machine.vcpu.kick()
        end = machine.vcpu.run(machine.bus)
        after = machine.vcpu.registers()
    yield Check("the run ends by", str(Interrupted()), str(end), isinstance(end, Interrupted))
    yield Check("registers", str(before), str(after), before == after)


def script(id: str, title: str, run: Script) -> Case:  # noqa: A002
    return HostScript(id=id, title=title, area="interrupts", mode=LONG64, cite=CITE, script=run)


# fmt: off
CASES: tuple[Case, ...] = (
    *ROWS,
    script("int.user.hlt_exit",  "HLT comes out, and RIP is behind it",      _halts),
    script("int.user.immediate", "immediate_exit runs no instruction",       _immediate),
    hosted(row("int.user.events_inject", "An exception that the monitor injects comes before the next instruction", LONG64, (RAISE, INC, INC),
               faults(Vector.GP, 0x18, at=1, flags_set=0), irqchip=False, acts=()), calls={0: _inject_gp}),
    hosted(row("int.user.events_nmi",    "A pending NMI that the monitor sets comes before the next instruction",   LONG64, (RAISE, INC, INC),
               Expect(vector=Vector.NMI, at=1), irqchip=False, acts=(), priority=2), calls={0: _pend_nmi}),
    hosted(row("int.user.events_pf",     "A pending #PF with a payload sets CR2",                                   LONG64, (RAISE, INC, INC),
               faults(Vector.PF, 2, at=1, flags_set=0, cr2=PAYLOAD), irqchip=False, acts=(), priority=2), furnish=_allow_payloads, calls={0: _pend_pf}),
)
# fmt: on
