"""Runs a machine under a debugger: it waits for one, and lets the guest go on without when it leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Self

from virtproof.vmm.exits import Exit, InternalError, Interrupted, Shutdown, Timeout
from virtproof.vmm.gdb.connection import Connection, Listener, Lost
from virtproof.vmm.gdb.debuggee import GdbSignal, Killed, Resume, Stop
from virtproof.vmm.gdb.guest import Guest
from virtproof.vmm.gdb.session import Leave, Session
from virtproof.vmm.machine import Machine


class Debugger:
    """Serves one debugger at a time, on the thread that calls ``run``.  Use it as a context manager.

    A debugger that detaches or vanishes takes its breakpoints with it, and the guest runs on; another one that connects
    then stops it.  ``status`` says which exit status the guest has asked for, if it has.  ``bits`` is the architecture
    that the debugger is told: 64 for i386:x86-64, 32 for i386.
    """

    def __init__(
        self,
        machine: Machine,
        listener: Listener,
        *,
        status: Callable[[], int | None] = lambda: None,
        bits: int = 64,
    ) -> None:
        self._machine, self._listener, self._status, self._bits = machine, listener, status, bits
        self._guest = Guest(machine)
        self._everyone = Resume(runs=frozenset(range(len(machine.vcpus))))
        self._connection: Connection | None = None
        self._session = self._new_session(Stop(GdbSignal.TRAP))
        self._asks = self._lost = False  # set while the guest runs: somebody connects; the debugger is gone

    def run(self, seconds: float) -> Exit | Timeout | Killed:
        """Wait for a debugger; then run the guest as it wants, until that ends or has run for ``seconds``."""
        left = seconds
        self._attach(Stop(GdbSignal.TRAP))
        while True:
            resume = self._converse()
            if isinstance(resume, Killed):
                return resume
            ended = None
            while ended is None:
                started = monotonic()
                ended = self._go(resume, max(0.0, left))
                left -= monotonic() - started
            if self._status() is not None:
                self._tell(b"W%02x" % (self._status() or 0), last=True)
                return Interrupted() if isinstance(ended, Stop | Timeout) else ended
            match ended:
                case Timeout():
                    self._tell(b"X%02x" % GdbSignal.TERM, last=True)
                    return Timeout(seconds)
                case Stop():
                    self._stopped(ended)
                case Interrupted() if self._asks:
                    self._attach(Stop(GdbSignal.INT))
                case Interrupted() if self._lost:
                    self._leave()
                case Interrupted() if self._connection is not None and self._connection.interrupted:
                    self._stopped(Stop(GdbSignal.INT, min(resume.steps | resume.runs)))
                case Interrupted():  # somebody else has stopped the machine
                    self._tell(b"X%02x" % GdbSignal.TERM, last=True)
                    return ended
                case _:
                    return self._died(ended)

    def _go(self, resume: Resume, seconds: float) -> Stop | Exit | Timeout | None:
        """Let the guest go on, an eye on the debugger, or on one that wants to be."""
        self._asks = self._lost = False
        if self._connection is not None and self._connection.interrupted:  # already
            return Interrupted()
        watched = self._listener if self._connection is None else self._connection
        self._machine.events.add_reader(watched.fileno(), self._look)
        try:
            return self._guest.run(resume, seconds)
        finally:
            self._machine.events.remove_reader(watched.fileno())

    def _look(self) -> None:
        """Called while the guest runs, when there is something to read."""
        if self._connection is None:
            self._asks = True
        else:
            try:
                self._connection.look()
            except Lost:
                self._lost = True
            if not (self._lost or self._connection.interrupted):
                return
        self._machine.stop()

    def _converse(self) -> Resume | Killed:
        """Answer the debugger until the guest is to go on; without one it goes on at once."""
        while self._connection is not None:
            try:
                answer = self._session.handle(self._connection.packet())
                if isinstance(answer, Resume):
                    return answer
                if isinstance(answer, Leave):
                    self._tell(b"OK", last=True)
                    self._leave()
                    if answer is Leave.KILL:
                        return Killed()
                    break
                self._connection.send(answer)
                self._connection.no_acks = self._session.no_acks
            except Lost:
                self._leave()
        return self._everyone

    def _died(self, how: Exit) -> Exit | Killed:
        """Let the debugger look at a guest that cannot go on."""
        if self._connection is not None:
            signal = {Shutdown: GdbSignal.SEGV, InternalError: GdbSignal.ILL}.get(type(how), GdbSignal.ABRT)
            self._tell(b"O" + f"virtproof: the guest cannot go on: {how}\n".encode().hex().encode())
            self._stopped(Stop(signal, self._machine.stopped_by))
            if isinstance(killed := self._converse(), Killed):
                return killed
            self._tell(b"X%02x" % signal, last=True)
        return how

    def _stopped(self, stop: Stop) -> None:
        self._tell(self._session.stopped(stop))

    def _tell(self, payload: bytes, *, last: bool = False) -> None:
        """Send what the debugger has not asked for; one that is gone is noticed elsewhere."""
        if self._connection is not None:
            with suppress(Lost):
                self._connection.send(payload)
                if last:
                    self._connection.finish()

    def _attach(self, stop: Stop) -> None:
        self._connection = self._listener.accept()
        self._session = self._new_session(stop)

    def _new_session(self, stop: Stop) -> Session:
        return Session(self._guest, bits=self._bits, stop=stop)

    def _leave(self) -> None:
        """Forget the debugger and its breakpoints."""
        self.close()
        self._guest.release()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
