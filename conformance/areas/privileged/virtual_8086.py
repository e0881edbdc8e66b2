"""Virtual-8086 mode: real-mode addresses at CPL 3, watched by a monitor at CPL 0.

A segment's base is its selector times 16, its limit 64 KiB.  With CR4.VME = 0 and IOPL < 3, the instructions that touch
IF (CLI, STI, PUSHF, POPF, INT n, IRET) raise #GP(0); INT3 and INTO do not.  IN and OUT do not look at IOPL, they always
ask the I/O bitmap.  Privileged instructions raise #GP(0), those of protected mode alone (ARPL, LAR, LLDT, ...) #UD.

An exception leaves the mode: it clears VM, pushes GS, FS, DS, ES (which become null), SS, ESP, EFLAGS, CS and EIP
on the stack of ring 0, and the code segment of the gate must have DPL 0.

With CR4.VME = 1 a bitmap of 32 bytes just below the I/O bitmap says where INT n goes: a clear bit sends it through the
program's own vector table at linear 0.  With IOPL < 3, CLI and STI then act on VIF, and PUSHF shows VIF in the
place of IF and an IOPL of 3.  POPF and STI raise #GP(0) where IF would become set while VIP is.
"""

from virtproof.conformance.case import (
    RF,
    At,
    Expect,
    Insn,
    Part,
    Set,
    completes,
    cr4,
    family,
    faults,
    mem8,
    mem16,
    mem32,
    pio_in,
    traps,
)
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "privileged",
    sdm("3B", "8086 Emulation, 'Virtual-8086 Mode'"),
    sdm("3B", "8086 Emulation, 'Sensitive Instructions'"),
    apm(2, "Segmented Virtual Memory, 'Virtual-8086 Mode'"),
    ring=3,
    priority=2,
)
vme_row = family(
    "privileged",
    sdm("3B", "8086 Emulation, 'Interrupt and Exception Handling in Virtual-8086 Mode'"),
    apm(2, "Exceptions and Interrupts, 'Virtual Interrupts'"),
    ring=3,
    priority=2,
    requires=("vme",),
)

CLI, STI = Insn("fa", "cli"), Insn("fb", "sti")
PUSHF, POPF = Insn("9c", "pushf"), Insn("9d", "popf")
INT_20 = Insn("cd 20", "int 0x20")
IRET = Insn("cf", "iret")
INT3 = Insn("cc", "int3")
INTO = Insn("ce", "into")
HLT = Insn("f4", "hlt")
LGDT = Insn("0f 01 17", "lgdt [bx]")
MOV_CR0 = Insn("0f 20 c0", "mov eax, cr0")
SLDT, LAR, ARPL = Insn("0f 00 c0", "sldt ax"), Insn("0f 02 c3", "lar ax, bx"), Insn("63 d8", "arpl ax, bx")
IN = Insn("e4 80", "in al, 0x80")
UD2, NOP = Insn("0f 0b", "ud2"), Insn("90", "nop")
MOV_DS = Insn("8e d8", "mov ds, ax")
LOAD = Insn("8b 07", "mov ax, word ptr [bx]")
POP_AX = Insn("58", "pop ax")

IF, IOPL3, VM, VIF, VIP = (f.mask for f in (Rflags.if_, Rflags.iopl, Rflags.vm, Rflags.vif, Rflags.vip))
GP0 = faults(Vector.GP, 0, flags_set=VM | RF)
INT_GP0 = faults(Vector.GP, 0, flags_set=VM)
UD0 = faults(Vector.UD, flags_set=VM | RF, at=0)

DATA, RSP0 = At("user_data"), At("rsp0_top")
IN_ALLOWED = (mem8(At("io_bitmap", 0x80 // 8), 0xFE),)
PARAGRAPH_OF_DATA = 0xF00  # user_data: low.ld
LINEAR = {"rax": PARAGRAPH_OF_DATA, "rbx": 0x28}

# The frame of #UD after MOV to DS, from high to low: GS, FS; DS, ES; SS, ESP; EFLAGS, CS; EIP lies below.
FRAME = {
    RSP0 + -8: 0,
    RSP0 + -16: PARAGRAPH_OF_DATA << 32,
    RSP0 + -24: At("user_stack_top"),
    RSP0 + -32: (2 | VM | RF) << 32,
}

VME = cr4(on=Cr4.vme.mask)
# INT 0x20 by the program's own table: its vector leads to the UD2 behind the code, which is the row's end.
NEXT = 0xD002  # the offset, and the linear address, behind INT n: user_code of low.ld
OWN_VECTOR = mem32(At("ivt", 4 * 0x20), NEXT)  # segment 0
REDIRECTED = mem8(At("redirection_bitmap", 0x20 // 8), 0xFE)
PUSHED = At("user_stack_top", -6)


def by_own_table(flags: int) -> Expect:
    """INT n has pushed FLAGS, CS and IP, and gone through the table."""
    frame = Part("FLAGS, CS, IP on the stack", 0, 6, flags << 32 | NEXT, -1)
    return completes(flags_set=VM, regs={"rsp": PUSHED}, memory={PUSHED: (frame,)})


VM86 = Mode.VM86


def vme(*more: Set) -> tuple[Set, ...]:
    return (VME, *more)


# fmt: off
CASES = (
    row("priv.vm86.cli_iopl0",     "CLI with IOPL 0",                          VM86, CLI,     GP0, flags=2 | IF, priority=2),
    row("priv.vm86.sti_iopl0",     "STI with IOPL 0",                          VM86, STI,     GP0, priority=3),
    row("priv.vm86.pushf_iopl0",   "PUSHF with IOPL 0",                        VM86, PUSHF,   GP0, priority=3),
    row("priv.vm86.popf_iopl0",    "POPF with IOPL 0",                         VM86, POPF,    GP0, priority=3),
    row("priv.vm86.int_iopl0",     "INT n with IOPL 0",                        VM86, INT_20,  INT_GP0, priority=2),
    row("priv.vm86.iret_iopl0",    "IRET with IOPL 0",                         VM86, IRET,    GP0, priority=3),
    row("priv.vm86.cli_iopl3",     "CLI with IOPL 3 clears IF",                VM86, CLI,     completes(flags_set=VM | IOPL3, flags_clear=IF), flags=2 | IF | IOPL3),
    row("priv.vm86.hlt",           "HLT",                                      VM86, HLT,     GP0, flags=2 | IOPL3, priority=3),
    row("priv.vm86.lgdt",          "LGDT",                                     VM86, LGDT,    GP0, flags=2 | IOPL3, regs={"rbx": DATA}, priority=3),
    row("priv.vm86.mov_cr",        "MOV from CR0",                             VM86, MOV_CR0, GP0, flags=2 | IOPL3, priority=3),
    row("priv.vm86.sldt",          "SLDT: #UD",                                VM86, (SLDT, NOP), UD0, priority=3),
    row("priv.vm86.lar",           "LAR: #UD",                                 VM86, (LAR, NOP), UD0, priority=3),
    row("priv.vm86.arpl",          "ARPL: #UD",                                VM86, (ARPL, NOP), UD0, priority=3),
    row("priv.vm86.int3",          "INT3 does not look at IOPL",               VM86, INT3,    traps(Vector.BP, flags_set=VM), priority=3),
    row("priv.vm86.into",          "INTO does not look at IOPL",               VM86, INTO,    traps(Vector.OF, flags_set=VM), flags=0x802),
    row("priv.vm86.in_bitmap",     "IN asks the I/O bitmap though IOPL is 3",  VM86, IN,      faults(Vector.GP, 0, accesses=()), flags=2 | IOPL3, priority=3),
    row("priv.vm86.in_allowed",    "IN with a clear bit, though IOPL is 0",    VM86, IN,      completes(regs={"rax": 0x0101_01FF}, accesses=(pio_in(0x80, 1, 0xFF),)), sets=IN_ALLOWED),
    row("priv.vm86.seg",           "A base is the selector times 16",          VM86, (MOV_DS, LOAD), completes(regs={"rax": 0x1234}), regs=LINEAR, sets=(mem16(At("user_data", 0x28), 0x1234),), priority=2),
    row("priv.vm86.limit",         "A word at offset 0xFFFF",                  VM86, LOAD,    faults(Vector.GP, 0), regs={"rbx": 0xFFFF}, priority=3),
    row("priv.vm86.frame",         "The frame on the stack of ring 0",         VM86, (MOV_DS, UD2, NOP), faults(Vector.UD, at=1, cs=0, ss=0, frame=RSP0 + -36, handler_flags_clear=VM, handler_ss=0x10, memory=FRAME), regs=LINEAR, priority=2),
    row("priv.vm86.int_iopl3",     "INT n with IOPL 3, a gate of DPL 3",       VM86, Insn("cd 80", "int 0x80"), traps(0x80, frame=RSP0 + -36), flags=2 | IOPL3),
    row("priv.vm86.int_dpl",       "INT n with IOPL 3, a gate of DPL 0",       VM86, INT_20,  faults(Vector.GP, 0x20 * 8 + 2, flags_set=VM), flags=2 | IOPL3),

    vme_row("priv.vm86.vme_redirect", "INT n by the program's own table",      VM86, INT_20,  by_own_table(2 | IOPL3 | IF), flags=2 | IOPL3 | IF, sets=vme(OWN_VECTOR, REDIRECTED), priority=3),
    vme_row("priv.vm86.vme_redirect_vif", "... with IOPL 0: IF pushed is VIF", VM86, INT_20,  by_own_table(2 | IOPL3 | IF), flags=2 | VIF, sets=vme(OWN_VECTOR, REDIRECTED)),
    vme_row("priv.vm86.vme_monitor",  "INT n with its bit set, IOPL 0: #GP",   VM86, INT_20,  INT_GP0, sets=vme(OWN_VECTOR)),
    vme_row("priv.vm86.vme_off",      "... and with VME off again",            VM86, INT_20,  INT_GP0, sets=vme(OWN_VECTOR, REDIRECTED, cr4())),
    vme_row("priv.vm86.vme_cli",      "CLI clears VIF and leaves IF",          VM86, CLI,     completes(flags_set=VM | IF, flags_clear=VIF), flags=2 | IF | VIF, sets=(VME,), priority=3),
    vme_row("priv.vm86.vme_sti",      "STI sets VIF and leaves IF",            VM86, STI,     completes(flags_set=VM | VIF, flags_clear=IF), sets=(VME,)),
    vme_row("priv.vm86.vme_sti_vip",  "STI while an interrupt is pending",     VM86, STI,     faults(Vector.GP, 0, flags_set=VM | VIP, flags_clear=VIF), flags=2 | VIP, sets=(VME,)),
    vme_row("priv.vm86.vme_pushf",    "PUSHF shows VIF as IF, and IOPL 3",     VM86, (PUSHF, POP_AX), completes(regs={"rax": 0x0101_0000 | 2 | IF | IOPL3}), flags=2 | VIF, sets=(VME,), priority=3),
)
# fmt: on
