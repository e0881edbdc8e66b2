"""PCI Local Bus Specification 3.0 and PCI Express Base Specification: a function's configuration space.

"Configuration Space Organization", "Software Generation of Configuration Transactions", "Capabilities List", "Message
Signaled Interrupts", "MSI-X Capability and Table Structures", "PCI Express Extended Capabilities".
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

# "Software Generation of Configuration Transactions": an address to one dword port, data at the other
CONFIG_ADDRESS, CONFIG_DATA, CONFIG_PORTS = 0xCF8, 0xCFC, 8


class ConfigAddress(Bits, width=32):
    """ "CONFIG_ADDRESS Register"."""

    register = bits(7, 2)
    function = bits(10, 8)
    device = bits(15, 11)
    bus = bits(23, 16)
    enable = bit(31)


# "Type 00h Configuration Space Header": offsets in bytes
VENDOR_ID, DEVICE_ID, COMMAND, STATUS = 0x00, 0x02, 0x04, 0x06
REVISION_ID, CLASS_CODE, CACHE_LINE_SIZE, LATENCY_TIMER, HEADER_TYPE = 0x08, 0x09, 0x0C, 0x0D, 0x0E
BASE_ADDRESS, BASE_ADDRESSES = 0x10, 6
SUBSYSTEM_VENDOR_ID, SUBSYSTEM_ID, EXPANSION_ROM = 0x2C, 0x2E, 0x30
CAPABILITIES_POINTER, INTERRUPT_LINE, INTERRUPT_PIN = 0x34, 0x3C, 0x3D
HEADER_END, CONFIG_SIZE = 0x40, 0x100
MULTI_FUNCTION = 0x80  # in the header type
STATUS_CAPABILITIES = 0x10  # in the status register: the list is there


class Command(Bits, width=16):
    """ "Device Control": the bits that a function without parity checks has."""

    io = bit(0)
    memory = bit(1)
    master = bit(2)
    serr = bit(8)
    interrupt_disable = bit(10)


class Status(Bits, width=16):
    """ "Device Status"."""

    interrupt = bit(3)
    capabilities = bit(4)
    data_parity = bit(8)
    signaled_target_abort = bit(11)
    received_target_abort = bit(12)
    received_master_abort = bit(13)
    signaled_error = bit(14)
    parity_error = bit(15)


STATUS_ERRORS = 0xF900  # written ones clear these

# "Base Addresses": the low bits say of what kind one is
BAR_IO, BAR_64, BAR_PREFETCHABLE = 0x1, 0x4, 0x8
ROM_ENABLE, ROM_UNIT = 0x1, 0x800  # "Expansion ROM Base Address Register"
ROM_SIGNATURE = b"\x55\xaa"


class CapabilityId(IntEnum):
    """ "Capability IDs"."""

    POWER_MANAGEMENT = 0x01
    MSI = 0x05
    VENDOR = 0x09
    EXPRESS = 0x10
    MSIX = 0x11


class MsiControl(Bits, width=16):
    """ "Message Control for MSI"; vectors as powers of two."""

    enable = bit(0)
    capable = bits(3, 1)
    enabled = bits(6, 4)
    wide = bit(7)
    masking = bit(8)


class MsixControl(Bits, width=16):
    """ "Message Control for MSI-X"."""

    last = bits(10, 0)
    function_mask = bit(14)
    enable = bit(15)


MSIX_ENTRY = 16  # bytes: address, data, vector control, whose bit 0 masks
MSIX_VECTORS = 2048

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
