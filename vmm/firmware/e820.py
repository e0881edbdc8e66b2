"""The memory map of a PC with firmware: ACPI Specification 6.5, "System Address Map Interfaces"."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from virtproof.spec.e820 import RangeType
from virtproof.vmm.loaders.layout import CONVENTIONAL_END, HOLE, HOLE_END, MIB, Range

EBDA = 0x9FC00  # "extended BIOS data area": the last KiB of conventional memory
FIRMWARE = 0xE0000  # tables and BIOS, up to 1 MiB
ROM = 0xFFFC_0000  # up to 4 GiB
_ENTRY = struct.Struct("<QQI")


def memory_map(ram: int) -> tuple[Range, ...]:
    """What INT 15H, E820H would say of a machine with ``ram`` bytes, by address; more than 3 GiB goes above 4 GiB."""
    low = min(ram, HOLE)
    rows = [
        Range(0, EBDA),
        Range(EBDA, CONVENTIONAL_END, RangeType.RESERVED),
        Range(FIRMWARE, MIB, RangeType.RESERVED),
        Range(MIB, low),
        Range(ROM, HOLE_END, RangeType.RESERVED),
    ]
    if ram > low:
        rows.append(Range(HOLE_END, HOLE_END + ram - low))
    return tuple(rows)


def packed(rows: Iterable[Range]) -> bytes:
    """As a BIOS and a boot loader hand them over: address, length, type."""
    return b"".join(_ENTRY.pack(row.start, row.end - row.start, row.type) for row in rows)
