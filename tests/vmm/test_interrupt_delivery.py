"""Interrupts that reach guests: lines by edge and level, messages, NMI, eventfds; every controller there is.

The guest opens its interrupts for a few instructions and then tells how many it took.  A line that is kept high gives
one where it is edge-triggered; where it is level-triggered, one more after each EOI, until the host lowers it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.vmm import handlers as h
from tests.vmm.guests import SECONDS
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Cap
from virtproof.vmm import exits
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.interrupts import InjectedInterrupts, SplitIrqchip
from virtproof.vmm.machine import Irqchip, Machine
from virtproof.vmm.routing import DEFAULT, MsiRoute, PinRoute, to_vector

pytestmark = pytest.mark.kvm

LINE, VECTOR = 5, 0x25
# Writes to a port of nobody: an interpreting backend looks for interrupts only when it enters the guest.
OPEN = h.STI + h.outb(0x51C, 0) * 6 + h.CLI


class Way(NamedTuple):
    """A way for a line to reach the guest: controller, set-up by guest and host, EOI."""

    irqchip: Irqchip
    setup: Callable[[bool], bytes]  # level-triggered?
    eoi: bytes
    prepare: Callable[[Machine, bool], None] = lambda guest, level: None


def route(guest: Machine, level: bool) -> None:
    assert isinstance(guest.interrupts, SplitIrqchip)
    guest.interrupts.route([to_vector(LINE, VECTOR, level=level)])


def level_lines(guest: Machine, level: bool) -> None:
    assert isinstance(guest.interrupts, InjectedInterrupts)
    guest.interrupts.level = {LINE} if level else set()


WAYS = {
    "pic": Way("kernel", lambda level: h.pic_setup(level=1 << LINE if level else 0), h.EOI_PIC),
    "ioapic": Way(
        "kernel",
        # The PIC's way to the processor is shut: all its lines are masked.
        lambda level: h.ENABLE_APIC + h.outb(0x21, 0xFF) + h.ioapic_setup(LINE, VECTOR, level=level),
        h.EOI_APIC,
    ),
    "user pic": Way("user", lambda level: h.pic_setup(level=1 << LINE if level else 0), h.EOI_PIC),
    "user ioapic": Way(
        "user",
        lambda level: h.ENABLE_APIC + h.outb(0x21, 0xFF) + h.ioapic_setup(LINE, VECTOR, level=level),
        h.EOI_APIC,
    ),
    "split": Way("split", lambda level: h.ENABLE_APIC, h.EOI_APIC, route),
    "injected": Way("injected", lambda level: b"", b"", level_lines),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, engine: KvmEngine) -> Way:
    found: Way = WAYS[request.param]
    needed = {"kernel": Cap.IRQCHIP, "split": Cap.SPLIT_IRQCHIP, "user": Cap.X86_MSR_FILTER}.get(found.irqchip)
    if needed is not None and not engine.kvm.check_extension(needed):
        pytest.skip(f"this kernel does not offer KVM_CAP_{needed.name}")
    return found


ENDS_EARLY = "kvm_pvm ends an interrupt of the local APIC as it delivers it: the bit in ISR is never seen set"


def apic_keeps_isr(engine: KvmEngine, way: Way) -> None:
    if way.irqchip != "user" and way.eoi == h.EOI_APIC and engine.backend.name == "kvm_pvm":
        pytest.skip(ENDS_EARLY)


def counting(
    engine: KvmEngine, way: Way, *, level: bool, lower_at: int, code: bytes | None = None
) -> tuple[int, list[str]]:
    """Raise the line, let the guest take interrupts, lower it in the handler's ``lower_at``-th run."""
    seen: list[str] = []
    code = code or way.setup(level) + h.outb(h.RAISE, 0) + OPEN + h.REPORT_COUNT + h.SPIN
    body = h.handler(h.COUNT_ONE, h.outb(h.HANDLED, 0), way.eoi)
    with h.interruptible(engine, code, {VECTOR: body}, irqchip=way.irqchip) as guest:
        way.prepare(guest, level)

        def handled() -> None:
            seen.append("handled")
            if seen.count("handled") == lower_at:
                guest.interrupts.set_line(LINE, False)

        guest.interrupts.on_eoi(LINE, lambda: seen.append("eoi"))
        device = h.calls(guest, {h.RAISE: lambda: guest.interrupts.set_line(LINE, True), h.HANDLED: handled})
        assert guest.run(SECONDS) == exits.Interrupted()
        guest.events.poll()
    return device.results[0], seen


def test_an_edge_is_one_interrupt_however_long_the_line_is_high(engine: KvmEngine, way: Way) -> None:
    assert counting(engine, way, level=False, lower_at=100)[0] == 1


def test_a_level_interrupts_again_after_each_eoi_until_it_is_low(engine: KvmEngine, way: Way) -> None:
    apic_keeps_isr(engine, way)
    assert counting(engine, way, level=True, lower_at=3)[0] == 3


def test_a_level_that_falls_in_the_handler_is_one_interrupt(engine: KvmEngine, way: Way) -> None:
    apic_keeps_isr(engine, way)
    assert counting(engine, way, level=True, lower_at=1)[0] == 1


def test_the_end_of_a_level_interrupt_is_told(engine: KvmEngine, way: Way) -> None:
    _, seen = counting(engine, way, level=True, lower_at=2)
    assert "eoi" in seen
    apic_keeps_isr(engine, way)
    assert seen[0] == ("eoi" if way.irqchip == "injected" else "handled")


def test_without_eoi_no_second_interrupt_comes(engine: KvmEngine, way: Way) -> None:
    if way.irqchip == "injected":
        pytest.skip("the acknowledge is the end: there is no EOI to leave out")
    apic_keeps_isr(engine, way)
    assert counting(engine, way._replace(eoi=b""), level=True, lower_at=100)[0] == 1


def test_nothing_comes_while_interrupts_are_off(engine: KvmEngine, way: Way) -> None:
    code = way.setup(True) + h.outb(h.RAISE, 0) + h.outb(0x51C, 0) * 6 + h.REPORT_COUNT + h.SPIN
    assert counting(engine, way, level=True, lower_at=1, code=code)[0] == 0


def test_a_line_wakes_a_halted_guest(engine: KvmEngine, way: Way) -> None:
    code = way.setup(False) + h.outb(h.RAISE, 0) + h.STI + h.HLT + h.CLI + h.REPORT_COUNT + h.SPIN
    body = h.handler(h.COUNT_ONE, way.eoi)
    with h.interruptible(engine, code, {VECTOR: body}, irqchip=way.irqchip) as guest:
        way.prepare(guest, False)
        device = h.calls(
            guest, {h.RAISE: lambda: guest.after(2_000_000, lambda: guest.interrupts.set_line(LINE, True)) and None}
        )
        assert guest.run(SECONDS) == exits.Interrupted()
    assert device.results == [1]


def test_a_line_wakes_a_halted_guest_of_two_vcpus(engine: KvmEngine, way: Way) -> None:
    code = way.setup(False) + h.outb(h.RAISE, 0) + h.STI + h.HLT + h.CLI + h.REPORT_COUNT + h.SPIN
    body = h.handler(h.COUNT_ONE, way.eoi)
    with h.interruptible(engine, code, {VECTOR: body}, irqchip=way.irqchip, vcpus=2) as guest:
        h.park(guest)
        way.prepare(guest, False)
        device = h.calls(
            guest, {h.RAISE: lambda: guest.after(2_000_000, lambda: guest.interrupts.set_line(LINE, True)) and None}
        )
        assert guest.run(SECONDS) == exits.Interrupted()
    assert device.results == [1]


@pytest.mark.parametrize("vcpus", [1, 2])
def test_a_line_interrupts_a_guest_that_spins_without_exits(engine: KvmEngine, way: Way, vcpus: int) -> None:
    code = way.setup(False) + h.outb(h.RAISE, 0) + h.STI + h.SPIN
    body = h.handler(h.COUNT_ONE, way.eoi, h.REPORT_COUNT)
    with h.interruptible(engine, code, {VECTOR: body}, irqchip=way.irqchip, vcpus=vcpus) as guest:
        h.park(guest)
        way.prepare(guest, False)
        device = h.calls(
            guest, {h.RAISE: lambda: guest.after(2_000_000, lambda: guest.interrupts.set_line(LINE, True)) and None}
        )
        assert guest.run(SECONDS) == exits.Interrupted()
    assert device.results == [1]


def test_two_injected_interrupts_come_one_after_the_other_without_an_exit_between(engine: KvmEngine) -> None:
    code = h.outb(h.RAISE, 0) + h.STI + h.SPIN
    bodies = {VECTOR: h.handler(h.COUNT_ONE), VECTOR + 1: h.handler(h.COUNT_ONE, h.REPORT_COUNT)}
    with h.interruptible(engine, code, bodies, irqchip="injected") as guest:

        def both() -> None:
            guest.interrupts.set_line(LINE + 1, True)
            guest.interrupts.set_line(LINE, True)

        device = h.calls(guest, {h.RAISE: lambda: guest.after(2_000_000, both) and None})
        assert guest.run(SECONDS) == exits.Interrupted()
    assert device.results == [2]


@pytest.mark.parametrize("irqchip", ["kernel", "split", "injected", "user"])
@pytest.mark.parametrize("vcpus", [1, 2])
def test_a_message_and_an_nmi_reach_the_guest(engine: KvmEngine, irqchip: Irqchip, vcpus: int) -> None:
    apic = irqchip != "injected"
    code = (h.ENABLE_APIC if apic else b"") + h.outb(h.RAISE, 0) + OPEN + h.REPORT_COUNT + h.SPIN
    message = h.handler(b"\x83\x05" + h.COUNT.to_bytes(4, "little") + b"\x10", h.EOI_APIC if apic else b"")  # addl $16
    nmi = h.handler(h.COUNT_ONE)
    with h.interruptible(engine, code, {0x41: message, 2: nmi}, irqchip=irqchip, vcpus=vcpus) as guest:
        h.park(guest)

        def both() -> None:
            guest.nmi()
            guest.interrupts.send_msi(0xFEE0_0000, 0x41)

        device = h.calls(guest, {h.RAISE: both})
        assert guest.run(SECONDS) == exits.Interrupted()
    assert device.results == [0x11]


def test_an_nmi_ends_the_halt_of_a_vcpu_without_apic(engine: KvmEngine) -> None:
    code = h.outb(h.RAISE, 0) + h.CLI + h.HLT + h.REPORT_COUNT + h.SPIN
    with h.interruptible(engine, code, {2: h.handler(h.COUNT_ONE)}, irqchip="injected") as guest:

        def again() -> None:  # the first may come before the halt, which then lasts until the next
            guest.nmi()
            guest.after(1_000_000, again)

        device = h.calls(guest, {h.RAISE: again})
        assert guest.run(SECONDS) == exits.Interrupted()
    assert device.results[0] >= 1


def test_an_nmi_from_another_thread_reaches_a_vcpu_that_runs(engine: KvmEngine) -> None:
    code = h.outb(h.RAISE, 0) + h.CLI + h.SPIN
    with h.interruptible(engine, code, {2: h.handler(h.COUNT_ONE, h.REPORT_COUNT)}, irqchip="kernel") as guest:
        running = threading.Event()
        device = h.calls(guest, {h.RAISE: running.set})

        def send() -> None:
            running.wait(SECONDS)
            guest.nmi()

        sender = threading.Thread(target=send)
        sender.start()
        assert guest.run(SECONDS) == exits.Interrupted()
        sender.join()
    assert device.results == [1]


def test_the_pic_shows_what_is_requested_and_what_is_in_service(engine: KvmEngine) -> None:
    read_irr, read_isr = h.outb(0x20, 0x0A) + h.inb(0x20), h.outb(0x20, 0x0B) + h.inb(0x20)
    keep = b"\xa2" + (h.COUNT + 8).to_bytes(4, "little")  # mov %al, COUNT + 8
    # EAX: IRR before, ISR in the handler, ISR after EOI
    code = h.pic_setup() + h.outb(h.RAISE, 0) + read_irr + b"\xa2" + (h.COUNT + 9).to_bytes(4, "little")
    code += OPEN + read_isr + b"\xa2" + (h.COUNT + 10).to_bytes(4, "little") + h.load(h.COUNT + 8) + h.REPORT + h.SPIN
    with h.interruptible(engine, code, {VECTOR: h.handler(read_isr, keep, h.EOI_PIC)}, irqchip="kernel") as guest:
        device = h.calls(guest, {h.RAISE: lambda: guest.interrupts.set_line(LINE, True)})
        assert guest.run(SECONDS) == exits.Interrupted()
    in_service, requested, after = device.results[0].to_bytes(4, "little")[:3]
    assert (requested & 1 << LINE, in_service, after) == (1 << LINE, 1 << LINE, 0)


def test_the_kernels_timer_ticks(engine: KvmEngine) -> None:
    # channel 0, low and high byte, mode 2; 1193 ticks: a millisecond
    timer = h.outb(0x43, 0x34) + h.outb(0x40, 0xA9) + h.outb(0x40, 0x04)
    code = h.pic_setup() + timer + h.STI + h.SPIN
    body = h.handler(h.COUNT_ONE, h.EOI_PIC, h.load(h.COUNT), b"\x83\xf8\x03\x72" + bytes([len(h.REPORT)]), h.REPORT)
    with h.interruptible(engine, code, {0x20: body}, irqchip="kernel", pit=True) as guest:
        device = h.calls(guest)
        assert guest.run(SECONDS) == exits.Interrupted()
    assert device.results == [3]


def test_a_timer_without_the_kernels_controllers_is_refused(engine: KvmEngine) -> None:
    with pytest.raises(Fault, match="PIT"):
        Machine(engine, irqchip="split", pit=True)


# ---- eventfds and routes


@pytest.fixture
def fds() -> Iterator[list[int]]:
    made = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]
    yield made
    for fd in made:
        os.close(fd)


WAIT = h.STI + h.SPIN
TELL = h.handler(h.COUNT_ONE, h.EOI_PIC, h.REPORT_COUNT)


def test_an_eventfd_raises_a_line(engine: KvmEngine, fds: list[int]) -> None:
    code = h.pic_setup() + h.outb(h.RAISE, 0) + WAIT
    with h.interruptible(engine, code, {VECTOR: TELL}, irqchip="kernel") as guest:
        guest.vm.attach_irqfd(fds[0], LINE)
        device = h.calls(guest, {h.RAISE: lambda: os.eventfd_write(fds[0], 1)})
        assert guest.run(SECONDS) == exits.Interrupted()
        assert device.results == [1]
        guest.vm.detach_irqfd(fds[0], LINE)
        os.eventfd_write(fds[0], 1)
        assert guest.run(0.02) == exits.Timeout(0.02)
        assert os.eventfd_read(fds[0]) == 1  # nobody in the kernel has taken it


def test_a_resampled_line_stays_high_until_the_eoi_which_is_told(engine: KvmEngine, fds: list[int]) -> None:
    raises, resample, _ = fds
    code = h.pic_setup(level=1 << LINE) + h.outb(h.RAISE, 0) + WAIT
    body = h.handler(h.COUNT_ONE, h.outb(h.HANDLED, 0), h.EOI_PIC, h.REPORT_COUNT)
    told: list[bool] = []

    def nothing_yet() -> None:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(resample)
        told.append(False)

    with h.interruptible(engine, code, {VECTOR: body}, irqchip="kernel") as guest:
        guest.vm.attach_irqfd(raises, LINE, resample=resample)
        device = h.calls(guest, {h.RAISE: lambda: os.eventfd_write(raises, 1), h.HANDLED: nothing_yet})
        assert guest.run(SECONDS) == exits.Interrupted()
        assert os.eventfd_read(resample) == 1
        assert guest.run(0.02) == exits.Timeout(0.02)  # KVM has lowered the line: no more come
    assert told == [False]
    assert device.results == [1]


def test_an_eventfd_takes_the_writes_that_match(engine: KvmEngine, fds: list[int]) -> None:
    any_value, matching, memory = fds
    hole = 0xD000_0000
    code = (
        h.outb(0x600, 1) + h.outb(0x600, 2) + h.outb(0x604, 7) + h.outb(0x604, 8)
        + h.store(hole, 0x1234) + h.store(hole + 4, 0x1234) + h.HLT
    )  # fmt: skip
    seen: list[tuple[int, int]] = []
    with h.interruptible(
        engine, code, {}, trace=lambda kind, at, size, out, value: seen.append((at, value)), irqchip=False
    ) as guest:
        guest.vm.attach_ioeventfd(any_value, "pio", 0x600, 1)
        guest.vm.attach_ioeventfd(matching, "pio", 0x604, 1, value=7)
        guest.vm.attach_ioeventfd(memory, "mmio", hole, 4, value=0x1234)
        assert guest.run(SECONDS) == exits.Halt()
    assert [os.eventfd_read(fd) for fd in fds] == [2, 1, 1]
    assert seen == [(0x604, 8), (hole + 4, 0x1234)]


def test_a_detached_eventfd_takes_nothing(engine: KvmEngine, fds: list[int]) -> None:
    seen: list[int] = []
    with h.interruptible(
        engine, h.outb(0x600, 9) + h.HLT, {}, trace=lambda kind, at, size, out, value: seen.append(value)
    ) as guest:
        guest.vm.attach_ioeventfd(fds[0], "pio", 0x600, 1, value=9)
        with pytest.raises(Fault, match="already signal"):
            guest.vm.attach_ioeventfd(fds[1], "pio", 0x600, 1, value=9)
        guest.vm.detach_ioeventfd(fds[0], "pio", 0x600, 1, value=9)
        with pytest.raises(Fault, match="no eventfd"):
            guest.vm.detach_ioeventfd(fds[0], "pio", 0x600, 1, value=9)
        assert guest.run(SECONDS) == exits.Halt()
    assert seen == [9]


def test_routes_lead_a_line_to_another_pin_or_to_a_message(engine: KvmEngine) -> None:
    raised = h.outb(h.RAISE, 0)
    code = h.ENABLE_APIC + h.outb(0x21, 0xFF) + h.ioapic_setup(9, 0x39, level=False) + raised + OPEN
    code += h.REPORT_COUNT + h.SPIN
    pin = h.handler(h.COUNT_ONE, h.EOI_APIC)
    message = h.handler(b"\x83\x05" + h.COUNT.to_bytes(4, "little") + b"\x10", h.EOI_APIC)
    with h.interruptible(engine, code, {0x39: pin, 0x41: message}, irqchip="kernel") as guest:
        others = [r for r in DEFAULT if r.gsi not in (3, 4)]
        io = next(r.chip for r in DEFAULT if isinstance(r, PinRoute) and r.pin == 23)
        guest.vm.set_routes([*others, PinRoute(3, io, 9), MsiRoute(4, 0xFEE0_0000, 0x41)])

        def both() -> None:
            guest.interrupts.set_line(3, True)
            guest.interrupts.set_line(4, True)

        device = h.calls(guest, {h.RAISE: both})
        assert guest.run(SECONDS) == exits.Interrupted()
    assert device.results == [0x11]


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda vm: vm.set_irq_line(4, True), "interrupt controller"),
        (lambda vm: vm.signal_msi(0xFEE0_0000, 0x41), "interrupt controller"),
        (lambda vm: vm.attach_irqfd(0, 4), "interrupt controller"),
        (lambda vm: vm.create_split_irqchip(), "vCPUs"),
    ],
    ids=["line", "message", "irqfd", "split"],
)
def test_what_a_bare_vm_cannot_do_is_said_in_words(
    engine: KvmEngine, act: Callable[[object], None], words: str
) -> None:
    with Machine(engine) as guest, pytest.raises(Fault, match=words):
        act(guest.vm)
