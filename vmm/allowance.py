"""How long a guest may run: what its thread waited for a processor is not held against it.

On a machine that is busy with other things a guest gets a fraction of each second, and would count as hanging where
the same guest ends in time on an idle one.  Linux tells how long a thread was ready to run and did not: the second
number of /proc/PID/task/TID/schedstat, in nanoseconds (Documentation/scheduler/sched-stats.rst,
"/proc/<pid>/schedstat").  A kernel that does not tell it leaves the seconds as they are.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import monotonic

STRETCH = 20.0  # times the seconds asked for: the longest that anything may take


class Allowance:
    """``seconds`` from now on, and what ``threads`` of the process ``pid`` wait for a processor from now on.

    Of several threads that which waits the longest counts.  No process: our own; no threads: all that it has.
    """

    def __init__(self, seconds: float, *, pid: int = 0, threads: tuple[int, ...] = ()) -> None:
        self.seconds = seconds
        self._tasks = Path(f"/proc/{pid or os.getpid()}/task")
        self._threads = threads
        self._before = self._waits()
        self._began = monotonic()

    def left(self) -> float:
        """Seconds until it is used up, at the earliest; 0 or less: it is."""
        passed = monotonic() - self._began
        if passed < self.seconds:
            return self.seconds - passed
        waited = max((now - self._before.get(at, 0.0) for at, now in self._waits().items()), default=0.0)
        return self.seconds + min(waited, (STRETCH - 1) * self.seconds) - passed

    def _waits(self) -> dict[str, float]:
        """Seconds by thread."""
        found = {}
        try:
            for thread in map(str, self._threads) if self._threads else os.listdir(self._tasks):
                with open(self._tasks / thread / "schedstat", encoding="ascii") as told:
                    found[thread] = int(told.read().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # it has ended, or the kernel does not tell
            pass
        return found


def of_this_thread(seconds: float) -> Allowance:
    """``seconds`` for the calling thread."""
    return Allowance(seconds, threads=(threading.get_native_id(),))
