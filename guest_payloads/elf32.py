"""Writes 32-bit ELF executables: one segment that is loaded where it runs, and a symbol table for debuggers.

System V ABI, "Object Files"; Intel386 supplement.  All fields are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

EHDR = struct.Struct("<16sHHIIIIIHHHHHH")
PHDR = struct.Struct("<8I")
SHDR = struct.Struct("<10I")
SYM = struct.Struct("<IIIBBH")

IDENT = b"\x7fELF\x01\x01\x01" + bytes(9)  # 32-bit, little-endian, version 1
ET_EXEC, EM_386, EV_CURRENT = 2, 3, 1
PT_LOAD, PF_RWX = 1, 7
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB = 1, 2, 3
SHF_WRITE_ALLOC_EXECINSTR = 7
SHN_ABS, STB_GLOBAL = 0xFFF1, 1 << 4

ALIGNMENT = 16


def executable(address: int, data: bytes, entry: int, symbols: Mapping[str, int]) -> bytes:
    """Return an executable whose one segment ``data`` is loaded at physical ``address``; 32-bit values throughout."""
    names = [*symbols]
    strings, at = _strings(names)
    symtab = bytes(SYM.size) + b"".join(SYM.pack(at[n], symbols[n], 0, STB_GLOBAL, 0, SHN_ABS) for n in names)
    sections = (".image", ".symtab", ".strtab", ".shstrtab")
    section_names, named = _strings(sections)

    file = bytearray(EHDR.size + PHDR.size)
    offsets = []
    for part in (data, symtab, strings, section_names):
        file += bytes(-len(file) % ALIGNMENT)
        offsets.append(len(file))
        file += part
    file += bytes(-len(file) % ALIGNMENT)
    table = len(file)
    file += bytes(SHDR.size)
    for name, kind, flags, where, offset, size, link, info, align, width in (
        (".image", SHT_PROGBITS, SHF_WRITE_ALLOC_EXECINSTR, address, offsets[0], len(data), 0, 0, ALIGNMENT, 0),
        (".symtab", SHT_SYMTAB, 0, 0, offsets[1], len(symtab), 3, 1, 4, SYM.size),
        (".strtab", SHT_STRTAB, 0, 0, offsets[2], len(strings), 0, 0, 1, 0),
        (".shstrtab", SHT_STRTAB, 0, 0, offsets[3], len(section_names), 0, 0, 1, 0),
    ):
        file += SHDR.pack(named[name], kind, flags, where, offset, size, link, info, align, width)
    EHDR.pack_into(
        file, 0,
        IDENT, ET_EXEC, EM_386, EV_CURRENT, entry, EHDR.size, table, 0,
        EHDR.size, PHDR.size, 1, SHDR.size, 1 + len(sections), len(sections),
    )  # fmt: skip
    PHDR.pack_into(file, EHDR.size, PT_LOAD, offsets[0], address, address, len(data), len(data), PF_RWX, ALIGNMENT)
    return bytes(file)


def _strings(names: tuple[str, ...] | list[str]) -> tuple[bytes, dict[str, int]]:
    """A string table, and where in it each name is."""
    table, at = bytearray(1), {}
    for name in names:
        at[name] = len(table)
        table += name.encode() + b"\0"
    return bytes(table), at
