"""Writes down what passes a port: a capture file with times in nanoseconds, as tcpdump and Wireshark read it.

draft-ietf-opsawg-pcap, "PCAP Capture File Format": "General File Structure" and "Packet Record".
"""

import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from virtproof.spec.fault import Fault
from virtproof.vmm.network.port import LONGEST, Port, Receive

NANOSECONDS = 0xA1B23C4D
ETHERNET = 1
SNAPLEN = 262144
LIMIT = 256 << 20  # bytes of one file: a guest must not fill the host's disk


class Recorder:
    """A port in front of a port: frames pass it in both directions and are written down on the way.

    The file is made anew, for its owner alone; one that is there already is not touched, nor is one that a link leads
    to.  A frame is in the file when ``send`` returns.  What does not go into the file any more (the disk is full, or
    ``limit`` is reached) passes all the same, and is counted in ``missed``: the file ends with a whole record.
    ``now`` gives the nanoseconds of its times.

    Raises Fault where the file cannot be made.
    """

    def __init__(self, port: Port, path: Path, *, now: Callable[[], int] = time.time_ns, limit: int = LIMIT) -> None:
        self._port, self._now, self._room = port, now, limit
        self.missed = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # O_EXCL: no link is followed
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            remedy = "name a file that is not there yet, in a folder that is"
            raise Fault(f"record frames in {path}", error.strerror or str(error), remedy) from error
        self._append(struct.pack("<IHHiIII", NANOSECONDS, 2, 4, 0, 0, SNAPLEN, ETHERNET))

    def send(self, frame: bytes) -> None:
        self._record(frame)
        self._port.send(frame)

    def connect(self, receive: Receive) -> None:
        def received(frame: bytes) -> bool:
            taken = receive(frame)
            if taken:  # else it comes again
                self._record(frame)
            return taken

        self._port.connect(received)

    def ready(self) -> None:
        self._port.ready()

    def close(self) -> None:
        """End the file; frames pass on."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _record(self, frame: bytes) -> None:
        seconds, nanoseconds = divmod(self._now(), 1_000_000_000)
        length = len(frame)
        if length > LONGEST:  # no port takes it
            return
        self._append(struct.pack("<IIII", seconds & 0xFFFF_FFFF, nanoseconds, length, length) + frame)

    def _append(self, record: bytes) -> None:
        if self._fd < 0 or len(record) > self._room:
            self.missed += 1
            return
        written = 0
        with suppress(OSError):
            written = os.write(self._fd, record)
        if written == len(record):
            self._room -= written
            return
        self.missed += 1
        self._room = 0  # no gap that the file does not show
        with suppress(OSError):
            os.ftruncate(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR) - written)
