"""A cable whose other end is a stream socket: each frame behind its length in four bytes, big-endian.

QEMU "System Emulation User's Guide", -netdev socket.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from virtproof.vmm.events import After, EventLoop
from virtproof.vmm.network.inbox import Inbox
from virtproof.vmm.network.port import LONGEST, SHORTEST

CHUNK = 1 << 16


class FramedPort:
    """A port of the network; what is sent is lost where the socket takes no more."""

    def __init__(self, end: socket.socket, events: EventLoop, after: After) -> None:
        self._end, self._events = end, events
        self._inbox = Inbox(after)
        self.connect, self.ready = self._inbox.connect, self._inbox.ready
        self._waiting = bytearray()
        end.setblocking(False)
        events.add_reader(end.fileno(), self._read)

    def send(self, frame: bytes) -> None:
        if len(frame) <= LONGEST:
            with suppress(OSError):
                self._end.send(len(frame).to_bytes(4, "big") + frame)

    def close(self) -> None:
        self._events.remove_reader(self._end.fileno())
        self._end.close()

    def _read(self) -> None:
        try:
            data = os.read(self._end.fileno(), CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._events.remove_reader(self._end.fileno())
            return
        self._waiting += data
        while len(self._waiting) >= 4:
            length = int.from_bytes(self._waiting[:4], "big")
            if length > LONGEST:  # out of step: nothing after it can be told apart
                self._waiting.clear()
                self._events.remove_reader(self._end.fileno())
                return
            if len(self._waiting) < 4 + length:
                return
            frame = bytes(self._waiting[4 : 4 + length])
            del self._waiting[: 4 + length]
            self._inbox.put(frame.ljust(SHORTEST, b"\0"))  # QEMU's tests send less than a header
