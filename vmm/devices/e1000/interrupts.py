"""Causes, the mask, and how often they interrupt: "Interrupts", "Interrupt Throttling Register"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtproof.spec.e1000 import DELAY_NS, THROTTLE_NS, Cause
from virtproof.vmm.events import Timer

_KNOWN = Cause.KNOWN
After = Callable[[int, Callable[[], None]], Timer]


class Interrupts:
    """The line is high while a cause is pending that the mask lets through.

    With a ``throttle``, in units of 256 ns, it does not rise again sooner after it has risen.
    """

    def __init__(self, set_line: Callable[[bool], None], after: After) -> None:
        self._set_line, self._after = set_line, after
        self.causes = self.mask = self.throttle = 0
        self._level = False
        self._quiet: Timer | None = None

    def signal(self, causes: int) -> None:
        self.causes |= causes & _KNOWN
        self._update()

    def take(self) -> int:
        """Read and clear the causes."""
        causes = self.causes
        if causes:  # drivers poll for nothing, and often
            self.causes = 0
            self._update()
        return causes

    def clear(self, causes: int) -> None:
        self.causes &= ~causes
        self._update()

    def set_mask(self, mask: int) -> None:
        self.mask = mask & Cause.KNOWN
        self._update()

    def reset(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        self.causes = self.mask = self.throttle = 0
        self._update()

    def state(self) -> dict[str, Any]:
        return {"causes": self.causes, "mask": self.mask, "level": self._level}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave; raises ValueError, TypeError or KeyError for anything else."""
        causes, mask = state["causes"], state["mask"]
        if (causes | mask) & ~Cause.KNOWN:
            raise ValueError(f"causes {causes:#x}, mask {mask:#x}")
        self.causes, self.mask, self._level = causes, mask, bool(state["level"])

    def _update(self) -> None:
        level = bool(self.causes & self.mask)
        if level == self._level or (level and self._quiet is not None):
            return
        self._level = level
        if level and self.throttle:
            self._quiet = self._after(self.throttle * THROTTLE_NS, self._end_quiet)
        self._set_line(level)

    def _end_quiet(self) -> None:
        self._quiet = None
        self._update()


class Delay:
    """A cause that waits for quiet: "Receive Interrupt Delay Timer" and its absolute companion, or those of transmits.

    It is due when nothing has started it again for a while, or when the absolute time since the first start is over.
    """

    def __init__(self, after: After, due: Callable[[], None]) -> None:
        self._after, self._due = after, due
        self._timer: Timer | None = None
        self._limit: Timer | None = None

    def start(self, delay: int, limit: int) -> None:
        """Times in units of 1024 ns; a delay of 0 is none, a limit of 0 is none."""
        if not delay:
            if self._timer is not None:
                self.cancel()
            self._due()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._after(delay * DELAY_NS, self.end)
        if limit and self._limit is None:
            self._limit = self._after(limit * DELAY_NS, self.end)

    def end(self) -> None:
        """It is due now."""
        self.cancel()
        self._due()

    def flush(self) -> None:
        """It is due now, if it was started."""
        if self._timer is not None:
            self.end()

    def cancel(self) -> None:
        for timer in (self._timer, self._limit):
            if timer is not None:
                timer.cancel()
        self._timer = self._limit = None
