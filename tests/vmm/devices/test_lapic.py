"""The local APIC and its timer, rule by rule, with no machine around them."""

import random
from collections.abc import Callable

import pytest

from virtproof.spec.x86.apic import Delivery, Icr
from virtproof.vmm.devices.apic_timer import SHORTEST_NS, ApicTimer
from virtproof.vmm.devices.lapic import LocalApic
from virtproof.vmm.events import EventLoop, ManualClock

ID, VERSION, TPR, APR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR = 0x320, 0x330, 0x340, 0x350, 0x360, 0x370
INITIAL, CURRENT, DIVIDE, SELF_IPI = 0x380, 0x390, 0x3E0, 0x3F0
BASE_MSR, DEADLINE_MSR = 0x1B, 0x6E0
BASE, BSP, EXTD, EN = 0xFEE0_0000, 1 << 8, 1 << 10, 1 << 11
MASKED, PERIODIC, DEADLINE = 1 << 16, 1 << 17, 1 << 18
GHZ = 1_000_000  # in kHz: a count is a nanosecond


class Counter:
    """A time stamp counter that runs at ``khz`` of the clock's time."""

    def __init__(self, clock: ManualClock, khz: int = GHZ) -> None:
        self._clock, self._khz = clock, khz
        self.slow = 0  # by how much it is behind

    def tsc(self) -> int:
        return self._clock.now() * self._khz // 1_000_000 - self.slow

    def tsc_khz(self) -> int:
        return self._khz


class Processor:
    """A local APIC whose commands go to itself, and what it told."""

    def __init__(self, *, khz: int = GHZ, x2apic: bool = True, tsc_deadline: bool = True, apic_id: int = 0) -> None:
        self.clock = ManualClock()
        self.loop = EventLoop(self.clock)
        self.counter = Counter(self.clock, khz)
        self.sent: list[Icr] = []
        self.ended: list[int] = []
        self.signals: list[tuple[Delivery, int]] = []
        self.asked = 0
        self.apic = LocalApic(
            ApicTimer(self.loop.after, self.clock.now, self.counter),
            send=self.send,
            ended=self.ended.append,
            signal=lambda delivery, vector: self.signals.append((delivery, vector)),
            asks=self.ask,
            apic_id=apic_id,
            x2apic=x2apic,
            tsc_deadline=tsc_deadline,
        )

    def ask(self) -> None:
        self.asked += 1

    def send(self, command: Icr) -> None:
        self.sent.append(command)
        if command.shorthand == 1:
            self.apic.accept(Delivery(command.delivery), command.vector)

    def get(self, offset: int) -> int:
        if self.apic.x2:
            value = self.apic.read_msr(0x800 + (offset >> 4))
            assert value is not None
            return value
        return self.apic.read(offset, 4)

    def put(self, offset: int, value: int) -> None:
        if self.apic.x2:
            assert self.apic.write_msr(0x800 + (offset >> 4), value)
        else:
            self.apic.write(offset, 4, value)

    def self_ipi(self, *vectors: int) -> None:
        for vector in vectors:
            self.put(ICR, 1 << 18 | 1 << 14 | vector)

    def take(self) -> int:
        """The vector that the processor takes; 0: none waits."""
        return self.apic.acknowledge() if self.apic.pending else 0

    def bit(self, bitmap: int, vector: int) -> int:
        return self.get(bitmap + (vector >> 5 << 4)) >> (vector & 31) & 1

    def wait(self, ns: int) -> None:
        self.clock.advance(ns)
        self.loop.poll()


def enabled(**asked: bool) -> Processor:
    cpu = Processor(**asked)  # type: ignore[arg-type]
    cpu.put(SVR, 0x1FF)
    return cpu


def in_x2apic() -> Processor:
    cpu = enabled()
    assert cpu.apic.write_msr(BASE_MSR, BASE | BSP | EXTD | EN)
    return cpu


@pytest.fixture(params=[enabled, in_x2apic], ids=["xapic", "x2apic"])
def cpu(request: pytest.FixtureRequest) -> Processor:
    make: Callable[[], Processor] = request.param
    return make()


def test_reset_values() -> None:
    cpu = Processor(apic_id=3)
    found = {offset: cpu.get(offset) for offset in (ID, VERSION, TPR, PPR, LDR, DFR, SVR, ESR, ICR, INITIAL, DIVIDE)}
    assert found == {
        ID: 3 << 24, VERSION: 0x0105_0014, TPR: 0, PPR: 0, LDR: 0, DFR: 0xFFFF_FFFF, SVR: 0xFF, ESR: 0, ICR: 0,
        INITIAL: 0, DIVIDE: 0,
    }  # fmt: skip
    assert [cpu.get(offset) for offset in range(TIMER, ERROR + 1, 16)] == [MASKED] * 6
    assert cpu.apic.read_msr(BASE_MSR) == BASE | BSP | EN


def test_a_request_is_in_irr_then_in_service_until_eoi(cpu: Processor) -> None:
    cpu.self_ipi(0x40)
    assert (cpu.bit(IRR, 0x40), cpu.bit(ISR, 0x40), cpu.asked) == (1, 0, 1)
    assert cpu.take() == 0x40
    assert (cpu.bit(IRR, 0x40), cpu.bit(ISR, 0x40), cpu.apic.pending) == (0, 1, False)
    cpu.put(EOI, 0)
    assert cpu.bit(ISR, 0x40) == 0
    assert cpu.ended == [], "it was no level"


def test_the_highest_vector_goes_first_and_its_class_holds_back_the_same(cpu: Processor) -> None:
    cpu.self_ipi(0x41, 0x72, 0x71)
    assert [cpu.take(), cpu.take()] == [0x72, 0]
    cpu.put(EOI, 0)
    assert cpu.take() == 0x71
    cpu.self_ipi(0x80)
    assert cpu.take() == 0x80
    assert cpu.get(PPR) == 0x80
    cpu.put(EOI, 0)
    cpu.put(EOI, 0)
    assert cpu.take() == 0x41


@pytest.mark.parametrize("vector", [16, 31, 32, 63, 64, 255])
def test_bitmaps_have_a_bit_for_each_vector(cpu: Processor, vector: int) -> None:
    cpu.self_ipi(vector)
    assert [cpu.get(IRR + 16 * word) for word in range(8)] == [
        1 << vector % 32 if word == vector // 32 else 0 for word in range(8)
    ]


def test_the_task_priority_holds_back_its_class(cpu: Processor) -> None:
    cpu.put(TPR, 0x40)
    cpu.self_ipi(0x4F, 0x50)
    assert [cpu.take(), cpu.take()] == [0x50, 0]
    cpu.put(EOI, 0)
    assert cpu.take() == 0
    cpu.put(TPR, 0x3F)
    assert cpu.take() == 0x4F


def test_cr8_is_the_upper_half_of_the_task_priority(cpu: Processor) -> None:
    cpu.put(TPR, 0x57)
    assert cpu.apic.cr8 == 5
    cpu.apic.cr8 = 9
    assert cpu.get(TPR) == 0x90
    cpu.self_ipi(0x90)
    assert not cpu.apic.pending
    asked = cpu.asked
    cpu.apic.cr8 = 8
    assert (cpu.apic.pending, cpu.asked) == (True, asked + 1)


def test_the_processor_priority_is_the_higher_of_task_and_service(cpu: Processor) -> None:
    for vector in (0x25, 0x93, 0xF0):
        cpu.self_ipi(vector)
        assert cpu.take() == vector
        for task in (0x00, 0x2F, 0x91, 0xFF):
            cpu.put(TPR, task)
            assert cpu.get(PPR) == (task if task & 0xF0 >= vector & 0xF0 else vector & 0xF0)
        cpu.put(TPR, 0)


def test_the_arbitration_priority_counts_what_waits() -> None:
    cpu = enabled()
    cpu.put(TPR, 0x45)
    assert cpu.get(APR) == 0x45
    cpu.self_ipi(0x33)
    assert cpu.get(APR) == 0x45
    cpu.self_ipi(0x73)
    assert cpu.get(APR) == 0x70
    cpu.take()
    assert cpu.get(APR) == 0x70
    cpu.put(TPR, 0x75)
    assert cpu.get(APR) == 0x70, "the task is no more urgent than what is in service"
    cpu.put(TPR, 0x85)
    assert cpu.get(APR) == 0x85


def test_an_acknowledge_that_finds_nothing_gives_the_spurious_vector(cpu: Processor) -> None:
    cpu.put(SVR, 0x1EF)
    cpu.self_ipi(0x40)
    cpu.put(TPR, 0x40)
    assert cpu.apic.acknowledge() == 0xEF
    assert (cpu.bit(IRR, 0x40), cpu.bit(ISR, 0xEF)) == (1, 0)


def test_disabled_by_svr_it_takes_nothing_new_and_its_lvt_is_masked(cpu: Processor) -> None:
    cpu.self_ipi(0x50)
    cpu.put(LINT1, 0x400)
    cpu.put(SVR, 0xFF)
    cpu.self_ipi(0x40)
    assert cpu.bit(IRR, 0x40) == 0
    assert cpu.get(LINT1) == MASKED | 0x400
    cpu.put(LINT1, 0x400)
    assert cpu.get(LINT1) == MASKED | 0x400
    assert cpu.take() == 0x50, "what waits is kept"
    cpu.put(SVR, 0x1FF)
    assert cpu.get(LINT1) == MASKED | 0x400
    assert cpu.apic.accept(Delivery.NMI, 0)


def test_an_nmi_passes_a_disabled_apic(cpu: Processor) -> None:
    cpu.put(SVR, 0xFF)
    assert cpu.apic.accept(Delivery.NMI, 0)
    assert cpu.signals == [(Delivery.NMI, 0)]
    assert not cpu.apic.accept(Delivery.FIXED, 0x40)


def test_a_level_is_in_tmr_and_its_end_is_broadcast(cpu: Processor) -> None:
    cpu.apic.accept(Delivery.FIXED, 0x60, level=True)
    cpu.apic.accept(Delivery.FIXED, 0x70, level=False)
    assert (cpu.bit(TMR, 0x60), cpu.bit(TMR, 0x70)) == (1, 0)
    for _ in range(2):
        cpu.take()
        cpu.put(EOI, 0)
    assert cpu.ended == [0x60]
    cpu.put(EOI, 0)
    assert cpu.ended == [0x60]
    cpu.apic.accept(Delivery.FIXED, 0x60, level=False)
    assert cpu.bit(TMR, 0x60) == 0


def test_directed_eoi_keeps_the_end_to_itself(cpu: Processor) -> None:
    cpu.put(SVR, 0x11FF)
    cpu.apic.accept(Delivery.FIXED, 0x60, level=True)
    cpu.take()
    cpu.put(EOI, 0)
    assert cpu.ended == []


@pytest.mark.parametrize(
    ("offset", "keeps"),
    [(TPR, 0xFF), (LDR, 0xFF00_0000), (ID, 0xFF00_0000), (SVR, 0x13FF), (TIMER, 0x7_00FF), (THERMAL, 0x1_07FF),
     (PERFORMANCE, 0x1_07FF), (LINT0, 0x1_A7FF), (LINT1, 0x1_A7FF), (ERROR, 0x1_00FF), (DIVIDE, 0xB),
     (ICR_HIGH, 0xFF00_0000), (INITIAL, 0xFFFF_FFFF), (VERSION, 0x0105_0014), (PPR, 0), (ISR, 0), (CURRENT, 0)],
)  # fmt: skip
def test_what_a_register_of_the_page_keeps(offset: int, keeps: int) -> None:
    cpu = enabled()
    if offset in (TIMER, INITIAL):
        cpu.apic.timer.start(0)
    cpu.put(offset, 0xFFFF_FFFF)
    assert cpu.get(offset) == keeps


def test_a_register_is_32_bits_every_16_bytes() -> None:
    cpu = enabled()
    cpu.put(TPR, 0x45)
    cpu.apic.write(TPR + 4, 4, 0xFF)
    cpu.apic.write(TPR, 1, 0xFF)
    cpu.apic.write(TPR + 1, 4, 0xFF)
    assert (cpu.apic.read(TPR, 1), cpu.apic.read(TPR, 8), cpu.apic.read(TPR + 4, 4)) == (0x45, 0x45, 0)
    assert cpu.apic.read(VERSION + 2, 2) == 0x0105
    cpu.apic.write(TPR, 8, 0xFFFF_FFFF_0000_0012)
    assert cpu.get(TPR) == 0x12


def test_errors_are_shown_by_a_write_and_interrupt_once() -> None:
    cpu = enabled()
    cpu.put(ERROR, 0xE0)
    cpu.self_ipi(5)
    assert cpu.get(ESR) == 0
    assert cpu.sent == []
    cpu.put(ESR, 0)
    assert cpu.get(ESR) == 1 << 5
    assert cpu.take() == 0xE0
    cpu.put(EOI, 0)
    cpu.apic.accept(Delivery.FIXED, 5)
    cpu.apic.accept(Delivery.FIXED, 6)
    assert [cpu.take(), cpu.take()] == [0xE0, 0]
    cpu.get(0x10)
    cpu.put(ESR, 0)
    assert cpu.get(ESR) == 1 << 6 | 1 << 7
    cpu.put(ESR, 0)
    assert cpu.get(ESR) == 0


def test_an_error_of_the_error_entry_itself_ends() -> None:
    cpu = enabled()
    cpu.put(ERROR, 5)
    cpu.put(0x40, 0)
    cpu.put(ESR, 0)
    assert cpu.get(ESR) == 1 << 6 | 1 << 7


def test_commands_carry_destination_and_mode() -> None:
    cpu = enabled()
    cpu.put(ICR_HIGH, 5 << 24)
    cpu.put(ICR, 0x4830)
    (command,) = cpu.sent
    assert (command.destination >> 24, command.vector, command.logical, command.delivery) == (5, 0x30, True, 0)
    assert (cpu.get(ICR), cpu.get(ICR_HIGH)) == (0x4830, 5 << 24)


def test_an_init_deassert_is_not_sent(cpu: Processor) -> None:
    cpu.put(ICR, 0x8500)
    assert cpu.sent == []
    cpu.put(ICR, 0xC500)
    cpu.put(ICR, 0x0500)
    assert [command.delivery for command in cpu.sent] == [Delivery.INIT] * 2


def test_x2apic_commands_are_one_write() -> None:
    cpu = in_x2apic()
    assert cpu.apic.write_msr(0x830, 0x1234_5678 << 32 | 0x4040)
    assert cpu.sent[-1].destination == 0x1234_5678
    assert cpu.apic.read_msr(0x830) == 0x1234_5678 << 32 | 0x4040
    assert cpu.apic.write_msr(0x83F, 0x41)
    assert cpu.take() == 0x41


@pytest.mark.parametrize(("index", "value", "taken"), [
    (0x802, 0, False), (0x803, 0, False), (0x80A, 0, False), (0x80D, 0, False), (0x839, 0, False), (0x810, 0, False),
    (0x80E, 0, False), (0x831, 0, False), (0x809, 0, False), (0x80C, 0, False), (0x804, 0, False), (0x8FF, 0, False),
    (0x80B, 0, True),  (0x80B, 1, False), (0x828, 0, True),  (0x828, 1, False),
    (0x808, 0xFF, True), (0x808, 0x100, False), (0x83F, 0xFF, True), (0x83F, 0x100, False),
    (0x832, 0x610FF, True), (0x832, 0x100, False), (0x832, 1 << 32, False), (0x830, 1 << 13, False),
    (0x80F, 0x1FF, True), (0x80F, 1 << 10, False), (0x83E, 4, False), (0x838, 1 << 32, False), (0x835, 1 << 11, False),
])  # fmt: skip
def test_what_a_write_of_an_x2apic_register_may_hold(index: int, value: int, taken: bool) -> None:
    assert in_x2apic().apic.write_msr(index, value) == taken
    assert not enabled().apic.write_msr(index, value), "in xAPIC mode there is none"


def test_which_x2apic_registers_can_be_read() -> None:
    readable = {index for index in range(0x800, 0x900) if in_x2apic().apic.read_msr(index) is not None}
    alone = {0x802, 0x803, 0x808, 0x80A, 0x80D, 0x80F, 0x828, 0x830, 0x838, 0x839, 0x83E}
    assert readable == alone | set(range(0x810, 0x828)) | set(range(0x832, 0x838))
    assert all(enabled().apic.read_msr(index) is None for index in range(0x800, 0x900))


def test_ids_of_x2apic_mode() -> None:
    cpu = Processor(apic_id=0x23)
    cpu.put(ID, 7 << 24)
    assert cpu.apic.write_msr(BASE_MSR, BASE | EXTD | EN)
    assert (cpu.get(ID), cpu.get(LDR)) == (0x23, 0x2_0008)


X, X2, OFF, INVALID = EN, EN | EXTD, 0, EXTD


@pytest.mark.parametrize(
    ("way", "taken"),
    [((X,), True), ((X2,), True), ((OFF,), True), ((INVALID,), False), ((X2, X), False), ((X2, OFF), True),
     ((X2, X2), True), ((OFF, X), True), ((OFF, X2), False), ((OFF, OFF), True), ((OFF, INVALID), False),
     ((X2, INVALID), False)],
)  # fmt: skip
def test_the_ways_between_modes(way: tuple[int, ...], taken: bool) -> None:
    cpu = enabled()
    for mode in way[:-1]:
        assert cpu.apic.write_msr(BASE_MSR, BASE | mode)
    before = cpu.apic.read_msr(BASE_MSR)
    assert cpu.apic.write_msr(BASE_MSR, BASE | way[-1]) == taken
    assert cpu.apic.read_msr(BASE_MSR) == (BASE | way[-1] if taken else before)


@pytest.mark.parametrize("value", [BASE | EN | 1, BASE | EN | 1 << 9, 1 << 52 | EN])
def test_reserved_bits_of_the_base(value: int) -> None:
    assert not enabled().apic.write_msr(BASE_MSR, value)


def test_x2apic_mode_that_is_not_offered() -> None:
    assert not enabled(x2apic=False).apic.write_msr(BASE_MSR, BASE | X2)


def test_the_page_is_where_the_base_says_and_only_in_xapic_mode() -> None:
    cpu = enabled()
    assert cpu.apic.page == BASE
    assert cpu.apic.write_msr(BASE_MSR, 0x1234_5000 | EN)
    assert cpu.apic.page == 0x1234_5000
    assert cpu.apic.write_msr(BASE_MSR, BASE | X2)
    assert cpu.apic.page == -1
    assert cpu.apic.write_msr(BASE_MSR, BASE | OFF)
    assert cpu.apic.page == -1


def test_switched_off_it_forgets_and_takes_nothing() -> None:
    cpu = enabled()
    cpu.put(TPR, 0x20)
    cpu.self_ipi(0x50)
    cpu.apic.write_msr(BASE_MSR, BASE | OFF)
    assert not cpu.apic.pending
    assert not cpu.apic.accept(Delivery.NMI, 0)
    cpu.apic.write_msr(BASE_MSR, BASE | X)
    assert (cpu.get(TPR), cpu.get(SVR), cpu.bit(IRR, 0x50)) == (0, 0xFF, 0)


def test_a_change_to_x2apic_keeps_what_waits() -> None:
    cpu = enabled()
    cpu.put(TPR, 0x20)
    cpu.put(ICR_HIGH, 7 << 24)
    cpu.self_ipi(0x50)
    assert cpu.apic.write_msr(BASE_MSR, BASE | X2)
    assert (cpu.get(TPR), cpu.bit(IRR, 0x50), cpu.get(ICR)) == (0x20, 1, 1 << 18 | 1 << 14 | 0x50)


def destination(cpu: Processor, to: int, *, logical: bool = True, short: bool = True) -> bool:
    return cpu.apic.is_destination(to, logical=logical, short=short)


def test_destinations_in_xapic_mode() -> None:
    cpu = Processor(apic_id=3)
    assert [to for to in range(256) if destination(cpu, to, logical=False)] == [3, 0xFF]
    cpu.put(LDR, 0x42 << 24)
    assert [destination(cpu, to) for to in (0x40, 0x02, 0x3D, 0xFF)] == [True, True, False, True]
    cpu.put(DFR, 0x0FFF_FFFF)
    assert [destination(cpu, to) for to in (0x42, 0x43, 0x41, 0x22, 0xFF)] == [True, True, False, False, True]


def test_destinations_in_x2apic_mode() -> None:
    cpu = Processor(apic_id=0x23)
    cpu.apic.write_msr(BASE_MSR, BASE | X2)
    for to, logical, short, mine in (
        (0x23, False, False, True), (0xFF, False, False, False), (0xFFFF_FFFF, False, False, True),
        (0x2_0008, True, False, True), (0x2_0004, True, False, False), (0x1_0008, True, False, False),
        (0xFF, False, True, True), (0x23, False, True, True), (0x22, False, True, False),
    ):  # fmt: skip
        assert destination(cpu, to, logical=logical, short=short) == mine


# ---- LINT pins


def test_lint0_as_extint_asks_past_all_priorities() -> None:
    cpu = enabled()
    cpu.put(TPR, 0xFF)
    cpu.put(LINT0, 0x700)
    cpu.apic.set_lint(0, True)
    assert (cpu.apic.extint, cpu.apic.pending, cpu.asked) == (True, True, 1)
    cpu.put(LINT0, MASKED | 0x700)
    assert (cpu.apic.extint, cpu.apic.pending) == (False, False)
    cpu.put(LINT0, 0x700)
    cpu.apic.set_lint(0, False)
    assert not cpu.apic.pending


def test_without_the_apic_lint0_is_the_interrupt_pin() -> None:
    cpu = enabled()
    cpu.apic.set_lint(0, True)
    assert not cpu.apic.pending
    cpu.apic.write_msr(BASE_MSR, BASE | OFF)
    assert (cpu.apic.extint, cpu.apic.pending) == (True, True)


def test_lint1_as_nmi_is_an_edge() -> None:
    cpu = enabled()
    cpu.put(LINT1, 0x400)
    cpu.apic.set_lint(1, True)
    cpu.apic.set_lint(1, True)
    assert cpu.signals == [(Delivery.NMI, 0)]


def test_a_fixed_lint_takes_edges_and_levels(cpu: Processor) -> None:
    cpu.put(LINT0, 0x41)
    cpu.apic.set_lint(0, True)
    cpu.apic.set_lint(0, True)
    assert cpu.take() == 0x41
    cpu.put(EOI, 0)
    assert cpu.take() == 0
    cpu.put(LINT0, 0x8041)
    assert cpu.get(LINT0) == 0xC041
    assert cpu.take() == 0x41
    cpu.put(EOI, 0)
    assert cpu.take() == 0x41
    cpu.apic.set_lint(0, True)
    assert cpu.bit(IRR, 0x41) == 0, "one is in service"
    cpu.apic.set_lint(0, False)
    cpu.put(EOI, 0)
    assert (cpu.take(), cpu.get(LINT0)) == (0, 0x8041)


# ---- the timer


def timer(cpu: Processor, lvt: int, count: int, *, divide: int = 0xB) -> None:
    cpu.put(DIVIDE, divide)
    cpu.put(TIMER, lvt)
    cpu.put(INITIAL, count)


def test_one_shot_comes_once(cpu: Processor) -> None:
    timer(cpu, 0x50, 1000)
    cpu.wait(999)
    assert (cpu.get(CURRENT), cpu.take()) == (1, 0)
    cpu.wait(1)
    assert (cpu.get(CURRENT), cpu.take(), cpu.get(INITIAL)) == (0, 0x50, 1000)
    cpu.put(EOI, 0)
    cpu.wait(10_000_000)
    assert cpu.take() == 0


@pytest.mark.parametrize(
    ("divide", "by"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (0xA, 128), (0xB, 1)]
)  # fmt: skip
def test_the_timer_divides(cpu: Processor, divide: int, by: int) -> None:
    timer(cpu, 0x50, 1000, divide=divide)
    cpu.wait(999 * by)
    assert (cpu.get(CURRENT), cpu.take()) == (1, 0)
    cpu.wait(by)
    assert cpu.take() == 0x50


def test_a_change_of_the_divider_keeps_the_count(cpu: Processor) -> None:
    timer(cpu, 0x50, 1000)
    cpu.wait(600)
    cpu.put(DIVIDE, 0)
    assert cpu.get(CURRENT) == 400
    cpu.wait(798)
    assert (cpu.get(CURRENT), cpu.take()) == (1, 0)
    cpu.wait(2)
    assert cpu.take() == 0x50


def test_periodic_comes_each_time_round(cpu: Processor) -> None:
    timer(cpu, PERIODIC | 0x50, 1_000_000)
    for _ in range(3):
        cpu.wait(999_999)
        assert cpu.take() == 0
        cpu.wait(1)
        assert (cpu.take(), cpu.get(CURRENT)) == (0x50, 1_000_000)
        cpu.put(EOI, 0)
    cpu.wait(5_300_000)
    assert (cpu.take(), cpu.get(CURRENT)) == (0x50, 700_000)
    cpu.put(EOI, 0)
    assert cpu.take() == 0, "what was missed is one interrupt"


def test_a_short_period_does_not_flood_the_monitor(cpu: Processor) -> None:
    timer(cpu, PERIODIC | 0x50, 1)
    taken = 0
    for _ in range(1000):
        cpu.wait(1000)
        if cpu.take():
            taken += 1
            cpu.put(EOI, 0)
        assert cpu.get(CURRENT) <= 1
    assert 0 < taken <= 1 + 1_000_000 // SHORTEST_NS


@pytest.mark.parametrize("mode", [0, PERIODIC])
def test_a_masked_timer_runs_and_interrupts_nobody(cpu: Processor, mode: int) -> None:
    timer(cpu, MASKED | mode | 0x50, 500_000)
    cpu.wait(500_000)
    assert cpu.take() == 0
    cpu.put(TIMER, mode | 0x50)
    cpu.wait(500_000)
    assert cpu.take() == (0x50 if mode else 0)


def test_a_count_of_zero_stops_it(cpu: Processor) -> None:
    timer(cpu, PERIODIC | 0x50, 1000)
    cpu.put(INITIAL, 0)
    cpu.wait(1_000_000)
    assert (cpu.get(CURRENT), cpu.take()) == (0, 0)


def test_one_shot_becomes_periodic_and_back(cpu: Processor) -> None:
    timer(cpu, 0x50, 1_000_000)
    cpu.put(TIMER, PERIODIC | 0x51)
    cpu.wait(1_000_000)
    assert cpu.take() == 0x51
    cpu.put(EOI, 0)
    cpu.put(TIMER, 0x52)
    cpu.wait(1_000_000)
    assert cpu.take() == 0x52
    cpu.put(EOI, 0)
    cpu.wait(9_000_000)
    assert cpu.take() == 0


@pytest.mark.parametrize("khz", [GHZ, 2_893_117, 1000])
def test_a_deadline_comes_once_and_not_early(khz: int) -> None:
    cpu = Processor(khz=khz)
    cpu.put(SVR, 0x1FF)
    cpu.put(TIMER, DEADLINE | 0x50)
    deadline = cpu.counter.tsc() + 12_345
    assert cpu.apic.write_msr(DEADLINE_MSR, deadline)
    assert cpu.apic.read_msr(DEADLINE_MSR) == deadline
    due = cpu.loop.next_deadline()
    assert due is not None
    cpu.clock.advance(due - 1)
    assert cpu.counter.tsc() < deadline
    cpu.wait(1)
    assert cpu.counter.tsc() >= deadline
    assert (cpu.take(), cpu.apic.read_msr(DEADLINE_MSR)) == (0x50, 0)
    cpu.put(EOI, 0)
    cpu.wait(10**9)
    assert cpu.take() == 0


def test_a_counter_that_is_behind_the_clock_is_waited_for(cpu: Processor) -> None:
    cpu.put(TIMER, DEADLINE | 0x50)
    cpu.apic.write_msr(DEADLINE_MSR, cpu.counter.tsc() + 1000)
    cpu.counter.slow = 10
    cpu.wait(1000)
    assert cpu.take() == 0
    cpu.wait(10)
    assert cpu.take() == 0x50


def test_a_deadline_in_the_past_comes_at_once(cpu: Processor) -> None:
    cpu.wait(1000)
    cpu.put(TIMER, DEADLINE | 0x50)
    assert cpu.apic.write_msr(DEADLINE_MSR, 1)
    assert (cpu.take(), cpu.apic.read_msr(DEADLINE_MSR)) == (0x50, 0)


@pytest.mark.parametrize("deadline", [1 << 62, (1 << 64) - 1])
def test_zero_disarms_a_deadline(cpu: Processor, deadline: int) -> None:
    cpu.put(TIMER, DEADLINE | 0x50)
    assert cpu.apic.write_msr(DEADLINE_MSR, deadline)
    assert cpu.apic.read_msr(DEADLINE_MSR) == deadline
    assert cpu.apic.write_msr(DEADLINE_MSR, 0)
    assert (cpu.apic.read_msr(DEADLINE_MSR), cpu.loop.next_deadline()) == (0, None)


def test_a_mode_leaves_the_other_alone(cpu: Processor) -> None:
    assert cpu.apic.write_msr(DEADLINE_MSR, 1)
    assert (cpu.apic.read_msr(DEADLINE_MSR), cpu.take()) == (0, 0)
    timer(cpu, 0x50, 1000)
    cpu.put(TIMER, DEADLINE | 0x50)
    assert (cpu.get(CURRENT), cpu.get(INITIAL)) == (0, 0)
    cpu.put(INITIAL, 1000)
    assert cpu.get(CURRENT) == 0
    cpu.apic.write_msr(DEADLINE_MSR, 10_000)
    cpu.put(TIMER, 0x50)
    cpu.wait(1_000_000)
    assert cpu.take() == 0


def test_deadlines_that_are_not_offered() -> None:
    cpu = enabled(tsc_deadline=False)
    assert cpu.apic.read_msr(DEADLINE_MSR) is None
    assert not cpu.apic.write_msr(DEADLINE_MSR, 0)


# ---- state


def test_state_goes_round() -> None:
    cpu, other = in_x2apic(), Processor()
    timer(cpu, PERIODIC | 0x50, 1_000_000, divide=0)
    cpu.self_ipi(0x41, 0x60)
    cpu.take()
    cpu.put(LINT0, 0x8700)
    cpu.put(TPR, 0x10)
    cpu.wait(300_000)
    other.apic.restore(cpu.apic.state())
    assert other.apic.state() == cpu.apic.state()
    for both in (cpu, other):
        both.put(EOI, 0)
        assert both.take() == 0x41
        both.put(EOI, 0)
        both.wait(1_700_000)
        assert both.take() == 0x50


def test_an_armed_deadline_goes_round(cpu: Processor) -> None:
    cpu.put(TIMER, DEADLINE | 0x50)
    cpu.apic.write_msr(DEADLINE_MSR, 5000)
    other = Processor()
    other.apic.restore(cpu.apic.state())
    other.wait(4999)
    assert other.take() == 0
    other.wait(1)
    assert other.take() == 0x50


@pytest.mark.parametrize(
    "change",
    [{"base": "400"}, {"base": "x"}, {"base": 5}, {"irr": "1" * 65}, {"lvt": [0]}, {"lvt": ["0"] * 6}, {"tpr": "100"},
     {"svr": "-1"}, {"lint": [True]}, {"timer": {}}, {"esr": None}],
)  # fmt: skip
def test_what_no_state_gives_is_refused(cpu: Processor, change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        cpu.apic.restore(cpu.apic.state() | change)


@pytest.mark.parametrize("name", ["mode", "divide", "initial", "current", "deadline"])
@pytest.mark.parametrize("value", [-1, 1 << 64, "1", 1.5, float("inf"), None])
def test_what_no_timer_gives_is_refused(cpu: Processor, name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        cpu.apic.timer.restore(cpu.apic.timer.state() | {name: value})


@pytest.mark.parametrize("seed", range(16))
def test_no_sequence_breaks_it(seed: int) -> None:
    """Whatever a guest does: 32-bit registers, sane bitmaps, ``pending`` as IRR and PPR say, timers within bounds."""
    random_ = random.Random(seed)
    cpu = enabled()
    apic = cpu.apic
    for _ in range(2000):
        match random_.randrange(8):
            case 0:
                apic.write(random_.randrange(4096), random_.choice((1, 2, 4, 8)), random_.getrandbits(64))
            case 1:
                apic.write(random_.randrange(64) << 4, 4, random_.getrandbits(random_.choice((8, 19, 32))))
            case 2:
                index = random_.choice((BASE_MSR, DEADLINE_MSR, 0x800 + random_.randrange(256)))
                apic.write_msr(index, random_.getrandbits(64))
            case 3:
                apic.write_msr(0x800 + random_.randrange(0x40), random_.getrandbits(19))
                apic.write_msr(BASE_MSR, random_.choice((X, X2, OFF)) | BASE)
            case 4:
                apic.accept(Delivery(random_.randrange(8)), random_.randrange(256), level=random_.random() < 0.5)
            case 5:
                apic.set_lint(random_.randrange(2), random_.random() < 0.5)
            case 6 if apic.pending and not apic.extint:
                assert apic.acknowledge() >= 16
            case 7:
                cpu.wait(random_.choice((1, 1000, 10**6)))
        for index in (BASE_MSR, DEADLINE_MSR, 0x800 + random_.randrange(256)):
            value = apic.read_msr(index)
            assert value is None or 0 <= value < 1 << 64
        assert 0 <= apic.read(random_.randrange(4096) & ~3, 4) < 1 << 32
        assert all(of & 0xFFFF == 0 and of >> 256 == 0 for of in (apic.irr, apic.isr))
        highest = apic.irr.bit_length() - 1
        deliverable = apic.base.en and highest >= 0 and highest >> 4 > apic.ppr >> 4
        assert apic.pending == (deliverable or apic.extint)
        if not apic.svr.enabled and apic.base.en and random_.random() < 0.1:
            cpu.put(SVR, 0x1FF)
    assert len(cpu.loop._heap) < 200
