"""Single step: with RFLAGS.TF set when an instruction begins, #DB follows it, a trap with DR6.BS.

The instruction that sets TF (POPF, IRET) is not stepped; a delivery clears TF and saves it, so the handler of INT n is
not stepped, and its IRET starts stepping anew.  For SYSCALL it is TF as it leaves it that counts: IA32_FMASK may
clear it, else the first #DB is at its target.  MOV SS holds the #DB back for one more instruction, STI does not.  REP steps each iteration; until the last the
saved instruction pointer is that of REP.  With BTF of IA32_DEBUGCTL only branches that are taken are stepped, and the #DB
clears BTF.  An instruction that the hypervisor emulates is stepped like any other.

KVM loses the step of a store that the monitor completes (its emulator does not return to it after the exit), so
trap.db.tf_mmio fails on every KVM known so far.
"""

from typing import Any

from virtproof.conformance.case import (
    RF,
    At,
    Expect,
    Insn,
    Set,
    completes,
    family,
    faults,
    mmio_write,
    msr,
    pio_out,
    traps,
)
from virtproof.conformance.handlers import handled
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Efer
from virtproof.spec.x86.debug import Dr6
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Debugctl, Msr

row = family(
    "traps",
    sdm("3B", "Debug, Branch Profile, TSC, ..., 'Single-Step Exception Condition'"),
    sdm("3B", "Debug, Branch Profile, TSC, ..., 'Single-Stepping on Branches'"),
    apm(2, "Software-Debug Resources, 'Single Stepping'"),
)

NOP = Insn("90", "nop")
UD2 = Insn("0f 0b", "ud2")
CPUID = Insn("0f a2", "cpuid")
MOV_SS = Insn("8e d0", "mov ss, eax")
PUSH_TF = Insn("68 02 01 00 00", "push 0x102")
POPFQ = Insn("9d", "popfq")
OUT = Insn("e6 80", "out 0x80, al")
STORE_HOLE = Insn("89 03", "mov dword ptr [rbx], eax")
STI = Insn("fb", "sti")
INT_80, IRETQ = Insn("cd 80", "int 0x80"), Insn("48 cf", "iretq")
SYSCALL = Insn("0f 05", "syscall")
RDMSR = Insn("0f 32", "rdmsr")
REP_MOVSB = Insn("f3 a4", "rep movsb byte ptr [rdi], byte ptr [rsi]")
JMP_NEXT = Insn("eb 00", "jmp 4")
# IRETQ to the NOP behind it, with TF.
TO_NOP = (Insn("6a 10", "push 0x10"), Insn("41 53", "push r11"), PUSH_TF, Insn("6a 08", "push 8"), Insn("41 52", "push r10"), IRETQ, NOP, NOP)  # fmt: skip
TO_NOP_REGS = {"r10": At("kernel_code", 15), "r11": At("kernel_stack_top")}

TF, IF = 2 | Rflags.tf.mask, Rflags.if_.mask
BS, BD = Dr6.bs.mask, Dr6.bd.mask
BREAKPOINTS = Dr6.b0.mask | Dr6.b1.mask | Dr6.b2.mask | Dr6.b3.mask


def stepped(**more: Any) -> Expect:
    return traps(Vector.DB, dr6_set=BS, dr6_clear=BREAKPOINTS | BD, **more)


STEPPED = stepped()
HOLE = 0xD_0000

DATA, TOP = At("kernel_data"), At("kernel_stack_top")


def copying(count: int) -> dict[str, Any]:
    return {"regs": {"rcx": count, "rsi": DATA, "rdi": DATA + 0x10}, "flags": TF}


def copied(left: int) -> dict[str, Any]:
    return {"rcx": left, "rsi": DATA + 1, "rdi": DATA + 0x11}


# SYSCALL goes on behind itself.
SCE = msr(Msr.IA32_EFER, int(INITIAL[Mode.LONG64].efer | Efer.sce.mask))
TO_RING_0 = (SCE, msr(Msr.IA32_STAR, 0x08 << 32))


def calls(code: str, mask: int) -> tuple[Set, ...]:
    return (*TO_RING_0, msr(Msr.IA32_LSTAR, At(code, 2)), msr(Msr.IA32_FMASK, mask))


def called(code: str) -> dict[str, Any]:
    return {"rcx": At(code, 2), "r11": TF}


PAT = 0x0007_0406_0007_0406
READ_PAT = {"rax": PAT & 0xFFFF_FFFF, "rdx": PAT >> 32}
BRANCHES = (msr(Msr.IA32_DEBUGCTL, int(Debugctl(0).but(btf=1))),)
# The handler, behind the branch, reads IA32_DEBUGCTL.
THEN_READS = (NOP, NOP, JMP_NEXT, Insn("b9 d9 01 00 00", "mov ecx, 0x1d9"), RDMSR)
CLEARED = completes(
    regs={"rax": 0, "rdx": 0, "rcx": Msr.IA32_DEBUGCTL, "rsp": TOP + -40}, memory={TOP + -40: At("kernel_code", 4)}
)

LONG64, COMPAT32, PROT32, REAL16 = Mode.LONG64, Mode.COMPAT32, Mode.PROT32, Mode.REAL16

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
    row("trap.db.tf_pio.long64",   "OUT to the monitor is stepped, and goes out once",  LONG64, OUT,    traps(Vector.DB, dr6_set=BS, dr6_clear=BREAKPOINTS, accesses=(pio_out(0x80, 1, 0x5A),)), flags=TF, regs={"rax": 0x5A}),
    row("trap.db.tf_mmio.long64",  "A store to the monitor is stepped, and goes out once", LONG64, STORE_HOLE, traps(Vector.DB, dr6_set=BS, dr6_clear=BREAKPOINTS, accesses=(mmio_write(HOLE, 4, 0x1234_5678),)), flags=TF, regs={"rbx": HOLE, "rax": 0x1234_5678}),
    row("trap.db.tf_nop.compat32", "TF: #DB after one instruction in compatibility mode", COMPAT32, NOP, STEPPED, flags=TF, priority=2),
    row("trap.db.tf_iret.long64",  "IRET that sets TF is not stepped itself",           LONG64, TO_NOP, stepped(at=6, rsp=At("kernel_stack_top")), regs=TO_NOP_REGS),
    row("trap.db.tf_int.long64",   "INT n is not stepped, nor its handler; what IRET returns to is", LONG64, (INT_80, NOP, NOP, IRETQ), stepped(at=1, flags_set=TF), flags=TF, sets=handled(0x80, 4), priority=2),
    row("trap.db.tf_sti.long64",   "STI is stepped: it holds interrupts back, not #DB", LONG64, (STI, NOP), stepped(at=0, flags_set=TF | IF), flags=TF, priority=2),
    row("trap.db.tf_rep.long64",   "REP MOVSB is stepped after one iteration, at itself", LONG64, REP_MOVSB, Expect(vector=Vector.DB, at=0, dr6_set=BS, dr6_clear=BREAKPOINTS | BD, regs=copied(2)), **copying(3), priority=2),
    row("trap.db.tf_rep.long64.last", "... and after the last one behind itself",       LONG64, REP_MOVSB, stepped(regs=copied(0)), **copying(1), priority=2),
    row("trap.db.tf_syscall.long64", "SYSCALL with FMASK.TF = 0: #DB at its target, ring 0", LONG64, SYSCALL, stepped(regs=called("user_code"), cs=0x08, ss=0x10), ring=3, flags=TF, sets=calls("user_code", 0), priority=2),
    row("trap.db.tf_syscall_mask.long64", "SYSCALL with FMASK.TF = 1 ends stepping, R11 has TF", LONG64, (SYSCALL, NOP), completes(regs=called("kernel_code")), flags=TF, sets=calls("kernel_code", Rflags.tf.mask), priority=2),
    row("trap.db.tf_rdmsr.long64", "RDMSR is stepped",                                  LONG64, RDMSR, stepped(regs=READ_PAT), flags=TF, regs={"rcx": Msr.IA32_PAT}, sets=(msr(Msr.IA32_PAT, PAT),), priority=2),
    row("trap.db.tf_wrmsr_btf.long64", "BTF: the branch is stepped, and nothing before it", LONG64, (NOP, NOP, JMP_NEXT, NOP), stepped(at=2), flags=TF, sets=BRANCHES, priority=2),
    row("trap.db.tf_wrmsr_btf.long64.cleared", "BTF: the #DB clears it",                LONG64, THEN_READS, CLEARED, flags=TF, sets=(*BRANCHES, *handled(Vector.DB, 4)), priority=2),
)
# fmt: on
