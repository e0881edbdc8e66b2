"""A hole: guest-physical addresses without memory, and the bytes that a device shows there."""

from virtproof.conformance.case import Contents

HOLE = 0x2000_0000  # mapped one to one by the trampolines that page, with a 2 MiB page

# What reads of the hole bring, by size.
BYTE, WORD, DOUBLEWORD, QUADWORD = 0x8B, 0x9A8B, 0xB5A6_9A8B, 0xF1E2_D3C4_B5A6_9A8B
NEXT = 0x7162_5344_3526_1708  # at HOLE + 8
DATA = QUADWORD.to_bytes(8, "little") + NEXT.to_bytes(8, "little")


def device(address: int = HOLE, data: bytes = DATA) -> Contents:
    return Contents("mmio", address, data)
