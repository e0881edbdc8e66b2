"""Several vCPUs at once: a thread each, one lock around everything of the machine that they share.

The thread that calls ``run`` runs none of them: it sleeps until a timer or a descriptor of a device wants it, the time
is up, or a vCPU stops the machine.  Whoever comes back from the guest takes Python's own lock for microseconds only, so
vCPUs that do nothing but exit take turns.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Container, Mapping, Sequence
from contextlib import AbstractContextManager
from time import monotonic

from virtproof.spec.fault import Fault
from virtproof.vmm.allowance import Allowance
from virtproof.vmm.engine import Accesses, Vcpu
from virtproof.vmm.events import EventLoop
from virtproof.vmm.exits import Exit, Halt, Interrupted, Timeout
from virtproof.vmm.startup import Startup

LOOK = 3600.0  # seconds after which the loop looks again anyway: poll takes no more than 24 days
KICK_INTERVAL = 0.01  # seconds between kicks of a vCPU that is to stop
STUCK = 5.0  # seconds of kicking after which a vCPU is given up


class LockedAccesses:
    """A bus that several threads may use."""

    def __init__(self, bus: Accesses, lock: AbstractContextManager[object]) -> None:
        self._bus, self._lock = bus, lock

    def pio_in(self, port: int, size: int) -> int:
        with self._lock:
            return self._bus.pio_in(port, size)

    def pio_out(self, port: int, size: int, value: int) -> None:
        with self._lock:
            self._bus.pio_out(port, size, value)

    def mmio_read(self, address: int, length: int) -> int:
        with self._lock:
            return self._bus.mmio_read(address, length)

    def mmio_write(self, address: int, length: int, value: int) -> None:
        with self._lock:
            self._bus.mmio_write(address, length, value)


class Crew:
    """The threads of a machine's vCPUs; they live as long as a ``run``."""

    def __init__(
        self,
        vcpus: Sequence[Vcpu],
        accesses: Sequence[Accesses],
        lock: AbstractContextManager[object],
        events: EventLoop,
        startups: Mapping[int, Startup] | None = None,
    ) -> None:
        self._vcpus, self._events, self._lock = vcpus, events, lock
        self._startups = startups or {}  # by vCPU: those whose INIT and SIPI are the monitor's to carry out
        self._accesses = [LockedAccesses(bus, lock) for bus in accesses]  # by vCPU
        self._wakes = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._changed = threading.Condition()  # of what follows
        self._ending = True
        self._halted = self._running = 0
        self._stopped: tuple[int, Exit] | None = None
        self._error: BaseException | None = None

    def close(self) -> None:
        with self._changed:  # a thread that was given up may still come back and want to wake the loop
            if self._wakes >= 0:
                os.close(self._wakes)
                self._wakes = -1

    def wake(self) -> None:
        """Make the loop look again, and halted vCPUs too.  Any thread may call it."""
        with self._changed:
            if self._wakes >= 0:
                os.eventfd_write(self._wakes, 1)
            self._changed.notify_all()

    def end(self) -> None:
        """Make ``run`` return.  Any thread may call it."""
        with self._changed:
            self._ending = True
        self.wake()
        for vcpu in self._vcpus:
            vcpu.kick()

    def run(self, seconds: float, only: Container[int] | None = None) -> tuple[int, Exit | Timeout]:
        """Run all vCPUs, or ``only`` some; return which one stopped the machine, and how.

        That is (0, Interrupted) where ``end`` was called.  Raises what a device raised, and Fault where a vCPU cannot
        be stopped.
        """
        self._ending, self._halted, self._stopped, self._error = False, 0, None, None
        threads = [
            threading.Thread(target=self._serve, args=(index, vcpu), name=f"vCPU {index}", daemon=True)
            for index, vcpu in enumerate(self._vcpus)
            if only is None or index in only
        ]
        self._running = len(threads)
        try:
            for thread in threads:
                thread.start()
            timed_out = self._loop(Allowance(seconds))
        finally:
            self._join(threads)
        if self._error is not None:
            raise self._error
        if self._stopped is not None:
            return self._stopped
        return 0, Timeout(seconds) if timed_out else Interrupted()

    def _loop(self, allowance: Allowance) -> bool:
        """Look after timers and descriptors until the run ends; say whether that was because time is up."""
        poll = select.poll()
        poll.register(self._wakes, select.POLLIN)
        poll.register(self._events.fileno(), select.POLLIN)
        while not self._ending:
            with self._lock:
                self._events.poll()
                due, now = self._events.next_deadline(), self._events.clock.now()
                waiting = self._events.waiting
            with self._changed:
                if self._halted == self._running and not waiting and not self._wakeful():
                    self._stopped = 0, Halt()
                    return False
            left = allowance.left()
            if left <= 0:
                return not self._ending
            if due is not None:
                left = min(left, max(0.0, (due - now) / 1e9))
            for ready, _ in poll.poll(min(left, LOOK) * 1000 + 1):
                if ready == self._wakes:
                    os.eventfd_read(self._wakes)
        return False

    def _wakeful(self) -> bool:
        return any(self._wakes_up(index) for index in range(len(self._vcpus)))

    def _wakes_up(self, index: int) -> bool:
        startup = self._startups.get(index)
        if startup is not None and (startup.due or startup.waits):
            return startup.due
        return self._vcpus[index].wakeful

    def _serve(self, index: int, vcpu: Vcpu) -> None:
        """The life of one thread."""
        try:
            while not self._ending:
                startup = self._startups.get(index)
                if startup is not None and (startup.due or startup.waits) and not startup.carry_out():
                    self._rest(index)
                    continue
                stopped = vcpu.run(self._accesses[index])
                if isinstance(stopped, Halt):
                    self._rest(index)
                elif not isinstance(stopped, Interrupted):
                    with self._changed:
                        self._stopped = self._stopped or (index, stopped)
                    break
        except BaseException as err:
            with self._changed:
                self._error = self._error or err
        self.end()

    def _rest(self, index: int) -> None:
        """Sleep in a halt that the kernel does not know, or until SIPI, until something wakes the vCPU."""
        with self._changed:
            self._halted += 1
            self.wake()
            while not self._ending and not self._wakes_up(index):
                self._changed.wait()
            self._halted -= 1

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        """Stop every thread.  Raises Fault where one does not come back: its vCPU is left behind."""
        give_up = monotonic() + STUCK
        self.end()
        alive = [thread for thread in threads if thread.ident is not None]
        while alive and monotonic() < give_up:
            alive[0].join(KICK_INTERVAL)
            alive = [thread for thread in alive if thread.is_alive()]
            if alive:
                self.end()
        if alive:
            raise Fault(
                f"stop {', '.join(thread.name for thread in alive)}",
                f"no answer to {STUCK:g} s of kicking",
                "the kernel or a device of the monitor hangs: see dmesg",
            )
