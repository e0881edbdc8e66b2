"""Worker processes: what an abort of a library or a stuck ioctl costs is one guest, never the run.

A worker is forked, so it shares the descriptors that its parent had open then, /dev/kvm among them, and it may run any
callable without being able to import it.  It dies with the thread that forked it (prctl PR_SET_PDEATHSIG).  What it
answers is taken as plain values only, data classes and enumerations among them: a worker that a guest has broken into
cannot make its parent call a function.
"""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

from virtproof.spec.fault import Fault, unforeseen
from virtproof.vmm.allowance import Allowance

T = TypeVar("T")
R = TypeVar("R")

MAX_ANSWER = 64 << 20  # bytes of one pickled answer
REAP_SECONDS = 5.0  # how long a killed worker may take to die before it is left behind

_LENGTH = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1


_OWN_FAULTS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The worker ended without an answer; ``signal`` is what killed it, where it was one."""

    how: str
    signal: int = field(default=0, kw_only=True, compare=False)

    @property
    def crashed(self) -> bool:
        """Did code in the process go wrong, rather than somebody kill it?"""
        return self.signal in _OWN_FAULTS

    def __str__(self) -> str:
        return f"the worker process {self.how}"


@dataclass(frozen=True, slots=True)
class WorkerRaised(WorkerDied):
    """The target raised: a bug of ours.  ``how`` names the exception; the worker itself lives on."""

    traceback: str = ""


@dataclass(frozen=True, slots=True)
class WorkerTimedOut:
    """The worker gave no answer in time and was killed."""

    seconds: float

    def __str__(self) -> str:
        return f"the worker process gave no answer within {self.seconds:g} s and was killed"


class WorkerPool(Generic[T, R]):
    """Runs ``target`` on items, one at a time in each of ``workers`` processes.  Use it as a context manager.

    Workers are forked at the first ``map``; one that dies or is killed is replaced when there is more to do.
    """

    def __init__(self, target: Callable[[T], R], workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers: {workers}")
        self._target = target
        self._count = workers
        self._workers: list[_Worker] = []
        self._undead: list[int] = []  # killed, but stuck in the kernel

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill and reap every worker."""
        with _ctrl_c_held_back():
            for worker in self._workers:
                worker.kill()
            for worker in self._workers:
                self._bury(worker)
            self._workers.clear()
            self._undead = [pid for pid in self._undead if not _reaped(pid)]

    def map(self, items: Iterable[T], seconds: float) -> Iterator[tuple[T, R | WorkerDied | WorkerTimedOut]]:
        """Yield each item with what ``target`` made of it, in order of completion.

        Each item has ``seconds`` in which its worker could run before that is killed.  Leaving the iterator early, by
        an exception or otherwise, kills the workers that are busy.
        """
        todo = iter(items)
        busy: dict[_Worker, tuple[T, Allowance]] = {}
        done: deque[tuple[T, R | WorkerDied | WorkerTimedOut]] = deque()
        more = True
        try:
            while True:
                while more and len(busy) < self._count:
                    try:
                        item = next(todo)
                    except StopIteration:
                        more = False
                        break
                    worker = self._idle(busy)
                    busy[worker] = item, Allowance(seconds, pid=worker.pid)
                    worker.send(item, seconds)
                if not busy:
                    return
                for worker in _ready(busy, min(allowance.left() for _, allowance in busy.values())):
                    answer = worker.receive()
                    if answer is None:
                        continue
                    done.append((busy.pop(worker)[0], answer))
                    if worker.dead:
                        self._drop(worker)
                for worker in [worker for worker, (_, allowance) in busy.items() if allowance.left() <= 0]:
                    done.append((busy.pop(worker)[0], WorkerTimedOut(seconds)))
                    self._drop(worker)
                while done:
                    yield done.popleft()
        finally:
            with _ctrl_c_held_back():
                for worker in busy:
                    worker.kill()
                for worker in busy:
                    self._drop(worker)

    def _idle(self, busy: Container[_Worker]) -> _Worker:
        for worker in self._workers:
            if worker not in busy:
                return worker
        # Ctrl-C must neither lose the new process, nor be raised in it on its way to _serve.
        with _ctrl_c_held_back():
            worker = _Worker(self._target, [other.channel for other in self._workers])
            self._workers.append(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        with _ctrl_c_held_back():
            self._bury(worker)
            self._workers.remove(worker)

    def _bury(self, worker: _Worker) -> None:
        worker.kill()
        worker.channel.close()
        if not worker.dead and not worker.reap(REAP_SECONDS):
            self._undead.append(worker.pid)


class _Worker:
    """The parent's end of one worker process."""

    def __init__(self, target: Callable[[Any], Any], siblings: list[socket.socket]) -> None:
        self.channel, theirs = socket.socketpair()
        self._received = bytearray()
        self.dead = False
        parent = os.getpid()
        sys.stdout.flush()  # else what is still in the buffers might be written twice
        sys.stderr.flush()
        try:
            self.pid = os.fork()
        except OSError as err:
            self.channel.close()
            theirs.close()
            raise Fault("start a worker process", str(err.strerror), "raise ulimit -u, or use fewer workers") from err
        if self.pid == 0:
            _serve(theirs, target, parent, [self.channel, *siblings])
        theirs.close()

    def send(self, item: object, seconds: float) -> None:
        self.channel.settimeout(seconds)
        # A worker that is gone or stuck shows when its answer is awaited.
        with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            self.channel.sendall(_framed(pickle.dumps(item)))

    def receive(self) -> Any:
        """Take what has arrived: None while the answer is incomplete."""
        try:
            chunk = self.channel.recv(1 << 20)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            how = self._how_it_died()
            return WorkerDied(how, signal=max(0, -os.waitstatus_to_exitcode(self._status)) if self.dead else 0)
        self._received += chunk
        if len(self._received) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        if length > MAX_ANSWER:
            self.kill()
            return WorkerDied(f"answered {length} bytes, more than {MAX_ANSWER}, and {self._how_it_died()}")
        if len(self._received) < _LENGTH.size + length:
            return None
        data = bytes(self._received[_LENGTH.size : _LENGTH.size + length])
        self._received.clear()
        try:
            return _Values(io.BytesIO(data)).load()
        except Exception as err:
            self.kill()
            return WorkerDied(f"answered with something else than plain values ({err}) and {self._how_it_died()}")

    def kill(self) -> None:
        if not self.dead:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def reap(self, seconds: float) -> bool:
        """Wait for a worker that was killed; False if it is stuck in the kernel."""
        until = time.monotonic() + seconds
        while not self.dead:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has reaped it
                pid, status = self.pid, 0
            if pid:
                self.dead, self._status = True, status
            elif time.monotonic() > until:
                break
            else:
                time.sleep(0.0005)
        return self.dead

    def _how_it_died(self) -> str:
        if not self.reap(REAP_SECONDS):
            return "hangs in the kernel"
        code = os.waitstatus_to_exitcode(self._status)
        return f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with status {code}"


class _Values(pickle.Unpickler):
    """Loads plain values: no globals but data classes and enumerations of modules that are already imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _member  # how early releases of Python 3.11 pickle a member of an enumeration
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and (is_dataclass(found) or issubclass(found, Enum)):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def _member(kind: Any, name: str) -> Enum:
    """Return a member of an enumeration, and nothing else that a class has."""
    if isinstance(kind, type) and issubclass(kind, Enum) and name in kind.__members__:
        return kind.__members__[name]
    raise pickle.UnpicklingError(f"{kind!r} has no member {name!r}")


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Let SIGINT wait until the block ends.

    By a handler, not by the signal mask: Python's handlers run in the main thread whichever thread took the signal.
    """
    previous = signal.getsignal(signal.SIGINT)
    if previous is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived = []
    signal.signal(signal.SIGINT, lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if arrived:
            signal.raise_signal(signal.SIGINT)


def _serve(
    channel: socket.socket, target: Callable[[Any], Any], parent: int, inherited: Iterable[socket.socket]
) -> NoReturn:
    """The worker's life.  It never returns into the parent's code, nor runs the parent's exit handlers."""
    status = 1
    try:
        _die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the whole group; the parent decides
        for other in inherited:
            other.close()
        with channel, channel.makefile("rb") as requests:
            while True:
                header = requests.read(_LENGTH.size)
                if len(header) < _LENGTH.size:
                    break
                item = pickle.loads(requests.read(_LENGTH.unpack(header)[0]))
                channel.sendall(_framed(_answer(target, item)))
        status = 0
    finally:
        os._exit(status)


def _answer(target: Callable[[Any], Any], item: object) -> bytes:
    try:
        return pickle.dumps(target(item))
    except BaseException as err:
        return pickle.dumps(WorkerRaised(f"raised {unforeseen(err)}", traceback.format_exc()))


def _die_with_parent(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def _framed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _ready(workers: Iterable[_Worker], seconds: float) -> list[_Worker]:
    """Wait until some worker has something to say, ``seconds`` at most."""
    by_fd = {worker.channel.fileno(): worker for worker in workers}
    poll = select.poll()
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(max(0.0, seconds) * 1000 + 1)]


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
