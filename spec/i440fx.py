"""Intel 440FX PCIset (82441FX PMC) and 82371SB (PIIX3) data sheets: registers that firmware programs."""

from typing import NamedTuple

from virtproof.spec.bits import Bits, bit, bits

VENDOR = 0x8086
HOST_BRIDGE, HOST_REVISION, HOST_CLASS = 0x1237, 0x02, 0x060000
ISA_BRIDGE, ISA_CLASS = 0x7000, 0x060100
ISA_SLOT = 1

SMRAM, SMRAM_RESET = 0x72, 0x02  # "SMRAM - System Management RAM Control Register"
SMRAM_WRITABLE = 0x78

PAM, PAMS = 0x59, 7  # "PAM - Programmable Attribute Map Registers"
PAM_WRITABLE = 0x33


class Attributes(Bits, width=4):
    """Half a PAM register: where reads and writes of its segment go, memory or the bus."""

    read = bit(0)
    write = bit(1)


class Segment(NamedTuple):
    """A range of guest-physical addresses, and the half of a PAM register that is about it."""

    start: int
    length: int
    register: int  # 0 to 6
    shift: int


SEGMENTS = (
    *(
        Segment(0xC0000 + 0x8000 * pair + 0x4000 * half, 0x4000, 1 + pair, 4 * half)
        for pair in range(6)
        for half in range(2)
    ),
    Segment(0xF0000, 0x10000, 0, 4),
)

PIRQ_ROUTE, PIRQS = 0x60, 4  # "PIRQRCx# - PIRQx Route Control Registers"
PIRQ_RESET, PIRQ_WRITABLE = 0x80, 0x8F


class PirqRoute(Bits, width=8):
    """ "PIRQRC[A:D]"."""

    irq = bits(3, 0)
    disabled = bit(7)


ROUTABLE = frozenset((3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15))  # the others are reserved
