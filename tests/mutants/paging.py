"""The processor translates addresses wrongly."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from tests.mutants.mutant import How, of, wrapped
from tests.mutants.processor import (
    after,
    both,
    delivered,
    entries_change,
    exceptions,
    forgiven,
    instead,
    leads,
    refuse,
    skip,
    stimulus,
)
from virtproof.conformance.hole import HOLE
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engines.software.cpu import FS, RBX, RCX, RSP, Cpu
from virtproof.vmm.engines.software.decode import Instruction, decode, operand
from virtproof.vmm.engines.software.delivery import Delivery, Event, Source
from virtproof.vmm.engines.software.execution import Execution

mutant = of("paging")
P, W, U, RSVD, FETCH = 1, 2, 4, 8, 16  # of an error code
NX, A, D = 1 << 63, 1 << 5, 1 << 6
LOAD, STORE = "8b", "89"


# ---- rights


def code(need: int, none: int = 0) -> Callable[[Execution, int], bool]:
    """Faults of an error code with and without some bits."""
    return lambda run, code: code & need == need and not code & none


def of_user_page(run: Execution) -> bool:
    found = leads(run, int(run._cpu.state.cr[2]))
    return all(value & 4 for _, _, value in found)


def under_wp(run: Execution, code: int) -> bool:
    return (
        code & (P | W | U | RSVD) == P | W and bool(run._cpu.state.cr[0] & Cr0.wp.mask) and not of_user_page_smap(run)
    )


def of_user_page_smap(run: Execution) -> bool:
    return bool(run._cpu.state.cr[4] & Cr4.smap.mask) and of_user_page(run)


def under_smep(run: Execution, code: int) -> bool:
    return (
        code & (P | FETCH | U | RSVD) == P | FETCH and bool(run._cpu.state.cr[4] & Cr4.smep.mask) and of_user_page(run)
    )


def under_smap(run: Execution, code: int) -> bool:
    return code & (P | FETCH | U | RSVD) == P and of_user_page_smap(run)


def of_nx(run: Execution, code: int) -> bool:
    found = leads(run, int(run._cpu.state.cr[2]))
    return code & (P | FETCH | RSVD) == P | FETCH and any(value & NX for _, _, value in found)


def reaches(run: Execution, insn: Instruction, *, user: bool | None = None, ring: int | None = None) -> bool:
    """Does an instruction of a row access the window: by a user's or a supervisor's page, in some ring?"""
    found = operand(run._cpu, insn) if stimulus(run, insn) else None
    if found is None or not run._cpu.state.cr[0] & Cr0.pg.mask or ring not in (None, run._cpu.cpl):
        return False
    if found.address < (1 << 39 if run._cpu.long_mode else 1 << 30):
        return False
    entries = leads(run, found.address)
    return all(value & P for _, _, value in entries) and user in (None, all(value & 4 for _, _, value in entries))


def cr_has(register: int, mask: int, is_so: bool, **what: Any) -> Callable[[Execution, Instruction], bool]:
    return lambda run, insn: bool(run._cpu.state.cr[register] & mask) is is_so and reaches(run, insn, **what)


def by(**what: Any) -> Callable[[Execution, Instruction], bool]:
    return lambda run, insn: reaches(run, insn, **what)


def from_nowhere(run: Execution, insn: Instruction) -> bool:
    """Does a page table that no memory backs lead to the operand?"""
    found = operand(run._cpu, insn)
    return found is not None and any(at >= HOLE for at, _, _ in leads(run, found.address))


def call_faults(run: Execution, insn: Instruction) -> None:
    """As if the page that RBX leads to had NX; RSP moves, as it does for a fetch."""
    state = run._cpu.state
    state.cr[2] = state.rip = state.regs[RBX]
    state.regs[RSP] -= 8
    refuse(Vector.PF, P | FETCH | (U if run._cpu.cpl == 3 else 0))(run, insn)


def fault_at_operand(error: int) -> Callable[[Execution, Instruction], None]:
    def act(run: Execution, insn: Instruction) -> None:
        found = operand(run._cpu, insn)
        run._cpu.state.cr[2] = found.address if found is not None else 0
        refuse(Vector.PF, error)(run, insn)

    return act


# ---- what is reported


def error_code(flip: int) -> How:
    def change(cpu: Cpu, event: Event) -> Event:
        is_pf = event.vector == Vector.PF and event.source is Source.EXCEPTION
        return event._replace(error_code=event.error_code ^ flip) if is_pf else event

    return delivered(change)


def cr2(change: Callable[[Execution, int, Instruction | None], int]) -> How:
    def act(run: Execution, code: int) -> bool:
        state = run._cpu.state
        insn = decode(run._memory.peek(run._words.address, 15), run._cpu.code_bits)
        state.cr[2] = change(run, int(state.cr[2]), insn)
        return True

    return exceptions(Vector.PF, act)


def moved(opcode: int, register: int, by: int) -> How:
    """A register has moved when the instruction faults."""

    def act(run: Execution, code: int) -> bool:
        insn = decode(run._memory.peek(run._words.address, 15), run._cpu.code_bits)
        if insn is not None and insn.opcode == opcode and stimulus(run, insn):
            run._cpu.state.regs[register] += by
        return True

    return exceptions(Vector.PF, act)


# ---- accessed and dirty


def marks(change: Callable[[int, bool], int]) -> How:
    """``change(entry, is it the leaf)`` of those that lead into the window, before anything is delivered."""

    def around(original: Any, self: Delivery, *rest: Any, **more: Any) -> None:
        cpu, physical = self._cpu, self._memory._physical
        if cpu.state.cr[0] & Cr0.pg.mask:
            found = leads(SimpleNamespace(_cpu=cpu, slots=physical), 1 << 39 if cpu.long_mode else 1 << 30)
            for n, (at, size, value) in enumerate(found):
                new = change(value, n == len(found) - 1) if value & P else value
                if new != value:
                    physical.write(at, size, new)
        original(self, *rest, **more)

    return wrapped(Delivery, "deliver", around)


def dirtied(run: Execution, insn: Instruction) -> None:
    found = operand(run._cpu, insn)
    if found is not None:
        entries_change(run, found.address, on=D, leaf=True)


# ---- what is cached


def cr3_kept(run: Execution, insn: Instruction) -> None:
    run._cpu.state.cr[3] = run._privileged._register(insn)
    skip(run, insn)


def cr4_kept(run: Execution, insn: Instruction) -> None:
    run._cpu.state.cr[4] = run._privileged._register(insn)
    run._cpu.refresh()
    skip(run, insn)


def remembers_data() -> How:
    """A load brings what the last one at that linear address brought, unless it was stored to by that address."""
    data: WeakKeyDictionary[Execution, dict[int, int]] = WeakKeyDictionary()

    def loaded(run: Execution, insn: Instruction) -> None:
        found = operand(run._cpu, insn)
        if found is not None and insn.rex & 8:
            number = insn.modrm >> 3 & 7 | (insn.rex & 4) << 1
            regs = run._cpu.state.regs
            regs[number] = data.setdefault(run, {}).setdefault(found.address, int(regs[number]))

    def stored(run: Execution, insn: Instruction) -> None:
        found = operand(run._cpu, insn)
        if found is not None:
            data.setdefault(run, {}).pop(found.address, None)

    return both(after(LOAD, loaded, stimulus), after(STORE, stored, stimulus))


def absent_cached() -> How:
    """A page that was absent is absent once more."""
    absent: WeakKeyDictionary[Execution, dict[int, int]] = WeakKeyDictionary()

    def note(run: Execution, code: int) -> bool:
        if not code & P:
            absent.setdefault(run, {}).setdefault(int(run._cpu.state.cr[2]) >> 12, 3)
        return True

    def again(run: Execution, insn: Instruction) -> bool:
        found = operand(run._cpu, insn) if stimulus(run, insn) else None
        left = absent.get(run, {})
        if found is None or not left.get(found.address >> 12):
            return False
        left[found.address >> 12] -= 1
        return True

    return both(exceptions(Vector.PF, note), instead(LOAD, fault_at_operand(0), again))


def offset_bits(bits: int, lowest: int) -> How:
    """A load from a large page of ``lowest`` bits uses ``bits`` bits of the offset only."""

    def loaded(run: Execution, insn: Instruction) -> None:
        found = operand(run._cpu, insn)
        if found is None or not insn.rex & 8:
            return
        entries = leads(run, found.address)
        entry, levels = entries[-1][2], len(entries) + (not run._cpu.long_mode)
        if entry & 0x80 and 48 - 9 * levels == lowest:
            physical = entry & 0x000F_FFFF_FFFF_F000 & -(1 << lowest) | found.address & (1 << bits) - 1
            run._cpu.state.regs[insn.modrm >> 3 & 7 | (insn.rex & 4) << 1] = run.slots.read(physical, 8)

    return after(LOAD, loaded, stimulus)


def cr_bit(register: int, mask: int) -> How:
    """A bit of a control register is switched on, but never off again in what counts."""

    def change(run: Execution, insn: Instruction) -> None:
        if insn.modrm >> 3 & 7 == register and not run._cpu.state.cr[register] & mask:
            run._cpu.state.cr[register] |= mask
            run._cpu.refresh()
            run._cpu.flush_tlb()

    return after("0f 22", change, stimulus)


# fmt: off
MUTANTS = (
    mutant("page.user",       "U/S = 0 does not keep the user out",                    forgiven(code(P | U, RSVD), on=4),                  "pg.l4.user.r.u0w1nx0"),
    mutant("page.user_write", "R/W = 0 does not keep the user from writing",           forgiven(code(P | U | W, RSVD), on=2),              "pg.l4.user.w.u1w0nx0"),
    mutant("page.wp",         "CR0.WP is ignored",                                     forgiven(under_wp, on=2),                           "pg.l4.sup.w.u0w0.wp1"),
    mutant("page.nx",         "NX is ignored",                                         forgiven(of_nx, off=NX),                            "pg.l4.sup.x.u0nx1"),
    mutant("page.smep",       "CR4.SMEP is ignored",                                   forgiven(under_smep, off=4, leaf=True),             "pg.l4.sup.x.u1nx0.smep1"),
    mutant("page.smap",       "CR4.SMAP is ignored",                                   forgiven(under_smap, off=4, leaf=True),             "pg.l4.sup.r.u1.smap1_ac0"),
    mutant("page.absent",     "P = 0 of the last entry is ignored",                    forgiven(code(0, P), on=1, leaf=True),              "pg.l4.np.kr"),
    mutant("page.reserved",   "Reserved bits of entries are ignored",                  forgiven(code(P | RSVD), off=0x000F_8000_0000_0000), "pg.l4.rsvd.pte_bit51"),
    mutant("page.reserved_low", "Reserved bits of large pages are ignored",            forgiven(code(P | RSVD), off=0x3FFF_E000), "pg.l4.2m.rsvd_low"),
    mutant("page.pml4_ps",    "Bit 7 of a PML4 entry is ignored",                      forgiven(code(P | RSVD), off=0x80),                 "pg.l4.rsvd.pml4e_ps"),
    mutant("page.smap_ac",    "RFLAGS.AC does not open user pages under SMAP",         instead(LOAD, fault_at_operand(P), cr_has(4, Cr4.smap.mask, True, user=True)), "pg.l4.sup.r.u1.smap1_ac1"),
    mutant("page.stac",       "STAC does nothing",                                     instead("0f 01 cb", skip, stimulus),                "pg.ctl.stac_effect"),
    mutant("page.sup_user",   "The supervisor is kept from user pages without SMAP",   instead(LOAD, fault_at_operand(P), cr_has(4, Cr4.smap.mask, False, user=True, ring=0)), "pg.l4.sup.r.u1.smap0"),
    mutant("page.wp0",        "The supervisor cannot write a read-only page with CR0.WP = 0", instead(STORE, fault_at_operand(P | W), cr_has(0, Cr0.wp.mask, False, ring=0)), "pg.l4.sup.w.u0w0.wp0"),
    mutant("page.sup_write",  "The supervisor cannot write the window at all",         instead(STORE, fault_at_operand(P | W), cr_has(0, Cr0.wp.mask, True, ring=0)), "pg.l4.sup.w.u0w1.wp1"),
    mutant("page.sup_read",   "The supervisor cannot read a page of its own",          instead(LOAD, fault_at_operand(P), by(ring=0, user=False)), "pg.l4.sup.r.u0"),
    mutant("page.user_write1", "The user cannot write what it may",                    instead(STORE, fault_at_operand(P | W | U), by(ring=3)), "pg.l4.user.w.u1w1nx0"),
    mutant("page.user_read1", "The user cannot read what it may",                      instead(LOAD, fault_at_operand(P | U), by(ring=3)), "pg.l4.user.r.u1w1nx0"),
    mutant("page.call",       "A page without NX cannot be executed",                  instead("ff /2", call_faults, stimulus), "pg.l4.user.x.u1w1nx0"),

    mutant("pf.code_w",       "The error code of #PF has not W",                       error_code(W),                                      "pg.l4.np.kw"),
    mutant("pf.code_u",       "The error code of #PF has U inverted",                  error_code(U),                                      "pg.l4.np.ur"),
    mutant("pf.code_rsvd",    "The error code of #PF has RSVD inverted",               error_code(RSVD),                                   "pg.l4.rsvd.np_wins"),
    mutant("pf.code_fetch",   "The error code of #PF has I/D inverted",                error_code(FETCH),                                  "pg.l4.np.kx"),
    mutant("pf.cr2_page",     "CR2 has the page's address",                            cr2(lambda run, value, insn: value & ~0xFFF),       "pg.l4.np.kr"),
    mutant("pf.cr2_base",     "CR2 leaves the base of FS out",                         cr2(lambda run, value, insn: value - int(run._cpu.state.segments[FS].base) if insn is not None and insn.segment == FS else value), "pg.acc.cr2_lin"),
    mutant("pf.cr2_first",    "CR2 has where an access that crosses begins",           cr2(lambda run, value, insn: value - 4 if not value & 0xFFF else value), "pg.acc.cross_second_fault"),
    mutant("pf.cr2_kept",     "CR2 is not written",                                    cr2(lambda run, value, insn: 0),                    "trap.pf.compat32", "traps"),
    mutant("pf.push",         "PUSH that faults has moved RSP",                        moved(0x50, RSP, -8),                               "pg.acc.push_pf"),
    mutant("pf.rep",          "REP MOVSB that faults has counted one more",            moved(0xA4, RCX, -1),                               "pg.acc.rep_fault"),

    mutant("ad.accessed",     "A is not set in the entry that maps the page",          marks(lambda entry, leaf: entry & ~A if leaf else entry), "pg.ad.a_read"),
    mutant("ad.accessed_up",  "A is not set in the entries above",                     marks(lambda entry, leaf: entry if leaf else entry & ~A), "pg.ad.a_read"),
    mutant("ad.dirty",        "D is not set",                                          marks(lambda entry, leaf: entry & ~D if leaf else entry), "pg.ad.d_write"),
    mutant("ad.dirty_up",     "D is set in an entry that maps no page",                marks(lambda entry, leaf: entry if leaf else entry | D), "pg.ad.d_write"),
    mutant("ad.dirty_read",   "A read sets D",                                         after(LOAD, dirtied, stimulus),                     "pg.ad.a_read"),

    mutant("tlb.invlpg",      "INVLPG does nothing",                                   instead("0f 01 /7", skip, stimulus),                "pg.tlb.remap_invlpg", "second_level"),
    mutant("tlb.cr3",         "MOV to CR3 keeps translations",                         instead("0f 22 /3", cr3_kept, stimulus),            "pg.tlb.cr3"),
    mutant("tlb.cr3_kept",    "MOV to CR3 does nothing",                               instead("0f 22 /3", skip, stimulus),                "pg.misc.cr3_junk_high"),
    mutant("page.nowhere",    "An entry of a table without memory maps a page",        instead(LOAD, skip, from_nowhere),                  "pg.ad.pt_hole"),
    mutant("tlb.pge",         "MOV to CR4 keeps translations",                         instead("0f 22 /4", cr4_kept, stimulus),            "pg.tlb.pge_toggle"),
    mutant("tlb.absent",      "An entry with P = 0 is cached",                         absent_cached(),                                    "pg.tlb.np_never_cached"),
    mutant("tlb.data",        "Data are cached by linear address",                     remembers_data(),                                   "pg.acc.alias", "second_level", "mmio"),
    mutant("tlb.offset_2m",   "A 2 MiB page takes 20 bits of offset",                  offset_bits(20, 21),                                "pg.l4.2m.offset"),
    mutant("tlb.offset_1g",   "A 1 GiB page takes 29 bits of offset",                  offset_bits(29, 30),                                "pg.l4.1g.offset"),
    mutant("tlb.wp_off",      "CR0.WP cannot be switched off",                         cr_bit(0, Cr0.wp.mask),                             "pg.ctl.wp_toggle"),
    mutant("tlb.smep_off",    "CR4.SMEP cannot be switched off",                       cr_bit(4, Cr4.smep.mask),                           "pg.ctl.smep_toggle"),
)
# fmt: on
