"""What a driver of VMXNET3 lays out in memory, for cases and tests: one place for each ring, as bytes.

The offsets are those of ``spec/vmxnet3.py``, written down a second time from the header that VMware publishes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from virtproof.spec.vmxnet3 import MAGIC, OffloadMode, RxMode, RxWord2, TxWord2, TxWord3

# Guest memory that is the case's own (guest_payloads/accesses.py)
SHARED, QUEUES = 0x200000, 0x201000
TX_RING, TX_COMPLETIONS, RX_RING, RX_RING1, RX_COMPLETIONS = 0x210000, 0x220000, 0x230000, 0x240000, 0x250000
GROUPS = 0x280000
OTHER_RINGS = 0x290000  # of a second queue, laid out as those of the first
OUTGOING, INCOMING, BODIES = 0x300000, 0x340000, 0x380000  # buffers
BUFFER = 0x800  # bytes of one
ENTRIES = 32  # of each ring, where a case does not say

LISTENING = RxMode.UNICAST | RxMode.BROADCAST


def shared(
    *,
    magic: int = MAGIC,
    features: int = 0,
    queues: int = QUEUES,
    mtu: int = 1500,
    pieces: int = 0,
    tx: int = 1,
    rx: int = 1,
    auto_mask: int = 0,
    interrupts: int = 2,
    event: int = 1,
    control: int = 0,
    mode: int = LISTENING,
    group_bytes: int = 0,
    groups: int = GROUPS,
    vlans: Iterable[int] = (),
    rss: int = 0,
) -> bytes:
    """Vmxnet3_DriverShared."""
    table = bytearray(512)
    for vlan in vlans:
        table[vlan // 8] |= 1 << vlan % 8
    area = bytearray(720)
    struct.pack_into("<I 4x I I I I", area, 0, magic, 1, 2, 1, 1)  # version, a 64-bit guest, revision, UPT
    struct.pack_into("<Q Q Q I I I H B B", area, 24, features, 0, queues, 0, 256 * (tx + rx), mtu, pieces, tx, rx)
    struct.pack_into("<B B B 25x I", area, 80, auto_mask, interrupts, event, control)
    struct.pack_into("<I H 2x Q", area, 120, mode, group_bytes, groups)
    area[136:648] = table
    struct.pack_into("<I I Q", area, 648, 1, 176, rss)
    return bytes(area)


def rss(hashes: int, key: bytes, table: bytes, *, function: int = 1) -> bytes:
    """UPT1_RSSConf."""
    return struct.pack("<H H H H", hashes, function, len(key), len(table)) + key + table.ljust(128, b"\0")


def tx_queue(
    *,
    ring: int = TX_RING,
    completion: int = TX_COMPLETIONS,
    size: int = ENTRIES,
    completion_size: int = ENTRIES,
    data: int = 0,
    data_size: int = 0,
    interrupt: int = 0,
) -> bytes:
    """Vmxnet3_TxQueueDesc."""
    area = bytearray(256)
    struct.pack_into("<Q Q Q", area, 16, ring, data, completion)
    struct.pack_into("<I I I I B", area, 56, size, data_size, completion_size, 0, interrupt)
    return bytes(area)


def rx_queue(
    *,
    ring: int = RX_RING,
    ring1: int = RX_RING1,
    completion: int = RX_COMPLETIONS,
    size: int = ENTRIES,
    size1: int = 0,
    completion_size: int = 2 * ENTRIES,
    interrupt: int = 0,
) -> bytes:
    """Vmxnet3_RxQueueDesc."""
    area = bytearray(256)
    struct.pack_into("<Q Q Q", area, 16, ring, ring1, completion)
    struct.pack_into("<I I I I B", area, 56, size, size1, completion_size, 0, interrupt)
    return bytes(area)


def tx_descriptor(
    address: int = OUTGOING,
    length: int = 60,
    *,
    gen: int = 1,
    eop: int = 1,
    cq: int = 1,
    om: int = OffloadMode.NONE,
    hlen: int = 0,
    msscof: int = 0,
    ti: int = 0,
    tci: int = 0,
    dtype: int = 0,
) -> bytes:
    """Vmxnet3_TxDesc."""
    word2 = TxWord2(0).but(len=length, gen=gen, dtype=dtype, msscof=msscof)
    word3 = TxWord3(0).but(hlen=hlen, om=om, eop=eop, cq=cq, ti=ti, tci=tci)
    return struct.pack("<Q I I", address, word2, word3)


def rx_descriptor(address: int, length: int = BUFFER, *, body: int = 0, gen: int = 1) -> bytes:
    """Vmxnet3_RxDesc."""
    return struct.pack("<Q I I", address, RxWord2(0).but(len=length, btype=body, gen=gen), 0)


def rx_descriptors(count: int, base: int = INCOMING, *, body: int = 0, length: int = BUFFER) -> bytes:
    """Buffers side by side."""
    return b"".join(rx_descriptor(base + n * BUFFER, length, body=body) for n in range(count))
