"""Multiboot Specification version 0.6.96: "OS image format", "Machine state", "Boot information format"."""

from enum import IntFlag

from virtproof.spec.kvm.layout import Struct, each, u16, u32, u64

MAGIC = 0x1BAD_B002
BOOTED = 0x2BAD_B002  # in EAX at the entry
SEARCH = 8192  # the whole header lies in so many bytes of the file
ALIGNMENT = 4


class HeaderFlag(IntFlag):
    """Bits 15:0 are demands: a boot loader that cannot meet one must not boot the image."""

    PAGE_ALIGN_MODULES = 1 << 0
    MEMORY_INFO = 1 << 1
    VIDEO_MODE = 1 << 2
    ADDRESSES = 1 << 16  # load by the addresses of the header and not by those of the file format


DEMANDS = 0xFFFF


class Header(Struct):
    """The start of the header; magic, flags and checksum add up to 0 in 32 bits."""

    _fields_ = each(u32, "magic flags checksum")


class AddressHeader(Struct):
    """The header with HeaderFlag.ADDRESSES; 0 in load_end_addr is the end of the file, in bss_end_addr no bss."""

    _fields_ = each(u32, "magic flags checksum header_addr load_addr load_end_addr bss_end_addr entry_addr")


class InfoFlag(IntFlag):
    """Which fields of ``Info`` are filled."""

    MEMORY = 1 << 0
    BOOT_DEVICE = 1 << 1
    COMMAND_LINE = 1 << 2
    MODULES = 1 << 3
    MEMORY_MAP = 1 << 6
    LOADER_NAME = 1 << 9


class Info(Struct):
    """What EBX points at; mem_lower and mem_upper in KiB, from 0 and from 1 MiB."""

    _fields_ = (
        *each(u32, "flags mem_lower mem_upper boot_device cmdline mods_count mods_addr"),
        ("syms", u32 * 4),
        *each(u32, "mmap_length mmap_addr drives_length drives_addr config_table boot_loader_name apm_table"),
        *each(u32, "vbe_control_info vbe_mode_info"),
        *each(u16, "vbe_mode vbe_interface_seg vbe_interface_off vbe_interface_len"),
    )


class Module(Struct):
    """One entry at mods_addr; mod_end is the first byte after the module."""

    _fields_ = each(u32, "mod_start mod_end string reserved")


class MemoryRange(Struct):
    """One entry at mmap_addr; ``size`` does not count itself."""

    _pack_ = 1
    _fields_ = (("size", u32), *each(u64, "base_addr length"), ("type", u32))
