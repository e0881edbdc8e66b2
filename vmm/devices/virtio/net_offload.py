"""What a virtio-net driver leaves to the device: VIRTIO 1.2, "Packet Transmission", "Processing of Incoming Packets".

Omitted: hdr_len, which is a hint; the headers say themselves how long they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from virtproof.spec.virtio_net import Gso, HeaderFlag
from virtproof.vmm.network.segment import checksum, insert_checksum, segments

ETHERNET, VLAN_TAG = 14, b"\x81\x00"
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
TCP, UDP = 6, 17

_HEADER = struct.Struct("<BBHHHH")


def outgoing(header: bytes, frame: bytes) -> Iterable[bytes]:
    """The frames that go out for one with a header of 10 bytes.  Raises ValueError where the header makes no sense."""
    flags, kind, _, size, start, offset = _HEADER.unpack(header)
    if kind == Gso.NONE:
        if not flags & HeaderFlag.NEEDS_CSUM:
            return (frame,)
        whole = bytearray(frame)
        insert_checksum(whole, start, start + offset)
        return (bytes(whole),)
    if kind & ~Gso.ECN not in (Gso.TCPV4, Gso.TCPV6) or not flags & HeaderFlag.NEEDS_CSUM or start + 13 > len(frame):
        raise ValueError(f"segmentation {kind:#x} with flags {flags:#x} from {start} on")
    return segments(frame, start + 4 * (frame[start + 12] >> 4), size, _network(frame), start)


def is_checksummed(frame: bytes) -> bool:
    """Whether this is TCP or UDP in IP without extensions or fragments, with the right checksum."""
    at = _network(frame)
    kind = frame[at - 2 : at]
    if kind == IPV4 and len(frame) >= at + 20:
        transport, end = at + 4 * (frame[at] & 0xF), at + int.from_bytes(frame[at + 2 : at + 4], "big")
        protocol, addresses = frame[at + 9], frame[at + 12 : at + 20]
        if int.from_bytes(frame[at + 6 : at + 8], "big") & 0x3FFF:
            return False
    elif kind == IPV6 and len(frame) >= at + 40:
        transport, end = at + 40, at + 40 + int.from_bytes(frame[at + 4 : at + 6], "big")
        protocol, addresses = frame[at + 6], frame[at + 8 : at + 40]
    else:
        return False
    if protocol not in (TCP, UDP) or not transport + 8 <= end <= len(frame):
        return False
    pseudo = addresses + protocol.to_bytes(4, "big") + (end - transport).to_bytes(4, "big")
    return checksum(pseudo + frame[transport:end]) == 0xFFFF


def _network(frame: bytes) -> int:
    """Where the header of IP begins."""
    return ETHERNET + 4 if frame[12:14] == VLAN_TAG else ETHERNET
