"""Accessed and dirty bits: the processor sets A in every entry that a translation uses, and D in the one that maps the
page when the page is written.

Bit 6 of the entries above the leaf is ignored and kept.  A write that is refused leaves D alone, an entry that is not
present is not touched.  The processor never clears either bit: software does, and after INVLPG the next access sets
them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from virtproof.conformance.case import At, Insn, Part, Ram, Set, Value, completes, family, mem64
from virtproof.conformance.window import (
    FETCH,
    FRAME,
    NEW,
    READ,
    TOUCH,
    VA,
    WINDOW,
    WRITE,
    maps,
    page,
    page_1g,
    page_2m,
    pde,
    pdpte,
    pml4e,
    pte,
    refused,
    table,
)
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm

row = family(
    "paging",
    sdm("3A", "Paging, 'Accessed and Dirty Flags'"),
    apm(2, "Page Translation and Protection, 'Accessed (A) Bit' and 'Dirty (D) Bit'"),
    **TOUCH,
)

LONG64 = Mode.LONG64
IGNORED = 1 << 6  # where a leaf has D
PML4E, PDPTE, PDE = At("window_pdpt"), At("window_pd"), At("window_pt")

UNUSED = (mem64(pml4e(), table(PML4E)), mem64(pdpte(), table(PDPTE)), mem64(pde(), table(PDE)), maps(page()))
USED: Mapping[At, Value] = {
    pml4e(): table(PML4E, accessed=True),
    pdpte(): table(PDPTE, accessed=True),
    pde(): table(PDE, accessed=True),
}
BIT6_SET = (
    mem64(pml4e(), table(PML4E, also=IGNORED)),
    mem64(pdpte(), table(PDPTE, also=IGNORED)),
    mem64(pde(), table(PDE, also=IGNORED)),
    maps(page()),
)

CLEAR_PTE = Insn("49 89 0a", "mov qword ptr [r10], rcx")
READ_PTE = Insn("49 8b 32", "mov rsi, qword ptr [r10]")
INVLPG = Insn("0f 01 3b", "invlpg byte ptr [rbx]")
CROSSING = Insn("89 03", "mov dword ptr [rbx], eax")
SPECULATED = (  # RSI is RBX, and RDI in the last round, which does not store: a processor guesses that it does
    Insn("48 89 de", "mov rsi, rbx"),
    Insn("83 f9 01", "cmp ecx, 1"),
    Insn("48 0f 44 f7", "cmove rsi, rdi"),
    Insn("74 03", "je 0xf"),
    Insn("48 89 06", "mov qword ptr [rsi], rax"),
    Insn("ff c9", "dec ecx"),
    Insn("75 ed", "jne 0"),
)
CMPXCHG = Insn("f0 48 0f b1 0b", "lock cmpxchg qword ptr [rbx], rcx")

MIB2, GIB = 0x20_0000, 1 << 30
AT_2M = (Ram(MIB2, MIB2),)
AT_1G = (Ram(GIB, 0x1000),)

FRESH: Mapping[str, Value] = {**TOUCH["regs"], "r10": pte(), "rcx": page()}


def marks(**leaf: bool) -> Mapping[At, Value]:
    """All levels used, and the leaf as told."""
    return {**USED, pte(): page(**leaf)}


def _set(**rights: bool) -> tuple[Set, ...]:
    return (*UNUSED[:3], maps(page(**rights)))


# fmt: off
CASES = (
    row("pg.ad.a_read",      "A read sets A at every level, and no D",        LONG64, READ,  completes(memory=marks(accessed=True), keeps=False),             sets=UNUSED),
    row("pg.ad.d_write",     "A write sets A at every level, and D in the leaf alone", LONG64, WRITE, completes(memory=marks(accessed=True, dirty=True)), sets=UNUSED),
    row("pg.ad.fetch_a",     "A fetch sets A and no D",                       LONG64, FETCH, completes(memory=marks(accessed=True)),                          sets=UNUSED, priority=2),
    row("pg.ad.d_upper_ign", "Bit 6 above the leaf is kept, set",             LONG64, WRITE, completes(memory={
        pml4e(): table(PML4E, accessed=True, also=IGNORED), pdpte(): table(PDPTE, accessed=True, also=IGNORED),
        pde(): table(PDE, accessed=True, also=IGNORED), pte(): page(accessed=True, dirty=True)}),                                                            sets=BIT6_SET, priority=2),
    # A of the refused page may be set by speculation: it is set beforehand.
    row("pg.ad.fault_no_d",  "A refused write sets no D",                     LONG64, WRITE, replace(refused(WRITE, 0x03), memory={pte(): page(write=False, accessed=True)}), sets=_set(write=False, accessed=True), priority=2),
    row("pg.ad.np_no_a",     "An entry that is not present is not marked",    LONG64, READ,  replace(refused(READ, 0x00), memory={pte(): page(present=False)}), sets=_set(present=False), priority=2),
    row("pg.ad.d_clear_tlb", "D cleared by software is set again after INVLPG", LONG64, (WRITE, READ_PTE, CLEAR_PTE, INVLPG, WRITE),
        completes(memory=marks(accessed=True, dirty=True), regs={"rsi": page(accessed=True, dirty=True)}), sets=UNUSED, regs=FRESH),
    row("pg.ad.a_clear_tlb", "A cleared by software is set again after INVLPG", LONG64, (READ, READ_PTE, CLEAR_PTE, INVLPG, READ),
        completes(memory=marks(accessed=True), regs={"rsi": page(accessed=True)}, keeps=False), sets=UNUSED, regs=FRESH, priority=2),
    row("pg.ad.d_rmw_ro",    "A locked compare that fails writes all the same: D", LONG64, CMPXCHG,
        completes(memory=marks(accessed=True, dirty=True), keeps=False), sets=UNUSED, priority=2),
    row("pg.ad.a_page_cross", "A write over the end of a page marks both",    LONG64, CROSSING,
        completes(memory={pte(0): page(accessed=True, dirty=True), pte(1): page(FRAME + 0x1000, accessed=True, dirty=True)}),
        sets=(maps(page()), maps(page(FRAME + 0x1000), 1)), regs={"rax": 0, "rbx": WINDOW + 0xFFE}, priority=2),
    row("pg.ad.d_large",     "A write to a 2 MiB page sets A and D in the PDE", LONG64, WRITE,
        completes(memory={pml4e(): USED[pml4e()], pdpte(): USED[pdpte()], pde(): page_2m(MIB2, accessed=True, dirty=True)}),
        sets=(*UNUSED[:2], mem64(pde(), page_2m(MIB2))), ram=AT_2M),
    row("pg.ad.d_1g",        "A write to a 1 GiB page sets A and D in the PDPTE", LONG64, WRITE,
        completes(memory={pml4e(): USED[pml4e()], pdpte(): page_1g(GIB, accessed=True, dirty=True)}),
        sets=(UNUSED[0], mem64(pdpte(), page_1g(GIB))), ram=AT_1G, requires=("page1gb",), priority=2),
    # A may be set by speculation, D may not.
    row("pg.ad.srv",         "A store that is not executed sets no D, whatever is speculated", LONG64, SPECULATED,
        completes(memory={pte(): page(accessed=True, dirty=True), pte(1): (Part("second entry's D, U/S, R/W, P", 0, 1, 0x03, 0x47),)}, regs={"rcx": 0, "rsi": VA + 0x1000}),
        sets=(maps(page()), maps(page(FRAME + 0x1000), 1)), regs={"rax": NEW, "rbx": VA, "rcx": 64, "rdi": VA + 0x1000}, priority=2),
)
# fmt: on
