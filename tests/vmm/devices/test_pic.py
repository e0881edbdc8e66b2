"""The 8259A and the pair of a PC, rule by rule, with no machine around them."""

import random

import pytest

from virtproof.vmm.devices.pic import Pic, PicPair

MASTER, SLAVE = 0, 8  # first lines
ICW1, EOI, ROTATE_EOI, SPECIFIC_EOI, SET_PRIORITY, READ_IRR, READ_ISR = 0x11, 0x20, 0xA0, 0x60, 0xC0, 0x0A, 0x0B
SPECIAL_MASK, POLL = 0x68, 0x0C
AEOI, SFNM = 0x02, 0x10


class Pair:
    """Both chips with vectors from 20H, the level of INT, and what was ended."""

    def __init__(self, mode: int = 0, slave_mode: int = 0) -> None:
        self.int = False
        self.ended: list[int] = []
        self.pair = PicPair(self.output, self.ended.append)
        for chip, base, mode_ in ((self.pair.master, 0x20, mode), (self.pair.slave, 0x28, slave_mode)):
            for offset, value in ((0, ICW1), (1, base), (1, 4), (1, 1 | mode_)):
                chip.write(offset, 1, value)

    def output(self, level: bool) -> None:
        assert level != self.int, "a level is told once"
        self.int = level

    def pulse(self, *lines: int) -> None:
        for line in lines:
            self.pair.set_line(line, True)
            self.pair.set_line(line, False)

    def take(self) -> int:
        """The vector of the acknowledge; 0: nobody asks."""
        return self.pair.acknowledge() if self.int else 0

    def master(self, value: int) -> None:
        self.pair.master.write(0, 1, value)

    def slave(self, value: int) -> None:
        self.pair.slave.write(0, 1, value)

    def in_service(self) -> tuple[int, int]:
        self.master(READ_ISR)
        self.slave(READ_ISR)
        return self.pair.master.read(0, 1), self.pair.slave.read(0, 1)


@pytest.fixture
def pic() -> Pair:
    return Pair()


def test_the_most_urgent_line_goes_first_and_holds_back_the_others(pic: Pair) -> None:
    pic.pulse(5, 3)
    assert pic.take() == 0x23
    assert pic.take() == 0
    pic.pulse(1)
    assert pic.take() == 0x21
    assert pic.in_service() == (0x0A, 0)
    pic.master(EOI)
    assert pic.take() == 0
    pic.master(EOI)
    assert pic.take() == 0x25


def test_the_slave_is_behind_line_2(pic: Pair) -> None:
    pic.pulse(8 + 1, 3)
    assert pic.take() == 0x29
    assert pic.in_service() == (1 << 2, 1 << 1)
    pic.slave(EOI)
    assert pic.take() == 0, "the master still has line 2 in service"
    pic.master(EOI)
    assert pic.take() == 0x23
    assert pic.ended == [9, 2]


def test_line_2_of_the_outside_leads_nowhere(pic: Pair) -> None:
    pic.pulse(2)
    assert not pic.int


@pytest.mark.parametrize(("mode", "second"), [(0, 0), (SFNM, 0x28)])
def test_special_fully_nested_mode_lets_the_slave_interrupt_itself(mode: int, second: int) -> None:
    pic = Pair(mode)
    pic.pulse(9)
    assert pic.take() == 0x29
    pic.pulse(8)
    assert pic.take() == second


def test_a_masked_line_waits(pic: Pair) -> None:
    pic.pair.master.write(1, 1, 0x10)
    pic.pulse(4)
    assert not pic.int
    assert pic.pair.master.read(1, 1) == 0x10
    pic.master(READ_IRR)
    assert pic.pair.master.read(0, 1) == 0x10
    pic.pair.master.write(1, 1, 0)
    assert pic.take() == 0x24


def test_an_edge_is_one_interrupt(pic: Pair) -> None:
    pic.pair.set_line(5, True)
    assert pic.take() == 0x25
    pic.master(EOI)
    pic.pair.set_line(5, True)
    assert pic.take() == 0
    pic.pair.set_line(5, False)
    pic.pair.set_line(5, True)
    assert pic.take() == 0x25


@pytest.mark.parametrize("line", [5, 10])
def test_a_level_interrupts_until_it_falls(pic: Pair, line: int) -> None:
    pic.pair.elcr.write(line // 8, 1, 0xFF)
    pic.pair.set_line(line, True)
    for _ in range(3):
        assert pic.take() == 0x20 + line
        if line >= 8:
            pic.slave(EOI)
        pic.master(EOI)
    pic.pair.set_line(line, False)
    assert pic.take() == 0


def test_elcr_asks_for_what_the_lines_are_now(pic: Pair) -> None:
    pic.pair.set_line(5, True)
    assert pic.take() == 0x25
    pic.master(EOI)
    assert not pic.int, "the edge is past"
    pic.pair.elcr.write(0, 1, 1 << 5)
    assert pic.int
    pic.pulse(6)
    pic.pair.set_line(5, False)
    assert pic.int, "the edge of line 6 is kept"
    pic.pair.elcr.write(0, 1, 1 << 6)
    assert not pic.int


def test_elcr_has_no_bits_for_the_lines_of_the_board(pic: Pair) -> None:
    pic.pair.elcr.write(0, 1, 0xFF)
    pic.pair.elcr.write(1, 1, 0xFF)
    assert (pic.pair.elcr.read(0, 1), pic.pair.elcr.read(1, 1)) == (0xF8, 0xDE)


@pytest.mark.parametrize(("line", "vector"), [(6, 0x27), (12, 0x27)])
def test_who_no_longer_asks_gives_line_7_and_nothing_is_in_service(pic: Pair, line: int, vector: int) -> None:
    pic.pair.elcr.write(line // 8, 1, 1 << line % 8)
    pic.pair.set_line(line, True)
    assert pic.int
    pic.pair.set_line(line, False)
    assert pic.pair.acknowledge() == vector
    assert pic.in_service() == (0, 0)


def test_the_slave_has_a_spurious_interrupt_of_its_own() -> None:
    told: list[bool] = []
    slave = Pic(lambda level: None)
    master = Pic(told.append, slave=slave)
    for chip, base in ((master, 0x20), (slave, 0x28)):
        for offset, value in ((0, ICW1), (1, base), (1, 4), (1, 1)):
            chip.write(offset, 1, value)
    master.set_line(2, True)
    assert master.acknowledge() == 0x2F
    assert (master.isr, slave.isr) == (4, 0)


def test_a_specific_eoi_ends_that_line_only(pic: Pair) -> None:
    pic.pulse(3)
    assert pic.take() == 0x23
    pic.pulse(1)
    assert pic.take() == 0x21
    pic.master(SPECIFIC_EOI | 3)
    assert pic.in_service() == (1 << 1, 0)
    assert pic.ended == [3]
    pic.master(SPECIFIC_EOI | 6)
    assert pic.ended == [3], "it was not in service"


def test_rotation_makes_the_line_that_was_served_the_last(pic: Pair) -> None:
    pic.pulse(3)
    assert pic.take() == 0x23
    pic.master(ROTATE_EOI)
    pic.pulse(0, 3, 4)
    order = []
    while pic.int:
        order.append(pic.take())
        pic.master(EOI)
    assert order == [0x24, 0x20, 0x23]


def test_set_priority_names_the_lowest(pic: Pair) -> None:
    pic.master(SET_PRIORITY | 4)
    pic.pulse(4, 0, 5)
    order = []
    while pic.int:
        order.append(pic.take())
        pic.master(EOI)
    assert order == [0x25, 0x20, 0x24]


def test_automatic_eoi_leaves_nothing_in_service() -> None:
    pic = Pair(AEOI, AEOI)
    pic.pulse(3, 9)
    assert [pic.take(), pic.take(), pic.take()] == [0x29, 0x23, 0]
    assert pic.in_service() == (0, 0)
    assert pic.ended == [2, 9, 3]


def test_rotation_in_automatic_eoi() -> None:
    pic = Pair(AEOI)
    pic.master(0x80)
    pic.pulse(3)
    assert pic.take() == 0x23
    pic.pulse(3, 4)
    assert [pic.take(), pic.take()] == [0x24, 0x23]
    pic.master(0x00)
    pic.pulse(5)
    assert pic.take() == 0x25
    pic.pulse(5, 4)
    assert pic.take() == 0x24, "line 3 is the last still"


def test_special_mask_mode_lets_less_urgent_lines_through_a_masked_one(pic: Pair) -> None:
    pic.pulse(3)
    assert pic.take() == 0x23
    pic.pair.master.write(1, 1, 1 << 3)
    pic.pulse(5)
    assert pic.take() == 0
    pic.master(SPECIAL_MASK)
    assert pic.take() == 0x25
    pic.master(EOI)
    assert pic.in_service() == (1 << 3, 0), "a non-specific EOI passes what is masked"
    pic.master(0x48)
    pic.master(EOI)
    assert pic.in_service() == (0, 0)


def test_a_poll_acknowledges(pic: Pair) -> None:
    pic.pulse(5)
    pic.master(POLL)
    assert pic.pair.master.read(0, 1) == 0x85
    assert pic.in_service() == (1 << 5, 0)
    pic.master(EOI)
    pic.master(POLL)
    assert pic.pair.master.read(0, 1) & 0x80 == 0


def test_a_poll_is_answered_once(pic: Pair) -> None:
    pic.master(READ_IRR)
    pic.master(POLL)
    pic.pair.master.read(0, 1)
    pic.pulse(5)
    assert pic.pair.master.read(0, 1) == 1 << 5


def test_a_poll_leaves_what_a_read_shows(pic: Pair) -> None:
    pic.pulse(5)
    assert pic.take() == 0x25
    pic.master(READ_ISR)
    pic.master(POLL)
    pic.pair.master.read(0, 1)
    assert pic.pair.master.read(0, 1) == 1 << 5


def test_nothing_interrupts_between_the_words_of_an_initialization(pic: Pair) -> None:
    pic.master(ICW1)
    pic.pulse(3)
    for value in (0x60, 4):
        assert not pic.int
        pic.pair.master.write(1, 1, value)
    assert not pic.int
    pic.pair.master.write(1, 1, 1)
    assert pic.take() == 0x63


def test_icw1_forgets_edges_and_service_and_mask(pic: Pair) -> None:
    pic.pulse(3)
    pic.take()
    pic.pulse(4)
    pic.pair.master.write(1, 1, 0x55)
    pic.master(ICW1)
    assert not pic.int
    assert (pic.pair.master.isr, pic.pair.master.irr) == (0, 0)
    for value in (0x60, 4, 1):
        pic.pair.master.write(1, 1, value)
    assert pic.pair.master.read(1, 1) == 0
    pic.pulse(4)
    assert pic.take() == 0x64


@pytest.mark.parametrize(("icw1", "words"), [(0x10, 2), (0x11, 3), (0x12, 1), (0x13, 2)])
def test_icw1_says_how_many_words_follow(icw1: int, words: int) -> None:
    pic = Pic(lambda level: None)
    pic.write(0, 1, icw1)
    for _ in range(words):
        pic.write(1, 1, 0x44)
    pic.write(1, 1, 0xA5)
    assert pic.read(1, 1) == 0xA5


def test_before_the_first_icw_vectors_begin_at_0() -> None:
    pair = PicPair(lambda level: None)
    pair.set_line(11, True)
    assert (pair.pending, pair.acknowledge(), pair.master.isr, pair.slave.isr) == (True, 3, 4, 8)


def test_state_goes_round() -> None:
    pic, other = Pair(SFNM), Pair()
    pic.pair.elcr.write(1, 1, 1 << 2)
    pic.pulse(3)
    pic.take()
    pic.pair.set_line(10, True)
    pic.pulse(1)
    pic.master(ROTATE_EOI)
    chips = (pic.pair.master, other.pair.master), (pic.pair.slave, other.pair.slave)
    for saved, restored in chips:
        restored.restore(saved.state())
    assert all(restored.state() == saved.state() for saved, restored in chips)
    assert (other.int, other.take()) == (pic.int, pic.take())


@pytest.mark.parametrize("change", [{"irr": 256}, {"lowest": 8}, {"step": 4}, {"base": "x"}, {"isr": -1}])
def test_what_no_state_gives_is_refused(change: dict[str, object]) -> None:
    pic = Pic(lambda level: None)
    with pytest.raises((ValueError, TypeError, KeyError)):
        pic.restore(pic.state() | change)


@pytest.mark.parametrize("seed", range(20))
def test_no_sequence_breaks_it(seed: int) -> None:
    """Whatever is written: vectors are of the chip that has them, and INT says whether an acknowledge finds one."""
    random_ = random.Random(seed)
    pic = Pair()
    chips = pic.pair.master, pic.pair.slave
    for _ in range(3000):
        chip = random_.choice(chips)
        match random_.randrange(6):
            case 0:
                pic.pair.set_line(random_.randrange(16), random_.random() < 0.5)
            case 1:
                chip.write(random_.randrange(2), 1, random_.randrange(256))
            case 2:
                assert 0 <= chip.read(random_.randrange(2), 1) <= 0xFF
            case 3:
                pic.pair.elcr.write(random_.randrange(2), 1, random_.randrange(256))
            case 4 if pic.int:
                assert pic.pair.acknowledge() & 0xF8 in (chips[0].base, chips[1].base)
            case 5:
                pic.master(EOI)
                pic.slave(EOI)
        assert pic.int == chips[0].int
        assert all(0 <= value <= 0xFF for c in chips for value in (c.irr, c.isr, c.imr, c.lines, c.elcr))
