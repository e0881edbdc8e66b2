"""The four spare entries of the trampolines' GDT, 0x48 to 0x60: descriptors and gates that belong to stimuli alone."""

from __future__ import annotations

from virtproof.conformance.case import At, Set, mem64
from virtproof.guest_payloads.table import SetKind

SELECTOR = 0x48
HIGH = 1  # bits 31:16 of every symbol that stimuli use, which no value can compute: trampoline.ld

# Descriptors of base 0: where a name says no more, present, DPL 0, 32-bit, with a limit of 4 GiB.
# fmt: off
DATA                      = 0x00CF_9300_0000_FFFF
DATA_READ_ONLY            = 0x00CF_9100_0000_FFFF
DATA_ABSENT               = 0x00CF_1300_0000_FFFF
DATA_16                   = 0x0000_9300_0000_FFFF  # SS.B = 0, 64 KiB
DATA_TO_FF                = 0x0040_9300_0000_00FF  # offsets 0 to 0xFF
DATA_ABOVE_7FF            = 0x0040_9700_0000_07FF  # expand-down: offsets from 0x800
DATA_ABOVE_7FF_DPL3       = 0x0040_F700_0000_07FF
CODE                      = 0x00CF_9B00_0000_FFFF
CODE_EXECUTE_ONLY         = 0x00CF_9900_0000_FFFF
CODE_ABSENT               = 0x00CF_1B00_0000_FFFF
CODE_TO_FFF               = 0x0040_9B00_0000_0FFF
CODE_16                   = 0x008F_9B00_0000_FFFF  # D = 0, and yet 4 GiB
CODE_64                   = 0x00AF_9B00_0000_FFFF
CODE_64_EXECUTE_ONLY      = 0x00AF_9900_0000_FFFF
CODE_64_CONFORMING        = 0x00AF_9F00_0000_FFFF
CODE_64_ABSENT            = 0x00AF_1B00_0000_FFFF
CODE_64_AND_32            = 0x00EF_9B00_0000_FFFF  # L = 1 and D = 1
# fmt: on

GATE, GATE_DPL3, GATE_ABSENT = 0x8C, 0xEC, 0x6C  # the access byte of a call gate


def spare(descriptor: int, n: int = 0, upper: int = 0) -> tuple[Set, Set]:
    """The spare entry ``n``; ``upper`` is the second half that system descriptors of long mode have."""
    at = At("gdt", SELECTOR + 8 * n)
    return mem64(at, descriptor), mem64(at + 8, upper)


def based(descriptor: int, base: At, n: int = 0) -> tuple[Set, ...]:
    """The spare entry ``n`` with a base."""
    low = Set(SetKind.MEM16, At("gdt", SELECTOR + 8 * n + 2), base)
    return (*spare(descriptor | HIGH << 32, n), low)


def limited(descriptor: int, last: At) -> tuple[Set, ...]:
    """The first spare entry with a limit in bytes: ``last`` is the last offset."""
    low = Set(SetKind.MEM16, At("gdt", SELECTOR), last)
    return (*spare(descriptor & ~0x008F_0000_0000_FFFF | HIGH << 48), low)


def gate(access: int, selector: int, target: At, *, count: int = 0, upper: int = 0) -> tuple[Set, ...]:
    """The first spare entry as a call gate that leads to ``target``."""
    low = Set(SetKind.MEM16, At("gdt", SELECTOR), target)
    return (*spare(HIGH << 48 | access << 40 | count << 32 | selector << 16, upper=upper), low)
