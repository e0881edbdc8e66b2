"""What the entries of the walk do above the page, and which of their bits are reserved, in 4-level paging.

Every level has R/W, U/S and NX, and a page has the rights that all of them grant.  A level that is not present ends the
walk: P is 0 in the error code, whatever else the entry or the ones below it hold.

In a present entry these bits are reserved, and any access through it raises #PF with RSVD and P set: address bits from
MAXPHYADDR up to 51, bit 7 (PS) of a PML4 entry, and bit 63 while EFER.NXE = 0.  A walk that ends so marks nothing
below.  Bits 52 to 58 are software's.

The error code says I only where the processor can tell fetches from reads: with EFER.NXE or CR4.SMEP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from virtproof.conformance.case import At, HostScript, Row, Set, completes, cr4, family, mem64, msr
from virtproof.conformance.features import physical_bits
from virtproof.conformance.guest import check
from virtproof.conformance.window import (
    FETCH,
    READ,
    TOUCH,
    VA,
    WRITE,
    granted,
    maps,
    page,
    pde,
    pdpte,
    pml4e,
    pte,
    refused,
    table,
)
from virtproof.guest_payloads.trampoline import INITIAL, Access, Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.engine import Engine

CITE = (
    sdm("3A", "Paging, '4-Level Paging and 5-Level Paging' and 'Page-Fault Exceptions'"),
    apm(2, "Page Translation and Protection, 'Page-Translation-Table Entry Fields'"),
)
row = family("paging", *CITE, **TOUCH)
script = partial(HostScript, area="paging", mode=Mode.LONG64, cite=CITE)

LONG64 = Mode.LONG64
OPEN = page(user=True)
BIT51, PS = 1 << 51, 1 << 7
ALL_ONES = (1 << 64) - 1
NXE_OFF = msr(Msr.IA32_EFER, int(INITIAL[LONG64].efer.but(nxe=0)))
SMEP_ON = cr4(on=Cr4.smep.mask)
NARROW = ("MAXPHYADDR below 52",)

PML4E, PDPTE, PDE = At("window_pdpt"), At("window_pd"), At("window_pt")  # where each level leads
LEVELS = (("pml4e", pml4e(), PML4E), ("pdpte", pdpte(), PDPTE), ("pde", pde(), PDE))


def _at_maxphyaddr(level: str, engine: Engine) -> Iterable[Check]:
    """The first bit above the physical addresses that the engine offers, in one level's entry."""
    also = 1 << physical_bits(engine)
    sets: dict[str, tuple[Set, ...]] = {
        "pte": (maps(page(also=also)),),
        **{name: (maps(OPEN), mem64(entry, table(leads_to, also=also))) for name, entry, leads_to in LEVELS},
    }
    return check(row(level, "", LONG64, READ, refused(READ, 0x09), sets=sets[level]), engine)


def _top_frame(engine: Engine) -> Iterable[Check]:
    """The last page that physical addresses reach, where there is no memory."""
    top = (1 << physical_bits(engine)) - 0x1000
    cell = top + VA % 0x1000
    seen = Access("mmio", cell, 8, False, ALL_ONES)
    expect = completes(regs={"rax": ALL_ONES}, accesses=(seen,))
    return check(row("top", "", LONG64, READ, expect, sets=(maps(page(top)),)), engine)


# fmt: off
UPPER = (
    #             touch  ring  of the level                    error code
    ("u0_ur",     READ,  3,    {"user": False},                0x05, "U/S = 0 forbids user reads"),
    ("w0_uw",     WRITE, 3,    {"write": False},               0x07, "R/W = 0 forbids user writes"),
    ("nx1_ux",    FETCH, 3,    {"nx": True},                   0x15, "NX = 1 forbids fetches"),
    ("np_kr",     READ,  0,    {"present": False},             0x00, "P = 0 ends the supervisor's walk"),
    ("np_uw",     WRITE, 3,    {"present": False},             0x06, "P = 0 ends the user's walk"),
    ("sup_w0_kw", WRITE, 0,    {"write": False},               0x03, "R/W = 0 forbids supervisor writes"),
)

CASES: tuple[Row | HostScript, ...] = (
    # The page itself is not present.
    row("pg.l4.np.kr", "P = 0: supervisor read",  LONG64, READ,  refused(READ,  0x00),         sets=(maps(page(present=False, user=True)),)),
    row("pg.l4.np.kw", "P = 0: supervisor write", LONG64, WRITE, refused(WRITE, 0x02),         sets=(maps(page(present=False, user=True)),)),
    row("pg.l4.np.kx", "P = 0: supervisor fetch", LONG64, FETCH, refused(FETCH, 0x10),         sets=(maps(page(present=False, user=True)),)),
    row("pg.l4.np.ur", "P = 0: user read",        LONG64, READ,  refused(READ,  0x04, ring=3), sets=(maps(page(present=False, user=True)),), ring=3),
    row("pg.l4.np.uw", "P = 0: user write",       LONG64, WRITE, refused(WRITE, 0x06, ring=3), sets=(maps(page(present=False, user=True)),), ring=3),
    row("pg.l4.np.ux", "P = 0: user fetch",       LONG64, FETCH, refused(FETCH, 0x14, ring=3), sets=(maps(page(present=False, user=True)),), ring=3),
    # Without NXE and SMEP a fetch looks like a read.
    row("pg.l4.np.kx.nxe0",      "Without NXE and SMEP the error code of a fetch has no I", LONG64, FETCH, refused(FETCH, 0x00), sets=(NXE_OFF,), priority=2),
    row("pg.l4.np.kx.nxe0_smep", "With SMEP alone the error code of a fetch has I",         LONG64, FETCH, refused(FETCH, 0x10), sets=(NXE_OFF, SMEP_ON), priority=2, requires=("smep",)),

    # Reserved bits.
    row("pg.l4.rsvd.pte_bit51",    "PTE bit 51 is reserved: supervisor read",  LONG64, READ,  refused(READ,  0x09),         sets=(maps(page(user=True, also=BIT51)),), requires=NARROW),
    row("pg.l4.rsvd.pte_bit51_kw", "PTE bit 51 is reserved: supervisor write", LONG64, WRITE, refused(WRITE, 0x0B),         sets=(maps(page(user=True, also=BIT51)),), requires=NARROW),
    row("pg.l4.rsvd.pte_bit51_ur", "PTE bit 51 is reserved: user read",        LONG64, READ,  refused(READ,  0x0D, ring=3), sets=(maps(page(user=True, also=BIT51)),), requires=NARROW, ring=3),
    row("pg.l4.rsvd.pte_bit51_ux", "PTE bit 51 is reserved: user fetch",       LONG64, FETCH, refused(FETCH, 0x1D, ring=3), sets=(maps(page(user=True, also=BIT51)),), requires=NARROW, ring=3),
    row("pg.l4.rsvd.pml4e_bit51",  "PML4E bit 51 is reserved", LONG64, READ, refused(READ, 0x09), sets=(maps(OPEN), mem64(pml4e(), table(PML4E, also=BIT51))), requires=NARROW, priority=2),
    row("pg.l4.rsvd.pdpte_bit51",  "PDPTE bit 51 is reserved", LONG64, READ, refused(READ, 0x09), sets=(maps(OPEN), mem64(pdpte(), table(PDPTE, also=BIT51))), requires=NARROW, priority=2),
    row("pg.l4.rsvd.pde_bit51",    "PDE bit 51 is reserved",   LONG64, READ, refused(READ, 0x09), sets=(maps(OPEN), mem64(pde(), table(PDE, also=BIT51))),     requires=NARROW, priority=2),
    row("pg.l4.rsvd.pml4e_nxe0",   "PML4E bit 63 is reserved without NXE", LONG64, READ, refused(READ, 0x09), sets=(maps(OPEN), mem64(pml4e(), table(PML4E, nx=True)), NXE_OFF), priority=2),
    row("pg.l4.rsvd.pdpte_nxe0",   "PDPTE bit 63 is reserved without NXE", LONG64, READ, refused(READ, 0x09), sets=(maps(OPEN), mem64(pdpte(), table(PDPTE, nx=True)), NXE_OFF), priority=2),
    row("pg.l4.rsvd.pde_nxe0",     "PDE bit 63 is reserved without NXE",   LONG64, READ, refused(READ, 0x09), sets=(maps(OPEN), mem64(pde(), table(PDE, nx=True)), NXE_OFF),     priority=2),
    row("pg.l4.rsvd.pte_nxe0",     "PTE bit 63 is reserved without NXE",   LONG64, READ, refused(READ, 0x09), sets=(maps(page(nx=True)), NXE_OFF), priority=2),
    row("pg.l4.rsvd.pml4e_ps",     "PML4E bit 7 is reserved",              LONG64, READ, refused(READ, 0x09), sets=(maps(OPEN), mem64(pml4e(), table(PML4E, also=PS)))),
    row("pg.l4.rsvd.np_wins",      "P = 0 hides the entry's reserved bits",          LONG64, READ, refused(READ, 0x00), sets=(maps(page(present=False, also=BIT51)),)),
    row("pg.l4.rsvd.upper_np",     "P = 0 hides the reserved bits of lower entries", LONG64, READ, refused(READ, 0x00), sets=(maps(page(also=BIT51)), mem64(pde(), table(PDE, present=False))), priority=2),
    row("pg.l4.rsvd.no_ad",        "An entry with a reserved bit is not marked",     LONG64, WRITE, replace(refused(WRITE, 0x0B), memory={pte(): page(also=BIT51)}), sets=(maps(page(also=BIT51)),), requires=NARROW, priority=2),

    # Bits 52 to 58 belong to software.
    row("pg.l4.ign.pml4e_bit52", "PML4E bits 58:52 are ignored", LONG64, READ, granted(READ), sets=(maps(OPEN), mem64(pml4e(), table(PML4E, also=0x7F << 52))), priority=3),
    row("pg.l4.ign.pdpte_bit52", "PDPTE bits 58:52 are ignored", LONG64, READ, granted(READ), sets=(maps(OPEN), mem64(pdpte(), table(PDPTE, also=0x7F << 52))), priority=3),
    row("pg.l4.ign.pde_bit52",   "PDE bits 58:52 are ignored",   LONG64, READ, granted(READ), sets=(maps(OPEN), mem64(pde(), table(PDE, also=0x7F << 52))),     priority=3),
    row("pg.l4.ign.pte_bit52",   "PTE bits 58:52 are ignored",   LONG64, READ, granted(READ), sets=(maps(page(also=0x7F << 52)),), priority=3),

    # One restrictive level among open ones.
    *(
        row(f"pg.l4.upper.{level}.{name}", f"{level.upper()}: {title}", LONG64, touch, refused(touch, code, ring=ring), ring=ring,
            sets=(maps(OPEN), mem64(entry, table(leads_to, **rights))), priority=2)
        for level, entry, leads_to in LEVELS for name, touch, ring, rights, code, title in UPPER
    ),

    # Where MAXPHYADDR ends is the host's choice.
    script(id="pg.l4.rsvd.pml4e_bitmaxphyaddr", title="PML4E bit MAXPHYADDR is reserved", script=partial(_at_maxphyaddr, "pml4e"), requires=NARROW, priority=2),
    script(id="pg.l4.rsvd.pdpte_bitmaxphyaddr", title="PDPTE bit MAXPHYADDR is reserved", script=partial(_at_maxphyaddr, "pdpte"), requires=NARROW, priority=2),
    script(id="pg.l4.rsvd.pde_bitmaxphyaddr",   title="PDE bit MAXPHYADDR is reserved",   script=partial(_at_maxphyaddr, "pde"),   requires=NARROW, priority=2),
    script(id="pg.l4.rsvd.pte_bitmaxphyaddr",   title="PTE bit MAXPHYADDR is reserved",   script=partial(_at_maxphyaddr, "pte"),   requires=NARROW),
    script(id="pg.misc.maxphy_top",             title="The highest frame is no reserved one: it leads to its own address", script=_top_frame, refs=("mmio.x.gpa_bits",)),
)
# fmt: on
