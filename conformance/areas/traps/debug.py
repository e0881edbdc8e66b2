"""Debug exceptions: single step, breakpoints, general detect, and the debug registers.

With RFLAGS.TF set when an instruction begins, #DB follows it: a trap with DR6.BS.  The instruction that sets TF is not
stepped, and MOV SS holds the #DB back for one more instruction.  An instruction that the hypervisor emulates is stepped
like any other.  An instruction breakpoint is a fault: it hits before the instruction, unless RF is set, and RF lasts for
one instruction.  A data breakpoint is a trap: it hits after the access.  General detect (DR7.GD) is a fault upon any
MOV to or from a debug register.  DR6 names the conditions; DR7.GD is cleared on entry.

The saved RF of an instruction breakpoint is 0, unlike other faults'.

KVM loses the step of a store that the monitor completes (its emulator does not return to it after the exit), so
trap.db.tf_mmio fails on every KVM known so far.
"""

from typing import Any

from virtproof.conformance.case import RF, At, Expect, Insn, Set, completes, dr, family, faults, mem64, traps
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.debug import DR6_RESET, DR7_RESET, BreakLength, BreakOn, Dr6
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "traps",
    sdm("3B", "Debug, Branch Profile, TSC, ..., 'Debug Exceptions'"),
    sdm("3B", "Debug, Branch Profile, TSC, ..., 'Debug Registers'"),
    apm(2, "Software-Debug Resources, 'Breakpoints'"),
)

NOP = Insn("90", "nop")
UD2 = Insn("0f 0b", "ud2")
CPUID = Insn("0f a2", "cpuid")
MOV_SS = Insn("8e d0", "mov ss, eax")
PUSH_TF = Insn("68 02 01 00 00", "push 0x102")
POPFQ = Insn("9d", "popfq")
OUT = Insn("e6 80", "out 0x80, al")
STORE_HOLE = Insn("89 03", "mov dword ptr [rbx], eax")
LOOP = Insn("e2 fe", "loop 0")
STORE8 = Insn("88 03", "mov byte ptr [rbx], al")
STORE8_NEXT = Insn("88 43 01", "mov byte ptr [rbx + 1], al")
STORE8_4 = Insn("88 43 04", "mov byte ptr [rbx + 4], al")
LOAD8 = Insn("8a 03", "mov al, byte ptr [rbx]")
FROM_DR0 = Insn("0f 21 c0", "mov rax, dr0")
TO_DR6, FROM_DR6 = Insn("0f 23 f0", "mov dr6, rax"), Insn("0f 21 f0", "mov rax, dr6")
TO_DR7, FROM_DR7 = Insn("0f 23 f8", "mov dr7, rax"), Insn("0f 21 f8", "mov rax, dr7")
TO_DR0 = Insn("0f 23 c0", "mov dr0, rax")
CLEAR_RAX = Insn("31 c0", "xor eax, eax")

TF = 2 | Rflags.tf.mask
B0, BS, BD = Dr6.b0.mask, Dr6.bs.mask, Dr6.bd.mask
B1_TO_B3 = Dr6.b1.mask | Dr6.b2.mask | Dr6.b3.mask
BREAKPOINTS = B0 | B1_TO_B3

STEPPED = traps(Vector.DB, dr6_set=BS, dr6_clear=BREAKPOINTS | BD)
HIT = traps(Vector.DB, dr6_set=B0, dr6_clear=B1_TO_B3 | BS | BD)
RTM_AND_BLD = 0x1_0800  # writable where the guest has these features, and 1 otherwise

CODE, DATA, HOLE = At("kernel_code"), At("kernel_data"), 0xD_0000


def breakpoint_at(address: At, on: BreakOn, length: BreakLength = BreakLength.ONE) -> tuple[Set, Set]:
    return dr(0, address), dr(7, int(DR7_RESET.but(l0=1, rw0=on, len0=length)))


def instruction_hit(at: int, **more: Any) -> Expect:
    return faults(Vector.DB, at=at, flags_set=0, flags_clear=RF, dr6_set=B0, dr6_clear=B1_TO_B3 | BS | BD, **more)


X, W, RW = BreakOn.EXECUTE, BreakOn.WRITE, BreakOn.ACCESS
GENERAL_DETECT = (dr(7, int(DR7_RESET.but(gd=1))),)
KNOWN = (mem64(DATA, 0x1122_3344_5566_7788),)
ON_DATA = {"rbx": DATA, "rax": 0x99}
STORED = 0x1122_3344_5566_7799
LONG64, PROT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.REAL16

# fmt: off
CASES = (
    row("trap.db.tf_nop.real16",   "TF: #DB after one instruction in real mode",        REAL16, NOP,    STEPPED, flags=TF, priority=2),
    row("trap.db.tf_nop.prot32",   "TF: #DB after one instruction in protected mode",   PROT32, NOP,    STEPPED, flags=TF, priority=2),
    row("trap.db.tf_nop.long64",   "TF: #DB after one instruction in 64-bit mode",      LONG64, NOP,    traps(Vector.DB, dr6_set=BS, dr6_clear=BREAKPOINTS, flags_set=TF), flags=TF),
    row("trap.db.tf_nop.ring3",    "TF: #DB after one instruction at CPL 3",            LONG64, NOP,    STEPPED, flags=TF, ring=3, priority=2),
    row("trap.db.tf_popf.long64",  "POPF that sets TF is not stepped itself",           LONG64, (PUSH_TF, POPFQ, NOP), STEPPED),
    row("trap.db.tf_movss.long64", "MOV SS holds the #DB back for one instruction",     LONG64, (MOV_SS, NOP), STEPPED, flags=TF, regs={"rax": 0x10}),
    row("trap.db.tf_fault.long64", "A fault comes instead of the step, TF saved",       LONG64, UD2,    faults(Vector.UD, flags_set=RF | TF, handler_flags_clear=Rflags.tf.mask), flags=TF, priority=2),
    row("trap.db.tf_cpuid.long64", "CPUID is stepped",                                  LONG64, CPUID,  traps(Vector.DB, dr6_set=BS, dr6_clear=BREAKPOINTS, keeps=False), flags=TF),
    row("trap.db.tf_pio.long64",   "OUT to the monitor is stepped, and goes out once",  LONG64, OUT,    traps(Vector.DB, dr6_set=BS, dr6_clear=BREAKPOINTS, accesses=(Access("pio", 0x80, 1, True, 0x5A),)), flags=TF, regs={"rax": 0x5A}),
    row("trap.db.tf_mmio.long64",  "A store to the monitor is stepped, and goes out once", LONG64, STORE_HOLE, traps(Vector.DB, dr6_set=BS, dr6_clear=BREAKPOINTS, accesses=(Access("mmio", HOLE, 4, True, 0x1234_5678),)), flags=TF, regs={"rbx": HOLE, "rax": 0x1234_5678}),

    row("trap.db.x_bp.long64",     "An instruction breakpoint hits before it",          LONG64, (NOP, NOP), instruction_hit(1), sets=breakpoint_at(CODE + 1, X)),
    row("trap.db.x_bp_off.long64", "DR0 without DR7.L0 breaks nothing",                 LONG64, (NOP, NOP), completes(), sets=(dr(0, CODE + 1), dr(7, int(DR7_RESET)))),
    row("trap.db.x_bp_rf.long64",  "RF skips the breakpoint once, and only once",       LONG64, LOOP,       instruction_hit(0, regs={"rcx": 1}), flags=2 | RF, regs={"rcx": 2}, sets=breakpoint_at(CODE, X)),
    row("trap.db.w1.long64",       "A write breakpoint hits after the store",           LONG64, STORE8,     traps(Vector.DB, dr6_set=B0, dr6_clear=B1_TO_B3 | BS, memory={DATA: STORED}), regs=ON_DATA, sets=(*KNOWN, *breakpoint_at(DATA, W))),
    row("trap.db.w_next.long64",   "A write breakpoint of one byte spares the next",    LONG64, STORE8_NEXT, completes(memory={DATA: 0x1122_3344_5566_9988}), regs=ON_DATA, sets=(*KNOWN, *breakpoint_at(DATA, W))),
    row("trap.db.w4.long64",       "A write breakpoint of four bytes ends there",       LONG64, (STORE8_4, STORE8_NEXT), HIT, regs=ON_DATA, sets=breakpoint_at(DATA, W, BreakLength.FOUR), priority=2),
    row("trap.db.w_noread.long64", "A write breakpoint spares loads",                   LONG64, LOAD8,      completes(regs={"rax": 0x88}), regs=ON_DATA, sets=(*KNOWN, *breakpoint_at(DATA, W)), priority=2),
    row("trap.db.rw_read.long64",  "An access breakpoint hits after a load",            LONG64, LOAD8,      traps(Vector.DB, dr6_set=B0, dr6_clear=B1_TO_B3 | BS, regs={"rax": 0x88}), regs=ON_DATA, sets=(*KNOWN, *breakpoint_at(DATA, RW))),
    row("trap.db.bs_plus_b0.long64", "Step and breakpoint make one #DB",                LONG64, STORE8,     traps(Vector.DB, dr6_set=B0 | BS, dr6_clear=B1_TO_B3 | BD), flags=TF, regs=ON_DATA, sets=breakpoint_at(DATA, W)),

    row("trap.db.gd.long64",       "GD: MOV from a debug register raises #DB before it", LONG64, FROM_DR0,  faults(Vector.DB, flags_set=0, dr6_set=BD, dr6_clear=BREAKPOINTS | BS), sets=GENERAL_DETECT),
    row("trap.db.gd_write.long64", "GD: MOV to DR7 raises #DB before it",               LONG64, TO_DR7,     faults(Vector.DB, flags_set=0, dr6_set=BD, dr6_clear=BREAKPOINTS | BS), sets=GENERAL_DETECT, regs={"rax": 0x400}, priority=2),
    row("trap.db.dr6_reset.long64", "DR6 has bits that stay 1",                         LONG64, (TO_DR6, FROM_DR6), completes(regs={"rax": int(DR6_RESET)}), regs={"rax": RTM_AND_BLD}),
    row("trap.db.dr7_reset.long64", "DR7 has a bit that stays 1",                       LONG64, (CLEAR_RAX, TO_DR7, FROM_DR7), completes(regs={"rax": int(DR7_RESET)})),
    row("trap.db.dr6_hi_gp.long64", "DR6 refuses bits 63:32 with #GP(0)",               LONG64, TO_DR6,     faults(Vector.GP, 0), regs={"rax": 1 << 32}, priority=2),
    row("trap.db.dr7_hi_gp.long64", "DR7 refuses bits 63:32 with #GP(0)",               LONG64, TO_DR7,     faults(Vector.GP, 0), regs={"rax": 1 << 32 | 0x400}, priority=2),
    row("trap.db.dr0_hi_ok.long64", "DR0 keeps 64 bits",                                LONG64, (TO_DR0, CLEAR_RAX, FROM_DR0), completes(regs={"rax": 0xFFFF_8123_4567_89AB}), regs={"rax": 0xFFFF_8123_4567_89AB}, priority=2),
)
# fmt: on
