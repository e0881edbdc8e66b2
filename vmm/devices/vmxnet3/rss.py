"""Which queue a received frame goes to, where there are several: receive-side scaling.

Microsoft, "Introduction to Receive Side Scaling" and "RSS Hashing Functions": the Toeplitz hash of addresses and ports
picks an entry of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from virtproof.spec import vmxnet3 as spec
from virtproof.spec.vmxnet3 import RssHash, RssType
from virtproof.vmm.devices.vmxnet3.headers import TCP, layers

WINDOW = 32  # bits of the key that each bit of the input adds


class Steered(NamedTuple):
    """An entry of the table, the hash, and what was hashed."""

    entry: int
    hash: int
    type: int


UNHASHED = Steered(0, 0, RssType.NONE)


@dataclass(frozen=True, slots=True)
class Rss:
    """What the driver has asked for; ``hashes`` are RssHash."""

    hashes: int
    key: bytes
    table: bytes

    @classmethod
    def unpack(cls, area: bytes) -> Rss | None:
        """None where it is not the one hash that there is, or there is no table."""
        hashes, function, key_size, table_size = spec.RSS.unpack_from(area)
        if function != spec.TOEPLITZ or not 1 <= table_size <= spec.RSS_TABLE or key_size != spec.RSS_KEY:
            return None
        at = spec.RSS.size + spec.RSS_KEY
        return cls(hashes, area[spec.RSS.size : at], area[at : at + table_size])

    def steer(self, frame: bytes) -> Steered:
        found = layers(frame)
        if found is None:
            return UNHASHED
        version, ip, transport, protocol = found
        four = version == 4
        data = frame[ip + 12 : ip + 20] if four else frame[ip + 8 : ip + 40]
        fragment = four and int.from_bytes(frame[ip + 6 : ip + 8], "big") & 0x3FFF
        with_ports = protocol == TCP and not fragment and transport + 4 <= len(frame)
        if with_ports and self.hashes & (RssHash.TCP_IPV4 if four else RssHash.TCP_IPV6):
            data += frame[transport : transport + 4]
            kind = RssType.TCP_IPV4 if four else RssType.TCP_IPV6
        elif self.hashes & (RssHash.IPV4 if four else RssHash.IPV6):
            kind = RssType.IPV4 if four else RssType.IPV6
        else:
            return UNHASHED
        value = toeplitz(self.key, data)
        return Steered(self.table[value % len(self.table)], value, kind)


def toeplitz(key: bytes, data: bytes) -> int:
    """For each bit of ``data`` that is set, the 32 bits of the key from there on."""
    value, window = 0, int.from_bytes(key, "big")
    top = 8 * len(key) - WINDOW
    number, bits = int.from_bytes(data, "big"), 8 * len(data)
    for at in range(bits):
        if number >> (bits - 1 - at) & 1:
            value ^= window >> (top - at)
    return value & 0xFFFF_FFFF
