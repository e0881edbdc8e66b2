"""ACPI Specification 6.5: the header that all tables share, and fields of the tables that bear on virtualization.

Offsets count from the first byte of a table; numbers are little-endian.
"""

import struct

from virtproof.spec.bits import Bits, bit

HEADER = struct.Struct("<4sIBB6s8sI4sI")  # "System Description Table Header"
LENGTH, CHECKSUM = 4, 9  # offsets

# "Multiple APIC Description Table (MADT)": type and length, one byte each, begin every structure
MADT_STRUCTURES = 44
MADT_LOCAL_APIC = struct.Struct("<xxBBI")  # type 0: processor UID, APIC id, flags
MADT_X2APIC = struct.Struct("<xxxxIII")  # type 9: x2APIC id, flags, processor UID
LOCAL_APIC, X2APIC = 0, 9


class MadtCpuFlags(Bits, width=32):
    """ "Local APIC Flags"."""

    enabled = bit(0)
    online_capable = bit(1)


# "Fixed ACPI Description Table (FADT)"
FADT_BOOT_FLAGS, FADT_FLAGS, FADT_HYPERVISOR = 109, 112, 268


class FadtBootFlags(Bits, width=16):
    """ "Fixed ACPI Description Table Boot Architecture Flags", IA-PC."""

    legacy_devices = bit(0)
    i8042 = bit(1)
    no_vga = bit(2)
    no_msi = bit(3)
    no_aspm = bit(4)
    no_cmos_rtc = bit(5)


class FadtFlags(Bits, width=32):
    """ "Fixed ACPI Description Table Fixed Feature Flags", those that are read or given."""

    wbinvd = bit(0)
    proc_c1 = bit(2)
    pwr_button = bit(4, "there is no such button among the fixed hardware")
    slp_button = bit(5, "nor this one")
    fix_rtc = bit(6, "the alarm cannot wake through the fixed hardware")
    reset_reg = bit(10)
    apic_cluster_model = bit(18)
    apic_physical_mode = bit(19)
    hw_reduced = bit(20)


WSMT_FLAGS = 36


class WsmtFlags(Bits, width=32):
    """Microsoft, Windows SMM Security Mitigations Table (WSMT) specification, "Protection Flags"."""

    fixed_comm_buffers = bit(0)
    comm_buffer_nested_pointers = bit(1)
    system_resources = bit(2)


# "System Resource Affinity Table (SRAT)": type and length, one byte each, begin every structure
SRAT_STRUCTURES = 48
SRAT_CPU = struct.Struct("<xxBBIx3s")  # type 0: proximity domain bits 7:0, APIC id, flags, domain bits 31:8
SRAT_MEMORY = struct.Struct("<xxIxxQQxxxxI")  # type 1: proximity domain, base, length, flags
SRAT_X2APIC = struct.Struct("<xxxxIII")  # type 2: proximity domain, x2APIC id, flags
SRAT_ENABLED = 1  # in the flags of all three
