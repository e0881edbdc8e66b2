"""AMD I/O Virtualization Technology (IOMMU) Specification (48882), "I/O Virtualization ACPI Table": layouts of IVRS.

A type, flags and a 16-bit length begin every block; offsets count from its first byte.
"""

import struct
from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

IVINFO, BLOCKS = 36, 48  # offsets in the table


class IvInfo(Bits, width=32):
    """ "I/O Virtualization Reporting Structure", IVinfo."""

    efr_sup = bit(0)
    dma_remap = bit(1)
    gva_size = bits(7, 5)
    pa_size = bits(14, 8)
    va_size = bits(21, 15)
    ht_ats_resv = bit(22)


IVHD_TYPES = (0x10, 0x11, 0x40)  # "I/O Virtualization Hardware Definition (IVHD) Block"
IVMD_TYPES = (0x20, 0x21, 0x22)  # "I/O Virtualization Memory Definition (IVMD) Block": all, one device, a range
IVHD = struct.Struct("<BBHHHQHHI")  # type, flags, length, device, capability, base, segment, info, attributes
IVHD_EFR = struct.Struct("<QQ")  # types 11h and 40h go on: copies of the extended feature registers 1 and 2
IVMD = struct.Struct("<BBHHHHxxxxxxQQ")  # type, flags, length, device, auxiliary data, segment, start, length


class IvhdFlags(Bits, width=8):
    """ "IVHD Flags"."""

    ht_tun_en = bit(0)
    pass_pw = bit(1)
    res_pass_pw = bit(2)
    isoc = bit(3)
    iotlb_sup = bit(4)
    coherent = bit(5)
    pref_sup = bit(6)
    ppr_sup = bit(7)


class IvmdFlags(Bits, width=8):
    """ "IVMD Flags"."""

    unity = bit(0)
    read = bit(1)
    write = bit(2)
    exclusion_range = bit(3)


class EntryType(IntEnum):
    """ "IVHD Device Entries": types below 80h say their length in bits 7:6 (4, 8 bytes); F0h has one of its own."""

    PAD4 = 0
    ALL = 1
    SELECT = 2
    RANGE_START = 3
    RANGE_END = 4
    PAD8 = 64
    ALIAS_SELECT = 66
    ALIAS_RANGE_START = 67
    EXTENDED_SELECT = 70
    EXTENDED_RANGE_START = 71
    SPECIAL = 72
    ACPI_HID = 240


ACPI_HID_BYTES, ACPI_HID_UID_LENGTH = 22, 21  # of entry F0h: its size without the UID, and where that size is


class ExtendedFeatures(Bits, width=64):
    """ "IOMMU Extended Feature Register" (MMIO 0030h): what profiles ask for."""

    pref_sup = bit(0)
    ppr_sup = bit(1)
    xt_sup = bit(2)
    nx_sup = bit(3)
    gt_sup = bit(4)
    ia_sup = bit(6)
    ga_sup = bit(7)
    gam_vapic = bit(21)
    ha_sup = bit(49)
    hd_sup = bit(52)
    snp_sup = bit(63)
