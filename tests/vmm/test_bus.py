"""The bus: who answers, and with what."""

import random
from dataclasses import dataclass, field

import pytest

from virtproof.vmm.bus import Bus


@dataclass
class Ram:
    """A device that remembers bytes, and the accesses it was given."""

    length: int
    bytes: bytearray = field(init=False)
    seen: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bytes = bytearray(range(self.length))

    def read(self, offset: int, size: int) -> int:
        self.seen.append(("r", offset, size))
        return int.from_bytes(self.bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self.seen.append(("w", offset, size))
        self.bytes[offset : offset + size] = value.to_bytes(size, "little")


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_port_with_nobody_home_reads_all_ones_of_the_size(size: int) -> None:
    bus = Bus()
    bus.pio_out(0x80, size, 0)
    assert bus.pio_in(0x80, size) == (1 << 8 * size) - 1


@pytest.mark.parametrize("length", range(1, 9))
def test_an_address_with_nobody_home_reads_all_ones_of_the_length(length: int) -> None:
    bus = Bus()
    bus.add_mmio(0x1000, 8, Ram(8), "ram")
    bus.mmio_write(0x2000, length, 0)
    assert bus.mmio_read(0x2000, length) == (1 << 8 * length) - 1
    assert bus.mmio_read(0x0, length) == (1 << 8 * length) - 1


def test_an_aligned_access_reaches_the_device_in_one_piece() -> None:
    bus, ports, memory = Bus(), Ram(8), Ram(16)
    bus.add_ports(0x500, 8, ports, "ports")
    bus.add_mmio(0xFEC0_0000, 16, memory, "memory")
    assert bus.pio_in(0x504, 4) == 0x07060504
    bus.pio_out(0x502, 2, 0xBEEF)
    assert bus.mmio_read(0xFEC0_0008, 8) == 0x0F0E0D0C0B0A0908
    bus.mmio_write(0xFEC0_0004, 4, 0xDEAD_BEEF)
    assert ports.seen == [("r", 4, 4), ("w", 2, 2)]
    assert memory.seen == [("r", 8, 8), ("w", 4, 4)]
    assert ports.bytes[2:4] == b"\xef\xbe"


def test_an_unaligned_access_is_cut_at_natural_boundaries_in_ascending_order() -> None:
    bus, ram = Bus(), Ram(16)
    bus.add_mmio(0x1000, 16, ram, "ram")
    assert bus.mmio_read(0x1001, 8) == 0x0807060504030201
    assert ram.seen == [("r", 1, 1), ("r", 2, 2), ("r", 4, 4), ("r", 8, 1)]
    ram.seen.clear()
    bus.mmio_write(0x1003, 3, 0x332211)
    assert ram.seen == [("w", 3, 1), ("w", 4, 2)]
    assert ram.bytes[3:6] == b"\x11\x22\x33"


def test_a_byte_wide_device_gets_a_wide_access_byte_by_byte_upwards() -> None:
    bus, ram = Bus(), Ram(8)
    bus.add_ports(0x3F8, 8, ram, "uart", width=1)
    assert bus.pio_in(0x3F8, 4) == 0x03020100
    bus.pio_out(0x3FE, 2, 0xA55A)
    assert ram.seen == [("r", 0, 1), ("r", 1, 1), ("r", 2, 1), ("r", 3, 1), ("w", 6, 1), ("w", 7, 1)]


def test_a_narrow_memory_device_gets_a_wide_access_in_its_own_width() -> None:
    bus, ram = Bus(), Ram(8)
    bus.add_mmio(0x1000, 8, ram, "narrow", width=2)
    assert bus.mmio_read(0x1000, 8) == 0x0706050403020100
    bus.mmio_write(0x1004, 4, 0)
    assert ram.seen == [("r", 0, 2), ("r", 2, 2), ("r", 4, 2), ("r", 6, 2), ("w", 4, 2), ("w", 6, 2)]


def test_memory_devices_may_be_wired_in_any_order() -> None:
    bus = Bus()
    for base in (0x3000, 0x1000, 0x2000):
        ram = Ram(8)
        ram.bytes[0] = base >> 12
        bus.add_mmio(base, 8, ram, f"{base:#x}")
    assert [bus.mmio_read(base, 1) for base in (0x1000, 0x2000, 0x3000, 0x1008)] == [1, 2, 3, 0xFF]


def test_an_access_over_two_devices_gives_each_its_bytes() -> None:
    bus, low, high = Bus(), Ram(2), Ram(2)
    bus.add_ports(0x100, 2, low, "low")
    bus.add_ports(0x102, 2, high, "high")
    assert bus.pio_in(0x100, 4) == 0x01000100
    bus.pio_out(0x101, 2, 0xBBAA)
    assert low.bytes == b"\x00\xaa"
    assert high.bytes == b"\xbb\x01"


def test_an_access_over_the_edge_of_a_device_reads_all_ones_beyond_it() -> None:
    bus, ram = Bus(), Ram(3)
    bus.add_ports(0x100, 3, ram, "ram")
    assert bus.pio_in(0x100, 4) == 0xFF020100
    assert bus.pio_in(0xFF, 2) == 0x00FF
    bus.pio_out(0xFF, 4, 0x0C0B0AEE)
    assert ram.bytes == b"\x0a\x0b\x0c"


def test_ports_do_not_wrap() -> None:
    bus, first, last = Bus(), Ram(1), Ram(1)
    bus.add_ports(0, 1, first, "first")
    bus.add_ports(0xFFFF, 1, last, "last")
    assert bus.pio_in(0xFFFF, 4) == 0xFFFFFF00
    assert first.seen == []


def test_a_device_that_answers_too_much_is_cut_to_the_size() -> None:
    class Loud:
        def read(self, offset: int, size: int) -> int:
            return -1

        def write(self, offset: int, size: int, value: int) -> None: ...

    bus = Bus()
    bus.add_ports(0x10, 4, Loud(), "loud", width=1)
    bus.add_mmio(0x10, 8, Loud(), "loud")
    assert bus.pio_in(0x10, 1) == 0xFF
    assert bus.pio_in(0x10, 4) == 0xFFFF_FFFF
    assert bus.mmio_read(0x10, 8) == (1 << 64) - 1


@pytest.mark.parametrize(("base", "count"), [(0x100, 8), (0x107, 1), (0xF8, 9), (0xF0, 0x40)])
def test_overlap_is_refused_by_name(base: int, count: int) -> None:
    bus = Bus()
    bus.add_ports(0x100, 8, Ram(8), "first")
    bus.add_mmio(0x100, 8, Ram(8), "first")
    with pytest.raises(ValueError, match=r"second.*overlaps first"):
        bus.add_ports(base, count, Ram(count), "second")
    with pytest.raises(ValueError, match=r"second.*overlaps first"):
        bus.add_mmio(base, count, Ram(count), "second")
    bus.add_ports(0x108, 8, Ram(8), "beside")


@pytest.mark.parametrize(("base", "count", "width"), [(0xFFFF, 2, 4), (-1, 2, 4), (0x10, 0, 4), (0x10, 4, 3)])
def test_a_range_outside_the_port_space_is_refused(base: int, count: int, width: int) -> None:
    with pytest.raises(ValueError, match="bad"):
        Bus().add_ports(base, count, Ram(8), "bad", width=width)


def test_a_trace_sees_each_access_once_and_uncut() -> None:
    seen: list[tuple[str, int, int, bool, int]] = []
    bus = Bus(trace=lambda *access: seen.append(access))
    bus.add_ports(0x3F8, 8, Ram(8), "uart", width=1)
    bus.pio_in(0x3F8, 2)
    bus.pio_out(0x80, 1, 7)
    bus.mmio_write(0x1001, 8, 9)
    bus.mmio_read(0x1001, 3)
    assert seen == [
        ("pio", 0x3F8, 2, False, 0x0100),
        ("pio", 0x80, 1, True, 7),
        ("mmio", 0x1001, 8, True, 9),
        ("mmio", 0x1001, 3, False, 0xFFFFFF),
    ]


def test_random_accesses_agree_with_a_flat_model() -> None:
    rng = random.Random(16550)
    bus, flat = Bus(), {}
    regions = [(0x10, 3, 1), (0x13, 5, 2), (0x20, 16, 4), (0x31, 7, 8), (0x40, 32, 8)]
    for base, length, width in regions:
        ram = Ram(length)
        bus.add_mmio(base, length, ram, f"{base:#x}", width=width)
        bus.add_ports(base, length, ram, f"{base:#x}", width=width)
        flat.update({base + i: i for i in range(length)})
    for _ in range(20_000):
        at, size, ports = rng.randrange(0x70), rng.randint(1, 8), rng.random() < 0.5
        size = rng.choice((1, 2, 4)) if ports else size
        if rng.random() < 0.5:
            value = rng.getrandbits(8 * size)
            (bus.pio_out if ports else bus.mmio_write)(at, size, value)
            flat.update({at + i: value >> 8 * i & 0xFF for i in range(size) if at + i in flat})
        else:
            expected = int.from_bytes(bytes(flat.get(at + i, 0xFF) for i in range(size)), "little")
            assert (bus.pio_in if ports else bus.mmio_read)(at, size) == expected
