"""The walk of the page tables as a model: where a linear address leads by the tables in memory, or with which #PF.

Written from the manuals alone, for every kind of paging: Intel SDM vol. 3A, "Paging": "32-Bit Paging", "PAE Paging",
"4-Level Paging and 5-Level Paging", "Determination of Access Rights", "Protection Keys", "Page-Fault Exceptions"; AMD
APM vol. 2, "Page Translation and Protection".  Shadow stacks are left out, and so is what MOV to CR3 refuses: reserved
bits of the four PDPTEs of PAE paging.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from virtproof.spec.bits import Bits
from virtproof.spec.x86.exception import PageFaultErrorCode
from virtproof.spec.x86.paging import (
    Entry64,
    PaePage2M,
    PaePage4K,
    PaePde,
    PaePdpte,
    Page1G,
    Page2M,
    Page4K,
    Pde4M,
    Pde32,
    Pte32,
    Table64,
    is_canonical,
)


class Access(NamedTuple):
    """A read, unless ``write`` or ``fetch``; by the supervisor, unless ``user`` (CPL 3).

    ``implicit``: the processor's own access to a system structure, a descriptor say: a supervisor access at any CPL.
    """

    write: bool = False
    fetch: bool = False
    user: bool = False
    implicit: bool = False


class Control(NamedTuple):
    """What the walk depends on besides the tables: bits of CR0, CR4, EFER, RFLAGS, and what CPUID says."""

    wp: bool = True
    smep: bool = False
    smap: bool = False
    nxe: bool = True
    ac: bool = False
    physical_bits: int = 52  # MAXPHYADDR
    gigabyte_pages: bool = True
    pke: bool = False
    pkru: int = 0
    pks: bool = False
    pkrs: int = 0


class Level(NamedTuple):
    """One level: where its index lies in the linear address, and what its entries are.

    ``table`` is the kind that leads on, None at the last level; ``page`` the kind that maps a page, None where
    none does.  Where there are both, bit 7 (PS) tells them apart.
    """

    shift: int
    bits: int
    table: type[Bits] | None
    page: type[Bits] | None


class Paging(NamedTuple):
    """A kind of paging: bytes of an entry, the bits of CR3 that hold the top table's address, levels from the top."""

    name: str
    width: int
    base: int
    linear_bits: int
    levels: tuple[Level, ...]

    @property
    def long(self) -> bool:
        """Is it paging of IA-32e mode, which has protection keys and canonical addresses?"""
        return self.linear_bits > 32


_LOW = ((1 << 32) - 1) & ~0xFFF
_HIGH = Table64.table.mask

# fmt: off
PT      = Level(12, 9,  None,     Page4K)
PD      = Level(21, 9,  Table64,  Page2M)
PDPT    = Level(30, 9,  Table64,  Page1G)
PML4    = Level(39, 9,  Table64,  None)
PML5    = Level(48, 9,  Table64,  None)
PT_32   = Level(12, 10, None,     Pte32)
PD_32   = Level(22, 10, Pde32,    None)
PD_PSE  = Level(22, 10, Pde32,    Pde4M)
PT_PAE  = Level(12, 9,  None,     PaePage4K)
PD_PAE  = Level(21, 9,  PaePde,   PaePage2M)
PDPT_PAE = Level(30, 2, PaePdpte, None)

UNPAGED       = Paging("no paging",                  4, 0,            32, ())
TWO_LEVEL     = Paging("32-bit paging",              4, _LOW,         32, (PD_32, PT_32))
TWO_LEVEL_PSE = Paging("32-bit paging with CR4.PSE", 4, _LOW,         32, (PD_PSE, PT_32))
PAE           = Paging("PAE paging",                 8, _LOW | 0xFE0, 32, (PDPT_PAE, PD_PAE, PT_PAE))
FOUR_LEVEL    = Paging("4-level paging",             8, _HIGH,        48, (PML4, PDPT, PD, PT))
FIVE_LEVEL    = Paging("5-level paging",             8, _HIGH,        57, (PML5, PML4, PDPT, PD, PT))
# fmt: on

PS = 1 << 7
KEYS = 59  # lowest bit of the protection key in an entry that maps a page


class Page(NamedTuple):
    """A translation: the physical address of the byte itself, the page's size and rights over all levels.

    ``entries`` are the entries of the walk from the top down, as (physical address, value); ``key`` is the protection
    key of the last one.
    """

    physical: int
    size: int
    write: bool
    user: bool
    execute: bool
    entries: tuple[tuple[int, Bits], ...]
    key: int = 0


class PageFault(NamedTuple):
    """A #PF and its error code."""

    error_code: PageFaultErrorCode


def walk(
    read: Callable[[int], int],
    cr3: int,
    address: int,
    access: Access = Access(),  # noqa: B008 -- immutable
    control: Control = Control(),  # noqa: B008
    paging: Paging = FOUR_LEVEL,
) -> Page | PageFault:
    """Walk from ``cr3`` to the page of ``address``; ``read`` gives the entry at a physical address.

    Raises ValueError for an address that is not canonical: it never reaches the walk.
    """
    if paging.long and not is_canonical(address, paging.linear_bits):
        raise ValueError(f"{address:#x} is not canonical")
    if not paging.levels:
        return Page(address, 1 << 32, write=True, user=True, execute=True, entries=())
    nx = paging.width == 8 and control.nxe
    code = PageFaultErrorCode(0).but(
        w=access.write, u=access.user and not access.implicit, i=access.fetch and (nx or control.smep)
    )
    table = cr3 & paging.base
    entries: list[tuple[int, Bits]] = []
    write = user = execute = True
    for level in paging.levels:
        at = table + paging.width * (address >> level.shift & (1 << level.bits) - 1)
        raw = read(at)
        maps = level.table is None or (level.page is not None and bool(raw & PS))
        kind = level.page if maps else level.table
        assert kind is not None
        entry = kind(raw)
        if not raw & 1:
            return PageFault(code)
        if reserved(entry, level, control):
            return PageFault(code.but(p=1, rsvd=1))
        entries.append((at, entry))
        if kind is not PaePdpte:  # which has no rights
            write, user, execute = write and bool(raw & 2), user and bool(raw & 4), execute and not raw >> 63
        if maps:
            break
        table = raw & (_LOW if paging.width == 4 else _HIGH)
    offset = (1 << level.shift) - 1
    page = Page(
        physical=_frame(entry) & ~offset | address & offset,
        size=offset + 1,
        write=write,
        user=user,
        execute=execute,
        entries=tuple(entries),
        key=entry >> KEYS & 0xF if paging.long else 0,
    )
    if _key_refuses(page, access, control, paging):
        return PageFault(code.but(p=1, pk=1))
    return page if _allowed(page, access, control) else PageFault(code.but(p=1))


def after(page: Page, access: Access) -> Mapping[int, int]:
    """The walked entries by address as the access leaves them: accessed at every level, a written page dirty."""
    marked = {at: int(entry) | (0 if isinstance(entry, PaePdpte) else 1 << 5) for at, entry in page.entries}
    if access.write and page.entries:
        marked[page.entries[-1][0]] |= Page4K.d.mask  # the same bit for pages of any size
    return marked


def reserved(entry: Bits, level: Level, control: Control) -> bool:
    """Is a bit set that the processor reserves in this present entry of the level?"""
    if isinstance(entry, Pde4M):
        return bool(entry.reserved or entry.high >> max(control.physical_bits - 32, 0))
    if isinstance(entry, Pde32 | Pte32):
        return False
    return bool(
        entry & _HIGH & ~((1 << control.physical_bits) - 1)
        or entry.reserved  # of a large page: address bits below its size
        or (entry >> 63 and not control.nxe)
        or (level.page is None and level.table is Table64 and entry & PS)
        or (isinstance(entry, Page1G) and not control.gigabyte_pages)
    )


def _frame(entry: Bits) -> int:
    """The address that an entry holds, with bits that belong to the offset in it."""
    if isinstance(entry, Pde4M):
        return entry & Pde4M.frame.mask | entry.high << 32
    return entry & (_HIGH if isinstance(entry, Entry64) else _LOW)


def _allowed(page: Page, access: Access, control: Control) -> bool:
    if access.user and not access.implicit:
        return page.user and (page.write or not access.write) and (page.execute or not access.fetch)
    if access.fetch:
        return page.execute and not (control.smep and page.user)
    if control.smap and page.user and (access.implicit or not control.ac):
        return False
    return page.write or not (access.write and control.wp)


def _key_refuses(page: Page, access: Access, control: Control, paging: Paging) -> bool:
    """Does the page's protection key refuse the access, whatever else does?

    What a user does to a supervisor page is refused without it.
    """
    enabled, register = (control.pke, control.pkru) if page.user else (control.pks, control.pkrs)
    if not (paging.long and enabled) or access.fetch:
        return False
    access_disable, write_disable = register >> 2 * page.key & 1, register >> 2 * page.key & 2
    by_user = access.user and not access.implicit
    if by_user and not page.user:
        return False
    return bool(access_disable or (write_disable and access.write and (control.wp or by_user)))
