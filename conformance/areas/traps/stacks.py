"""The stack of a handler, and what lies on it.

In 64-bit mode a delivery always saves SS and RSP, after it has aligned the new RSP down to 16 bytes: the frame is 40
bytes (from high to low SS, RSP, RFLAGS, CS, RIP), an error code lies below it.  The stack is the interrupted one at the
same level, RSP0 of the TSS from ring 3 (SS becomes null), and the TSS's IST entry where the gate names one, at any
level.  In 32-bit protected mode the same level saves EFLAGS, CS and EIP only (12 bytes); from ring 3, ESP and SS too (20
bytes), on SS0:ESP0.

A delivery that meets an absent stack page raises #PF, a supervisor write; RSP is what it was before.

A stack pointer beyond the TSS's limit is #TS, blamed on the TSS.  A bad stack segment of the TSS is #TS with its
selector, or #SS where it is not present.  All these are shown on the way from ring 3 to ring 1, for the exception itself
has to get to ring 0: a bad stack for ring 0 cannot be told to anyone, and ends in shutdown.  A handler in a conforming
segment keeps CPL, and the stack.
"""

from virtproof.conformance.case import (
    RF,
    At,
    Expect,
    Insn,
    Set,
    completes,
    family,
    faults,
    mem8,
    mem16,
    mem32,
    mem64,
    stops,
    traps,
)
from virtproof.conformance.handlers import handled
from virtproof.conformance.window import FRAME as FRAMES
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.table import SetKind
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

# A TSS of the row's own: LTR, and to INT 80H in ring 3.  The handler, behind IRETQ, notes the error code and CR2, and
# gives TR back.
NEW_TSS = 0x48
LTR, IRETQ, POP_RBX, GET_CR2 = (
    Insn("0f 00 d8", "ltr ax"),
    Insn("48 cf", "iretq"),
    Insn("5b", "pop rbx"),
    Insn("0f 20 d2", "mov rdx, cr2"),
)
TR_BACK = (Insn("c6 01 89", "mov byte ptr [rcx], 0x89"), Insn("b8 38 00 00 00", "mov eax, 0x38"), LTR)
HANDLER = 5  # offset
DATA = At("kernel_data")
ENTRY = {"rax": NEW_TSS, "rcx": At("gdt", 0x38 + 5), "rsp": DATA}
INT_80_IN_RING3 = (
    mem64(DATA, At("user_code")), mem64(DATA + 8, 0x33), mem64(DATA + 16, 2), mem64(DATA + 24, USER), mem64(DATA + 32, 0x2B),
    mem16(At("user_code"), 0x80CD),
)  # fmt: skip


def caught(stack: At, **regs: int) -> Expect:
    """The handler has popped an error code from a frame on this stack: INT 80H, from ring 3."""
    return completes(
        regs={"rax": 0x38, "rsp": stack + -40, **regs}, memory={stack + -40: At("user_code"), stack + -32: 0x33}
    )


# A limit that reaches behind RSP0, but not to RSP1; the gate leads to ring 1.
SHORT_TSS = (
    mem16(At("gdt", NEW_TSS), 11), Set(SetKind.MEM16, At("gdt", NEW_TSS + 2), At("tss")), mem32(At("gdt", NEW_TSS + 4), 0x8900),
    mem16(At("idt", 16 * 0x80 + 2), 0x88), *handled(Vector.TS, HANDLER), *INT_80_IN_RING3,
)  # fmt: skip
# A TSS in the window whose RSP0 is the last word of an absent page; IST1 is in the next.
SPLIT_TSS = (
    mem64(At("gdt", NEW_TSS), 0x0000_8900_0FF4_0067), mem64(At("gdt", NEW_TSS + 8), WINDOW >> 32),
    maps(page(), 1), mem64(FRAMES + 0x18, IST1), PF_ON_IST1, *handled(Vector.PF, HANDLER), *INT_80_IN_RING3,
)  # fmt: skip

# 32-bit: the gate leads to ring 1, whose stack segment is ``selector``, the spare entry of the GDT perhaps.
SS1, SS0 = At("tss", 16), At("tss", 8)
DATA_DPL1_ABSENT = 0x00CF_3300_0000_FFFF
CONFORMING = 0x00CF_9F00_0000_FFFF
FROM_RING3 = {"cs": 0x23, "ss": 0x2B, "frame": RSP0 + -20}


def to_ring1(selector: int) -> tuple[Set, ...]:
    return (mem16(At("idt", 8 * 0x80 + 2), 0x88), mem32(SS1, selector), mem64(At("gdt", 0x48), DATA_DPL1_ABSENT))


# The gate leads behind INT 80H itself, with a conforming segment: CS, and what the frame has, at CPL 3.
CONFORMS = (INT_80, Insn("8c c8", "mov eax, cs"), Insn("5b", "pop ebx"), Insn("59", "pop ecx"), Insn("5a", "pop edx"))
CONFORMED = completes(regs={"rax": 0x4B, "rbx": At("user_code", 2), "rcx": 0x23, "rdx": 2}, cs=0x4B, ss=0x2B)
TO_CONFORMING = (
    mem64(At("gdt", 0x48), CONFORMING), mem16(At("idt", 8 * 0x80 + 2), 0x48),
    Set(SetKind.MEM16, At("idt", 8 * 0x80), At("user_code", 2)), mem16(At("idt", 8 * 0x80 + 6), 1),
)  # fmt: skip

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
    row("trap.stack.tss_limit.long64",   "RSP1 beyond the TSS: #TS, blamed on it",         LONG64, (LTR, IRETQ, POP_RBX, *TR_BACK), caught(RSP0, rbx=NEW_TSS), regs=ENTRY, sets=SHORT_TSS, priority=2),
    row("trap.stack.tss_pf.long64",      "RSP0 in an absent page: #PF, a supervisor's read", LONG64, (LTR, IRETQ, POP_RBX, GET_CR2, *TR_BACK), caught(IST1, rbx=0, rdx=WINDOW + 0xFF8), regs=ENTRY, sets=SPLIT_TSS, priority=2),
    row("trap.stack.conforming.prot32",  "A conforming handler keeps CPL 3 and the stack", PROT32, CONFORMS, CONFORMED, ring=3, sets=TO_CONFORMING, priority=2),
    row("trap.stack.ss0_null.prot32",    "A null stack segment: #TS(0)",                   PROT32, INT_80, faults(Vector.TS, 0, flags_set=0, **FROM_RING3), ring=3, sets=to_ring1(0), priority=2),
    row("trap.stack.ss0_rpl.prot32",     "A stack segment whose RPL is not the new CPL: #TS(sel)", PROT32, INT_80, faults(Vector.TS, 0x90, flags_set=0, **FROM_RING3), ring=3, sets=to_ring1(0x93), priority=2),
    row("trap.stack.ss0_np.prot32",      "A stack segment that is not present: #SS(sel)",  PROT32, INT_80, faults(Vector.SS, 0x48, flags_set=0, **FROM_RING3), ring=3, sets=to_ring1(0x49), priority=2),
    row("trap.stack.ss0_null.prot32.ring0", "A null stack segment for ring 0: shutdown",   PROT32, INT_80, stops("shutdown"), ring=3, sets=(mem32(SS0, 0),), priority=2),
)
# fmt: on
