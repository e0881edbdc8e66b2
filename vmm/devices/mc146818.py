"""MC146818A real-time clock with 128 cells, as a PC has it at ports 70H and 71H: spec/mc146818.py names the data sheet.

The clock costs nothing while nobody looks: what the time is, and which flags have risen, is worked out when a register
is read.  A timer runs only for the next interrupt that the guest has enabled and not had yet, so one that never reads
register C gets one interrupt and no more.

Omitted: daylight saving, the square wave, and the day of the week as a counter of its own: it follows from the date.
A date that does not exist is taken as so many days after the first of its month, as soon as the clock runs.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from virtproof.spec import mc146818 as spec
from virtproof.spec.mc146818 import A, B, C, Cell
from virtproof.vmm.events import Timer

SECOND = 1_000_000_000
DAY = 86_400
SPAN = (datetime.max - datetime.min).days * DAY  # the calendar goes round after 9999 years

_TIME = (Cell.SECONDS, Cell.MINUTES, Cell.HOURS, Cell.DAY_OF_WEEK, Cell.DAY, Cell.MONTH, Cell.YEAR, Cell.CENTURY)
_ALARM = (Cell.HOURS_ALARM, Cell.MINUTES_ALARM, Cell.SECONDS_ALARM)


class Rtc:
    """Two byte-wide ports: index and data.  ``start`` is the time of day now; ``cells`` is what the RAM holds.

    ``interrupt`` is IRQ 8; ``after`` and ``now`` are those of an event loop.

    >>> from virtproof.vmm.events import EventLoop
    >>> loop = EventLoop()
    >>> clock = Rtc(datetime(2026, 11, 22, 16, 45), lambda level: None, loop.after, loop.clock.now)
    >>> clock.write(0, 1, Cell.HOURS); hex(clock.read(1, 1))
    '0x16'
    """

    def __init__(
        self,
        start: datetime,
        interrupt: Callable[[bool], None],
        after: Callable[[int, Callable[[], None]], Timer],
        now: Callable[[], int],
        cells: Mapping[int, int] | None = None,
    ) -> None:
        self._interrupt, self._after, self._now = interrupt, after, now
        self._index = 0
        self._a, self._b, self._flags = spec.RESET_A, spec.RESET_B, C(0)
        self._cells = bytearray(spec.CELLS)
        for cell, value in (cells or {}).items():
            self._cells[cell] = value
        self._total = _seconds(start)  # since year 1, at ``_since``
        self._since = now()  # when that second began; where the clock stands, ``_total`` is what it stands at
        self._settled = 0  # nanoseconds after ``_since`` up to which the flags are known
        self._timer: Timer | None = None
        self._level = False

    def read(self, offset: int, size: int) -> int:
        if offset == 0:
            return 0xFF  # the index cannot be read
        match self._index:
            case Cell.A:
                return self._a.but(uip=self._updating)
            case Cell.B:
                return self._b
            case Cell.C:
                return self._take_flags()
            case Cell.D:
                return spec.VALID_RAM
            case index if index in _TIME and not self._b.set:
                return self._time(self._b)[Cell(index)]
            case index:
                return self._cells[index]

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self._index = value & spec.INDEX_MASK
            return
        self._settle()
        match self._index:
            case Cell.A:
                self._control_divider(A(value).but(uip=0))
            case Cell.B:
                self._control(B(value))
            case Cell.C | Cell.D:
                pass
            case index if index in _TIME and not self._b.set:
                self._set_time(Cell(index), value)
            case index:
                self._cells[index] = value
        self._update()

    def reset(self) -> None:
        """The RESET pin: no interrupts; time and RAM stay."""
        self._index = 0
        self._b, self._flags = self._b.but(pie=0, aie=0, uie=0, sqwe=0), C(0)
        self._update()

    def state(self) -> dict[str, Any]:
        self._settle()
        total, phase = divmod(self._elapsed(), SECOND) if self._runs else (0, 0)
        return {
            "index": self._index,
            "registers": [int(self._a), int(self._b), int(self._flags)],
            "cells": self._cells.hex(),
            "seconds": self._total + total,
            "phase": phase,
            "level": self._level,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        a, b, flags = bytes(list(state["registers"]))
        cells, seconds, phase = bytes.fromhex(state["cells"]), state["seconds"], state["phase"]
        if not (type(seconds) is type(phase) is int and seconds >= 0 and 0 <= phase < SECOND):
            raise ValueError(f"{seconds} seconds and {phase} ns")
        if len(cells) != spec.CELLS:
            raise ValueError(f"{len(cells)} cells")
        self._index = bytes([state["index"]])[0] & spec.INDEX_MASK
        self._a, self._b, self._flags = A(a).but(uip=0), B(b), C(flags & spec.INTERRUPTS)
        self._cells = bytearray(cells)
        self._total, self._since, self._settled = seconds % SPAN, self._now() - phase, phase
        self._level = bool(state["level"])
        self._arm()

    # ---- time

    @property
    def _runs(self) -> bool:
        return self._a.dv == spec.RUNNING and not self._b.set

    @property
    def _updating(self) -> bool:
        return self._runs and self._elapsed() % SECOND >= SECOND - spec.UPDATE_NS - spec.WARNING_NS

    def _elapsed(self) -> int:
        """Nanoseconds since ``_total`` was the time."""
        return self._now() - self._since

    def _time(self, format_: B) -> dict[Cell, int]:
        """The registers of the time of day, in this format."""
        total = self._total + (self._elapsed() // SECOND if self._runs else 0)
        when = datetime.min + timedelta(seconds=total % SPAN)
        code = _binary if format_.dm else _bcd
        hour = when.hour if format_.h24 else (when.hour + 11) % 12 + 1
        return {
            Cell.SECONDS: code(when.second),
            Cell.MINUTES: code(when.minute),
            Cell.HOURS: code(hour) | (0 if format_.h24 or when.hour < 12 else spec.PM),
            Cell.DAY_OF_WEEK: when.isoweekday() % 7 + 1,
            Cell.DAY: code(when.day),
            Cell.MONTH: code(when.month),
            Cell.YEAR: code(when.year % 100),
            Cell.CENTURY: code(when.year // 100),
        }

    def _set_time(self, cell: Cell, value: int) -> None:
        registers = self._time(self._b) | {cell: value}
        phase = self._elapsed() % SECOND
        self._total = self._decoded(registers)
        self._since = self._now() - phase
        self._settled = phase

    def _decoded(self, registers: Mapping[Cell, int]) -> int:
        """Seconds since year 1; whatever the registers hold is some time."""
        number = {cell: value if self._b.dm else _from_bcd(value) for cell, value in registers.items()}
        hour = self._hour(registers[Cell.HOURS])
        year = number[Cell.CENTURY] % 100 * 100 + number[Cell.YEAR] % 100
        month = min(max(number[Cell.MONTH], 1), 12)
        days = datetime(max(year, 1), month, 1).toordinal() - 1 + (number[Cell.DAY] or 1) - 1
        return (days * DAY + hour * 3600 + number[Cell.MINUTES] % 60 * 60 + number[Cell.SECONDS] % 60) % SPAN

    def _hour(self, value: int) -> int:
        if self._b.h24:
            return (value if self._b.dm else _from_bcd(value)) % 24
        low = value & ~spec.PM
        return (low if self._b.dm else _from_bcd(low)) % 12 + (12 if value & spec.PM else 0)

    def _control_divider(self, a: A) -> None:
        ran = self._runs
        released = self._a.dv >= spec.DIVIDER_RESET and a.dv == spec.RUNNING
        if ran and a.dv != spec.RUNNING:
            self._stop()
        self._a = a
        if not ran and self._runs:
            self._start(SECOND - spec.FIRST_UPDATE_NS if released else 0)

    def _control(self, b: B) -> None:
        ran, was_set = self._runs, self._b.set
        if b.set:
            b = b.but(uie=0)  # "Register B", SET: it clears UIE
        if b.set and not was_set:
            for cell, value in self._time(self._b).items():
                self._cells[cell] = value
        if ran and b.set:
            self._stop()
        self._b = b
        if was_set and not b.set:
            self._total = self._decoded({cell: self._cells[cell] for cell in _TIME})
        if not ran and self._runs:
            self._start(0)

    def _stop(self) -> None:
        self._total = (self._total + self._elapsed() // SECOND) % SPAN

    def _start(self, phase: int) -> None:
        self._since, self._settled = self._now() - phase, phase

    # ---- flags and the interrupt

    def _settle(self) -> None:
        """Raise the flags of what has happened since somebody last looked."""
        if self._runs:
            at, before = self._elapsed(), self._settled
            self._settled = at
            if at // SECOND > before // SECOND:
                alarm = self._next_alarm(self._total + before // SECOND)
                rings = alarm is not None and alarm <= self._total + at // SECOND
                self._flags = self._flags.but(uf=1, af=self._flags.af or rings)
            period = self._period
            if period and at * spec.CRYSTAL_HZ // (period * SECOND) > before * spec.CRYSTAL_HZ // (period * SECOND):
                self._flags = self._flags.but(pf=1)

    @property
    def _period(self) -> int:
        """Of the periodic interrupt, in cycles of the crystal; 0: there is none."""
        rate = self._a.rs
        return 0 if rate == 0 else 1 << (rate + 6 if rate < 3 else rate - 1)

    def _take_flags(self) -> int:
        self._settle()
        value = self._flags.but(irqf=bool(self._flags & self._b & spec.INTERRUPTS))
        self._flags = C(0)
        self._update()
        return value

    def _update(self) -> None:
        level = bool(self._flags & self._b & spec.INTERRUPTS)
        if level != self._level:
            self._level = level
            self._interrupt(level)
        self._arm()

    def _arm(self) -> None:
        """Wait for the next interrupt, unless there is one already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = None if self._level or not self._runs else min(self._coming(), default=None)
        if due is not None:
            self._timer = self._after(max(due - self._elapsed(), 0), self._ring)

    def _coming(self) -> Iterator[int]:
        """When enabled flags will rise, in nanoseconds after ``_since``."""
        if self._b.uie:
            yield (self._settled // SECOND + 1) * SECOND
        if self._b.aie:
            alarm = self._next_alarm(self._total + self._settled // SECOND)
            if alarm is not None:
                yield (alarm - self._total) * SECOND
        if self._b.pie and self._period:
            period = self._period * SECOND
            number = self._settled * spec.CRYSTAL_HZ // period + 1
            yield -(-number * period // spec.CRYSTAL_HZ)

    def _ring(self) -> None:
        self._timer = None
        self._settle()
        self._update()

    def _next_alarm(self, total: int) -> int | None:
        """The first second behind ``total`` at which the alarm rings; None: there is no such time of day."""
        day, now = total // DAY * DAY, total % DAY
        hours, minutes, seconds = (self._choices(cell) for cell in _ALARM)
        if not (hours and minutes and seconds):
            return None
        hour, minute, second = now // 3600, now // 60 % 60, now % 60
        for h in hours:
            for m in minutes if h >= hour else ():
                for s in seconds if (h, m) >= (hour, minute) else ():
                    if (h, m, s) > (hour, minute, second):
                        return day + h * 3600 + m * 60 + s
        return day + DAY + hours[0] * 3600 + minutes[0] * 60 + seconds[0]

    def _choices(self, cell: Cell) -> range:
        """Which values of its part of the time an alarm byte matches."""
        value, limit = self._cells[cell], 24 if cell is Cell.HOURS_ALARM else 60
        if value & spec.WILDCARD == spec.WILDCARD:
            return range(limit)
        if cell is Cell.HOURS_ALARM:
            value = self._hour(value)
        elif not self._b.dm:
            value = _from_bcd(value)
        return range(value, value + 1) if value < limit else range(0)


def _seconds(when: datetime) -> int:
    return (when.replace(tzinfo=None) - datetime.min) // timedelta(seconds=1)


def _binary(value: int) -> int:
    return value


def _bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


def _from_bcd(value: int) -> int:
    return (value >> 4) * 10 + (value & 0xF)
