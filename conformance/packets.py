"""Ethernet frames for cases about network adapters; checksums are added up word by word, as RFC 1071 tells it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from virtproof.results import Check

GUEST, PEER = bytes.fromhex("525400123456"), bytes.fromhex("020000000001")
BROADCAST = b"\xff" * 6
ETHER, IPV4, TCP = 14, 20, 20  # lengths of headers
HEADERS = ETHER + IPV4 + TCP
EXPERIMENTAL = b"\x88\xb5"  # IEEE 802, "Local Experimental EtherTypes"
SOURCE, DESTINATION = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
FIN, PSH, ACK = 1, 8, 16
SEQUENCE, IDENTIFICATION = 0xFFFF_F000, 0x1234


def added(data: bytes) -> int:
    """The one's complement sum of 16-bit words."""
    total = 0
    for (word,) in struct.iter_unpack(">H", data + bytes(len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def plain(size: int = 60, *, to: bytes = GUEST, source: bytes = PEER, seed: int = 0) -> bytes:
    """A frame that means nothing."""
    return (to + source + EXPERIMENTAL + bytes((seed + n) % 251 for n in range(size)))[:size]


def tagged(frame: bytes, tci: int) -> bytes:
    return frame[:12] + b"\x81\x00" + tci.to_bytes(2, "big") + frame[12:]


def pseudo_header(frame: bytes) -> bytes:
    """What TCP's checksum covers of the IPv4 header."""
    return frame[ETHER + 12 : ETHER + 20] + struct.pack(">BBH", 0, 6, len(frame) - ETHER - IPV4)


def tcp(data: bytes, *, flags: int = ACK, to: bytes = PEER, source: bytes = GUEST) -> bytes:
    """A segment of TCP over IPv4 whose checksums are right."""
    ip = struct.pack(">BBHHHBBH", 0x45, 0, IPV4 + TCP + len(data), IDENTIFICATION, 0x4000, 64, 6, 0)
    ip += SOURCE + DESTINATION
    ip = ip[:10] + (~added(ip) & 0xFFFF).to_bytes(2, "big") + ip[12:]
    header = struct.pack(">HHIIBBHHH", 1000, 2000, SEQUENCE, 1, 5 << 4, flags, 8192, 0, 0)
    frame = to + source + b"\x08\x00" + ip + header + data
    total = ~added(pseudo_header(frame) + header + data) & 0xFFFF
    return frame[: HEADERS - 4] + total.to_bytes(2, "big") + frame[HEADERS - 2 :]


def without_checksum(frame: bytes) -> bytes:
    """What a driver leaves to the adapter: in TCP's checksum is the sum of the pseudo header."""
    return frame[: HEADERS - 4] + added(pseudo_header(frame)).to_bytes(2, "big") + frame[HEADERS - 2 :]


def cut(frames: list[bytes], data: bytes, mss: int, flags: int) -> Iterator[Check]:
    """Are these frames the segments that ``data`` becomes, one behind the other?"""
    pieces = [data[at : at + mss] for at in range(0, len(data), mss)]
    yield Check("segments", str(len(pieces)), str(len(frames)), len(pieces) == len(frames))
    for number, (piece, frame) in enumerate(zip(pieces, frames, strict=False)):
        last = number == len(pieces) - 1
        wants = {
            "data": (piece.hex(), frame[HEADERS:].hex()),
            "length of IP": (len(piece) + IPV4 + TCP, int.from_bytes(frame[16:18], "big")),
            "identification": (IDENTIFICATION + number, int.from_bytes(frame[18:20], "big")),
            "sum of IP": (0xFFFF, added(frame[ETHER : ETHER + IPV4])),
            "sequence": (SEQUENCE + number * mss & 0xFFFF_FFFF, int.from_bytes(frame[38:42], "big")),
            "flags": (flags if last else flags & ~(FIN | PSH), frame[47] if len(frame) > 47 else None),
            "sum of TCP": (0xFFFF, added(pseudo_header(frame) + frame[ETHER + IPV4 :])),
        }
        for what, (want, saw) in wants.items():
            yield Check(f"segment {number}: {what}", f"{want:.60}" if isinstance(want, str) else f"{want:#x}",
                        f"{saw:.60}" if isinstance(saw, str) else f"{saw or 0:#x}", want == saw)  # fmt: skip
