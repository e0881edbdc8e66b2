"""Invalid opcodes: encodings that must raise #UD, whatever else is right about them.

UD2 exists to raise #UD.  LOCK is allowed only before a few read-modify-write instructions with a memory operand.  CS
cannot be the destination of MOV, CR1 does not exist, and 64-bit mode gives up the one-byte opcodes of segment pushes,
decimal adjustment, PUSHA and far calls with immediate pointers.  Far pointers and CMPXCHG8B need a memory operand, RSM
system-management mode.  #UD is a fault without an error code.

An instruction is at most 15 bytes long; a longer one raises #GP(0), also where only redundant prefixes make it long.

Hypervisors meet these encodings in their instruction emulators, which decode what the processor would have refused.
"""

from virtproof.conformance.case import At, Insn, completes, family, faults, mem64
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 6-Invalid Opcode Exception (#UD)'"),
    apm(2, "Exceptions and Interrupts, '#UD-Invalid-Opcode Exception (Vector 6)'"),
    expect=faults(Vector.UD),
)

UD2 = Insn("0f 0b", "ud2")
UD1 = Insn("0f b9", "ud1")
LOCK_REG = Insn("f0 01 d8", "(bad)")  # lock add eax, ebx
LOCK_NOP = Insn("f0 90", "(bad)")  # lock nop
LOCK_MOV = Insn("f0 89 03", "(bad)")  # lock mov [rbx], eax
LOCK_CMP = Insn("f0 39 03", "(bad)")  # lock cmp [rbx], eax
CMPXCHG8B_REG = Insn("0f c7 c8", "(bad)")  # cmpxchg8b eax
CALLF_REG, JMPF_REG = Insn("ff d8", "(bad)"), Insn("ff e8", "(bad)")  # far call eax, far jmp eax
MOV_CS = Insn("8e c8", "mov cs, eax")
MOV_CR1 = Insn("0f 20 c8", "mov rax, cr1")
LEA_REG = Insn("8d c0", "(bad)")  # lea with a register operand
LEN15 = Insn("66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", "nop")
LEN16 = Insn("66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", "(bad)")

IN_MEMORY = {"rbx": At("kernel_data")}

LONG64, PROT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.REAL16

# fmt: off
CASES = (
    row("trap.ud.ud2.real16",             "UD2 raises #UD in real mode",                REAL16, UD2, faults(Vector.UD, frame=At("kernel_stack_top", -6)), priority=2),
    row("trap.ud.ud2.prot32",             "UD2 raises #UD in protected mode",           PROT32, UD2, priority=2),
    row("trap.ud.ud2.pae32",              "UD2 raises #UD with PAE paging",         Mode.PAE32, UD2),
    row("trap.ud.ud2.long64",             "UD2 raises #UD in 64-bit mode",              LONG64, UD2),
    row("trap.ud.ud2.ring3",              "UD2 raises #UD at CPL 3",                    LONG64, UD2, faults(Vector.UD, cs=0x33, frame=At("rsp0_top", -40)), ring=3),
    row("trap.ud.ud1.long64",             "UD1 raises #UD",                             LONG64, UD1, priority=2),
    row("trap.ud.lock_reg.long64",        "LOCK ADD to a register raises #UD",          LONG64, LOCK_REG, priority=2),
    row("trap.ud.lock_nop.long64",        "LOCK NOP raises #UD",                        LONG64, LOCK_NOP, priority=2),
    row("trap.ud.lock_mov.long64",        "LOCK MOV raises #UD and stores nothing",     LONG64, LOCK_MOV, faults(Vector.UD, memory={At("kernel_data"): 7}), regs=IN_MEMORY, sets=(mem64(At("kernel_data"), 7),), priority=2),
    row("trap.ud.mov_cs.long64",          "MOV to CS raises #UD",                       LONG64, MOV_CS, priority=2),
    row("trap.ud.mov_cr1.long64",         "MOV from CR1 raises #UD",                    LONG64, MOV_CR1, priority=2),
    row("trap.ud.lea_reg.long64",         "LEA of a register raises #UD",               LONG64, LEA_REG, priority=2),
    row("trap.ud.inv64.push_es.long64",   "PUSH ES raises #UD in 64-bit mode",          LONG64, Insn("06", "(bad)"), priority=2),
    row("trap.ud.inv64.daa.long64",       "DAA raises #UD in 64-bit mode",              LONG64, Insn("27", "(bad)"), priority=2),
    row("trap.ud.inv64.pusha.long64",     "PUSHA raises #UD in 64-bit mode",            LONG64, Insn("60", "(bad)"), priority=2),
    row("trap.ud.inv64.callf_imm.long64", "CALL ptr16:32 raises #UD in 64-bit mode",    LONG64, Insn("9a 00 00 00 00 08 00", "(bad)"), priority=2),
    row("trap.ud.lock_cmp.long64",        "LOCK CMP raises #UD",                        LONG64, LOCK_CMP, regs=IN_MEMORY, priority=2),
    row("trap.ud.rsm.long64",             "RSM outside SMM raises #UD",                 LONG64, Insn("0f aa", "rsm"), priority=2),
    row("trap.ud.cmpxchg8b_reg.long64",   "CMPXCHG8B with a register raises #UD",       LONG64, CMPXCHG8B_REG, priority=2),
    row("trap.ud.callf_reg.long64",       "Far CALL with a register raises #UD",        LONG64, CALLF_REG, priority=2),
    row("trap.ud.jmpf_reg.long64",        "Far JMP with a register raises #UD",         LONG64, JMPF_REG, priority=2),
    row("trap.soft.into.long64",          "INTO raises #UD in 64-bit mode, OF = 1",     LONG64, Insn("ce", "(bad)"), flags=0x802, priority=2),
    row("trap.ok.len15.long64",           "An instruction of 15 bytes runs",            LONG64, LEN15, completes(), priority=3),
    row("trap.gp.len16.long64",           "An instruction of 16 bytes raises #GP(0)",   LONG64, LEN16, faults(Vector.GP, 0), priority=2),
)
# fmt: on
