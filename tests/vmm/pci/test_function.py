"""A PCI function: header, BARs, capabilities, interrupts, bus mastering."""

from __future__ import annotations

import random

import pytest

from tests.vmm.pci.wires import Wires
from virtproof.spec import pci
from virtproof.vmm.pci.function import MAX_TRANSFER, Bar, Capability, DmaError, Function, Identity, Msi, Msix

IDENTITY = Identity(0x8086, 0x100E, 0x020000, 0x03, 0x8086, 0x001E, interrupt_pin=1)


class Registers:
    def read(self, offset: int, size: int) -> int:
        return offset

    def write(self, offset: int, size: int, value: int) -> None: ...


def function(**more: object) -> Function:
    bars = (Bar(0, 0x20000, "memory32", Registers()), Bar(1, 64, "io", Registers()))
    return Function(IDENTITY, bars, **more)  # type: ignore[arg-type]


def test_the_header_says_who_it_is_and_keeps_saying_so() -> None:
    it = function()
    for offset in range(0, 0x40, 4):
        if offset not in (0x04, 0x0C, 0x10, 0x14, 0x3C):
            before = it.read_config(offset, 4)
            it.write_config(offset, 4, 0xFFFF_FFFF)
            assert it.read_config(offset, 4) == before
    assert it.read_config(0x00, 4) == 0x100E_8086
    assert it.read_config(0x08, 4) == 0x0200_0003
    assert it.read_config(0x2C, 4) == 0x001E_8086
    it.write_config(0x3C, 2, 0x000B)
    assert it.read_config(0x3C, 2) == 0x010B


def test_the_command_register_keeps_what_is_implemented() -> None:
    it = function()
    it.write_config(pci.COMMAND, 2, 0xFFFF)
    assert it.read_config(pci.COMMAND, 2) == 0x0507


def test_bars_are_sized_with_all_ones_and_answer_where_they_are_placed() -> None:
    it = function()
    it.write_config(0x10, 4, 0xFFFF_FFFF)
    it.write_config(0x14, 4, 0xFFFF_FFFF)
    it.write_config(0x18, 4, 0xFFFF_FFFF)
    assert [it.read_config(at, 4) for at in (0x10, 0x14, 0x18)] == [0xFFFE_0000, 0xFFFF_FFC1, 0]
    assert list(it.windows()) == []
    it.place([0xE000_0000, 0xC000])
    assert [(w.space, w.base, w.length) for w in it.windows()] == [
        ("memory", 0xE000_0000, 0x20000),
        ("io", 0xC000, 64),
    ]
    it.write_config(pci.COMMAND, 2, 0x1)
    assert [w.space for w in it.windows()] == ["io"]
    it.write_config(pci.COMMAND, 2, 0x2)
    assert [w.space for w in it.windows()] == ["memory"]


def test_a_64_bit_bar_takes_two_registers() -> None:
    it = Function(IDENTITY, [Bar(4, 0x4000, "memory64", Registers(), prefetchable=True)])
    for at in (0x20, 0x24):
        it.write_config(at, 4, 0xFFFF_FFFF)
    assert (it.read_config(0x20, 4), it.read_config(0x24, 4)) == (0xFFFF_C00C, 0xFFFF_FFFF)
    it.place([0x12_3456_8000])
    assert [w.base for w in it.windows()] == [0x12_3456_8000]


def test_a_rom_answers_when_it_and_memory_are_enabled() -> None:
    it = function(rom=b"\x55\xaa" + bytes(5000))
    it.write_config(0x30, 4, 0xFFFF_F800)
    assert it.read_config(0x30, 4) == 0xFFFF_E000
    it.write_config(0x30, 4, 0xE010_0000)
    it.write_config(pci.COMMAND, 2, 0x2)
    assert list(it.windows()) == []
    it.write_config(0x30, 4, 0xE010_0001)
    (window,) = it.windows()
    assert window.device.read(0, 2) == 0xAA55
    assert window.device.read(6000, 4) == 0xFFFF_FFFF


def test_capabilities_are_a_list_with_an_end() -> None:
    it = function(msi=Msi(), msix=Msix(3, 0, 0x1000, 0x1800), capabilities=[Capability(9, b"\x10abc", b"\0\0\xff\0")])
    assert it.read_config(pci.STATUS, 2) & 0x10
    at, found = it.read_config(0x34, 1), []
    while at:
        found.append(it.read_config(at, 1))
        assert at % 4 == 0
        at = it.read_config(at + 1, 1)
    assert found == [5, 17, 9]
    assert function().read_config(0x34, 1) == 0 == function().read_config(pci.STATUS, 2)


def test_dma_needs_the_bus_and_memory_there() -> None:
    it, wires = function(), Wires(0x2000)
    it.connect(wires, wires)
    with pytest.raises(DmaError, match="master"):
        it.dma_read(0, 4)
    wires.connect(it)
    it.dma_write(0x1FFC, b"abcd")
    assert it.dma_read(0x1FFC, 4) == b"abcd"
    assert it.read_config(pci.STATUS, 2) == 0
    for gpa, length in ((0x1FFD, 4), (0x2000, 1), ((1 << 64) - 1, 4)):
        with pytest.raises(DmaError):
            it.dma_read(gpa, length)
        with pytest.raises(DmaError):
            it.dma_write(gpa, bytes(length))
    assert it.read_config(pci.STATUS, 2) == 1 << 13
    it.write_config(pci.STATUS, 2, 0xFFFF)
    assert it.read_config(pci.STATUS, 2) == 0
    with pytest.raises(DmaError, match="more than"):
        it.dma_read(0, MAX_TRANSFER + 1)


def test_the_pin_follows_what_the_device_wants_unless_it_is_disabled() -> None:
    it, wires = function(), Wires()
    wires.connect(it)
    it.set_intx(True)
    assert wires.line
    assert it.read_config(pci.STATUS, 2) & 8
    it.write_config(pci.COMMAND, 2, 0x407)
    assert not wires.line
    assert it.read_config(pci.STATUS, 2) & 8
    it.write_config(pci.COMMAND, 2, 0x007)
    assert wires.line
    it.reset()
    assert not wires.line
    assert wires.lines == [True, False, True, False]


@pytest.mark.parametrize(("enabled", "data"), [(0, 0x4000), (1, 0x4001), (2, 0x4003), (7, 0x4003)])
def test_msi_replaces_the_pin_and_puts_the_vector_into_the_data(enabled: int, data: int) -> None:
    it, wires = function(msi=Msi(vectors=4)), Wires()
    wires.connect(it)
    assert not it.send_message(0)
    it.set_intx(True)
    at = it.read_config(0x34, 1)
    it.write_config(at + 4, 4, 0xFEE0_1003)
    it.write_config(at + 12, 2, 0x4000)
    it.write_config(at + 2, 2, 1 | enabled << 4)
    assert not wires.line
    assert it.send_message(3)
    assert wires.messages == [(0xFEE0_1000, data)]
    it.write_config(pci.COMMAND, 2, 0)
    assert it.send_message(3)
    assert len(wires.messages) == 1


def msix(vectors: int = 3) -> tuple[Function, Wires, int]:
    it, wires = function(msix=Msix(vectors, 0, 0x1000, 0x1800)), Wires()
    wires.connect(it)
    it.place([0xE000_0000, 0xC000])
    return it, wires, it.read_config(0x34, 1)


def test_msix_entries_begin_masked_and_pending_messages_go_when_they_are_unmasked() -> None:
    it, wires, at = msix()
    table, pending, rest, _ = it.windows()
    assert (table.base, table.length, pending.base, pending.length) == (0xE000_1000, 48, 0xE000_1800, 8)
    assert rest.length == 0x20000
    assert table.device.read(12, 4) == 1
    for n, value in enumerate((0xFEE0_0003, 0, 0x41)):
        table.device.write(16 + 4 * n, 4, value)
    assert table.device.read(16, 4) == 0xFEE0_0000
    it.write_config(at + 2, 2, 0x8000)
    assert it.read_config(at + 2, 2) == 0x8002
    assert it.send_message(1)
    assert wires.messages == []
    assert pending.device.read(0, 8) == 2
    pending.device.write(0, 8, 0)
    table.device.write(28, 4, 0)
    assert wires.messages == [(0xFEE0_0000, 0x41)]
    assert pending.device.read(0, 4) == 0
    it.write_config(at + 2, 2, 0xC000)
    it.send_message(1)
    assert len(wires.messages) == 1
    it.write_config(at + 2, 2, 0x8000)
    assert len(wires.messages) == 2
    it.send_message(99)
    assert len(wires.messages) == 2


def test_config_registers_of_the_device_tell_it_of_writes_once_they_are_masked() -> None:
    seen: list[int] = []
    it = function()
    it.add_register(0x60, 2, 0x8001, writable=0x00F0, write_one_clears=0x8000, written=seen.append)
    it.write_config(0x60, 4, 0xFFFF_FFFF)
    it.write_config(0x5C, 4, 0xFFFF_FFFF)
    it.write_config(0x61, 1, 0)
    assert seen == [0x00F1, 0x00F1]
    it.reset()
    assert it.read_config(0x60, 2) == 0x8001


def test_state_goes_over_to_another_function() -> None:
    it, wires, at = msix()
    it.write_config(at + 2, 2, 0x8000)
    it.send_message(2)
    it.set_intx(True)
    other, others = function(msix=Msix(3, 0, 0x1000, 0x1800)), Wires()
    other.connect(others, others)
    other.restore(it.state())
    assert other.state() == it.state()
    assert other.bus_master
    assert [w.base for w in other.windows()] == [w.base for w in it.windows()]
    with pytest.raises(ValueError, match="capabilities"):
        function().restore(it.state())
    with pytest.raises(ValueError, match="configuration space"):
        other.restore(it.state() | {"config": "00"})
    assert wires.messages == others.messages == []


def test_any_configuration_access_is_answered() -> None:
    rng = random.Random(1)
    it, _, _ = msix()
    for _ in range(5000):
        size = rng.choice((1, 2, 4))
        offset = rng.randrange(0, 256, size)
        it.write_config(offset, size, rng.getrandbits(8 * size))
        assert 0 <= it.read_config(offset, size) < 1 << 8 * size
        for window in it.windows():
            window.device.write(0, 4, rng.getrandbits(32))
        it.send_message(rng.randrange(4))
    assert it.read_config(0, 4) == 0x100E_8086
