"""The MSRs of the software processor: a table of what is there, which values it takes, and what answers it.

Intel SDM vol. 4, "Architectural MSRs".  What is not in the table, and the monitor's interrupt controllers do not
answer, raises #GP.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import NamedTuple

from virtproof.spec.x86.control import Cr0, Efer
from virtproof.spec.x86.msr import PAT_RESET, ApicBase, McgCap, MiscEnable, Msr, MtrrCap, MtrrDefType
from virtproof.spec.x86.paging import is_canonical
from virtproof.vmm.engine import AnswersMsrs
from virtproof.vmm.engines.software.cpu import FS, GS, NATIVE_MSRS, Cpu
from virtproof.vmm.engines.software.cpuid import CpuidTable
from virtproof.vmm.engines.software.linear import PHYSICAL_BITS

FULL = (1 << 64) - 1
_MEMORY_TYPES = (0, 1, 4, 5, 6)  # UC, WC, WT, WP, WB
_PHYSICAL = (1 << PHYSICAL_BITS) - 1


def _anything(value: int) -> bool:
    return True


def _low_type(value: int) -> bool:
    return value & 0xFF in _MEMORY_TYPES


def _zero(value: int) -> bool:
    return value == 0


def _types(*allowed: int) -> Callable[[int], bool]:
    """Eight memory types, a byte each."""
    return lambda value: all(value >> shift & 0xFF in allowed for shift in range(0, 64, 8))


class Register(NamedTuple):
    """An MSR.  ``writable`` bits may be set and ``valid`` must agree, else #GP; without ``writable``: read-only."""

    reset: int = 0
    writable: int = FULL
    valid: Callable[[int], bool] = _anything
    ignores_writes: bool = False


_READ_ONLY = 0
_MTRRS = 8  # of variable range
_BANKS = 4  # of machine checks
# fmt: off
TABLE: dict[int, Register] = {
    Msr.IA32_PLATFORM_ID:     Register(0, _READ_ONLY),
    Msr.IA32_FEATURE_CONTROL: Register(1, _READ_ONLY),  # locked, without VMX
    Msr.IA32_BIOS_SIGN_ID:    Register(1 << 32, ignores_writes=True),
    Msr.IA32_MTRRCAP:         Register(MtrrCap(0).but(vcnt=_MTRRS, fix=1, wc=1), _READ_ONLY),
    Msr.IA32_SYSENTER_CS:     Register(0, 0xFFFF_FFFF),
    Msr.IA32_SYSENTER_ESP:    Register(valid=is_canonical),
    Msr.IA32_SYSENTER_EIP:    Register(valid=is_canonical),
    Msr.IA32_MCG_CAP:         Register(McgCap(0).but(count=_BANKS), _READ_ONLY),
    Msr.IA32_MCG_STATUS:      Register(0, 0b111),
    Msr.IA32_MISC_ENABLE:     Register(1, MiscEnable.KNOWN),
    Msr.IA32_DEBUGCTL:        Register(0, 0b11),
    Msr.IA32_PAT:             Register(PAT_RESET, valid=_types(*_MEMORY_TYPES, 7)),
    Msr.IA32_MTRR_DEF_TYPE:   Register(0, MtrrDefType.KNOWN, _low_type),
    Msr.IA32_STAR:            Register(),
    Msr.IA32_LSTAR:           Register(valid=is_canonical),
    Msr.IA32_CSTAR:           Register(valid=is_canonical),
    Msr.IA32_FMASK:           Register(0, 0xFFFF_FFFF),
    Msr.IA32_FS_BASE:         Register(valid=is_canonical),
    Msr.IA32_GS_BASE:         Register(valid=is_canonical),
    Msr.IA32_KERNEL_GS_BASE:  Register(valid=is_canonical),
    Msr.IA32_TSC_AUX:         Register(0, 0xFFFF_FFFF),
    **{0x200 + 2 * n: Register(0, _PHYSICAL & ~0xF00, _low_type) for n in range(_MTRRS)},
    **{0x201 + 2 * n: Register(0, _PHYSICAL & ~0x7FF) for n in range(_MTRRS)},
    **{0x400 + 4 * n: Register(FULL, valid=lambda value: value in (0, FULL)) for n in range(_BANKS)},  # MCi_CTL
    **{0x401 + 4 * n + m: Register(0, valid=_zero) for n in range(_BANKS) for m in range(3)},  # STATUS, ADDR, MISC
    **{index: Register(valid=_types(*_MEMORY_TYPES)) for index in (0x250, 0x258, 0x259, *range(0x268, 0x270))},
}
# fmt: on


# Those that the processor itself has, to save and restore.
INDICES = (Msr.IA32_TIME_STAMP_COUNTER, Msr.IA32_TSC_ADJUST, Msr.IA32_EFER, *TABLE)


class TimeStampCounter:
    """Counts nanoseconds since the processor was made; IA32_TSC_ADJUST is what software added.

    Intel SDM vol. 3B, "Time-Stamp Counter Adjustment".
    """

    def __init__(self) -> None:
        self._start = monotonic_ns()
        self.adjust = 0

    def read(self) -> int:
        return (monotonic_ns() - self._start + self.adjust) & FULL

    def write(self, value: int) -> None:
        self.adjust = (self.adjust + value - self.read()) & FULL

    def restore(self, value: int, adjust: int) -> None:
        """Go on from both."""
        self._start, self.adjust = monotonic_ns() + adjust - value, adjust


class Msrs:
    """The MSRs of one processor."""

    def __init__(self, cpu: Cpu, cpuid: CpuidTable, tsc: TimeStampCounter) -> None:
        self._cpu, self._cpuid, self._tsc = cpu, cpuid, tsc
        self._values = {index: register.reset for index, register in TABLE.items()}
        self.others: AnswersMsrs | None = None
        for index in NATIVE_MSRS - {Msr.IA32_FS_BASE, Msr.IA32_GS_BASE}:
            cpu.set_msr(index, 0)

    @property
    def apic_enabled(self) -> bool:
        """May CPUID show the local APIC?  One that nobody models was never switched off."""
        base = self.others.read_msr(Msr.IA32_APIC_BASE) if self.others is not None else None
        return base is None or ApicBase(base).en

    def read(self, index: int) -> int | None:
        """Read as RDMSR; None: #GP."""
        state = self._cpu.state
        match index:
            case Msr.IA32_TIME_STAMP_COUNTER:
                return self._tsc.read()
            case Msr.IA32_TSC_ADJUST:
                return self._tsc.adjust
            case Msr.IA32_EFER:
                return int(state.efer)
            case Msr.IA32_FS_BASE:
                return int(state.segments[FS].base)
            case Msr.IA32_GS_BASE:
                return int(state.segments[GS].base)
        if index == Msr.IA32_TSC_DEADLINE and not self._cpuid.tsc_deadline:
            return None
        answer = self.others.read_msr(index) if self.others is not None else None
        if answer is not None:
            return answer
        if index == Msr.IA32_APIC_BASE:
            return self._cpu.apic_base
        return self._cpu.msr(index) if index in NATIVE_MSRS else self._values.get(index)

    def write(self, index: int, value: int) -> bool:
        """Write as WRMSR; False: #GP."""
        if index == Msr.IA32_TIME_STAMP_COUNTER:
            self._tsc.write(value)
            return True
        if index == Msr.IA32_TSC_ADJUST:
            self._tsc.adjust = value
            return True
        if index == Msr.IA32_EFER:
            return self._write_efer(value)
        register = TABLE.get(index)
        if register is None:
            if index == Msr.IA32_TSC_DEADLINE and not self._cpuid.tsc_deadline:
                return False
            return self.others is not None and self.others.write_msr(index, value)
        if register.ignores_writes:
            return True
        if not register.writable or value & ~register.writable or not register.valid(value):
            return False
        if index in (Msr.IA32_FS_BASE, Msr.IA32_GS_BASE):
            self._cpu.state.segments[FS if index == Msr.IA32_FS_BASE else GS].base = value
        elif index in NATIVE_MSRS:
            self._cpu.set_msr(index, value)
        else:
            self._values[index] = value
        return True

    def restore(self, index: int, value: int) -> bool:
        """Write as the monitor, which puts the counter and what software added to it back one by one."""
        if index == Msr.IA32_TIME_STAMP_COUNTER:
            self._tsc.restore(value, self._tsc.adjust)
        elif index == Msr.IA32_TSC_ADJUST:
            self._tsc.restore(self._tsc.read(), value)
        else:
            return self.write(index, value)
        return True

    def _write_efer(self, value: int) -> bool:
        cpu = self._cpu
        before = cpu.state.efer
        if value & ~self._cpuid.efer or ((value ^ before) & Efer.lme.mask and cpu.state.cr[0] & Cr0.pg.mask):
            return False
        cpu.state.efer = value & ~Efer.lma.mask | before & Efer.lma.mask
        if (value ^ before) & Efer.nxe.mask:
            cpu.flush_tlb()
        return True
