"""Transmission: descriptors become frames, and completions say which are done.

The driver gives a descriptor away by its generation bit, which means the opposite in each lap; the bell only says that
there is something to look at.  A packet ends with EOP, and its completion, which it has where CQ is set, names that
descriptor.  What is to be done to the packet is told by its first descriptor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Host, Load, Put, Step, Store
from virtproof.conformance.packets import HEADERS, cut, plain, tagged, tcp, without_checksum
from virtproof.conformance.vmxnet3_driver import (
    Plugged,
    activated,
    in_tx_ring,
    no_tx_completion,
    rules,
    sent,
    tx_bell,
    tx_completed,
)
from virtproof.conformance.vmxnet3_layout import (
    OTHER_RINGS,
    OUTGOING,
    TX_COMPLETIONS,
    TX_RING,
    rx_queue,
    shared,
    tx_descriptor,
    tx_queue,
)
from virtproof.results import Check
from virtproof.spec.vmxnet3 import OffloadMode

rule = rules("vmxnet3")
ONE, TWO, THREE = (plain(60 + 10 * n, seed=n) for n in range(3))
LONG = plain(16384, seed=9)
DATA = bytes(n * 7 % 251 for n in range(3000))
PUSHED = 0x18  # PSH and ACK
SEGMENT = tcp(b"data of a segment", flags=PUSHED)
MSS = 1460
SECOND_COMPLETIONS = OTHER_RINGS + 0x8000
HEADER_SLOTS = OTHER_RINGS  # a data ring: 128 bytes for the headers of each packet
CHECKSUM = {"om": OffloadMode.CHECKSUM, "hlen": HEADERS - 20, "msscof": HEADERS - 4}


def buffers(*frames: bytes) -> Iterable[Step]:
    return [Put(OUTGOING + 0x800 * n, frame) for n, frame in enumerate(frames)]


def segmented(plugged: Plugged) -> Iterator[Check]:
    return cut(plugged.cable.sent, DATA, MSS, PUSHED)


def laps(count: int) -> Iterator[Step | Iterable[object]]:
    """So many packets, one at a time, through rings of 32."""
    for n in range(count):
        gen = 1 - n // 32 % 2
        yield Store(TX_RING + 16 * (n % 32) + 8, 4, 60 | gen << 14)
        yield tx_bell((n + 1) % 32)


# fmt: off
CASES: tuple[Case, ...] = (
    rule("vmxnet3.tx.one", "A descriptor with EOP and CQ is sent and completed", "Vmxnet3_TxDesc",
         buffers(ONE), in_tx_ring(tx_descriptor()), activated(), sent(), no_tx_completion(0),
         tx_bell(1), sent(ONE), tx_completed(0), no_tx_completion(1)),
    rule("vmxnet3.tx.len0_16384", "A length of 0 means 16384 bytes", "Vmxnet3_TxDesc, len",
         Put(OUTGOING, LONG), in_tx_ring(tx_descriptor(length=0)), activated(), tx_bell(1), sent(LONG), tx_completed(0),
         priority=2),
    rule("vmxnet3.tx.gen_stops", "What has the other generation is not the adapter's", "VMXNET3_TXD_GEN",
         buffers(ONE, TWO, THREE), in_tx_ring(tx_descriptor(), tx_descriptor(OUTGOING + 0x800, 70), tx_descriptor(OUTGOING + 0x1000, 80, gen=0)),
         activated(), tx_bell(3), sent(ONE, TWO), tx_completed(1), no_tx_completion(2),
         Store(TX_RING + 32 + 8, 4, 80 | 1 << 14), tx_bell(3), sent(ONE, TWO, THREE), tx_completed(2)),
    rule("vmxnet3.tx.gen_flip", "The generation flips at each lap", "VMXNET3_INIT_GEN",
         buffers(ONE), in_tx_ring(*[tx_descriptor(gen=0)] * 32), activated(), *laps(40), sent(*[ONE] * 40),
         *(tx_completed(n, gen=0) for n in range(8)), tx_completed(8), tx_completed(31)),
    rule("vmxnet3.tx.multi_frag", "Descriptors up to EOP are one frame, with one completion", "Vmxnet3_TxCompDesc",
         Put(OUTGOING, LONG[:100]), Put(OUTGOING + 0x1000, LONG[100:1100]), Put(OUTGOING + 0x1FFD, LONG[1100:1107]),
         in_tx_ring(tx_descriptor(length=100, eop=0, cq=0), tx_descriptor(OUTGOING + 0x1000, 1000, eop=0, cq=0),
                    tx_descriptor(OUTGOING + 0x1FFD, 7)),
         activated(), tx_bell(3), sent(LONG[:1107]), tx_completed(0, 2), no_tx_completion(1)),
    rule("vmxnet3.tx.csum", "The checksum is put where the descriptor says", "VMXNET3_OM_CSUM",
         buffers(without_checksum(SEGMENT)), in_tx_ring(tx_descriptor(length=len(SEGMENT), **CHECKSUM)),
         activated(), tx_bell(1), sent(SEGMENT), tx_completed(0)),
    rule("vmxnet3.tx.tso", "A large segment of TCP is cut", "VMXNET3_OM_TSO",
         Put(OUTGOING, without_checksum(tcp(DATA, flags=PUSHED))),
         in_tx_ring(tx_descriptor(length=HEADERS, eop=0, cq=0, om=OffloadMode.SEGMENTATION, hlen=HEADERS, msscof=MSS),
                    tx_descriptor(OUTGOING + HEADERS, len(DATA))),
         activated(), tx_bell(2), Host(segmented), tx_completed(0, 1)),
    rule("vmxnet3.tx.vlan", "A VLAN tag is put in, checksums or not", "Vmxnet3_TxDesc, ti",
         buffers(ONE, without_checksum(SEGMENT)),
         in_tx_ring(tx_descriptor(ti=1, tci=7), tx_descriptor(OUTGOING + 0x800, len(SEGMENT), ti=1, tci=0xEFFF, **CHECKSUM)),
         activated(), tx_bell(2), sent(tagged(ONE, 7), tagged(SEGMENT, 0xEFFF)), tx_completed(1), priority=2),
    rule("vmxnet3.tx.data_ring", "Headers may lie in the data ring", "Vmxnet3_TxDataDesc",
         Put(HEADER_SLOTS, LONG[:128]), Put(OUTGOING, LONG[128:400]),
         in_tx_ring(tx_descriptor(HEADER_SLOTS, 128, eop=0, cq=0), tx_descriptor(OUTGOING, 272)),
         activated(queues=(tx_queue(data=HEADER_SLOTS, data_size=32), rx_queue())),
         tx_bell(2), sent(LONG[:400]), tx_completed(0, 1), priority=3),
    rule("vmxnet3.tx.no_completion", "Without CQ there is no completion", "Vmxnet3_TxDesc, cq",
         buffers(ONE), in_tx_ring(tx_descriptor(cq=0), tx_descriptor()), activated(), tx_bell(2),
         sent(ONE, ONE), tx_completed(0, 1), no_tx_completion(1), priority=3),
    rule("vmxnet3.tx.queues", "Each queue has its own rings and bell", "VMXNET3_REG_TXPROD",
         buffers(ONE, TWO), in_tx_ring(tx_descriptor()), Put(OTHER_RINGS, tx_descriptor(OUTGOING + 0x800, 70)),
         Fill(SECOND_COMPLETIONS, 16), activated(shared(tx=2), (tx_queue(), tx_queue(ring=OTHER_RINGS, completion=SECOND_COMPLETIONS), rx_queue())),
         tx_bell(1, 1), sent(TWO), no_tx_completion(0), Load(SECOND_COMPLETIONS + 12, 4, 1 << 31),
         tx_bell(1, 2), sent(TWO), tx_bell(1, 0), sent(TWO, ONE), tx_completed(0), Load(TX_COMPLETIONS + 12, 4, 1 << 31), priority=3),
)
# fmt: on
