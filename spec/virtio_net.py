"""VIRTIO 1.2, "Network Device"."""

from collections.abc import Mapping
from enum import IntEnum

RECEIVE, TRANSMIT, CONTROL = range(3)  # queues


# fmt: off
class Feature(IntEnum):
    """ "Feature bits"."""

    CSUM          = 1 << 0
    GUEST_CSUM    = 1 << 1
    MAC           = 1 << 5
    HOST_TSO4     = 1 << 11
    HOST_TSO6     = 1 << 12
    MRG_RXBUF     = 1 << 15
    STATUS        = 1 << 16
    CTRL_VQ       = 1 << 17
    CTRL_RX       = 1 << 18
    CTRL_VLAN     = 1 << 19
    CTRL_RX_EXTRA = 1 << 20
    CTRL_MAC_ADDR = 1 << 23


# "Feature bit requirements": what needs what.
REQUIREMENTS: Mapping[int, int] = {
    Feature.HOST_TSO4:     Feature.CSUM,
    Feature.HOST_TSO6:     Feature.CSUM,
    Feature.CTRL_RX:       Feature.CTRL_VQ,
    Feature.CTRL_RX_EXTRA: Feature.CTRL_VQ,
    Feature.CTRL_VLAN:     Feature.CTRL_VQ,
    Feature.CTRL_MAC_ADDR: Feature.CTRL_VQ,
}

# Device configuration: mac, status.
CONFIG_MAC, CONFIG_STATUS, CONFIG_SIZE = 0, 6, 8
LINK_UP = 1

# The header of a frame: flags u8, gso_type u8, hdr_len, gso_size, csum_start, csum_offset, num_buffers u16.
HEADER, LEGACY_HEADER, NUM_BUFFERS = 12, 10, 10  # sizes without and with num_buffers; its offset


class HeaderFlag(IntEnum):
    NEEDS_CSUM = 1
    DATA_VALID = 2


class Gso(IntEnum):
    NONE  = 0
    TCPV4 = 1
    UDP   = 3
    TCPV6 = 4
    ECN   = 0x80  # a flag


class ControlClass(IntEnum):
    """ "Control Virtqueue"."""

    RX   = 0
    MAC  = 1
    VLAN = 2


class RxCommand(IntEnum):
    """The first two belong to CTRL_RX, the others to CTRL_RX_EXTRA; one byte of data each: on or off."""

    PROMISC  = 0
    ALLMULTI = 1
    ALLUNI   = 2
    NOMULTI  = 3
    NOUNI    = 4
    NOBCAST  = 5


class MacCommand(IntEnum):
    TABLE_SET = 0
    ADDR_SET  = 1


class VlanCommand(IntEnum):
    ADD = 0
    DEL = 1


class Ack(IntEnum):
    OK  = 0
    ERR = 1
# fmt: on
