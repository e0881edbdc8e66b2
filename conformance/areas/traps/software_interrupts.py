"""Software interrupts: INT3, INT n, INTO, INT1 and BOUND.

INT3, INT n, INTO with OF = 1 and INT1 are traps: the saved instruction pointer is that of the next instruction, RF is
clear in the saved flags, and no error code is pushed.  INT1 (also known as ICEBP) is a #DB that no debug register
asked for: DR6 shows no condition.  INTO does nothing with OF = 0.  BOUND is a fault: the saved instruction pointer is
its own.  A hypervisor that injects such an event itself has to work out the next instruction's address; each length of
instruction is here.

From ring 3 the handler runs on the stack of the TSS.  In real mode, IP, CS and FLAGS are pushed: 6 bytes.
"""

from virtproof.conformance.case import At, Insn, completes, family, faults, mem64, traps
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
INT_3 = Insn("cd 03", "int 3")
INT_80 = Insn("cd 80", "int 0x80")
INTO = Insn("ce", "into")
INT1 = Insn("f1", "int1")
BOUND = Insn("62 03", "bound eax, qword ptr [ebx]")

REAL_FRAME = At("kernel_stack_top", -6)
LONG_FRAME = At("kernel_stack_top", -40)
INNER_FRAME = At("rsp0_top", -40)
CONDITIONS = Dr6.b0.mask | Dr6.b1.mask | Dr6.b2.mask | Dr6.b3.mask | Dr6.bd.mask | Dr6.bs.mask
OF = Rflags.of.mask
ONE_TO_FOUR = (mem64(At("kernel_data"), 4 << 32 | 1),)
INDEX = {"rbx": At("kernel_data")}

LONG64, PROT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.REAL16

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
    row("trap.br.bound.prot32",       "BOUND raises #BR for an index above the upper one", PROT32, BOUND, faults(Vector.BR), regs=INDEX | {"rax": 5}, sets=ONE_TO_FOUR, priority=2),
    row("trap.br.bound_in.prot32",    "BOUND lets the upper bound itself pass",          PROT32, BOUND,  completes(), regs=INDEX | {"rax": 4}, sets=ONE_TO_FOUR, priority=3),
)
# fmt: on
