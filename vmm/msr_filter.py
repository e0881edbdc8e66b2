"""Ranges of MSRs for KVM's filter: Linux Documentation/virt/kvm/api.rst, "KVM_X86_SET_MSR_FILTER"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from virtproof.spec.fault import Fault
from virtproof.spec.kvm.exits import MsrFilterFlag

MAX_RANGE = 0x600 * 8  # MSRs in one range: the kernel takes a bitmap of that many bytes

BOTH = MsrFilterFlag.READ | MsrFilterFlag.WRITE


@dataclass(frozen=True, slots=True)
class MsrRange:
    """``count`` MSRs from ``base``; a bit set in ``bitmap`` allows that MSR for ``access``, a clear one denies it."""

    base: int
    count: int
    bitmap: bytes
    access: MsrFilterFlag = BOTH


def deny(indices: Iterable[int], access: MsrFilterFlag = BOTH) -> MsrRange:
    """One range that denies ``indices`` and allows what lies between them.  Raises Fault where it is too long."""
    wanted = sorted(set(indices))
    count = wanted[-1] - wanted[0] + 1 if wanted else 0
    if not 0 < count <= MAX_RANGE:
        raise Fault("make a range of MSRs", f"it spans {count}", f"use ranges of 1 to {MAX_RANGE}")
    allowed = (1 << count) - 1
    for index in wanted:
        allowed &= ~(1 << index - wanted[0])
    return MsrRange(wanted[0], count, allowed.to_bytes((count + 7) // 8, "little"), access)
