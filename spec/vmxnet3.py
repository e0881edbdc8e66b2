"""VMXNET3: the interface of VMware's paravirtual network adapter, revision 1.

The header that VMware publishes with its drivers (``vmxnet3_defs.h`` and ``upt1_defs.h`` in Linux, "BAR 1", "BAR 0",
"Vmxnet3_DriverShared"); all is little-endian.  Offsets count bytes.
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from virtproof.spec.bits import Bits, bit, bits

VENDOR, DEVICE, REVISION, NETWORK = 0x15AD, 0x07B0, 1, 0x020000
WINDOW, MESSAGES_WINDOW = 0x1000, 0x2000  # BAR 0 and BAR 1; BAR 2
PENDING = 0x1000  # the pending bits of MSI-X in BAR 2
MSI_CAPABILITY, MSIX_CAPABILITY = 0x84, 0x9C
VERSION = 1  # the one bit of VRRS and UVRS

INTERRUPTS, TX_QUEUES, RX_QUEUES = 25, 8, 16

# BAR 0; registers are 8 bytes apart
IMR, TXPROD, RXPROD, RXPROD2 = 0x000, 0x600, 0x800, 0xA00
STRIDE = 8


class Register(IntEnum):
    """BAR 1; 32 bits each."""

    VRRS = 0x00  # revisions of the interface: reads what there is, written is what is chosen
    UVRS = 0x08
    DSAL = 0x10  # address of the shared area; 0 deactivates
    DSAH = 0x18  # takes effect when this half is written
    CMD = 0x20  # written: a command; read: its result
    MACL = 0x28
    MACH = 0x30
    ICR = 0x38  # cleared by reading
    ECR = 0x40  # ones clear events


class Cmd(IntEnum):
    """Commands."""

    ACTIVATE = 0xCAFE0000  # result 0: active
    QUIESCE = 0xCAFE0001
    RESET = 0xCAFE0002
    UPDATE_RX_MODE = 0xCAFE0003
    UPDATE_MAC_FILTERS = 0xCAFE0004
    UPDATE_VLAN_FILTERS = 0xCAFE0005
    UPDATE_RSSIDT = 0xCAFE0006
    UPDATE_FEATURE = 0xCAFE0009
    GET_QUEUE_STATUS = 0xF00D0000
    GET_STATS = 0xF00D0001
    GET_LINK = 0xF00D0002
    GET_PERM_MAC_LO = 0xF00D0003
    GET_PERM_MAC_HI = 0xF00D0004
    GET_DID_LO = 0xF00D0005
    GET_DID_HI = 0xF00D0006
    GET_CONF_INTR = 0xF00D0008
    GET_ADAPTIVE_RING_INFO = 0xF00D0009


LINK_UP = 10_000 << 16 | 1  # megabits a second, and up
CONF_INTR = 0  # both the type of interrupts and how they are masked: as the driver likes
ADAPTIVE_RING_OFF = 1


class Event(IntFlag):
    """ECR, in the register and in the shared area."""

    RX_QUEUE_ERROR = 1 << 0
    TX_QUEUE_ERROR = 1 << 1
    LINK = 1 << 2


class RxMode(IntFlag):
    """What is received; "rxMode" of the shared area."""

    UNICAST = 1 << 0
    MULTICAST = 1 << 1
    BROADCAST = 1 << 2
    ALL_MULTICAST = 1 << 3
    PROMISCUOUS = 1 << 4


class Feature(IntFlag):
    """ "uptFeatures" of the shared area."""

    RX_CHECKSUM = 1 << 0
    RSS = 1 << 1
    RX_VLAN = 1 << 2


class QueueError(IntEnum):
    """Why a queue has stopped."""

    NO_EOP = 0x80000000
    TXD_REUSE = 0x80000001
    BIG_PACKET = 0x80000002
    DESCRIPTOR_NOT_SUPPORTED = 0x80000003
    SMALL_BUFFER = 0x80000004
    INVALID_DESCRIPTOR = 0x80000007


MAGIC = 0xBABEFEE1
SHARED_SIZE = 720
SHARED_ECR = 696
SHARED_INTERRUPT_CONTROL = 108
DISABLE_ALL = 1  # of the interrupt control


class Shared(NamedTuple):
    """What the device reads of the shared area.  Addresses are guest-physical."""

    magic: int
    features: int
    queues: int
    mtu: int
    max_rx_pieces: int
    tx_queues: int
    rx_queues: int
    auto_mask: int
    interrupts: int
    event_interrupt: int

    @classmethod
    def unpack(cls, area: bytes) -> "Shared":
        return cls(*_SHARED.unpack_from(area))


_SHARED = struct.Struct("<I 20x Q 8x Q 8x I H B B 16x B B B")


class Filters(NamedTuple):
    """ "rxFilter" of the shared area; ``groups`` is the address of a table of ``length`` bytes, 6 an entry."""

    mode: int
    length: int
    groups: int
    vlans: bytes

    @classmethod
    def unpack(cls, area: bytes) -> "Filters":
        return cls(*_FILTERS.unpack_from(area))


_FILTERS = struct.Struct("<I H 2x Q 512s")
FILTERS, FILTERS_SIZE = 120, 528  # in the shared area

# "rssConfDesc" of the shared area: where the driver has put UPT1_RSSConf
RSS_LOCATION = 648
LOCATION = struct.Struct("<I I Q")  # version, length, address
RSS = struct.Struct("<H H H H")  # RssHash, function, length of the key, entries of the table; key and table follow
RSS_KEY, RSS_TABLE = 40, 128
RSS_SIZE = RSS.size + RSS_KEY + RSS_TABLE
TOEPLITZ = 1


class RssHash(IntFlag):
    """What is to be hashed; "hashType" of UPT1_RSSConf."""

    IPV4 = 1 << 0
    TCP_IPV4 = 1 << 1
    IPV6 = 1 << 2
    TCP_IPV6 = 1 << 3


class RssType(IntEnum):
    """What was hashed; "rssType" of a completion."""

    NONE = 0
    IPV4 = 1
    TCP_IPV4 = 2
    IPV6 = 3
    TCP_IPV6 = 4


# The table of queues: first those that transmit, then those that receive.
QUEUE_ALIGN, QUEUE_SIZE = 128, 256
QUEUE_CONTROL, QUEUE_STATUS, QUEUE_STATISTICS = 0, 80, 88
TX_THRESHOLD = 4  # in the descriptor of a queue that transmits: so many packets may wait before the doorbell


class TxQueueConf(NamedTuple):
    """Addresses of rings, and how many entries each has."""

    ring: int
    data: int
    completion: int
    size: int
    data_size: int
    completion_size: int
    interrupt: int

    @classmethod
    def unpack(cls, descriptor: bytes) -> "TxQueueConf":
        return cls(*_TX_QUEUE.unpack_from(descriptor))


_TX_QUEUE = struct.Struct("<16x Q Q Q 16x I I I 4x B")


class RxQueueConf(NamedTuple):
    """Ring 0 has heads of frames, and ring 1, which may be absent, what does not fit there."""

    ring0: int
    ring1: int
    completion: int
    size0: int
    size1: int
    completion_size: int
    interrupt: int

    @classmethod
    def unpack(cls, descriptor: bytes) -> "RxQueueConf":
        return cls(*_RX_QUEUE.unpack_from(descriptor))


_RX_QUEUE = struct.Struct("<16x Q Q Q 16x I I I 4x B")

STATUS = struct.Struct("<B 3x I")  # stopped, error
STATISTICS = struct.Struct("<10Q")


class TxStatistics(IntEnum):
    """Places in the statistics of a queue that transmits; frames and bytes."""

    TSO_FRAMES = 0
    TSO_BYTES = 1
    UNICAST_FRAMES = 2
    UNICAST_BYTES = 3
    MULTICAST_FRAMES = 4
    MULTICAST_BYTES = 5
    BROADCAST_FRAMES = 6
    BROADCAST_BYTES = 7
    ERRORS = 8
    DISCARDED = 9


class RxStatistics(IntEnum):
    """Places in the statistics of a queue that receives."""

    LRO_FRAMES = 0
    LRO_BYTES = 1
    UNICAST_FRAMES = 2
    UNICAST_BYTES = 3
    MULTICAST_FRAMES = 4
    MULTICAST_BYTES = 5
    BROADCAST_FRAMES = 6
    BROADCAST_BYTES = 7
    NO_BUFFER = 8
    ERRORS = 9


RING_ALIGN, RING_UNIT = 512, 32
TX_RING_MAX, RX_RING_MAX, TX_COMPLETION_MAX, RX_COMPLETION_MAX = 4096, 4096, 4096, 8192
TX_DESCRIPTORS = 16  # of a packet that is not segmented
TX_LONGEST = 1 << 14  # bytes of one descriptor: what a length of 0 means

DESCRIPTOR = struct.Struct("<Q I I")  # address, and two words with fields
COMPLETION = struct.Struct("<I I I I")


class OffloadMode(IntEnum):
    """TxDesc, "OM"."""

    NONE = 0
    ENCAPSULATED = 1
    CHECKSUM = 2
    SEGMENTATION = 3


# fmt: off
class TxWord2(Bits, width=32):
    """Vmxnet3_TxDesc, third word."""

    len     = bits(13, 0, "0: 16384")
    gen     = bit(14)
    dtype   = bit(16, "no type but 0 is defined")
    msscof  = bits(31, 18, "MSS, or the offset of the checksum")


class TxWord3(Bits, width=32):
    """Vmxnet3_TxDesc, fourth word; offloads count in the first descriptor of a packet, EOP and CQ in the last."""

    hlen = bits(9, 0, "length of all headers, or where the checksum begins")
    om   = bits(11, 10, "OffloadMode")
    eop  = bit(12)
    cq   = bit(13, "a completion is wanted")
    ti   = bit(15, "insert a VLAN tag")
    tci  = bits(31, 16)


class TxCompletion3(Bits, width=32):
    """Vmxnet3_TxCompDesc, fourth word; the first has the index of the descriptor with EOP."""

    type = bits(30, 24)
    gen  = bit(31)


class RxWord2(Bits, width=32):
    """Vmxnet3_RxDesc, third word."""

    len   = bits(13, 0)
    btype = bit(14, "a body; else a head")
    dtype = bit(15)
    gen   = bit(31)


class RxCompletion0(Bits, width=32):
    """Vmxnet3_RxCompDesc, first word."""

    index  = bits(11, 0)
    eop    = bit(14)
    sop    = bit(15)
    ring   = bits(25, 16, "the queue; for its ring 1 the number of queues is added")
    rss    = bits(29, 26, "RssType; the second word is the hash")
    cnc    = bit(30, "checksums were not looked at")


class RxCompletion2(Bits, width=32):
    """Vmxnet3_RxCompDesc, third word."""

    len = bits(13, 0)
    err = bit(14)
    ts  = bit(15, "a tag was taken out")
    tci = bits(31, 16)


class RxCompletion3(Bits, width=32):
    """Vmxnet3_RxCompDesc, fourth word."""

    csum = bits(15, 0)
    tuc  = bit(16, "the checksum of TCP or UDP is right")
    udp  = bit(17)
    tcp  = bit(18)
    ipc  = bit(19, "the checksum of the IPv4 header is right")
    v6   = bit(20)
    v4   = bit(21)
    frg  = bit(22, "a fragment")
    fcs  = bit(23, "the check sequence of the frame is right")
    type = bits(30, 24)
    gen  = bit(31)
# fmt: on


RX_COMPLETION = 3  # the type of a completion of one frame; those that transmit are of type 0
