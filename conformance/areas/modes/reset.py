"""A processor after reset, and after INIT; and the whole way between long mode and real mode.

After reset CS has the base FFFF0000H and IP is FFF0H, so that the first fetch is at FFFFFFF0H; CR0 is 60000010H, RFLAGS 2, EDX
tells the processor's family, and all other segments have base 0 and a limit of 64 KiB.  INIT does the same to most
registers, but keeps the MSRs and CR0.CD and NW.
"""

from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript, Program, Script
from virtproof.conformance.guest import GuestStopped, needs_vcpus
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0
from virtproof.spec.x86.msr import Msr
from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.exits import Halt
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers, Segment

CITE = (
    sdm("3A", "Processor Management and Initialization, 'Processor State After Reset'"),
    apm(2, "Processor Initialization and Long Mode Activation, 'Initial Processor State'"),
)
SWITCHING = (
    sdm("3A", "Processor Management and Initialization, 'Switching Back to Real-Address Mode'"),
    apm(2, "Processor Initialization and Long Mode Activation, 'Leaving Long Mode'"),
)
AT_RESET = 0xFFFF_FFF0
LAST_64K = 0xFFFF_0000
PORT, VALUE = 0x80, 0x5A
CACHES_OFF = Cr0.cd.mask | Cr0.nw.mask


def _number(name: str, want: int, saw: int) -> Check:
    return Check(name, f"{want:#x}", f"{saw:#x}", want == saw)


def _state(engine: Engine) -> Iterable[Check]:
    """The registers of a vCPU that has not run."""
    with Machine(engine) as machine:
        special, registers = machine.vcpu.special_registers(), machine.vcpu.registers()
    yield _number("RIP", 0xFFF0, registers.rip)
    yield _number("RFLAGS", 2, registers.rflags)
    yield Check("EDX", "a family and model", f"{registers.rdx:#x}", registers.rdx >> 8 != 0)
    for name in ("rax", "rbx", "rcx", "rsi", "rdi", "rbp", "rsp"):
        yield _number(name.upper(), 0, getattr(registers, name))
    yield from _segment("CS", special.cs, 0xF000, LAST_64K)
    for name in ("ds", "es", "fs", "gs", "ss"):
        yield from _segment(name.upper(), getattr(special, name), 0, 0)
    for name, table in (("GDTR", special.gdt), ("IDTR", special.idt)):
        yield _number(f"{name}: base", 0, table.base)
        yield _number(f"{name}: limit", 0xFFFF, table.limit)
    for name, want in (("cr0", 0x6000_0010), ("cr2", 0), ("cr3", 0), ("cr4", 0), ("cr8", 0), ("efer", 0)):
        yield _number(name.upper(), want, getattr(special, name))


def _segment(name: str, segment: Segment, selector: int, base: int) -> Iterable[Check]:
    for what, want in (("selector", selector), ("base", base), ("limit", 0xFFFF), ("present", 1)):
        yield _number(f"{name}: {what}", want, getattr(segment, what))


def _fetch(engine: Engine) -> Iterable[Check]:
    """Code in the last 16 bytes below 4 GiB is what runs first."""
    accesses: list[tuple[str, int, int, bool, int]] = []
    with Machine(engine, trace=lambda *access: accesses.append(access)) as machine:
        machine.memory.add(LAST_64K, 1 << 16)
        machine.memory.load(AT_RESET, bytes((0xB0, VALUE, 0xE6, PORT, 0xF4)))  # MOV AL; OUT; HLT
        end = machine.run(2.0)
        yield Check("the guest ends with", "HLT", str(end), isinstance(end, Halt))
        saw = "; ".join(f"{kind} {address:#x} {value:#x}" for kind, address, _, _, value in accesses)
        yield Check("accesses", f"pio {PORT:#x} {VALUE:#x}", saw, saw == f"pio {PORT:#x} {VALUE:#x}")


# The first processor sends INIT and SIPI; the second shows what it then has, in real mode at 2000H.
SENDER, STARTED, STAR = 0x1000, 0x2000, 0x1234_5678
SENDS = bytes.fromhex(
    "c7 83 f0 00 00 00 ff 01 00 00"  # the local APIC on
    "c7 83 10 03 00 00 00 00 00 01"  # to the second processor:
    "c7 83 00 03 00 00 00 45 00 00"  # INIT
    "c7 83 00 03 00 00 02 46 00 00"  # SIPI, vector 2
    "f4"  # HLT
)
SHOWS = bytes.fromhex(
    "0f 20 c0"  # MOV EAX, CR0
    "66 e7 80"  # OUT 80H, EAX
    "66 b9 81 00 00 c0"  # MOV ECX, IA32_STAR
    "0f 32"  # RDMSR
    "66 89 d0"  # MOV EAX, EDX
    "66 e7 80"  # OUT 80H, EAX
    "66 8c c8"  # MOV EAX, CS
    "66 e7 80"  # OUT 80H, EAX
    "f4"  # HLT
)


def _init(engine: Engine) -> Iterable[Check]:
    needs_vcpus(engine, 2)
    seen: list[int] = []

    def trace(kind: str, address: int, size: int, is_write: bool, value: int) -> None:
        if (kind, address, is_write) == ("pio", PORT, True):
            seen.append(value)
            if len(seen) == 3:
                machine.stop()

    with Machine(engine, vcpus=2, irqchip=True, trace=trace, cpuid=engine.supported_cpuid()) as machine:
        machine.memory.load(SENDER, SENDS)
        machine.memory.load(STARTED, SHOWS)
        first, second = machine.vcpus
        assert isinstance(second, KvmVcpu)
        first.set_special_registers(modes.prot32(first.special_registers()))
        first.set_registers(Registers(rip=SENDER, rbx=0xFEE0_0000))
        before = modes.prot32(second.special_registers())
        second.set_special_registers(before)
        second.set_registers(Registers(rip=SENDER, rax=0x77))
        second.set_msrs({Msr.IA32_STAR: STAR << 32})
        end = machine.run(5.0)
    if len(seen) < 3:
        raise GuestStopped(str(end))
    cr0, star, cs = seen
    yield Check("CR0 but CD and NW", "0x10", f"{cr0 & ~CACHES_OFF:#x}", cr0 & ~CACHES_OFF == 0x10)
    yield _number("IA32_STAR, upper half", STAR, star)
    yield _number("CS", STARTED >> 4, cs & 0xFFFF)


def script(id: str, title: str, run: Script, priority: int, mode: Mode = Mode.REAL16) -> HostScript:  # noqa: A002
    return HostScript(id=id, title=title, area="modes", mode=mode, cite=CITE, script=run, priority=priority)


# fmt: off
CASES: tuple[Case, ...] = (
    script("mode.trans.reset_state", "A new vCPU has the state of a processor after reset", _state, 1),
    script("mode.trans.reset_fetch", "The first fetch is at FFFFFFF0H",                     _fetch, 1),
    script("mode.trans.init_state",  "INIT keeps MSRs, and leaves protected mode",          _init,  2),
    Program(id="mode.trans.long_to_real", title="From long mode to real mode and up again, three times", area="modes", mode=Mode.LONG64, cite=SWITCHING, image="rounds", observations=(3, 3, 3), seconds=5.0),
)
# fmt: on
