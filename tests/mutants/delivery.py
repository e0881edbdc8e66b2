"""The processor delivers exceptions and interrupts wrongly."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.mutants.mutant import How, of, replaced, wrapped
from tests.mutants.processor import after, both, delivered, exceptions, instead, outer, refuse, skip, stimulus
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import EXCEPTIONS, Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.vmm.engines.software import delivery as module
from virtproof.vmm.engines.software.breakpoints import Breakpoints
from virtproof.vmm.engines.software.cpu import CS, INHIBIT, RSP, Cpu
from virtproof.vmm.engines.software.decode import Instruction, operand
from virtproof.vmm.engines.software.delivery import Delivery, Event, Source
from virtproof.vmm.engines.software.execution import Execution
from virtproof.vmm.engines.software.linear import Raised
from virtproof.vmm.engines.software.privileged import Privileged

mutant = of("traps", "modes")
IF, RF = Rflags.if_.mask, Rflags.rf.mask


# ---- what is delivered


def other_vector(of: Vector, to: Vector) -> How:
    return delivered(lambda cpu, event: event._replace(vector=to) if event.vector == of else event)


def saved_rip_behind(of: Vector) -> How:
    """The fault is a trap: RIP is behind the instruction; for instructions of two bytes."""

    def change(cpu: Cpu, event: Event) -> Event:
        if event.vector == of:
            cpu.state.rip += 2
        return event

    return delivered(change)


def software_rip(cpu: Cpu, event: Event) -> Event:
    if event.source is Source.SOFTWARE:
        cpu.state.rip -= 1
    return event


def with_code(flip: int, *vectors: Vector) -> How:
    def change(cpu: Cpu, event: Event) -> Event:
        if event.source is Source.EXCEPTION and event.vector in vectors and event.error_code:
            return event._replace(error_code=event.error_code ^ flip)
        return event

    return delivered(change)


def no_code(cpu: Cpu, event: Event) -> Event:
    coded = event.source is Source.EXCEPTION and EXCEPTIONS[Vector(event.vector)].pushes_error_code
    return event._replace(error_code=0) if coded and event.vector != Vector.PF else event


# ---- through a gate


def gate(change: Any) -> How:
    """What ``_checked_gate`` finds, changed."""
    return wrapped(Delivery, "_checked_gate", lambda original, self, *rest: change(original(self, *rest)))


def gate_refused(act: Any) -> How:
    """What ``_checked_gate`` raises, changed."""

    def around(original: Any, self: Delivery, event: Event, *rest: Any) -> Any:
        try:
            return original(self, event, *rest)
        except Raised as fault:
            raise act(fault, event) from None

    return wrapped(Delivery, "_checked_gate", around)


def dpl_ignored(original: Any, self: Delivery, event: Event, *rest: Any) -> Any:
    return original(self, event._replace(source=Source.EXTERNAL), *rest)


def target(name: str, change: Any) -> How:
    return wrapped(Delivery, name, lambda original, self, event: change(self, original(self, event)))


def unaligned(self: Delivery, found: Any) -> Any:
    stack = found.stack
    pointer = self._cpu.state.regs[RSP] if stack.new is None and found.cpl == self._cpu.cpl else stack.pointer + 8
    return found._replace(stack=stack._replace(pointer=pointer if pointer & 8 else stack.pointer))


def ss_kept(self: Delivery, found: Any) -> Any:
    stack = found.stack
    return found if stack.new is None else found._replace(stack=stack._replace(new=(0x10, *stack.new[1:])))


def same_stack(self: Delivery, found: Any) -> Any:
    stack = found.stack
    return found._replace(stack=stack._replace(pointer=self._cpu.state.regs[RSP] & ~0xF)) if stack.new else found


def swapped(original: Any, self: Delivery, event: Event, *rest: Any) -> None:
    original(self, event, *rest)
    cpu = self._cpu
    if cpu.long_mode:
        coded = event.source is Source.EXCEPTION and EXCEPTIONS[Vector(event.vector)].pushes_error_code
        at = cpu.state.regs[RSP] + (32 if coded else 24)
        rsp, ss = self._memory.read(at, 8), self._memory.read(at + 8, 8)
        self._memory.write(at, 8, ss)
        self._memory.write(at + 8, 8, rsp)


def cs_rpl0(original: Any, self: Delivery, event: Event, *rest: Any) -> None:
    selector = self._cpu.state.segments[CS].selector
    self._cpu.state.segments[CS].selector = selector & ~3
    try:
        original(self, event, *rest)
    except Raised:
        self._cpu.state.segments[CS].selector = selector
        raise


def rsp_moved(original: Any, self: Delivery, event: Event, *rest: Any) -> None:
    try:
        original(self, event, *rest)
    except Raised:
        self._cpu.state.regs[RSP] -= 8
        raise


# ---- faults while delivering


def never_double(event: Event, fault: Raised) -> Event:
    return Event(fault.vector, Source.EXCEPTION, fault.error_code)


def never_triple(original: Any, event: Event, fault: Raised) -> Event:
    if event.vector == Vector.DF:
        return Event(Vector.UD, Source.EXCEPTION)
    found: Event = original(event, fault)
    return found


# ---- debugging


def steps_nothing(original: Any, run: Execution, conditions: int) -> Any:
    return None if conditions & 1 << 14 else original(run, conditions)


def conditions_lost(original: Any, run: Execution, conditions: int) -> Any:
    return original(run, conditions & 1 << 14)


def rf_ignored(original: Any, run: Execution, *rest: Any) -> None:
    run._cpu.state.rflags &= ~RF
    original(run, *rest)


def dr_bit(number: int, mask: int) -> How:
    def change(run: Execution, insn: Instruction) -> None:
        if insn.modrm >> 3 & 7 == number:
            run._cpu.state.regs[insn.modrm & 7 | (insn.rex & 1) << 3] ^= mask

    return after("0f 21", change, stimulus)


def gd_ignored(original: Any, self: Privileged, insn: Instruction, number: int) -> None:
    self._cpu.events.dr[7] &= ~(1 << 13)
    original(self, insn, number)


def de_ignored(original: Any, self: Privileged, insn: Instruction, number: int) -> None:
    original(self, insn, number + 2 if number in (4, 5) else number)


def no_dr4(original: Any, self: Privileged, insn: Instruction, number: int) -> None:
    if number in (4, 5):
        raise Raised(Vector.UD)
    original(self, insn, number)


def watches_all(original: Any, self: Breakpoints) -> None:
    original(self)
    for address in list(self._cpu.events.dr)[:4]:
        self._gate.watch(address)


def hits_disabled(self: Breakpoints, address: int) -> int:
    return sum(1 << n for n in range(4) if address and self._cpu.events.dr[n] == address)


def misaligned(run: Execution, insn: Instruction) -> bool:
    found = operand(run._cpu, insn)
    return (
        outer(run, insn)
        and found is not None
        and found.address % 4 != 0
        and bool(run._cpu.state.rflags & Rflags.ac.mask)
    )


def longer(original: Any, self: Breakpoints) -> None:
    original(self)
    self._data = tuple(point._replace(length=2 * point.length) for point in self._data)


# ---- interrupt shadows and NMIs


def shadow(set_it: bool) -> Any:
    def change(run: Execution, insn: Instruction) -> None:
        hflags = run._cpu.state.hflags
        run._cpu.state.hflags = hflags | INHIBIT if set_it else hflags & ~INHIBIT

    return change


def waits_for_if(original: Any, run: Execution) -> Any:
    due, run._nmi.pending = run._nmi.pending, run._nmi.pending and bool(run._cpu.state.rflags & IF)
    try:
        return original(run)
    finally:
        run._nmi.pending = run._nmi.pending or (due and not run._cpu.state.rflags & IF)


def nmi_unblocked(original: Any, run: Execution) -> Any:
    taken = original(run)
    run._nmi.blocked = False
    return taken


def nmi_blocked_for_ever(original: Any, run: Execution, insn: Instruction | None) -> None:
    blocked = run._nmi.blocked
    original(run, insn)
    if blocked:
        run._nmi.blocked, run._words.nmi = True, 0


def twice(original: Any, self: Delivery, event: Event, **rest: Any) -> None:
    original(self, event, **rest)
    if event.source is Source.EXTERNAL and event.vector >= 32:
        original(self, event, **rest)


def lost(cpu: Cpu, event: Event) -> Event | None:
    return None if event.source is Source.EXTERNAL and event.vector >= 32 else event


# ---- switched off by control registers


def retry_without(register: int, mask: int) -> Any:
    """The fault is not there: as if the bit were clear."""

    def act(run: Execution, code: int) -> bool:
        if not run._cpu.state.cr[register] & mask:
            return True
        run._cpu.state.cr[register] &= ~mask
        run._cpu.refresh()
        return False

    return act


def bit_of_cr4(field: Any, *, on: bool) -> Any:
    return lambda run, insn: stimulus(run, insn) and bool(run._cpu.state.cr[4] & field.mask) is on


SSE = "0f 10|0f 11|0f 28|0f 57|0f 6f|0f 7e|0f 58|0f 2e"
X87 = "9b|d8|d9|da|db|dc|dd|de|df"

# fmt: off
MUTANTS = (
    mutant("deliver.de_vector",     "#DE goes to the gate of #DB",                            other_vector(Vector.DE, Vector.DB),              "trap.de.div_zero.long64"),
    mutant("deliver.de_rip",        "#DE saves the RIP behind the instruction",               saved_rip_behind(Vector.DE),                     "trap.de.div_zero.prot32"),
    mutant("deliver.int3_vector",   "INT3 goes to the gate of INTO",                          other_vector(Vector.BP, Vector.OF),              "trap.soft.int3.long64"),
    mutant("deliver.int_rip",       "INT n saves a RIP inside the instruction",               delivered(software_rip),                         "trap.soft.int_n.long64"),
    mutant("deliver.nm_vector",     "#NM goes to the gate of #UD",                            other_vector(Vector.NM, Vector.UD),              "trap.nm.fpu_ts.long64"),
    mutant("deliver.ext_inverted",  "EXT is wrong in the error codes of #GP, #NP, #TS and #SS", with_code(1, Vector.GP, Vector.NP, Vector.TS, Vector.SS), "mode.seg.ds.np"),
    mutant("deliver.idt_bit",       "The IDT bit of an error code is inverted",               with_code(2, Vector.GP, Vector.NP),              "mode.seg.ds.np"),
    mutant("deliver.code_0",        "Error codes are 0, but those of #PF",                    delivered(no_code),                              "mode.seg.ds.limit"),
    mutant("deliver.rf",            "Faults save RF = 0",                                     replaced(module, "_RF", 0),                      "trap.de.div_zero.long64"),
    mutant("deliver.dpl_ignored",   "The DPL of a gate is not compared for INT n",            wrapped(Delivery, "_checked_gate", dpl_ignored), "trap.idt.int_dpl.long64"),
    mutant("deliver.np_is_gp",      "A gate that is not present raises #GP",                  gate_refused(lambda fault, event: Raised(Vector.GP, fault.error_code)), "trap.idt.int_np.prot32"),
    mutant("deliver.int_ext",       "INT n sets EXT in the error code of its gate",           gate_refused(lambda fault, event: Raised(fault.vector, fault.error_code | 1)), "trap.idt.int_np.long64"),
    mutant("deliver.trap_gate",     "A trap gate clears IF, an interrupt gate does not",      both(target("_gate64", lambda self, found: found._replace(trap=not found.trap)), target("_gate32", lambda self, found: found._replace(trap=not found.trap))), "trap.gate.intgate.long64"),
    mutant("deliver.ist_ignored",   "The IST of a gate is ignored",                           gate(lambda found: found & ~(7 << 32)),          "trap.stack.ist.long64"),
    mutant("deliver.unaligned",     "RSP is not aligned when an event is delivered",          target("_gate64", unaligned),                    "trap.stack.rsp_align.long64"),
    mutant("deliver.ss_kept",       "A change of ring in 64-bit mode loads SS with a selector", target("_gate64", ss_kept),                    "trap.stack.ss_null_cpl.long64"),
    mutant("deliver.same_stack",    "From ring 3 the handler runs on the user's stack",       both(target("_gate64", same_stack), target("_gate32", same_stack)), "trap.stack.push_order.long64", "sensitive"),
    mutant("deliver.tss_ring",      "SS:ESP of the wrong ring is taken from the TSS",         wrapped(Delivery, "_inner_stack", lambda original, self, ring, ext: original(self, ring + 1, ext)), "trap.stack.inner.prot32"),
    mutant("deliver.frame_order",   "SS and RSP have changed places in the frame",            wrapped(Delivery, "_protected", swapped),        "trap.stack.push_order.long64"),
    mutant("deliver.cs_rpl",        "CS is saved with RPL 0",                                 wrapped(Delivery, "_protected", cs_rpl0),        "sens.misc.int_cs_rpl", "sensitive"),
    mutant("deliver.rsp_moved",     "RSP has moved when the frame could not be written",      wrapped(Delivery, "_protected", rsp_moved),      "trap.stack.stack_pf.long64"),
    mutant("deliver.no_df",         "A second fault never makes #DF",                         replaced(Delivery, "_next", staticmethod(never_double)), "trap.df.gp_then_np.long64"),
    mutant("deliver.no_shutdown",   "A fault upon #DF is #UD",                                replaced(Delivery, "_next", staticmethod(partial(never_triple, Delivery._next))), "trap.triple.df_gate_np.long64"),
    mutant("deliver.twice",         "An interrupt is delivered twice",                        wrapped(Delivery, "deliver", twice),             "int.user.inject", "interrupts", "timers"),
    mutant("deliver.lost",          "An interrupt is acknowledged and lost",                  delivered(lost),                                 "int.user.inject", "interrupts", "timers"),

    mutant("debug.tf",              "RFLAGS.TF does nothing",                                 wrapped(Execution, "_trap", steps_nothing),      "trap.db.tf_cpuid.long64 trap.db.tf_nop.long64"),
    mutant("debug.dr6_bits",        "DR6 does not name the breakpoint",                       wrapped(Execution, "_trap", conditions_lost),    "trap.db.w1.long64"),
    mutant("debug.x_bp",            "Instruction breakpoints never hit",                      replaced(Breakpoints, "at_instruction", lambda self, address: 0), "trap.db.x_bp.long64"),
    mutant("debug.rf",              "RF does not hold an instruction breakpoint back",        wrapped(Execution, "_watched", rf_ignored),      "trap.db.x_bp_rf.long64"),
    mutant("debug.data",            "Breakpoints on data never hit",                          replaced(Breakpoints, "_accessed", lambda self, *rest: None), "trap.db.w1.long64"),
    mutant("debug.length",          "Breakpoints on data are twice as long",                  wrapped(Breakpoints, "changed", longer),         "trap.db.w_next.long64"),
    mutant("debug.gd",              "DR7.GD does nothing",                                    wrapped(Privileged, "_debug_register", gd_ignored), "trap.db.gd.long64"),
    mutant("debug.dr4",             "DR4 is DR6 with CR4.DE = 1 too",                         wrapped(Privileged, "_debug_register", de_ignored), "trap.ud.feat.dr4_de1.long64"),
    mutant("debug.dr6_fixed",       "A bit of DR6 that stays 1 reads 0",                      dr_bit(6, 1 << 4),                               "trap.db.dr6_reset.long64"),
    mutant("debug.dr7_fixed",       "The bit of DR7 that stays 1 reads 0",                    dr_bit(7, 1 << 10),                              "trap.db.dr7_reset.long64"),

    mutant("debug.dr4_always",      "DR4 raises #UD with CR4.DE = 0 too",                     wrapped(Privileged, "_debug_register", no_dr4),  "trap.ud.feat.dr4_de_again.long64"),
    mutant("debug.disabled",        "A breakpoint hits though DR7 does not enable it",        both(wrapped(Breakpoints, "changed", watches_all), replaced(Breakpoints, "at_instruction", hits_disabled)), "trap.db.x_bp_off.long64"),
    mutant("off.am",                "Alignment is checked whatever CR0.AM says",              instead("8b|89", refuse(Vector.AC), misaligned), "trap.ac.am_again.ring3"),

    mutant("shadow.sti",            "STI opens the window at once",                           after("fb", shadow(False)),                      "trap.shadow.sti.long64", "interrupts"),
    mutant("shadow.popf",           "POPF holds interrupts for an instruction",               after("9d", shadow(True), stimulus),             "trap.shadow.popf_noshadow.long64"),
    mutant("shadow.cr8",            "MOV to CR8 holds interrupts for an instruction",         after("0f 22", shadow(True), stimulus),          "trap.shadow.cr8_noshadow.long64"),
    mutant("nmi.if",                "An NMI waits for IF",                                    wrapped(Execution, "_take_event", waits_for_if), "trap.nmi.deliver.long64"),
    mutant("nmi.not_blocked",       "An NMI does not block the next",                         wrapped(Execution, "_take_event", nmi_unblocked), "trap.nmi.blocked.long64"),
    mutant("nmi.blocked",           "IRET does not unblock NMIs",                             wrapped(Execution, "_see", nmi_blocked_for_ever), "trap.nmi.blocked.long64"),
    mutant("nmi.vector",            "An NMI goes to the gate of #BP",                         other_vector(Vector.NMI, Vector.BP),             "trap.nmi.deliver.long64", "interrupts"),

    mutant("off.ts",                "CR0.TS is ignored",                                      exceptions(Vector.NM, retry_without(0, Cr0.ts.mask)), "trap.nm.fpu_ts.long64"),
    mutant("off.em",                "CR0.EM is ignored",                                      exceptions(Vector.NM, retry_without(0, Cr0.em.mask)), "trap.nm.fpu_em.long64"),
    mutant("off.x87",               "The x87 raises #NM whatever CR0 says",                   instead(X87, refuse(Vector.NM), stimulus),       "trap.nm.fpu_ts0.long64"),
    mutant("off.mf",                "An x87 error is never reported",                         exceptions(Vector.MF, lambda run, code: run._cpu.complete(1)), "trap.mf.next_waiting.long64"),
    mutant("off.osfxsr",            "SSE runs with CR4.OSFXSR = 0",                           instead(SSE, skip, bit_of_cr4(Cr4.osfxsr, on=False)), "trap.ud.feat.sse_osfxsr0.long64"),
    mutant("off.sse",               "SSE raises #UD with CR4.OSFXSR = 1",                     instead(SSE, refuse(Vector.UD), bit_of_cr4(Cr4.osfxsr, on=True)), "trap.ud.feat.sse_osfxsr1.long64"),
    mutant("off.osxsave",           "XGETBV runs with CR4.OSXSAVE = 0",                       instead("0f 01 d0", skip, bit_of_cr4(Cr4.osxsave, on=False)), "trap.ud.feat.xgetbv_off.long64"),
    mutant("off.xgetbv",            "XGETBV raises #UD with CR4.OSXSAVE = 1",                 instead("0f 01 d0", refuse(Vector.UD), bit_of_cr4(Cr4.osxsave, on=True)), "trap.ud.feat.xgetbv_on.long64"),
    mutant("off.ud2",               "UD2 is skipped where it is the first instruction",       instead("0f 0b", skip, lambda run, insn: stimulus(run, insn) and not run._words.address & 0xFFF), "trap.ud.ud2.long64"),
    mutant("off.div",               "DIV by 0 is skipped",                                    exceptions(Vector.DE, lambda run, code: run._cpu.complete(2)), "trap.de.div_zero.real16"),
    mutant("off.int3",              "INT3 at CPL 3 is skipped",                               instead("cc", skip, outer),                      "trap.soft.int3.ring3"),
)
# fmt: on
