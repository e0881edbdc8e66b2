"""Multiboot 1: spec/multiboot.py names the document.

The image is loaded by the program headers of a 32-bit ELF file, or by the addresses in its Multiboot header.  It starts
in 32-bit protected mode without paging; EBX points at the information block, EAX holds the loader's magic.  As GRUB and
QEMU do it, the command line begins with the name of the file.
"""

from __future__ import annotations

from ctypes import Structure, sizeof

from virtproof.spec import multiboot as spec
from virtproof.spec.e820 import RangeType
from virtproof.spec.multiboot import HeaderFlag, InfoFlag
from virtproof.vmm import modes
from virtproof.vmm.loaders.elf import Elf, is_elf
from virtproof.vmm.loaders.image import Image, Kernel
from virtproof.vmm.loaders.layout import CONVENTIONAL_END, HOLE, MIB, Layout
from virtproof.vmm.registers import Registers

LOADER_NAME = b"virtproof"
MEETABLE = HeaderFlag.PAGE_ALIGN_MODULES | HeaderFlag.MEMORY_INFO  # there is no screen to set a video mode on


def find_header(content: bytes) -> int | None:
    """Return the offset of the Multiboot header in the file, None where it has none."""
    magic = spec.MAGIC.to_bytes(4, "little")
    at = -1
    while (at := content.find(magic, at + 1, spec.SEARCH)) >= 0:
        if at % spec.ALIGNMENT == 0 and at + sizeof(spec.Header) <= min(len(content), spec.SEARCH):
            header = spec.Header.from_buffer_copy(content, at)
            if (header.magic + header.flags + header.checksum) & 0xFFFF_FFFF == 0:
                return at
    return None


def has_addresses(content: bytes, at: int) -> bool:
    """Is the image loaded by the header at offset ``at``, whatever the format of the file?"""
    return bool(spec.Header.from_buffer_copy(content, at).flags & HeaderFlag.ADDRESSES)


def load(kernel: Kernel, ram: int) -> Image:
    at = find_header(kernel.content)
    if at is None:
        raise kernel.refuse(f"no Multiboot header with a right checksum in its first {spec.SEARCH} bytes")
    flags: int = spec.Header.from_buffer_copy(kernel.content, at).flags
    unmet = flags & spec.DEMANDS & ~MEETABLE
    if unmet & HeaderFlag.VIDEO_MODE:
        raise kernel.refuse("it demands a video mode (Multiboot header, flags bit 2)", "build it without")
    if unmet:
        raise kernel.refuse(f"its Multiboot header demands what this loader does not know: flags {unmet:#x}")
    layout = Layout(kernel, ram)
    entry = _load_by_addresses(kernel, layout, at) if has_addresses(kernel.content, at) else _load_elf(kernel, layout)
    registers = Registers(rip=entry, rax=spec.BOOTED, rbx=_inform(kernel, layout))
    return Image("multiboot", layout.pieces, registers, modes.prot32)


def _load_elf(kernel: Kernel, layout: Layout) -> int:
    """Load the segments and return the physical address of the entry."""
    if not is_elf(kernel.content):
        raise kernel.refuse(
            "it is not an ELF file and its Multiboot header has no addresses", "set flags bit 16 and the addresses"
        )
    elf = Elf(kernel)
    if elf.bits != 32:
        raise kernel.refuse(
            "its Multiboot header has no addresses and the file is 64-bit ELF, which Multiboot 1 does not know",
            "objcopy -O elf32-i386 it, or boot it as PVH or elf64",
        )
    elf.load(layout)
    segment = elf.segment_of(elf.entry)
    return elf.entry - segment.virtual + segment.physical


def _load_by_addresses(kernel: Kernel, layout: Layout, at: int) -> int:
    """Load what the header says, whatever the file is, and return the entry."""
    content = kernel.content
    if at + sizeof(spec.AddressHeader) > len(content):
        raise kernel.refuse("it is truncated inside its Multiboot header")
    header = spec.AddressHeader.from_buffer_copy(content, at)
    start = at - (header.header_addr - header.load_addr)
    if not 0 <= start <= at:
        raise kernel.refuse(
            f"its Multiboot header is at offset {at:#x} of the file, but at {header.header_addr:#x} in memory, "
            f"where the image begins at {header.load_addr:#x}"
        )
    size = header.load_end_addr - header.load_addr if header.load_end_addr else len(content) - start
    if size <= 0 or start + size > len(content):
        raise kernel.refuse(f"it is truncated: load_end_addr {header.load_end_addr:#x} is not inside the file")
    in_memory = header.bss_end_addr - header.load_addr if header.bss_end_addr else size
    if in_memory < size:
        raise kernel.refuse(f"bss_end_addr {header.bss_end_addr:#x} is below the end of its data")
    if not 0 <= header.entry_addr - header.load_addr < size:
        raise kernel.refuse(f"its entry {header.entry_addr:#x} is outside of what is loaded")
    layout.put(header.load_addr, memoryview(content)[start : start + size], in_memory, "image")
    entry: int = header.entry_addr
    return entry


def _inform(kernel: Kernel, layout: Layout) -> int:
    """Place the module and the information block and return the block's address."""
    flags = InfoFlag.MEMORY | InfoFlag.COMMAND_LINE | InfoFlag.MODULES | InfoFlag.MEMORY_MAP | InfoFlag.LOADER_NAME
    info = spec.Info(flags=flags)
    upper = next((row.end for row in layout.map if row.start == MIB), MIB)
    info.mem_lower = min(layout.ram, CONVENTIONAL_END) >> 10
    info.mem_upper = min(upper, HOLE) - MIB >> 10
    if kernel.module:
        start = layout.place_module(kernel.module.content)
        name = layout.place_text(_name(kernel.module.name), "module name")
        end = start + len(kernel.module.content)
        info.mods_addr = layout.place(spec.Module(mod_start=start, mod_end=end, string=name), "module table")
        info.mods_count = 1
    words = (_name(kernel.name), kernel.arguments) if kernel.arguments else (_name(kernel.name),)
    info.cmdline = layout.place_text(b" ".join(words), "command line")
    info.boot_loader_name = layout.place_text(LOADER_NAME, "loader name")
    rows = b"".join(bytes(_row(row.start, row.end, row.type)) for row in layout.map)
    info.mmap_length = len(rows)
    info.mmap_addr = layout.place(rows, "memory map")
    return layout.place(info, "information block")


def _row(start: int, end: int, type_: RangeType) -> Structure:
    size = sizeof(spec.MemoryRange) - spec.MemoryRange.base_addr.offset
    return spec.MemoryRange(size=size, base_addr=start, length=end - start, type=type_)


def _name(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
