"""The bus card: a PCI card of virtproof's own, made for cases about the bus.

It has an identity, its registers twice (in a memory BAR of 128 KiB and an I/O BAR of 64 bytes), a 64-bit BAR with the
MSI-X table, an expansion ROM, one interrupt pin, MSI and MSI-X.  It copies guest memory when told to.
"""

from enum import IntEnum, IntFlag

VENDOR, DEVICE, REVISION, CLASS = 0x1B36, 0x00FF, 0x01, 0xFF0000
SUBSYSTEM_VENDOR, SUBSYSTEM = 0x1B36, 0x1100

REGISTERS_BAR, REGISTERS_SIZE = 0, 0x20000
PORTS_BAR, PORTS_SIZE = 1, 64
MSIX_BAR, MSIX_SIZE, MSIX_VECTORS, MSIX_TABLE, MSIX_PBA = 4, 0x4000, 4, 0x0000, 0x2000
MSI_OFFSET, MSIX_OFFSET = 0x7C, 0x90
ROM_SIZE = 0x40000
SIGNATURE = 0x4443_5056


class Register(IntEnum):
    """Offsets in both BARs; four bytes each, eight where named wide."""

    SIGNATURE = 0x00  # read-only
    SCRATCH = 0x04
    SOURCE = 0x08  # wide: where a copy begins ...
    DESTINATION = 0x10  # wide: ... and where it goes
    LENGTH = 0x18  # bytes
    COMMAND = 0x1C  # write: Command
    STATUS = 0x20  # read: Status of the last command
    PIN = 0x24  # bit 0: the level that the interrupt pin should have
    MESSAGE = 0x28  # write: send the message of this vector
    COMPLETED = 0x2C  # read: how many commands were done
    REPORT = 0x30  # wide: where that number is written when a command is done; 0: nowhere
    FIFO = 0x38  # write: append a word; read: take the first, 0 where there is none


class Command(IntFlag):
    """What to do; bits 15:8 are the vector of MESSAGE."""

    COPY = 1
    COPY_DESCRIBED = 2  # by three wide words at SOURCE: source, destination, length
    PIN = 4  # raise the pin when done
    MESSAGE = 8  # send a message when done


class Status(IntEnum):
    """How the last command ended."""

    NONE = 0
    DONE = 1
    REFUSED = 2  # the bus was not mastered, or nobody answered


FIFO_DEPTH = 64  # words; further ones are lost
