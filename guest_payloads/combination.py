"""One combination of ``permissions.c``: what an access is made under, and what came of it.

The payload is compiled against ``c_header()``, so this is the only place where the layout is written down.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

LEVELS = 5  # of entries, at the most
COMBINATIONS = 1 << 20  # guest-physical address of the array
NOTHING = 0x100  # for the vector of an access that succeeded
AHEAD = 0xFFFF_FFFF  # and of one that has not been made yet
BY_USER = 4
STORED = 0x1122_0007  # what a write writes; the low half is a selector: the first descriptor of the LDT, RPL 3

_U64 = ctypes.c_uint64


class Kind(IntEnum):
    """What the access is; with ``BY_USER`` it is made at CPL 3."""

    READ = 0
    WRITE = 1
    FETCH = 2
    SEGMENT = 3  # a segment register is loaded: the processor reads the descriptor


class Argument(IntEnum):
    """The words of the payload's ``arguments``."""

    COUNT = 0  # of combinations
    LINEAR = 1  # the address of the access
    CELL = 2  # the physical address that it leads to
    CONTENTS = 3  # what lies there before each access
    LOCAL_TABLE = 4  # linear address of an LDT, or 0 for none
    CONSOLE = 5  # port that takes all combinations at the end, or 0
    PLACES = 6  # of the entries, from the top level down; 0 where there is none


ARGUMENTS = Argument.PLACES + LEVELS


class Combination(ctypes.LittleEndianStructure):
    """``entries`` are those of the walk from the top down; afterwards they are what the access has made of them."""

    _fields_ = (
        ("entries", _U64 * LEVELS),
        ("cr0", _U64),
        ("cr4", _U64),
        ("efer", _U64),
        ("pkru", ctypes.c_uint32),
        ("pkrs", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("access", ctypes.c_uint32),
        ("vector", ctypes.c_uint32),
        ("error_code", ctypes.c_uint32),
        ("cr2", _U64),
        ("value", _U64),  # of EAX: what a read has read
        ("cell", _U64),  # what lies there afterwards
    )


def c_header() -> str:
    """The layout for C, and the numbers for C and the assembler."""
    numbers = {
        "LEVELS": LEVELS, "COMBINATIONS": COMBINATIONS, "NOTHING": NOTHING, "BY_USER": BY_USER, "STORED": STORED,
        "ARGUMENTS": ARGUMENTS, **{a.name: a.value for a in Argument},
    }  # fmt: skip
    lines = [f"#define {name} {int(value):#x}" for name, value in numbers.items()]
    fields = [f"    {_c_type(kind)} {name}{_c_length(kind)};" for name, kind in Combination._fields_]
    struct = ("#ifndef __ASSEMBLER__", "#include <stdint.h>", "struct combination {", *fields, "};", "#endif")
    return "\n".join((*lines, *struct, ""))


def _c_type(kind: type) -> str:
    one: Any = kind._type_ if issubclass(kind, ctypes.Array) else kind
    return f"uint{8 * ctypes.sizeof(one)}_t"


def _c_length(kind: type) -> str:
    return f"[{LEVELS}]" if issubclass(kind, ctypes.Array) else ""
