"""A debugger of a few lines, on a thread of its own, for tests of the one who serves it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from virtproof.vmm.gdb.connection import Listener
from virtproof.vmm.gdb.packets import Decoder, encode

SECONDS = 60.0


class Client:
    """Sends packets and waits for their answers; no acknowledgements."""

    def __init__(self, address: str) -> None:
        if "/" in address:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(address)
        else:
            host, _, port = address.partition(":")
            self._socket = socket.create_connection((host, int(port)))
        self._socket.settimeout(SECONDS)
        self._decoder, self._events = Decoder(), list[bytes]()
        assert self.ask(b"QStartNoAckMode") == b"OK"
        assert self.ask(b"qSupported:swbreak+;hwbreak+").startswith(b"PacketSize")

    def ask(self, packet: bytes) -> bytes:
        self.send(encode(packet))
        return self.told()

    def told(self) -> bytes:
        """Return the next packet; b"" too when there is none any more."""
        while not self._events:
            data = self._socket.recv(4096)
            if not data:
                return b""
            self._events += [event for event in self._decoder.feed(data) if isinstance(event, bytes)]
        return self._events.pop(0)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


class Debugs:
    """Runs ``script`` with the address to connect to, while the body serves it; raises what the script raised."""

    def __init__(self, script: Callable[[str], None], listener: Listener) -> None:
        self._error: BaseException | None = None

        def run() -> None:
            try:
                script(listener.address)
            except BaseException as err:
                self._error = err

        self._thread = threading.Thread(target=run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._thread.join(SECONDS)
        if self._error is not None:
            raise self._error
        assert not self._thread.is_alive()
