"""Base addresses: sized with all ones, placed by the guest, decoded while the command register says so.

The low bits, which say of what kind a base address is, cannot be written; those below the size read 0.  A function answers
at its new place at once and no longer at the old one.
"""

from virtproof.conformance.bus_rig import CARD, MEMORY, PLAIN, PORTS, BusRig, placed
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, In, Load, Store, script
from virtproof.spec.bus_card import SIGNATURE, Register
from virtproof.spec.cite import Cite

BASES = (Cite("PCI Local Bus Specification 3.0", "'Base Addresses'"),)
ROM = (Cite("PCI Local Bus Specification 3.0", "'Expansion ROM Base Address Register'"),)
CONTROL = (Cite("PCI Local Bus Specification 3.0", "'Device Control'"),)
ONES = 0xFFFF_FFFF
MOVED = MEMORY + 0x10_0000
ROM_AT = 0xE080_0000

# fmt: off
CASES: tuple[Case, ...] = (
    script("bus.bar.size_mem32", "All ones bring the size of a memory BAR", "bus", BASES, BusRig,
        ConfigWrite(CARD, 0x10, 4, ONES), ConfigRead(CARD, 0x10, 4, 0xFFFE_0000)),
    script("bus.bar.size_io", "All ones bring the size of an I/O BAR, and bit 0", "bus", BASES, BusRig,
        ConfigWrite(CARD, 0x14, 4, ONES), ConfigRead(CARD, 0x14, 4, 0xFFFF_FFC1)),
    script("bus.bar.size_mem64", "A 64-bit BAR is sized over both registers", "bus", BASES, BusRig,
        ConfigWrite(CARD, 0x20, 4, ONES), ConfigWrite(CARD, 0x24, 4, ONES), ConfigRead(CARD, 0x20, 4, 0xFFFF_C00C),
        ConfigRead(CARD, 0x24, 4, ONES)),
    script("bus.bar.unimplemented_zero", "A BAR that is not there reads 0", "bus", BASES, BusRig,
        *(step for at in (0x18, 0x1C, 0x20, 0x24) for step in (ConfigWrite(PLAIN, at, 4, ONES), ConfigRead(PLAIN, at, 4, 0)))),
    script("bus.bar.restore_value", "After sizing the old address decodes again", "bus", BASES, placed,
        ConfigWrite(CARD, 0x10, 4, ONES), ConfigWrite(CARD, 0x10, 4, MEMORY), Load(MEMORY, 4, SIGNATURE)),
    script("bus.bar.decode_needs_cmd", "Decoding needs bits 1 and 0 of the command register", "bus", CONTROL, placed,
        Load(MEMORY, 4, SIGNATURE), In(PORTS, 4, SIGNATURE),
        ConfigWrite(CARD, 4, 2, 1), Load(MEMORY, 4, ONES), In(PORTS, 4, SIGNATURE),
        ConfigWrite(CARD, 4, 2, 2), Load(MEMORY, 4, SIGNATURE), In(PORTS, 4, ONES),
        ConfigWrite(CARD, 4, 2, 0), Load(MEMORY, 4, ONES), In(PORTS, 4, ONES)),
    script("bus.bar.move", "A BAR that moves answers there, and no longer here", "bus", BASES, placed,
        Store(MEMORY + Register.SCRATCH, 4, 0x1234), ConfigWrite(CARD, 0x10, 4, MOVED), Load(MEMORY + Register.SCRATCH, 4, ONES),
        Load(MOVED + Register.SCRATCH, 4, 0x1234), ConfigWrite(CARD, 0x14, 4, 0xD000), In(PORTS, 4, ONES), In(0xD000, 4, SIGNATURE)),
    script("bus.bar.low_bits_ro", "Kind and prefetch bits cannot be written", "bus", BASES, BusRig,
        ConfigWrite(CARD, 0x20, 4, 0), ConfigRead(CARD, 0x20, 4, 0x0000_000C), ConfigWrite(CARD, 0x14, 4, 0),
        ConfigRead(CARD, 0x14, 4, 0x0000_0001), priority=2),
    script("bus.rom.size", "The ROM's BAR is sized without its enable bit", "bus", ROM, BusRig,
        ConfigWrite(CARD, 0x30, 4, 0xFFFF_F800), ConfigRead(CARD, 0x30, 4, 0xFFFC_0000), ConfigWrite(PLAIN, 0x30, 4, 0xFFFF_F800),
        ConfigRead(PLAIN, 0x30, 4, 0)),
    script("bus.rom.enable", "A ROM decodes with both its own and the memory enable", "bus", ROM, placed,
        ConfigWrite(CARD, 0x30, 4, ROM_AT), Load(ROM_AT, 2, 0xFFFF), ConfigWrite(CARD, 0x30, 4, ROM_AT + 1), Load(ROM_AT, 2, 0xAA55),
        ConfigWrite(CARD, 4, 2, 1), Load(ROM_AT, 2, 0xFFFF)),
)
# fmt: on
