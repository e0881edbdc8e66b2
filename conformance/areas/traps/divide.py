"""Divide errors: DIV and IDIV raise #DE where the divisor is 0 or the quotient does not fit.

#DE is a fault: the saved instruction pointer is that of the division with its prefixes, no error code is pushed, and
RF is set in the saved flags.  Dividend and divisor keep their values, so that a handler can repeat the division.  The
dividend has twice the divisor's size, AX for 8 bits and xDX:xAX else.  AAM divides AL by its immediate byte.  In real
mode FLAGS, CS and IP are pushed, 6 bytes, and the handler starts with IF and TF clear.
"""

from virtproof.conformance.case import At, Insn, family, faults
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 0-Divide Error Exception (#DE)'"),
    apm(2, "Exceptions and Interrupts, '#DE-Divide-by-Zero-Error Exception (Vector 0)'"),
    expect=faults(Vector.DE),
)

DIV8 = Insn("f6 f3", "div bl")
DIV16 = Insn("66 f7 f3", "div bx")
DIV32 = Insn("f7 f3", "div ebx")
DIV32_REAL = Insn("66 f7 f3", "div ebx")
DIV64 = Insn("48 f7 f3", "div rbx")
IDIV8 = Insn("f6 fb", "idiv bl")
IDIV32 = Insn("f7 fb", "idiv ebx")
IDIV64 = Insn("48 f7 fb", "idiv rbx")
AAM_0 = Insn("d4 00", "aam 0")
DIV64_PREFIXED = Insn("66 2e 48 f7 f3", "div rbx")

BY_ZERO = {"rax": 1, "rdx": 0, "rbx": 0}
TOO_LARGE = {"rax": 0, "rdx": 1, "rbx": 1}  # 2^size / 1
TOO_LARGE8 = {"rax": 0x100, "rbx": 1}
MOST_NEGATIVE = {"rax": 0x8000_0000, "rdx": 0xFFFF_FFFF, "rbx": 0xFFFF_FFFF}  # -2^31 / -1
MOST_NEGATIVE8 = {"rax": 0xFF80, "rbx": 0xFF}
MOST_NEGATIVE64 = {"rax": 1 << 63, "rdx": (1 << 64) - 1, "rbx": (1 << 64) - 1}

IF, TF = Rflags.if_.mask, Rflags.tf.mask
IN_REAL_MODE = faults(Vector.DE, frame=At("kernel_stack_top", -6), handler_flags_clear=IF | TF)

LONG64, PROT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.REAL16

# fmt: off
CASES = (
    row("trap.de.div_zero.real16",   "DIV by 0 raises #DE in real mode",               REAL16, DIV32_REAL,     regs=BY_ZERO, proves=("unrestricted_guest",)),
    row("trap.de.div_zero.prot32",   "DIV by 0 raises #DE in protected mode",          PROT32, DIV32,          regs=BY_ZERO),
    row("trap.de.div_zero.long64",   "DIV by 0 raises #DE in 64-bit mode",             LONG64, DIV32,          regs=BY_ZERO, proves=("kvm", "vmx", "svm")),
    row("trap.de.div_zero.ring3",    "DIV by 0 raises #DE at CPL 3",                   LONG64, DIV32,          regs=BY_ZERO, ring=3, proves=("kvm", "vmx", "svm")),
    row("trap.de.div_over32.long64", "DIV raises #DE where the quotient is too large", LONG64, DIV32,          regs=TOO_LARGE, priority=2),
    row("trap.de.idiv_min32.long64", "IDIV of the smallest number by -1 raises #DE",   LONG64, IDIV32,         regs=MOST_NEGATIVE, priority=2),
    row("trap.de.div_zero8.real16",  "DIV of 8 bits by 0, real mode: IF is clear in the handler", REAL16, DIV8, IN_REAL_MODE, regs=BY_ZERO, flags=2 | IF, priority=2),
    row("trap.de.div_zero8.long64",  "DIV of 8 bits by 0",                             LONG64, DIV8,           regs=BY_ZERO, priority=2),
    row("trap.de.div_zero16.long64", "DIV of 16 bits by 0",                            LONG64, DIV16,          regs=BY_ZERO, priority=2),
    row("trap.de.div_zero64.long64", "DIV of 64 bits by 0",                            LONG64, DIV64,          regs=BY_ZERO, priority=2),
    row("trap.de.div_over8.long64",  "DIV of 8 bits, quotient 100H",                   LONG64, DIV8,           regs=TOO_LARGE8, priority=2),
    row("trap.de.div_over16.long64", "DIV of 16 bits, quotient 10000H",                LONG64, DIV16,          regs=TOO_LARGE, priority=2),
    row("trap.de.div_over32.prot32", "DIV of 32 bits, quotient 2^32, protected mode",  PROT32, DIV32,          regs=TOO_LARGE, priority=2),
    row("trap.de.div_over64.long64", "DIV of 64 bits, quotient 2^64",                  LONG64, DIV64,          regs=TOO_LARGE, priority=2),
    row("trap.de.idiv_zero.long64",  "IDIV by 0",                                      LONG64, IDIV32,         regs=BY_ZERO, priority=2),
    row("trap.de.idiv_min8.long64",  "IDIV of -128 by -1",                             LONG64, IDIV8,          regs=MOST_NEGATIVE8, priority=2),
    row("trap.de.idiv_min64.long64", "IDIV of -2^63 by -1",                            LONG64, IDIV64,         regs=MOST_NEGATIVE64, priority=2),
    row("trap.de.aam0.real16",       "AAM with 0, real mode",                          REAL16, AAM_0,          IN_REAL_MODE, flags=2 | IF, priority=2),
    row("trap.de.aam0.prot32",       "AAM with 0, protected mode",                     PROT32, AAM_0,          priority=2),
    row("trap.de.prefix_rip.long64", "The saved RIP is that of the first prefix",      LONG64, DIV64_PREFIXED, regs=BY_ZERO, priority=3),
)
# fmt: on
