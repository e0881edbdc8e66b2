"""Packets of the GDB remote serial protocol, apart from what they mean: GDB manual, "Overview" of that protocol.

``$payload#checksum``, with ``}`` before a byte that would be taken for a delimiter and is sent XORed with 20H.  Between
packets there are acknowledgements, and the byte 03H that asks for a stop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from virtproof.spec.fault import Fault

MAX_PAYLOAD = 0x4000  # bytes as sent, announced as PacketSize; a g packet needs 1.5 KiB

_START, _END, _ESCAPE = b"$", b"#", ord("}")
_SPECIAL = re.compile(rb"[#$}*]")  # * starts a run length
_ESCAPED = re.compile(rb"}(.?)", re.DOTALL)
_HEX = frozenset(b"0123456789abcdefABCDEF")


class ProtocolError(Fault):
    """What came is not this protocol: the connection is of no use any more."""

    def __init__(self, saw: str) -> None:
        super().__init__("talk to a debugger", saw)


class Signal(Enum):
    """What a client sends that is no packet, and a packet that arrived damaged."""

    ACK = "+"
    NAK = "-"
    INTERRUPT = "\x03"
    DAMAGED = "damaged"


_SIGNALS = {ord(signal.value): signal for signal in (Signal.ACK, Signal.NAK, Signal.INTERRUPT)}


class Decoder:
    """Cuts what arrives, in pieces of any size, into payloads and signals."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes | Signal]:
        """Yield what is complete with ``data``.  Raises ProtocolError for anything that no debugger sends.

        That includes an HTTP request, which a web page may have a browser send to a port on loopback.
        """
        buffer = self._buffer
        buffer += data
        while buffer:
            if buffer[0] in _SIGNALS:
                yield _SIGNALS[buffer.pop(0)]
                continue
            if not buffer.startswith(_START):
                raise ProtocolError(f"the byte {buffer[0]:#04x} between packets")
            end = buffer.find(_END, 0, MAX_PAYLOAD + 2)
            again = buffer.find(_START, 1, end if end >= 0 else MAX_PAYLOAD + 2)
            if again >= 0:  # the rest of a packet got lost, and the next one is here
                del buffer[:again]
                yield Signal.DAMAGED
                continue
            if end < 0 and len(buffer) > MAX_PAYLOAD + 1:
                raise ProtocolError(f"a packet of more than {MAX_PAYLOAD:#x} bytes")
            if end < 0 or len(buffer) < end + 3:
                return
            payload, sum_ = bytes(buffer[1:end]), bytes(buffer[end + 1 : end + 3])
            del buffer[: end + 3]
            intact = _HEX.issuperset(sum_) and int(sum_, 16) == checksum(payload)
            yield unescape(payload) if intact else Signal.DAMAGED


def encode(payload: bytes) -> bytes:
    """Return the packet that carries ``payload``."""
    sent = _SPECIAL.sub(lambda found: bytes((_ESCAPE, found[0][0] ^ 0x20)), payload)
    return b"$%b#%02x" % (sent, checksum(sent))


def checksum(payload: bytes) -> int:
    return sum(payload) & 0xFF


def unescape(payload: bytes) -> bytes:
    """Undo the escapes; one at the end, which has lost its byte, is dropped."""
    return _ESCAPED.sub(lambda found: bytes(byte ^ 0x20 for byte in found[1]), payload)
