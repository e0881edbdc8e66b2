"""Divide errors: DIV and IDIV raise #DE where the divisor is 0 or the quotient does not fit.

#DE is a fault: the saved instruction pointer is that of the division with its prefixes, no error code is pushed, and
RF is set in the saved flags.  Dividend and divisor keep their values, so that a handler can repeat the division.
"""

from virtproof.conformance.case import Insn, family, faults
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 0-Divide Error Exception (#DE)'"),
    apm(2, "Exceptions and Interrupts, '#DE-Divide-by-Zero-Error Exception (Vector 0)'"),
    expect=faults(Vector.DE),
)

DIV32 = Insn("f7 f3", "div ebx")
DIV32_REAL = Insn("66 f7 f3", "div ebx")
IDIV32 = Insn("f7 fb", "idiv ebx")
DIV64_PREFIXED = Insn("66 2e 48 f7 f3", "div rbx")

BY_ZERO = {"rax": 1, "rdx": 0, "rbx": 0}
TOO_LARGE = {"rax": 0, "rdx": 1, "rbx": 1}  # 2^32 / 1
MOST_NEGATIVE = {"rax": 0x8000_0000, "rdx": 0xFFFF_FFFF, "rbx": 0xFFFF_FFFF}  # -2^31 / -1

LONG64, PROT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.REAL16

# fmt: off
CASES = (
    row("trap.de.div_zero.real16",   "DIV by 0 raises #DE in real mode",               REAL16, DIV32_REAL,     regs=BY_ZERO, proves=("unrestricted_guest",)),
    row("trap.de.div_zero.prot32",   "DIV by 0 raises #DE in protected mode",          PROT32, DIV32,          regs=BY_ZERO),
    row("trap.de.div_zero.long64",   "DIV by 0 raises #DE in 64-bit mode",             LONG64, DIV32,          regs=BY_ZERO, proves=("kvm", "vmx", "svm")),
    row("trap.de.div_zero.ring3",    "DIV by 0 raises #DE at CPL 3",                   LONG64, DIV32,          regs=BY_ZERO, ring=3, proves=("kvm", "vmx", "svm")),
    row("trap.de.div_over32.long64", "DIV raises #DE where the quotient is too large", LONG64, DIV32,          regs=TOO_LARGE, priority=2),
    row("trap.de.idiv_min32.long64", "IDIV of the smallest number by -1 raises #DE",   LONG64, IDIV32,         regs=MOST_NEGATIVE, priority=2),
    row("trap.de.prefix_rip.long64", "The saved RIP is that of the first prefix",      LONG64, DIV64_PREFIXED, regs=BY_ZERO, priority=3),
)
# fmt: on
