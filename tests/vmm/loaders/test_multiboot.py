"""Multiboot 1: where the kernel goes, what it is told, and which files are none."""

from __future__ import annotations

from ctypes import sizeof

import pytest

from tests.vmm.loaders.files import (
    CODE,
    MIB,
    RAM,
    TEXT,
    at,
    by_addresses,
    elf_file,
    multiboot_header,
    piece,
    pvh_note,
    text_at,
)
from virtproof.spec import multiboot as spec
from virtproof.vmm.loaders import multiboot
from virtproof.vmm.loaders.image import Image, Kernel, LoadError, Module
from virtproof.vmm.loaders.layout import HOLE, HOLE_END
from virtproof.vmm.registers import SpecialRegisters

CONTENT = multiboot_header() + CODE


def load(content: bytes, *, ram: int = RAM, arguments: bytes = b"", module: Module | None = None) -> Image:
    return multiboot.load(Kernel("k.elf", content, arguments, module), ram)


def info(image: Image) -> spec.Info:
    return spec.Info.from_buffer_copy(at(image, image.registers.rbx, sizeof(spec.Info)))


def test_an_elf_file_goes_to_its_physical_addresses_and_starts_at_the_physical_entry() -> None:
    high = 0xC000_0000
    segment = {"p_vaddr": high + TEXT, "p_paddr": TEXT, "p_memsz": 0x3000}
    image = load(elf_file(content=CONTENT, entry=high + TEXT + 12, segments=(segment,)))
    kernel = piece(image, "segment 0")
    assert (kernel.address, bytes(kernel.data), kernel.size) == (TEXT, CONTENT, 0x3000)
    assert (image.registers.rip, image.registers.rax) == (TEXT + 12, 0x2BADB002)
    special = image.enter(SpecialRegisters())
    assert (special.cr0 & 0x8000_0001, special.cs.db, special.cs.base, special.ds.limit) == (1, 1, 0, 0xFFFF_FFFF)


def test_the_information_block() -> None:
    image = load(elf_file(content=CONTENT), arguments=b"a=1 b", module=Module("initrd", b"module content"))
    block = info(image)
    assert block.flags == 0x24D
    assert (block.mem_lower, block.mem_upper) == (640, (RAM - MIB) >> 10)
    assert text_at(image, block.cmdline) == b"k.elf a=1 b"
    assert text_at(image, block.boot_loader_name) == b"virtproof"
    assert block.mods_count == 1
    module = spec.Module.from_buffer_copy(at(image, block.mods_addr, 16))
    assert module.mod_start % 4096 == 0
    assert module.mod_start >= TEXT + len(CONTENT)
    assert at(image, module.mod_start, module.mod_end - module.mod_start) == b"module content"
    assert text_at(image, module.string) == b"initrd"
    rows = at(image, block.mmap_addr, block.mmap_length)
    ranges = [spec.MemoryRange.from_buffer_copy(rows, offset) for offset in range(0, len(rows), 24)]
    assert [(row.size, row.base_addr, row.length, row.type) for row in ranges] == [
        (20, 0, 0xA0000, 1),
        (20, 0xA0000, 0x60000, 2),
        (20, MIB, RAM - MIB, 1),
    ]


def test_without_arguments_and_module() -> None:
    block = info(load(elf_file(content=CONTENT)))
    assert (block.mods_count, block.flags & 8) == (0, 8)
    assert text_at(load(elf_file(content=CONTENT)), block.cmdline) == b"k.elf"


def test_memory_above_the_hole_is_in_the_map_and_not_in_mem_upper() -> None:
    image = load(elf_file(content=CONTENT), ram=HOLE + MIB)
    block = info(image)
    assert block.mem_upper == (HOLE - MIB) >> 10
    last = spec.MemoryRange.from_buffer_copy(at(image, block.mmap_addr, block.mmap_length), block.mmap_length - 24)
    assert (last.base_addr, last.length, last.type) == (HOLE_END, MIB, 1)


def test_by_the_addresses_of_the_header() -> None:
    image = load(by_addresses())
    kernel = piece(image, "image")
    assert (kernel.address, kernel.size, image.registers.rip) == (TEXT, 128, TEXT + 48)
    assert bytes(kernel.data) == by_addresses()[:64]


def test_no_end_and_no_bss_mean_the_whole_file() -> None:
    kernel = piece(load(by_addresses(load_end_addr=0, bss_end_addr=0)), "image")
    assert bytes(kernel.data) == by_addresses(load_end_addr=0, bss_end_addr=0)
    assert kernel.size == len(kernel.data)


def test_a_header_that_begins_after_what_is_loaded_skips_the_start_of_the_file() -> None:
    kernel = piece(load(by_addresses(header_addr=TEXT, load_end_addr=TEXT + 48, entry_addr=TEXT + 32)), "image")
    assert bytes(kernel.data) == by_addresses(header_addr=TEXT, load_end_addr=TEXT + 48, entry_addr=TEXT + 32)[16:64]


def test_information_moves_out_of_the_way_of_the_kernel() -> None:
    image = load(elf_file(content=CONTENT, segments=({"p_paddr": 0x1000, "p_memsz": 0x20000},)))
    assert image.registers.rbx >= 0x21000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no Multiboot header"),
        (CODE + multiboot_header()[:-1], "no Multiboot header"),
        (bytes(2) + multiboot_header() + CODE, "no Multiboot header"),
        (bytes(8192) + multiboot_header() + CODE, "no Multiboot header"),
        (CONTENT, "not an ELF file"),
        (elf_file(64, content=CONTENT), "64-bit ELF"),
        (elf_file(content=multiboot_header(4) + CODE), "video mode"),
        (elf_file(content=multiboot_header(0x8000) + CODE), "flags 0x8000"),
        (by_addresses(load_end_addr=TEXT + 4096), "truncated"),
        (by_addresses(load_end_addr=TEXT), "truncated"),
        (by_addresses()[:40], "truncated inside its Multiboot header"),
        (by_addresses(load_addr=TEXT + 32), "at offset 0x10 of the file"),
        (by_addresses(load_addr=0), "at offset 0x10 of the file"),
        (by_addresses(bss_end_addr=TEXT + 8), "below the end of its data"),
        (by_addresses(entry_addr=TEXT - 1), "outside of what is loaded"),
        (by_addresses(entry_addr=TEXT + 64), "outside of what is loaded"),
        (by_addresses(bss_end_addr=RAM + 1), "outside of the guest's 16 MiB"),
        (elf_file(content=CONTENT, note=pvh_note(), entry=TEXT - 1), "entry 0x1fffff is outside"),
    ],
)
def test_refused(content: bytes, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load(content)


def test_a_module_that_does_not_fit_is_refused() -> None:
    with pytest.raises(LoadError, match="no room for 0x1000000 bytes of module"):
        load(elf_file(content=CONTENT), module=Module("m", bytes(RAM)))
