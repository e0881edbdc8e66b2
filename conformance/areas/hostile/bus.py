"""What no driver does with PCI: base addresses over RAM and system devices, any configuration write, any width.

The monitor goes on, whoever had an address first keeps it, and what cannot be written stays.
"""

from __future__ import annotations

import random

from virtproof.conformance.areas.bus.messages import OPEN, entry
from virtproof.conformance.bus_rig import (
    CARD,
    MEMORY,
    MSI,
    MSIX_CAPABILITY,
    PENDING,
    PORTS,
    SECOND,
    SECOND_MEMORY,
    TABLE,
    identity,
    placed,
)
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import (
    ConfigRead,
    ConfigWrite,
    Copy,
    Fill,
    Handle,
    In,
    InString,
    Interrupts,
    Load,
    Out,
    OutString,
    Pic,
    Put,
    Step,
    Store,
    script,
)
from virtproof.guest_payloads.accesses import FREE
from virtproof.spec.bus_card import SIGNATURE, Register
from virtproof.spec.cite import Cite

BASES = (Cite("PCI Local Bus Specification 3.0", "'Base Addresses'"),)
MECHANISM = (Cite("PCI Local Bus Specification 3.0", "'Software Generation of Configuration Transactions'"),)
LIST = (Cite("PCI Local Bus Specification 3.0", "'Capabilities List'"),)
ROM = (Cite("PCI Local Bus Specification 3.0", "'Expansion ROM Base Address Register'"),)
MSIX_CITE = (Cite("PCI Local Bus Specification 3.0", "'MSI-X Capability and Table Structures'"),)
ROUTES = (Cite("Intel 82371SB (PIIX3) data sheet", "'PIRQRCx# - PIRQx Route Control Registers'"),)
ONES, ALL = 0xFFFF_FFFF, (1 << 64) - 1
BRIDGE, LINE_B = 1 << 3, 0x61
SPARED = frozenset((*range(0xCF8, 0xD00), *range(0x5650, 0x5661)))  # configuration, and the guest's own way to the host


def shaken(seed: int, writes: int) -> tuple[Step, ...]:
    """Writes of every width anywhere in the card's configuration space."""
    rng = random.Random(seed)
    steps = []
    for _ in range(writes):
        size = rng.choice((1, 2, 4))
        steps.append(ConfigWrite(CARD, rng.randrange(0, 256, size), size, rng.getrandbits(8 * size)))
    return tuple(steps)


def every_width(base: int) -> tuple[Step, ...]:
    """Loads and stores of every width at every offset of a few bytes, over the end of the range included."""
    spots = [(base + at, size) for size in (1, 2, 4, 8) for at in range(12)]
    spots += [(base + 0x20000 - at, size) for size in (2, 4, 8) for at in range(1, 8)]
    return tuple(step for at, size in spots for step in (Load(at, size), Store(at, size, 0)))


# fmt: off
CASES: tuple[Case, ...] = (
    script("hostile.bus.bar_over_ram", "A BAR over RAM does not hide it", "hostile", BASES, placed,
        Store(FREE, 4, 0x1234), ConfigWrite(CARD, 0x10, 4, FREE), Load(FREE, 4, 0x1234), Store(FREE + Register.SCRATCH, 4, 0x77),
        Load(FREE + Register.SCRATCH, 4, 0x77), ConfigWrite(CARD, 0x10, 4, MEMORY), Load(MEMORY, 4, SIGNATURE),
        Load(MEMORY + Register.SCRATCH, 4, 0), Load(FREE, 4, 0x1234)),
    script("hostile.bus.bar_overlap", "Of two BARs at one address the first function's answers", "hostile", BASES, placed,
        Store(MEMORY + Register.SCRATCH, 4, 1), Store(SECOND_MEMORY + Register.SCRATCH, 4, 2), ConfigWrite(SECOND, 0x10, 4, MEMORY),
        Load(MEMORY + Register.SCRATCH, 4, 1), ConfigWrite(CARD, 4, 2, 0), Load(MEMORY + Register.SCRATCH, 4, 2),
        ConfigWrite(CARD, 4, 2, 7), Load(MEMORY + Register.SCRATCH, 4, 1)),
    script("hostile.bus.bar_over_lapic", "A BAR over the APICs does not reach them", "hostile", BASES, placed,
        Handle(0x41), OPEN, *entry(1, 0), ConfigWrite(CARD, 0x10, 4, 0xFEE0_0000), Load(0xFEE0_0030, 1, (0x14, 0x10, 0x15)),
        ConfigWrite(CARD, 0x10, 4, 0xFEC0_0000), Store(0xFEC0_0000, 4, 1), Load(0xFEC0_0010, 1, (0x11, 0x20)),
        ConfigWrite(CARD, 0x10, 4, MEMORY), Store(MEMORY + Register.MESSAGE, 4, 1), Interrupts(0x41, 1), priority=2),
    script("hostile.bus.bar_wrap", "A BAR at the end of the address space does not wrap", "hostile", BASES, placed,
        Store(0, 4, 0x1234), ConfigWrite(CARD, 0x20, 4, ONES), ConfigWrite(CARD, 0x24, 4, ONES), Load(0, 4, 0x1234),
        ConfigWrite(CARD, 0x10, 4, 0xFFFE_0000), Load(0xFFFE_0000, 4, SIGNATURE), Load(0, 4, 0x1234), ConfigWrite(CARD, 0x14, 4, 0xFFFF_FFC1),
        In(0xFFC0, 4, ONES), ConfigWrite(CARD, 0x14, 4, 0xFFC1), In(0xFFC0, 4, SIGNATURE), In(0x0000, 1, 0xFF)),
    script("hostile.bus.io_bar_over_system", "An I/O BAR does not take the ports of the board", "hostile", BASES, placed,
        ConfigWrite(CARD, 0x14, 4, 0x0CC0), identity(), Out(0xCF8, 4, 0x8000_0000), In(0xCF8, 4, 0x8000_0000), In(0xCC0, 4, SIGNATURE),
        ConfigWrite(CARD, 0x14, 4, 0x0560), identity(), ConfigWrite(CARD, 0x14, 4, 0x0CF9), In(0xCC0, 4, SIGNATURE)),
    script("hostile.bus.config_fuzz", "Any configuration writes leave identity and monitor alone", "hostile", MECHANISM, placed,
        *shaken(1, 1500), identity(), ConfigRead(CARD, 0x08, 4, 0xFF00_0001), ConfigRead(CARD, 0x2C, 4, 0x1100_1B36), identity(SECOND)),
    script("hostile.bus.cfc_width_cross", "A dword over the end of CFFH has nobody beyond it", "hostile", MECHANISM, placed,
        Out(0xCF8, 4, 0x8000_1000), In(0xCFE, 4, 0xFFFF_00FF), Out(0xCFE, 4, 0), identity(), priority=2),
    script("hostile.bus.cap_ro_fuzz", "Ids and next pointers of capabilities cannot be written", "hostile", LIST, placed,
        *(ConfigWrite(CARD, at, 1, 0xFF) for at in (0x34, MSI, MSI + 1, MSIX_CAPABILITY, MSIX_CAPABILITY + 1)), ConfigRead(CARD, 0x34, 1, MSI),
        ConfigRead(CARD, MSI, 2, MSIX_CAPABILITY << 8 | 5), ConfigRead(CARD, MSIX_CAPABILITY, 2, 0x0011), priority=2),
    script("hostile.bus.rom_bar_huge", "A ROM over RAM, or at 0, does not hide it", "hostile", ROM, placed,
        Store(FREE, 4, 0x1234), Store(0, 4, 0x5678), ConfigWrite(CARD, 0x30, 4, FREE | 1), Load(FREE, 4, 0x1234), ConfigWrite(CARD, 0x30, 4, 1),
        Load(0, 4, 0x5678), identity(), priority=2),
    script("hostile.bus.mmio_width", "Loads and stores of any width, at any alignment", "hostile", BASES, placed,
        *every_width(MEMORY), *(step for at in range(8) for size in (1, 2, 4) for step in (In(PORTS + at, size), Out(PORTS + at, size, 0))),
        Load(MEMORY, 4, SIGNATURE), Load(MEMORY + 1, 2, 0x4350 & 0xFFFF), In(PORTS, 4, SIGNATURE)),
    script("hostile.bus.rep_movs_mmio", "A string of 64 KiB into a BAR", "hostile", BASES, placed,
        Fill(FREE, 0x10000, 0x5A), Copy(MEMORY + 0x1000, FREE, 0x2000), Load(MEMORY, 4, SIGNATURE), priority=2),
    script("hostile.bus.io_sweep", "Every port can be read and written but those that reset", "hostile", BASES, placed,
        *(step for port in range(0x0, 0x10000, 0x31) if port not in SPARED
          for step in (InString(port, 1, FREE, 1), Out(port, 4, ONES))), identity()),
    script("hostile.msix.bad_table", "A message to no APIC is a write to memory, or nothing", "hostile", MSIX_CITE, placed,
        Handle(0x41), OPEN, Store(TABLE + 16, 8, FREE), Store(TABLE + 24, 4, 0x41), Store(TABLE + 28, 4, 0), Store(MEMORY + Register.MESSAGE, 4, 1),
        Store(TABLE + 16, 8, ALL), Store(TABLE + 24, 4, ONES), Store(MEMORY + Register.MESSAGE, 4, 1), Interrupts(0x41, 0),
        Load(FREE, 8, 0x41), *entry(1, 0), Store(MEMORY + Register.MESSAGE, 4, 1), Interrupts(0x41, 1)),
    script("hostile.msix.table_oob", "Beyond the last vector there is nothing", "hostile", MSIX_CITE, placed,
        Store(TABLE + 64, 4, 7), Load(TABLE + 64, 4, ONES), Store(PENDING + 8, 4, 7), Load(PENDING + 8, 4, ONES), Store(PENDING, 8, ALL),
        Load(PENDING, 8, 0), OPEN, Store(MEMORY + Register.MESSAGE, 4, 0xFF), Load(PENDING, 8, 0), priority=2),
    script("hostile.msi.storm", "Messages without end are one after the other", "hostile", MSIX_CITE, placed,
        Handle(0x41), OPEN, *entry(1, 0), Put(FREE, (1).to_bytes(4, "little") * 2048), *(OutString(PORTS + Register.MESSAGE, 4, FREE, 2048),) * 4,
        Interrupts(0x41, 1), identity(), priority=2),
    script("hostile.pirq.garbage", "Route registers of any value drive lines that exist", "hostile", ROUTES, placed,
        Pic(0, level=0xDEF8), Store(MEMORY + Register.PIN, 4, 1), *(ConfigWrite(BRIDGE, LINE_B, 1, value) for value in range(256)),
        ConfigWrite(BRIDGE, LINE_B, 1, 0x80), Out(0xA0, 1, 0x0A), In(0xA0, 1, 0), Out(0x20, 1, 0x0A), In(0x20, 1, 0), priority=2),
)
# fmt: on
