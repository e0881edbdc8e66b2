"""MSRs, control registers and CPUID answer wrongly, or take what they must refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from tests.mutants.mutant import How, entry, of, replaced, wrapped
from tests.mutants.processor import after, flip_regs
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.engines.software import cpuid
from virtproof.vmm.engines.software.cpu import CS, Cpu
from virtproof.vmm.engines.software.cpuid import CpuidTable
from virtproof.vmm.engines.software.decode import Instruction
from virtproof.vmm.engines.software.msrs import TABLE, Msrs, TimeStampCounter
from virtproof.vmm.engines.software.privileged import Privileged

msr = of("msr")
cr = of("modes")
leaf = of("cpuid")
FULL = (1 << 64) - 1


def accepts(*indices: int) -> How:
    """The registers take any value and keep what they had where it is a wrong one."""

    def around(original: Any, self: Msrs, index: int, value: int) -> bool:
        return bool(original(self, index, value)) or index in indices

    return wrapped(Msrs, "write", around)


def forgets(*indices: int) -> How:
    """Writes to the registers are lost."""

    def around(original: Any, self: Msrs, index: int, value: int) -> bool:
        return index in indices or bool(original(self, index, value))

    return wrapped(Msrs, "write", around)


def reads(*indices: int, flip: int) -> How:
    def around(original: Any, self: Msrs, index: int) -> int | None:
        value = original(self, index)
        return value ^ flip if value is not None and index in indices else value

    return wrapped(Msrs, "read", around)


def absent_reads_0(original: Any, self: Msrs, index: int) -> int | None:
    value = original(self, index)
    return 0 if value is None and index not in range(0x800, 0x900) else value


def x2apic_reads_0(original: Any, self: Msrs, index: int) -> int | None:
    value = original(self, index)
    return 0 if value is None and index in range(0x800, 0x900) else value


def absent_is_written(original: Any, self: Msrs, index: int, value: int) -> bool:
    return bool(original(self, index, value)) or index not in TABLE


def truncated(*indices: int) -> How:
    def around(original: Any, self: Msrs, index: int, value: int) -> bool:
        return bool(original(self, index, value & 0xFFFF_FFFF if index in indices else value))

    return wrapped(Msrs, "write", around)


def leaks(original: Any, self: Msrs, index: int) -> int | None:
    value = original(self, index)
    return 0xFFFF_FFFF_8100_0000 if index == Msr.IA32_LSTAR and value == 0 else value


def tsc_alone(self: TimeStampCounter, value: int) -> None:
    self._start -= value - self.read()


def unadjusted(self: TimeStampCounter) -> int:
    from time import monotonic_ns

    return (monotonic_ns() - self._start) & FULL


def never_back(original: Any, self: TimeStampCounter, value: int) -> None:
    if value > self.read():
        original(self, value)


def backwards(self: TimeStampCounter) -> int:
    from time import monotonic_ns

    return (1 << 60) - monotonic_ns()


def refused(number: int) -> How:
    """MOV to the control register raises nothing, and does nothing, where it must raise #GP."""

    def around(original: Any, self: Privileged, insn: Instruction) -> Any:
        which = insn.modrm >> 3 & 7
        moves = insn.opcode == 0x0F22 and which == number and self._cpu.cpl == 0
        if moves and self._control_refused(number, self._register(insn)):
            return partial(self._cpu.complete, len(insn.code))
        return original(self, insn)

    return wrapped(Privileged, "instead", around)


def cr8_refused(original: Any, self: Privileged, insn: Instruction) -> None:
    if insn.opcode == 0x0F22 and self._register(insn) >> 4:
        self._cpu.complete(insn.length + 1)
    else:
        original(self, insn)


def xcr0_refused(original: Any, self: Privileged, insn: Instruction) -> Any:
    if insn.opcode == 0x0F01 and insn.modrm == 0xD1 and self._xcr0_refused() and self._cpu.cpl == 0:
        return partial(self._cpu.complete, len(insn.code))
    return original(self, insn)


def answer(change: Callable[..., tuple[int, int, int, int]]) -> How:
    """What CPUID answers, changed: leaf, subleaf, then EAX, EBX, ECX, EDX."""

    def around(original: Any, self: CpuidTable, number: int, sub: int, **rest: Any) -> tuple[int, int, int, int]:
        return change(number, sub, *original(self, number, sub, **rest))

    return wrapped(CpuidTable, "answer", around)


def bit(of: int, column: int, flip: int) -> How:
    def change(number: int, sub: int, *values: int) -> tuple[int, ...]:
        return tuple(value ^ (flip if number == of and n == column else 0) for n, value in enumerate(values))

    return answer(change)  # type: ignore[arg-type]


def fixed(**flags: bool) -> How:
    """OSXSAVE or APIC do not follow the processor."""

    def around(original: Any, self: CpuidTable, number: int, sub: int, **rest: Any) -> Any:
        return original(self, number, sub, **(rest | flags))

    return wrapped(CpuidTable, "answer", around)


@contextmanager
def one_more_bit() -> Iterator[None]:
    """The processor has one bit of physical address more than it says."""
    from virtproof.vmm.engines.software import linear

    with ExitStack() as stack:
        stack.enter_context(patch.object(cpuid, "PHYSICAL_BITS", linear.PHYSICAL_BITS - 1))
        yield


def low_reset(original: Any, self: Cpu) -> None:
    original(self)
    self.state.segments[CS].base = 0xF_0000


BASES = (Msr.IA32_FS_BASE, Msr.IA32_GS_BASE, Msr.IA32_KERNEL_GS_BASE)
TARGETS = (Msr.IA32_LSTAR, Msr.IA32_CSTAR)
SYSENTER = (Msr.IA32_SYSENTER_ESP, Msr.IA32_SYSENTER_EIP)


def some_answer(original: Any, self: Msrs, index: int) -> int | None:
    found: int | None = original(self, index)
    return 0 if found is None and index & 0xFFF == 0x123 else found


# fmt: off
MUTANTS = (
    msr("msr.some", "One MSR in 4096 of those that nobody has reads 0", wrapped(Msrs, "read", some_answer), "hostile.cpu.msr_fuzz", "hostile.cpu.*"),
    msr("msr.canonical_bases",   "FS, GS and KERNEL_GS_BASE take addresses that are not canonical", accepts(*BASES),        "msr.rsvd.fs_base"),
    msr("msr.canonical_targets", "LSTAR and CSTAR take addresses that are not canonical",           accepts(*TARGETS),      "msr.rsvd.lstar"),
    msr("msr.canonical_sysenter", "SYSENTER_ESP and EIP take addresses that are not canonical",     accepts(*SYSENTER),     "msr.rsvd.sysenter_eip"),
    msr("msr.pat_types",         "PAT takes reserved types",                                        accepts(Msr.IA32_PAT),  "msr.rsvd.pat"),
    msr("msr.efer_bits",         "EFER takes reserved bits",                                        accepts(Msr.IA32_EFER), "msr.rsvd.efer", "modes"),
    msr("msr.apic_base_bits",    "APIC_BASE takes reserved bits",                                   accepts(Msr.IA32_APIC_BASE), "msr.rsvd.apic_base", "interrupts"),
    msr("msr.absent_read",       "An MSR that is not there reads 0",                                wrapped(Msrs, "read", absent_reads_0), "msr.gen.unknown_rd"),
    msr("msr.absent_written",    "An MSR that is not there can be written",                         wrapped(Msrs, "write", absent_is_written), "msr.gen.unknown_wr"),
    msr("msr.x2apic_off",        "x2APIC registers read 0 in xAPIC mode",                           wrapped(Msrs, "read", x2apic_reads_0), "msr.gen.x2apic_off"),
    msr("msr.upper",             "RDMSR leaves bits 63:32 of RAX alone",                            after("0f 32", flip_regs(rax=1 << 40)), "msr.gen.high_halves"),
    msr("msr.star_lost",         "A write to STAR is lost",                                         forgets(Msr.IA32_STAR), "msr.rw.star"),
    msr("msr.targets_lost",      "Writes to LSTAR, CSTAR and FMASK are lost",                       forgets(*TARGETS, Msr.IA32_FMASK), "msr.rw.lstar"),
    msr("msr.bases_short",       "FS, GS and KERNEL_GS_BASE keep 32 bits",                          truncated(*BASES),      "msr.rw.fs_base", "isolation"),
    msr("msr.sysenter_lost",     "Writes to the MSRs of SYSENTER are lost",                         forgets(*SYSENTER, Msr.IA32_SYSENTER_CS), "msr.rw.sysenter_cs"),
    msr("msr.pat_lost",          "A write to PAT is lost",                                          forgets(Msr.IA32_PAT),  "msr.rw.pat"),
    msr("msr.tsc_aux_lost",      "A write to TSC_AUX is lost",                                      forgets(Msr.IA32_TSC_AUX), "msr.rw.tsc_aux"),
    msr("msr.efer_lost",         "A write to EFER is lost",                                         forgets(Msr.IA32_EFER), "msr.rw.efer"),
    msr("msr.deadline_lost",     "A write to TSC_DEADLINE is lost",                                 forgets(Msr.IA32_TSC_DEADLINE), "msr.rw.tsc_deadline", "timers"),
    msr("msr.deadline_reads",    "TSC_DEADLINE reads something where there is none",                reads(Msr.IA32_TSC_DEADLINE, flip=8), "msr.rw.tsc_deadline.other", "timers"),
    msr("msr.apic_base_reads",   "APIC_BASE reads without its BSP flag",                            reads(Msr.IA32_APIC_BASE, flip=0x100), "msr.rw.apic_base"),
    msr("msr.pat_reset",         "PAT after reset is 0",                                            entry(TABLE, Msr.IA32_PAT, reset=0), "msr.eff.pat_reset"),
    msr("msr.efer_reads",        "EFER reads with LME inverted",                                    reads(Msr.IA32_EFER, flip=1 << 8), "msr.eff.efer_reset.real16", "modes"),
    msr("msr.leak",              "LSTAR holds an address of the host's kernel until it is written", wrapped(Msrs, "read", leaks), "msr.gen.no_leak"),
    msr("msr.adjust_still",      "TSC_ADJUST does not move when the counter is written",            replaced(TimeStampCounter, "write", tsc_alone), "msr.eff.tsc_write.adjust"),
    msr("msr.adjust_void",       "The counter does not move with TSC_ADJUST",                       replaced(TimeStampCounter, "read", unadjusted), "msr.eff.tsc_adjust_write"),
    msr("msr.tsc_lost",          "A write to the time-stamp counter is lost",                       forgets(Msr.IA32_TIME_STAMP_COUNTER), "msr.rw.tsc"),
    msr("msr.tsc_back",          "The time-stamp counter cannot be set back",                       wrapped(TimeStampCounter, "write", never_back), "msr.eff.tsc_write"),
    msr("msr.adjust_lost",       "A write to TSC_ADJUST is lost",                                   forgets(Msr.IA32_TSC_ADJUST), "msr.rw.tsc_adjust"),
    msr("msr.tsc_backwards",     "The time-stamp counter goes down",                                replaced(TimeStampCounter, "read", backwards), "time.tsc.mono_one", "timers", "sensitive"),
    msr("msr.kgs_halved",        "KERNEL_GS_BASE loses a bit",                                      reads(Msr.IA32_KERNEL_GS_BASE, flip=1), "msr.eff.kgs_exits", "isolation"),

    cr("cr.reset",               "The base of CS after reset is F0000H",                            wrapped(Cpu, "reset", low_reset), "mode.trans.reset_state"),
    cr("cr.cr0",                 "MOV to CR0 with a wrong value is ignored instead of refused",     refused(0),             "mode.cr.cr0_nw_cd0"),
    cr("cr.cr3",                 "MOV to CR3 with a wrong value is ignored instead of refused",     refused(3),             "mode.cr.cr3_bit63_nopcid"),
    cr("cr.cr4",                 "MOV to CR4 with a wrong value is ignored instead of refused",     refused(4),             "mode.cr.cr4_rsvd"),
    cr("cr.cr8",                 "MOV to CR8 with a wrong value is ignored instead of refused",     wrapped(Privileged, "_cr8", cr8_refused), "mode.cr.cr8_rsvd"),
    cr("cr.xcr0",                "XSETBV with a wrong value is ignored instead of refused",         wrapped(Privileged, "instead", xcr0_refused), "mode.xcr0.zero"),

    leaf("cpuid.invented",       "CPUID says VMX",                                                  bit(1, 2, 1 << 5),      "cpuid.set_equals_seen"),
    leaf("cpuid.beyond",         "A leaf beyond the last one answers 0, as on AMD",                 answer(lambda number, sub, *values: (0, 0, 0, 0) if 0xD < number < 0x4000_0000 else values), "cpuid.leaf0_max"),
    leaf("cpuid.apic_id",        "Leaf 1 says another APIC id",                                     bit(1, 1, 1 << 24),     "cpuid.apicid"),
    leaf("cpuid.nx",             "NXE can be set though NX is hidden",                              replaced(CpuidTable, "efer", property(lambda self: 0xD01)), "cpuid.nx_lm"),
    leaf("cpuid.hidden",         "Leaf 7 says what the monitor hides",                              bit(7, 1, FULL & 0xFFFF_FFFF), "cpuid.leaf7_hidden"),
    leaf("cpuid.hypervisor",     "The hypervisor bit is inverted",                                  bit(1, 2, 1 << 31),     "cpuid.hv_bit"),
    leaf("cpuid.hv_leaf",        "The hypervisor's signature is another",                           bit(0x4000_0000, 1, 1), "cpuid.hv_leaf"),
    leaf("cpuid.xcr0",           "Leaf 0DH offers AVX",                                             bit(0xD, 0, 4),         "cpuid.xd0_mask"),
    leaf("cpuid.xsave_size",     "Leaf 0DH says another size",                                      bit(0xD, 1, 0x400),     "cpuid.xd0_size"),
    leaf("cpuid.osxsave",        "OSXSAVE does not follow CR4",                                     fixed(osxsave=False),   "cpuid.osxsave_dyn"),
    leaf("cpuid.apic",           "The APIC flag does not follow APIC_BASE",                         fixed(apic=True),       "cpuid.apic_dyn", "interrupts"),
    leaf("cpuid.wider",          "CPUID says one bit of physical address too many",                 bit(0x8000_0008, 0, 1), "cpuid.maxphys_supported"),
    leaf("cpuid.width",          "CPUID says one bit of physical address too few",                  one_more_bit,           "cpuid.maxphys"),
)
# fmt: on
