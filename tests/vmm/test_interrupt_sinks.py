"""The sinks over a split irqchip and over none: what they send, by level, edge and EOI."""

from __future__ import annotations

from collections.abc import Sequence

from virtproof.spec.kvm.devices import IrqRouting, IrqRoutingEntry
from virtproof.spec.kvm.exits import IrqRoutingType
from virtproof.vmm.interrupts import InjectedInterrupts, SplitIrqchip
from virtproof.vmm.routing import DEFAULT, MsiRoute, PinRoute, Route, packed, to_vector


class Vm:
    def __init__(self) -> None:
        self.sent: list[int] = []
        self.routes: Sequence[Route] = ()

    def set_routes(self, routes: Sequence[Route]) -> None:
        self.routes = routes

    def signal_msi(self, address: int, data: int) -> None:
        self.sent.append(data & 0xFF)


def split() -> tuple[Vm, SplitIrqchip]:
    vm = Vm()
    chip = SplitIrqchip(vm)
    chip.route([to_vector(4, 0x34), to_vector(10, 0x4A, level=True), to_vector(11, 0x4A, level=True)])
    return vm, chip


def test_a_split_edge_sends_each_time_it_rises() -> None:
    vm, chip = split()
    for level in (True, True, False, True):
        chip.set_line(4, level)
    assert vm.sent == [0x34, 0x34]


def test_a_split_level_sends_again_at_the_end_only_while_it_is_high() -> None:
    vm, chip = split()
    chip.set_line(10, True)
    chip.set_line(10, False)
    chip.set_line(10, True)  # still in service
    assert vm.sent == [0x4A]
    chip.ended(0x4A)
    assert vm.sent == [0x4A] * 2
    chip.set_line(10, False)
    chip.ended(0x4A)
    chip.ended(0x4A)
    assert vm.sent == [0x4A] * 2


def test_lines_that_share_a_vector_are_both_told_and_asked_again() -> None:
    vm, chip = split()
    told: list[int] = []
    chip.on_eoi(10, lambda: told.append(10))
    chip.on_eoi(11, lambda: told.append(11))
    chip.set_line(10, True)
    chip.set_line(11, True)
    chip.on_eoi(10, lambda: chip.set_line(10, False))
    chip.ended(0x4A)
    assert told == [10, 11]
    assert vm.sent == [0x4A, 0x4A, 0x4A]  # the third for 11, which is still high
    chip.ended(0x99)
    assert told == [10, 11]


def test_a_line_without_a_route_leads_nowhere() -> None:
    vm, chip = split()
    chip.set_line(7, True)
    assert vm.sent == []


def injected() -> tuple[list[str], InjectedInterrupts]:
    asked: list[str] = []
    return asked, InjectedInterrupts(lambda: asked.append("asked"))


def test_an_injected_edge_is_remembered_though_the_line_falls() -> None:
    asked, chip = injected()
    chip.set_line(5, True)
    chip.set_line(5, False)
    assert asked == ["asked"]
    assert chip.pending
    assert (chip.acknowledge(), chip.acknowledge(), chip.pending) == (0x25, None, False)


def test_an_injected_level_that_falls_asks_no_more() -> None:
    _, chip = injected()
    chip.level = {5}
    chip.set_line(5, True)
    assert (chip.acknowledge(), chip.acknowledge()) == (0x25, 0x25)
    chip.set_line(5, False)
    assert not chip.pending


def test_the_lowest_line_and_messages_come_first() -> None:
    _, chip = injected()
    for gsi in (9, 3, 6):
        chip.set_line(gsi, True)
    chip.send_msi(0xFEE0_0000, 0x4055)
    chip.send_msi(0xFEE0_0000, 0x4055)
    assert [chip.acknowledge() for _ in range(5)] == [0x55, 0x23, 0x26, 0x29, None]


def test_the_end_of_an_injected_interrupt_is_its_acknowledge() -> None:
    _, chip = injected()
    chip.level = {5}
    chip.on_eoi(5, lambda: chip.set_line(5, False))
    chip.set_line(5, True)
    assert chip.acknowledge() == 0x25
    assert not chip.pending


def test_routes_are_packed_as_the_kernel_lays_them_out() -> None:
    data = packed([*DEFAULT, MsiRoute(24, 0x1_FEE0_0000, 0x41)])
    count = IrqRouting.from_buffer_copy(data).nr
    rows = [IrqRoutingEntry.from_buffer_copy(data, 8 + 48 * at) for at in range(count)]
    assert count == 24 + 16 + 1
    last = rows[-1]
    assert (last.gsi, last.type) == (24, IrqRoutingType.MSI)
    assert (last.u.msi.address_hi, last.u.msi.address_lo, last.u.msi.data) == (1, 0xFEE0_0000, 0x41)
    assert {row.gsi for row in rows[:-1]} == set(range(24))
    assert all(isinstance(route, PinRoute) for route in DEFAULT)
