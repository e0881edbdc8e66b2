"""QEMU docs/specs/fw_cfg.rst, "QEMU Firmware Configuration (fw_cfg) Device": ports, items, files and DMA."""

import struct
from enum import IntEnum, IntFlag

SELECTOR, DATA = 0x510, 0x511
PORTS = 2
DMA = 0x514  # 64 bits, big-endian: the address of a DmaAccess, begun by the write of its low half
DMA_PORTS = 8
DMA_SIGNATURE = b"QEMU CFG"  # what these ports read

KEY_MASK = 0xBFFF  # without the write channel, which is gone
LOCAL = 0x8000  # keys that mean something on x86 only


class Key(IntEnum):
    """Items; numbers are little-endian unless it says otherwise."""

    SIGNATURE = 0x00  # "QEMU"
    ID = 0x01  # 4 bytes: Feature
    UUID = 0x02  # 16 bytes
    RAM_SIZE = 0x03  # 8 bytes
    NO_GRAPHIC = 0x04  # 2 bytes; 1: SeaBIOS shows its screen on COM1
    NB_CPUS = 0x05  # 2 bytes
    NUMA = 0x0D  # 8 bytes: how many nodes
    BOOT_MENU = 0x0E  # 2 bytes
    MAX_CPUS = 0x0F  # 2 bytes
    FILE_DIR = 0x19  # big-endian count, then FILE of each
    FILE_FIRST = 0x20
    ACPI_TABLES = LOCAL | 0
    SMBIOS_ENTRIES = LOCAL | 1
    IRQ0_OVERRIDE = LOCAL | 2  # 1 byte


class Feature(IntFlag):
    """Of the item ID."""

    PORTS = 1
    DMA = 2


SIGNATURE = b"QEMU"
COUNT = struct.Struct(">I")
FILE = struct.Struct(">IHH56s")  # size, key, 0, name with a zero at its end
NAME_LIMIT = 55

DMA_ACCESS = struct.Struct(">IIQ")  # control, length, address


class Control(IntFlag):
    """Of a DMA access; the high 16 bits are the key of a SELECT.  The device leaves 0 or ERROR."""

    ERROR = 1
    READ = 2
    SKIP = 4
    SELECT = 8
    WRITE = 16
