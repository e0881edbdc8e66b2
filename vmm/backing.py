"""What guest memory is made of: pages of this process, of a shared file, or huge pages.

A slot points at one of these; it may be mapped at several guest-physical addresses, and moved between them.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from virtproof.spec.fault import Fault

PAGE = mmap.PAGESIZE
HUGE_PAGE = 2 << 20  # the x86-64 default, and the only size asked for

Backing = Literal["anonymous", "memfd", "hugetlb"]


class GuestMemoryError(Fault):
    """An access to guest-physical addresses that no slot, or only a read-only slot, backs; or no memory to be had."""


class HostMemory:
    """Zeroed, page-aligned memory.  ``fd`` names the file behind it, which other processes may map; -1: none."""

    backing: Backing = "anonymous"
    page = PAGE

    def __init__(self, size: int, *, fd: int = -1) -> None:
        if size <= 0 or size % self.page:
            raise GuestMemoryError(
                "make guest memory", f"{size:#x} bytes is not a multiple of {self.page}", "use whole pages"
            )
        self.size, self.fd = size, fd
        self._pages = self._map()
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self.view = memoryview(self._pages)

    def _map(self) -> mmap.mmap:
        try:
            if self.fd < 0:
                return mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            return mmap.mmap(self.fd, self.size, flags=mmap.MAP_SHARED)
        except OSError as err:
            raise GuestMemoryError(
                f"map {self.size:#x} bytes of guest memory",
                str(err.strerror),
                "give the guest less memory, free some on the host, or raise ulimit -v or the cgroup's limit",
            ) from err

    def close(self) -> None:
        """Unmap the pages.  A view that somebody still holds keeps them mapped until it is dropped."""
        self.view.release()
        with suppress(BufferError):  # the mapping goes with the last view of it
            self._pages.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class AnonymousMemory(HostMemory):
    """Private pages of this process; memory is taken from the host only as pages are touched."""

    def __init__(self, size: int) -> None:
        super().__init__(size)


class MemfdMemory(HostMemory):
    """Pages of a file without a name: another process that is given ``fd`` sees the same memory."""

    backing: Backing = "memfd"

    def __init__(self, size: int, flags: int = 0) -> None:
        tried = f"make a memfd of {size:#x} bytes"
        try:
            fd = os.memfd_create("guest memory", os.MFD_CLOEXEC | flags)
        except OSError as err:
            raise GuestMemoryError(tried, str(err.strerror), self._remedy()) from err
        try:
            os.ftruncate(fd, max(size, 0))
            super().__init__(size, fd=fd)
        except BaseException as err:
            os.close(fd)
            if isinstance(err, OSError):
                raise GuestMemoryError(tried, str(err.strerror), self._remedy()) from err
            raise

    @staticmethod
    def _remedy() -> str:
        return "use anonymous memory, or raise the limits of the process"


class HugetlbMemory(MemfdMemory):
    """Huge pages of 2 MiB, taken from the host's reserve when they are mapped, so that none is missing later."""

    backing = "hugetlb"
    page = HUGE_PAGE

    def __init__(self, size: int) -> None:
        super().__init__(size, os.MFD_HUGETLB)

    def _map(self) -> mmap.mmap:
        try:
            return super()._map()
        except GuestMemoryError as fault:
            raise GuestMemoryError(
                f"map {self.size // HUGE_PAGE} huge pages of 2 MiB", f"{fault.saw}; {_reserve()}", self._remedy()
            ) from fault

    @staticmethod
    def _remedy() -> str:
        return "reserve huge pages (sysctl vm.nr_hugepages=N), or use anonymous memory"


def _reserve() -> str:
    """Say how many huge pages the host has."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = dict(line.split(":", 1) for line in file)
        return f"the host has {found['HugePages_Total'].strip()}, of which {found['HugePages_Free'].strip()} are free"
    except (OSError, ValueError, KeyError):
        return "this kernel does not say how many it has"


class MemoryPart(HostMemory):
    """Some pages of other memory, to be mapped on their own; the whole must outlive it."""

    def __init__(self, whole: HostMemory, offset: int, size: int) -> None:
        if offset % PAGE or size % PAGE or not 0 <= offset < offset + size <= whole.size:
            raise GuestMemoryError(f"take {size:#x} bytes at {offset:#x} of memory", f"it has {whole.size:#x}")
        self.size, self.backing, self.fd = size, whole.backing, -1
        self.address = whole.address + offset
        self.view = whole.view[offset : offset + size]

    def close(self) -> None:
        self.view.release()


MAKERS: dict[Backing, Callable[[int], HostMemory]] = {
    "anonymous": AnonymousMemory,
    "memfd": MemfdMemory,
    "hugetlb": HugetlbMemory,
}
