"""OASIS Virtual I/O Device (VIRTIO) Version 1.2: the transport over PCI, status, features and split virtqueues.

"Basic Facilities of a Virtio Device", "Virtio Over PCI Bus", "Split Virtqueues"; what it calls legacy is the interface
of Virtio PCI Card Specification 0.9.5.
"""

from enum import IntEnum
from typing import NamedTuple

from virtproof.spec.bits import Bits, bit

VENDOR = 0x1AF4
MODERN_DEVICE = 0x1040  # plus the device id
VENDOR_CAPABILITY = 0x09  # PCI capability id
NO_VECTOR = 0xFFFF
PAGE_SHIFT = 12  # of the legacy queue address
USED_ALIGNMENT = 4096  # of the legacy layout


class DeviceId(IntEnum):
    """ "Device Types"."""

    NET = 1
    BLOCK = 2
    CONSOLE = 3
    ENTROPY = 4
    SCSI = 8


class PciIdentity(NamedTuple):
    """ "PCI Device Discovery": the device id of a transitional device, and the class code that other monitors give."""

    transitional: int
    class_code: int


# fmt: off
IDENTITIES = {
    DeviceId.NET:     PciIdentity(0x1000, 0x020000),
    DeviceId.BLOCK:   PciIdentity(0x1001, 0x010000),
    DeviceId.CONSOLE: PciIdentity(0x1003, 0x078000),
    DeviceId.SCSI:    PciIdentity(0x1004, 0x010000),
    DeviceId.ENTROPY: PciIdentity(0x1005, 0x00FF00),
}


class Status(Bits, width=8):
    """ "Device Status Field"."""

    acknowledge = bit(0)
    driver      = bit(1)
    driver_ok   = bit(2)
    features_ok = bit(3)
    needs_reset = bit(6, "the device's: it has met an error that it cannot recover from")
    failed      = bit(7)


class Feature(IntEnum):
    """ "Reserved Feature Bits": those that belong to queues and the transport."""

    ANY_LAYOUT    = 1 << 27  # legacy only
    INDIRECT_DESC = 1 << 28
    EVENT_IDX     = 1 << 29
    VERSION_1     = 1 << 32


class CapabilityType(IntEnum):
    """ "Virtio Structure PCI Capabilities"."""

    COMMON = 1
    NOTIFY = 2
    ISR    = 3
    DEVICE = 4
    PCI    = 5


class Isr(IntEnum):
    """ "ISR status capability"."""

    QUEUE  = 1
    CONFIG = 2


class Place(NamedTuple):
    """Where a field is in a structure: offset and size in bytes."""

    offset: int
    size: int


class Common:
    """ "Common configuration structure layout"."""

    DEVICE_FEATURE_SELECT = Place(0, 4)
    DEVICE_FEATURE        = Place(4, 4)
    DRIVER_FEATURE_SELECT = Place(8, 4)
    DRIVER_FEATURE        = Place(12, 4)
    CONFIG_VECTOR         = Place(16, 2)
    NUM_QUEUES            = Place(18, 2)
    STATUS                = Place(20, 1)
    GENERATION            = Place(21, 1)
    QUEUE_SELECT          = Place(22, 2)
    QUEUE_SIZE            = Place(24, 2)
    QUEUE_VECTOR          = Place(26, 2)
    QUEUE_ENABLE          = Place(28, 2)
    QUEUE_NOTIFY_OFF      = Place(30, 2)
    QUEUE_DESC            = Place(32, 8)
    QUEUE_DRIVER          = Place(40, 8)
    QUEUE_DEVICE          = Place(48, 8)
    SIZE                  = 60


class Legacy:
    """ "Legacy Interfaces: A Note on PCI Device Layout"; the two vectors are there while MSI-X is enabled."""

    DEVICE_FEATURES = Place(0, 4)
    GUEST_FEATURES  = Place(4, 4)
    QUEUE_ADDRESS   = Place(8, 4)
    QUEUE_SIZE      = Place(12, 2)
    QUEUE_SELECT    = Place(14, 2)
    QUEUE_NOTIFY    = Place(16, 2)
    STATUS          = Place(18, 1)
    ISR             = Place(19, 1)
    CONFIG_VECTOR   = Place(20, 2)
    QUEUE_VECTOR    = Place(22, 2)
    CONFIG          = 20
    CONFIG_MSIX     = 24


class DescriptorFlag(IntEnum):
    """ "The Virtqueue Descriptor Table"."""

    NEXT     = 1
    WRITE    = 2
    INDIRECT = 4
# fmt: on


DESCRIPTOR = 16  # bytes: address, length, flags, next
NO_INTERRUPT = 1  # flag of the available ring
NO_NOTIFY = 1  # flag of the used ring
LONGEST_QUEUE = 32768


def available_size(size: int) -> int:
    """Bytes of the available ring of a queue of ``size``: flags, index, ring, used_event."""
    return 6 + 2 * size


def legacy_rings(base: int, size: int) -> tuple[int, int]:
    """Where the available and the used ring of a legacy queue at ``base`` are ("Legacy Interfaces: ... Layout")."""
    available = base + DESCRIPTOR * size
    used = -(-(available + available_size(size)) // USED_ALIGNMENT) * USED_ALIGNMENT
    return available, used
