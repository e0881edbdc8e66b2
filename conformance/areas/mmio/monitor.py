"""What the monitor sees of MMIO while the guest waits, and what becomes of an access that is interrupted.

Stores to memory come before the access that follows them: whoever answers it sees them.  An access that was completed
is not done again when a signal interrupts the vCPU there.  And each byte of a page in a hole has its own address.
"""

from collections.abc import Iterable
from dataclasses import replace

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
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check, hosted, kick_at_every_access, observe
from virtproof.conformance.handlers import handled
from virtproof.conformance.hole import DOUBLEWORD, HOLE, QUADWORD, device
from virtproof.conformance.of_kvm import kvm_vcpu
from virtproof.conformance.plain import start
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import enable_cap
from virtproof.results import Check
from virtproof.spec.cite import linux, sdm
from virtproof.spec.kvm import Cap
from virtproof.spec.kvm import InternalError as Suberror
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmVm
from virtproof.vmm.exits import Halt, InternalError, Interrupted
from virtproof.vmm.machine import Machine

KVM_RUN = linux("virt/kvm/api.rst", "'KVM_RUN' and 'The kvm_run structure', KVM_EXIT_MMIO and immediate_exit")
ORDER = sdm("3A", "Multiple-Processor Management, 'Memory Ordering'")
row = family("mmio", KVM_RUN, expect=completes())

LONG64 = Mode.LONG64
RAM = At("kernel_data")
OLD = 0x1122_3344_5566_7788
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


def nmi_at_second_write(machine: Machine) -> None:
    """A device that raises an NMI at the second write to it."""

    class Interrupting:
        writes = 0

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            self.writes += 1
            if self.writes == 2:
                machine.vcpu.nmi()

    machine.bus.add_mmio(HOLE, 0x1000, Interrupting(), "interrupting")


def reset_midway(engine: Engine) -> Iterable[Check]:
    """The monitor interrupts a load, which is completed then, and sets RIP elsewhere."""
    with Machine(engine) as machine:
        seen = start(
            machine, b"\x48\x8b\x03\xf4" + b"\x89\xf9\xf4", rbx=HOLE, rdi=0x5A
        )  # mov rax, [rbx]; hlt; mov ecx, edi; hlt

        class Kicking:
            def read(self, offset: int, size: int) -> int:
                machine.vcpu.kick()
                return QUADWORD

            def write(self, offset: int, size: int, value: int) -> None:
                pass

        machine.bus.add_mmio(HOLE, 8, Kicking(), "kicking")
        end = machine.vcpu.run(machine.bus)
        yield Check("the load ends with", "an interruption", str(end), isinstance(end, Interrupted))
        registers = machine.vcpu.registers()
        want, saw = f"{QUADWORD:#x} {seen.rip + 3:#x}", f"{registers.rax:#x} {registers.rip:#x}"
        yield Check("RAX and RIP then", want, saw, want == saw)
        machine.vcpu.set_registers(replace(registers, rip=seen.rip + 4))
        then = machine.run(2.0)
        registers = machine.vcpu.registers()
        want, saw = f"0x5a {QUADWORD:#x} {seen.rip + 7:#x}", f"{registers.rcx:#x} {registers.rax:#x} {registers.rip:#x}"
        yield Check("then the guest ends with", "HLT", str(then), isinstance(then, Halt))
        yield Check("RCX, RAX and RIP", want, saw, want == saw)


def wide_answer(engine: Engine) -> Iterable[Check]:
    """The monitor leaves 8 bytes where a guest has asked for one."""

    class Wide:
        def mmio_read(self, address: int, length: int) -> int:
            return QUADWORD

        def mmio_write(self, address: int, length: int, value: int) -> None: ...
        def pio_in(self, port: int, size: int) -> int:
            return 0

        def pio_out(self, port: int, size: int, value: int) -> None: ...

    with Machine(engine) as machine:
        start(machine, b"\x8a\x03\xf4", rax=OLD, rbx=HOLE)  # mov al, [rbx]; hlt
        end = machine.vcpu.run(Wide())
        rax = machine.vcpu.registers().rax
        yield Check("the guest ends with", "HLT", str(end), isinstance(end, Halt))
        want = OLD & ~0xFF | QUADWORD & 0xFF
        yield Check("RAX", f"{want:#x}", f"{rax:#x}", rax == want)


FLD = b"\xdd\x03"  # fld qword ptr [rbx]: KVM's emulator has no x87 arithmetic


def names_the_instruction(engine: Engine) -> Iterable[Check]:
    """KVM_CAP_EXIT_ON_EMULATION_FAILURE: an internal error has flags, the length and the bytes at RIP."""
    with Machine(engine) as machine:
        if not isinstance(machine.vm, KvmVm) or not machine.vm.check_extension(Cap.EXIT_ON_EMULATION_FAILURE):
            raise Inapplicable("the engine does not offer KVM_CAP_EXIT_ON_EMULATION_FAILURE")
        enable_cap(machine.vm.fd, Cap.EXIT_ON_EMULATION_FAILURE, "have emulation failures end the guest", 1)
        seen = start(machine, FLD + b"\xf4", rbx=HOLE)
        end = machine.run(2.0)
        stopped = isinstance(end, InternalError) and end.suberror == Suberror.EMULATION
        yield Check("the guest ends with", "KVM internal error EMULATION (1)", str(end), stopped)
        if isinstance(end, InternalError):
            yield Check("words of data", "3 or more", str(len(end.data)), len(end.data) >= 3)
            yield Check("bytes of the instruction", FLD.hex(" "), end.insn.hex(" "), end.insn.startswith(FLD))
            yield Check("RIP", f"{seen.rip:#x}", f"{end.rip:#x}", end.rip == seen.rip)


def counts(engine: Engine) -> Iterable[Check]:
    """A hundred reads between two readings of the vCPU's counters."""
    readings: list[int] = []

    def read_counter(machine: Machine) -> None:
        value = kvm_vcpu(machine).statistics().get("mmio_exits", -1)
        readings.append(value if isinstance(value, int) else -1)

    yield from check(HUNDRED, engine, calls={1: read_counter})
    saw = f"{readings[1] - readings[0]}" if len(readings) == 2 and min(readings) >= 0 else "no such counter"
    yield Check("mmio_exits, of 100 reads", "100", saw, saw == "100")


def script(id: str, title: str, function: Script, *, seconds: float = 2.0, priority: int = 1) -> HostScript:  # noqa: A002
    return HostScript(
        id=id, title=title, area="mmio", mode=LONG64, cite=(KVM_RUN, ORDER), script=function, seconds=seconds,
        priority=priority,
    )  # fmt: skip


# fmt: off
SIGNAL = row("mmio.x.signal", "An access that a signal interrupts is done once", LONG64, (STORE4, XCHG4, LOAD8, REP_STOSB),
    completes(regs={"rax": QUADWORD, "rcx": 0, "rdi": HOLE + 11},
              accesses=(mmio_write(HOLE, 4, 0x41), mmio_read(HOLE, 4, DOUBLEWORD), mmio_write(HOLE, 4, 0x41), mmio_read(HOLE, 8, QUADWORD),
                        *(mmio_write(HOLE + n, 1, 0x8B) for n in (8, 9, 10)))),
    regs={"rax": 0x41, "rbx": HOLE, "rcx": 3, "rdi": HOLE + 8}, answers=(device(),))
HUNDRED = row("mmio.x.fast_path_stat", "", LONG64, (
    Insn("ee",       "out dx, al"),
    Insn("8b 33",    "mov esi, dword ptr [rbx]"),
    Insn("ff c9",    "dec ecx"),
    Insn("75 fa",    "jne 1"),
    Insn("ee",       "out dx, al"),
), completes(keeps=False, regs={"rcx": 0}), regs={"rax": 1, "rbx": HOLE, "rcx": 100, "rdx": HOST_PORT})
# The NMI's handler counts in R9.  IRET ends its blocking.
RESUMED = row("mmio.x.rep_irq", "REP STOSB to a hole goes on behind an interrupt, and writes each item once", LONG64,
    (Insn("eb 05", "jmp 7"), Insn("49 ff c1", "inc r9"), Insn("48 cf", "iretq"), REP_STOSB),
    completes(regs={"rcx": 0, "rdi": HOLE + 5, "r9": 1}, accesses=tuple(mmio_write(HOLE + n, 1, 0x41) for n in range(5))),
    regs={"rax": 0x41, "rcx": 5, "rdi": HOLE, "r9": 0}, sets=handled(Vector.NMI, 2), priority=2)
# fmt: on

CASES = (
    script("mmio.x.load_store_order", "A store to memory is there when the next access comes out", sees_the_store),
    hosted(SIGNAL, furnish=kick_at_every_access),
    hosted(RESUMED, furnish=nmi_at_second_write),
    script(
        "mmio.x.reset_midway",
        "What the monitor sets after an access is where the guest goes on",
        reset_midway,
        priority=2,
    ),
    script(
        "mmio.x.data_zero_ext", "Of the monitor's answer only the bytes of the access count", wide_answer, priority=2
    ),
    script(
        "mmio.x.fetch_exit_cap",
        "Where emulation fails, KVM gives the bytes of the instruction",
        names_the_instruction,
        priority=2,
    ),
    script("mmio.x.fast_path_stat", "Each exit of an access is counted once", counts, priority=2),
    script("mmio.x.offset_all", "Every byte of a page comes out at its own address", every_offset, seconds=MINUTE),
)
