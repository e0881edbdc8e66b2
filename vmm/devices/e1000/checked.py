"""What is said of the checksums of a received frame: "Receive Packet Checksum Offloading".

Omitted: checksums behind IPv6.
"""

from __future__ import annotations

from virtproof.spec.e1000 import Rxcsum
from virtproof.spec.e1000_descriptors import Receive
from virtproof.vmm.network.segment import IPV4_HEADER, TCP, UDP_CHECKSUM, checksum

UDP = 17
_IPV4 = 0x0800
_FRAGMENT = 0x3FFF  # MF, or an offset
_UNCHECKED = Receive.ixsm.mask
_IPOFL, _TUOFL = Rxcsum.ipofl.mask, Rxcsum.tuofl.mask


def checked(frame: bytes, rxcsum: int) -> int:
    """The bits of a receive descriptor about a frame without a tag; ``rxcsum`` is that register.

    >>> hex(checked(bytes(60), 0) >> 32)  # ignore what is said of checksums
    '0x4'
    """
    if not rxcsum & (_IPOFL | _TUOFL):
        return _UNCHECKED
    if len(frame) < 14 + IPV4_HEADER or frame[12] << 8 | frame[13] != _IPV4 or frame[14] >> 4 != 4:
        return _UNCHECKED
    header, length = 4 * (frame[14] & 0xF), frame[16] << 8 | frame[17]
    packet = memoryview(frame)[14 : 14 + length]
    if not IPV4_HEADER <= header <= len(packet) or len(packet) < length:
        return _UNCHECKED
    said = 0
    if rxcsum & _IPOFL:
        said |= Receive.ipcs.mask
        if checksum(packet[:header]) != 0xFFFF:
            said |= Receive.ipe.mask
    if rxcsum & _TUOFL and not (packet[6] << 8 | packet[7]) & _FRAGMENT:
        said |= _transport(packet, header)
    return said or _UNCHECKED


def _transport(packet: memoryview, header: int) -> int:
    protocol, segment = packet[9], packet[header:]
    if protocol == UDP:
        if len(segment) < UDP_CHECKSUM + 2 or not any(segment[UDP_CHECKSUM : UDP_CHECKSUM + 2]):
            return 0  # none was sent
    elif protocol != TCP:
        return 0
    pseudo = bytes(packet[12:20]) + bytes((0, protocol)) + len(segment).to_bytes(2, "big")
    good = checksum(pseudo + bytes(segment)) == 0xFFFF
    return Receive.tcpcs.mask | (0 if good else Receive.tcpe.mask)
