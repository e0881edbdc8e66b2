"""The page tables with which a kernel starts in 64-bit mode: memory mapped to itself."""

from __future__ import annotations

from virtproof.vmm.loaders.layout import PAGE, Layout

_PRESENT, _WRITABLE, _LARGE = 1 << 0, 1 << 1, 1 << 7
_GIB, _LARGE_PAGE = 1 << 30, 2 << 20
_ENTRIES = 512


def identity_map(layout: Layout, end: int) -> int:
    """Place page tables that map 0 to ``end`` (at most 512 GiB) to themselves and return the address of the PML4."""
    gibs = -(-end // _GIB)
    if gibs > _ENTRIES:
        raise layout.kernel.refuse(f"a 64-bit kernel starts with a map of {_ENTRIES} GiB at most", "use less memory")
    pages = b"".join(_entry(page | _LARGE) for page in range(0, gibs * _GIB, _LARGE_PAGE))
    directories = layout.place(pages, "page directories", alignment=PAGE)
    pointers = b"".join(_entry(directories + gib * PAGE) for gib in range(gibs))
    table = layout.place(pointers.ljust(PAGE, b"\0"), "page-directory-pointer table", alignment=PAGE)
    return layout.place(_entry(table).ljust(PAGE, b"\0"), "PML4", alignment=PAGE)


def _entry(address: int) -> bytes:
    return (address | _PRESENT | _WRITABLE).to_bytes(8, "little")
