"""Handlers in a row's own code: gates of 64-bit mode that lead there, and gates for an interrupt table elsewhere.

A row that must go on behind an exception, or look at what only a handler can see, sends the vector to an offset of its
own code, at ring 0.  The frame is then its own to pop.
"""

from __future__ import annotations

from virtproof.conformance.case import At, Set, mem16
from virtproof.guest_payloads.table import SetKind

CODE_HIGH = 1  # bits 31:16 of the symbol kernel_code, which no value can compute: trampoline.ld
_TO_RING_0 = 0x8E00_0008_0000  # an interrupt gate to selector 08H, as the low half has it


def handled(vector: int, offset: int) -> tuple[Set, Set]:
    """Send ``vector`` to this offset of the row's code at ring 0."""
    gate = At("idt", 16 * vector)
    return Set(SetKind.MEM16, gate, At("kernel_code", offset)), mem16(gate + 6, CODE_HIGH)


def gate(vector: int) -> At:
    """The low half of the gate that the trampoline has for ``vector``; the high half is 0."""
    return At("stubs", 16 * vector + _TO_RING_0)
