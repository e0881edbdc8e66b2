"""Does a processor have an MSR?  Answered from its CPUID, and from MSRs that speak of others."""

from __future__ import annotations

import struct
from collections.abc import Callable

from virtproof.spec.x86.msr_presence import PRESENCE, Condition, CpuidFlag, Maker, MsrAtLeast

Register = Callable[[int, str], int | None]  # (leaf, register name); None: not read
Msr = Callable[[int], int | None]


def absence(index: int, cpuid: Register, msr: Msr) -> str:
    """Why a processor certainly does not have an MSR; empty where it has it, or may have it."""
    for condition in PRESENCE.get(index, ()):
        if _holds(condition, cpuid, msr) is False:
            return condition.otherwise
    return ""


def _holds(condition: Condition, cpuid: Register, msr: Msr) -> bool | None:
    match condition:
        case Maker(vendors):
            words = [cpuid(0, register) for register in ("ebx", "edx", "ecx")]
            known = [word for word in words if word is not None]
            return struct.pack("<3I", *known).decode("latin-1") in vendors if len(known) == 3 else None
        case CpuidFlag(leaf, register, field):
            value = cpuid(leaf, register)
            if value is None:  # a leaf above the highest one has no flags
                highest = cpuid(leaf & 0xFFFF_0000, "eax")
                return None if highest is None or leaf <= highest < 1 << 32 else False
            return bool(field.of(value))
        case MsrAtLeast(other, field, _, least, shift):
            value = msr(other)
            return None if value is None else int(field.of(value >> shift)) >= least
