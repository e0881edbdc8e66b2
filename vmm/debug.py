"""Hardware breakpoints as values: Intel SDM vol. 3B, "Debug Registers"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from virtproof.spec.fault import Fault
from virtproof.spec.x86.debug import DR7_RESET, BreakLength, BreakOn, Dr7

MAX_BREAKPOINTS = 4


class HardwareBreakpoint(NamedTuple):
    """An address, what access to it stops the guest, and how many bytes are watched."""

    address: int
    on: BreakOn = BreakOn.EXECUTE
    length: BreakLength = BreakLength.ONE


def control(points: Sequence[HardwareBreakpoint]) -> Dr7:
    """Return the DR7 that enables ``points`` in DR0 to DR3.  Raises Fault for more than four."""
    if len(points) > MAX_BREAKPOINTS:
        raise Fault("set hardware breakpoints", f"{len(points)} are asked for", "the processor has four")
    value = int(DR7_RESET)
    for at, point in enumerate(points):
        value |= 0b10 << 2 * at | point.on << 16 + 4 * at | point.length << 18 + 4 * at
    return Dr7(value)
