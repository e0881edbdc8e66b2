"""Checksums and TCP segmentation, which drivers leave to adapters.

RFC 1071, "Computing the Internet Checksum"; RFC 9293, "Header Format"; RFC 791 and RFC 8200 for the headers of IP.

Omitted: segmentation of anything but TCP, and of TCP behind IPv6 extension headers that count in its pseudo header
(routing headers).
"""

from collections.abc import Iterator

SEGMENTS = 1024  # of one frame: a guest that asks for smaller ones gets none

IPV4_HEADER, IPV6_HEADER, TCP_HEADER = 20, 40, 20
TCP, TCP_CHECKSUM, UDP_CHECKSUM = 6, 16, 6  # protocol; offsets in the headers
FIN, PSH, CWR = 0x01, 0x08, 0x80  # FIN and PSH belong to the last segment, CWR to the first


def checksum(data: bytes | bytearray | memoryview, start: int = 0) -> int:
    """The one's complement sum of the 16-bit words from ``start`` on, folded to 16 bits, not inverted.

    An odd last byte counts as the upper half of a word.

    >>> hex(checksum(bytes.fromhex("0001 f203 f4f5 f6f7")))  # the example of RFC 1071
    '0xddf2'
    """
    rest = bytes(data[start:])
    number = int.from_bytes(rest, "big") << 8 * (len(rest) % 2)
    # Carries that go round make the sum the remainder by 2**16 - 1, in which a sum that is not 0 never becomes 0.
    return number % 0xFFFF or (0xFFFF if number else 0)


def insert_checksum(frame: bytearray, start: int, offset: int, end: int | None = None) -> None:
    """Store the inverted sum of ``start`` to ``end`` (without: of the frame) at ``offset``, big-endian.

    The field itself counts: drivers put the sum of the pseudo header there.  A UDP checksum, told by its place, is
    never 0, for that means none (RFC 768).  Raises ValueError where the range or the field is not in the frame.
    """
    end = len(frame) if end is None else end
    if not (0 <= start < end <= len(frame) and 0 <= offset <= len(frame) - 2):
        raise ValueError(f"a checksum of {start}..{end} at {offset} in {len(frame)} bytes")
    value = ~checksum(memoryview(frame)[start:end]) & 0xFFFF
    if value == 0 and offset == start + UDP_CHECKSUM:
        value = 0xFFFF
    frame[offset : offset + 2] = value.to_bytes(2, "big")


def segments(frame: bytes, header: int, mss: int, ip: int, transport: int) -> Iterator[bytes]:
    """Cut a frame of TCP into frames of at most ``mss`` bytes of data each.

    ``header`` is the length of all headers, which each segment gets; ``ip`` and ``transport`` are where those of IP and
    TCP begin.  Lengths, identification, checksums, sequence numbers and flags are made right, whatever they were.
    Raises ValueError, at the call, where the headers do not fit or there would be more than ``SEGMENTS``.
    """
    first = frame[ip] if 0 <= ip < len(frame) else 0
    network = {4: max(IPV4_HEADER, _ipv4_header(first)), 6: IPV6_HEADER}.get(first >> 4)
    if network is None or not ip + network <= transport <= header - TCP_HEADER or header > len(frame):
        raise ValueError(f"{first:#x} at {ip} begins no IP header, or TCP at {transport}..{header} does not fit")
    if mss < 1 or len(frame) - header > mss * SEGMENTS:
        raise ValueError(f"{len(frame) - header} bytes in segments of {mss}")
    return _cut(frame, header, mss, ip, transport)


def _ipv4_header(first: int) -> int:
    return 4 * (first & 0xF)


def _cut(frame: bytes, header: int, mss: int, ip: int, transport: int) -> Iterator[bytes]:
    four = frame[ip] >> 4 == 4
    identification = int.from_bytes(frame[ip + 4 : ip + 6], "big")
    sequence = int.from_bytes(frame[transport + 4 : transport + 8], "big")
    addresses = frame[ip + 12 : ip + 20] if four else frame[ip + 8 : ip + 40]
    for index, at in enumerate(range(header, max(len(frame), header + 1), mss)):
        piece = bytearray(frame[:header] + frame[at : at + mss])
        first, last = at == header, at + mss >= len(frame)
        if four:
            piece[ip + 2 : ip + 4] = (len(piece) - ip & 0xFFFF).to_bytes(2, "big")
            piece[ip + 4 : ip + 6] = (identification + index & 0xFFFF).to_bytes(2, "big")
            piece[ip + 10 : ip + 12] = bytes(2)
            insert_checksum(piece, ip, ip + 10, ip + max(IPV4_HEADER, _ipv4_header(frame[ip])))
        else:
            piece[ip + 4 : ip + 6] = (len(piece) - ip - IPV6_HEADER & 0xFFFF).to_bytes(2, "big")
        piece[transport + 4 : transport + 8] = (sequence + at - header & 0xFFFF_FFFF).to_bytes(4, "big")
        piece[transport + 13] &= ~((0 if first else CWR) | (0 if last else FIN | PSH))
        length = len(piece) - transport
        pseudo = addresses + length.to_bytes(4, "big") + TCP.to_bytes(4, "big")
        piece[transport + TCP_CHECKSUM : transport + TCP_CHECKSUM + 2] = checksum(pseudo).to_bytes(2, "big")
        insert_checksum(piece, transport, transport + TCP_CHECKSUM)
        yield bytes(piece)
