"""8254 interval timer with port 61H, as in a PC: Intel 8254 data sheet.

Counters are worked out from the clock when somebody looks; a timer runs for channel 0 alone, whose output is a line.
Omitted: the delay of one clock between the write of a count and its loading; sound.  Of a cycle shorter than
``SHORTEST_NS`` several pulses become one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtproof.spec import i8254
from virtproof.spec.i8254 import CHANNELS, CLOCK_HZ, CONTROL, Control, Gates, Mode, ReadBack, ReadWrite, Status
from virtproof.vmm.events import Timer

SHORTEST_NS = 200_000  # between two pulses of a line: a guest must not keep the monitor busy with nothing else
SECOND = 1_000_000_000
_PERIODIC = Mode.RATE, Mode.SQUARE_WAVE
_PULSES = Mode.RATE, Mode.SOFTWARE_STROBE, Mode.HARDWARE_STROBE  # OUT is low for one clock
_TRIGGERED = Mode.ONE_SHOT, Mode.HARDWARE_STROBE  # the gate's rise starts them


class Channel:
    """One counter: what it holds and what OUT is at ``now()`` nanoseconds.

    Counting began at ``_since`` with ``_count``; it stands at ``_stood`` clocks where ``_since`` is None.
    """

    def __init__(self, now: Callable[[], int], *, gate: bool) -> None:
        self._now = now
        self.gate = gate
        self.mode, self.rw, self.bcd = Mode.RATE, ReadWrite.LOW_HIGH, False
        self._count = self._next = self._round  # clocks of a cycle; those of the next one
        self._since: int | None = None
        self._stood = 0
        self._loaded = False  # a count is in the counter
        self._waits = False  # one was written, and the gate's rise will load it
        self._swap_at: int | None = None  # clocks at which the one that was written is loaded
        self._edges = 0  # how often OUT had risen when the counter was loaded
        self._low: int | None = None  # the first byte of two
        self._high_next = False  # of two bytes to read
        self._latched: list[int] = []  # bytes of a latched count
        self._status: int | None = None

    @property
    def _round(self) -> int:
        return 10_000 if self.bcd else 1 << 16

    # ---- the program's side

    def control(self, word: Control) -> None:
        mode = word.mode & 3 if word.mode & 2 else word.mode
        self.mode, self.rw, self.bcd = Mode(mode), ReadWrite(word.rw), word.bcd
        self._count = self._next = self._round
        self._since, self._stood = None, 0
        self._loaded = self._waits = self._high_next = False
        self._low = self._status = self._swap_at = None
        self._latched.clear()

    def write(self, byte: int) -> None:
        match self.rw:
            case ReadWrite.LOW:
                self._write_count(byte)
            case ReadWrite.HIGH:
                self._write_count(byte << 8)
            case _ if self._low is None:
                self._low = byte
                if self.mode is Mode.TERMINAL_COUNT:  # the first byte stops it, and OUT is low
                    self._since, self._stood, self._loaded = None, self._clocks(), False
            case _:
                low, self._low = self._low, None
                self._write_count(byte << 8 | low)

    def read(self) -> int:
        if self._status is not None:
            status, self._status = self._status, None
            return status
        if self._latched:
            return self._latched.pop(0)
        value = self.value()
        match self.rw:
            case ReadWrite.LOW:
                return value & 0xFF
            case ReadWrite.HIGH:
                return value >> 8
        self._high_next = not self._high_next
        return value & 0xFF if self._high_next else value >> 8

    def latch(self) -> None:
        """Hold the count until it is read; what is held already stays."""
        if not self._latched:
            value = self.value()
            low, high = value & 0xFF, value >> 8
            self._latched = {ReadWrite.LOW: [low], ReadWrite.HIGH: [high]}.get(self.rw, [low, high])
            self._high_next = False

    def latch_status(self) -> None:
        if self._status is None:
            null = not self._loaded or self._waits or self._swap_at is not None
            status = Status(0).but(bcd=self.bcd, mode=self.mode, rw=self.rw, null_count=null, output=self.out)
            self._status = int(status)

    def set_gate(self, level: bool) -> None:
        self._settle()
        rose, fell = level and not self.gate, self.gate and not level
        self.gate = level
        if rose and self.mode in (*_TRIGGERED, *_PERIODIC) and (self._loaded or self._waits):
            self._load()
            self._since = self._now()
        elif rose and self._loaded:
            self._since = self._now() - _ns(self._stood)
        elif fell and self.mode not in _TRIGGERED:
            self._stood = self._clocks()
            self._since = None

    # ---- the counter

    @property
    def out(self) -> bool:
        """The level of OUT."""
        self._settle()
        clocks, count = self._clocks(), self._count
        match self.mode:
            case Mode.TERMINAL_COUNT:
                return self._loaded and clocks >= count
            case Mode.ONE_SHOT:
                return not self._loaded or clocks >= count
            case Mode.RATE:  # the gate low keeps it high
                return self._since is None or clocks % count != count - 1
            case Mode.SQUARE_WAVE:
                return self._since is None or clocks % count < (count + 1) // 2
            case _:
                return not self._loaded or clocks != count

    def value(self) -> int:
        """What the counter holds, in BCD where it counts so."""
        self._settle()
        clocks, count = self._clocks(), self._count
        match self.mode:
            case Mode.RATE:
                left = count - clocks % count
            case Mode.SQUARE_WAVE:  # by two, twice a cycle
                high = (count + 1) // 2
                at = clocks % count
                left = (count & ~1) - 2 * (at if at < high else at - high)
            case _:
                left = count - clocks
        left %= self._round
        return int(str(left), 16) if self.bcd else left

    def next_change(self) -> int | None:
        """Nanoseconds until somebody should look again; None: OUT stays as it is.

        That is when it changes; a pulse of one clock is told by its end only.
        """
        self._settle()
        if self._since is None or not self._loaded:
            return None
        clocks, count = self._clocks(), self._count
        match self.mode:
            case Mode.RATE:
                left = count - clocks % count
            case Mode.SQUARE_WAVE:
                at, high = clocks % count, (count + 1) // 2
                left = (high if at < high else count) - at
            case Mode.SOFTWARE_STROBE | Mode.HARDWARE_STROBE:
                left = count + 1 - clocks
            case _:
                left = count - clocks
        if left <= 0:
            return None
        fast = self.mode in _PERIODIC and _ns(count) < SHORTEST_NS
        return max(self._since + _ns(clocks + left) - self._now(), SHORTEST_NS if fast else 0)

    @property
    def edges(self) -> int:
        """How often OUT has risen by counting; fewer than before where the counter was loaded anew."""
        self._settle()
        clocks, count = self._clocks(), self._count
        match self.mode:
            case Mode.RATE | Mode.SQUARE_WAVE:
                return self._edges + clocks // count
            case Mode.SOFTWARE_STROBE | Mode.HARDWARE_STROBE:
                return self._edges + (self._loaded and clocks > count)
            case _:
                return self._edges

    def state(self) -> dict[str, Any]:
        self._settle()
        return {
            "control": int(Control(0).but(mode=self.mode, rw=self.rw, bcd=self.bcd)),
            "gate": self.gate,
            "count": self._count,
            "next": self._next,
            "clocks": self._clocks(),
            "counts": self._since is not None,
            "loaded": self._loaded,
            "waits": self._waits,
            "swap_at": self._swap_at,
            "low": self._low,
            "high_next": self._high_next,
            "latched": list(self._latched),
            "status": self._status,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        word = Control(bytes([state["control"]])[0])
        if word.mode > 5 or word.rw == ReadWrite.LATCH:
            raise ValueError(f"{word}")
        count, following, clocks = (state[name] for name in ("count", "next", "clocks"))
        low, status = (None if state[name] is None else bytes([state[name]])[0] for name in ("low", "status"))
        latched, swap_at = list(bytes(state["latched"])), state["swap_at"]
        least = 2 if word.mode in _PERIODIC else 1
        numbers = count, following, clocks, *(() if swap_at is None else (swap_at,))
        if not all(type(number) is int and 0 <= number < 1 << 64 for number in numbers) or len(latched) > 2:
            raise ValueError(f"{state}")
        if not (least <= count <= 1 << 16 and least <= following <= 1 << 16):
            raise ValueError(f"a count of {count}, then {following}")
        self.control(word)
        self.gate, self._count, self._next = bool(state["gate"]), count, following
        self._loaded, self._waits, self._swap_at = bool(state["loaded"]), bool(state["waits"]), swap_at
        self._since, self._stood = (self._now() - _ns(clocks), 0) if state["counts"] else (None, clocks)
        self._low, self._status, self._latched = low, status, latched
        self._high_next = bool(state["high_next"])

    # ---- inside

    def _clocks(self) -> int:
        """Clocks since the counter was loaded, those with the gate closed left out."""
        if self._since is None:
            return self._stood
        return (self._now() - self._since) * CLOCK_HZ // SECOND

    def _write_count(self, value: int) -> None:
        if self.bcd:
            value = sum((value >> 4 * digit & 0xF) * 10**digit for digit in range(4)) % self._round
        count = value or self._round
        if count == 1 and self.mode in _PERIODIC:
            count = 2  # the data sheet forbids 1
        self._settle()
        self._next = count
        if self.mode in _TRIGGERED:
            self._waits = True
        elif self.mode in _PERIODIC and self._since is not None:
            self._swap_at = self._swap_at or self._end_of_cycle()
        else:
            self._load()
            self._since = self._now() if self.gate else None

    def _load(self) -> None:
        self._count, self._stood = self._next, 0
        self._loaded, self._waits, self._swap_at = True, False, None

    def _end_of_cycle(self) -> int:
        """Clocks at which a new count is taken: in mode 3 at the end of half a cycle."""
        clocks, high = self._clocks(), (self._count + 1) // 2
        at = clocks % self._count
        return clocks - at + (high if self.mode is Mode.SQUARE_WAVE and at < high else self._count)

    def _settle(self) -> None:
        """Load the count that was written while the old one ran, if its time has come."""
        if self._swap_at is None or self._since is None or self._clocks() < self._swap_at:
            return
        half = self._swap_at % self._count != 0
        self._edges += self._swap_at // self._count
        self._since += _ns(self._swap_at) - (_ns((self._next + 1) // 2) if half else 0)
        self._count, self._swap_at = self._next, None


def _ns(clocks: int) -> int:
    """Nanoseconds that ``clocks`` take, rounded up: no clock comes early."""
    return -(-clocks * SECOND // CLOCK_HZ)


class Pit:
    """Four byte-wide ports; ``interrupt`` is OUT of channel 0, ``after`` and ``now`` are those of an event loop.

    >>> from virtproof.vmm.events import EventLoop
    >>> loop = EventLoop()
    >>> pit = Pit(interrupt=lambda level: None, after=loop.after, now=loop.clock.now)
    >>> for port, value in ((3, 0xB0), (2, 0x34), (2, 0x12)): pit.write(port, 1, value)  # the gate is closed
    >>> hex(pit.read(2, 1) | pit.read(2, 1) << 8)
    '0x1234'
    """

    def __init__(
        self,
        interrupt: Callable[[bool], None],
        after: Callable[[int, Callable[[], None]], Timer],
        now: Callable[[], int],
    ) -> None:
        self._interrupt, self._after = interrupt, after
        self.channels = [Channel(now, gate=number != 2) for number in range(CHANNELS)]
        self.gates = SystemControl(self.channels[2], now)
        self._timer: Timer | None = None
        self._level = True  # undefined before the first control word; nobody is told of it
        self._edges = 0

    def read(self, offset: int, size: int) -> int:
        return self.channels[offset].read() if offset < CHANNELS else 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        value &= 0xFF
        if offset != CONTROL:
            self.channels[offset].write(value)
        elif Control(value).sc < CHANNELS:
            channel = self.channels[Control(value).sc]
            if Control(value).rw == ReadWrite.LATCH:
                channel.latch()
                return
            channel.control(Control(value))
        else:
            self._read_back(ReadBack(value))
            return
        self._drive()

    def state(self) -> dict[str, Any]:
        return {
            "channels": [channel.state() for channel in self.channels],
            "gates": int(self.gates.written),
            "level": self._level,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        for channel, saved in zip(self.channels, state["channels"], strict=True):
            channel.restore(saved)
        self.gates.write(0, 1, bytes([state["gates"]])[0])
        self._level = bool(state["level"])
        self._edges = self.channels[0].edges
        self._drive()

    def _read_back(self, command: ReadBack) -> None:
        for number, channel in enumerate(self.channels):
            if command.channels >> number & 1:
                if not command.no_count:
                    channel.latch()
                if not command.no_status:
                    channel.latch_status()

    def _drive(self) -> None:
        """Bring the line to where OUT is, rising once more where OUT has risen in between."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        channel = self.channels[0]
        edges = channel.edges
        if edges > self._edges:
            self._set(False)
            self._set(True)
        self._edges = edges
        self._set(channel.out or channel.mode in _PULSES)
        left = channel.next_change()
        if left is not None:
            self._timer = self._after(left, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._drive()

    def _set(self, level: bool) -> None:
        if level != self._level:
            self._level = level
            self._interrupt(level)


class SystemControl:
    """Port 61H: the gate and the output of channel 2, and the refresh bit by which programs wait."""

    def __init__(self, channel: Channel, now: Callable[[], int]) -> None:
        self._channel, self._now = channel, now
        self.written = Gates(0)

    def read(self, offset: int, size: int) -> int:
        refresh = self._now() // i8254.REFRESH_NS & 1
        return self.written.but(refresh=refresh, out2=self._channel.out)

    def write(self, offset: int, size: int, value: int) -> None:
        self.written = Gates(value & 0x0F)
        self._channel.set_gate(self.written.gate2)

    def state(self) -> dict[str, Any]:
        """Nothing: the timer keeps it."""
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...
