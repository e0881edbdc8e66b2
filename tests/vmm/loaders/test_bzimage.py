"""bzImage: what lies where, what the zero page says, and files that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vmm.loaders.files import CODE, MIB, RAM, TEXT, bzimage_file
from virtproof.spec import bzimage as spec
from virtproof.vmm.firmware import e820
from virtproof.vmm.loaders import bzimage, detect
from virtproof.vmm.loaders.image import Image, Kernel, LoadError, Module
from virtproof.vmm.modes import CR0_PE, CR0_PG
from virtproof.vmm.registers import Segment, SpecialRegisters, Table

_S = Segment(0, 0xFFFF, 0, 3)
RESET = SpecialRegisters(
    cs=_S, ds=_S, es=_S, fs=_S, gs=_S, ss=_S, tr=_S, ldt=_S, gdt=Table(0, 0), idt=Table(0, 0),
    cr0=0, cr2=0, cr3=0, cr4=0, cr8=0, efer=0, apic_base=0, interrupt_bitmap=(0, 0, 0, 0),
)  # fmt: skip


def loaded(content: bytes, arguments: bytes = b"", module: bytes = b"", **more: Any) -> Image:
    extra = Module("initrd", module) if module else None
    return bzimage.load(Kernel("bzImage", content, arguments, extra), RAM, **more)


def piece(image: Image, what: str) -> tuple[int, bytes]:
    found = next(each for each in image.pieces if each.what == what)
    return found.address, bytes(found.data)


def number(image: Image, offset: int, size: int) -> int:
    return int.from_bytes(piece(image, "zero page")[1][offset : offset + size], "little")


def refused(saw: str, content: bytes, *arguments: bytes) -> None:
    with pytest.raises(LoadError, match=saw):
        loaded(content, *arguments)


def test_the_64_bit_entry() -> None:
    image = loaded(bzimage_file())
    assert piece(image, "kernel") == (TEXT, CODE)
    assert image.registers.rip == TEXT + 0x200
    assert image.registers.rsi == piece(image, "zero page")[0]
    state = image.enter(RESET)
    assert state.cr0 & (CR0_PE | CR0_PG) == CR0_PE | CR0_PG
    assert (state.cs.selector, state.ds.selector, state.cs.l) == (0x10, 0x18, 1)
    assert state.gdt == Table(piece(image, "GDT")[0], 31)


@pytest.mark.parametrize("content", [bzimage_file(), bzimage_file(xloadflags=0)])
def test_the_32_bit_entry(content: bytes) -> None:
    image = loaded(content, bits=32)
    registers = image.registers
    assert registers.rip == TEXT
    assert (registers.rbp, registers.rdi, registers.rbx) == (0, 0, 0)
    state = image.enter(RESET)
    assert state.cr0 & (CR0_PE | CR0_PG) == CR0_PE
    assert (state.cs.selector, state.ss.selector, state.cs.db, state.cs.limit) == (0x10, 0x18, 1, 0xFFFF_FFFF)
    assert not [each for each in image.pieces if each.what == "PML4"]


def test_an_image_of_old_has_no_64_bit_entry() -> None:
    """The field came with protocol 2.12; before, its bytes were something else's."""
    assert loaded(bzimage_file(version=0x20B)).registers.rip == TEXT


def test_no_set_up_sectors_means_four() -> None:
    assert piece(loaded(bzimage_file(setup_sects=0)), "kernel")[1] == CODE


def test_the_zero_page_has_the_header_and_the_memory_map() -> None:
    image = loaded(bzimage_file())
    page = piece(image, "zero page")[1]
    assert len(page) == 4096
    assert page[spec.MAGIC_AT : spec.MAGIC_AT + 4] == b"HdrS"
    assert number(image, spec.TYPE_OF_LOADER, 1) == 0xFF
    rows = e820.memory_map(RAM)
    assert number(image, spec.E820_ENTRIES, 1) == len(rows)
    assert page[spec.E820_TABLE :].startswith(e820.packed(rows))
    assert not any(page[0x268:0x2D0])  # nothing from behind the header


def test_the_command_line() -> None:
    image = loaded(bzimage_file(), b"console=ttyS0")
    at, text = piece(image, "command line")
    assert text == b"console=ttyS0\0"
    assert number(image, spec.CMD_LINE_PTR, 4) == at
    refused("its command line has 3000 bytes, and it takes 2047", bzimage_file(), bytes(3000))


@pytest.mark.parametrize(("limit", "end"), [(0x7FFF_FFFF, RAM), (8 * MIB - 1, 8 * MIB)])
def test_the_initial_ram_disk_is_as_high_as_it_may_be(limit: int, end: int) -> None:
    image = loaded(bzimage_file(initrd_addr_max=limit), module=b"x" * 5000)
    at = number(image, spec.RAMDISK_IMAGE, 4)
    assert number(image, spec.RAMDISK_SIZE, 4) == 5000
    assert at == (end - 5000) & -4096
    assert piece(image, "initial RAM disk") == (at, b"x" * 5000)


def test_a_ram_disk_that_does_not_fit_is_refused() -> None:
    refused("does not fit below", bzimage_file(initrd_addr_max=MIB), b"", b"x" * 5000)
    refused("overlaps its kernel", bzimage_file(initrd_addr_max=3 * MIB), b"", b"x" * 5000)


@pytest.mark.parametrize(
    ("saw", "content"),
    [
        ("no Linux boot header", bzimage_file(boot_flag=0)),
        ("its boot protocol is 2.03", bzimage_file(version=0x203)),
        ("zImage", bzimage_file(loadflags=0)),
        ("its 255 sectors of set-up code leave nothing", bzimage_file(setup_sects=0xFF)),
        ("leave nothing", bzimage_file(protected=b"")),
        ("no Linux boot header", bzimage_file()[:0x204]),
        ("wants to lie at 0x90000", bzimage_file(at=0x90000)),
        ("wants to lie at 0xffffffffffffffff", bzimage_file(pref_address=(1 << 64) - 1)),
        ("outside of the guest's", bzimage_file(init_size=0xFFFF_FFFF)),
    ],
)
def test_what_cannot_be_booted_is_refused(saw: str, content: bytes) -> None:
    refused(saw, content)


def test_it_is_known_by_its_header() -> None:
    assert detect.detect(Kernel("k", bzimage_file())) == "bzimage"
