"""Registers between guest and monitor: the same values on both sides, exits, and filters.

KVM_SET_MSRS and KVM_GET_MSRS see what the guest's WRMSR and RDMSR see.  With KVM_CAP_X86_USER_SPACE_MSR an access that
KVM would refuse leaves to the monitor, with its index, its value and the reason (INVAL, UNKNOWN, FILTER); what the
monitor answers reaches the guest, or it takes #GP(0).  KVM_X86_SET_MSR_FILTER denies by bitmap, reads and writes apart,
registers that the guest else reaches without an exit too; x2APIC registers never.  A refusal by privilege level
comes before all of this.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from virtproof.conformance.areas.msr.refused import EFER, RDMSR, UNKNOWN, WRMSR, wr
from virtproof.conformance.case import Case, Expect, HostScript, Insn, Row, Script, completes, family, faults
from virtproof.conformance.guest import Inapplicable, check, hosted
from virtproof.conformance.of_kvm import kvm_vcpu, kvm_vm
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import ioctl
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.exits import MsrExitReason, MsrFilterFlag
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr
from virtproof.vmm import exits
from virtproof.vmm.cpuid import Override, overridden
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmEngine, KvmVm
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.machine import Machine
from virtproof.vmm.msr_filter import MsrRange, deny

LONG64 = Mode.LONG64
USER_SPACE = (linux("virt/kvm/api.rst", "KVM_CAP_X86_USER_SPACE_MSR"),)
FILTER = (linux("virt/kvm/api.rst", "KVM_X86_SET_MSR_FILTER"),)
VALUES = (linux("virt/kvm/api.rst", "KVM_SET_MSRS"), linux("virt/kvm/api.rst", "KVM_GET_MSRS"))
row = family("msr", *USER_SPACE)
GP = faults(Vector.GP, 0)
VALUE = 0x0123_4567_89AB_CDEF
ANSWER = {"rax": VALUE & 0xFFFF_FFFF, "rdx": VALUE >> 32}
IGNORE_MSRS = Path("/sys/module/kvm/parameters/ignore_msrs")

Access = exits.RdMsr | exits.WrMsr


def _kvm(machine: Machine, *caps: Cap) -> tuple[KvmVm, KvmVcpu]:
    vm, vcpu = kvm_vm(machine), kvm_vcpu(machine)
    for cap in caps:
        if not vm.check_extension(cap):
            raise Inapplicable(f"this kernel does not offer KVM_CAP_{cap.name}")
    return vm, vcpu


def _exits(
    guest: Row, answer: int | None, seen: tuple[Access, ...], engine: Engine, *ranges: MsrRange, allow: bool = True
) -> Iterable[Check]:
    """The accesses that reached the monitor, which answered each with ``answer``; None: refused."""
    found: list[Access] = []

    def furnish(machine: Machine) -> None:
        vm, vcpu = _kvm(machine, Cap.X86_USER_SPACE_MSR)
        vm.send_msrs_to_monitor()
        if ranges:
            _kvm(machine, Cap.X86_MSR_FILTER)
            vm.set_msr_filter(ranges, default_allow=allow)
        vcpu.on_msr = lambda access: found.append(access) or answer  # type: ignore[func-returns-value]

    yield from check(guest, engine, furnish=furnish)
    want, saw = ("; ".join(map(str, accesses)) or "none" for accesses in (seen, found))
    yield Check("accesses that left to the monitor", want, saw, tuple(found) == seen)


def exit_case(
    id: str,  # noqa: A002
    title: str,
    code: Insn,
    expect: Expect,
    regs: dict[str, int],
    answer: int | None,
    *seen: Access,
    ranges: tuple[MsrRange, ...] = (),
    allow: bool = True,
    priority: int = 1,
    ring: int = 0,
) -> HostScript:
    guest = row(id, title, LONG64, code, expect, regs=regs, ring=ring)

    def script(engine: Engine) -> Iterable[Check]:
        return _exits(guest, answer, seen, engine, *ranges, allow=allow)

    return HostScript(
        id=id,
        title=title,
        area="msr",
        mode=LONG64,
        cite=FILTER if ranges else USER_SPACE,
        script=script,
        priority=priority,
    )


def _filtered(
    id: str,  # noqa: A002
    title: str,
    code: Insn,
    expect: Expect,
    regs: dict[str, int],
    *ranges: MsrRange,
    allow: bool = True,
    priority: int = 1,
) -> Case:
    """Without exits: what the filter denies raises #GP."""

    def furnish(machine: Machine) -> None:
        vm, _ = _kvm(machine, Cap.X86_MSR_FILTER)
        vm.set_msr_filter(ranges, default_allow=allow)

    return hosted(
        family("msr", *FILTER)(id, title, LONG64, code, expect, regs=regs, priority=priority), furnish=furnish
    )


REGISTERS = {                            # values that no reset leaves there
    Msr.IA32_STAR: 0x0023_0010 << 32, Msr.IA32_LSTAR: 0x7FED_CBA9_8765, Msr.IA32_PAT: 0x0606_0606_0006_0106,
    Msr.IA32_KERNEL_GS_BASE: 0x1234_5678_9ABC, Msr.IA32_SYSENTER_EIP: 0x7654_3210,
}  # fmt: skip


def _host_set(engine: Engine) -> Iterable[Check]:
    for register, value in REGISTERS.items():

        def furnish(machine: Machine, register: int = register, value: int = value) -> None:
            _kvm(machine)[1].set_msrs({register: value})

        guest = row(
            "read",
            "",
            LONG64,
            RDMSR,
            completes(regs={"rax": value & 0xFFFF_FFFF, "rdx": value >> 32}),
            regs={"rcx": register},
        )
        for one in check(guest, engine, furnish=furnish):
            yield Check(f"{register.name}: {one.field}", one.expected, one.observed, one.ok)


OUT = Insn("ee", "out dx, al")  # to HOST_PORT


def _guest_set(engine: Engine) -> Iterable[Check]:
    for register, value in REGISTERS.items():
        found: list[int] = []

        def read(machine: Machine, register: int = register, found: list[int] = found) -> None:
            found.append(_kvm(machine)[1].get_msrs([register])[register])

        code = (WRMSR, Insn("66 ba 60 56", "mov dx, 0x5660"), OUT)
        guest = row("write", "", LONG64, code, completes(keeps=False), regs=wr(register, value))
        yield from check(guest, engine, calls={value & 0xFF: read})
        saw = f"{found[0]:#x}" if found else "nothing"
        yield Check(f"{register.name} by KVM_GET_MSRS", f"{value:#x}", saw, found == [value])


def _readable(engine: Engine) -> Iterable[Check]:
    """Each register of KVM_GET_MSR_INDEX_LIST; the machine has what guests are offered."""
    with Machine(engine, cpuid=engine.supported_cpuid(), irqchip=isinstance(engine, KvmEngine)) as machine:
        _, vcpu = _kvm(machine)
        assert isinstance(engine, KvmEngine)
        for index in engine.kvm.msr_index_list():
            ok = index in vcpu.get_msrs([index])
            if not ok:
                yield Check(f"KVM_GET_MSRS of {index:#x}", "a value", "refused", False)
        yield Check(
            "the list", "not empty", f"{len(engine.kvm.msr_index_list())} registers", bool(engine.kvm.msr_index_list())
        )


def _partial(engine: Engine) -> Iterable[Check]:
    with Machine(engine, cpuid=engine.supported_cpuid()) as machine:
        _, vcpu = _kvm(machine)
        entries = ((Msr.IA32_STAR, VALUE), (UNKNOWN, 0), (Msr.IA32_CSTAR, VALUE >> 16))
        table = struct.pack("<I4x", len(entries)) + b"".join(struct.pack("<I4xQ", *entry) for entry in entries)
        taken = ioctl(vcpu.fd, Ioctl.SET_MSRS, table)
        yield Check("entries taken", "1", str(taken), taken == 1)
        kept = vcpu.get_msrs([Msr.IA32_STAR, Msr.IA32_CSTAR])
        yield Check("the first register", f"{VALUE:#x}", f"{kept[Msr.IA32_STAR]:#x}", kept[Msr.IA32_STAR] == VALUE)
        yield Check("the last", "0x0", f"{kept[Msr.IA32_CSTAR]:#x}", kept[Msr.IA32_CSTAR] == 0)


def _tsc_by_the_host(engine: Engine) -> Iterable[Check]:
    guest = row("read", "", LONG64, RDMSR, completes(regs={"rax": 0x5EED, "rdx": 0}), regs={"rcx": Msr.IA32_TSC_ADJUST})

    def furnish(machine: Machine) -> None:
        vcpu = _kvm(machine)[1]
        vcpu.set_msrs({Msr.IA32_TSC_ADJUST: 0x5EED})
        vcpu.set_msrs({Msr.IA32_TIME_STAMP_COUNTER: 1 << 40})

    return check(guest, engine, furnish=furnish)


def _ignored(engine: Engine) -> Iterable[Check]:
    try:
        on = IGNORE_MSRS.read_text().strip() == "Y"
    except OSError:
        on = False
    if not on:
        raise Inapplicable("kvm.ignore_msrs is off here")
    return check(row("read", "", LONG64, RDMSR, completes(regs={"rax": 0, "rdx": 0}), regs={"rcx": UNKNOWN}), engine)


def _vmx_hidden(engine: Engine) -> Iterable[Check]:
    hide = Override(1, 0, "ecx", 0, 1 << 5)
    guest = row("read", "", LONG64, RDMSR, GP, regs={"rcx": 0x480})
    return check(
        guest, engine, furnish=lambda machine: machine.vcpu.set_cpuid(overridden(machine.vcpu.cpuid(), [hide]))
    )


def script(id: str, title: str, run: Script, priority: int, *requires: str) -> HostScript:  # noqa: A002
    return HostScript(
        id=id, title=title, area="msr", mode=LONG64, cite=VALUES, script=run, priority=priority, requires=requires
    )


READ = {"rcx": UNKNOWN}
RESERVED = int(EFER) | 1 << 1  # of EFER
WRITE_ONLY = MsrFilterFlag.WRITE
INVAL, NOT_KNOWN, FILTERED = MsrExitReason.INVAL, MsrExitReason.UNKNOWN, MsrExitReason.FILTER
LSTAR, FS_BASE = Msr.IA32_LSTAR, Msr.IA32_FS_BASE
ELSEWHERE = MsrRange(0x10, 8, b"\xff")  # allowed, and nothing to do with the rows

# fmt: off
CASES: tuple[Case, ...] = (
    exit_case("msr.gen.exit_reason_rd", "A read of an unknown register leaves, and gets what the monitor answers", RDMSR, completes(regs=ANSWER), READ, VALUE, exits.RdMsr(UNKNOWN, NOT_KNOWN)),
    exit_case("msr.gen.exit_reason_wr", "A write of an unknown register leaves with its value",                    WRMSR, completes(), wr(UNKNOWN, VALUE), 0, exits.WrMsr(UNKNOWN, VALUE, NOT_KNOWN)),
    exit_case("msr.gen.exit_error",     "What the monitor refuses raises #GP(0)",                                  RDMSR, GP, READ, None, exits.RdMsr(UNKNOWN, NOT_KNOWN)),
    exit_case("msr.gen.exit_inval",     "An illegal value leaves as invalid",                                      WRMSR, GP, wr(Msr.IA32_EFER, RESERVED), None, exits.WrMsr(Msr.IA32_EFER, RESERVED, INVAL), priority=2),
    exit_case("msr.gen.cpl3_order",     "RDMSR at CPL 3 raises #GP(0) and does not leave",                         RDMSR, GP, READ, VALUE, priority=2, ring=3),
    exit_case("msr.gen.filter_passthru", "A filtered register leaves that needs no exit else",                     WRMSR, completes(), wr(FS_BASE, 0x1000), 0, exits.WrMsr(FS_BASE, 0x1000, FILTERED), ranges=(deny([FS_BASE]),), priority=2),
    exit_case("msr.gen.filter_exit_rd", "A filtered read leaves as filtered",                                      RDMSR, completes(regs=ANSWER), {"rcx": LSTAR}, VALUE, exits.RdMsr(LSTAR, FILTERED), ranges=(deny([LSTAR]),)),
    _filtered("msr.gen.filter_deny_rd", "A filtered read raises #GP(0)",                RDMSR, GP,          {"rcx": LSTAR},   deny([LSTAR])),
    _filtered("msr.gen.filter_deny_wr", "A filtered write raises #GP(0)",               WRMSR, GP,          wr(LSTAR, 0),     deny([LSTAR], WRITE_ONLY)),
    _filtered("msr.gen.filter_deny_wr.read", "The read of a register whose write is filtered completes", RDMSR, completes(keeps=False), {"rcx": LSTAR}, deny([LSTAR], WRITE_ONLY)),
    _filtered("msr.gen.filter_allow_default", "Registers outside a range are allowed",  WRMSR, completes(), wr(LSTAR, 0),     deny([Msr.IA32_STAR]), priority=2),
    _filtered("msr.gen.filter_allow_default.in", "A register that the range's bitmap denies raises #GP(0)", WRMSR, GP, wr(Msr.IA32_STAR, 0), deny([Msr.IA32_STAR]), priority=2),
    _filtered("msr.gen.filter_default_deny", "Denied by default: a register in no range raises #GP(0)",    RDMSR, GP, {"rcx": LSTAR}, ELSEWHERE, allow=False, priority=2),
    script("msr.gen.host_set_seen",    "The guest reads what KVM_SET_MSRS wrote",                 _host_set,        1),
    script("msr.gen.guest_set_seen",   "KVM_GET_MSRS reads what the guest wrote",                 _guest_set,       1),
    script("msr.gen.getmsrs_list",     "KVM reads each register that it lists",                   _readable,        2),
    script("msr.gen.setmsrs_partial",  "KVM_SET_MSRS takes what comes before a bad entry",        _partial,         2),
    script("msr.eff.tsc_host_set",     "The host's write of the time-stamp counter leaves TSC_ADJUST", _tsc_by_the_host, 2, "tsc_adjust"),
    script("msr.gen.ignore_msrs",      "With kvm.ignore_msrs an unknown register reads 0",        _ignored,         2),
    script("msr.gen.vmx_hidden",       "Without VMX its capability registers raise #GP(0)",       _vmx_hidden,      2, "Intel vendor"),
)
# fmt: on
