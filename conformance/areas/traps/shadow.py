"""A pending interrupt comes at the first instruction boundary where it may, and not before.

STI, when IF was 0, holds interrupts back for one more instruction, be it one that leaves the guest or HLT; a CLI there
closes the window unused.  POPF and IRET open the window at once, and so does lowering CR8.  An
exception of the held instruction comes first.

The interrupt is one that the guest has sent to itself, 40H; it waits in the local APIC when the code gets to the rule.
"""

from typing import Any

from virtproof.conformance.case import Expect, Insn, completes, family, faults, mmio_write
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

LONG64 = Mode.LONG64
IF = Rflags.if_.mask
HOLE = 0x3000_0000

row = family(
    "traps",
    sdm("2B", "Instruction Set Reference, 'STI-Set Interrupt Flag'"),
    sdm("3A", "Interrupt and Exception Handling, 'Masking Exceptions and Interrupts When Switching Stacks'"),
    apm(2, "Exceptions and Interrupts, 'Masking External Interrupts'"),
    irqchip=True,
    regs={"rbx": WINDOW, "r8": HOLE, "r9": 0},
    sets=(maps(page(0xFEE0_0000)),),
)

# fmt: off
PEND = (                                         # the APIC is enabled, the interrupt sent
    Insn("c7 83 f0 00 00 00 ff 01 00 00", "mov dword ptr [rbx + 0xf0], 0x1ff"),
    Insn("c7 83 00 03 00 00 40 40 04 00", "mov dword ptr [rbx + 0x300], 0x44040"),
)
N = len(PEND)
STI, CLI, NOP, HLT = Insn("fb", "sti"), Insn("fa", "cli"), Insn("90", "nop"), Insn("f4", "hlt")
CPUID, UD2    = Insn("0f a2", "cpuid"), Insn("0f 0b", "ud2")
STORE         = Insn("41 89 00", "mov dword ptr [r8], eax")
PUSH_IF       = Insn("68 02 02 00 00", "push 0x202")
POPF          = Insn("9d", "popfq")
CR8_15        = (Insn("41 b9 0f 00 00 00", "mov r9d, 0xf"), Insn("45 0f 22 c1", "mov cr8, r9"), Insn("45 31 c9", "xor r9d, r9d"))
CR8_0         = Insn("45 0f 22 c1", "mov cr8, r9")


def interrupted(at: int, **more: Any) -> Expect:
    """Vector 40H, saved at this instruction behind PEND."""
    return Expect(vector=0x40, at=N + at, flags_set=IF, **more)


CASES = (
    row("trap.shadow.sti.long64",          "STI holds interrupts for one instruction",         LONG64, (*PEND, STI, NOP, NOP, NOP),     interrupted(2)),
    row("trap.shadow.sti_cli.long64",      "STI; CLI opens no window",                         LONG64, (*PEND, STI, CLI, NOP, NOP),     completes(flags_clear=IF)),
    row("trap.shadow.sti_hlt.long64",      "STI; HLT: the interrupt is behind HLT",            LONG64, (*PEND, STI, HLT, NOP),          interrupted(2)),
    row("trap.shadow.sti_cpuid.long64",    "STI holds interrupts for a CPUID",                 LONG64, (*PEND, STI, CPUID, NOP),        interrupted(2, keeps=False)),
    row("trap.shadow.sti_mmio.long64",     "STI holds interrupts for a store to a device",     LONG64, (*PEND, STI, STORE, NOP),
        interrupted(2, accesses=(mmio_write(HOLE, 4, 0x0101_0101),)), sets=(maps(page(0xFEE0_0000)),)),
    row("trap.shadow.sti_fault.long64",    "STI; UD2: the exception is first, with IF saved",  LONG64, (*PEND, STI, UD2),               faults(Vector.UD, at=N + 1, flags_set=IF)),
    row("trap.shadow.popf_noshadow.long64", "POPF opens the window at once",                   LONG64, (*PEND, PUSH_IF, POPF, NOP),     interrupted(2)),
    row("trap.shadow.cr8_noshadow.long64", "CR8 opens the window at once",                     LONG64, (*PEND, *CR8_15, STI, NOP, NOP, CR8_0, NOP), interrupted(7)),
)
# fmt: on
