"""Of which pages the host has made this process's memory: frames and sizes, by Linux's files in /proc.

``pagemap`` has a frame for each 4 KiB, shown to privileged users only (CAP_SYS_ADMIN).  ``smaps`` has for each mapping
the size that the kernel maps with (hugetlbfs) and how much of it lies in large pages (transparent ones); where that is
a part, ``kpageflags`` tells of the single frame.  Linux Documentation/admin-guide/mm/pagemap.rst, "Examining Process
Page Tables"; Documentation/filesystems/proc.rst, "/proc/<pid>/smaps"; the bits are those of
include/uapi/linux/kernel-page-flags.h.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import NamedTuple

from virtproof.probes.fact import Unknown

PAGE, LARGE_PAGE = 4 << 10, 2 << 20
FRAMES = LARGE_PAGE // PAGE
PROC = Path("/proc")
PRESENT, SWAPPED, FRAME = 1 << 63, 1 << 62, (1 << 55) - 1  # of pagemap
COMPOUND_HEAD, COMPOUND_TAIL, HUGETLB, TRANSPARENT = 1 << 15, 1 << 16, 1 << 17, 1 << 22  # of kpageflags
LARGE = ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped")
SMAPS_LIMIT = 64 << 20  # bytes; some hundred for each of 65530 mappings

_RANGE = re.compile(r"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) ", re.ASCII)
_SIZE = re.compile(r"^(\w+): +(\d{1,15}) kB$", re.ASCII)


class Area(NamedTuple):
    """A mapping: the size of pages that it is made with, what of it is resident, and in large pages; all in bytes."""

    page: int
    resident: int
    large: int


def area(address: int, proc: Path = PROC) -> Area | Unknown:
    """The mapping that has a host address."""
    sizes: dict[str, int] = {}
    inside = False
    try:
        with (proc / "self/smaps").open(encoding="ascii", errors="replace") as smaps:
            for line in smaps.read(SMAPS_LIMIT).splitlines():
                if found := _RANGE.match(line):
                    if inside:
                        break
                    low, high = (int(part, 16) for part in found.groups())
                    inside = low <= address < high
                elif inside and (found := _SIZE.match(line)):
                    sizes[found[1]] = int(found[2]) << 10
    except OSError as error:
        return Unknown(f"smaps: {error.strerror}")
    if not inside:
        return Unknown("smaps has no mapping there")
    page = sizes.get("KernelPageSize", 0)
    if page < PAGE or page & page - 1 or "Rss" not in sizes:
        return Unknown("smaps does not tell the size of its pages")
    return Area(page, sizes["Rss"], sum(sizes.get(name, 0) for name in LARGE))


def frame(address: int, proc: Path = PROC) -> int | Unknown:
    """The machine's frame of the page at a host address, by its number."""
    entry = _word(proc / "self/pagemap", address // PAGE)
    if isinstance(entry, Unknown):
        return entry
    if not entry & PRESENT:
        return Unknown("the page is swapped out" if entry & SWAPPED else "no page is there")
    return entry & FRAME or Unknown("pagemap hides frames from this user (CAP_SYS_ADMIN)")


def size(address: int, proc: Path = PROC) -> int | Unknown:
    """How large the host's page at a host address is, in bytes."""
    whole = area(address, proc)
    if isinstance(whole, Unknown):
        return whole
    if whole.page > PAGE or not whole.large:
        return whole.page
    if whole.large >= whole.resident:
        return LARGE_PAGE
    number = frame(address, proc)  # some of the mapping is: is this?
    return number if isinstance(number, Unknown) else _size_of_frame(number, proc)


def _size_of_frame(number: int, proc: Path) -> int | Unknown:
    """Is a frame one of the 512 of a large page?  Several smaller ones may be compound, too."""
    path, first = proc / "kpageflags", number - number % FRAMES
    flags = _words(path, first, FRAMES)
    if isinstance(flags, Unknown):
        return flags
    if not flags[number - first] & (TRANSPARENT | HUGETLB):
        return PAGE
    whole = flags[0] & COMPOUND_HEAD and all(flag & COMPOUND_TAIL for flag in flags[1:])
    return LARGE_PAGE if whole else PAGE


def _word(path: Path, index: int) -> int | Unknown:
    found = _words(path, index, 1)
    return found if isinstance(found, Unknown) else found[0]


def _words(path: Path, index: int, count: int) -> tuple[int, ...] | Unknown:
    """64-bit words of a file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(fd, 8 * count, 8 * index)
        finally:
            os.close(fd)
    except OSError as error:
        return Unknown(f"{path.name}: {error.strerror}")
    except OverflowError:
        return Unknown(f"{path.name} has no place for it")
    if len(data) != 8 * count:
        return Unknown(f"{path.name} gives {len(data)} of {8 * count} bytes")
    return struct.unpack(f"<{count}Q", data)
