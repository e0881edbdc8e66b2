"""Rings 1 and 2: not privileged, and yet not the user.

Privileged instructions ask for CPL 0, so that rings 1 and 2 get #GP(0) as ring 3 does.  I/O and IF ask for CPL <= IOPL.
Paging knows two levels only: rings 0 to 2 are the supervisor, ring 3 is the user.

An exception at ring 1 or 2 that goes to a handler of ring 0 takes SS0:ESP0, or RSP0 in 64-bit mode, where SS becomes null.
A gate to ring 1 takes the stack of ring 1 from the TSS.
"""

from virtproof.conformance.case import RF, At, Insn, Set, completes, cr0, family, faults, mem16, pio_in
from virtproof.conformance.window import FRAME, WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr

row = family(
    "privileged",
    sdm("3A", "Protection, 'Privileged Instructions'"),
    apm(2, "System Instructions, 'System-Management Instructions'"),
    expect=faults(Vector.GP, 0, accesses=()),
    priority=3,  # no system of today uses rings 1 and 2
)
access = family(
    "paging",
    sdm("3A", "Paging, 'Access Rights'"),
    apm(2, "Page Translation and Protection, 'Page-Protection Checks'"),
    priority=3,  # no system of today uses rings 1 and 2
)
stack = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Exception- or Interrupt-Handler Procedures'"),
    sdm("3A", "Interrupt and Exception Handling, 'Stack Switching in IA-32e Mode'"),
    apm(2, "Exceptions and Interrupts, 'Interrupt To Higher Privilege'"),
    priority=3,  # no system of today uses rings 1 and 2
)

LONG64, PROT32 = Mode.LONG64, Mode.PROT32

LGDT, INVLPG = Insn("0f 01 13", "lgdt [rbx]"), Insn("0f 01 3b", "invlpg byte ptr [rbx]")
CLTS, HLT, CLI, RDMSR = Insn("0f 06", "clts"), Insn("f4", "hlt"), Insn("fa", "cli"), Insn("0f 32", "rdmsr")
MOV_CR3, WRMSR, SWAPGS = Insn("0f 22 d8", "mov cr3, rax"), Insn("0f 30", "wrmsr"), Insn("0f 01 f8", "swapgs")
IN = Insn("e4 80", "in al, 0x80")
INT_80 = Insn("cd 80", "int 0x80")
UD2, NOP = Insn("0f 0b", "ud2"), Insn("90", "nop")
LOAD = Insn("48 8b 03", "mov rax, qword ptr [rbx]")
STORE = Insn("48 89 03", "mov qword ptr [rbx], rax")

EFER = {"rcx": Msr.IA32_EFER}
DATA, RSP0, RSP1, KERNEL = {"rbx": At("kernel_data")}, At("rsp0_top"), At("rsp1_top"), At("kernel_stack_top")
TS = (cr0(on=Cr0.ts.mask),)
IF = Rflags.if_.mask
IOPL1, IOPL2 = 0x1000, 0x2000
FROM_1_64 = {RSP0 + -8: 0x91, RSP0 + -16: KERNEL, RSP0 + -24: 2 | RF, RSP0 + -32: 0x89}
FROM_2_64 = {RSP0 + -8: 0xA2, RSP0 + -16: KERNEL, RSP0 + -24: 2 | RF, RSP0 + -32: 0x9A}
PAGE = {"regs": {"rax": 7, "rbx": WINDOW}}


def to_ring1(gate: At) -> tuple[Set, ...]:
    """Let a gate lead behind INT n, in the code segment of ring 1; bits 31:16 of the address stay 0."""
    return mem16(gate, NEXT), mem16(gate + 2, 0x88), mem16(gate + 6, 1)


NEXT = 0xC002  # bits 15:0 of the address behind INT n at user_code: trampoline.ld
AT_RING1_32 = completes(
    cs=0x89, ss=0x91, rsp=RSP1 + -20, regs={"rsp": RSP1 + -20}, memory={RSP1 + -20: At("user_code", 2 + (0x23 << 32))}
)
AT_RING1_64 = completes(
    cs=0x89, ss=1, rsp=RSP1 + -40, regs={"rsp": RSP1 + -40},
    memory={RSP1 + -8: 0x2B, RSP1 + -16: At("user_stack_top"), RSP1 + -32: 0x33, RSP1 + -40: At("user_code", 2)},
)  # fmt: skip


# fmt: off
CASES = (
    row("priv.lgdt.cpl1.long64",   "LGDT at CPL 1",               LONG64, LGDT,    regs=DATA, ring=1),
    row("priv.clts.cpl1.long64",   "CLTS at CPL 1",               LONG64, CLTS,    ring=1, sets=TS),
    row("priv.hlt.cpl1.long64",    "HLT at CPL 1",                LONG64, HLT,     ring=1),
    row("priv.rdmsr.cpl1.long64",  "RDMSR at CPL 1",              LONG64, RDMSR,   regs=EFER, ring=1),
    row("priv.mov_to_cr3.cpl1.long64", "MOV to CR3 at CPL 1",     LONG64, MOV_CR3, regs={"rax": At("pml4")}, ring=1),
    row("priv.invlpg.cpl1.long64", "INVLPG at CPL 1",             LONG64, INVLPG,  regs=DATA, ring=1),
    row("priv.wrmsr.cpl1.long64",  "WRMSR at CPL 1",              LONG64, WRMSR,   regs={"rcx": Msr.IA32_SYSENTER_CS, "rax": 0, "rdx": 0}, ring=1),
    row("priv.swapgs.cpl1.long64", "SWAPGS at CPL 1",             LONG64, SWAPGS,  ring=1),
    row("priv.cli.cpl1.long64",    "CLI at CPL 1 with IOPL 0",    LONG64, CLI,     ring=1),
    row("priv.cli.iopl2.cpl2.long64", "CLI at CPL 2 with IOPL 2 clears IF", LONG64, CLI, completes(flags_set=IOPL2, flags_clear=IF), ring=2, flags=2 | IF | IOPL2),
    row("priv.io.iopl1_cpl1.long64", "IN at CPL 1 with IOPL 1",   LONG64, IN,      completes(regs={"rax": 0x0101_0101_0101_01FF}, accesses=(pio_in(0x80, 1, 0xFF),)), ring=1, flags=2 | IOPL1),

    access("pg.acc.ring1_supervisor.long64", "CPL 1 may read a page of the supervisor", LONG64, LOAD,  completes(regs={"rax": 9}), ring=1, regs={"rbx": WINDOW}, sets=(maps(page()),), fill={FRAME: 9}),
    access("pg.acc.ring2_wp.long64",    "CPL 2 is bound by CR0.WP",    LONG64, STORE,   faults(Vector.PF, 3, cr2=WINDOW), ring=2, sets=(maps(page(write=False)),), **PAGE),

    stack("trap.stack.ring1.prot32", "From ring 1: 20 bytes on SS0:ESP0",  PROT32, (UD2, NOP), faults(Vector.UD, at=0, frame=RSP0 + -20, cs=0x89, ss=0x91, rsp=KERNEL, handler_ss=0x10), ring=1, priority=2),
    stack("trap.stack.ring2.prot32", "From ring 2: 20 bytes on SS0:ESP0",  PROT32, (UD2, NOP), faults(Vector.UD, at=0, frame=RSP0 + -20, cs=0x9A, ss=0xA2, rsp=KERNEL, handler_ss=0x10), ring=2),
    stack("trap.stack.ring1.long64", "From ring 1: frame at RSP0, SS null", LONG64, (UD2, NOP), faults(Vector.UD, at=0, frame=RSP0 + -40, handler_ss=0, memory=FROM_1_64), ring=1),
    stack("trap.stack.ring2.long64", "From ring 2: frame at RSP0, SS null", LONG64, (UD2, NOP), faults(Vector.UD, at=0, frame=RSP0 + -40, handler_ss=0, memory=FROM_2_64), ring=2),
    stack("trap.stack.to_ring1.prot32",  "INT n from ring 3 to ring 1: SS1:ESP1", PROT32, INT_80, AT_RING1_32, ring=3, sets=to_ring1(At("idt", 8 * 0x80))),
    stack("trap.stack.to_ring1.long64",  "INT n from ring 3 to ring 1: RSP1, SS null with RPL 1", LONG64, INT_80, AT_RING1_64, ring=3, sets=to_ring1(At("idt", 16 * 0x80))),
)
# fmt: on
