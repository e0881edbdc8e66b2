"""PCI Local Bus and PCI Express Base Specification: what is read of a function's configuration space.

"PCI-Compatible Configuration Mechanism", "Capabilities List", "PCI Express Extended Capabilities".
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

STATUS, CAPABILITIES_POINTER = 0x06, 0x34
STATUS_CAPABILITIES = 0x10  # in the status register: the list is there
FIRST_CAPABILITY, FIRST_EXTENDED, END = 0x40, 0x100, 0x1000
PCI_EXPRESS = 0x10  # capability id


class ExpressCapabilities(Bits, width=16):
    """ "PCI Express Capabilities Register"."""

    version = bits(3, 0)
    port_type = bits(7, 4)
    slot = bit(8)
    interrupt = bits(13, 9)


class PortType(IntEnum):
    """ "PCI Express Capabilities Register", Device/Port Type."""

    ENDPOINT = 0
    LEGACY_ENDPOINT = 1
    ROOT_PORT = 4
    UPSTREAM = 5
    DOWNSTREAM = 6
    PCI_BRIDGE = 7
    PCIE_BRIDGE = 8
    INTEGRATED_ENDPOINT = 9
    EVENT_COLLECTOR = 10


class ExtendedHeader(Bits, width=32):
    """ "PCI Express Extended Capability Header"."""

    id = bits(15, 0)
    version = bits(19, 16)
    next = bits(31, 20)


class Extended(IntEnum):
    """Extended capability ids."""

    ACS = 0x0D
    ATS = 0x0F
    SR_IOV = 0x10
    PRI = 0x13
    RESIZABLE_BAR = 0x15
    PASID = 0x1B


ACS_CAPABILITY, ACS_CONTROL = 0x04, 0x06  # offsets in the ACS capability


class Acs(Bits, width=16):
    """ "ACS Capability Register" and "ACS Control Register": the same bits."""

    source_validation = bit(0)
    translation_blocking = bit(1)
    request_redirect = bit(2)
    completion_redirect = bit(3)
    upstream_forwarding = bit(4)
    egress_control = bit(5)
    direct_translated = bit(6)


BRIDGE_CLASS = 0x06  # base class of the class code
