"""The stack of a handler, and what lies on it.

In 64-bit mode a delivery always saves SS and RSP, after it has aligned the new RSP down to 16 bytes: the frame is 40
bytes (from high to low SS, RSP, RFLAGS, CS, RIP), an error code lies below it.  The stack is the interrupted one at the
same level, RSP0 of the TSS from ring 3 (SS becomes null), and the TSS's IST entry where the gate names one, at any
level.  In 32-bit protected mode the same level saves EFLAGS, CS and EIP only (12 bytes); from ring 3, ESP and SS too (20
bytes), on SS0:ESP0.

A delivery that meets an absent stack page raises #PF, a supervisor write; RSP is what it was before.
"""

from virtproof.conformance.case import RF, At, Insn, family, faults, mem8, mem64, traps
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import PageFaultErrorCode, Vector

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, '64-Bit Mode Stack Frame'"),
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt Stack Table'"),
    sdm("3A", "Interrupt and Exception Handling, 'Stack Switching in IA-32e Mode'"),
    apm(2, "Exceptions and Interrupts, 'Long-Mode Interrupt Control Transfers'"),
)

INT_80 = Insn("cd 80", "int 0x80")
MOV_DS = Insn("8e d8", "mov ds, eax")

KERNEL, RSP0, IST1, USER = At("kernel_stack_top"), At("rsp0_top"), At("ist1_top"), At("user_stack_top")
WINDOW = 1 << 39  # long64 maps nothing there
WRITE = int(PageFaultErrorCode.w.mask)

BEYOND_GDT = 0x1234
USE_IST1 = mem8(At("idt", 16 * 0x80 + 4), 1)
PF_ON_IST1 = mem8(At("idt", 16 * 14 + 4), 1)
GP_ON_IST1 = mem8(At("idt", 16 * 13 + 4), 1)
ODD_RSP0 = mem64(At("tss", 4), RSP0 + -8)
ODD_IST1 = mem64(At("tss", 36), IST1 + -8)

# The frame of #GP(0x1234) from ring 3.
FRAME = {
    RSP0 + -8: 0x2B,
    RSP0 + -16: USER,
    RSP0 + -24: 2 | RF,
    RSP0 + -32: 0x33,
    RSP0 + -40: At("user_code"),
    RSP0 + -48: BEYOND_GDT,
}

LONG64, PROT32 = Mode.LONG64, Mode.PROT32

# fmt: off
CASES = (
    row("trap.stack.rsp_align.long64",   "Delivery aligns RSP down to 16 bytes",           LONG64, INT_80, traps(0x80, frame=KERNEL + -56, rsp=KERNEL + -8, ss=0x10), regs={"rsp": KERNEL + -8}),
    row("trap.stack.rsp0_align.long64",  "Delivery aligns RSP0 as well",                   LONG64, INT_80, traps(0x80, frame=RSP0 + -56), ring=3, sets=(ODD_RSP0,)),
    row("trap.stack.ss_null_cpl.long64", "From ring 3: frame at RSP0, SS null",            LONG64, INT_80, traps(0x80, frame=RSP0 + -40, cs=0x33, ss=0x2B, rsp=USER, handler_ss=0), ring=3),
    row("trap.stack.ist.long64",         "IST picks the stack without a change of level",  LONG64, INT_80, traps(0x80, frame=IST1 + -40, cs=0x08, ss=0x10, rsp=KERNEL), sets=(USE_IST1,)),
    row("trap.stack.ist_ring3.long64",   "IST picks the stack from ring 3 too, SS null",   LONG64, INT_80, traps(0x80, frame=IST1 + -40, cs=0x33, ss=0x2B, rsp=USER, handler_ss=0), ring=3, sets=(USE_IST1,)),
    row("trap.stack.ist_align.long64",   "Delivery aligns IST as well",                    LONG64, INT_80, traps(0x80, frame=IST1 + -56), sets=(USE_IST1, ODD_IST1)),
    row("trap.stack.ist_ec.long64",      "With IST an error code lies below the frame",    LONG64, MOV_DS, faults(Vector.GP, BEYOND_GDT, frame=IST1 + -40, memory={IST1 + -48: BEYOND_GDT}), regs={"rax": BEYOND_GDT}, sets=(GP_ON_IST1,), priority=2),
    row("trap.stack.push_order.long64",  "The frame: SS, RSP, RFLAGS, CS, RIP, error code", LONG64, MOV_DS, faults(Vector.GP, BEYOND_GDT, memory=FRAME), regs={"rax": BEYOND_GDT}, ring=3),
    row("trap.stack.stack_pf.long64",    "An absent stack page raises #PF, RSP is kept",   LONG64, INT_80, faults(Vector.PF, WRITE, flags_set=0, cr2=WINDOW + 0xFF8, frame=IST1 + -40, rsp=WINDOW + 0x1000), regs={"rsp": WINDOW + 0x1000}, sets=(PF_ON_IST1,)),
    row("trap.stack.same.prot32",        "The same level saves 12 bytes",                  PROT32, INT_80, traps(0x80, frame=KERNEL + -12, handler_ss=0x10)),
    row("trap.stack.inner.prot32",       "From ring 3: 20 bytes on SS0:ESP0",              PROT32, INT_80, traps(0x80, frame=RSP0 + -20, cs=0x23, ss=0x2B, rsp=USER, handler_ss=0x10), ring=3),
)
# fmt: on
