"""The table that the program ``accesses`` walks: devices/accesses.c has the same layout."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

TABLE = 0x180000  # where it lies in guest memory
LIMIT = 4096  # entries
MEMORY = 4 << 20  # bytes of guest memory that the program counts on
FREE = 0x200000  # from here on they are the case's own

_ENTRY = struct.Struct("<IIQQQ")
_ONES = (1 << 64) - 1


class What(IntEnum):
    """What an entry does; those marked * observe one value."""

    END = 0
    OUT = 1
    IN = 2  # *
    STORE = 3
    LOAD = 4  # *
    FILL = 5  # ``mask`` bytes, in units of ``size``
    COPY = 6  # ``mask`` bytes from ``value``
    POLL_IN = 7  # * 1 where the port came to hold ``value`` under ``mask``
    POLL = 8  # * the same of memory
    HOST = 9  # the host's act ``value``
    PIC = 10  # both 8259s: lines in ``value`` are open, those in ``mask`` level-triggered
    HANDLE = 11  # the entries up to the next END are the handler of vector ``address``
    WAIT = 12  # * until vector ``address`` was taken ``value`` times: how often it was
    COUNT = 13  # * how often it was taken, pending interrupts let in first
    OUTS = 14  # REP OUTS of ``mask`` items from ``value``
    INS = 15  # REP INS of ``mask`` items to ``value``


OBSERVING = frozenset((What.IN, What.LOAD, What.POLL_IN, What.POLL, What.WAIT, What.COUNT))


class Access(NamedTuple):
    """One entry; sizes in bytes."""

    what: What
    size: int = 0
    address: int = 0
    value: int = 0
    mask: int = _ONES


def pack(accesses: Iterable[Access]) -> bytes:
    """The table in guest memory, its END included.  Raises ValueError where it is too long."""
    rows = [*accesses, Access(What.END)]
    if len(rows) > LIMIT:
        raise ValueError(f"{len(rows)} accesses; a table has {LIMIT}")
    return b"".join(_ENTRY.pack(a.what, a.size, a.address & _ONES, a.value & _ONES, a.mask & _ONES) for a in rows)
