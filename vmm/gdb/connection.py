"""The socket between a debugger and us: where one is waited for, and packets over it."""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

from virtproof.spec.fault import Fault
from virtproof.vmm.gdb.packets import Decoder, ProtocolError, Signal, encode

LOOPBACK = "127.0.0.1"
SEND_SECONDS = 10  # how long a debugger may leave an answer unread
FINISH_SECONDS = 1
MAX_WAITING = 64  # packets that may arrive before the first is answered; GDB sends one

_PIECE = 1 << 16
_TIMEVAL = struct.Struct("@ll")


class Lost(Exception):
    """The debugger is gone, or talks something else."""


class Listener:
    """A port on loopback, or a Unix socket of this user's.  Use it as a context manager.

    ``address`` is a port number (0: any that is free) or a path with a slash in it.
    """

    def __init__(self, address: str) -> None:
        self._path = address if "/" in address else None
        port = -1 if self._path or not (address.isascii() and address.isdigit()) else int(address)
        if self._path is None and not 0 <= port <= 0xFFFF:
            raise Fault("wait for a debugger", f"{address!r} is not an address", "give a port, or a path with a slash")
        self._socket = socket.socket(socket.AF_UNIX if self._path else socket.AF_INET)
        try:
            if self._path:
                mask = os.umask(0o177)  # whoever may connect may do with the guest as they like
                try:
                    self._socket.bind(self._path)
                finally:
                    os.umask(mask)
            else:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._socket.bind((LOOPBACK, port))
            self._socket.listen(1)
        except OSError as err:
            self._socket.close()
            saw = err.strerror or str(err)
            raise Fault(f"wait for a debugger at {address}", saw, "give another address; port 0 is any") from err
        self.address = self._path or f"{LOOPBACK}:{self._socket.getsockname()[1]}"

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> Connection:
        """Wait for a debugger."""
        while True:
            try:
                return Connection(self._socket.accept()[0])
            except ConnectionAbortedError:  # it came and went
                continue
            except OSError as err:
                raise Fault(f"wait for a debugger at {self.address}", err.strerror or str(err)) from err

    def close(self) -> None:
        if self._path and self._socket.fileno() >= 0:
            with suppress(OSError):
                os.unlink(self._path)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Connection:
    """Packets in both directions.  Every method but ``close`` raises Lost when there is no sense in going on."""

    def __init__(self, connected: socket.socket) -> None:
        self.no_acks = False
        self._socket = connected
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(SEND_SECONDS, 0))
        if self._socket.family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = Decoder()
        self._waiting: deque[bytes | Signal] = deque()  # packets, and requests to stop
        self._last = b""  # that was sent

    def fileno(self) -> int:
        return self._socket.fileno()

    def packet(self) -> bytes:
        """Wait for the next packet; a request to stop that comes before it is for a guest that has stopped."""
        while True:
            while not self._waiting:
                self._take(0)
            event = self._waiting.popleft()
            if isinstance(event, bytes):
                return event

    @property
    def interrupted(self) -> bool:
        """Has a request to stop arrived?"""
        return Signal.INTERRUPT in self._waiting

    def look(self) -> None:
        """Take in what has arrived, without waiting for more."""
        self._take(socket.MSG_DONTWAIT)

    def send(self, payload: bytes) -> None:
        self._last = encode(payload)
        self._write(self._last)

    def finish(self) -> None:
        """Wait a moment for the other side to close: whoever closes with something unread takes back what it sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(FINISH_SECONDS)
            for _ in range(4):
                if not self._socket.recv(_PIECE):
                    break

    def close(self) -> None:
        self._socket.close()

    def _take(self, flags: int) -> None:
        try:
            data = self._socket.recv(_PIECE, flags)
        except BlockingIOError:
            return
        except OSError as err:
            raise Lost(str(err)) from err
        if not data:
            raise Lost("it has closed the connection")
        try:
            for event in self._decoder.feed(data):
                self._answer(event)
        except ProtocolError as err:
            raise Lost(err.saw) from err
        if len(self._waiting) > MAX_WAITING:
            raise Lost("it does not wait for answers")

    def _answer(self, event: bytes | Signal) -> None:
        match event:
            case Signal.INTERRUPT:
                self._waiting.append(event)
            case Signal.NAK if not self.no_acks:
                self._write(self._last)
            case Signal.DAMAGED if self.no_acks:
                raise ProtocolError("a packet that does not fit its checksum")
            case Signal.DAMAGED:
                self._write(b"-")
            case bytes():
                if not self.no_acks:
                    self._write(b"+")
                self._waiting.append(event)
            case _:
                pass  # an acknowledgement

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as err:
            raise Lost(str(err)) from err
