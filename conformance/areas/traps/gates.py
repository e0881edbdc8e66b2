"""Delivery through the IDT: what a gate must be like, which error code blames it, and which flags it changes.

A gate that cannot be used raises another exception, with an error code of the vector's index, IDT = 1 and EXT:

    error code = vector * 8 + 2 + EXT

EXT is 0 where the program asked for the vector (INT n, INT3, INTO), and 1 for exceptions and for INT1.  #NP where the
gate is not present; #GP where its type is no interrupt or trap gate, where it lies beyond the IDT's limit, or where
INT n, INT3 or INTO use one with a DPL below CPL (exceptions do not look at the DPL).  A bad code segment is blamed by its
selector, without IDT but with EXT: #GP where it is null, beyond its table (or in the LDT where there is none), no code
segment, of a DPL above CPL, or in long mode no 64-bit one; #NP where it is not present.
The saved instruction pointer is that of the instruction that wanted the vector.  RF is not judged there: the manuals do
not say clearly what delivery that failed leaves of it.

KVM on Intel processors intercepts #DB, and delivers the one of INT1 anew with the instruction already behind it: there
trap.idt.np_icebp shows the next instruction's address.

On entry TF, NT and RF are cleared; an interrupt gate clears IF also, a trap gate leaves it.  DF and AC stay.
"""

from typing import Any

from virtproof.conformance.case import At, Expect, Insn, Set, family, faults, mem8, mem16, mem64, traps
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Exception- or Interrupt-Handler Procedures'"),
    sdm("3A", "Interrupt and Exception Handling, 'Error Code'"),
    apm(2, "Exceptions and Interrupts, 'Error Codes'"),
)

INT3 = Insn("cc", "int3")
INT_1 = Insn("cd 01", "int 1")
INT_80 = Insn("cd 80", "int 0x80")
INT1 = Insn("f1", "int1")
INTO = Insn("ce", "into")
UD2 = Insn("0f 0b", "ud2")
LIDT = Insn("0f 01 1b", "lidt [rbx]")
LIDT32 = Insn("0f 01 1b", "lidt [ebx]")

IDT, EXT = 2, 1
NP, GP = Vector.NP, Vector.GP

IF, TF, NT, DF, AC = (f.mask for f in (Rflags.if_, Rflags.tf, Rflags.nt, Rflags.df, Rflags.ac))


def refused(vector: Vector, error_code: int, **more: Any) -> Expect:
    return faults(vector, error_code, flags_set=0, **more)


def access64(vector: int, access: int) -> tuple[Set, ...]:
    """The access byte of a long-mode gate: P, DPL and type."""
    return (mem8(At("idt", 16 * vector + 5), access),)


def access32(vector: int, access: int) -> tuple[Set, ...]:
    return (mem8(At("idt", 8 * vector + 5), access),)


def to_segment(selector: int, descriptor: int = 0, *, vector: int = 0x80, size: int = 16) -> tuple[Set, ...]:
    """A gate with another code segment; ``descriptor`` is what the spare entry 0x48 of the GDT then holds."""
    return (mem64(At("gdt", 0x48), descriptor), mem16(At("idt", size * vector + 2), selector))


def to_segment32(selector: int, descriptor: int = 0, *, vector: int = 0x80) -> tuple[Set, ...]:
    return to_segment(selector, descriptor, vector=vector, size=8)


PRESENT_DPL3_TRAP = 0xEF
ABSENT_DPL3, ABSENT = 0x6E, 0x0E
DPL0 = 0x8E
TYPE_0, INTERRUPT16, TASK_GATE, CALL_GATE = 0xE0, 0xE6, 0xE5, 0xEC
NO_TYPE = 0x80
CODE64_ABSENT, CODE64_AND_32 = 0x00AF_1B00_0000_FFFF, 0x00EF_9B00_0000_FFFF
CODE32_ABSENT = 0x00CF_1B00_0000_FFFF
BEYOND_GDT, IN_LDT, CODE32_DPL3, CODE64_DPL3 = 0x1230, 0x4C, 0x20, 0x30  # selectors; there is no LDT

# LIDT from kernel_data with a limit that ends just before the gate of vector 0x80.
SHORT64 = (mem16(At("kernel_data"), 16 * 0x80 - 1), mem64(At("kernel_data", 2), At("idt")))
SHORT32 = (mem16(At("kernel_data"), 8 * 0x80 - 1), mem64(At("kernel_data", 2), At("idt")))
AT_DATA = {"rbx": At("kernel_data")}

LONG64, PROT32 = Mode.LONG64, Mode.PROT32

# fmt: off
CASES = (
    row("trap.idt.int_np.long64",         "INT n, gate not present: #NP, EXT = 0",       LONG64, INT_80, refused(NP, 0x80 * 8 + IDT), sets=access64(0x80, ABSENT_DPL3)),
    row("trap.idt.int_np.prot32",         "INT n, gate not present: #NP, EXT = 0",       PROT32, INT_80, refused(NP, 0x80 * 8 + IDT), sets=access32(0x80, ABSENT_DPL3)),
    row("trap.idt.np_int3.long64",        "INT3, gate not present: #NP, EXT = 0",        LONG64, INT3,   refused(NP, 3 * 8 + IDT),    sets=access64(3, ABSENT_DPL3), priority=2),
    row("trap.idt.np_into32.prot32",      "INTO, gate not present: #NP, EXT = 0",        PROT32, INTO,   refused(NP, 4 * 8 + IDT),    sets=access32(4, ABSENT_DPL3), flags=0x802, priority=2),
    row("trap.idt.np_icebp.long64",       "INT1, gate not present: #NP, EXT = 1",        LONG64, INT1,   refused(NP, 1 * 8 + IDT + EXT), sets=access64(1, ABSENT), priority=2),
    row("trap.idt.ext_np.long64",         "#UD, gate not present: #NP, EXT = 1",         LONG64, UD2,    refused(NP, 6 * 8 + IDT + EXT), sets=access64(6, ABSENT), priority=2),
    row("trap.idt.ext_np.prot32",         "#UD, gate not present: #NP, EXT = 1",         PROT32, UD2,    refused(NP, 6 * 8 + IDT + EXT), sets=access32(6, ABSENT), priority=2),
    row("trap.idt.int_dpl.long64",        "INT n at CPL 3, gate DPL 0: #GP",             LONG64, INT_80, refused(GP, 0x80 * 8 + IDT, cs=0x33), sets=access64(0x80, DPL0), ring=3),
    row("trap.idt.int_dpl.prot32",        "INT n at CPL 3, gate DPL 0: #GP",             PROT32, INT_80, refused(GP, 0x80 * 8 + IDT, cs=0x23), sets=access32(0x80, DPL0), ring=3),
    row("trap.idt.dpl_int3.long64.ring3", "INT3 at CPL 3, gate DPL 0: #GP",              LONG64, INT3,   refused(GP, 3 * 8 + IDT, cs=0x33),    sets=access64(3, DPL0), ring=3),
    row("trap.idt.dpl_icebp.long64.ring3", "INT1 at CPL 3 does not look at the DPL",     LONG64, INT1,   traps(Vector.DB, cs=0x33), ring=3, priority=2),
    row("trap.idt.int_type.long64",       "INT n, gate of type 0: #GP",                  LONG64, INT_80, refused(GP, 0x80 * 8 + IDT), sets=access64(0x80, TYPE_0), priority=2),
    row("trap.idt.int_type16.long64",     "INT n, 16-bit gate in long mode: #GP",        LONG64, INT_80, refused(GP, 0x80 * 8 + IDT), sets=access64(0x80, INTERRUPT16), priority=2),
    row("trap.idt.int_task.long64",       "INT n, task gate in long mode: #GP",          LONG64, INT_80, refused(GP, 0x80 * 8 + IDT), sets=access64(0x80, TASK_GATE), priority=2),
    row("trap.idt.int_type_call.long64",  "INT n, call gate: #GP",                       LONG64, INT_80, refused(GP, 0x80 * 8 + IDT), sets=access64(0x80, CALL_GATE), priority=2),
    row("trap.idt.int_type_call.prot32",  "INT n, call gate: #GP",                       PROT32, INT_80, refused(GP, 0x80 * 8 + IDT), sets=access32(0x80, CALL_GATE), priority=2),
    row("trap.idt.int_limit.long64",      "INT n beyond the IDT: #GP",                   LONG64, (LIDT, INT_80),   refused(GP, 0x80 * 8 + IDT), regs=AT_DATA, sets=SHORT64, priority=2),
    row("trap.idt.int_limit.prot32",      "INT n beyond the IDT: #GP",                   PROT32, (LIDT32, INT_80), refused(GP, 0x80 * 8 + IDT), regs=AT_DATA, sets=SHORT32, priority=2),
    row("trap.idt.int_cs_null.long64",    "INT n, gate with a null selector: #GP(0)",    LONG64, INT_80, refused(GP, 0),    sets=to_segment(0), priority=2),
    row("trap.idt.int_cs_data.long64",    "INT n, gate to a data segment: #GP(sel)",     LONG64, INT_80, refused(GP, 0x10), sets=to_segment(0x10), priority=2),
    row("trap.idt.int_cs32.long64",       "INT n, gate to a 32-bit segment: #GP(sel)",   LONG64, INT_80, refused(GP, 0x18), sets=to_segment(0x18), priority=2),
    row("trap.idt.int_cs_ld.long64",      "INT n, gate to a segment with L = D = 1: #GP(sel)", LONG64, INT_80, refused(GP, 0x48), sets=to_segment(0x48, CODE64_AND_32), priority=2),
    row("trap.idt.int_cs_np.long64",      "INT n, code segment not present: #NP(sel)",   LONG64, INT_80, refused(NP, 0x48), sets=to_segment(0x48, CODE64_ABSENT), priority=2),

    row("trap.idt.int_type.prot32",       "INT n, gate of type 0: #GP",                  PROT32, INT_80, refused(GP, 0x80 * 8 + IDT), sets=access32(0x80, TYPE_0), priority=2),
    row("trap.idt.ext_type.prot32",       "#UD, gate of type 0: #GP, EXT = 1",           PROT32, UD2,    refused(GP, 6 * 8 + IDT + EXT), sets=access32(6, NO_TYPE), priority=2),
    row("trap.idt.ext_type.long64",       "#UD, gate of type 0: #GP, EXT = 1",           LONG64, UD2,    refused(GP, 6 * 8 + IDT + EXT), sets=access64(6, NO_TYPE), priority=2),
    row("trap.idt.int_cs_null.prot32",    "INT n, gate with a null selector: #GP(0)",    PROT32, INT_80, refused(GP, 0),           sets=to_segment32(0), priority=2),
    row("trap.idt.int_cs_limit.prot32",   "INT n, selector beyond the GDT: #GP(sel)",    PROT32, INT_80, refused(GP, BEYOND_GDT),  sets=to_segment32(BEYOND_GDT), priority=2),
    row("trap.idt.int_cs_limit.long64",   "INT n, selector beyond the GDT: #GP(sel)",    LONG64, INT_80, refused(GP, BEYOND_GDT),  sets=to_segment(BEYOND_GDT), priority=2),
    row("trap.idt.int_cs_data.prot32",    "INT n, gate to a data segment: #GP(sel)",     PROT32, INT_80, refused(GP, 0x10),        sets=to_segment32(0x10), priority=2),
    row("trap.idt.int_cs_np.prot32",      "INT n, code segment not present: #NP(sel)",   PROT32, INT_80, refused(NP, 0x48),        sets=to_segment32(0x48, CODE32_ABSENT), priority=2),
    row("trap.idt.ext_cs_np.prot32",      "#UD, code segment not present: #NP(sel), EXT = 1", PROT32, UD2, refused(NP, 0x48 + EXT), sets=to_segment32(0x48, CODE32_ABSENT, vector=6), priority=2),
    row("trap.idt.ext_cs_np.long64",      "#UD, code segment not present: #NP(sel), EXT = 1", LONG64, UD2, refused(NP, 0x48 + EXT), sets=to_segment(0x48, CODE64_ABSENT, vector=6), priority=2),
    row("trap.idt.int_cs_dpl.prot32",     "INT n, code segment of DPL 3 at CPL 0: #GP(sel)", PROT32, INT_80, refused(GP, CODE32_DPL3), sets=to_segment32(CODE32_DPL3), priority=2),
    row("trap.idt.int_cs_dpl.long64",     "INT n, code segment of DPL 3 at CPL 0: #GP(sel)", LONG64, INT_80, refused(GP, CODE64_DPL3), sets=to_segment(CODE64_DPL3), priority=2),
    row("trap.idt.int_cs_ldt.prot32",     "INT n, selector in no LDT: #GP(sel), TI kept", PROT32, INT_80, refused(GP, IN_LDT),     sets=to_segment32(IN_LDT), priority=2),
    row("trap.idt.int_cs_ldt.long64",     "INT n, selector in no LDT: #GP(sel), TI kept", LONG64, INT_80, refused(GP, IN_LDT),     sets=to_segment(IN_LDT), priority=2),
    row("trap.idt.np_int1.long64",        "INT 1 of two bytes, gate not present: #NP, EXT = 0", LONG64, INT_1, refused(NP, 1 * 8 + IDT), sets=access64(1, ABSENT_DPL3), priority=2),
    row("trap.idt.dpl_into32.prot32.ring3", "INTO at CPL 3, gate DPL 0: #GP",            PROT32, INTO,   refused(GP, 4 * 8 + IDT, cs=0x23), sets=access32(4, DPL0), ring=3, flags=0x802, priority=2),
    row("trap.idt.dpl_int1.long64.ring3", "INT 1 of two bytes at CPL 3, gate DPL 0: #GP", LONG64, INT_1, refused(GP, 1 * 8 + IDT, cs=0x33), sets=access64(1, DPL0), ring=3, priority=2),
    row("trap.idt.hw_dpl_ignored.long64.ring3", "#UD at CPL 3 does not look at the DPL", LONG64, UD2,    faults(Vector.UD, cs=0x33, handler_ss=0), sets=access64(6, DPL0), ring=3, priority=2),

    row("trap.gate.intgate.long64",       "An interrupt gate clears IF",                 LONG64, INT_80, traps(0x80, flags_set=IF, handler_flags_clear=IF), flags=2 | IF),
    row("trap.gate.intgate.prot32",       "An interrupt gate clears IF",                 PROT32, INT_80, traps(0x80, flags_set=IF, handler_flags_clear=IF), flags=2 | IF),
    row("trap.gate.trapgate.long64",      "A trap gate leaves IF set",                   LONG64, INT_80, traps(0x80, flags_set=IF, handler_flags_set=IF), flags=2 | IF, sets=access64(0x80, PRESENT_DPL3_TRAP)),
    row("trap.gate.trapgate.prot32",      "A trap gate leaves IF set",                   PROT32, INT_80, traps(0x80, flags_set=IF, handler_flags_set=IF), flags=2 | IF, sets=access32(0x80, PRESENT_DPL3_TRAP)),
    row("trap.gate.flag_tf.long64",       "A gate clears TF and saves it set",           LONG64, INT_80, traps(0x80, flags_set=TF, handler_flags_clear=TF), flags=2 | TF, priority=2),
    row("trap.gate.flag_nt.long64",       "A gate clears NT and saves it set",           LONG64, INT_80, traps(0x80, flags_set=NT, handler_flags_clear=NT), flags=2 | NT, priority=2),
    row("trap.gate.flag_ac.long64",       "A gate leaves AC set",                        LONG64, INT_80, traps(0x80, flags_set=AC, handler_flags_set=AC), flags=2 | AC, priority=2),
    row("trap.gate.flag_df.long64",       "A gate leaves DF set",                        LONG64, INT_80, traps(0x80, flags_set=DF, handler_flags_set=DF), flags=2 | DF, priority=2),
)
# fmt: on
