"""What the page of struct kvm_run tells the monitor after a run, and takes from it before one.

``cr8`` is the guest's task priority where no local APIC is in the kernel, both ways.  A signal ends KVM_RUN between two
instructions with KVM_EXIT_INTR, and the next run goes on from there.  The registers of KVM_CAP_SYNC_REGS are those that
the ioctls give; those that the monitor marks as dirty are taken.  A single step over STI ends in its interrupt shadow.
With a controller in the kernel KVM_INTERRUPT is refused.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ctypes import sizeof

from virtproof.conformance.areas.interrupts.kernel_state import of_the_kernel
from virtproof.conformance.case import Case, HostScript, Insn, Script, completes, family
from virtproof.conformance.guest import HOST_PORT, GuestStopped, Inapplicable, check
from virtproof.conformance.of_kvm import kvm_engine
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import KvmError
from virtproof.results import Check
from virtproof.spec.cite import Cite, linux
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.exits import ExitReason, InterruptShadow, SyncFlag
from virtproof.spec.kvm.run import Run
from virtproof.spec.kvm.structures import Regs, Sregs, VcpuEvents
from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.exits import Debug, Halt
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

RUN = linux("virt/kvm/api.rst", "'The kvm_run structure'")
CODE = 0x1000
TRIES, TRY = 100, 0.02  # runs of a guest that has to come on, seconds each

row = family("interrupts", RUN)
CLEAR, CLEAR_CR8 = Insn("45 31 c0", "xor r8d, r8d"), Insn("45 0f 22 c0", "mov cr8, r8")


@contextmanager
def real_mode(engine: Engine, code: str, **registers: int) -> Iterator[tuple[Machine, KvmVcpu, Run]]:
    """A machine with this code, its vCPU, and that one's page.  Raises ``Inapplicable`` where it is none of KVM's."""
    engine = kvm_engine(engine)
    with Machine(engine) as machine:
        vcpu = machine.vcpu
        assert isinstance(vcpu, KvmVcpu)
        machine.memory.load(CODE, bytes.fromhex(code))
        vcpu.set_special_registers(modes.real16(vcpu.special_registers()))
        vcpu.set_registers(Registers(rip=CODE, **registers))
        yield machine, vcpu, Run.from_buffer(mmap.mmap(vcpu.fd, engine.kvm.vcpu_mmap_size))


def equal(what: str, want: object, saw: object) -> Check:
    return Check(what, str(want), str(saw), want == saw)


def halts(machine: Machine) -> None:
    end = machine.run(2.0)
    if not isinstance(end, Halt):
        raise GuestStopped(str(end))


def _cr8(engine: Engine) -> Iterable[Check]:
    engine = kvm_engine(engine)
    size, seen = engine.kvm.vcpu_mmap_size, []

    def exchange(machine: Machine) -> None:
        assert isinstance(machine.vcpu, KvmVcpu)
        with mmap.mmap(machine.vcpu.fd, size) as page:
            seen.append(int.from_bytes(page[Run.cr8.offset : Run.cr8.offset + 8], "little"))
            page[Run.cr8.offset] = 9

    guest = row(
        "int.user.cr8", "", Mode.LONG64,
        (Insn("45 0f 22 c0", "mov cr8, r8"), Insn("ee", "out dx, al"), Insn("45 0f 20 c1", "mov r9, cr8"), CLEAR, CLEAR_CR8),
        completes(regs={"r9": 9, "r8": 0}), regs={"rax": 1, "rdx": HOST_PORT, "r8": 5},
    )  # fmt: skip
    yield from check(guest, engine, calls={1: exchange})
    yield equal("cr8 in the page", [5], seen)


def _stops_between(engine: Engine) -> Iterable[Check]:
    first, second, back = CODE, CODE + 2, CODE + 4
    with real_mode(engine, "66 40 66 43 eb fa") as (machine, vcpu, run):  # inc eax; inc ebx; jmp to the first
        counted = 0
        for _ in range(TRIES):
            machine.run(TRY)
            reason, registers = run.exit_reason, vcpu.registers()
            ahead = (registers.rax - registers.rbx) & 0xFFFF_FFFF
            consistent = (registers.rip, ahead) in ((first, 0), (second, 1), (back, 0))
            come_on = registers.rax > counted > 0
            counted = registers.rax
            if not consistent or come_on:
                break
    yield equal("exit reason", ExitReason.INTR.name, ExitReason(reason).name)
    yield Check(
        "RIP, and how far EAX is ahead of EBX", "of one instruction", f"{registers.rip:#x}, {ahead}", consistent
    )
    yield equal("the next run goes on", True, come_on)


def _sync(engine: Engine) -> Iterable[Check]:
    flags = SyncFlag.REGS | SyncFlag.SREGS | SyncFlag.EVENTS
    with real_mode(engine, "66 40 f4 66 43 f4", rax=5) as (machine, vcpu, run):  # inc eax; hlt; inc ebx; hlt
        if kvm_offers(machine, Cap.SYNC_REGS) & flags != flags:
            raise Inapplicable("the kernel has no KVM_CAP_SYNC_REGS")
        run.kvm_valid_regs = flags
        halts(machine)
        shared = bytes(run.s.regs)
        got = b"".join(
            vcpu.get(number, sizeof(struct))
            for number, struct in (
                (Ioctl.GET_REGS, Regs),
                (Ioctl.GET_SREGS, Sregs),
                (Ioctl.GET_VCPU_EVENTS, VcpuEvents),
            )
        )
        eax = run.s.regs.regs.rax
        run.s.regs.regs.rbx = 0x1234
        run.kvm_dirty_regs = SyncFlag.REGS
        halts(machine)
        ebx = vcpu.registers().rbx
    yield equal("EAX in the page", 6, eax)
    yield equal("bytes that differ from the ioctls'", 0, sum(a != b for a, b in zip(shared, got, strict=True)))
    yield equal("EBX, once set in the page", hex(0x1235), hex(ebx))


def kvm_offers(machine: Machine, cap: Cap) -> int:
    assert isinstance(machine.engine, KvmEngine)
    return machine.engine.kvm.check_extension(cap)


def _shadow(engine: Engine) -> Iterable[Check]:
    with real_mode(engine, "fb 90 90 f4") as (machine, vcpu, _):  # sti; nop; nop; hlt
        vcpu.debug(single_step=True)
        shadows = []
        for _ in range(2):
            end = machine.run(2.0)
            if not isinstance(end, Debug):
                raise GuestStopped(str(end))
            events = VcpuEvents.from_buffer_copy(vcpu.get(Ioctl.GET_VCPU_EVENTS, sizeof(VcpuEvents)))
            shadows.append((end.pc - CODE, events.interrupt.shadow))
    yield equal("offset and shadow after STI, after NOP", [(1, InterruptShadow.STI.value), (2, 0)], shadows)


def _refused(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)
    with Machine(engine, irqchip=True) as machine:
        assert isinstance(machine.vcpu, KvmVcpu)
        try:
            machine.vcpu.interrupt(0x20)
            saw = "taken"
        except KvmError as err:
            saw = errno.errorcode.get(err.errno, str(err.errno))
    yield equal("KVM_INTERRUPT", "ENXIO", saw)


def script(id: str, title: str, run: Script, priority: int, *cite: Cite, mode: Mode = Mode.REAL16) -> Case:  # noqa: A002
    return HostScript(
        id=id, title=title, area="interrupts", mode=mode, cite=cite, script=run, priority=priority, seconds=5.0
    )


# fmt: off
CASES: tuple[Case, ...] = (
    script("int.user.signal",        "A signal ends KVM_RUN between two instructions, and it goes on", _stops_between, 1, RUN, linux("virt/kvm/api.rst", "KVM_RUN")),
    script("int.user.sync_regs",     "The registers in the page are those of the ioctls",     _sync,    2, linux("virt/kvm/api.rst", "KVM_CAP_SYNC_REGS")),
    script("int.user.events",        "KVM_GET_VCPU_EVENTS has the shadow of STI",             _shadow,  2, linux("virt/kvm/api.rst", "KVM_GET_VCPU_EVENTS")),
    script("int.user.irqchip_enxio", "KVM_INTERRUPT is refused with controllers in the kernel", _refused, 2, linux("virt/kvm/api.rst", "KVM_INTERRUPT")),
    script("int.user.cr8",           "cr8 is the guest's CR8, both ways",                     _cr8,     2, RUN, mode=Mode.LONG64),
)
# fmt: on
