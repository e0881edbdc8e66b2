"""Intel VT-d specification (D51397), "DMA Remapping Reporting Structure": layouts of the ACPI table DMAR.

A type and a length, two bytes each, begin every remapping structure; offsets count from its first byte.
"""

import struct
from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

WIDTH, FLAGS, STRUCTURES = 36, 37, 48  # offsets in the table


class DmarFlags(Bits, width=8):
    """ "DMA Remapping Reporting Structure", Flags."""

    intr_remap = bit(0)
    x2apic_opt_out = bit(1)
    dma_ctrl_platform_opt_in = bit(2)


class Type(IntEnum):
    """ "Remapping Structure Types"."""

    DRHD = 0
    RMRR = 1
    ATSR = 2
    RHSA = 3
    ANDD = 4
    SATC = 5
    SIDP = 6


# What follows type and length; a list of device scopes begins where the layout ends.
DRHD = struct.Struct("<xxxxBBHQ")  # flags, size, segment, register base address
RMRR = struct.Struct("<xxxxxxHQQ")  # segment, base, limit
ATSR = struct.Struct("<xxxxBxH")  # flags, segment; SATC is the same
RHSA = struct.Struct("<xxxxxxxxQI")  # register base address, proximity domain
ANDD = struct.Struct("<xxxxxxxB")  # ACPI device number; the object's name follows
SIDP = struct.Struct("<xxxxxxH")  # segment


class DrhdFlags(Bits, width=8):
    """ "DMA Remapping Hardware Unit Definition Structure", Flags."""

    include_pci_all = bit(0)


class DrhdSize(Bits, width=8):
    """ "DMA Remapping Hardware Unit Definition Structure", Size: the register set has 2^N pages of 4 KiB."""

    pages_log2 = bits(3, 0)


class AtsrFlags(Bits, width=8):
    """ "Root Port ATS Capability Reporting Structure", Flags."""

    all_ports = bit(0)


class SatcFlags(Bits, width=8):
    """ "SoC Integrated Address Translation Cache Reporting Structure", Flags."""

    atc_required = bit(0)


SCOPE = struct.Struct("<BBBxBB")  # type, length, flags, enumeration id, start bus; pairs (device, function) follow


class ScopeType(IntEnum):
    """ "Device Scope Structure", Type."""

    PCI_ENDPOINT = 1
    PCI_SUB_HIERARCHY = 2
    IOAPIC = 3
    MSI_HPET = 4
    ACPI_DEVICE = 5
