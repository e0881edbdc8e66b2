"""The monitor's own interrupt controllers put together: with no machine, then under guests."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from virtproof.kvm import CpuidEntry
from virtproof.spec.fault import Fault
from virtproof.spec.x86.cpuid import Leaf1Ecx, Leaf1Edx
from virtproof.vmm.bus import Bus
from virtproof.vmm.cpuid import Override, apic_features
from virtproof.vmm.engine import Vcpu
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.interrupts import SplitIrqchip
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import SREGS_SIZE, Registers, SpecialRegisters
from virtproof.vmm.routing import to_vector
from virtproof.vmm.state import Stateful
from virtproof.vmm.user_irqchip import LocalApics, UserIrqchip, VcpuApic, add_pit

APIC, IOAPIC = 0xFEE0_0000, 0xFEC0_0000
SVR, ICR, ICR_HIGH, LDR, EOI, TPR = 0xF0, 0x300, 0x310, 0xD0, 0xB0, 0x80
OTHERS, ALL, SELF = 3 << 18, 2 << 18, 1 << 18
LEVEL, MASKED = 1 << 15, 1 << 16


class Processor:
    """What the controllers need of a vCPU."""

    controller: VcpuApic
    msrs = task_priority = None

    def tsc(self) -> int:
        return 0

    def cpuid(self) -> list[CpuidEntry]:
        offered = int(Leaf1Ecx(0).but(x2apic=1, tsc_deadline=1))
        return [CpuidEntry(1, 0, 0, 0, 0, offered, 0), CpuidEntry(0x8000_0008, 0, 0, 40, 0, 0, 0)]

    def registers(self) -> Registers:
        return Registers()

    def special_registers(self) -> SpecialRegisters:
        return SpecialRegisters.unpack(bytes(SREGS_SIZE))

    def tsc_khz(self) -> int:
        return 1_000_000


class Board:
    """Processors with their controllers on a bus; who was asked, and who got NMIs."""

    def __init__(self, count: int = 1) -> None:
        self.clock = ManualClock()
        self.events = EventLoop(self.clock)
        self.bus = Bus()
        self.asked: list[int] = []
        self.nmis: list[int] = []
        self.processors = [Processor() for _ in range(count)]
        vcpus = cast(list[Vcpu], self.processors)
        self.apics = LocalApics(
            vcpus,
            after=self.events.after,
            now=self.clock.now,
            lock=threading.RLock(),
            asks=self.asked.append,
            nmi=self.nmis.append,
            kicks=lambda index: None,
        )
        self.chip = UserIrqchip(self.apics, threading.RLock())
        self.chip.add_to(self.bus)
        self.apics.attach(self.chip.pic)
        self.views = [self.apics.accesses(index, self.bus) for index in range(count)]
        for index in range(count):
            self.put(index, SVR, 0x1FF)
        for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0)):
            self.bus.pio_out(port, 1, value)

    def put(self, index: int, offset: int, value: int) -> None:
        self.views[index].mmio_write(APIC + offset, 4, value)

    def send(self, index: int, low: int, destination: int = 0) -> None:
        self.put(index, ICR_HIGH, destination << 24)
        self.put(index, ICR, low)

    def route(self, pin: int, low: int, destination: int = 0) -> None:
        for register, value in ((0x11 + 2 * pin, destination << 24), (0x10 + 2 * pin, low)):
            self.bus.mmio_write(IOAPIC, 4, register)
            self.bus.mmio_write(IOAPIC + 0x10, 4, value)

    def take(self, index: int = 0) -> int | None:
        """The vector that a vCPU is given; None: nothing waits for it."""
        controller = self.processors[index].controller
        return controller.acknowledge() if controller.pending else None

    def taken(self) -> list[int | None]:
        return [self.take(index) for index in range(len(self.processors))]


def test_a_line_goes_through_the_8259_and_past_the_task_priority() -> None:
    board = Board()
    board.put(0, TPR, 0xFF)
    board.chip.set_line(4, True)
    assert board.asked == [0]
    assert [board.take(), board.take()] == [0x24, None]


def test_a_line_reaches_both_controllers() -> None:
    board = Board()
    board.route(4, 0x60)
    board.chip.set_line(4, True)
    assert [board.take(), board.take(), board.take()] == [0x24, 0x60, None], "an ExtINT goes first"


def test_lines_above_15_reach_the_io_apic_only_and_others_nobody() -> None:
    board = Board()
    board.route(20, 0x60)
    for gsi in (20, 24, 100, -1):
        board.chip.set_line(gsi, True)
    assert [board.take(), board.take()] == [0x60, None]


@pytest.mark.parametrize("end", ["apic", "register"])
def test_the_end_of_a_level_is_told_and_the_level_comes_again(end: str) -> None:
    board = Board()
    ended: list[int] = []
    board.chip.on_eoi(20, lambda: ended.append(20))
    board.route(20, 0x60 | LEVEL)
    board.chip.set_line(20, True)
    for _ in range(2):
        assert board.take() == 0x60
        if end == "apic":
            board.put(0, EOI, 0)
        else:
            board.put(0, SVR, 0x11FF)  # directed EOI
            board.put(0, EOI, 0)
            assert board.take() is None
            board.bus.mmio_write(IOAPIC + 0x40, 4, 0x60)
    board.chip.set_line(20, False)
    assert ended == [20, 20]


def test_the_8259_tells_of_ends_too() -> None:
    board = Board()
    ended: list[int] = []
    board.chip.on_eoi(4, lambda: ended.append(4))
    board.chip.set_line(4, True)
    assert board.take() == 0x24
    assert ended == []
    board.bus.pio_out(0x20, 1, 0x20)
    assert ended == [4]


@pytest.mark.parametrize(
    ("sender", "low", "destination", "reached"),
    [(0, 0x40, 1, [1]), (1, 0x40, 0, [0]), (1, 0x40 | SELF, 0, [1]), (1, 0x40 | ALL, 0, [0, 1, 2]),
     (1, 0x40 | OTHERS, 0, [0, 2]), (0, 0x40, 0xFF, [0, 1, 2]), (0, 0x40 | 1 << 11, 6, [1, 2]), (0, 0x40, 9, [])],
)  # fmt: skip
def test_ipis_reach_those_that_they_name(sender: int, low: int, destination: int, reached: list[int]) -> None:
    board = Board(3)
    for index in range(3):
        board.put(index, LDR, 1 << 24 + index)
    board.send(sender, low | 1 << 14, destination)
    assert board.asked == reached
    assert board.taken() == [0x40 if index in reached else None for index in range(3)]


@pytest.mark.parametrize(
    ("destination", "logical", "reached"),
    [(1, 0, [1]), (0xFF, 0, []), (0xFFFF_FFFF, 0, [0, 1, 2]), (6, 1 << 11, [1, 2]), (0x1_0006, 1 << 11, [])],
)
def test_ipis_of_x2apics_have_a_whole_word_as_destination(destination: int, logical: int, reached: list[int]) -> None:
    board = Board(3)
    for processor in board.processors:
        assert processor.controller.write_msr(0x1B, APIC | 0xC00)
    assert board.processors[0].controller.write_msr(0x830, destination << 32 | logical | 0x40)
    assert board.asked == reached


@pytest.mark.parametrize("low", [0x140 | OTHERS, 0x140 | ALL])
def test_lowest_priority_reaches_one(low: int) -> None:
    board = Board(3)
    board.put(0, TPR, 0x30)
    board.put(1, TPR, 0x20)
    board.put(2, SVR, 0xFF)  # disabled: it would have the lowest
    board.send(0, low, 0)
    assert board.taken() == [None, 0x40, None]


def test_an_nmi_by_ipi_and_by_message() -> None:
    board = Board(2)
    board.send(0, 0x4400, 1)
    board.chip.send_msi(APIC, 0x400)
    assert board.nmis == [1, 0]
    assert board.taken() == [None, None]


@pytest.mark.parametrize(
    ("address", "vectors"),
    [(0xFEE0_0000, [0x41, None]), (0xFEE0_1000, [None, 0x41]), (0xFEEF_F000, [0x41, 0x41]), (0xFEE0_2004, [None, 0x41]),
     (0xFEEF_F008, [0x41, None]), (0xFED0_0000, [None, None]), (0x1_FEE0_0000, [None, None])],
)  # fmt: skip
def test_messages(address: int, vectors: list[int | None]) -> None:
    board = Board(2)
    board.put(1, LDR, 2 << 24)
    board.put(1, TPR, 0x20)
    board.chip.send_msi(address, 0x41)
    assert board.taken() == vectors


def test_each_processor_sees_its_own_apic_where_its_base_says() -> None:
    board = Board(2)
    controller = board.processors[1].controller
    board.put(1, TPR, 0x50)
    assert board.views[0].mmio_read(APIC + TPR, 4) == 0
    assert controller.write_msr(0x1B, 0x1000_0800)
    assert board.views[1].mmio_read(0x1000_0000 + TPR, 4) == 0x50
    assert board.views[1].mmio_read(APIC + TPR, 4) == 0xFFFF_FFFF, "nobody is there"
    board.views[1].mmio_write(0x1000_0000 + TPR, 4, 0x60)
    assert controller.cr8 == 6


def test_the_pit_is_line_0() -> None:
    board = Board()
    add_pit(board.bus, board.chip.set_line, board.events.after, board.clock.now)
    for port, value in ((0x43, 0x34), (0x40, 0xE8), (0x40, 0x03)):
        board.bus.pio_out(port, 1, value)
    assert board.take() is None
    board.clock.advance(1_000_000)
    board.events.poll()
    assert board.take() == 0x20


def test_split_routes_to_the_same_apics() -> None:
    board = Board()
    split = SplitIrqchip(board.apics)
    board.apics.ended = split.ended
    split.route([to_vector(5, 0x55, level=True)])
    split.set_line(5, True)
    assert board.take() == 0x55
    board.put(0, EOI, 0)
    assert board.take() == 0x55
    split.set_line(5, False)
    board.put(0, EOI, 0)
    assert board.take() is None


def test_state_goes_round() -> None:
    board, other = Board(2), Board(2)
    board.route(20, 0x60 | LEVEL, 1)
    board.chip.set_line(20, True)
    board.chip.set_line(4, True)
    for (_, device), (_, saved) in zip(other.bus.devices(), board.bus.devices(), strict=True):
        assert isinstance(device, Stateful)
        assert isinstance(saved, Stateful)
        device.restore(saved.state())
    other.chip.restore(board.chip.state())
    assert other.chip.state() == board.chip.state()
    assert other.taken() == [0x24, 0x60]
    assert board.bus.mmio_read(IOAPIC + 0x10, 4) == other.bus.mmio_read(IOAPIC + 0x10, 4) == 0x60 | LEVEL | 1 << 14


@pytest.mark.parametrize("change", [{"apics": []}, {"apics": None}, {"waits": []}, {"waits": 1}])
def test_what_no_state_gives_is_refused(change: dict[str, Any]) -> None:
    board = Board(2)
    with pytest.raises((ValueError, TypeError, KeyError)):
        board.chip.restore(board.chip.state() | change)


# ---- under guests


@pytest.fixture
def monitors(engine: KvmEngine) -> KvmEngine:
    """KVM without its interrupt controllers."""
    return KvmEngine(engine.kvm, kernel_irqchip=False)


def leaf1(machine: Machine) -> CpuidEntry:
    return next(entry for entry in machine.vcpu.cpuid() if entry.function == 1)


@pytest.mark.kvm
def test_cpuid_says_what_the_models_offer(engine: KvmEngine) -> None:
    with Machine(engine, cpuid=engine.supported_cpuid(), irqchip="user") as machine:
        ecx, edx = Leaf1Ecx(leaf1(machine).ecx), Leaf1Edx(leaf1(machine).edx)
        assert (edx.apic, ecx.x2apic) == (True, True)
        assert ecx.tsc_deadline == (machine.vcpu.tsc_khz() > 0)
        controller = machine.vcpu.msrs
        assert controller is not None
        assert controller.write_msr(0x1B, APIC | 0xC00)


@pytest.mark.kvm
def test_an_override_takes_x2apic_mode_away(engine: KvmEngine) -> None:
    override = Override(1, 0, "ecx", 0, Leaf1Ecx.x2apic.mask)
    table = engine.supported_cpuid()
    with Machine(engine, cpuid=table, cpuid_overrides=[override], irqchip="user") as machine:
        if apic_features(machine.vcpu.cpuid()).x2apic:
            pytest.skip(f"{engine.backend.name} keeps the bit")
        controller = machine.vcpu.msrs
        assert controller is not None
        assert not controller.write_msr(0x1B, APIC | 0xC00)


@pytest.mark.kvm
def test_a_pit_needs_controllers(engine: KvmEngine) -> None:
    with pytest.raises(Fault, match="8259s"):
        Machine(engine, pit=True, irqchip="split")
