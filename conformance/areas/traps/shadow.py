"""A pending interrupt comes at the first instruction boundary where it may, and not before.

STI, when IF was 0, holds interrupts back for one more instruction, be it one that leaves the guest or HLT; a CLI there
closes the window unused.  POPF and IRET open the window at once, and so does lowering CR8.  An
exception of the held instruction comes first.  MOV SS holds interrupts back likewise; to have one arrive just there, its
operand is read from a device that raises it.

The interrupt is one that the guest has sent to itself, 40H; it waits in the local APIC when the code gets to the rule.
"""

from typing import Any

from virtproof.conformance.case import At, Case, Expect, Insn, completes, family, faults, mmio_write
from virtproof.conformance.guest import hosted
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.vmm.machine import Machine

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
MOV_SS_R8     = Insn("41 8e 10", "mov ss, word ptr [r8]")
PUSH_IF       = Insn("68 02 02 00 00", "push 0x202")
POPF          = Insn("9d", "popfq")
CR8_15        = (Insn("41 b9 0f 00 00 00", "mov r9d, 0xf"), Insn("45 0f 22 c1", "mov cr8, r9"), Insn("45 31 c9", "xor r9d, r9d"))
CR8_0         = Insn("45 0f 22 c1", "mov cr8, r9")
# IRETQ to the NOP behind it, with IF.
TO_NOP        = (Insn("6a 10", "push 0x10"), Insn("41 53", "push r11"), PUSH_IF, Insn("6a 08", "push 8"), Insn("41 52", "push r10"), Insn("48 cf", "iretq"), NOP, NOP)
TO_NOP_REGS   = {"r10": At("kernel_code", 35), "r11": At("kernel_stack_top")}


class _Raises:
    """A device that sends vector 40H when it is read; it holds the selector of the stack segment."""

    def __init__(self, machine: Machine) -> None:
        self._interrupts = machine.interrupts

    def read(self, offset: int, size: int) -> int:
        self._interrupts.send_msi(0xFEE0_0000, 0x40)
        return 0x10

    def write(self, offset: int, size: int, value: int) -> None:
        pass


def _with_device(machine: Machine) -> None:
    machine.bus.add_mmio(HOLE, 8, _Raises(machine), "interrupts")


def interrupted(at: int, **more: Any) -> Expect:
    """Vector 40H, saved at this instruction behind PEND."""
    return Expect(vector=0x40, at=N + at, flags_set=IF, **more)


CASES: tuple[Case, ...] = (
    row("trap.shadow.sti.long64",          "STI holds interrupts for one instruction",         LONG64, (*PEND, STI, NOP, NOP, NOP),     interrupted(2)),
    row("trap.shadow.sti_cli.long64",      "STI; CLI opens no window",                         LONG64, (*PEND, STI, CLI, NOP, NOP),     completes(flags_clear=IF)),
    row("trap.shadow.sti_hlt.long64",      "STI; HLT: the interrupt is behind HLT",            LONG64, (*PEND, STI, HLT, NOP),          interrupted(2)),
    row("trap.shadow.sti_cpuid.long64",    "STI holds interrupts for a CPUID",                 LONG64, (*PEND, STI, CPUID, NOP),        interrupted(2, keeps=False)),
    row("trap.shadow.sti_mmio.long64",     "STI holds interrupts for a store to a device",     LONG64, (*PEND, STI, STORE, NOP),
        interrupted(2, accesses=(mmio_write(HOLE, 4, 0x0101_0101),)), sets=(maps(page(0xFEE0_0000)),)),
    row("trap.shadow.sti_fault.long64",    "STI; UD2: the exception is first, with IF saved",  LONG64, (*PEND, STI, UD2),               faults(Vector.UD, at=N + 1, flags_set=IF)),
    row("trap.shadow.popf_noshadow.long64", "POPF opens the window at once",                   LONG64, (*PEND, PUSH_IF, POPF, NOP),     interrupted(2)),
    row("trap.shadow.cr8_noshadow.long64", "CR8 opens the window at once",                     LONG64, (*PEND, *CR8_15, STI, NOP, NOP, CR8_0, NOP), interrupted(7)),
    row("trap.shadow.iret_noshadow.long64", "IRET opens the window at once",                    LONG64, (*PEND, *TO_NOP),                interrupted(6), regs={"rbx": WINDOW, **TO_NOP_REGS}, priority=2),
    hosted(row("trap.shadow.movss.long64",  "MOV SS holds interrupts for one instruction",      LONG64, (PEND[0], STI, NOP, MOV_SS_R8, NOP, NOP), interrupted(3), priority=2), furnish=_with_device),
    hosted(row("trap.shadow.movss_cpuid.long64", "MOV SS holds interrupts for a CPUID",         LONG64, (PEND[0], STI, NOP, MOV_SS_R8, CPUID, NOP), interrupted(3, keeps=False), priority=2), furnish=_with_device),
)
# fmt: on
