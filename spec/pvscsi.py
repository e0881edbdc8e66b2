"""VMware PVSCSI: the interface as its drivers know it (the header of Linux's vmw_pvscsi names registers and layouts).

Everything is little-endian.
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple, Self

VENDOR, DEVICE, REVISION, CLASS = 0x15AD, 0x07C0, 2, 0x010000
BAR_SIZE = 32 << 10
MSI_OFFSET = 0x7C  # in configuration space
MSIX_TABLE, MSIX_PBA = 6 * 4096, 7 * 4096
TARGETS = 64
PAGE = 4096

# "Registers": offsets in BAR 0
COMMAND, COMMAND_DATA, COMMAND_STATUS = 0x0000, 0x0004, 0x0008
INTR_STATUS, INTR_MASK = 0x100C, 0x2010
KICK_NON_RW_IO, DEBUG, KICK_RW_IO = 0x3014, 0x3018, 0x4018


class Command(IntEnum):
    """What is written to COMMAND; the arguments follow, dword by dword, to COMMAND_DATA."""

    ADAPTER_RESET = 1
    ISSUE_SCSI = 2
    SETUP_RINGS = 3
    RESET_BUS = 4
    RESET_DEVICE = 5
    ABORT_CMD = 6
    CONFIG = 7
    SETUP_MSG_RING = 8
    DEVICE_UNPLUG = 9
    SETUP_REQCALLTHRESHOLD = 10


SUCCEEDED, FAILED, NOT_ENOUGH_DATA = 0, 0xFFFF_FFFF, 0xFFFF_FFFE  # COMMAND_STATUS


class Interrupt(IntFlag):
    """INTR_STATUS, where ones clear, and INTR_MASK, where ones enable."""

    COMPLETION_0 = 1
    COMPLETION_1 = 2
    MESSAGE_0 = 4
    MESSAGE_1 = 8


INTERRUPTS = 0xF

MAX_RING_PAGES = 32
REQUEST_SIZE, COMPLETION_SIZE, ELEMENT_SIZE = 128, 32, 16
REQUESTS_PER_PAGE, COMPLETIONS_PER_PAGE = PAGE // REQUEST_SIZE, PAGE // COMPLETION_SIZE


class SetupRings(NamedTuple):
    """Arguments of SETUP_RINGS; page numbers."""

    request_pages: int
    completion_pages: int
    state: int
    requests: tuple[int, ...]
    completions: tuple[int, ...]

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        requests, completions, state, *pages = struct.unpack(f"<IIQ{2 * MAX_RING_PAGES}Q", data)
        return cls(requests, completions, state, tuple(pages[:MAX_RING_PAGES]), tuple(pages[MAX_RING_PAGES:]))

    def pack(self) -> bytes:
        pages = [ppns + (0,) * (MAX_RING_PAGES - len(ppns)) for ppns in (self.requests, self.completions)]
        head = struct.pack("<IIQ", self.request_pages, self.completion_pages, self.state)
        return head + struct.pack(f"<{2 * MAX_RING_PAGES}Q", *pages[0], *pages[1])


RESET_DEVICE = struct.Struct("<I8s")  # target, LUN
ABORT_CMD = struct.Struct("<QII")  # context, target, reserved

# Arguments in bytes, of the commands that are known here; the others fail at once, by which drivers tell.
ARGUMENTS = {
    Command.ADAPTER_RESET: 0,
    Command.SETUP_RINGS: 528,
    Command.RESET_BUS: 0,
    Command.RESET_DEVICE: RESET_DEVICE.size,
    Command.ABORT_CMD: ABORT_CMD.size,
}

# "RingsState": offsets in its page; indices are free-running, 32 bits
REQ_PROD, REQ_CONS, REQ_LOG2, CMP_PROD, CMP_CONS, CMP_LOG2 = 0, 4, 8, 12, 16, 20
RINGS_STATE = struct.Struct("<6I")


class Flags(IntFlag):
    """Of a request."""

    SG_LIST = 0x01
    OUT_OF_BAND_CDB = 0x02
    NO_DATA = 0x04
    TO_HOST = 0x08
    TO_DEVICE = 0x10


class Request(NamedTuple):
    """RingReqDesc: one command."""

    context: int
    data: int
    length: int
    sense: int
    sense_length: int
    flags: int
    cdb: bytes
    cdb_length: int
    lun: bytes
    tag: int = 0x20  # a simple task
    bus: int = 0
    target: int = 0
    vcpu_hint: int = 0

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*_REQUEST.unpack(data))

    def pack(self) -> bytes:
        return _REQUEST.pack(*self)


class Completion(NamedTuple):
    """RingCmpDesc: how a command ended."""

    context: int
    length: int
    sense_length: int
    host_status: int
    scsi_status: int

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*_COMPLETION.unpack(data))

    def pack(self) -> bytes:
        return _COMPLETION.pack(*self)


_REQUEST = struct.Struct("<QQQQII16sB8sBBBB59x")
_COMPLETION = struct.Struct("<QQIHH8x")
ELEMENT = struct.Struct("<QII")  # SGElement: address, length, flags
CHAIN = 1  # an element that says where the list goes on


class HostStatus(IntEnum):
    """How the adapter, not the target, sees it."""

    SUCCESS = 0x00
    UNDERRUN = 0x0C
    SELECTION_TIMEOUT = 0x11
    DATA_RUN = 0x12
    BAD_MESSAGE = 0x1D
    HARDWARE = 0x20
    BUS_RESET = 0x25
    ABORTED = 0x26
    SOFTWARE = 0x27
