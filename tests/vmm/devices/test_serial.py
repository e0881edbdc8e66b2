"""The 16550A, rule by rule, with no machine around it."""

import random

import pytest

from virtproof.spec.uart16550 import DATA, FIFO_DEPTH, IER, IIR_FCR, LCR, LSR, MCR, MSR, SCR
from virtproof.vmm.bus import Bus
from virtproof.vmm.devices.serial import Serial
from virtproof.vmm.events import EventLoop, ManualClock

OUT2, LOOP = 0x08, 0x10
NO_INTERRUPT, DATA_AVAILABLE, THR_EMPTY, LINE_STATUS, MODEM_STATUS = 0x01, 0x04, 0x02, 0x06, 0x00
FOUR_CHARACTERS = 4 * 10 * 1_000_000_000 // 9600


class Line:
    """A UART, what it sent, and how its interrupt line moved."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = EventLoop(self.clock)
        self.sent = bytearray()
        self.moves: list[bool] = []
        self.uart = Serial(transmit=self.sent.append, interrupt=self.moves.append, after=self.loop.after)

    def inb(self, offset: int) -> int:
        return self.uart.read(offset, 1)

    def outb(self, offset: int, value: int) -> None:
        self.uart.write(offset, 1, value)

    def wait(self, ns: int) -> None:
        self.clock.advance(ns)
        self.loop.poll(0)

    @property
    def high(self) -> bool:
        return bool(self.moves) and self.moves[-1]


@pytest.fixture
def com() -> Line:
    line = Line()
    line.outb(LCR, 0x03)  # 8 data bits, no parity, 1 stop bit: 10 bits a character
    return line


def test_reset_values() -> None:
    com = Line()
    assert [com.inb(o) for o in (IER, IIR_FCR, LCR, MCR, LSR, MSR)] == [0x00, 0x01, 0x00, 0x00, 0x60, 0xB0]
    assert com.moves == []


def test_a_byte_in_thr_is_sent(com: Line) -> None:
    com.outb(DATA, 0x41)
    assert com.sent == b"A"
    assert com.inb(LSR) == 0x60


def test_divisor_latch(com: Line) -> None:
    com.outb(LCR, 0x83)
    com.outb(DATA, 0x01)
    com.outb(IER, 0x02)
    assert (com.inb(DATA), com.inb(IER)) == (0x01, 0x02)
    com.outb(LCR, 0x03)
    assert com.sent == b""
    assert com.inb(IER) == 0x00


@pytest.mark.parametrize(
    ("offset", "written", "read"),
    [(IER, 0xFF, 0x0F), (SCR, 0xA5, 0xA5), (LCR, 0xFB, 0xFB), (MCR, 0xEF, 0x0F), (LSR, 0xFF, 0x60), (MSR, 0xFF, 0xB0)],
)
def test_what_a_register_keeps(com: Line, offset: int, written: int, read: int) -> None:
    com.outb(offset, written)
    assert com.inb(offset) == read


def test_enabling_the_thre_interrupt_raises_it_at_once(com: Line) -> None:
    com.outb(IER, 0x02)
    assert com.inb(IIR_FCR) == THR_EMPTY
    assert com.inb(IIR_FCR) == NO_INTERRUPT
    com.outb(IER, 0x02)  # no change, no interrupt
    assert com.inb(IIR_FCR) == NO_INTERRUPT
    com.outb(DATA, 0x55)
    assert com.inb(IIR_FCR) == THR_EMPTY


def test_thre_interrupt_makes_an_edge_for_each_byte(com: Line) -> None:
    com.outb(MCR, OUT2)
    com.outb(IER, 0x02)
    com.outb(DATA, 0x55)
    assert com.moves == [True, False, True]


def test_received_data(com: Line) -> None:
    com.outb(MCR, OUT2)
    com.outb(IER, 0x01)
    com.uart.receive(b"\x5a")
    assert com.high
    assert com.inb(IIR_FCR) == DATA_AVAILABLE
    assert com.inb(LSR) == 0x61
    assert com.inb(DATA) == 0x5A
    assert com.inb(LSR) == 0x60
    assert com.inb(IIR_FCR) == NO_INTERRUPT
    assert com.moves == [True, False]


def test_reading_an_empty_receiver_changes_nothing(com: Line) -> None:
    com.uart.receive(b"x")
    assert [com.inb(DATA) for _ in range(3)] == [ord("x")] * 3
    assert com.inb(LSR) == 0x60


def test_without_fifos_a_second_byte_overwrites_the_first(com: Line) -> None:
    com.uart.receive(b"ab")
    assert com.loop.next_deadline() is None
    assert com.inb(LSR) == 0x63
    assert com.inb(LSR) == 0x61
    assert com.inb(DATA) == ord("b")


def test_the_fifo_holds_16_bytes_and_loses_the_17th(com: Line) -> None:
    com.outb(IIR_FCR, 0x01)
    assert com.inb(IIR_FCR) == 0xC1
    text = bytes(range(FIFO_DEPTH))
    com.uart.receive(text)
    assert com.inb(LSR) == 0x61
    assert com.uart.room == 0
    com.uart.receive(b"\xff")
    assert com.inb(LSR) == 0x63
    assert bytes(com.inb(DATA) for _ in range(FIFO_DEPTH)) == text
    assert com.inb(LSR) == 0x60
    assert com.uart.room == FIFO_DEPTH


@pytest.mark.parametrize(("fcr", "level"), [(0x01, 1), (0x41, 4), (0x81, 8), (0xC1, 14)])
def test_trigger_level(com: Line, fcr: int, level: int) -> None:
    com.outb(IIR_FCR, fcr)
    com.outb(IER, 0x01)
    com.uart.receive(bytes(level - 1))
    assert com.inb(IIR_FCR) == 0xC1
    com.uart.receive(b"!")
    assert com.inb(IIR_FCR) == 0xC4
    com.inb(DATA)
    assert com.inb(IIR_FCR) == 0xC1


def test_character_timeout(com: Line) -> None:
    com.outb(IIR_FCR, 0xC1)
    com.outb(IER, 0x01)
    com.uart.receive(b"ab")
    com.wait(FOUR_CHARACTERS - 1)
    assert com.inb(IIR_FCR) == 0xC1
    com.wait(1)
    assert com.inb(IIR_FCR) == 0xCC
    assert com.inb(DATA) == ord("a")  # clears it, and the waiting begins anew
    assert com.inb(IIR_FCR) == 0xC1
    com.wait(FOUR_CHARACTERS)
    assert com.inb(IIR_FCR) == 0xCC
    com.inb(DATA)
    com.wait(FOUR_CHARACTERS)
    assert com.inb(IIR_FCR) == 0xC1
    assert com.loop.next_deadline() is None


def test_a_new_byte_restarts_the_timeout(com: Line) -> None:
    com.outb(IIR_FCR, 0xC1)
    com.outb(IER, 0x01)
    com.uart.receive(b"a")
    com.wait(FOUR_CHARACTERS - 1)
    com.uart.receive(b"b")
    com.wait(FOUR_CHARACTERS - 1)
    assert com.inb(IIR_FCR) == 0xC1
    com.wait(1)
    assert com.inb(IIR_FCR) == 0xCC


def test_timeout_follows_the_divisor(com: Line) -> None:
    com.outb(LCR, 0x83)
    com.outb(DATA, 1)  # 115200 baud
    com.outb(LCR, 0x03)
    com.outb(IIR_FCR, 0xC1)
    com.outb(IER, 0x01)
    com.uart.receive(b"a")
    com.wait(4 * 10 * 1_000_000_000 // 115200)
    assert com.inb(IIR_FCR) == 0xCC


@pytest.mark.parametrize("fcr", [0x03, 0x00])
def test_clearing_the_fifo_empties_it_and_stops_the_timeout(com: Line, fcr: int) -> None:
    com.outb(IIR_FCR, 0xC1)
    com.outb(IER, 0x01)
    com.uart.receive(b"abc")
    com.outb(IIR_FCR, fcr)
    assert com.inb(LSR) == 0x60
    com.wait(FOUR_CHARACTERS)
    assert com.inb(IIR_FCR) & 0x0F == NO_INTERRUPT
    com.uart.receive(b"d")
    assert com.inb(DATA) == ord("d")


def test_fifo_bits_are_not_taken_without_enable(com: Line) -> None:
    com.uart.receive(b"a")
    com.outb(IIR_FCR, 0xC2)
    assert com.inb(LSR) & 1
    com.outb(IER, 0x01)
    assert com.inb(IIR_FCR) == DATA_AVAILABLE


def test_loop_back_of_data(com: Line) -> None:
    com.outb(MCR, LOOP)
    assert com.uart.room == 0
    com.outb(DATA, 0x77)
    assert com.sent == b""
    com.uart.receive(b"from outside")
    assert com.inb(DATA) == 0x77
    assert com.inb(LSR) == 0x60


@pytest.mark.parametrize(
    ("mcr", "msr"), [(0x10, 0x00), (0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80), (0x1A, 0x90)]
)
def test_loop_back_of_modem_lines(com: Line, mcr: int, msr: int) -> None:
    com.outb(MCR, mcr)
    assert com.inb(MSR) & 0xF0 == msr


def test_modem_deltas_last_until_read(com: Line) -> None:
    com.outb(MCR, LOOP)
    assert com.inb(MSR) == 0x0B  # CTS, DSR and DCD went
    assert com.inb(MSR) == 0x00
    com.outb(MCR, LOOP | 0x04)
    assert com.inb(MSR) == 0x40  # RI tells its trailing edge only
    com.outb(MCR, LOOP)
    assert com.inb(MSR) == 0x04
    com.outb(MCR, LOOP | 0x02)
    com.outb(MCR, LOOP)
    assert com.inb(MSR) == 0x01  # there and back is a change


def test_modem_status_interrupt(com: Line) -> None:
    com.outb(IER, 0x08)
    assert com.inb(IIR_FCR) == NO_INTERRUPT
    com.outb(MCR, LOOP)
    assert com.inb(IIR_FCR) == MODEM_STATUS
    com.inb(MSR)
    assert com.inb(IIR_FCR) == NO_INTERRUPT


def test_out2_gates_the_line(com: Line) -> None:
    com.outb(IER, 0x02)
    assert com.moves == []
    com.outb(MCR, OUT2)
    assert com.moves == [True]
    com.outb(MCR, OUT2 | LOOP)
    assert com.moves == [True, False]
    com.outb(MCR, OUT2)
    assert com.high
    assert com.inb(IIR_FCR) == THR_EMPTY
    assert not com.high


def test_priority(com: Line) -> None:
    com.outb(IER, 0x0F)
    com.outb(MCR, LOOP)
    com.outb(DATA, 1)
    com.outb(DATA, 2)  # overrun
    assert com.inb(IIR_FCR) == LINE_STATUS
    com.inb(LSR)
    assert com.inb(IIR_FCR) == DATA_AVAILABLE
    com.inb(DATA)
    assert com.inb(IIR_FCR) == THR_EMPTY
    assert com.inb(IIR_FCR) == MODEM_STATUS
    com.inb(MSR)
    assert com.inb(IIR_FCR) == NO_INTERRUPT


def test_seabios_probe_behind_the_bus() -> None:
    com, bus = Line(), Bus()
    bus.add_ports(0x3F8, 8, com.uart, "com1", width=1)
    bus.pio_out(0x3F9, 1, 0x02)
    assert (bus.pio_in(0x3F9, 1), bus.pio_in(0x3FA, 1)) == (0x02, 0x02)
    bus.pio_out(0x3F8, 2, 0x0041)  # a wide access is two narrow ones: THR, then IER
    assert com.sent == b"A"
    assert bus.pio_in(0x3F9, 1) == 0x00
    assert bus.pio_in(0x2F9, 1) == 0xFF


def test_random_accesses_stay_within_bounds() -> None:
    rng, com = random.Random(1655), Line()
    for _ in range(20_000):
        match rng.randrange(8):
            case 0:
                com.uart.receive(rng.randbytes(rng.randrange(40)))
            case 1:
                com.wait(rng.randrange(FOUR_CHARACTERS))
            case 2 | 3 | 4:
                com.outb(rng.randrange(10), rng.randrange(256))
            case _:
                assert 0 <= com.inb(rng.randrange(10)) <= 0xFF
        com.sent.clear()
        assert 0 <= com.uart.room <= FIFO_DEPTH
        assert len(com.moves) < 100_000
        # The line says exactly what the registers say.
        com.moves[:] = com.moves[-1:]
        pending = com.uart._source != NO_INTERRUPT
        assert com.high == (pending and com.inb(MCR) & (OUT2 | LOOP) == OUT2)
    assert len(com.loop._heap) < 200
