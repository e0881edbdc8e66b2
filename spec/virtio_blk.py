"""VIRTIO 1.2, "Block Device"."""

from enum import IntEnum

SECTOR = 512
REQUESTS = 0  # the queue
REQUEST_HEADER = 16  # bytes: type u32, reserved u32, sector u64
ID_BYTES = 20
DISCARD_SEGMENT = 16  # bytes: sector u64, num_sectors u32, flags u32


# fmt: off
class Feature(IntEnum):
    """ "Feature bits"."""

    SEG_MAX  = 1 << 2
    RO       = 1 << 5
    BLK_SIZE = 1 << 6
    FLUSH    = 1 << 9
    DISCARD  = 1 << 13


class RequestType(IntEnum):
    """ "Device Operation"."""

    IN      = 0
    OUT     = 1
    FLUSH   = 4
    GET_ID  = 8
    DISCARD = 11


class RequestStatus(IntEnum):
    OK     = 0
    IOERR  = 1
    UNSUPP = 2


class Config:
    """Offsets of "Device configuration layout"."""

    CAPACITY             = 0   # u64, sectors
    SEG_MAX              = 12  # u32
    BLK_SIZE             = 20  # u32
    MAX_DISCARD_SECTORS  = 36  # u32
    MAX_DISCARD_SEG      = 40  # u32
    DISCARD_ALIGNMENT    = 44  # u32, sectors
    SIZE                 = 60
# fmt: on
