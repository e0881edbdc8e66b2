"""RF: instruction breakpoints are ignored for one instruction.

A fault is saved with RF = 1, so that the instruction can be begun anew without hitting its own breakpoint; IRET puts RF
back, and the next instruction completes with it.  Every other row about a fault judges the saved RF as well.
"""

from virtproof.conformance.case import RF, At, Insn, dr, family, faults, traps
from virtproof.conformance.handlers import handled
from virtproof.conformance.window import WINDOW
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.debug import DR7_RESET
from virtproof.spec.x86.exception import Vector

row = family(
    "traps",
    sdm("3B", "Debug, Branch Profile, TSC, ..., 'Debug Exceptions'"),
    sdm("1", "Basic Execution Environment, 'System Flags and IOPL Field': RF"),
    apm(2, "System Resources, 'RFLAGS Register': Resume Flag"),
)

UD2, NOP, INT_80 = Insn("0f 0b", "ud2"), Insn("90", "nop"), Insn("cd 80", "int 0x80")
LOAD = Insn("8b 03", "mov eax, dword ptr [rbx]")
# The handler steps over UD2; a breakpoint lies on the instruction that IRET returns to.
SKIPS = (UD2, NOP, INT_80, Insn("48 83 04 24 02", "add qword ptr [rsp], 2"), Insn("48 cf", "iretq"))
BREAK_ON_NOP = (dr(0, At("kernel_code", 2)), dr(7, int(DR7_RESET.but(l0=1))))

LONG64 = Mode.LONG64

# fmt: off
CASES = (
    row("trap.rf.ud.long64",        "#UD is saved with RF = 1",                        LONG64, UD2,   faults(Vector.UD, flags_set=RF), priority=2),
    row("trap.rf.gp.long64",        "#GP is saved with RF = 1",                        LONG64, LOAD,  faults(Vector.GP, 0, flags_set=RF), regs={"rbx": 1 << 63}, priority=2),
    row("trap.rf.pf.long64",        "#PF is saved with RF = 1",                        LONG64, LOAD,  faults(Vector.PF, 0, flags_set=RF, cr2=WINDOW), regs={"rbx": WINDOW}, priority=2),
    row("trap.gate.flag_rf.long64", "IRET restores RF: the breakpoint does not hit",   LONG64, SKIPS, traps(0x80, at=2), sets=(*handled(Vector.UD, 5), *BREAK_ON_NOP), priority=2),
)
# fmt: on
