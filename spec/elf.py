"""The part of ELF that a loader of kernels reads: System V Application Binary Interface, "Object Files" and "Program
Loading and Dynamic Linking"; little-endian only.
"""

from enum import IntEnum

from virtproof.spec.kvm.layout import Struct, each, u8, u16, u32, u64

MAGIC = b"\x7fELF"
CLASS32, CLASS64 = 1, 2  # e_ident[EI_CLASS]
LITTLE_ENDIAN = 1  # e_ident[EI_DATA]
EI_CLASS, EI_DATA = 4, 5
EXECUTABLE, SHARED = 2, 3  # e_type
EM_386, EM_X86_64 = 3, 62  # e_machine
MANY_HEADERS = 0xFFFF  # PN_XNUM: the true number of program headers is elsewhere


class SegmentType(IntEnum):
    """p_type."""

    LOAD = 1
    DYNAMIC = 2
    INTERP = 3
    NOTE = 4


_IDENT = ("e_ident", u8 * 16)


class Header32(Struct):
    """Elf32_Ehdr."""

    _fields_ = (
        _IDENT,
        *each(u16, "e_type e_machine"),
        *each(u32, "e_version e_entry e_phoff e_shoff e_flags"),
        *each(u16, "e_ehsize e_phentsize e_phnum e_shentsize e_shnum e_shstrndx"),
    )


class Header64(Struct):
    """Elf64_Ehdr."""

    _fields_ = (
        _IDENT,
        *each(u16, "e_type e_machine"),
        *each(u32, "e_version"),
        *each(u64, "e_entry e_phoff e_shoff"),
        *each(u32, "e_flags"),
        *each(u16, "e_ehsize e_phentsize e_phnum e_shentsize e_shnum e_shstrndx"),
    )


class ProgramHeader32(Struct):
    """Elf32_Phdr."""

    _fields_ = each(u32, "p_type p_offset p_vaddr p_paddr p_filesz p_memsz p_flags p_align")


class ProgramHeader64(Struct):
    """Elf64_Phdr."""

    _fields_ = (*each(u32, "p_type p_flags"), *each(u64, "p_offset p_vaddr p_paddr p_filesz p_memsz p_align"))


class NoteHeader(Struct):
    """Elf32_Nhdr and Elf64_Nhdr; name and descriptor follow, each padded to four bytes."""

    _fields_ = each(u32, "n_namesz n_descsz n_type")
