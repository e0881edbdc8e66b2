"""Compatibility mode: 32-bit code under long mode, with the handlers, the paging and the gates of long mode.

Instructions decode as in 32-bit protected mode (40 to 4F are INC and DEC, BOUND and INTO exist), operands and addresses
have 32 bits and linear addresses wrap at 4 GiB.  Exceptions are delivered as from 64-bit mode: 40 bytes of frame, a stack
pointer aligned to 16 bytes, 64-bit gates.  A far jump to a code segment with L = 1 leads to 64-bit mode; there is
no virtual-8086 mode, and SWAPGS is no instruction.
"""

from virtproof.conformance.case import At, Insn, completes, cr0, family, faults, mem32, mem64, traps
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "modes",
    sdm("1", "Basic Execution Environment, 'Intel 64 Architecture'"),
    sdm("3A", "Interrupt and Exception Handling, 'Exception and Interrupt Handling in 64-bit Mode'"),
    apm(2, "Long-Mode Overview, 'Compatibility Mode'"),
)
trap = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Exception and Interrupt Handling in 64-bit Mode'"),
    apm(2, "Exceptions and Interrupts, 'Long-Mode Interrupt Control Transfers'"),
)
refused = family(
    "privileged",
    sdm("3A", "Protection, 'Privileged Instructions'"),
    apm(2, "System Instructions, 'System-Management Instructions'"),
    expect=faults(Vector.GP, 0, accesses=()),
    ring=3,
)

DIV, AAM = Insn("f7 f3", "div ebx"), Insn("d4 00", "aam 0")
UD2, NOP = Insn("0f 0b", "ud2"), Insn("90", "nop")
INT3, INTO, INT_80, INT1 = Insn("cc", "int3"), Insn("ce", "into"), Insn("cd 80", "int 0x80"), Insn("f1", "int1")
BOUND = Insn("62 03", "bound eax, qword ptr [ebx]")
DEC = Insn("48", "dec eax")
LOAD, LOAD_UP = Insn("8b 03", "mov eax, dword ptr [ebx]"), Insn("8b 43 20", "mov eax, dword ptr [ebx + 0x20]")
SWAPGS = Insn("0f 01 f8", "swapgs")
# 64-bit code begins behind the jump: DEC EAX there is the REX.W of DEC EBX's neighbour.
TO_64 = (Insn("ea 07 50 01 00 08 00", "ljmp 8:0x15007"), Insn("48", "dec eax"), Insn("ff c3", "inc ebx"))

KERNEL, RSP0, USER = At("kernel_stack_top"), At("rsp0_top"), At("user_stack_top")
BY_ZERO = {"rax": 1, "rdx": 0, "rbx": 0}
OF = Rflags.of.mask
PAIR = (mem64(At("kernel_data"), 1 | 4 << 32),)
UNMAPPED = {"rbx": 0x7000_0128}  # long64 maps 1 GiB
AROUND = {"rbx": 0xFFFF_FFF0}  # 0x20 above, at 0x10, lies the first page
COMPAT32 = Mode.COMPAT32

# fmt: off
CASES = (
    trap("trap.de.div_zero.compat32", "DIV by 0 raises #DE",                    COMPAT32, DIV, faults(Vector.DE, cs=0x18), regs=BY_ZERO),
    trap("trap.de.div_zero.compat32.ring3", "DIV by 0 raises #DE at CPL 3",     COMPAT32, DIV, faults(Vector.DE, cs=0x23, frame=RSP0 + -40, handler_ss=0), regs=BY_ZERO, ring=3),
    trap("trap.de.aam0.compat32",     "AAM with 0 raises #DE",                  COMPAT32, AAM, faults(Vector.DE), priority=2),
    trap("trap.ud.ud2.compat32",      "UD2 raises #UD",                         COMPAT32, (UD2, NOP), faults(Vector.UD, at=0, ss=0x10, rsp=KERNEL, frame=KERNEL + -40), priority=2),
    trap("trap.soft.int3.compat32",   "INT3",                                   COMPAT32, INT3, traps(Vector.BP), priority=2),
    trap("trap.soft.into.compat32",   "INTO with OF",                           COMPAT32, INTO, traps(Vector.OF), flags=2 | OF, priority=2),
    trap("trap.soft.int_n.compat32.ring3",  "INT n from CPL 3",                       COMPAT32, INT_80, traps(0x80, cs=0x23, ss=0x2B, rsp=USER), ring=3),
    trap("trap.soft.icebp.compat32",  "INT1",                                   COMPAT32, INT1, traps(Vector.DB), priority=2),
    trap("trap.br.bound.compat32",    "BOUND outside its limits raises #BR",    COMPAT32, BOUND, faults(Vector.BR), regs={"rax": 9, "rbx": At("kernel_data")}, sets=PAIR, priority=2),
    trap("trap.pf.compat32",          "#PF: CR2 has 32 bits of address",        COMPAT32, LOAD, faults(Vector.PF, 0, cr2=0x7000_0128), regs=UNMAPPED),
    trap("trap.pf.compat32.ring3",    "#PF at CPL 3",                           COMPAT32, LOAD, faults(Vector.PF, 4, cr2=0x7000_0128), regs=UNMAPPED, ring=3),
    row("mode.trans.compat_wrap",           "Addresses wrap at 4 GiB",                COMPAT32, LOAD_UP, completes(regs={"rax": 0x1234}), regs=AROUND, sets=(mem32(0x10, 0x1234),)),
    row("mode.trans.compat_dec",            "48 is DEC EAX, not a prefix",            COMPAT32, DEC, completes(regs={"rax": 0}), regs={"rax": 1}),
    row("mode.trans.compat_swapgs",         "SWAPGS raises #UD",                      COMPAT32, (SWAPGS, NOP), faults(Vector.UD, at=0)),
    row("mode.trans.compat_align",          "Delivery aligns RSP down to 16 bytes",   COMPAT32, INT3, traps(Vector.BP, frame=KERNEL + -56, rsp=KERNEL + -12), regs={"rsp": KERNEL + -12}),
    row("mode.trans.compat_to_long",  "A far jump to L = 1 leads to 64-bit mode", COMPAT32, TO_64, completes(cs=0x08, regs={"rax": 1, "rbx": 0}), regs={"rax": 1, "rbx": 0xFFFF_FFFF}),

    refused("priv.lgdt.cpl3.compat32",   "LGDT at CPL 3",         COMPAT32, Insn("0f 01 13", "lgdt [ebx]"), regs={"rbx": At("user_data")}, priority=2),
    refused("priv.clts.cpl3.compat32",   "CLTS at CPL 3",         COMPAT32, Insn("0f 06", "clts"), sets=(cr0(on=Cr0.ts.mask),), priority=2),
    refused("priv.mov_from_cr0.cpl3.compat32", "MOV from CR0 at CPL 3", COMPAT32, Insn("0f 20 c0", "mov eax, cr0"), priority=2),
    refused("priv.hlt.cpl3.compat32",    "HLT at CPL 3",          COMPAT32, Insn("f4", "hlt"), priority=2),
    refused("priv.cli.cpl3.compat32",    "CLI at CPL 3",          COMPAT32, Insn("fa", "cli"), priority=2),
    refused("priv.in_al.cpl3.compat32",  "IN at CPL 3",           COMPAT32, Insn("e4 80", "in al, 0x80"), priority=2),
)
# fmt: on
