"""The walk of 4-level paging as a model: where a linear address leads by the tables in memory, or with which #PF.

Intel SDM vol. 3A, "Paging": "4-Level Paging and 5-Level Paging", "Access Rights", "Page-Fault Exceptions";
AMD APM vol. 2, "Page Translation and Protection".  Protection keys and shadow stacks are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from virtproof.spec.x86.exception import PageFaultErrorCode
from virtproof.spec.x86.paging import Entry64, Page1G, Page2M, Page4K, Table64, is_canonical


class Access(NamedTuple):
    """A read, unless ``write`` or ``fetch``; by the supervisor, unless ``user`` (CPL 3)."""

    write: bool = False
    fetch: bool = False
    user: bool = False


class Control(NamedTuple):
    """What the walk depends on besides the tables: bits of CR0, CR4, EFER, RFLAGS, and what CPUID says."""

    wp: bool = True
    smep: bool = False
    smap: bool = False
    nxe: bool = True
    ac: bool = False
    physical_bits: int = 52  # MAXPHYADDR
    gigabyte_pages: bool = True


class Page(NamedTuple):
    """A translation: the physical address of the byte itself, the page's size and rights over all levels.

    ``entries`` are the entries of the walk from the top down, as (physical address, value).
    """

    physical: int
    size: int
    write: bool
    user: bool
    execute: bool
    entries: tuple[tuple[int, Entry64], ...]


class PageFault(NamedTuple):
    """A #PF and its error code."""

    error_code: PageFaultErrorCode


# Levels from the top: shift of the index in the linear address, and the entry that maps a page there.
LEVELS: tuple[tuple[int, type[Entry64] | None], ...] = ((39, None), (30, Page1G), (21, Page2M), (12, Page4K))


def walk(
    read: Callable[[int], int],
    cr3: int,
    address: int,
    access: Access = Access(),  # noqa: B008 -- immutable
    control: Control = Control(),  # noqa: B008
) -> Page | PageFault:
    """Walk from ``cr3`` to the page of ``address``; ``read`` gives the 8 bytes at a physical address.

    Raises ValueError for an address that is not canonical: it never reaches the walk.
    """
    if not is_canonical(address):
        raise ValueError(f"{address:#x} is not canonical")
    code = PageFaultErrorCode(0).but(w=access.write, u=access.user, i=access.fetch and (control.nxe or control.smep))
    table = cr3 & Table64.table.mask
    entries: list[tuple[int, Entry64]] = []
    write = user = execute = True
    for shift, kind in LEVELS:
        at = table + 8 * (address >> shift & 0x1FF)
        raw = read(at)
        maps = kind is Page4K or (kind is not None and Table64(raw).ps)
        entry = kind(raw) if kind is not None and maps else Table64(raw)
        if not entry.p:
            return PageFault(code)
        if _reserved(entry, kind, control):
            return PageFault(code.but(p=1, rsvd=1))
        entries.append((at, entry))
        write, user, execute = write and entry.rw, user and entry.us, execute and not entry.xd
        if maps:
            break
        table = entry & Table64.table.mask
    offset = (1 << shift) - 1
    page = Page(
        physical=entry & Table64.table.mask & ~offset | address & offset,
        size=offset + 1,
        write=write,
        user=user,
        execute=execute,
        entries=tuple(entries),
    )
    return page if _allowed(page, access, control) else PageFault(code.but(p=1))


def after(page: Page, access: Access) -> Mapping[int, int]:
    """The walked entries by address as the access leaves them: accessed at every level, a written page dirty."""
    marked = {at: int(entry.but(a=1)) for at, entry in page.entries}
    if access.write:
        marked[page.entries[-1][0]] |= Page4K.d.mask  # the same bit for pages of any size
    return marked


def _reserved(entry: Entry64, kind: type[Entry64] | None, control: Control) -> bool:
    """Is a bit set that the processor reserves in this present entry?"""
    address_bits = Table64.table.mask & ~((1 << control.physical_bits) - 1)
    return bool(
        entry & address_bits
        or entry.reserved  # of a large page: address bits below its size
        or (entry.xd and not control.nxe)
        or (kind is None and Table64(entry).ps)
        or (isinstance(entry, Page1G) and not control.gigabyte_pages)
    )


def _allowed(page: Page, access: Access, control: Control) -> bool:
    if access.user:
        return page.user and (page.write or not access.write) and (page.execute or not access.fetch)
    if access.fetch:
        return page.execute and not (control.smep and page.user)
    if control.smap and page.user and not control.ac:
        return False
    return page.write or not (access.write and control.wp)
