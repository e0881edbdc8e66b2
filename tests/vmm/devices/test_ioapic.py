"""The I/O APIC, rule by rule, with no machine around it."""

import random
from typing import NamedTuple

import pytest

from virtproof.vmm.devices.ioapic import IoApic

SELECT, WINDOW, EOI = 0x00, 0x10, 0x40
PIN, VECTOR = 20, 0x60
LEVEL, MASKED, REMOTE_IRR = 1 << 15, 1 << 16, 1 << 14


class Sent(NamedTuple):
    address: int
    data: int


class Chip:
    """An I/O APIC whose messages are taken or not."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.takes = True
        self.ended: list[int] = []
        self.chip = IoApic(self.send, self.ended.append)

    def send(self, address: int, data: int) -> bool:
        self.sent.append(Sent(address, data))
        return self.takes

    def get(self, register: int) -> int:
        self.chip.write(SELECT, 4, register)
        return self.chip.read(WINDOW, 4)

    def put(self, register: int, value: int) -> None:
        self.chip.write(SELECT, 4, register)
        self.chip.write(WINDOW, 4, value)

    def route(self, low: int, destination: int = 0, pin: int = PIN) -> None:
        self.put(0x11 + 2 * pin, destination << 24)
        self.put(0x10 + 2 * pin, low)

    @property
    def entry(self) -> int:
        return self.get(0x10 + 2 * PIN)

    def vectors(self) -> list[int]:
        """What was sent since the last call."""
        found = [message.data & 0xFF for message in self.sent]
        self.sent.clear()
        return found


@pytest.fixture
def chip() -> Chip:
    return Chip()


def test_reset_values(chip: Chip) -> None:
    assert chip.get(0x01) == 0x0017_0020
    assert chip.get(0x00) == 0
    assert [chip.get(0x10 + 2 * pin) for pin in range(24)] == [MASKED] * 24


@pytest.mark.parametrize("pin", [0, 2, 23])
def test_an_entry_keeps_what_can_be_written(chip: Chip, pin: int) -> None:
    chip.put(0x11 + 2 * pin, 0xFFFF_FFFF)
    chip.put(0x10 + 2 * pin, 0xFFFF_FFFF)
    assert (chip.get(0x11 + 2 * pin), chip.get(0x10 + 2 * pin)) == (0xFF00_0000, 0x0001_AFFF)


def test_the_id_has_four_bits(chip: Chip) -> None:
    chip.put(0x00, 0xFFFF_FFFF)
    assert (chip.get(0x00), chip.get(0x02)) == (0x0F00_0000, 0x0F00_0000)


@pytest.mark.parametrize("register", [0x03, 0x0F, 0x40, 0xFF])
def test_registers_that_do_not_exist_are_zero(chip: Chip, register: int) -> None:
    chip.put(register, 0xFFFF_FFFF)
    assert chip.get(register) == 0


@pytest.mark.parametrize(
    ("low", "destination", "address", "data"),
    [
        (VECTOR, 3, 0xFEE0_3000, 0x4060),
        (VECTOR | 1 << 11, 0xFF, 0xFEEF_F004, 0x4060),
        (VECTOR | 1 << 8, 0, 0xFEE0_0000, 0x4160),
        (VECTOR | LEVEL, 0, 0xFEE0_0000, 0xC060),
        (VECTOR | 1 << 13, 0, 0xFEE0_0000, 0x4060),
    ],
)
def test_the_message_is_the_entry(chip: Chip, low: int, destination: int, address: int, data: int) -> None:
    chip.route(low, destination)
    chip.chip.set_line(PIN, True)
    assert chip.sent == [(address, data)]


def test_an_edge_is_one_interrupt(chip: Chip) -> None:
    chip.route(VECTOR)
    for level in (True, True, False, True):
        chip.chip.set_line(PIN, level)
    assert chip.vectors() == [VECTOR, VECTOR]
    assert chip.entry & REMOTE_IRR == 0


def test_an_edge_at_a_masked_pin_is_lost(chip: Chip) -> None:
    chip.route(VECTOR | MASKED)
    chip.chip.set_line(PIN, True)
    chip.route(VECTOR)
    assert chip.vectors() == []


def test_a_level_interrupts_until_it_falls(chip: Chip) -> None:
    chip.route(VECTOR | LEVEL)
    chip.chip.set_line(PIN, True)
    assert chip.vectors() == [VECTOR]
    assert chip.entry & REMOTE_IRR
    chip.chip.set_line(PIN, False)
    chip.chip.set_line(PIN, True)
    assert chip.vectors() == [], "one is on its way"
    chip.chip.eoi(VECTOR)
    assert chip.vectors() == [VECTOR]
    chip.chip.set_line(PIN, False)
    chip.chip.eoi(VECTOR)
    assert chip.vectors() == []
    assert chip.entry & REMOTE_IRR == 0
    assert chip.ended == [PIN, PIN]


def test_a_level_that_came_while_masked_interrupts_when_unmasked(chip: Chip) -> None:
    chip.route(VECTOR | LEVEL | MASKED)
    chip.chip.set_line(PIN, True)
    assert chip.vectors() == []
    chip.route(VECTOR | LEVEL)
    assert chip.vectors() == [VECTOR]


def test_a_level_that_nobody_takes_is_sent_again_when_the_entry_is_written(chip: Chip) -> None:
    chip.takes = False
    chip.route(VECTOR | LEVEL)
    chip.chip.set_line(PIN, True)
    assert chip.entry & REMOTE_IRR == 0
    chip.takes = True
    chip.vectors()
    chip.route(VECTOR | LEVEL)
    assert chip.vectors() == [VECTOR]


def test_the_eoi_register_ends_as_a_local_apic_does(chip: Chip) -> None:
    chip.route(VECTOR | LEVEL)
    chip.chip.set_line(PIN, True)
    chip.chip.write(EOI, 4, VECTOR + 1)
    assert chip.entry & REMOTE_IRR
    chip.chip.set_line(PIN, False)
    chip.chip.write(EOI, 4, VECTOR)
    assert chip.entry & REMOTE_IRR == 0


def test_an_eoi_is_for_levels_only(chip: Chip) -> None:
    chip.route(VECTOR)
    chip.chip.set_line(PIN, True)
    chip.chip.eoi(VECTOR)
    assert chip.ended == []


def test_an_eoi_of_what_is_not_on_its_way_is_nothing(chip: Chip) -> None:
    chip.route(VECTOR | LEVEL)
    chip.chip.eoi(VECTOR)
    assert (chip.ended, chip.vectors()) == ([], [])


def test_a_change_to_edge_clears_remote_irr(chip: Chip) -> None:
    chip.route(VECTOR | LEVEL)
    chip.chip.set_line(PIN, True)
    chip.route(VECTOR | MASKED)
    chip.route(VECTOR | LEVEL | MASKED)
    assert chip.entry & REMOTE_IRR == 0


def test_a_handler_may_end_the_interrupt_at_once() -> None:
    told: list[int] = []

    def send(address: int, data: int) -> bool:
        told.append(data & 0xFF)
        if len(told) < 3:
            chip.eoi(VECTOR)
        return True

    chip = IoApic(send)
    for offset, value in ((SELECT, 0x10 + 2 * PIN), (WINDOW, VECTOR | LEVEL)):
        chip.write(offset, 4, value)
    chip.set_line(PIN, True)
    assert told == [VECTOR] * 3


@pytest.mark.parametrize(
    ("offset", "size"), [(SELECT, 1), (SELECT, 2), (SELECT, 8), (WINDOW, 1), (WINDOW, 8), (0xFF8, 8)]
)
def test_odd_accesses_are_harmless(chip: Chip, offset: int, size: int) -> None:
    chip.chip.write(offset, size, (1 << 8 * size) - 1)
    chip.chip.read(offset, size)
    assert all(not entry.reserved for entry in chip.chip.entries)


def test_state_goes_round(chip: Chip) -> None:
    chip.route(VECTOR | LEVEL, 5)
    chip.chip.set_line(PIN, True)
    other = Chip()
    other.chip.restore(chip.chip.state())
    assert other.chip.state() == chip.chip.state()
    other.chip.eoi(VECTOR)
    assert other.vectors() == [VECTOR], "the line is still high"


@pytest.mark.parametrize(
    "change",
    [{"lines": 1 << 24}, {"lines": "1"}, {"lines": float("inf")}, {"entries": []}, {"entries": [1 << 20] * 24},
     {"entries": [float("inf")] * 24}, {"id": 256}, {"select": None}],
)  # fmt: skip
def test_what_no_state_gives_is_refused(chip: Chip, change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        chip.chip.restore(chip.chip.state() | change)


@pytest.mark.parametrize("seed", range(10))
def test_no_sequence_breaks_it(seed: int) -> None:
    """A level that is high and unmasked is always on its way to somebody."""
    random_ = random.Random(seed)
    chip = Chip()
    for _ in range(3000):
        match random_.randrange(4):
            case 0:
                chip.chip.set_line(random_.randrange(24), random_.random() < 0.5)
            case 1:
                chip.chip.write(
                    random_.choice((SELECT, WINDOW, EOI, random_.randrange(4096))), 4, random_.getrandbits(32)
                )
            case 2:
                chip.put(0x10 + random_.randrange(48), random_.getrandbits(17))
            case 3:
                chip.chip.eoi(random_.randrange(256))
        chip.chip.read(random_.randrange(4096), random_.choice((1, 2, 4, 8)))
        for pin, entry in enumerate(chip.chip.entries):
            assert not entry.reserved
            assert entry.level or not entry.remote_irr
            if entry.level and not entry.masked and chip.chip.lines >> pin & 1:
                assert entry.remote_irr
