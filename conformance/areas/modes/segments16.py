"""16-bit protected mode: operands, addresses and the stack pointer have 16 bits, limits are 64 KiB.

With SS.B = 0 the stack uses SP: it wraps at 64 KiB, and the upper half of ESP is kept.  With CS.D = 0 operands and addresses
have 16 bits, until a prefix says otherwise.  An access beyond the limit raises #GP(0), through SS #SS(0).  A 32-bit gate
serves 16-bit code: the frame has words of 32 bits.
"""

from virtproof.conformance.case import At, Insn, completes, family, faults, mem32, traps
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "modes",
    sdm("3A", "Mixing 16-Bit and 32-Bit Code, 'Defining 16-Bit and 32-Bit Program Modules'"),
    sdm("3A", "Protection, 'Limit Checking'"),
    apm(2, "Segmented Virtual Memory, 'Code-Segment Descriptors'"),
)

UD2, NOP = Insn("0f 0b", "ud2"), Insn("90", "nop")
INC, INC32 = Insn("40", "inc ax"), Insn("66 40", "inc eax")
LOAD = Insn("8b 07", "mov ax, word ptr [bx]")
LOAD32 = Insn("67 8b 03", "mov ax, word ptr [ebx]")
LOAD_UP = Insn("8b 47 20", "mov ax, word ptr [bx + 0x20]")
PUSH, POP = Insn("50", "push ax"), Insn("59", "pop cx")
LOAD_SS = Insn("36 8b 07", "mov ax, word ptr ss:[bx]")
DIV = Insn("f7 f3", "div bx")
INT_80 = Insn("cd 80", "int 0x80")
MOV_CR0 = Insn("0f 20 c0", "mov eax, cr0")

KERNEL, RSP0, DATA = At("kernel_stack_top"), At("rsp0_top"), At("kernel_data")
HIGH_ESP = {"rax": 0x5678, "rsp": KERNEL + 0x1234_0000}
AROUND = {"rbx": 0xFFF0}  # 0x20 above, at 0x10, lies the first page
PROT16 = Mode.PROT16

# fmt: off
CASES = (
    row("mode.trans.pm16_ud",        "#UD from 16-bit code, the same level: 12 bytes",  PROT16, (UD2, NOP), faults(Vector.UD, at=0, cs=0x68, ss=0x70, frame=KERNEL + -12, rsp=KERNEL)),
    row("mode.trans.pm16_ud_ring3",  "#UD from 16-bit code at CPL 3: SS0:ESP0",         PROT16, (UD2, NOP), faults(Vector.UD, at=0, cs=0x7B, ss=0x83, frame=RSP0 + -20, handler_ss=0x10), ring=3),
    row("mode.trans.pm16_de",        "DIV of 16 bits by 0 raises #DE",                  PROT16, DIV,     faults(Vector.DE), regs={"rax": 1, "rdx": 0, "rbx": 0x1_0000}),
    row("mode.trans.pm16_int",       "INT n at CPL 3 through a 32-bit gate",            PROT16, INT_80,  traps(0x80, frame=RSP0 + -20, rsp=At("user_stack_top")), ring=3),
    row("mode.trans.pm16_operand",   "Operands have 16 bits",                           PROT16, INC,     completes(regs={"rax": 0x1234_0000}), regs={"rax": 0x1234_FFFF}),
    row("mode.trans.pm16_operand32", "... with 66: 32 bits",                            PROT16, INC32,   completes(regs={"rax": 0x1235_0000}), regs={"rax": 0x1234_FFFF}),
    row("mode.trans.pm16_address",   "Offsets wrap at 64 KiB",                          PROT16, LOAD_UP, completes(regs={"rax": 0x0101_ABCD}), regs=AROUND, sets=(mem32(0x10, 0xABCD),)),
    row("mode.trans.pm16_limit",     "A word at offset 0xFFFF",                         PROT16, LOAD,    faults(Vector.GP, 0), regs={"rbx": 0xFFFF}),
    row("mode.trans.pm16_limit32",   "A 32-bit offset beyond 64 KiB",                   PROT16, LOAD32,  faults(Vector.GP, 0), regs={"rbx": 0x1_0000}),
    row("mode.trans.pm16_limit_ss",  "A word at SS:0xFFFF",                             PROT16, LOAD_SS, faults(Vector.SS, 0), regs={"rbx": 0xFFFF}),
    row("mode.trans.pm16",       "PUSH and POP use SP, the upper half of ESP is kept", PROT16, (PUSH, POP), completes(regs={"rcx": 0x0202_5678}), regs=HIGH_ESP, priority=2),
    row("mode.trans.pm16_wrap",      "SP wraps from 0 to 0xFFFE",                       PROT16, (PUSH, POP), completes(regs={"rcx": 0x0202_5678}), regs={"rax": 0x5678, "rsp": 0x1_0000}),
    row("mode.trans.pm16_cr0_ring3", "MOV from CR0 at CPL 3",                           PROT16, MOV_CR0, faults(Vector.GP, 0), ring=3),
)
# fmt: on
