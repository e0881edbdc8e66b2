"""Software interrupts: INT3, INT n, INTO, INT1 and BOUND.

INT3, INT n, INTO with OF = 1 and INT1 are traps: the saved instruction pointer is that of the next instruction, RF is
clear in the saved flags, and no error code is pushed.  INT1 (also known as ICEBP) is a #DB that no debug register
asked for: DR6 shows no condition.  INTO does nothing with OF = 0.  BOUND is a fault: the saved instruction pointer is
its own.  A hypervisor that injects such an event itself has to work out the next instruction's address; each length of
instruction is here.  INT n pushes no error code, not even with the vector of an exception that does.  INT 1 and INT 3
are INT n of two bytes: they look at the gate's DPL, as INT1 does not.

From ring 3 the handler runs on the stack of the TSS.  In real mode, IP, CS and FLAGS are pushed: 6 bytes.
"""

from typing import Any

from virtproof.conformance.case import At, Insn, Set, completes, family, faults, mem8, mem32, mem64, traps
from virtproof.conformance.handlers import handled
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.debug import Dr6
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "traps",
    sdm("2A", "Instruction Set Reference, 'INT n/INTO/INT3/INT1-Call to Interrupt Procedure'"),
    apm(2, "Exceptions and Interrupts, 'Software Interrupts'"),
)

INT3 = Insn("cc", "int3")
INT_1 = Insn("cd 01", "int 1")
INT_3 = Insn("cd 03", "int 3")
INT_4 = Insn("cd 04", "int 4")
INT_8, INT_13, INT_14 = Insn("cd 08", "int 8"), Insn("cd 0d", "int 0xd"), Insn("cd 0e", "int 0xe")
INT_80 = Insn("cd 80", "int 0x80")
INTO = Insn("ce", "into")
INT1 = Insn("f1", "int1")
BOUND = Insn("62 03", "bound eax, qword ptr [ebx]")
BOUND16 = Insn("62 07", "bound ax, dword ptr [bx]")

REAL_FRAME = At("kernel_stack_top", -6)
LONG_FRAME = At("kernel_stack_top", -40)
INNER_FRAME = At("rsp0_top", -40)
CONDITIONS = Dr6.b0.mask | Dr6.b1.mask | Dr6.b2.mask | Dr6.b3.mask | Dr6.bd.mask | Dr6.bs.mask
OF = Rflags.of.mask
IF, TF = Rflags.if_.mask, Rflags.tf.mask
IN_REAL_MODE = traps(3, frame=REAL_FRAME, handler_flags_clear=IF | TF)
ICEBP_LIKE = traps(Vector.DB, dr6_set=0, dr6_clear=CONDITIONS)

DPL3 = 0xEE


def open_gate(vector: int, size: int) -> tuple[Set, ...]:
    """A gate that INT n may use at CPL 3."""
    return (mem8(At("idt", size * vector + 5), DPL3),)


def no_error_code(vector: int) -> dict[str, Any]:
    """INT n to a handler in the row's own code, behind it; the frame is 40 bytes, and none of them moved."""
    top = At("kernel_stack_top")
    frame = {top + -40: At("kernel_code", 2), top + -32: 0x08, top + -24: 2, top + -16: top, top + -8: 0x10}
    return {
        "expect": completes(regs={"rsp": top + -40}, memory=frame),
        "sets": (*handled(vector, 2), mem8(At("idt", 16 * vector + 4), 0)),
    }


ONE_TO_FOUR16 = (mem32(At("kernel_data"), 4 << 16 | 1),)
ONE_TO_FOUR = (mem64(At("kernel_data"), 4 << 32 | 1),)
INDEX = {"rbx": At("kernel_data")}

LONG64, COMPAT32, PROT32, REAL16 = Mode.LONG64, Mode.COMPAT32, Mode.PROT32, Mode.REAL16

# fmt: off
CASES = (
    row("trap.soft.int3.real16",      "INT3 enters vector 3 in real mode",               REAL16, INT3,   traps(3, frame=REAL_FRAME)),
    row("trap.soft.int3.prot32",      "INT3 enters vector 3 in protected mode",          PROT32, INT3,   traps(3, frame=At("kernel_stack_top", -12))),
    row("trap.soft.int3.long64",      "INT3 enters vector 3 in 64-bit mode",             LONG64, INT3,   traps(3, frame=LONG_FRAME)),
    row("trap.soft.int3.ring3",       "INT3 enters vector 3 from ring 3",                LONG64, INT3,   traps(3, frame=INNER_FRAME, cs=0x33, ss=0x2B), ring=3),
    row("trap.soft.int_imm3.long64",  "The two-byte INT 3 saves the RIP two bytes on",   LONG64, INT_3,  traps(3, frame=LONG_FRAME), priority=2),
    row("trap.soft.int_n.real16",     "INT 0x80 enters vector 128 in real mode",         REAL16, INT_80, traps(0x80, frame=REAL_FRAME)),
    row("trap.soft.int_n.prot32",     "INT 0x80 enters vector 128 in protected mode",    PROT32, INT_80, traps(0x80, frame=At("kernel_stack_top", -12))),
    row("trap.soft.int_n.pae32",      "INT 0x80 enters vector 128 with PAE paging",  Mode.PAE32, INT_80, traps(0x80, frame=At("kernel_stack_top", -12))),
    row("trap.soft.int_n.long64",     "INT 0x80 enters vector 128 in 64-bit mode",       LONG64, INT_80, traps(0x80, frame=LONG_FRAME)),
    row("trap.soft.int_n.ring3",      "INT 0x80 enters vector 128 from ring 3",          LONG64, INT_80, traps(0x80, frame=INNER_FRAME, cs=0x33, ss=0x2B), ring=3),
    row("trap.soft.into.prot32",      "INTO with OF = 1 enters vector 4",                PROT32, INTO,   traps(Vector.OF), flags=2 | OF, priority=2),
    row("trap.soft.into_of0.prot32",  "INTO with OF = 0 does nothing",                   PROT32, INTO,   completes(), priority=3),
    row("trap.soft.icebp.prot32",     "INT1 enters vector 1, DR6 shows no condition",    PROT32, INT1,   traps(Vector.DB, dr6_set=0, dr6_clear=CONDITIONS), priority=2),
    row("trap.soft.icebp.long64",     "INT1 enters vector 1, DR6 shows no condition",    LONG64, INT1,   traps(Vector.DB, dr6_set=0, dr6_clear=CONDITIONS), priority=2),
    row("trap.soft.icebp.ring3",      "INT1 enters vector 1 from ring 3",                LONG64, INT1,   traps(Vector.DB, dr6_set=0, dr6_clear=CONDITIONS, frame=INNER_FRAME), ring=3, priority=2),
    row("trap.soft.int_imm3.real16",  "INT 3 of two bytes in real mode: IF is clear in the handler", REAL16, INT_3, IN_REAL_MODE, flags=2 | IF, priority=2),
    row("trap.soft.int_imm3.prot32",  "INT 3 of two bytes in protected mode",            PROT32, INT_3,  traps(3, frame=At("kernel_stack_top", -12)), priority=2),
    row("trap.soft.int_imm3.compat32", "INT 3 of two bytes in compatibility mode",     COMPAT32, INT_3,  traps(3, frame=LONG_FRAME), priority=2),
    row("trap.soft.int_imm3.ring3",   "INT 3 of two bytes from ring 3",                  LONG64, INT_3,  traps(3, frame=INNER_FRAME, cs=0x33, ss=0x2B), ring=3, priority=2),
    row("trap.soft.into.real16",      "INTO with OF = 1 in real mode",                   REAL16, INTO,   traps(Vector.OF, frame=REAL_FRAME), flags=2 | OF, priority=2),
    row("trap.soft.into.ring3_32",    "INTO with OF = 1 from ring 3",                    PROT32, INTO,   traps(Vector.OF, frame=At("rsp0_top", -20), cs=0x23, ss=0x2B), flags=2 | OF, ring=3, priority=2),
    row("trap.soft.int_imm4.prot32",  "INT 4 does not look at OF",                       PROT32, INT_4,  traps(4), priority=2),
    row("trap.soft.int_imm4.long64",  "INT 4 does not look at OF, in 64-bit mode either", LONG64, INT_4, traps(4, frame=LONG_FRAME), priority=2),
    row("trap.soft.int_n.compat32",   "INT 0x80 from compatibility mode",              COMPAT32, INT_80, traps(0x80, frame=LONG_FRAME), priority=2),
    row("trap.soft.int_imm1.prot32",  "INT 1 of two bytes, DR6 shows no condition",      PROT32, INT_1,  ICEBP_LIKE, priority=2),
    row("trap.soft.int_imm1.long64",  "INT 1 of two bytes, DR6 shows no condition",      LONG64, INT_1,  ICEBP_LIKE, priority=2),
    row("trap.soft.int_imm1.ring3",   "INT 1 from ring 3 through a gate of DPL 3",       LONG64, INT_1,  ICEBP_LIKE, ring=3, sets=open_gate(1, 16), priority=2),
    row("trap.soft.int8_noec.long64",  "INT 8 pushes no error code, as #DF does",        LONG64, INT_8,  **no_error_code(8), priority=2),
    row("trap.soft.int13_noec.long64", "INT 13 pushes no error code, as #GP does",       LONG64, INT_13, **no_error_code(13), priority=2),
    row("trap.soft.int14_noec.long64", "INT 14 pushes no error code, as #PF does",       LONG64, INT_14, **no_error_code(14), priority=2),
    row("trap.br.bound.real16",       "BOUND in real mode, index 9 of 1 to 4",           REAL16, BOUND16, faults(Vector.BR, frame=REAL_FRAME), regs=INDEX | {"rax": 9}, sets=ONE_TO_FOUR16, priority=2),
    row("trap.br.bound.prot32",       "BOUND raises #BR for an index above the upper one", PROT32, BOUND, faults(Vector.BR), regs=INDEX | {"rax": 5}, sets=ONE_TO_FOUR, priority=2),
    row("trap.br.bound_in.prot32",    "BOUND lets the upper bound itself pass",          PROT32, BOUND,  completes(), regs=INDEX | {"rax": 4}, sets=ONE_TO_FOUR, priority=3),
)
# fmt: on
