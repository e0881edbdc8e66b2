"""I/O APIC register file: Intel 82093AA data sheet, "Register Description"; EOI register: Intel ICH data sheets.

What it sends are messages: Intel SDM vol. 3A, "Message Signalled Interrupts".
"""

from virtproof.spec.bits import Bits, bit, bits

BASE, SIZE = 0xFEC0_0000, 0x1000
PINS = 24
VERSION_NUMBER = 0x20  # has an EOI register
SELECT, WINDOW, EOI = 0x00, 0x10, 0x40  # offsets
ID, VERSION, ARBITRATION, TABLE = 0x00, 0x01, 0x02, 0x10  # registers behind the window; two words each entry


# fmt: off
class Select(Bits, width=32):
    """IOREGSEL."""

    index = bits(7, 0)


class Version(Bits, width=32):
    """IOAPICVER."""

    version   = bits(7, 0)
    max_entry = bits(23, 16, "number of the last entry")


class Entry(Bits, width=64):
    """An entry of the redirection table."""

    vector      = bits(7, 0)
    delivery    = bits(10, 8, "Delivery")
    logical     = bit(11)
    busy        = bit(12, "delivery status; read-only")
    active_low  = bit(13)
    remote_irr  = bit(14, "a level was accepted and not ended yet; read-only")
    level       = bit(15)
    masked      = bit(16)
    destination = bits(63, 56)


WRITABLE = Entry.KNOWN & ~Entry.busy.mask & ~Entry.remote_irr.mask
# fmt: on
