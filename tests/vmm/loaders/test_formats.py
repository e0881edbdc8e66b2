"""How PVH, bare ELF and flat kernels start, and how a file's format is found out."""

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
from virtproof.spec import pvh as spec
from virtproof.vmm.loaders import detect, elf64, flat, pvh
from virtproof.vmm.loaders.image import Image, Kernel, LoadError, Module
from virtproof.vmm.loaders.layout import HOLE, HOLE_END
from virtproof.vmm.registers import SpecialRegisters


@pytest.mark.parametrize(("bits", "size"), [(32, 4), (64, 4), (64, 8)])
def test_pvh(bits: int, size: int) -> None:
    other = pvh_note(7, name=b"GNU\0")
    content = elf_file(bits, note=other + pvh_note(size=size))
    image = pvh.load(Kernel("k", content, b"console=ttyS0", Module("initrd", b"initrd content")), RAM)
    assert image.registers.rip == TEXT + 8
    assert image.enter(SpecialRegisters()).cr0 & 0x8000_0001 == 1
    info = spec.StartInfo.from_buffer_copy(at(image, image.registers.rbx, sizeof(spec.StartInfo)))
    assert (info.magic, info.version, info.rsdp_paddr) == (0x336EC578, 1, 0)
    assert text_at(image, info.cmdline_paddr) == b"console=ttyS0"
    assert info.nr_modules == 1
    module = spec.Module.from_buffer_copy(at(image, info.modlist_paddr, sizeof(spec.Module)))
    assert at(image, module.paddr, module.size) == b"initrd content"
    rows = at(image, info.memmap_paddr, 24 * info.memmap_entries)
    ranges = [spec.MemoryRange.from_buffer_copy(rows, offset) for offset in range(0, len(rows), 24)]
    assert [(row.addr, row.size, row.type) for row in ranges] == [
        (0, 0xA0000, 1),
        (0xA0000, 0x60000, 2),
        (MIB, RAM - MIB, 1),
    ]


def walk(image: Image, cr3: int, address: int) -> int | None:
    """Translate by the page tables in the image, as the processor does with 2-MiB pages."""
    table = cr3
    for shift in (39, 30, 21):
        entry = int.from_bytes(at(image, table + (address >> shift & 511) * 8, 8), "little")
        if not entry & 1:
            return None
        assert entry & 2
        table = entry & ~0xFFF
        if entry & 0x80:
            assert shift == 21
            return table | address & 0x1F_FFFF
    raise AssertionError("no large page")


def test_a_bare_kernel_starts_in_64_bit_mode_with_all_memory_mapped_to_itself() -> None:
    image = elf64.load(Kernel("k", elf_file(64)), HOLE + MIB)
    special = image.enter(SpecialRegisters())
    assert (special.cs.l, special.efer, special.cr4 & 0x20) == (1, 0x500, 0x20)
    assert image.registers.rip == TEXT
    for address in (0, TEXT + 5, 0xFEE0_0030, HOLE_END - 1, HOLE_END + MIB):
        assert walk(image, special.cr3, address) == address
    assert walk(image, special.cr3, HOLE_END + (1 << 30)) is None
    stack = piece(image, "stack")
    assert stack.address < image.registers.rsp < stack.end
    assert image.registers.rsp % 16 == 8


def test_more_memory_than_the_first_map_can_hold() -> None:
    with pytest.raises(LoadError, match="512 GiB"):
        elf64.load(Kernel("k", elf_file(64)), 1 << 39)


def test_a_flat_image() -> None:
    image = flat.load(Kernel("k", CODE), RAM)
    special = image.enter(SpecialRegisters())
    assert (special.cs.base, special.cr0 & 1, image.registers.rip, image.registers.rsp) == (0, 0, 0x7C00, 0x7C00)
    assert at(image, 0x7C00, len(CODE)) == CODE


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (bytes(MIB), "outside")])
def test_a_flat_image_of_no_use(content: bytes, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        flat.load(Kernel("k", content), RAM)


HEADER = multiboot_header() + CODE


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (elf_file(32, content=HEADER), "multiboot"),
        (elf_file(32, content=HEADER, note=pvh_note()), "multiboot"),
        (elf_file(64, content=HEADER, note=pvh_note()), "pvh"),
        (elf_file(64, content=HEADER), "elf64"),
        (elf_file(64, content=multiboot_header(1 << 16) + CODE), "multiboot"),
        (by_addresses(), "multiboot"),
        (elf_file(32, note=pvh_note()), "pvh"),
        (elf_file(64), "elf64"),
        (bytes(510) + b"\x55\xaa", "flat"),
    ],
)
def test_the_format_is_found_in_the_content(content: bytes, format_: str) -> None:
    assert detect.detect(Kernel("k", content)) == format_


@pytest.mark.parametrize("content", [b"", CODE, b"root:x:0:0::/root:/bin/sh\n", elf_file(32)])
def test_nothing_is_taken_for_a_kernel_that_does_not_look_like_one(content: bytes) -> None:
    with pytest.raises(LoadError):
        detect.load(Kernel("k", content), RAM)


def test_a_format_can_be_demanded() -> None:
    assert detect.load(Kernel("k", CODE), RAM, "flat").format == "flat"
    with pytest.raises(LoadError, match="not 64-bit"):
        detect.load(Kernel("k", elf_file(32, content=HEADER)), RAM, "elf64")
