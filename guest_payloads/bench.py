"""What single operations of a guest cost, exits above all: the guest reads its time stamp counter round each.

Each operation has a guest of its own, so that one which never comes back costs no more than its time limit.  Figures
are cycles of the guest's counter.  They contain what reading the counter costs, which ``nothing`` shows.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns

from virtproof.guest_payloads import images, program
from virtproof.spec.guest_protocol import HOST_PORT
from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Timeout
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

MAX_ROUNDS = 4096  # SAMPLES of bench.c
WARM_UP = 16
PORT, DEVICE, FRESH = 0x510, 0x2000_0000, 0x3000_0000
TAKEN = 2  # the act by which the guest says that its samples are there
SECONDS = 10.0  # for one operation, and so many rounds
FEWEST = 10  # rounds
BOOTS = 20
AHEAD = 100_000  # cycles from arming the timer to its deadline
_CODE, _OUT_HLT = 0x1000, bytes.fromhex("e6 80 f4")  # out 0x80, al; hlt


@dataclass(frozen=True, slots=True)
class Operation:
    """One test of bench.c.  ``argument`` is its second, beside the number of rounds."""

    name: str
    title: str
    test: str
    argument: int = 0
    vcpus: int = 1
    irqchip: bool = False


# fmt: off
OPERATIONS = (
    Operation("nothing",         "nothing: what measuring costs",            "nothing"),
    Operation("cpuid",           "CPUID",                                    "cpuid_exit"),
    Operation("pio_in",          "IN, answered by the monitor",              "pio_in"),
    Operation("pio_out",         "OUT, answered by the monitor",             "pio_out"),
    Operation("mmio_read",       "load from a device of the monitor",        "mmio_read"),
    Operation("mmio_write",      "store to a device of the monitor",         "mmio_write"),
    Operation("msr_read",        "RDMSR of IA32_PAT",                        "msr_read"),
    Operation("msr_write",       "WRMSR of IA32_PAT",                        "msr_write"),
    Operation("cr3_load",        "MOV to CR3",                               "cr3_load"),
    Operation("invlpg",          "INVLPG",                                   "invlpg_page"),
    Operation("page_fault",      "#PF, its handler and IRET",                "page_fault"),
    Operation("second_level",    "first touch of a page of host memory",     "violation"),
    Operation("vmcall",          "VMCALL: a hypercall that does nothing",    "vmcall"),
    Operation("vmmcall",         "VMMCALL: a hypercall that does nothing",   "vmmcall"),
    Operation("halt",            "from a timer's deadline out of HLT",       "halt", AHEAD, irqchip=True),
    Operation("ipi",             "IPI to a busy vCPU, and its answer",       "ipi", 0, vcpus=2, irqchip=True),
    Operation("ipi_halted",      "IPI to a halted vCPU, and its answer",     "ipi", 1, vcpus=2, irqchip=True),
    Operation("load",            "a load that the TLB has",                  "walk", 0),
    Operation("walk_4k",         "a load with a page walk, 4 KiB pages",     "walk", 1),
    Operation("walk_2m",         "a load with a page walk, 2 MiB pages",     "walk", 2),
    Operation("walk_1g",         "a load with a page walk, 1 GiB pages",     "walk", 3),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Cost:
    """What one operation cost.  ``samples``, sorted, are cycles, or nanoseconds of the host's where ``ns`` is set.

    Without samples ``reason`` says why.  ``khz`` is the frequency of the guest's counter, 0 where nobody knows it.
    """

    name: str
    title: str
    samples: tuple[int, ...] = ()
    reason: str = ""
    khz: int = 0
    ns: bool = False


def measure(engine: Engine, operation: Operation, rounds: int) -> Cost:
    """Run the operation ``rounds`` times (``MAX_ROUNDS`` at most) in a guest.  Raises Fault where the engine fails.

    Where they take too long, on a host that has much else to do, a tenth is tried, but not fewer than ``FEWEST``.
    """
    if operation.vcpus > engine.max_vcpus:
        return Cost(operation.name, operation.title, reason=f"the {engine.name} engine has one processor")
    if reason := _missing(engine, operation):
        return Cost(operation.name, operation.title, reason=reason)
    while (cost := _measured(engine, operation, rounds)) is None:
        if rounds // 10 < FEWEST:
            why = f"{rounds} rounds did not come back within {SECONDS:g} s"
            return Cost(operation.name, operation.title, reason=why)
        rounds //= 10
    return cost


def _measured(engine: Engine, operation: Operation, rounds: int) -> Cost | None:
    """What came of it; None: it did not come back in time."""
    image = images.load("bench")
    taken: list[tuple[int, ...]] = []
    khz = 0

    class _Host:
        """The port by which the guest hands its samples over, and the device that it drives."""

        def __init__(self, machine: Machine) -> None:
            self._machine = machine

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            if value == TAKEN:
                data = self._machine.memory.read(image["samples"], 8 * rounds)
                taken.append(struct.unpack(f"<{rounds}q", data))

    class _Device:
        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            pass

    def furnish(machine: Machine) -> None:
        nonlocal khz
        khz = machine.vcpu.tsc_khz()
        machine.bus.add_ports(HOST_PORT, 1, _Host(machine), "samples")
        machine.bus.add_ports(PORT, 1, _Device(), "port")
        machine.bus.add_mmio(DEVICE, 4096, _Device(), "device")
        if operation.test == "violation":
            machine.memory.add(FRESH, (WARM_UP + rounds) * mmap.PAGESIZE, backing="memfd")  # small pages

    ran = program.run(
        engine, "bench", memory=1 << 20, seconds=SECONDS, vcpus=operation.vcpus, irqchip=operation.irqchip,
        arguments=(image[operation.test], rounds, operation.argument), furnish=furnish,
    )  # fmt: skip
    if taken:
        return cost_of(operation, taken[0], khz)
    if ran.fault is None and isinstance(ran.end, Timeout):
        return None
    why = str(ran.end) if ran.fault is None else f"the guest took vector {ran.fault}"
    return Cost(operation.name, operation.title, reason=why)


def cost_of(operation: Operation, samples: Sequence[int], khz: int) -> Cost:
    """The cost from the guest's samples, in any order; what took less than no time was not measured."""
    if negative := sum(sample < 0 for sample in samples):
        why = f"{negative} of {len(samples)} took less than no time: the guest's counter does not keep step"
        return Cost(operation.name, operation.title, reason=why)
    return Cost(operation.name, operation.title, tuple(sorted(samples)), khz=khz)


def _missing(engine: Engine, operation: Operation) -> str:
    """Why the guest's processor has not what the operation needs; empty where it has."""
    table = {(entry.function, entry.index): entry for entry in engine.supported_cpuid()}
    vendor = table[0, 0].ebx if (0, 0) in table else 0
    features = table.get((0x8000_0001, 0))
    match operation.name:
        case "vmcall" if vendor != 0x756E_6547:
            return "not an Intel processor"
        case "vmmcall" if vendor == 0x756E_6547:
            return "not an AMD processor"
        case "walk_1g" if features is None or not features.edx >> 26 & 1:
            return "guests have no 1 GiB pages"
        case "vmcall" | "vmmcall" if engine.name != "kvm":
            return "hypercalls are KVM's"
    return ""


def boot(engine: Engine) -> Cost:
    """From asking for a machine of one vCPU and 1 MiB to the exit of its first instruction, in ns of the host's."""
    seen: list[int] = []

    class _First:
        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            seen.append(perf_counter_ns() - start)

    cpuid = engine.supported_cpuid()
    for _ in range(BOOTS):
        start = perf_counter_ns()
        with Machine(engine, cpuid=cpuid) as machine:
            machine.bus.add_ports(0x80, 1, _First(), "first")
            machine.memory.load(_CODE, _OUT_HLT)
            machine.vcpu.set_special_registers(modes.prot32(machine.vcpu.special_registers()))
            machine.vcpu.set_registers(Registers(rip=_CODE))
            machine.run(SECONDS)
    title = "from asking for a machine to its first exit"
    return Cost("boot", title, tuple(sorted(seen)), "" if seen else "no guest came to its first exit", ns=True)
