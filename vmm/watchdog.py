"""The watchdog: every guest ends.

One sleeping daemon thread per process kicks each guarded vCPU from its deadline on, again and again until the guard is
released, so that a monitor that runs the vCPU once more cannot lose the kick.
"""

from __future__ import annotations

import os
import threading
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from virtproof.vmm.allowance import Allowance

KICK_INTERVAL = 0.01  # seconds between kicks once a deadline has passed


class Kickable(Protocol):
    """Something whose ``kick`` may be called from any thread."""

    def kick(self) -> None: ...


class Guard:
    """A deadline for one vCPU; ``expired`` says that it has passed.  Use it as a context manager.

    With an ``allowance`` it has not passed before that is used up.
    """

    def __init__(self, watchdog: Watchdog, vcpu: Kickable, seconds: float, allowance: Allowance | None = None) -> None:
        self.vcpu, self.seconds, self._allowance = vcpu, seconds, allowance
        self.expired = False
        self.next_kick = 0.0
        self._watchdog = watchdog

    def __enter__(self) -> Self:
        self.next_kick = monotonic() + self.seconds
        self._watchdog.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._watchdog.remove(self)

    def look(self, now: float) -> None:
        """Kick the vCPU where it is time to."""
        if self.next_kick > now:
            return
        left = 0.0 if self.expired or self._allowance is None else self._allowance.left()
        if left > 0:
            self.next_kick = now + left
            return
        self.expired = True
        self.vcpu.kick()
        self.next_kick = now + KICK_INTERVAL


class Watchdog:
    """The thread and the guards it looks after; one per process is enough: ``guard`` uses it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._guards: set[Guard] = set()
        self._wakes_at = 0.0  # when the thread looks next; infinite while there is nothing to do
        self._thread: threading.Thread | None = None

    def add(self, guard: Guard) -> None:
        with self._changed:
            self._guards.add(guard)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()
            elif guard.next_kick < self._wakes_at:
                self._changed.notify()

    def remove(self, guard: Guard) -> None:
        # The thread is left asleep until its old deadline: waking it would cost each guest a switch of threads.
        with self._changed:
            self._guards.discard(guard)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = monotonic()
                for guard in self._guards:
                    guard.look(now)
                self._wakes_at = min((guard.next_kick for guard in self._guards), default=float("inf"))
                self._changed.wait(self._wakes_at - now if self._guards else None)


_watchdog = Watchdog()


def _forget_after_fork() -> None:
    """The child of a fork has no watchdog thread, and maybe a locked lock."""
    global _watchdog  # noqa: PLW0603 -- one per process is the point
    _watchdog = Watchdog()


os.register_at_fork(after_in_child=_forget_after_fork)


def guard(vcpu: Kickable, seconds: float, allowance: Allowance | None = None) -> Guard:
    """Return a guard that kicks ``vcpu`` when ``seconds`` have passed since it was entered, and ``allowance`` has."""
    return Guard(_watchdog, vcpu, seconds, allowance)
