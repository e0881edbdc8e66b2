"""DMTF DSP0134 (System Management BIOS Reference Specification 3.7): entry points and the structures that facts read.

Offsets count from the first byte of a structure, as the specification's tables do; numbers are little-endian.
"""

import struct
from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

# "SMBIOS Structure Table Entry Point": anchor, bytes that the checksum covers, and what is read of it
ENTRY_2 = struct.Struct("<4sBBBBHB5s5sBHIHB")  # "SMBIOS 2.1 (32-bit) Entry Point"
ENTRY_3 = struct.Struct("<5sBBBBBBBIQ")  # "SMBIOS 3.0 (64-bit) Entry Point"
ANCHOR_2, ANCHOR_3 = b"_SM_", b"_SM3_"

HEADER = struct.Struct("<BBH")  # type, length of the formatted area, handle
END_OF_TABLE = 127


class Type(IntEnum):
    """ "Structure definitions", those that are read."""

    BIOS = 0
    SYSTEM = 1
    BASEBOARD = 2
    CHASSIS = 3
    PROCESSOR = 4
    MEMORY_ARRAY = 16
    MEMORY_DEVICE = 17


# Strings that name one machine and no other (offsets of their numbers), and the UUID's place in type 1.
IDENTITY = {
    Type.SYSTEM: (0x07,),
    Type.BASEBOARD: (0x07, 0x08),
    Type.CHASSIS: (0x07, 0x08),
    Type.PROCESSOR: (0x20, 0x21),
    Type.MEMORY_DEVICE: (0x18, 0x19),
}
UUID, UUID_BYTES = 0x08, 16

BIOS_CHARACTERISTICS_2 = 0x13


class BiosCharacteristics2(Bits, width=8):
    """ "BIOS Characteristics Extension Byte 2"."""

    boot_specification = bit(0)
    network_boot_key = bit(1)
    targeted_content = bit(2)
    uefi = bit(3)
    virtual_machine = bit(4)
    manufacturing_mode = bit(5)


PROCESSOR_STATUS, PROCESSOR_CORES, PROCESSOR_CORES_ENABLED, PROCESSOR_CHARACTERISTICS = 0x18, 0x23, 0x24, 0x26
PROCESSOR_CORES_2, PROCESSOR_CORES_ENABLED_2 = 0x2A, 0x2C  # where the byte is FFh
SEE_2 = 0xFF


class ProcessorStatus(Bits, width=8):
    """ "Processor Information (Type 4)", Status."""

    cpu_status = bits(2, 0)
    populated = bit(6)


class CpuStatus(IntEnum):
    """ "Processor Information (Type 4)", Status, bits 2:0."""

    UNKNOWN = 0
    ENABLED = 1
    DISABLED_BY_USER = 2
    DISABLED_BY_BIOS = 3
    IDLE = 4
    OTHER = 7


class ProcessorCharacteristics(Bits, width=16):
    """ "Processor Characteristics": what the processor can do, whether or not it is turned on."""

    unknown = bit(1)
    capable_64bit = bit(2)
    multi_core = bit(3)
    hardware_thread = bit(4)
    execute_protection = bit(5)
    enhanced_virtualization = bit(6)
    power_performance_control = bit(7)
    capable_128bit = bit(8)
    arm64_soc_id = bit(9)


MEMORY_ARRAY_USE, MEMORY_ARRAY_ECC = 0x05, 0x06
USE_SYSTEM_MEMORY = 3
ECC = {1: "other", 2: "unknown", 3: "none", 4: "parity", 5: "single-bit ECC", 6: "multi-bit ECC", 7: "CRC"}

MEMORY_SIZE, MEMORY_EXTENDED_SIZE = 0x0C, 0x1C
SIZE_UNKNOWN, SIZE_EXTENDED, SIZE_IN_KIB = 0xFFFF, 0x7FFF, 0x8000
