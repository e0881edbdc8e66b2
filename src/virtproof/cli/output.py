"""What a guest sends, on its way to a reader who may be slow: a thread waits for the reader, and the guest does not.

The stream is not made non-blocking: a terminal's belongs to the shell, too.  What waits is bounded; what comes while
there is no room is lost and counted, as on a line without flow control.
"""

from __future__ import annotations

import os
import select
from threading import Condition, Thread

LIMIT = 1 << 20  # bytes that wait for the reader
PIECE = 4096  # bytes of one write
LINGER = 2.0  # seconds without progress at the end, after which the rest is lost


class Output:
    """``put`` bytes to a file descriptor and never wait; ``close`` at the end.

    ``trouble`` is a descriptor that can be read from when the stream is lost; ``check`` raises the OSError then.
    """

    def __init__(self, fd: int, *, linger: float = LINGER) -> None:
        self._fd, self._linger = fd, linger
        self._waiting = bytearray()
        self._lost = 0
        self._closed = False
        self._error: OSError | None = None
        self.trouble = os.eventfd(0)
        self._changed = Condition()
        self._thread: Thread | None = None

    def put(self, byte: int) -> None:
        """Raises OSError as ``check``."""
        with self._changed:
            self.check()
            if len(self._waiting) >= LIMIT:
                self._lost += 1
                return
            self._waiting.append(byte)
            if len(self._waiting) == 1:
                self._changed.notify_all()
            if self._thread is None:
                self._thread = Thread(target=self._write, name="output", daemon=True)
                self._thread.start()

    def check(self) -> None:
        """Raises OSError where an earlier write found the stream lost."""
        if self._error is not None:
            raise self._error

    def close(self) -> int:
        """Wait while the reader takes what is left; return how many bytes were lost, at whatever time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            left = len(self._waiting)
            while left and self._error is None:
                self._changed.wait(self._linger)
                if len(self._waiting) == left:
                    break
                left = len(self._waiting)
            return self._lost + (len(self._waiting) if self._error is None else 0)

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                piece = bytes(self._waiting[:PIECE])
            if not piece:
                return
            try:
                written = os.write(self._fd, piece)
            except BlockingIOError:  # whoever started us shares a stream that does not block
                select.select((), (self._fd,), ())
                continue
            except OSError as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                os.eventfd_write(self.trouble, 1)
                return
            with self._changed:
                del self._waiting[:written]
                self._changed.notify_all()
