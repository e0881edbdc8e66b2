"""SCSI: T10 SPC-4 (primary commands), SBC-3 (disks) and MMC-6 (CD-ROM); what a target and its controllers share.

All numbers in commands and data are big-endian.
"""

from enum import IntEnum
from typing import NamedTuple

BLOCK = 512  # bytes of a logical block of a disk
CD_BLOCK = 2048
LARGEST_CDB = 16


class Status(IntEnum):
    """SAM-5, "Status codes"."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    BUSY = 0x08
    TASK_ABORTED = 0x40


class Opcode(IntEnum):
    """The commands that are known here, by their SPC-4, SBC-3 or MMC-6 names."""

    TEST_UNIT_READY = 0x00
    REQUEST_SENSE = 0x03
    READ_6 = 0x08
    WRITE_6 = 0x0A
    INQUIRY = 0x12
    MODE_SELECT_6 = 0x15
    MODE_SENSE_6 = 0x1A
    START_STOP_UNIT = 0x1B
    PREVENT_ALLOW_MEDIUM_REMOVAL = 0x1E
    READ_CAPACITY_10 = 0x25
    READ_10 = 0x28
    WRITE_10 = 0x2A
    VERIFY_10 = 0x2F
    SYNCHRONIZE_CACHE_10 = 0x35
    UNMAP = 0x42
    READ_TOC = 0x43
    GET_CONFIGURATION = 0x46
    GET_EVENT_STATUS_NOTIFICATION = 0x4A
    MODE_SELECT_10 = 0x55
    MODE_SENSE_10 = 0x5A
    READ_16 = 0x88
    WRITE_16 = 0x8A
    VERIFY_16 = 0x8F
    SYNCHRONIZE_CACHE_16 = 0x91
    SERVICE_ACTION_IN_16 = 0x9E
    REPORT_LUNS = 0xA0
    READ_12 = 0xA8
    WRITE_12 = 0xAA


READ_CAPACITY_16 = 0x10  # service action of SERVICE ACTION IN (16)

# SPC-4, "Operation code": bytes of a CDB by the group in bits 7:5 of its first byte; the other groups vary or are ours.
CDB_LENGTHS = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}


class Span(NamedTuple):
    """Where a CDB holds its first logical block and their number: offset and length in bytes of each."""

    first: tuple[int, int]
    blocks: tuple[int, int]


# SBC-3, "Commands for direct access block devices".  READ (6) and WRITE (6) have 21 bits of address, and mean 256 by 0.
SPAN_6 = Span((1, 3), (4, 1))
SPAN_10 = Span((2, 4), (7, 2))
SPAN_12 = Span((2, 4), (6, 4))
SPAN_16 = Span((2, 8), (10, 4))
SPANS = {
    Opcode.READ_6: SPAN_6, Opcode.READ_10: SPAN_10, Opcode.READ_12: SPAN_12, Opcode.READ_16: SPAN_16,
    Opcode.WRITE_6: SPAN_6, Opcode.WRITE_10: SPAN_10, Opcode.WRITE_12: SPAN_12, Opcode.WRITE_16: SPAN_16,
    Opcode.VERIFY_10: SPAN_10, Opcode.VERIFY_16: SPAN_16,
    Opcode.SYNCHRONIZE_CACHE_10: SPAN_10, Opcode.SYNCHRONIZE_CACHE_16: SPAN_16,
}  # fmt: skip


class Sense(NamedTuple):
    """SPC-4, "Sense key and additional sense code definitions"."""

    key: int
    asc: int
    ascq: int


NO_SENSE = Sense(0x0, 0x00, 0x00)
NO_MEDIUM = Sense(0x2, 0x3A, 0x00)
STOPPED = Sense(0x2, 0x04, 0x02)  # not ready, START STOP UNIT is needed
WRITE_ERROR = Sense(0x3, 0x0C, 0x00)
READ_ERROR = Sense(0x3, 0x11, 0x00)
PARAMETER_LIST_LENGTH = Sense(0x5, 0x1A, 0x00)
INVALID_OPCODE = Sense(0x5, 0x20, 0x00)
LBA_OUT_OF_RANGE = Sense(0x5, 0x21, 0x00)
INVALID_FIELD_IN_CDB = Sense(0x5, 0x24, 0x00)
LUN_NOT_SUPPORTED = Sense(0x5, 0x25, 0x00)
INVALID_FIELD_IN_PARAMETERS = Sense(0x5, 0x26, 0x00)
SAVING_NOT_SUPPORTED = Sense(0x5, 0x39, 0x00)
REMOVAL_PREVENTED = Sense(0x5, 0x53, 0x02)
MEDIUM_CHANGED = Sense(0x6, 0x28, 0x00)
POWER_ON = Sense(0x6, 0x29, 0x00)
WRITE_PROTECTED = Sense(0x7, 0x27, 0x00)

FIXED_SENSE = 18  # bytes


def fixed(sense: Sense) -> bytes:
    """Sense data of a current error in fixed format; SPC-4, "Fixed format sense data"."""
    data = bytearray(FIXED_SENSE)
    data[0], data[2], data[7] = 0x70, sense.key, FIXED_SENSE - 8
    data[12], data[13] = sense.asc, sense.ascq
    return bytes(data)


class PeripheralType(IntEnum):
    """Byte 0 of the INQUIRY data; SPC-4, "Standard INQUIRY data"."""

    DISK = 0x00
    CD_ROM = 0x05
    NO_UNIT = 0x7F  # with the qualifier "the device server cannot have one here"


SPC_4 = 0x06  # the version field
INQUIRY_LENGTH = 36  # bytes of the part that every device has


class Vpd(IntEnum):
    """SPC-4 and SBC-3, "Vital product data parameters"."""

    SUPPORTED = 0x00
    SERIAL_NUMBER = 0x80
    IDENTIFICATION = 0x83
    BLOCK_LIMITS = 0xB0
    BLOCK_CHARACTERISTICS = 0xB1
    PROVISIONING = 0xB2


class ModePage(IntEnum):
    """SBC-3 and MMC-6, "Mode parameters"."""

    CACHING = 0x08
    CD_CAPABILITIES = 0x2A
    ALL = 0x3F


class PageControl(IntEnum):
    """Which values MODE SENSE gives; SPC-4, "MODE SENSE (6) command"."""

    CURRENT = 0
    CHANGEABLE = 1
    DEFAULT = 2
    SAVED = 3


# SAM-5, "Single level LUN structure": peripheral device and flat space addressing, by bits 7:6 of the first byte.
PERIPHERAL, FLAT = 0, 1


def lun_of(address: bytes) -> int | None:
    """The number in an eight-byte LUN of one level; None for any other."""
    method, high, low = address[0] >> 6, address[0] & 0x3F, address[1]
    if any(address[2:8]) or method not in (PERIPHERAL, FLAT) or (method == PERIPHERAL and high):
        return None
    return high << 8 | low


def lun_address(lun: int) -> bytes:
    """Eight bytes for a LUN below 16384."""
    return (lun if lun < 256 else FLAT << 14 | lun).to_bytes(2, "big") + bytes(6)
