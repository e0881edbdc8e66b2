"""The test devices on a bus, as a guest reaches them."""

from __future__ import annotations

from virtproof.vmm.bus import Bus
from virtproof.vmm.devices.debug_exit import DebugExit
from virtproof.vmm.devices.fw_cfg import FwCfg
from virtproof.vmm.devices.testdev import Bytes, Flush, Lines


def test_debug_exit_makes_an_odd_status_of_a_byte() -> None:
    seen: list[int] = []
    bus = Bus()
    bus.add_ports(0xF4, 4, DebugExit(seen.append), "debug exit")
    for size, value in ((1, 0), (4, 0), (4, 0x10), (1, 0xFF), (4, 0xFFFF_FF80), (2, 0x7F)):
        bus.pio_out(0xF4, size, value)
    assert seen == [1, 1, 0x21, 0xFF, 1, 0xFF]
    assert bus.pio_in(0xF4, 4) == 0


def test_the_register_is_one_whatever_the_size_and_view() -> None:
    register, bus = Bytes(4), Bus()
    bus.add_ports(0xE0, 4, register, "register")
    bus.add_ports(0xE8, 4, register, "bytes", width=1)
    bus.pio_out(0xE0, 4, 0x44332211)
    bus.pio_out(0xE9, 1, 0xAA)
    bus.pio_out(0xE2, 2, 0xCCBB)
    assert bus.pio_in(0xE8, 4) == 0xCCBBAA11
    assert bus.pio_in(0xE1, 1) == 0xAA


def test_memory_takes_every_size_and_alignment() -> None:
    bus = Bus()
    bus.add_mmio(0xFF00_0000, 0x10000, Bytes(0x10000), "memory")
    bus.mmio_write(0xFF00_0003, 8, 0x8877_6655_4433_2211)
    assert bus.mmio_read(0xFF00_0003, 8) == 0x8877_6655_4433_2211
    assert bus.mmio_read(0xFF00_0004, 2) == 0x3322
    bus.mmio_write(0xFF00_FFFC, 8, (1 << 64) - 1)
    assert bus.mmio_read(0xFF00_FFFC, 4) == 0xFFFF_FFFF


def test_lines_have_levels() -> None:
    seen: list[tuple[int, bool]] = []
    bus = Bus()
    bus.add_ports(0x2000, 24, Lines(lambda gsi, level: seen.append((gsi, level))), "lines", width=1)
    bus.pio_out(0x2000, 1, 1)
    bus.pio_out(0x2017, 1, 0x80)
    bus.pio_out(0x2017, 1, 0)
    bus.pio_out(0x2018, 1, 1)
    assert seen == [(0, True), (23, True), (23, False)]


def test_a_doubleword_flushes_its_page_and_nothing_else_does() -> None:
    seen: list[int] = []
    bus = Bus()
    bus.add_ports(0xE4, 4, Flush(seen.append), "flush")
    bus.pio_out(0xE4, 4, 0xFFFF_F123)
    bus.pio_out(0xE4, 2, 0x5000)
    bus.pio_out(0xE4, 1, 0x50)
    assert seen == [0xFFFF_F000]


def test_fw_cfg_gives_the_bytes_of_the_item_selected_then_zeros() -> None:
    bus = Bus()
    bus.add_ports(0x510, 2, FwCfg({0: b"QEMU", 5: b"\x02\x00"}), "fw_cfg", width=2)

    def item(key: int, size: int) -> bytes:
        bus.pio_out(0x510, 2, key)
        return bytes(bus.pio_in(0x511, 1) for _ in range(size))

    assert item(0, 6) == b"QEMU\0\0"
    assert item(5, 2) == b"\x02\0"
    assert item(0x4005, 1) == b"\x02"  # the write channel is gone
    assert item(0x8005, 1) == b"\0"  # the architecture bit is another table
    assert item(0x11, 3) == bytes(3)
