"""Timer of a local APIC: Intel SDM vol. 3A, "APIC Timer" and "TSC-Deadline Mode".

Its clock runs at 1 GHz.  Nothing ticks: the count is worked out from the clock when somebody looks, and a timer of the
monitor runs until it will be 0.  A period below ``SHORTEST_NS`` counts as it should and interrupts less often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from virtproof.spec.x86.apic import Divide, TimerMode
from virtproof.vmm.events import Timer

SHORTEST_NS = (
    200_000  # between interrupts of a periodic timer: a guest must not keep the monitor busy with nothing else
)
LONGEST_NS = 1 << 62  # that a deadline may be away; one beyond it never comes


class TimeStampCounter(Protocol):
    """The guest's, as a deadline is measured by it."""

    def tsc(self) -> int: ...
    def tsc_khz(self) -> int: ...


class ApicTimer:
    """Calls ``expired`` when the count is 0, or the time stamp counter is there.

    >>> from virtproof.vmm.events import EventLoop, ManualClock
    >>> clock = ManualClock(); loop = EventLoop(clock)
    >>> timer = ApicTimer(loop.after, clock.now); timer.expired = lambda: print("now")
    >>> timer.start(100); clock.advance(60); timer.current // 2
    20
    >>> clock.advance(140); loop.poll()
    now
    """

    def __init__(
        self,
        after: Callable[[int, Callable[[], None]], Timer],
        now: Callable[[], int],
        counter: TimeStampCounter | None = None,
    ) -> None:
        self._after, self._now, self._counter = after, now, counter
        self.expired: Callable[[], None] = lambda: None
        self._timer: Timer | None = None
        self._due: int | None = None  # when the count is 0, on the clock
        self.reset()

    def reset(self) -> None:
        self._stop()
        self.mode = TimerMode.ONE_SHOT
        self.divide = Divide(0)
        self.initial = self._deadline = 0

    def set_mode(self, mode: TimerMode) -> None:
        """Change the mode; a change to or from deadlines stops the timer."""
        if mode is not self.mode and TimerMode.TSC_DEADLINE in (mode, self.mode):
            self._stop()
            self.initial = self._deadline = 0
        self.mode = mode

    def set_divide(self, divide: Divide) -> None:
        """Count faster or slower from here on."""
        left = self.current
        self.divide = divide
        if left:
            self._due = self._now() + (left << divide.shift)
            self._arm(self._due - self._now())

    def start(self, count: int) -> None:
        """Write the initial count; 0 stops.  It does nothing in deadline mode."""
        if self.mode is TimerMode.TSC_DEADLINE:
            return
        self._stop()
        self.initial = count
        if count:
            self._due = self._now() + self._period
            self._arm(self._period)

    @property
    def current(self) -> int:
        """The current count."""
        if self._due is None:
            return 0
        left = self._due - self._now()
        if left <= 0:
            left = self._period - -left % self._period if self.mode is TimerMode.PERIODIC else 0
        return -(-left >> self.divide.shift)

    @property
    def deadline(self) -> int:
        """IA32_TSC_DEADLINE: 0 where none is waited for."""
        return self._deadline

    def set_deadline(self, value: int) -> None:
        """Wait for a value of the time stamp counter; 0 waits no more.  It does nothing outside deadline mode."""
        if self.mode is TimerMode.TSC_DEADLINE:
            self._stop()
            self._deadline = value
            if value:
                self._await_deadline()

    def state(self) -> dict[str, Any]:
        return {
            "mode": int(self.mode),
            "divide": int(self.divide),
            "initial": self.initial,
            "current": self.current,
            "deadline": self._deadline,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        mode, divide, initial, current, deadline = (
            state[name] for name in ("mode", "divide", "initial", "current", "deadline")
        )
        numbers = divide, initial, current, deadline
        if not all(type(number) is int and 0 <= number < 1 << 32 for number in numbers[:3]) or current > initial:
            raise ValueError(f"{state}")
        if type(deadline) is not int or not 0 <= deadline < 1 << 64:
            raise ValueError(f"a deadline of {deadline}")
        self.reset()
        self.mode, self.divide = TimerMode(mode), Divide(divide & Divide.KNOWN)
        if self.mode is TimerMode.TSC_DEADLINE:
            self.set_deadline(deadline)
        else:
            self.initial = initial
            if current:
                self._due = self._now() + (current << self.divide.shift)
                self._arm(current << self.divide.shift)

    @property
    def _period(self) -> int:
        return self.initial << self.divide.shift

    def _stop(self) -> None:
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._after(ns, self._end)

    def _end(self) -> None:
        self._timer = None
        if self.mode is TimerMode.TSC_DEADLINE:
            self._await_deadline()
            return
        if self.mode is TimerMode.PERIODIC and self.initial:
            left = self.current << self.divide.shift
            self._due = self._now() + left
            self._arm(left if self._period >= SHORTEST_NS else SHORTEST_NS)
        else:
            self._due = None
        self.expired()

    def _await_deadline(self) -> None:
        """Come back when the time stamp counter should be there; a clock that ran ahead of it is not believed."""
        if self._counter is None:
            return
        left = self._deadline - self._counter.tsc()
        if left <= 0:
            self._deadline = 0
            self.expired()
            return
        ns = -(-left * 1_000_000 // max(self._counter.tsc_khz(), 1))
        if ns < LONGEST_NS:
            self._arm(ns)
