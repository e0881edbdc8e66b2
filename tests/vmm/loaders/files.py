"""Kernel files made in Python: right ones, which the tests then break."""

from __future__ import annotations

from ctypes import sizeof

from virtproof.spec import bzimage, elf, multiboot, pvh
from virtproof.spec.elf import SegmentType
from virtproof.vmm.loaders.image import Image, Piece

MIB = 1 << 20
RAM = 16 * MIB
TEXT = 2 * MIB
CODE = bytes(range(256)) * 16


def elf_file(
    bits: int = 32,
    *,
    content: bytes = CODE,
    entry: int = TEXT,
    segments: tuple[dict[str, int], ...] = ({},),
    note: bytes = b"",
    **header: int,
) -> bytes:
    """Return an ELF file whose segments hold ``content`` at TEXT unless they say otherwise."""
    kind, row = {32: (elf.Header32, elf.ProgramHeader32), 64: (elf.Header64, elf.ProgramHeader64)}[bits]
    rows = len(segments) + bool(note)
    data = sizeof(kind) + rows * sizeof(row)
    made = kind(
        e_type=elf.EXECUTABLE,
        e_machine=elf.EM_386 if bits == 32 else elf.EM_X86_64,
        e_entry=entry,
        e_phoff=sizeof(kind),
        e_phentsize=sizeof(row),
        e_phnum=rows,
    )
    made.e_ident[:] = [*elf.MAGIC, elf.CLASS32 if bits == 32 else elf.CLASS64, elf.LITTLE_ENDIAN, 1, *bytes(9)]
    for name, value in header.items():
        setattr(made, name, value)
    usual = {
        "p_type": SegmentType.LOAD,
        "p_offset": data,
        "p_vaddr": TEXT,
        "p_paddr": TEXT,
        "p_filesz": len(content),
        "p_memsz": len(content),
    }
    table = b"".join(bytes(row(**usual | segment)) for segment in segments)
    if note:
        table += bytes(row(p_type=SegmentType.NOTE, p_offset=data + len(content), p_filesz=len(note)))
    return bytes(made) + table + content + note


def multiboot_header(flags: int = 0, *addresses: int) -> bytes:
    words = (multiboot.MAGIC, flags, -(multiboot.MAGIC + flags) & 0xFFFF_FFFF, *addresses)
    return b"".join(word.to_bytes(4, "little") for word in words)


def by_addresses(**changed: int) -> bytes:
    """Return a file that is no ELF file: the header is at offset 16, and 16 bytes of data follow it."""
    fields = {
        "header_addr": TEXT + 16,
        "load_addr": TEXT,
        "load_end_addr": TEXT + 64,
        "bss_end_addr": TEXT + 128,
        "entry_addr": TEXT + 48,
    }
    return b"\xaa" * 16 + multiboot_header(1 << 16, *(fields | changed).values()) + b"\xbb" * 16 + b"not loaded"


def pvh_note(entry: int = TEXT + 8, *, name: bytes = pvh.NOTE_NAME, size: int = 4) -> bytes:
    header = elf.NoteHeader(n_namesz=len(name), n_descsz=size, n_type=pvh.PHYS32_ENTRY)
    return bytes(header) + name.ljust(-(-len(name) // 4) * 4, b"\0") + entry.to_bytes(8, "little")[:size]


def piece(image: Image, what: str) -> Piece:
    (found,) = (piece for piece in image.pieces if piece.what == what)
    return found


def at(image: Image, address: int, size: int) -> bytes:
    """Return what a guest finds at an address."""
    for piece in image.pieces:
        if piece.address <= address < piece.end:
            content = bytes(piece.data).ljust(piece.size, b"\0")
            return content[address - piece.address :][:size]
    raise AssertionError(f"nothing at {address:#x}")


def text_at(image: Image, address: int) -> bytes:
    return at(image, address, 4096).partition(b"\0")[0]


def bzimage_file(*, protected: bytes = CODE, at: int = TEXT, **header: int) -> bytes:
    """Return a bzImage of protocol 2.15 with both entries; ``header`` has fields of spec/bzimage.py by their names."""
    made = bytearray(5 * bzimage.SECTOR)
    made[bzimage.JUMP : bzimage.JUMP + 2] = b"\xeb\x66"
    made[bzimage.MAGIC_AT : bzimage.MAGIC_AT + 4] = bzimage.MAGIC
    fields = {
        "setup_sects": 4, "boot_flag": bzimage.BOOT_FLAG_VALUE, "version": 0x20F, "loadflags": bzimage.LOADED_HIGH,
        "code32_start": at, "initrd_addr_max": 0x7FFF_FFFF, "kernel_alignment": 0x20_0000, "relocatable": 1,
        "xloadflags": bzimage.KERNEL_64, "cmdline_size": 2047, "pref_address": at, "init_size": 2 * MIB,
    }  # fmt: skip
    for name, value in (fields | header).items():
        offset, size = BZIMAGE_FIELDS[name]
        made[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(made) + protected


BZIMAGE_FIELDS = {
    "setup_sects": (bzimage.SETUP_SECTS, 1), "boot_flag": (bzimage.BOOT_FLAG, 2), "version": (bzimage.VERSION, 2),
    "loadflags": (bzimage.LOADFLAGS, 1), "code32_start": (bzimage.CODE32_START, 4),
    "initrd_addr_max": (bzimage.INITRD_ADDR_MAX, 4), "kernel_alignment": (bzimage.KERNEL_ALIGNMENT, 4),
    "relocatable": (bzimage.RELOCATABLE, 1), "xloadflags": (bzimage.XLOADFLAGS, 2),
    "cmdline_size": (bzimage.CMDLINE_SIZE, 4), "pref_address": (bzimage.PREF_ADDRESS, 8),
    "init_size": (bzimage.INIT_SIZE, 4),
}  # fmt: skip
