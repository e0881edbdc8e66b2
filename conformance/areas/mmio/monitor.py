"""What the monitor sees of MMIO while the guest waits, and what becomes of an access that is interrupted.

Stores to memory come before the access that follows them: whoever answers it sees them.  An access that was completed
is not done again when a signal interrupts the vCPU there.  And each byte of a page in a hole has its own address.
"""

from collections.abc import Iterable

from virtproof.conformance.case import (
    At,
    HostScript,
    Insn,
    Script,
    completes,
    family,
    mmio_read,
    mmio_write,
)
from virtproof.conformance.guest import hosted, kick_at_every_access, observe
from virtproof.conformance.hole import DOUBLEWORD, HOLE, QUADWORD, device
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import linux, sdm
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

KVM_RUN = linux("virt/kvm/api.rst", "'KVM_RUN' and 'The kvm_run structure', KVM_EXIT_MMIO and immediate_exit")
ORDER = sdm("3A", "Multiple-Processor Management, 'Memory Ordering'")
row = family("mmio", KVM_RUN, expect=completes())

LONG64 = Mode.LONG64
RAM = At("kernel_data")
MINUTE = 60.0  # for 4096 exits of a guest on an emulated host

STORE_RAM = Insn("c7 07 78 56 34 12", "mov dword ptr [rdi], 0x12345678")
STORE4 = Insn("89 03", "mov dword ptr [rbx], eax")
LOAD8 = Insn("48 8b 03", "mov rax, qword ptr [rbx]")
XCHG4 = Insn("87 03", "xchg dword ptr [rbx], eax")
REP_STOSB = Insn("f3 aa", "rep stosb byte ptr [rdi], al")
EVERY_BYTE = (
    Insn("8a 04 0b", "mov al, byte ptr [rbx + rcx]"),
    Insn("ff c1", "inc ecx"),
    Insn("81 f9 00 10 00 00", "cmp ecx, 0x1000"),
    Insn("75 f3", "jne 0x15000"),
)


def sees_the_store(engine: Engine) -> Iterable[Check]:
    """A device reads the guest's memory in the middle of the guest's store to it."""
    seen: list[int] = []
    where = images.load(LONG64.value)["kernel_data"]

    class Looking:
        def __init__(self, machine: Machine) -> None:
            self.memory = machine.memory

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            seen.append(int.from_bytes(self.memory.read(where, 4), "little"))

    def furnish(machine: Machine) -> None:
        machine.bus.add_mmio(HOLE, 8, Looking(machine), "looking")

    observe(
        row("mmio.x.load_store_order", "", LONG64, (STORE_RAM, STORE4), regs={"rbx": HOLE, "rdi": RAM}),
        engine,
        furnish=furnish,
    )
    yield Check(
        "the word in memory at the store", "[0x12345678]", f"[{', '.join(map(hex, seen))}]", seen == [0x1234_5678]
    )


def every_offset(engine: Engine) -> Iterable[Check]:
    """4096 loads of a byte, each at its own address."""
    guest = row("mmio.x.offset_all", "", LONG64, EVERY_BYTE, regs={"rbx": HOLE, "rcx": 0}, seconds=MINUTE)
    _, accesses = observe(guest, engine)
    wrong = [n for n in range(0x1000) if accesses[n : n + 1] != [mmio_read(HOLE + n, 1, 0xFF)]]
    yield Check("reads", "4096", str(len(accesses)), len(accesses) == 0x1000)
    yield Check("first offset that is not read in its turn", "none", hex(wrong[0]) if wrong else "none", not wrong)


def script(id: str, title: str, function: Script, *, seconds: float = 2.0) -> HostScript:  # noqa: A002
    return HostScript(
        id=id, title=title, area="mmio", mode=LONG64, cite=(KVM_RUN, ORDER), script=function, seconds=seconds
    )  # fmt: skip


# fmt: off
SIGNAL = row("mmio.x.signal", "An access that a signal interrupts is done once", LONG64, (STORE4, XCHG4, LOAD8, REP_STOSB),
    completes(regs={"rax": QUADWORD, "rcx": 0, "rdi": HOLE + 11},
              accesses=(mmio_write(HOLE, 4, 0x41), mmio_read(HOLE, 4, DOUBLEWORD), mmio_write(HOLE, 4, 0x41), mmio_read(HOLE, 8, QUADWORD),
                        *(mmio_write(HOLE + n, 1, 0x8B) for n in (8, 9, 10)))),
    regs={"rax": 0x41, "rbx": HOLE, "rcx": 3, "rdi": HOLE + 8}, answers=(device(),))
# fmt: on

CASES = (
    script("mmio.x.load_store_order", "A store to memory is there when the next access comes out", sees_the_store),
    hosted(SIGNAL, furnish=kick_at_every_access),
    script("mmio.x.offset_all", "Every byte of a page comes out at its own address", every_offset, seconds=MINUTE),
)
