"""Host memory that backs a slot in ways that ``GuestMemory`` has no need of."""

from __future__ import annotations

import ctypes
import mmap
from types import TracebackType
from typing import NamedTuple, Self

PAGE = mmap.PAGESIZE


class Region(NamedTuple):
    """A range of host addresses, as it is: part of other memory, or not what a slot may have."""

    address: int
    size: int


class Mapping:
    """Pages mapped on their own: of the file ``fd``, shared unless ``private``, or (-1) anonymous.

    Use it as a context manager.
    """

    def __init__(self, size: int, fd: int = -1, *, private: bool = False) -> None:
        how = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED if fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.pages = mmap.mmap(fd, size, flags=how)
        self.size = size
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.pages.close()
