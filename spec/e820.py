"""Types of memory ranges: ACPI Specification, "System Address Map Interfaces", "Address Range Types"."""

from enum import IntEnum


class RangeType(IntEnum):
    """As INT 15H, E820H reports them; Multiboot and PVH use the same numbers."""

    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4
    UNUSABLE = 5
