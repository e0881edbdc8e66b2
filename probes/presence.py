"""Does a processor have an MSR?  Answered from its CPUID, and from MSRs that speak of others."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

from virtproof.spec.x86.msr_presence import PRESENCE, Condition, CpuidFlag, Maker

Register: TypeAlias = "Callable[[int, str], int | None]"  # (leaf, register name); None: not read
Msr: TypeAlias = "Callable[[int], int | None]"


def absence(index: int, cpuid: Register, msr: Msr) -> str:
    """Why a processor certainly does not have an MSR; empty where it has it, or may have it."""
    for condition in PRESENCE.get(index, ()):
        if _holds(condition, cpuid, msr) is False:
            return condition.otherwise
    return ""


def _holds(condition: Condition, cpuid: Register, msr: Msr) -> bool | None:
    if isinstance(condition, Maker):
        words = [cpuid(0, register) for register in ("ebx", "edx", "ecx")]
        known = [word for word in words if word is not None]
        return struct.pack("<3I", *known).decode("latin-1") in condition.vendors if len(known) == 3 else None
    if isinstance(condition, CpuidFlag):
        value = cpuid(condition.leaf, condition.register)
        if value is None:  # a leaf above the highest one has no flags
            highest = cpuid(condition.leaf & 0xFFFF_0000, "eax")
            return None if highest is None or condition.leaf <= highest < 1 << 32 else False
        return bool(condition.field.of(value))
    value = msr(condition.index)
    return None if value is None else int(condition.field.of(value >> condition.shift)) >= condition.least
