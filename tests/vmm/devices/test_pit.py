"""The 8254 and port 61H, rule by rule, with no machine around them."""

import random

import pytest

from virtproof.vmm.devices.pit import SHORTEST_NS, Pit
from virtproof.vmm.events import EventLoop, ManualClock

HZ = 1_193_182
LOW_HIGH = 3 << 4


class Board:
    """An 8254 on a clock that counts in its own clocks, and how its line moved."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = EventLoop(self.clock)
        self.moves: list[bool] = []
        self.pit = Pit(self.moves.append, self.loop.after, self.clock.now)

    def control(self, channel: int, mode: int, rw: int = 3, bcd: int = 0) -> None:
        self.pit.write(3, 1, channel << 6 | rw << 4 | mode << 1 | bcd)

    def load(self, channel: int, count: int) -> None:
        self.pit.write(channel, 1, count & 0xFF)
        self.pit.write(channel, 1, count >> 8)

    def program(self, channel: int, mode: int, count: int, *, bcd: int = 0) -> None:
        self.control(channel, mode, bcd=bcd)
        self.load(channel, count)

    def word(self, channel: int) -> int:
        low = self.pit.read(channel, 1)
        return low | self.pit.read(channel, 1) << 8

    def now(self, channel: int) -> int:
        self.pit.write(3, 1, channel << 6)
        return self.word(channel)

    def out(self, channel: int) -> int:
        return self.status(channel) >> 7

    def status(self, channel: int) -> int:
        self.pit.write(3, 1, 0xE0 | 2 << channel)
        return self.pit.read(channel, 1)

    def gate(self, level: int) -> None:
        self.pit.gates.write(0, 1, level)

    def wait(self, clocks: int) -> None:
        """Let so many clocks of the 8254 pass, in nanoseconds rounded up."""
        self.clock.advance(-(-clocks * 10**9 // HZ))
        self.loop.poll()

    def rises(self) -> int:
        """How often the line has risen since the last call."""
        found = sum(self.moves)
        self.moves.clear()
        return found


@pytest.fixture
def board() -> Board:
    return Board()


def test_mode_0_raises_out_when_the_count_is_over_and_counts_on(board: Board) -> None:
    board.program(0, 0, 1000)
    assert board.moves == [False]
    board.wait(999)
    assert (board.out(0), board.now(0)) == (0, 1)
    board.wait(1)
    assert (board.out(0), board.now(0)) == (1, 0)
    assert board.moves == [False, True]
    board.wait(10)
    assert board.now(0) == 0x10000 - 10
    board.wait(100_000)
    assert board.moves == [False, True]


def test_mode_0_stops_between_two_bytes_and_starts_again(board: Board) -> None:
    board.program(0, 0, 100)
    board.wait(60)
    board.pit.write(0, 1, 50)
    board.wait(1000)
    assert board.out(0) == 0
    board.pit.write(0, 1, 0)
    board.wait(49)
    assert board.out(0) == 0
    board.wait(1)
    assert board.out(0) == 1


def test_mode_2_is_low_for_the_last_clock_of_each_cycle(board: Board) -> None:
    board.gate(1)
    board.program(2, 2, 5)
    levels, counts = [], []
    for _ in range(10):
        levels.append(board.out(2))
        counts.append(board.now(2))
        board.wait(1)
    assert levels == [1, 1, 1, 1, 0] * 2
    assert counts == [5, 4, 3, 2, 1] * 2


@pytest.mark.parametrize(
    ("count", "levels", "counts"),
    [(6, [1, 1, 1, 0, 0, 0], [6, 4, 2, 6, 4, 2]), (5, [1, 1, 1, 0, 0], [4, 2, 0, 4, 2])],
)
def test_mode_3_is_a_square_wave_and_counts_by_two(
    board: Board, count: int, levels: list[int], counts: list[int]
) -> None:
    board.gate(1)
    board.program(2, 3, count)
    seen = []
    for _ in range(2 * count):
        seen.append((board.out(2), board.now(2)))
        board.wait(1)
    assert seen == list(zip(levels, counts, strict=True)) * 2


@pytest.mark.parametrize("mode", [2, 3])
def test_channel_0_interrupts_each_cycle(board: Board, mode: int) -> None:
    board.program(0, mode, 2000)
    assert board.rises() == 0, "the cycle has only begun"
    for _ in range(3):
        board.wait(1999)
        assert board.rises() == 0
        board.wait(1)
        assert board.rises() == 1


@pytest.mark.parametrize("mode", [2, 3])
def test_a_fast_channel_0_interrupts_as_often_as_the_monitor_stands(board: Board, mode: int) -> None:
    board.program(0, mode, 2)
    for _ in range(10_000):
        board.wait(2)
    elapsed = board.clock.now()
    assert 0 < board.rises() <= elapsed // SHORTEST_NS
    assert board.now(0) <= 2


@pytest.mark.parametrize("mode", [2, 3])
def test_a_late_monitor_gives_one_edge(board: Board, mode: int) -> None:
    board.program(0, mode, 1000)
    board.wait(7300)
    assert board.rises() == 1


def test_a_new_count_in_mode_2_waits_for_the_end_of_the_cycle(board: Board) -> None:
    board.program(0, 2, 1000)
    board.wait(400)
    board.load(0, 3000)
    assert board.status(0) >> 6 & 1, "null count"
    assert board.now(0) == 600
    board.wait(600)
    assert board.status(0) >> 6 & 1 == 0
    assert (board.now(0), board.rises()) == (3000, 1)
    board.wait(2999)
    assert board.rises() == 0
    board.wait(1)
    assert board.rises() == 1


def test_a_new_count_in_mode_3_waits_for_half_a_cycle(board: Board) -> None:
    board.gate(1)
    board.program(2, 3, 100)
    board.wait(10)
    board.load(2, 20)
    board.wait(39)
    assert board.out(2) == 1
    board.wait(1)
    assert (board.out(2), board.now(2)) == (0, 20)
    board.wait(9)
    assert board.out(2) == 0
    board.wait(1)
    assert board.out(2) == 1


@pytest.mark.parametrize(("mode", "first", "again"), [(1, 0, 0), (5, 1, 1)])
def test_a_triggered_mode_begins_when_the_gate_rises(board: Board, mode: int, first: int, again: int) -> None:
    board.program(2, mode, 10)
    board.wait(50)
    assert board.out(2) == 1
    board.gate(1)
    assert board.out(2) == first
    board.wait(9)
    assert (board.out(2), board.now(2)) == (first, 1)
    board.gate(0)
    board.wait(1)
    assert board.out(2) == 1 - (mode == 5)
    board.wait(1)
    assert board.out(2) == 1
    board.gate(1)
    board.wait(5)
    assert (board.out(2), board.now(2)) == (again, 5)


def test_a_retriggered_one_shot_starts_anew_with_the_count_written_last(board: Board) -> None:
    board.program(2, 1, 10)
    board.gate(1)
    board.wait(5)
    board.load(2, 20)
    assert board.now(2) == 5
    board.gate(0)
    board.gate(1)
    assert board.now(2) == 20
    board.wait(19)
    assert board.out(2) == 0
    board.wait(1)
    assert board.out(2) == 1


def test_mode_4_strobes_once(board: Board) -> None:
    board.program(0, 4, 1000)
    board.wait(1000)
    assert board.out(0) == 0
    board.wait(SHORTEST_NS * HZ // 10**9)
    assert (board.out(0), board.rises()) == (1, 1)
    board.wait(200_000)
    assert board.rises() == 0


@pytest.mark.parametrize("mode", [0, 4])
def test_the_gate_holds_a_count_and_lets_it_go_on(board: Board, mode: int) -> None:
    board.gate(1)
    board.program(2, mode, 100)
    board.wait(30)
    board.gate(0)
    board.wait(500)
    assert board.now(2) == 70
    board.gate(1)
    board.wait(20)
    assert board.now(2) == 50


@pytest.mark.parametrize("mode", [2, 3])
def test_the_gate_of_a_periodic_mode_sets_out_and_starts_anew(board: Board, mode: int) -> None:
    board.gate(1)
    board.program(2, mode, 100)
    board.wait(99)
    assert board.out(2) == 0
    board.gate(0)
    assert board.out(2) == 1
    board.wait(500)
    board.gate(1)
    assert board.now(2) == 100


def test_a_latched_count_stays_until_it_is_read(board: Board) -> None:
    board.program(0, 2, 1000)
    board.wait(100)
    board.pit.write(3, 1, 0x00)
    board.wait(100)
    board.pit.write(3, 1, 0x00)  # a second latch is not taken
    assert board.word(0) == 900
    assert board.word(0) == 800


@pytest.mark.parametrize(("rw", "written", "read"), [(1, 0x12, 0x12), (2, 0x12, 0x12)])
def test_one_byte_counts(board: Board, rw: int, written: int, read: int) -> None:
    board.control(2, 2, rw)
    board.pit.write(2, 1, written)
    assert [board.pit.read(2, 1) for _ in range(3)] == [read] * 3
    board.pit.write(3, 1, 2 << 6)
    assert board.pit.read(2, 1) == read
    board.control(2, 2)
    board.load(2, 0xFFFF)
    assert board.word(2) == 0xFFFF


def test_bcd(board: Board) -> None:
    board.program(0, 2, 0x1000, bcd=1)
    board.wait(1)
    assert board.now(0) == 0x0999
    board.program(0, 0, 0, bcd=1)
    board.wait(1)
    assert board.now(0) == 0x9999
    board.wait(9999)
    assert board.out(0) == 1


def test_a_count_of_zero_is_the_longest(board: Board) -> None:
    board.program(0, 0, 0)
    board.wait(0xFFFF)
    assert (board.now(0), board.out(0)) == (1, 0)
    board.wait(1)
    assert board.out(0) == 1


def test_the_status_byte_is_the_control_word(board: Board) -> None:
    board.control(2, 3, 2, 1)
    assert board.status(2) == 0xE7  # OUT, null count, MSB only, mode 3, BCD
    board.pit.write(2, 1, 0x12)
    assert board.status(2) == 0xA7


def test_read_back_gives_the_status_before_the_count(board: Board) -> None:
    board.program(0, 2, 1000)
    board.program(2, 0, 77)
    board.wait(10)
    board.pit.write(3, 1, 0xC0 | 2 | 8)  # count and status of channels 0 and 2
    board.wait(10)
    assert board.pit.read(0, 1) == 0xB4
    assert board.word(0) == 990
    assert board.pit.read(2, 1) == 0x30
    assert board.word(2) == 77


def test_port_61_shows_its_bits_the_refresh_and_out2(board: Board) -> None:
    board.program(2, 0, 10)
    board.gate(0xFF)
    assert board.pit.gates.read(0, 1) & ~0x10 == 0x0F
    board.wait(10)
    assert board.pit.gates.read(0, 1) & ~0x10 == 0x2F
    turns = {board.pit.gates.read(0, 1) & 0x10}
    board.clock.advance(15_085)
    turns.add(board.pit.gates.read(0, 1) & 0x10)
    assert turns == {0, 0x10}


def test_the_control_port_reads_as_ones(board: Board) -> None:
    assert board.pit.read(3, 1) == 0xFF


@pytest.mark.parametrize("mode", range(6))
def test_state_goes_round(mode: int) -> None:
    board, other = Board(), Board()
    board.program(0, mode, 5000)
    board.program(2, mode, 300)
    board.gate(1)
    board.wait(100)
    board.load(2, 400)
    board.pit.write(3, 1, 0x80)
    other.pit.restore(board.pit.state())
    assert other.pit.state() == board.pit.state()
    board.moves.clear()
    other.moves.clear()
    for both in (board, other):
        both.wait(20_000)
    assert board.moves[-1:] == other.moves[-1:]


@pytest.mark.parametrize(
    "change",
    [{"count": 0}, {"next": 1 << 17}, {"clocks": -1}, {"control": 0x3E}, {"control": 0}, {"latched": [1, 2, 3]},
     {"low": 256}, {"status": "x"}, {"count": 1, "control": 0x34}, {"clocks": float("inf")}, {"swap_at": 1.5}],
)  # fmt: skip
def test_what_no_state_gives_is_refused(board: Board, change: dict[str, object]) -> None:
    state = board.pit.state()
    state["channels"][0] |= change
    with pytest.raises((ValueError, TypeError, KeyError)):
        board.pit.restore(state)


@pytest.mark.parametrize("seed", range(12))
def test_no_sequence_breaks_it(seed: int) -> None:
    random_ = random.Random(seed)
    board = Board()
    for _ in range(1500):
        match random_.randrange(5):
            case 0:
                board.pit.write(random_.randrange(4), 1, random_.randrange(256))
            case 1:
                board.control(random_.randrange(3), random_.randrange(8), random_.randrange(4), random_.randrange(2))
            case 2:
                board.gate(random_.randrange(256))
            case 3:
                board.wait(random_.choice((0, 1, 5, 1000, 70_000)))
            case 4:
                board.pit.restore(board.pit.state())
        assert 0 <= board.pit.read(random_.randrange(4), 1) <= 0xFF
        assert 0 <= board.pit.gates.read(0, 1) <= 0xFF
    assert len(board.loop._heap) < 200
