"""Configuration mechanism #1, windows that move, interrupt lines that are shared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vmm.pci.wires import Wires
from virtproof.vmm.bus import Bus, Window
from virtproof.vmm.devices.piix3 import IsaBridge
from virtproof.vmm.pci.bus import ConfigPorts, PciBus
from virtproof.vmm.pci.function import Bar, Function, Identity


class Card:
    """A device with 4 KiB of memory and a pin."""

    def __init__(self, name: int = 0x1111, pin: int = 1) -> None:
        self.resets = 0
        self.function = Function(Identity(0x1234, name, 0, interrupt_pin=pin), [Bar(0, 0x1000, "memory32", self)])

    def read(self, offset: int, size: int) -> int:
        return self.function.identity.device << 16 | offset

    def write(self, offset: int, size: int, value: int) -> None: ...

    def reset(self) -> None:
        self.resets += 1

    def state(self) -> dict[str, Any]:
        return {"resets": self.resets}

    def restore(self, state: dict[str, Any]) -> None:
        self.resets = state["resets"]


class Lines:
    def __init__(self) -> None:
        self.high: set[int] = set()
        self.changes = 0

    def set(self, line: int, level: bool) -> None:
        self.changes += 1
        (self.high.add if level else self.high.discard)(line)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def pci(bus: Bus, lines: Lines) -> PciBus:
    wires = Wires()
    found = PciBus(bus, wires, lines.set, wires.send_msi)
    bus.add_ports(0xCF8, 8, ConfigPorts(found), "PCI")
    return found


def read(bus: Bus, at: int, offset: int, size: int = 4) -> int:
    bus.pio_out(0xCF8, 4, 1 << 31 | at << 8 | offset & 0xFC)
    return bus.pio_in(0xCFC + (offset & 3), size)


def write(bus: Bus, at: int, offset: int, size: int, value: int) -> None:
    bus.pio_out(0xCF8, 4, 1 << 31 | at << 8 | offset & 0xFC)
    bus.pio_out(0xCFC + (offset & 3), size, value)


def test_only_a_dword_write_latches_the_address(bus: Bus, pci: PciBus) -> None:
    bus.pio_out(0xCF8, 4, 0x8000_0803)
    assert bus.pio_in(0xCF8, 4) == 0x8000_0800
    bus.pio_out(0xCF8, 2, 0xFFFF)
    bus.pio_out(0xCFB, 1, 0x01)
    assert bus.pio_in(0xCF8, 4) == 0x8000_0800
    assert bus.pio_in(0xCF9, 1) == 0xFF


def test_nobody_answers_for_what_is_not_there(bus: Bus, pci: PciBus) -> None:
    at = pci.add(Card())
    assert at == 0
    assert read(bus, at, 0) == 0x1111_1234
    assert read(bus, at, 2, 2) == 0x1111
    assert read(bus, at + 1, 0) == read(bus, 8, 0) == 0xFFFF_FFFF
    bus.pio_out(0xCF8, 4, 0x8001_0000)
    assert bus.pio_in(0xCFC, 4) == 0xFFFF_FFFF
    bus.pio_out(0xCF8, 4, 0)
    assert bus.pio_in(0xCFC, 4) == 0xFFFF_FFFF
    bus.pio_out(0xCFC, 4, 0)


def test_a_bar_moves_and_whoever_was_there_before_keeps_the_address(bus: Bus, pci: PciBus) -> None:
    bus.add_mmio(0xFEC0_0000, 0x800, Card(0xAAAA), "wired")
    first, second = pci.add(Card()), pci.add(Card(0x2222))
    write(bus, first, 0x10, 4, 0xE000_0000)
    assert bus.mmio_read(0xE000_0004, 4) == 0xFFFF_FFFF
    write(bus, first, 0x04, 2, 2)
    assert bus.mmio_read(0xE000_0004, 4) == 0x1111_0004
    write(bus, second, 0x04, 2, 2)
    write(bus, second, 0x10, 4, 0xE000_0000)
    assert bus.mmio_read(0xE000_0004, 4) == 0x1111_0004
    write(bus, first, 0x10, 4, 0xFEC0_0000)
    assert bus.mmio_read(0xE000_0004, 4) == 0x2222_0004
    assert bus.mmio_read(0xFEC0_0004, 4) == 0xAAAA_0004
    assert bus.mmio_read(0xFEC0_0804, 4) == 0x1111_0804
    pci.reset()
    assert bus.mmio_read(0xE000_0004, 4) == 0xFFFF_FFFF


def test_a_port_window_gives_its_ports_back(bus: Bus) -> None:
    card = Card()
    bus.set_windows([Window("io", 0xFFFE, 8, card, "card"), Window("io", 0x3F8, 8, card, "card")])
    assert bus.pio_in(0xFFFF, 1) == 0x01
    bus.add_ports(0x3F8, 4, Card(0x2222), "COM1", width=1)
    assert (bus.pio_in(0x3FB, 1), bus.pio_in(0x3FC, 1)) == (0x03, 0x04)
    bus.set_windows([])
    assert (bus.pio_in(0x3FC, 1), bus.pio_in(0xFFFF, 1), bus.pio_in(0x3F9, 1)) == (0xFF, 0xFF, 0x01)


def test_pins_share_four_lines(pci: PciBus, lines: Lines) -> None:
    cards = [Card(), Card(), Card()]
    for slot, card in zip((1, 5, 2), cards, strict=True):
        pci.add(card, slot)
    for card in cards:
        card.function.set_intx(True)
    assert lines.high == {0, 1}
    cards[0].function.set_intx(False)
    assert lines.high == {0, 1}
    cards[1].function.set_intx(False)
    assert lines.high == {1}
    assert lines.changes == 3


def test_a_function_without_a_pin_drives_nothing(pci: PciBus, lines: Lines) -> None:
    card = Card(pin=0)
    pci.add(card)
    card.function.set_intx(True)
    assert lines.changes == 0


def test_lines_go_where_the_bridge_routes_them_and_follow_when_it_changes(lines: Lines) -> None:
    bridge = IsaBridge(lines.set)
    config = bridge.function
    bridge.set_pirq(0, True)
    assert lines.high == set()
    config.write_config(0x60, 4, 0x0B0B_0B0A)
    assert lines.high == {10}
    bridge.set_pirq(1, True)
    bridge.set_pirq(2, True)
    assert lines.high == {10, 11}
    bridge.set_pirq(1, False)
    assert lines.high == {10, 11}
    config.write_config(0x60, 1, 0x0B)
    assert lines.high == {11}
    config.write_config(0x60, 1, 0x00)
    assert lines.high == {11}
    config.write_config(0x62, 1, 0x80)
    assert lines.high == set()
    assert config.read_config(0x60, 4) == 0x0B80_0B00


def test_a_second_function_shows_in_the_header_of_the_first(bus: Bus, pci: PciBus) -> None:
    pci.add(Card(), 3)
    assert read(bus, 0x18, 0x0E, 1) == 0
    pci.add(Card(), 3, 1)
    assert read(bus, 0x18, 0x0E, 1) == 0x80
    with pytest.raises(ValueError, match="no free place"):
        pci.add(Card(), 3)


def test_state_goes_over_with_the_devices(bus: Bus, pci: PciBus) -> None:
    card = Card()
    pci.add(card)
    write(bus, 0, 0x10, 4, 0xE000_0000)
    card.resets = 7
    (ports,) = (device for name, device in bus.devices() if name == "PCI")
    assert isinstance(ports, ConfigPorts)
    state = ports.state()
    card.resets = 0
    pci.reset()
    ports.restore(state)
    assert (card.resets, read(bus, 0, 0x10)) == (7, 0xE000_0000)
    pci.add(Card())
    with pytest.raises(ValueError, match="other PCI functions"):
        ports.restore(state)
