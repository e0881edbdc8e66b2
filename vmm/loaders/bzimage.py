"""bzImage: Linux, and what is packed as it is; spec/bzimage.py names the document.

It is entered in 64-bit mode where it has such an entry, else in 32-bit protected mode without paging.  The real-mode
entry needs a BIOS to call, so a file that has no other is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from virtproof.spec import bzimage as spec
from virtproof.vmm import modes
from virtproof.vmm.firmware import e820
from virtproof.vmm.loaders.image import Image, Kernel
from virtproof.vmm.loaders.layout import HOLE, HOLE_END, MIB, PAGE, Layout
from virtproof.vmm.loaders.paging import identity_map
from virtproof.vmm.registers import Registers, SpecialRegisters, Table

GDT_LIMIT = 4 * 8 - 1
LOWEST_VERSION = 0x204  # loads high, and says how large it is in units that fit


def is_bzimage(content: bytes) -> bool:
    return content[spec.MAGIC_AT : spec.MAGIC_AT + 4] == spec.MAGIC


class _Header:
    """The setup header.  Raises LoadError for one that cannot be booted."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        content = kernel.content
        if not is_bzimage(content) or self.number(spec.BOOT_FLAG, 2) != spec.BOOT_FLAG_VALUE:
            raise kernel.refuse("it has no Linux boot header")
        self.version = self.number(spec.VERSION, 2)
        if self.version < LOWEST_VERSION:
            raise kernel.refuse(
                f"its boot protocol is {self.version >> 8}.{self.version & 0xFF:02}", "2.04 is the least"
            )
        if not self.number(spec.LOADFLAGS, 1) & spec.LOADED_HIGH:
            raise kernel.refuse("it is a zImage, which loads low")
        sectors = self.number(spec.SETUP_SECTS, 1) or spec.DEFAULT_SETUP_SECTS
        self.protected = (sectors + 1) * spec.SECTOR  # where the protected-mode code begins in the file
        if self.protected >= len(content):
            raise kernel.refuse(f"its {sectors} sectors of set-up code leave nothing of {len(content)} bytes")
        self.end = spec.JUMP + 2 + content[spec.JUMP + 1]
        if self.end > self.protected:
            raise kernel.refuse("its header ends behind its set-up code")

    def number(self, offset: int, size: int) -> int:
        data = self._kernel.content[offset : offset + size]
        if len(data) < size:
            raise self._kernel.refuse(f"it ends inside of its header, at {len(self._kernel.content)} bytes")
        return int.from_bytes(data, "little")

    def since(self, version: int, offset: int, size: int, before: int) -> int:
        """A field that came with a version, and what it stands for before."""
        return self.number(offset, size) if self.version >= version else before

    @property
    def has_64_bit_entry(self) -> bool:
        return bool(self.since(spec.VERSION_XLOADFLAGS, spec.XLOADFLAGS, 2, 0) & spec.KERNEL_64)


def load(kernel: Kernel, ram: int, *, bits: int | None = None) -> Image:
    """``bits`` 32 takes the 32-bit entry where there is one of 64 bits too."""
    header = _Header(kernel)
    code = memoryview(kernel.content)[header.protected :]
    start = header.number(spec.CODE32_START, 4)
    relocatable = bool(header.since(spec.VERSION_RELOCATABLE, spec.RELOCATABLE, 1, 0))
    if relocatable and header.version >= spec.VERSION_PREFERRED:
        start = header.number(spec.PREF_ADDRESS, 8)
    if not MIB <= start < HOLE:
        raise kernel.refuse(f"it wants to lie at {start:#x}", "that needs the real-mode entry, and a BIOS: --bios")
    layout = Layout(kernel, ram)
    size = max(header.since(spec.VERSION_PREFERRED, spec.INIT_SIZE, 4, 0), len(code))
    layout.put(start, code, size, "kernel")
    zero_page = bytearray(spec.ZERO_PAGE)
    zero_page[spec.SETUP_HEADER : header.end] = kernel.content[spec.SETUP_HEADER : header.end]

    def put(offset: int, size: int, value: int) -> None:
        zero_page[offset : offset + size] = value.to_bytes(size, "little")

    put(spec.TYPE_OF_LOADER, 1, spec.UNDEFINED_LOADER)
    put(spec.CODE32_START, 4, start)
    _tell_memory(ram, zero_page, put)
    if kernel.arguments:
        longest = header.since(spec.VERSION_CMDLINE_SIZE, spec.CMDLINE_SIZE, 4, spec.OLD_CMDLINE_MAX)
        if len(kernel.arguments) > longest:
            raise kernel.refuse(f"its command line has {len(kernel.arguments)} bytes, and it takes {longest}")
        put(spec.CMD_LINE_PTR, 4, layout.place_text(kernel.arguments, "command line"))
    if kernel.module:
        limit = header.since(spec.VERSION_INITRD_MAX, spec.INITRD_ADDR_MAX, 4, spec.OLD_INITRD_MAX)
        content = kernel.module.content
        put(spec.RAMDISK_IMAGE, 4, _place_initrd(layout, content, limit))
        put(spec.RAMDISK_SIZE, 4, len(content))
    at = layout.place(bytes(zero_page), "zero page", alignment=PAGE)
    long = bits != 32 and header.has_64_bit_entry
    table = layout.place(b"".join(each.to_bytes(8, "little") for each in _gdt(long)), "GDT")
    cr3 = identity_map(layout, max(HOLE_END, layout.map[-1].end)) if long else None
    registers = Registers(rip=start + spec.ENTRY_64 if long else start, rsi=at)
    return Image("bzimage", layout.pieces, registers, partial(_enter, gdt=table, cr3=cr3))


def _gdt(long: bool) -> tuple[int, ...]:
    """Nothing, nothing, flat code, flat data."""
    return 0, 0, 0x00AF_9B00_0000_FFFF if long else 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF


def _enter(reset: SpecialRegisters, gdt: int, cr3: int | None) -> SpecialRegisters:
    flat = modes.prot32(reset) if cr3 is None else modes.long64(reset, cr3)
    data = flat.ds._replace(selector=spec.BOOT_DATA)
    return replace(
        flat, cs=flat.cs._replace(selector=spec.BOOT_CODE), ds=data, es=data, ss=data, gdt=Table(gdt, GDT_LIMIT)
    )


def _tell_memory(ram: int, zero_page: bytearray, put: Callable[[int, int, int], None]) -> None:
    rows = e820.memory_map(ram)
    packed = e820.packed(rows)
    zero_page[spec.E820_TABLE : spec.E820_TABLE + len(packed)] = packed
    put(spec.E820_ENTRIES, 1, len(rows))


def _place_initrd(layout: Layout, content: bytes, limit: int) -> int:
    """Put it as high as the kernel allows, as the protocol advises.  ``limit`` is the last byte it may have."""
    top = min(limit + 1, layout.ram, HOLE)
    start = (top - len(content)) & -PAGE
    if start < MIB:
        raise layout.kernel.refuse(
            f"its initial RAM disk of {len(content)} bytes does not fit below {top:#x}", "give the guest more memory"
        )
    layout.put(start, content, len(content), "initial RAM disk")
    return start
