"""What an ELF file may get wrong; the loader that reads it here is the one for bare 64-bit kernels, or PVH's."""

from __future__ import annotations

import pytest

from tests.vmm.loaders.files import CODE, RAM, TEXT, elf_file, piece, pvh_note
from virtproof.spec import elf as spec
from virtproof.vmm.loaders import elf64, pvh
from virtproof.vmm.loaders.image import Kernel, LoadError, Module

SECOND = {"p_vaddr": TEXT + 0x4000, "p_paddr": TEXT + 0x4000}


def test_segments_are_loaded_and_the_rest_is_zero() -> None:
    image = elf64.load(Kernel("k", elf_file(64, segments=({}, SECOND | {"p_filesz": 16, "p_memsz": 0x2000}))), RAM)
    assert bytes(piece(image, "segment 0").data) == CODE
    second = piece(image, "segment 1")
    assert (second.address, bytes(second.data), second.size) == (TEXT + 0x4000, CODE[:16], 0x2000)


def test_segments_that_need_no_memory_are_left_out() -> None:
    nothing = {"p_paddr": 0xFFFF_FFFF_0000, "p_filesz": 0, "p_memsz": 0}
    other = {"p_type": 0x6474_E551, "p_paddr": 0xA0000}
    image = elf64.load(Kernel("k", elf_file(64, segments=({}, nothing, other))), RAM)
    assert not any(p.what in ("segment 1", "segment 2") for p in image.pieces)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ELF file"),
        (b"\x7fELF", "neither 32 nor 64"),
        (elf_file(64)[:40], "truncated: ELF header"),
        (elf_file(64)[:70], "truncated: program header 0"),
        (elf_file(64)[:-1], "truncated: segment 0"),
        (elf_file(64)[:4] + b"\3" + elf_file(64)[5:], "neither 32 nor 64"),
        (elf_file(64)[:5] + b"\2" + elf_file(64)[6:], "not little-endian"),
        (elf_file(64, e_machine=183), "machine 183"),
        (elf_file(64, e_machine=spec.EM_386), "not 64-bit ELF for x86-64"),
        (elf_file(32), "not 64-bit ELF for x86-64"),
        (elf_file(64, e_type=spec.SHARED), "position-independent"),
        (elf_file(64, e_type=1), "not an executable"),
        (elf_file(64, e_phnum=0), "0 program headers"),
        (elf_file(64, e_phnum=0xFFFF), "65535 program headers"),
        (elf_file(64, e_phentsize=32), "of 32 bytes"),
        (elf_file(64, e_phoff=1 << 63), "truncated: program header 0"),
        (elf_file(64, segments=({"p_type": 0},)), "no segment"),
        (elf_file(64, segments=({"p_filesz": 32, "p_memsz": 16},)), "0x20 bytes in the file for 0x10 in memory"),
        (elf_file(64, segments=({"p_offset": (1 << 64) - 1},)), "truncated: segment 0"),
        (elf_file(64, segments=({"p_memsz": 1 << 63},)), "outside of the guest's 16 MiB"),
        (elf_file(64, segments=({"p_paddr": RAM - 16},)), "outside of the guest's 16 MiB"),
        (elf_file(64, segments=({"p_paddr": 0x9FFF0},)), "outside of the guest's 16 MiB"),
        (elf_file(64, segments=({"p_paddr": 0xFEE0_0000},)), "outside of the guest's 16 MiB"),
        (elf_file(64, segments=({}, {"p_paddr": TEXT + 0xFFF})), "segment 1 at .* overlaps its segment 0"),
        (elf_file(64, segments=({}, {})), "overlaps"),
        (elf_file(64, entry=TEXT + len(CODE)), "entry .* is outside"),
        (elf_file(64, entry=0), "entry 0x0 is outside"),
        (elf_file(64, segments=({"p_paddr": TEXT + 0x1000},)), "physical ones"),
    ],
)
def test_refused(content: bytes, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        elf64.load(Kernel("k", content), RAM)


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (b"", "no Xen note"),
        (pvh_note(name=b"Zen\0"), "no Xen note"),
        (pvh_note(size=2) + bytes(2), "2 bytes where an address"),
        (pvh_note()[:-1], "leaves note segment 1"),
        (spec.NoteHeader(n_namesz=0xFFFF_FFFF, n_descsz=4, n_type=18), "leaves note segment 1"),
        (bytes(1 << 17), "more than any kernel needs"),
        (pvh_note(TEXT - 1), "entry 0x1fffff is outside"),
        (pvh_note((1 << 32) + TEXT, size=8), "out of reach of 32-bit code"),
    ],
)
def test_refused_as_pvh(note: bytes, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        pvh.load(Kernel("k", elf_file(64, note=bytes(note))), RAM)


@pytest.mark.parametrize("kernel", [Kernel("k", elf_file(64), b"x"), Kernel("k", elf_file(64), b"", Module("m", b""))])
def test_a_bare_kernel_cannot_be_told_anything(kernel: Kernel) -> None:
    with pytest.raises(LoadError, match="no way to pass"):
        elf64.load(kernel, RAM)
