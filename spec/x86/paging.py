"""Paging-structure entries: Intel SDM vol. 3A, "Paging"; AMD APM vol. 2, "Page Translation and Protection".

Frames are fields of page-frame numbers: shift left by the ``lo`` of the field for a physical address.  In 64-bit
entries they reach bit 51; bits from MAXPHYADDR up are reserved on a processor that has fewer.
"""

from virtproof.spec.bits import Bits, bit, bits


# fmt: off
class Entry32(Bits, width=32):
    """What every present entry of 32-bit paging has."""

    p   = bit(0, "present; when clear nothing else means anything")
    rw  = bit(1, "writable")
    us  = bit(2, "user")
    pwt = bit(3, "write-through, or a bit of the PAT index")
    pcd = bit(4, "cache disable, or a bit of the PAT index")
    a   = bit(5, "accessed: set by the processor")


class Pde32(Entry32):
    """32-bit paging, PDE that references a page table."""

    ign = bit(6,       "ignored")
    ps  = bit(7,       "0; ignored without CR4.PSE")
    avl = bits(11, 8)
    pt  = bits(31, 12)


class Pde4M(Entry32):
    """32-bit paging, PDE that maps a 4 MiB page (CR4.PSE = 1)."""

    d     = bit(6, "dirty: set by the processor")
    ps    = bit(7, "page size: 1")
    g     = bit(8, "global, with CR4.PGE")
    avl   = bits(11, 9)
    pat   = bit(12)
    high  = bits(20, 13, "address bits 39:32, with PSE-36; the ones above MAXPHYADDR are reserved; bit 21 is")
    frame = bits(31, 22)


class Pte32(Entry32):
    """32-bit paging, PTE that maps a 4 KiB page."""

    d     = bit(6, "dirty: set by the processor")
    pat   = bit(7)
    g     = bit(8, "global, with CR4.PGE")
    avl   = bits(11, 9)
    frame = bits(31, 12)


class PaePdpte(Bits, width=64):
    """PAE paging, one of the four entries that MOV to CR3 loads; R/W, U/S, A and XD are reserved here."""

    p   = bit(0)
    pwt = bit(3)
    pcd = bit(4)
    avl = bits(11, 9)
    pd  = bits(51, 12)


class Entry64(Bits, width=64):
    """What every present entry of PAE paging below the top, and of 4- and 5-level paging, has."""

    p   = bit(0, "present; when clear nothing else means anything")
    rw  = bit(1, "writable, at every level")
    us  = bit(2, "user, at every level")
    pwt = bit(3, "write-through, or a bit of the PAT index")
    pcd = bit(4, "cache disable, or a bit of the PAT index")
    a   = bit(5, "accessed: set by the processor")
    xd  = bit(63, "no-execute at any level, with EFER.NXE; else reserved (AMD: NX)")


class Table64(Entry64):
    """4- and 5-level paging, entry that references the next table (PML5E, PML4E, PDPTE, PDE)."""

    ign   = bit(6,        "ignored")
    ps    = bit(7,        "0; reserved in PML5E and PML4E")
    avl   = bits(11, 8)
    table = bits(51, 12)
    avl2  = bits(62, 52)


class PaePde(Entry64):
    """PAE paging, PDE that references a page table; bits 62:52 are reserved."""

    ign   = bit(6,        "ignored")
    ps    = bit(7,        "0")
    avl   = bits(11, 8)
    table = bits(51, 12)


class Page4K(Entry64):
    """4- and 5-level paging, PTE."""

    d     = bit(6, "dirty: set by the processor")
    pat   = bit(7)
    g     = bit(8, "global, with CR4.PGE")
    avl   = bits(11, 9)
    frame = bits(51, 12)
    avl2  = bits(58, 52)
    pk    = bits(62, 59, "protection key, with CR4.PKE or PKS; else available")


class Page2M(Entry64):
    """4- and 5-level paging, PDE that maps a 2 MiB page; bits 20:13 are reserved."""

    d     = bit(6)
    ps    = bit(7, "page size: 1")
    g     = bit(8)
    avl   = bits(11, 9)
    pat   = bit(12)
    frame = bits(51, 21)
    avl2  = bits(58, 52)
    pk    = bits(62, 59)


class Page1G(Entry64):
    """4- and 5-level paging, PDPTE that maps a 1 GiB page; bits 29:13 are reserved."""

    d     = bit(6)
    ps    = bit(7, "page size: 1; reserved where CPUID 80000001H EDX.Page1GB is 0")
    g     = bit(8)
    avl   = bits(11, 9)
    pat   = bit(12)
    frame = bits(51, 30)
    avl2  = bits(58, 52)
    pk    = bits(62, 59)


class PaePage4K(Entry64):
    """PAE paging, PTE; bits 62:52 are reserved."""

    d     = bit(6)
    pat   = bit(7)
    g     = bit(8)
    avl   = bits(11, 9)
    frame = bits(51, 12)


class PaePage2M(Entry64):
    """PAE paging, PDE that maps a 2 MiB page; bits 20:13 and 62:52 are reserved."""

    d     = bit(6)
    ps    = bit(7, "page size: 1; CR4.PSE does not matter")
    g     = bit(8)
    avl   = bits(11, 9)
    pat   = bit(12)
    frame = bits(51, 21)


class Linear32(Bits, width=32):
    """A linear address in 32-bit paging; for a 4 MiB page TABLE and OFFSET are one offset."""

    offset    = bits(11, 0)
    table     = bits(21, 12)
    directory = bits(31, 22)


class LinearPae(Bits, width=32):
    """A linear address in PAE paging."""

    offset            = bits(11, 0)
    table             = bits(20, 12)
    directory         = bits(29, 21)
    directory_pointer = bits(31, 30)


class Linear64(Bits, width=64):
    """A linear address in 4- or 5-level paging; the bits above must equal the top one used (canonical)."""

    offset            = bits(11, 0)
    table             = bits(20, 12)
    directory         = bits(29, 21)
    directory_pointer = bits(38, 30)
    pml4              = bits(47, 39)
    pml5              = bits(56, 48, "4-level paging: copies of bit 47")
    sign              = bits(63, 57, "copies of bit 47 or 56")
# fmt: on


def is_canonical(address: int, width: int = 48) -> bool:
    """Are bits 63 to ``width - 1`` of the 64-bit ``address`` all alike?  ``width`` is 57 with CR4.LA57."""
    top = (address & (1 << 64) - 1) >> width - 1
    return top in (0, (1 << 65 - width) - 1)
