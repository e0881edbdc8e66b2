"""What a new processor holds, and where a guest's addresses lead, is the guest's own.

Registers that no guest has written hold what they hold after reset, and nothing of the host's or of another guest's.
SIDT and SGDT show the guest's tables; so do all other levels and modes (area sensitive).  Physical addresses outside the
slots come out of the guest, up to the last bit of MAXPHYADDR.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtproof.conformance.case import At, Case, HostScript, Insn, Part, completes, cr4, family, mmio_read
from virtproof.conformance.features import physical_bits
from virtproof.conformance.guest import check
from virtproof.conformance.hole import HOLE
from virtproof.conformance.window import WINDOW, pte
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.vmm.engine import Accesses, Engine
from virtproof.vmm.machine import Machine

RESET = (
    sdm("3A", "Processor Management and Initialization, 'Processor State After Reset'"),
    apm(2, "Processor Initialization and Long Mode Activation, 'Initial Processor State'"),
)
SLOTS = (linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),)
MMIO = (linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_MMIO"),)
row = family("isolation", *RESET, irqchip=True, priority=2)  # a machine of its own, whose processor is new

LONG64 = Mode.LONG64
FIRST = 20  # from 1 MiB on

# fmt: off
SWEEP = (
    Insn("b8 01 00 00 00",       "mov eax, 1"),
    Insn("48 d3 e0",             "shl rax, cl"),
    Insn("48 83 c8 03",          "or rax, 3"),
    Insn("48 89 06",             "mov qword ptr [rsi], rax"),
    Insn("0f 01 3b",             "invlpg byte ptr [rbx]"),
    Insn("8a 03",                "mov al, byte ptr [rbx]"),
    Insn("ff c1",                "inc ecx"),
    Insn("39 d1",                "cmp ecx, edx"),
    Insn("75 e6",                "jne 0"),
)
# fmt: on


def _sweep(engine: Engine) -> Iterable[Check]:
    """One byte at each power of two up to MAXPHYADDR."""
    bits = physical_bits(engine)
    reads = tuple(mmio_read(1 << n, 1, 0xFF) for n in range(FIRST, bits))
    regs = {"rbx": WINDOW, "rcx": FIRST, "rdx": bits, "rsi": pte()}
    expect = completes(keeps=False, accesses=reads)
    yield from check(family("isolation", *SLOTS)("iso.gpa_sweep", "", LONG64, SWEEP, expect, regs=regs), engine)


class _Careless:
    """Answers loads with all bits set, whatever their length."""

    def __init__(self, bus: Accesses) -> None:
        self._bus = bus
        self.pio_in, self.pio_out, self.mmio_write = bus.pio_in, bus.pio_out, bus.mmio_write

    def mmio_read(self, address: int, length: int) -> int:
        self._bus.mmio_read(address, length)
        return (1 << 64) - 1


def _stale(engine: Engine) -> Iterable[Check]:
    """The monitor leaves more bytes in kvm_run than the guest's loads have asked for."""

    def furnish(machine: Machine) -> None:
        machine.accesses = (_Careless(machine.bus),)

    regs = {"rbx": HOLE, "rax": 0, "rcx": 0x0102_0304_0506_0708, "rdx": 0}
    expect = completes(regs={"rax": (1 << 64) - 1, "rcx": 0x0102_0304_0506_07FF, "rdx": 0xFFFF})
    yield from check(
        family("isolation", *MMIO)("iso.mmio_data_stale", "", LONG64, LOADS, expect, regs=regs), engine, furnish=furnish
    )


# fmt: off
DATA, FILL = At("kernel_data"), (1 << 64) - 1
FXSAVE = Insn("48 0f ae 03", "fxsave64 ptr [rbx]")
LOADS = (Insn("48 8b 03", "mov rax, qword ptr [rbx]"), Insn("8a 0b", "mov cl, byte ptr [rbx]"), Insn("0f b7 13", "movzx edx, word ptr [rbx]"))
ENVIRONMENT = (Part("FSW", 2, 2, 0, -1), Part("FTW", 4, 1, 0, -1), Part("FOP", 6, 2, 0, -1))  # not FCW: 40H or, as KVM does, 37FH
SAVED = {"regs": {"rbx": DATA}, "sets": (cr4(on=Cr4.osfxsr.mask),)}
U = At("user_data")
TABLES = (Insn("0f 01 43 06", "sgdt [rbx + 6]"), Insn("0f 01 4b 16", "sidt [rbx + 0x16]"))

CASES: tuple[Case, ...] = (
    row("iso.x87_leak", "The x87 stack of a new vCPU is empty, and points nowhere", LONG64, FXSAVE,
        completes(memory={DATA: ENVIRONMENT, DATA + 8: 0, DATA + 0x10: 0} | {DATA + 0x20 + 16 * n: 0 for n in range(8)}),
        fill={DATA + 8 * n: FILL for n in range(1, 32)} | {DATA: FILL >> 16}, **SAVED),
    row("iso.mxcsr",    "MXCSR of a new vCPU is 1F80H", LONG64, FXSAVE,
        completes(memory={DATA + 0x18: (Part("MXCSR", 0, 4, 0x1F80, -1),)}), fill={DATA + 0x18: FILL}, **SAVED),
    row("iso.cr2_leak", "CR2 of a new vCPU is 0", LONG64, Insn("0f 20 d0", "mov rax, cr2"), completes(regs={"rax": 0})),
    row("iso.idt_none", "SGDT and SIDT show the guest's tables, not the host's", LONG64, TABLES,
        completes(memory={DATA + 8: At("gdt"), DATA + 0x18: At("idt")}), regs={"rbx": DATA}, fill={DATA + 8: 0, DATA + 0x18: 0}, priority=1),
    row("iso.idt_none.cpl3", "... to a user as well", LONG64, TABLES,
        completes(memory={U + 8: At("gdt"), U + 0x18: At("idt")}), ring=3, regs={"rbx": U}, fill={U + 8: 0, U + 0x18: 0}, priority=1),
    HostScript(id="iso.gpa_sweep", title="Addresses outside the slots come out, up to MAXPHYADDR", area="isolation", mode=LONG64, cite=SLOTS, script=_sweep, priority=2),
    HostScript(id="iso.mmio_data_stale", title="A load from a hole takes no more bytes than its own", area="isolation", mode=LONG64, cite=MMIO, script=_stale, priority=2),
)
# fmt: on
