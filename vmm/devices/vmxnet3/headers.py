"""What the adapter looks at in the headers of a frame: where TCP begins, and whether checksums are right."""

from typing import NamedTuple

from virtproof.spec.vmxnet3 import RxCompletion0, RxCompletion3
from virtproof.vmm.network.segment import checksum

IPV4, IPV6, TAG = 0x0800, 0x86DD, 0x8100
TCP, UDP = 6, 17
TAG_LENGTH = 4

NOT_CHECKED = RxCompletion0.cnc.mask
_V4 = RxCompletion3.v4.mask | RxCompletion3.ipc.mask | RxCompletion3.tuc.mask
_V6 = RxCompletion3.v6.mask | RxCompletion3.tuc.mask
_PROTOCOLS = {TCP: RxCompletion3.tcp.mask, UDP: RxCompletion3.udp.mask}


class Layers(NamedTuple):
    """Of an IP packet: its version, where it and what it carries begin in the frame, and what that is."""

    version: int
    ip: int
    transport: int
    protocol: int


def layers(frame: bytes) -> Layers | None:
    """Find IP, behind a VLAN tag too; None where there is none."""
    ip, kind = 14, int.from_bytes(frame[12:14], "big")
    if kind == TAG:
        ip, kind = 18, int.from_bytes(frame[16:18], "big")
    if kind == IPV4 and len(frame) >= ip + 20 and frame[ip] >> 4 == 4:
        return Layers(4, ip, ip + 4 * (frame[ip] & 0xF), frame[ip + 9])
    if kind == IPV6 and len(frame) >= ip + 40 and frame[ip] >> 4 == 6:
        return Layers(6, ip, ip + 40, frame[ip + 6])
    return None


def verified(frame: bytes) -> tuple[int, int]:
    """The bits of the first and the last word of a completion that say what is known of the checksums.

    What is wrong, and what there are no checksums for, was not calculated: the driver looks for itself then.
    """
    found = layers(frame)
    if found is None or found.protocol not in _PROTOCOLS:
        return NOT_CHECKED, 0
    version, ip, transport, protocol = found
    if version == 4:
        end = ip + int.from_bytes(frame[ip + 2 : ip + 4], "big")
        fragment = int.from_bytes(frame[ip + 6 : ip + 8], "big") & 0x3FFF
        if transport < ip + 20 or fragment or checksum(frame[ip:transport]) != 0xFFFF:
            return NOT_CHECKED, 0
        addresses = frame[ip + 12 : ip + 20]
    else:
        end = transport + int.from_bytes(frame[ip + 4 : ip + 6], "big")
        addresses = frame[ip + 8 : ip + 40]
    length = end - transport
    if length < 8 or end > len(frame) or (protocol == UDP and frame[transport + 6 : transport + 8] == b"\0\0"):
        return NOT_CHECKED, 0  # a UDP checksum of 0 is none
    pseudo = addresses + length.to_bytes(4, "big") + protocol.to_bytes(4, "big")
    if checksum(pseudo + frame[transport:end]) != 0xFFFF:
        return NOT_CHECKED, 0
    return 0, (_V4 if version == 4 else _V6) | _PROTOCOLS[protocol]


def tagged(frame: bytes, tci: int) -> bytes:
    """The frame with a VLAN tag put in."""
    return frame[:12] + TAG.to_bytes(2, "big") + tci.to_bytes(2, "big") + frame[12:]


def untagged(frame: bytes) -> tuple[bytes, int] | None:
    """The frame without its VLAN tag, and the tag; None where it has none."""
    if len(frame) < 14 + TAG_LENGTH or int.from_bytes(frame[12:14], "big") != TAG:
        return None
    return frame[:12] + frame[12 + TAG_LENGTH :], int.from_bytes(frame[14:16], "big")
