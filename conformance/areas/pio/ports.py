"""The port space and its order with everything else the guest does.

Every port that the kernel does not answer itself comes out to the monitor, and ports where nobody is read all ones.
With the interrupt controllers in the kernel, theirs do not come out.  I/O waits for the stores before it: whoever
answers sees them.  An access that was completed is not done again when a signal interrupts the vCPU there.
"""

from collections.abc import Iterable

from virtproof.conformance.case import (
    Answers,
    At,
    Contents,
    HostScript,
    Insn,
    completes,
    family,
    pio_in,
    pio_out,
)
from virtproof.conformance.guest import HOST_PORT, hosted, kick_at_every_access, observe
from virtproof.conformance.steps import inb, inl, inw, outb, outl, steps
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import linux, sdm
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

row = family(
    "pio",
    sdm("1", "Input/Output, 'I/O Port Addressing'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_IO and immediate_exit"),
)
ORDER = sdm("1", "Input/Output, 'Ordering I/O'")

LONG64, PROT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.REAL16
DATA = At("kernel_data")
BYTES = (Answers("pio", 0x80, 1, (0xB1, 0xB2, 0xB3, 0xB4)), Contents("pio", 0x1234, b"\xa4\xb3\xc2\xd1"))
ONES = 0xFFFF_FFFF

IN_AL, OUT_AL = Insn("e4 80", "in al, 0x80"), Insn("e6 80", "out 0x80, al")
STORE = Insn("c7 07 78 56 34 12", "mov dword ptr [rdi], 0x12345678")
OUT_DX = Insn("ee", "out dx, al")
REP_INSB = Insn("f3 6c", "rep insb byte ptr [rdi], dx")

REAL = (
    IN_AL,
    OUT_AL,
    Insn("ed", "in ax, dx"),
    Insn("66 ef", "out dx, eax"),
    Insn("f3 6c", "rep insb byte ptr es:[di], dx"),
)
PROT = (
    IN_AL,
    OUT_AL,
    Insn("ed", "in eax, dx"),
    Insn("66 ef", "out dx, ax"),
    Insn("f3 6c", "rep insb byte ptr es:[edi], dx"),
)


def sees_the_store(engine: Engine) -> Iterable[Check]:
    """The monitor reads the guest's memory in the middle of its OUT."""
    seen: list[int] = []
    where = images.load(LONG64.value)["kernel_data"]

    def look(machine: Machine) -> None:
        seen.append(int.from_bytes(machine.memory.read(where, 4), "little"))

    guest = row(
        "pio.x.order", "", LONG64, (STORE, OUT_DX), regs={"rax": 1, "rdx": HOST_PORT, "rdi": DATA}, expect=completes()
    )
    observe(guest, engine, calls={1: look})
    yield Check(
        "the word in memory at the OUT", "[0x12345678]", f"[{', '.join(map(hex, seen))}]", seen == [0x1234_5678]
    )


# fmt: off
CASES = (
    row("pio.x.unhandled",  "Ports where nobody is read all ones and take what is written", LONG64,
        **steps(inb(0x42F, 0xFF), inw(0x42E, 0xFFFF), inl(0x42C, ONES), outb(0x42F, 0x00), inb(0x42F, 0xFF),
                accesses=(pio_in(0x42F, 1, 0xFF), pio_in(0x42E, 2, 0xFFFF), pio_in(0x42C, 4, ONES), pio_out(0x42F, 1, 0), pio_in(0x42F, 1, 0xFF)))),
    row("pio.x.port_wrap",  "A doubleword at port FFFF comes out as one access there", LONG64, Insn("ed", "in eax, dx"),
        completes(regs={"rax": 0xFFFF_FF5A}, accesses=(pio_in(0xFFFF, 4, 0xFFFF_FF5A),)),
        regs={"rdx": 0xFFFF}, answers=(Contents("pio", 0xFFFF, b"\x5A"), Contents("pio", 0x0000, b"\xBA\xDB\xAD")), priority=3),
    row("pio.x.cf8",        "The ports of PCI configuration come out in order", LONG64,
        **steps(outl(0xCF8, 0x8000_0008), inl(0xCFC, 0x1237_8086),
                accesses=(pio_out(0xCF8, 4, 0x8000_0008), pio_in(0xCFC, 4, 0x1237_8086))),
        answers=(Contents("pio", 0xCFC, b"\x86\x80\x37\x12"),)),
    row("pio.x.in_kernel",  "The ports of an interrupt controller in the kernel do not come out", LONG64,
        **steps(outb(0x21, 0xA5), inb(0x21, 0xA5), outb(0x21, 0x5A), inb(0x21, 0x5A), accesses=()), irqchip=True),
    row("pio.x.real16",     "IN, OUT and INS work in real mode", REAL16, REAL,
        completes(regs={"rax": 0x1122_B3A4, "rcx": 0, "rdi": DATA + 3}, memory={DATA: 0xA4_A4A4},
                  accesses=(pio_in(0x80, 1, 0xB1), pio_out(0x80, 1, 0xB1), pio_in(0x1234, 2, 0xB3A4), pio_out(0x1234, 4, 0x1122_B3A4),
                            *3 * (pio_in(0x1234, 1, 0xA4),))),
        regs={"rax": 0x1122_3344, "rcx": 3, "rdx": 0x1234, "rdi": DATA}, answers=BYTES),
    row("pio.x.prot32",     "IN, OUT and INS work in protected mode", PROT32, PROT,
        completes(regs={"rax": 0xD1C2_B3A4, "rcx": 0, "rdi": DATA + 3}, memory={DATA: 0xA4_A4A4},
                  accesses=(pio_in(0x80, 1, 0xB1), pio_out(0x80, 1, 0xB1), pio_in(0x1234, 4, 0xD1C2_B3A4), pio_out(0x1234, 2, 0xB3A4),
                            *3 * (pio_in(0x1234, 1, 0xA4),))),
        regs={"rax": 0x1122_3344, "rcx": 3, "rdx": 0x1234, "rdi": DATA}, answers=BYTES, priority=2),
    row("pio.x.ring3_iopl3", "With IOPL = 3 user code reaches ports", LONG64, (IN_AL, OUT_AL),
        completes(regs={"rax": 0xB1}, accesses=(pio_in(0x80, 1, 0xB1), pio_out(0x80, 1, 0xB1))),
        regs={"rax": 0}, ring=3, flags=0x3002, answers=BYTES, refs=("priv.io.iopl3.long64",), priority=2),
    HostScript(id="pio.x.order", title="OUT waits for the stores before it", area="pio", mode=LONG64, cite=(ORDER,), script=sees_the_store),
    hosted(row("pio.x.rip_once", "A port access that a signal interrupts is done once", LONG64, (OUT_AL, IN_AL, REP_INSB, OUT_AL),
        completes(regs={"rax": 0xB1, "rcx": 0, "rdi": DATA + 3}, memory={DATA: 0xB4_B3B2},
                  accesses=(pio_out(0x80, 1, 0x41), *(pio_in(0x80, 1, n) for n in (0xB1, 0xB2, 0xB3, 0xB4)), pio_out(0x80, 1, 0xB1))),
        regs={"rax": 0x41, "rcx": 3, "rdx": 0x80, "rdi": DATA}, answers=BYTES), furnish=kick_at_every_access),
)
# fmt: on
