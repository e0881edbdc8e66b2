"""What a device may read and write, by the example of a card that copies guest memory.

A master reaches all RAM, wherever its slots lie, at any alignment, and nothing else: what has no memory aborts the
transfer, read-only memory is not written, and a device does not reach the registers of devices, its own included.
"""

from virtproof.conformance.areas.bus.shadow import PAM1, with_rom
from virtproof.conformance.bus_rig import CARD, MEMORY, BusRig, copy, placed
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Fill, Load, Put, Step, Store, script
from virtproof.guest_payloads.accesses import FREE
from virtproof.guest_payloads.accesses import MEMORY as TOP
from virtproof.spec.bus_card import Register, Status
from virtproof.spec.cite import Cite
from virtproof.vmm.machine import Machine

MASTER = (Cite("PCI Local Bus Specification 3.0", "'Bus Operation', 'Basic Transfer Control'"),)
ABORT = (Cite("PCI Local Bus Specification 3.0", "'Master Initiated Termination', 'Master-Abort'"),)
PAM = (Cite("Intel 440FX PCIset data sheet", "'PAM - Programmable Attribute Map Registers'"),)
TEXT = b"sixteen letters!"
FIRST, SECOND = (int.from_bytes(TEXT[n : n + 8], "little") for n in (0, 8))
HIGH = 1 << 32
MIB = 1 << 20
SEAM = TOP  # where a second slot begins


def two_slots(machine: Machine) -> BusRig:
    """A second slot behind the first, and one above 4 GiB."""
    machine.memory.add(SEAM, MIB)
    machine.memory.add(HIGH, MIB)
    return placed(machine)


def rom_rig(machine: Machine) -> BusRig:
    """The rig with a ROM; the first card is placed."""
    rig = with_rom(machine)
    rig.cards[0].function.place([MEMORY, 0xC000, 0xE100_0000])
    return rig


def high_copy(destination: int) -> tuple[Step, ...]:
    """To an address that the guest does not map, and back to where it can look."""
    return (*copy(FREE, destination, 16), *copy(destination, FREE + 0x1000, 16))


SEEN = (Load(FREE + 0x1000, 8, FIRST), Load(FREE + 0x1008, 8, SECOND))

# fmt: off
CASES: tuple[Case, ...] = (
    script("dma.slot_cross", "A copy over the seam of two slots is in one piece", "dma", MASTER, two_slots,
        Put(FREE, TEXT), *high_copy(SEAM - 7), *SEEN, Load(SEAM - 7, 8, FIRST), *copy(FREE, SEAM + MIB - 8, 16, expect=Status.REFUSED)),
    script("dma.end_of_ram", "The last byte of RAM can be used, and none behind it", "dma", MASTER, placed,
        Put(FREE, TEXT), *copy(FREE, TOP - 16, 16), Load(TOP - 16, 8, FIRST), Load(TOP - 8, 8, SECOND),
        *copy(FREE, TOP - 15, 16, expect=Status.REFUSED), ConfigRead(CARD, 6, 2, 0x2000, mask=0x2000)),
    script("dma.above4g", "Addresses above 4 GiB are reached with all 64 bits", "dma", MASTER, two_slots,
        Put(FREE, TEXT), *high_copy(HIGH + 0x123), *SEEN, Load(0x123, 8, 0)),
    script("dma.unaligned.addr", "Odd addresses work", "dma", MASTER, placed,
        Put(FREE + 3, TEXT), *copy(FREE + 3, FREE + 0x1000, 16), *SEEN, *copy(FREE + 3, FREE + 0x2001, 16), Load(FREE + 0x2001, 8, FIRST)),
    script("dma.page_cross", "A copy over a page boundary works", "dma", MASTER, placed,
        Put(FREE + 0xFFF, b"ab"), *copy(FREE + 0xFFF, FREE + 0x2FFF, 2), Load(FREE + 0x2FFF, 2, 0x6261), Load(FREE + 0x2FFE, 1, 0),
        Load(FREE + 0x3001, 1, 0)),
    script("dma.zero_len", "A copy of nothing moves nothing and ends", "dma", MASTER, placed,
        Fill(FREE, 64, 0x5A), *copy(FREE, FREE + 0x1000, 0), Load(FREE + 0x1000, 8, 0), Load(MEMORY + Register.COMPLETED, 4, 1), priority=2),
    script("dma.rom_write_dropped", "ROM and RAM that is read-only are not written", "dma", PAM, rom_rig,
        Put(FREE, TEXT), *copy(FREE, 0xFFFF_0000, 16, expect=Status.REFUSED), Load(0xFFFF_0000, 8, 0),
        ConfigWrite(0, PAM1, 1, 0x33), Store(0xC0000, 8, 7), ConfigWrite(0, PAM1, 1, 0x11),
        *copy(FREE, 0xC0000, 16, expect=Status.REFUSED), Load(0xC0000, 8, 7), priority=2),
    script("dma.low_640k", "Memory below 640 KiB can be used", "dma", MASTER, placed,
        Put(FREE, TEXT), *copy(FREE, 0x500, 16), Load(0x500, 8, FIRST), *copy(FREE, 0x9FFF0, 16), Load(0x9FFF8, 8, SECOND)),
    script("dma.fseg", "RAM in the BIOS area is reached where it is let through", "dma", PAM, rom_rig,
        Put(FREE, TEXT), ConfigWrite(0, 0x59, 1, 0x30), ConfigWrite(0, 0x5F, 1, 0x33), *copy(FREE, 0xE8C5C, 16), Load(0xE8C5C, 8, FIRST),
        *copy(0xE8C5C, 0xF0010, 16), Load(0xF0018, 8, SECOND)),
    script("dma.a0000_hole", "A copy into the hole of video memory does not happen", "dma", ABORT, rom_rig,
        Put(FREE, TEXT), *copy(FREE, 0xB8000, 16, expect=Status.REFUSED), Load(0xB8000, 4, 0xFFFF_FFFF),
        *copy(FREE, 0x9FFF8, 16, expect=Status.REFUSED), priority=2),
    script("dma.bounded_copy", "A copy of 4 GiB is refused, not tried", "dma", ABORT, placed,
        *copy(FREE, FREE, 0xFFFF_FFFF, expect=Status.REFUSED), *copy(0, 0, (16 << 20) + 1, expect=Status.REFUSED),
        Load(MEMORY + Register.COMPLETED, 4, 2)),
    script("dma.no_mmio_recursion", "A device does not reach registers, its own included", "dma", ABORT, placed,
        Put(FREE, b"\x01\0\0\0"), *copy(FREE, MEMORY + Register.COMMAND, 4, expect=Status.REFUSED),
        *copy(MEMORY, FREE + 0x1000, 4, expect=Status.REFUSED), Load(FREE + 0x1000, 4, 0), *copy(FREE, 0xFEE0_0300, 4, expect=Status.REFUSED),
        Load(MEMORY + Register.COMPLETED, 4, 3)),
    script("dma.endianness", "Numbers are little-endian on the bus", "dma", MASTER, placed,
        Store(FREE, 4, 0x0102_0304), *copy(FREE, FREE + 0x1000, 2), Load(FREE + 0x1000, 4, 0x0304),
        Store(MEMORY + Register.SCRATCH, 4, 0x0102_0304), Load(MEMORY + Register.SCRATCH, 1, 4), priority=2),
)
# fmt: on
