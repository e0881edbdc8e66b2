"""Direct boot of PVH guests: Xen docs/misc/pvh.pandoc, "x86/HVM direct boot ABI", and
xen/include/public/arch-x86/hvm/start_info.h.
"""

from virtproof.spec.kvm.layout import Struct, each, u32, u64

NOTE_NAME = b"Xen\0"
PHYS32_ENTRY = 18  # XEN_ELFNOTE_PHYS32_ENTRY: the descriptor is the physical address of the 32-bit entry
MAGIC = 0x336E_C578
VERSION = 1  # the first with a memory map


class StartInfo(Struct):
    """struct hvm_start_info, which EBX points at."""

    _fields_ = (
        *each(u32, "magic version flags nr_modules"),
        *each(u64, "modlist_paddr cmdline_paddr rsdp_paddr memmap_paddr"),
        *each(u32, "memmap_entries reserved"),
    )


class Module(Struct):
    """struct hvm_modlist_entry."""

    _fields_ = each(u64, "paddr size cmdline_paddr reserved")


class MemoryRange(Struct):
    """struct hvm_memmap_table_entry."""

    _fields_ = (*each(u64, "addr size"), *each(u32, "type reserved"))
