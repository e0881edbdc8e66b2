"""Exceptions in real mode: the vector table, no error codes, and segments of 64 KiB.

A delivery pushes FLAGS, CS and IP, 6 bytes, and never an error code.  A word at offset 0xFFFF runs over the limit of its
segment and raises #GP, or #SS through SS; the saved IP is that of the instruction.

The vector table has a limit, as the IDT has.  A vector beyond it raises #GP; where 13 is beyond it too, #DF; where 8 is
as well, the processor shuts down.
"""

from virtproof.conformance.case import At, Expect, Insn, Set, family, faults, mem16, mem64, stops
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "traps",
    sdm("3B", "8086 Emulation, 'Real-Address Mode', 'Interrupt and Exception Handling'"),
    apm(2, "Exceptions and Interrupts, 'Real-Mode Interrupt Control Transfers'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_SHUTDOWN"),
)

LOAD_DS = Insn("a1 ff ff", "mov ax, word ptr [0xffff]")
LOAD_SS = Insn("36 a1 ff ff", "mov ax, word ptr ss:[0xffff]")
LIDT = Insn("0f 01 1f", "lidt [bx]")
INT_20 = Insn("cd 20", "int 0x20")

FRAME = At("kernel_stack_top", -6)


def vectors(count: int) -> tuple[Set, Set]:
    """What LIDT loads: a table of ``count`` vectors at 0."""
    return mem16(At("kernel_data"), max(4 * count - 1, 0)), mem64(At("kernel_data", 2), 0)


TABLE = {"rbx": At("kernel_data")}

REAL16 = Mode.REAL16

# fmt: off
CASES = (
    row("trap.real.gp_limit.real16",    "A word at DS:0xFFFF raises #GP",        REAL16, LOAD_DS, faults(Vector.GP, frame=FRAME), refs=("trap.real.no_errorcode.real16",), priority=2),
    row("trap.real.gp_limit_ss.real16", "A word at SS:0xFFFF raises #SS",        REAL16, LOAD_SS, faults(Vector.SS, frame=FRAME), priority=3),
    row("trap.real.ivt_limit.real16",   "A vector beyond the limit raises #GP",  REAL16, (LIDT, INT_20), faults(Vector.GP, frame=FRAME), regs=TABLE, sets=vectors(16), priority=2),
    row("trap.real.idt_limit_df.real16", "... #DF where 13 is beyond it too",    REAL16, (LIDT, INT_20), Expect(vector=Vector.DF, at=None, frame=FRAME), regs=TABLE, sets=vectors(10), priority=3),
    row("trap.real.idt_zero.real16",    "... shutdown where 8 is as well",       REAL16, (LIDT, INT_20), stops("shutdown"), regs=TABLE, sets=vectors(0), priority=2),
)
# fmt: on
