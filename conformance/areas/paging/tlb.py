"""When a changed paging entry must be seen: INVLPG, MOV to CR3, CR4.PGE, INVPCID, and what is never cached.

A translation that the processor has used may stay in its TLB until software invalidates it.  INVLPG drops the one of
its address, whatever the page's size and also if global, together with all cached entries that lead there.  MOV to CR3
drops all but the global ones; a change of CR4.PGE drops all.  With CR4.PCIDE translations belong to the PCID in CR3,
and bit 63 of the value for CR3 asks to keep those of the new one.  INVPCID drops an address (0), a PCID (1), everything
(2), or everything but global translations (3).

An entry with P = 0 is never cached, so making it present needs no invalidation.  Making a page writable needs none
either: at worst the write faults once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from virtproof.conformance.case import At, HostScript, Insn, Ram, Row, Value, completes, cr4, family, faults, mem64
from virtproof.conformance.guest import observe
from virtproof.conformance.window import (
    CELL,
    FRAME,
    NEW,
    OLD,
    TOUCH,
    VA,
    WINDOW,
    WRITE,
    caught_by,
    maps,
    page,
    page_2m,
    pde,
    pte,
    table,
)
from virtproof.guest_payloads.table import GPRS
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine

CITE = (
    sdm("3A", "Paging, 'Caching Translation Information'"),
    apm(2, "Page Translation and Protection, 'Translation-Lookaside Buffer (TLB)'"),
)
row = family("paging", *CITE, **TOUCH)

LONG64 = Mode.LONG64
MIB2 = 1 << 21
SECOND, OTHER = FRAME + 0x1000, 0x0707_6A6A_9999_B6C3  # another frame, and what lies in it where CELL is in the first
TABLE = FRAME + 0x2000  # a page for one more table
TWO_FRAMES = {CELL: OLD, CELL + 0x1000: OTHER}
DESCRIPTOR = At("kernel_data")  # of INVPCID: PCID, then address

# fmt: off
LOAD_RCX, LOAD_RSI, LOAD_RDI, LOAD_RBP = (Insn("48 8b 0b", "mov rcx, qword ptr [rbx]"), Insn("48 8b 33", "mov rsi, qword ptr [rbx]"),
                                          Insn("48 8b 3b", "mov rdi, qword ptr [rbx]"), Insn("48 8b 2b", "mov rbp, qword ptr [rbx]"))
CHANGE     = Insn("4d 89 1a", "mov qword ptr [r10], r11")
INVLPG     = Insn("0f 01 3b", "invlpg byte ptr [rbx]")
INVLPG_R9  = Insn("41 0f 01 39", "invlpg byte ptr [r9]")
RELOAD_CR3 = (Insn("0f 20 dd", "mov rbp, cr3"), Insn("0f 22 dd", "mov cr3, rbp"))
TOGGLE_PGE = (Insn("41 0f 22 e0", "mov cr4, r8"), Insn("41 0f 22 e1", "mov cr4, r9"))
INVPCID    = Insn("66 41 0f 38 82 38", "invpcid rdi, xmmword ptr [r8]")
CR3_R8, CR3_R9, CR3_R12 = Insn("41 0f 22 d8", "mov cr3, r8"), Insn("41 0f 22 d9", "mov cr3, r9"), Insn("41 0f 22 dc", "mov cr3, r12")
CR3_R13, CR3_R14        = Insn("41 0f 22 dd", "mov cr3, r13"), Insn("41 0f 22 de", "mov cr3, r14")
MAP_AND_RETRY = (  # a #PF handler
    Insn("eb 0c",       "jmp 0xe"),
    Insn("49 ff c1",    "inc r9"),
    Insn("4d 89 1a",    "mov qword ptr [r10], r11"),
    Insn("48 83 c4 08", "add rsp, 8"),
    Insn("48 cf",       "iretq"),
)
# fmt: on

REMAP: dict[str, Value] = {"rbx": VA, "r10": pte(), "r11": page(SECOND)}
GLOBAL: dict[str, Value] = {"rbx": VA, "r10": pte(), "r11": page(SECOND, global_=True)}
PGE_ON = cr4(on=Cr4.pge.mask)
PGE_OFF_ON: dict[str, Value] = {"r8": int(INITIAL[LONG64].cr4), "r9": int(INITIAL[LONG64].cr4.but(pge=1))}
BOTH_SEEN = {"rcx": OLD, "rsi": OTHER}

# A second PML4 for another PCID: its window entry leads to a page that is PDPT, page directory and page table at once.
PML4_2, TABLES_2 = TABLE, FRAME + 0x3000
SEPARATE = (
    maps(page(), 1),
    mem64(PML4_2, table(At("pdpt"))),
    mem64(PML4_2 + 8, table(TABLES_2)),
    mem64(TABLES_2, table(TABLES_2)),
    mem64(TABLES_2 + 8, page(SECOND)),
    cr4(on=Cr4.pcide.mask),
)
KEEP = 1 << 63  # in the value for CR3
PCIDS: dict[str, Value] = {
    "rbx": VA + 0x1000,
    "r8": At("pml4", 1),
    "r9": PML4_2 + 2,
    "r13": At("pml4", KEEP | 1),
    "r14": PML4_2 + (KEEP | 2),
    "r12": At("pml4"),
}


def _seen_after(id: str, title: str, *flush: Insn, regs: dict[str, Value] = REMAP, **more: Any) -> Row:  # noqa: A002
    """Read through an entry, change it, invalidate, read again: the new frame must be seen."""
    code = (LOAD_RCX, CHANGE, *flush, LOAD_RSI)
    more = {"sets": (maps(page()),), "fill": TWO_FRAMES} | more
    return row(id, title, LONG64, code, completes(regs=BOTH_SEEN, keeps=False), regs=regs, **more)


BY_INVPCID = {"proves": ("invpcid",), "discriminates": True}  # nothing emulates the instruction


def _invpcid(id: str, title: str, kind: int, pcid: int, address: int, priority: int = 1) -> Row:  # noqa: A002
    """INVPCID that must raise #GP(0)."""
    return row(
        id,
        title,
        LONG64,
        INVPCID,
        faults(Vector.GP, 0),
        regs={"rdi": kind, "r8": DESCRIPTOR},
        fill={DESCRIPTOR: pcid, DESCRIPTOR + 8: address},
        requires=("invpcid",),
        proves=("invpcid",),
        priority=priority,
    )


def _old_or_new(id: str, title: str, keeps: tuple[Insn, ...], drops: tuple[Insn, ...], **more: Any) -> HostScript:  # noqa: A002
    """Read through an entry and change it: after ``keeps`` either frame may be seen, after ``drops`` the new one must."""
    code = (LOAD_RCX, CHANGE, *keeps, LOAD_RSI, *drops, LOAD_RDI)
    guest = row(
        id, title, LONG64, code, completes(), **{"sets": (maps(page()),), "regs": REMAP, "fill": TWO_FRAMES} | more
    )

    def script(engine: Engine) -> Iterable[Check]:
        seen, _ = observe(guest, engine)
        values = dict(zip(GPRS, seen.gpr, strict=True))
        for when, register, allowed in (
            ("before the change", "rcx", (OLD,)),
            ("before the translation is dropped", "rsi", (OLD, OTHER)),
            ("after it", "rdi", (OTHER,)),
        ):
            want = " or ".join(map(hex, allowed))
            yield Check(when, want, f"{values[register]:#x}", values[register] in allowed)

    return HostScript(
        id=id, title=title, area="paging", mode=LONG64, cite=CITE, script=script, requires=guest.requires,
        proves=guest.proves, priority=2,
    )  # fmt: skip


HERE = {DESCRIPTOR: 0, DESCRIPTOR + 8: VA}

# fmt: off
CASES: tuple[Row | HostScript, ...] = (
    row("pg.tlb.np_never_cached", "An entry made present is seen at once", LONG64, (*MAP_AND_RETRY, LOAD_RCX),
        completes(regs={"rcx": OLD, "r9": 1}), regs={"rbx": VA, "r9": 0, "r10": pte(), "r11": page()}, sets=(maps(page(present=False)), *caught_by(2))),
    row("pg.tlb.perm_up",         "A page made writable can be written, after a spurious fault at most", LONG64, (*MAP_AND_RETRY, LOAD_RCX, CHANGE, WRITE),
        completes(memory={CELL: NEW}, regs={"rcx": OLD}, keeps=False), regs={"rax": NEW, "rbx": VA, "r10": pte(), "r11": page()}, sets=(maps(page(write=False)), *caught_by(2))),
    row("pg.tlb.perm_down_invlpg", "A page made read-only cannot be written after INVLPG", LONG64, (WRITE, CHANGE, INVLPG, WRITE),
        faults(Vector.PF, 0x03, cr2=VA), regs={"rax": NEW, "rbx": VA, "r10": pte(), "r11": page(write=False)}, sets=(maps(page()),)),

    row("pg.tlb.invlpg_hole",     "INVLPG of an address that nothing maps does nothing", LONG64, INVLPG, completes(), regs={"rbx": VA}, priority=2),

    _old_or_new("pg.tlb.remap_stale",  "Before INVLPG the old frame or the new is seen, no other", (), (INVLPG,)),
    _old_or_new("pg.tlb.cr3_global",   "MOV to CR3 may keep a global translation, a change of CR4.PGE does not", RELOAD_CR3, TOGGLE_PGE,
                regs=GLOBAL | PGE_OFF_ON, sets=(maps(page(global_=True)), PGE_ON), requires=("pge",)),
    _old_or_new("pg.tlb.pcid_noflush", "MOV to CR3 with bit 63 may keep a translation, INVLPG does not", (CR3_R13,), (INVLPG, CR3_R12),
                regs=REMAP | {"r12": At("pml4"), "r13": At("pml4", KEEP)}, sets=(maps(page()), cr4(on=Cr4.pcide.mask)), requires=("pcid",), proves=("pcid",)),

    _seen_after("pg.tlb.remap_invlpg",  "INVLPG drops a translation",                  INVLPG),
    _seen_after("pg.tlb.invlpg_global", "INVLPG drops a global translation",           INVLPG, regs=GLOBAL, sets=(maps(page(global_=True)), PGE_ON), requires=("pge",), priority=2),
    _seen_after("pg.tlb.cr3",           "MOV to CR3 drops translations",               *RELOAD_CR3),
    _seen_after("pg.tlb.pge_toggle",    "A change of CR4.PGE drops global translations", *TOGGLE_PGE, regs=GLOBAL | PGE_OFF_ON, sets=(maps(page(global_=True)), PGE_ON), requires=("pge",)),
    _seen_after("pg.tlb.invlpg_2m",     "INVLPG of any address in a 2 MiB page drops it", INVLPG_R9, regs={"rbx": VA, "r9": WINDOW + MIB2 // 2, "r10": pde(), "r11": page_2m(2 * MIB2)},
                sets=(mem64(pde(), page_2m(MIB2)),), ram=(Ram(MIB2, 2 * MIB2),), fill={MIB2 + 0x128: OLD, 2 * MIB2 + 0x128: OTHER}),
    _seen_after("pg.tlb.invlpg_psc",    "INVLPG drops the cached entries that lead to the page", INVLPG, regs={"rbx": VA, "r10": pde(), "r11": table(TABLE)},
                sets=(maps(page()), mem64(TABLE, page(SECOND)))),

    row("pg.tlb.pcid_sep",    "Each PCID sees its own translation, kept or not", LONG64,
        (CR3_R8, LOAD_RCX, CR3_R9, LOAD_RSI, CR3_R13, LOAD_RDI, CR3_R14, LOAD_RBP, CR3_R12),
        completes(regs={"rcx": OLD, "rsi": OTHER, "rdi": OLD, "rbp": OTHER}), regs=PCIDS, sets=SEPARATE, fill=TWO_FRAMES, requires=("pcid",), proves=("pcid",)),
    row("pg.tlb.pcid_flush",  "MOV to CR3 without bit 63 drops the translations of the new PCID", LONG64,
        (CR3_R8, LOAD_RCX, CHANGE, CR3_R8, LOAD_RSI, CR3_R12),
        completes(regs=BOTH_SEEN), regs=REMAP | {"r8": At("pml4", 1), "r12": At("pml4")}, sets=(maps(page()), cr4(on=Cr4.pcide.mask)), fill=TWO_FRAMES, requires=("pcid",), proves=("pcid",)),

    _seen_after("pg.tlb.invpcid0", "INVPCID type 0 drops an address",              INVPCID, regs=REMAP | {"rdi": 0, "r8": DESCRIPTOR}, fill=TWO_FRAMES | HERE, requires=("invpcid",), refs=("claim.invpcid",), **BY_INVPCID),
    _seen_after("pg.tlb.invpcid1", "INVPCID type 1 drops a PCID",                  INVPCID, regs=REMAP | {"rdi": 1, "r8": DESCRIPTOR}, fill=TWO_FRAMES | HERE, requires=("invpcid",), **BY_INVPCID),
    _seen_after("pg.tlb.invpcid2", "INVPCID type 2 drops global translations too", INVPCID, regs=GLOBAL | {"rdi": 2, "r8": DESCRIPTOR}, fill=TWO_FRAMES | HERE, sets=(maps(page(global_=True)), PGE_ON), requires=("invpcid", "pge"), **BY_INVPCID),
    _seen_after("pg.tlb.invpcid3", "INVPCID type 3 drops all but global ones",     INVPCID, regs=REMAP | {"rdi": 3, "r8": DESCRIPTOR}, fill=TWO_FRAMES | HERE, requires=("invpcid",), **BY_INVPCID, priority=2),
    _invpcid("pg.tlb.invpcid_type4",  "INVPCID type 4 raises #GP(0)",                         4, 0,       VA),
    _invpcid("pg.tlb.invpcid_rsvd",   "INVPCID refuses bits 63:12 of the PCID",               0, 1 << 12, VA),
    _invpcid("pg.tlb.invpcid_pcide0", "INVPCID refuses a PCID while CR4.PCIDE = 0",           0, 1,       VA),
    _invpcid("pg.tlb.invpcid_nc",     "INVPCID type 0 refuses an address that is not canonical", 0, 0,    1 << 47, priority=2),
)
# fmt: on
