"""One event loop per machine: timers and readable file descriptors, on one thread, with an injected clock.

Devices ask for timers with ``after``; back ends (TAP, console, eventfd) register what they read from.  Nothing here may
be called from another thread.
"""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Protocol, Self

CANCELLED_KEPT = 64  # cancelled timers that may wait in the heap before it is swept


class Clock(Protocol):
    def now(self) -> int:
        """Nanoseconds since some fixed moment; never goes back."""
        ...


class MonotonicClock:
    """Real time."""

    def now(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """Time that stands still until ``advance`` is called: for tests."""

    def __init__(self, start: int = 0) -> None:
        self._now = start

    def now(self) -> int:
        return self._now

    def advance(self, ns: int) -> None:
        self._now += ns


class Timer:
    """One callback at one moment; made by ``EventLoop.after``."""

    def __init__(self, loop: "EventLoop", deadline: int, callback: Callable[[], None]) -> None:
        self.deadline = deadline
        self._loop, self._callback = loop, callback
        self.pending = True

    def cancel(self) -> None:
        """Never call the callback; does nothing once it was called."""
        if self.pending:
            self.pending = False
            self._loop._sweep()


After = Callable[[int, Callable[[], None]], Timer]  # what a device is given to ask for a timer: ``EventLoop.after``


class EventLoop:
    """Timers in order of their deadline, then of their making; readers through epoll.

    A context manager: ``close`` gives the epoll descriptor back.  None is opened before it is needed.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or MonotonicClock()
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._readers: dict[int, Callable[[], None]] = {}
        self._epoll: select.epoll | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._heap.clear()
        self._readers.clear()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def after(self, ns: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once, from ``poll``, when ``ns`` nanoseconds have passed."""
        timer = Timer(self, self.clock.now() + ns, callback)
        heapq.heappush(self._heap, (timer.deadline, next(self._order), timer))
        return timer

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback``, from ``poll``, whenever ``fd`` can be read, was hung up or failed.

        Raises ValueError where ``fd`` has a reader, PermissionError where it cannot be waited for (a plain file).
        """
        if fd in self._readers:
            raise ValueError(f"descriptor {fd} has a reader")
        self._opened().register(fd, select.EPOLLIN)
        self._readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        """Forget ``fd``; it may be closed already."""
        if self._readers.pop(fd, None) is not None and self._epoll is not None:
            with suppress(OSError):  # the kernel forgets a descriptor when it is closed
                self._epoll.unregister(fd)

    def fileno(self) -> int:
        """Return a descriptor that can be read when ``poll`` has a reader to call; for a thread that sleeps on more."""
        return self._opened().fileno()

    def _opened(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
        return self._epoll

    @property
    def reading(self) -> bool:
        """Is any descriptor waited for?"""
        return bool(self._readers)

    @property
    def waiting(self) -> bool:
        """Is any timer or descriptor waited for?"""
        return bool(self._readers) or self.next_deadline() is not None

    def next_deadline(self) -> int | None:
        """When the next timer is due, in the clock's nanoseconds; None without timers."""
        while self._heap and not self._heap[0][2].pending:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0][0] if self._heap else None

    def poll(self, timeout_ns: int = 0) -> None:
        """Run what is due; where nothing is, wait for the next timer or reader, but at most ``timeout_ns``.

        One call runs a timer or reader once, however often a callback asks for more: it always returns.
        """
        deadline = self.next_deadline()
        if deadline is not None:
            timeout_ns = min(timeout_ns, max(0, deadline - self.clock.now()))
        if self._epoll is not None and self._readers:
            for fd, _ in self._epoll.poll(timeout_ns / 1e9):
                callback = self._readers.get(fd)  # an earlier callback may have removed it
                if callback is not None:
                    try:
                        callback()
                    except Exception as error:
                        error.add_note(f"in {_name(callback)}, which reads from a descriptor")
                        raise
        elif timeout_ns > 0:
            time.sleep(timeout_ns / 1e9)
        self._run_due()

    def _run_due(self) -> None:
        now, due = self.clock.now(), []
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            if timer.pending:
                due.append(timer)
            else:
                self._cancelled -= 1
        for at, timer in enumerate(due):
            if not timer.pending:  # cancelled by a callback of this round
                self._cancelled -= 1
                continue
            timer.pending = False
            try:
                timer._callback()
            except BaseException as error:
                error.add_note(f"in {_name(timer._callback)}, which a timer called")
                for late in due[at + 1 :]:  # they are due still
                    heapq.heappush(self._heap, (late.deadline, next(self._order), late))
                raise

    def _sweep(self) -> None:
        """Count a cancelled timer; a guest that re-arms a far timer for ever must not make the heap grow."""
        self._cancelled += 1
        if self._cancelled > CANCELLED_KEPT and self._cancelled > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            self._cancelled = 0


def _name(callback: Callable[[], None]) -> str:
    """Name a function, and its class where it is a method."""
    while isinstance(callback, partial):
        callback = callback.func
    function = getattr(callback, "__func__", callback)
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(callback).__qualname__)}"
