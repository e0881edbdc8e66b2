"""Results on their way out of an emulated or remote machine: frames in a stream of bytes that others write into, too.

A frame: magic, kind (one byte), sequence number, length of the payload, CRC-32 of what stands before it and of the
payload (four bytes each, little endian); then the payload.  What is not a frame is skipped; a frame that is damaged or
missing is noticed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from enum import Enum

from virtproof.spec.fault import Fault

MAGIC = b"\xf5VPF"
HEADER = struct.Struct("<4scII")
CHECKSUM = struct.Struct("<I")
FRONT = HEADER.size + CHECKSUM.size
PAYLOAD = 64 << 10  # bytes in one frame at most
TOTAL = 256 << 20  # bytes in one stream at most: a guest that floods us is stopped


class Kind(Enum):
    STDOUT = b"o"
    STDERR = b"e"
    FILE = b"f"  # name, NUL, content; continued by frames of kind MORE
    MORE = b"m"
    REPORT = b"r"  # JSON, continued by MORE
    ALIVE = b"a"  # nothing to say, but the machine is running
    END = b"z"  # nothing follows


class Sender:
    """Cuts messages into frames and hands them to ``write``."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._sequence = 0

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        for start in range(0, max(len(payload), 1), PAYLOAD):
            part = payload[start : start + PAYLOAD]
            this = kind if not start or kind in {Kind.STDOUT, Kind.STDERR} else Kind.MORE
            header = HEADER.pack(MAGIC, this.value, self._sequence, len(part))
            self._write(header + CHECKSUM.pack(zlib.crc32(header + part)) + part)
            self._sequence += 1


class Receiver:
    """Finds the frames in what comes in.  ``where`` names the stream in errors."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._pending = bytearray()
        self._sequence = 0
        self._total = 0

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Yield the frames that ``data`` completes.  Raises ``Fault`` where one is damaged or missing."""
        self._pending += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> tuple[Kind, bytes] | None:
        start = self._pending.find(MAGIC)
        if start < 0:
            del self._pending[: -len(MAGIC) + 1]
            return None
        del self._pending[:start]
        if len(self._pending) < FRONT:
            return None
        _, kind, sequence, length = HEADER.unpack_from(self._pending)
        if length > PAYLOAD or kind not in {one.value for one in Kind}:
            raise self._damaged(f"frame {self._sequence} has a header that makes no sense")
        if len(self._pending) < FRONT + length:
            return None
        payload = bytes(self._pending[FRONT : FRONT + length])
        (crc,) = CHECKSUM.unpack_from(self._pending, HEADER.size)
        if zlib.crc32(self._pending[: HEADER.size] + payload) != crc:
            raise self._damaged(f"the checksum of frame {sequence} is wrong")
        if sequence != self._sequence:
            raise self._damaged(f"frame {sequence} came where {self._sequence} belongs")
        self._sequence += 1
        self._total += length
        if self._total > TOTAL:
            raise self._damaged(f"more than {TOTAL >> 20} MiB came")
        del self._pending[: FRONT + length]
        return Kind(kind), payload

    def _damaged(self, saw: str) -> Fault:
        return Fault(f"read the results of {self._where}", saw, "run it again; the emulator's console log is kept")
