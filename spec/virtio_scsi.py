"""VIRTIO 1.2, "SCSI Host Device"."""

from enum import IntEnum

CONTROL, EVENT, REQUEST = range(3)  # queues; the last and all behind it take commands

CDB_SIZE, SENSE_SIZE = 32, 96  # what the configuration says until the driver changes it
REQUEST_HEADER = 19  # bytes before the CDB: lun[8], id u64, task_attr, prio, crn
RESPONSE_HEADER = 12  # bytes before the sense data: sense_len, residual u32, status_qualifier u16, status, response
TASK_MANAGEMENT = 24  # bytes: type, subtype u32, lun[8], id u64
ASYNC_NOTIFICATION = 16  # bytes: type u32, lun[8], event_requested u32
EVENT_SIZE = 16  # bytes: event u32, lun[8], reason u32


# fmt: off
class Feature(IntEnum):
    """ "Feature bits"."""

    HOTPLUG = 1 << 1


class Config:
    """Offsets of "Device configuration layout"."""

    NUM_QUEUES      = 0   # u32
    SEG_MAX         = 4   # u32
    MAX_SECTORS     = 8   # u32
    CMD_PER_LUN     = 12  # u32
    EVENT_INFO_SIZE = 16  # u32
    SENSE_SIZE      = 20  # u32, written by the driver
    CDB_SIZE        = 24  # u32, written by the driver
    MAX_CHANNEL     = 28  # u16
    MAX_TARGET      = 30  # u16
    MAX_LUN         = 32  # u32
    SIZE            = 36


class Response(IntEnum):
    """ "Device Operation: Request Queues" and, from FUNCTION_SUCCEEDED on, of the control queue."""

    OK                  = 0
    OVERRUN             = 1
    ABORTED             = 2
    BAD_TARGET          = 3
    RESET               = 4
    BUSY                = 5
    TRANSPORT_FAILURE   = 6
    TARGET_FAILURE      = 7
    NEXUS_FAILURE       = 8
    FAILURE             = 9
    FUNCTION_SUCCEEDED  = 10
    FUNCTION_REJECTED   = 11
    INCORRECT_LUN       = 12


class ControlType(IntEnum):
    """ "Device Operation: controlq"."""

    TASK_MANAGEMENT = 0
    ASYNC_QUERY     = 1
    ASYNC_SUBSCRIBE = 2


class TaskManagement(IntEnum):
    ABORT_TASK         = 0
    ABORT_TASK_SET     = 1
    CLEAR_ACA          = 2
    CLEAR_TASK_SET     = 3
    I_T_NEXUS_RESET    = 4
    LOGICAL_UNIT_RESET = 5
    QUERY_TASK         = 6
    QUERY_TASK_SET     = 7


EVENTS_MISSED = 0x8000_0000


class Event(IntEnum):
    """ "Device Operation: eventq"."""

    NO_EVENT        = 0
    TRANSPORT_RESET = 1


class ResetReason(IntEnum):
    """Of TRANSPORT_RESET."""

    HARD    = 0
    RESCAN  = 1
    REMOVED = 2
# fmt: on
