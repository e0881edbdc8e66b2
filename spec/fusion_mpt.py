"""LSI Logic Fusion-MPT, message passing interface 1.5: registers, messages, status codes of SCSI and SAS controllers.

The names are those of the LSI Fusion-MPT MPI 1.5 interface (the headers of its drivers).  Everything is little-endian;
lengths in messages count dwords.
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple, Self

from virtproof.spec.bits import Bits, bit, bits

VENDOR = 0x1000
DEVICE_53C1030, DEVICE_SAS1068 = 0x0030, 0x0054
CLASS = 0x010000

# "System interface registers": the same in I/O and in memory space
DOORBELL, WRITE_SEQUENCE, DIAGNOSTIC = 0x00, 0x04, 0x08
HOST_INTERRUPT_STATUS, HOST_INTERRUPT_MASK = 0x30, 0x34
REQUEST_QUEUE, REPLY_QUEUE = 0x40, 0x44
IO_SIZE, MEMORY_SIZE, DIAGNOSTIC_SIZE = 256, 16 << 10, 64 << 10

DOORBELL_INTERRUPT, REPLY_INTERRUPT = 0x1, 0x8  # of both interrupt registers; ones in the mask silence
INTERRUPTS = DOORBELL_INTERRUPT | REPLY_INTERRUPT
EMPTY = 0xFFFF_FFFF  # read from an empty reply FIFO
ADDRESS_REPLY = 0x8000_0000  # the rest is the frame's address, shifted right by one


class IocState(IntEnum):
    """Bits 31:28 of the doorbell."""

    RESET = 0
    READY = 1
    OPERATIONAL = 2
    FAULT = 4


class Doorbell(Bits, width=32):
    """The doorbell as it is read."""

    data = bits(15, 0, "a halfword of a reply, or why the state is FAULT")
    who_init = bits(26, 24, "who initialized the controller")
    active = bit(27, "a handshake goes on")
    state = bits(31, 28)


class DoorbellCommand(Bits, width=32):
    """The doorbell as it is written outside a handshake."""

    dwords = bits(23, 16, "length of the message that follows")
    function = bits(31, 24)


WRITE_KEYS = (0x4, 0xB, 0x2, 0x7, 0xD)  # "WriteSequence": in this order they allow writes to the diagnostic register


class Diagnostic(Bits, width=32):
    """ "Diagnostic register"."""

    disable_arm = bit(1)
    reset_adapter = bit(2)
    rw_enable = bit(4)
    reset_history = bit(5)
    write_enable = bit(7, "DRWE")


class Function(IntEnum):
    """What a message or a doorbell command asks for."""

    SCSI_IO_REQUEST = 0x00
    SCSI_TASK_MGMT = 0x01
    IOC_INIT = 0x02
    IOC_FACTS = 0x03
    CONFIG = 0x04
    PORT_FACTS = 0x05
    PORT_ENABLE = 0x06
    EVENT_NOTIFICATION = 0x07
    EVENT_ACK = 0x08
    MESSAGE_UNIT_RESET = 0x40
    IO_UNIT_RESET = 0x41
    HANDSHAKE = 0x42


class IocStatus(IntEnum):
    """How a request ended; the first ones are fault codes too."""

    SUCCESS = 0x0000
    INVALID_FUNCTION = 0x0001
    INVALID_SGL = 0x0003
    INSUFFICIENT_RESOURCES = 0x0006
    INVALID_FIELD = 0x0007
    INVALID_STATE = 0x0008
    CONFIG_INVALID_ACTION = 0x0020
    CONFIG_INVALID_TYPE = 0x0021
    CONFIG_INVALID_PAGE = 0x0022
    CONFIG_INVALID_DATA = 0x0023
    CONFIG_CANT_COMMIT = 0x0025
    SCSI_INVALID_BUS = 0x0041
    SCSI_INVALID_TARGETID = 0x0042
    SCSI_DEVICE_NOT_THERE = 0x0043
    SCSI_DATA_OVERRUN = 0x0044
    SCSI_DATA_UNDERRUN = 0x0045
    SCSI_IO_DATA_ERROR = 0x0046
    SCSI_PROTOCOL_ERROR = 0x0047
    SCSI_TASK_TERMINATED = 0x0048


# What the models here say of themselves in IOCFacts
MSG_VERSION = 0x0105
DEPTH = 128  # of the request FIFO (GlobalCredits) and both reply FIFOs
FRAME = 128  # bytes of a request frame
MAX_CHAIN_DEPTH = 34
FW_VERSION = 0x01329200
BLOCK_SIZE = 13

HEADER = struct.Struct("<BBBBBBBBI")  # of every message; its bytes mean different things, but for:
FUNCTION_AT, FLAGS_AT, CONTEXT_AT = 3, 7, 8
CONTINUATION_REPLY = 0x80  # in the flags of a reply: more will come
REPLY_FRAME_MIN = 4  # SeaBIOS wants no more of a reply


class IocInit(NamedTuple):
    """The part of the request that has a meaning here; the reply begins alike."""

    who_init: int
    chain_offset: int
    function: int
    flags: int
    max_devices: int
    max_buses: int
    msg_flags: int
    context: int
    reply_frame_size: int
    host_mfa_high: int
    sense_high: int

    @classmethod
    def unpack(cls, frame: bytes) -> Self:
        return cls(*_IOC_INIT.unpack_from(frame))


_IOC_INIT = struct.Struct("<BxBBBBBBIHxxII")
IOC_INIT_REPLY = struct.Struct("<BxBBBBBBIxxHI")
# Version, length, function; header version, number, flags; context; exceptions, status; log; chain depth, who, block
# size, flags; reply depth, frame size; product; host MFA; credits, ports, events; sense; reply size; devices, buses;
# firmware size, capabilities, version; and host page buffers, which are not offered.
IOC_FACTS_REPLY = struct.Struct("<HBBHBBIHHIBBBBHHHHIHBBIHBBIIIHHQII")
PORT_FACTS_REPLY = struct.Struct("<HBBHBBIHHIBBHHHHHHBBI")
DEFAULT_REPLY = struct.Struct("<HBBHBBIHHI")  # two bytes of the function's own, length, function, two more, flags...
EVENT_REPLY = struct.Struct("<HBBHBBIHHIIII")
EVENT_CHANGE = 0x0A  # the event "event notification was switched on or off"

PORT_SCSI, PORT_SAS = 0x01, 0x30
PROTOCOL_INITIATOR = 0x08


class ScsiIo(NamedTuple):
    """SCSI IO request, without its list of buffers."""

    target: int
    bus: int
    chain_offset: int
    function: int
    cdb_length: int
    sense_length: int
    msg_flags: int
    context: int
    lun: bytes
    control: int
    cdb: bytes
    length: int
    sense: int

    @classmethod
    def unpack(cls, frame: bytes) -> Self:
        return cls(*_SCSI_IO.unpack_from(frame))

    def pack(self) -> bytes:
        return _SCSI_IO.pack(*self)


_SCSI_IO = struct.Struct("<BBBBBBxBI8sI16sII")
SCSI_IO_SIZE = _SCSI_IO.size  # where the list begins
WRITE_CONTROL, READ_CONTROL, DIRECTION = 0x0100_0000, 0x0200_0000, 0x0300_0000
# Target, bus, length, function, CDB length, sense length, flags; context; SCSI status, SCSI state, status; log;
# transferred, sense count, response
SCSI_IO_REPLY = struct.Struct("<BBBBBBxBIBBHIIII")
AUTOSENSE_VALID, AUTOSENSE_FAILED, NO_SCSI_STATUS = 0x01, 0x02, 0x08  # SCSI state


class TaskType(IntEnum):
    """Of task management."""

    ABORT_TASK = 1
    TARGET_RESET = 3
    RESET_BUS = 4
    LOGICAL_UNIT_RESET = 5


class TaskMgmt(NamedTuple):
    """SCSI task management request."""

    target: int
    bus: int
    function: int
    task_type: int
    msg_flags: int
    context: int
    lun: bytes
    task_context: int

    @classmethod
    def unpack(cls, frame: bytes) -> Self:
        return cls(*_TASK_MGMT.unpack_from(frame))

    def pack(self) -> bytes:
        return _TASK_MGMT.pack(*self)


_TASK_MGMT = struct.Struct("<BBxBxBxBI8s28xI")
TASK_MGMT_REPLY = struct.Struct("<BBBBBBxBIxxHII")


class ConfigAction(IntEnum):
    """Of a Config request."""

    HEADER = 0
    READ_CURRENT = 1
    WRITE_CURRENT = 2
    DEFAULT = 3
    WRITE_NVRAM = 4
    READ_DEFAULT = 5
    READ_NVRAM = 6


class Config(NamedTuple):
    """Config request, without its buffer."""

    action: int
    function: int
    ext_length: int
    ext_type: int
    msg_flags: int
    context: int
    version: int
    length: int
    number: int
    type: int
    address: int

    @classmethod
    def unpack(cls, frame: bytes) -> Self:
        return cls(*_CONFIG.unpack_from(frame))


_CONFIG = struct.Struct("<BxxBHBBI8xBBBBI")
CONFIG_SIZE = _CONFIG.size  # where the buffer's element is
CONFIG_REPLY = struct.Struct("<BxBBHBBIxxHIBBBB")
PAGE_HEADER = struct.Struct("<BBBB")  # version, dwords, number, type and attributes
EXTENDED_HEADER = struct.Struct("<BxBBHBx")


class PageType(IntEnum):
    """Bits 3:0 of a page's type; from 10H on the types of extended pages."""

    IO_UNIT = 0x00
    IOC = 0x01
    BIOS = 0x02
    SCSI_PORT = 0x03
    SCSI_DEVICE = 0x04
    MANUFACTURING = 0x09
    EXTENDED = 0x0F
    SAS_IO_UNIT = 0x10
    SAS_DEVICE = 0x12
    SAS_PHY = 0x13


CHANGEABLE = 0x10  # attribute in the type


class Element(IntFlag):
    """Bits 31:24 of the first dword of a scatter/gather element."""

    END_OF_LIST = 0x01
    ADDRESS_64 = 0x02
    HOST_TO_IOC = 0x04
    SIMPLE = 0x10
    CHAIN = 0x30
    END_OF_BUFFER = 0x40
    LAST = 0x80


ELEMENT_TYPE = 0x30
