"""Words of the structure tables: fixed-width integers and runs of fields of one type."""

from __future__ import annotations

from ctypes import LittleEndianStructure as Struct
from ctypes import LittleEndianUnion as Union
from ctypes import c_int16 as s16
from ctypes import c_int32 as s32
from ctypes import c_int64 as s64
from ctypes import c_uint8 as u8
from ctypes import c_uint16 as u16
from ctypes import c_uint32 as u32
from ctypes import c_uint64 as u64
from typing import TypeVar

__all__ = ["Struct", "Union", "each", "s16", "s32", "s64", "u8", "u16", "u32", "u64"]

K = TypeVar("K")


def each(kind: K, names: str) -> tuple[tuple[str, K], ...]:
    """Return fields of one type, named in a row as C declares them."""
    return tuple((name, kind) for name in names.split())
