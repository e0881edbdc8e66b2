"""Reception: what arrives, passes the filter and finds buffers is written there; completions say where and what it is.

A frame begins in a head buffer of ring 0 and goes on in body buffers.  A completion names the ring by a number: the
queue, to which for ring 1 the count of queues is added.  Lengths do not count the check sequence.
"""

from __future__ import annotations

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Load, Put, Steps, Store
from virtproof.conformance.packets import BROADCAST, GUEST, PEER, plain, tagged, tcp
from virtproof.conformance.vmxnet3_driver import (
    EOP,
    GEN,
    GET_STATS,
    SOP,
    UPDATE_FEATURE,
    UPDATE_MAC_FILTERS,
    UPDATE_RSSIDT,
    UPDATE_RX_MODE,
    UPDATE_VLAN_FILTERS,
    activated,
    arrives,
    command,
    holds,
    in_rx_ring,
    no_rx_completion,
    rules,
    rx_bell,
    rx_completed,
)
from virtproof.conformance.vmxnet3_layout import (
    BODIES,
    GROUPS,
    INCOMING,
    OTHER_RINGS,
    QUEUES,
    RX_COMPLETIONS,
    RX_RING,
    RX_RING1,
    SHARED,
    rss,
    rx_descriptor,
    rx_descriptors,
    rx_queue,
    shared,
    tx_queue,
)
from virtproof.spec.vmxnet3 import Feature, RssHash, RxMode

rule = rules("vmxnet3")
FRAME = plain(60)
JUMBO = plain(9000, seed=3)
HEAD, BODY = 1500, 4096
ODD = plain(61, seed=4)
GROUP, OTHER_GROUP = b"\x01\x00\x5e\x00\x00\x01", b"\x01\x00\x5e\x00\x00\x02"
STRANGER = b"\x02" + GUEST[1:]
GOOD = tcp(b"0123456789abcdef", to=GUEST, source=PEER)
BAD_DATA, BAD_IP = GOOD[:-1] + b"!", GOOD[:24] + b"\x12\x34" + GOOD[26:]
V4_TCP_RIGHT = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 21
VLAN = 7
MODE, VLANS = SHARED + 120, SHARED + 136
RSS_CONF, SECOND_COMPLETIONS = 0x2A0000, OTHER_RINGS + 0x1000
KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)  # Microsoft's example
GOOD_HASH, TCP_IPV4_HASHED = 0x74C4CB08, 2 << 26  # 10.0.0.1 port 1000 to 10.0.0.2 port 2000 under that key
OUT_OF_BUFFERS = QUEUES + 256 + 88 + 8 * 8


def frames(*each: tuple[bytes, bool], after: int = 0) -> Steps:
    """Frames to these addresses come; those marked are received, as the completions from ``after`` on."""
    for to, wanted in each:
        yield arrives(plain(to=to))
        if wanted:
            yield rx_completed(after, 60)
            after += 1
        yield no_rx_completion(after)


def mode(value: int) -> Steps:
    return Store(MODE, 4, value), command(UPDATE_RX_MODE)


def told(number: int, cnc: int, flags: int) -> Steps:
    """What a completion says about checksums."""
    at = RX_COMPLETIONS + 16 * number
    return Load(at, 4, cnc << 30, 1 << 30), Load(at + 12, 4, flags, 0x007F_0000)


# fmt: off
CASES: tuple[Case, ...] = (
    rule("vmxnet3.rx.one", "A frame goes into a head buffer, and its completion says so", "Vmxnet3_RxCompDesc",
         in_rx_ring(rx_descriptors(2)), activated(), rx_bell(2), no_rx_completion(0), arrives(FRAME),
         rx_completed(0, 60), holds(INCOMING, FRAME), no_rx_completion(1), arrives(ODD), rx_completed(1, 61), holds(INCOMING + 0x800, ODD)),
    rule("vmxnet3.rx.len_no_crc", "The length is that of the frame, without its check sequence", "Vmxnet3_RxCompDesc, len",
         in_rx_ring(rx_descriptors(3)), activated(), arrives(plain(60), plain(61), plain(1514)),
         rx_completed(0, 60), rx_completed(1, 61), rx_completed(2, 1514), Load(INCOMING + 60, 4, 0)),
    rule("vmxnet3.rx.body_ring1", "What the head has no room for goes on in bodies of ring 1", "Vmxnet3_RxCompDesc, rqID",
         in_rx_ring(rx_descriptor(INCOMING, HEAD), rx_descriptor(INCOMING + 0x1000, HEAD)),
         Put(RX_RING1, b"".join(rx_descriptor(BODIES + BODY * n, BODY, body=1) for n in range(4))),
         activated(shared(mtu=9000), (tx_queue(), rx_queue(size1=32))), arrives(JUMBO, FRAME),
         rx_completed(0, HEAD, 0, ends=SOP), rx_completed(1, BODY, 0, ends=0, ring=1),
         rx_completed(2, 9000 - HEAD - BODY, 1, ends=EOP, ring=1), rx_completed(3, 60, 1),
         holds(INCOMING, JUMBO[:40]), holds(INCOMING + HEAD - 4, JUMBO[HEAD - 4 : HEAD]), holds(BODIES, JUMBO[HEAD : HEAD + 16]),
         holds(BODIES + BODY, JUMBO[HEAD + BODY : HEAD + BODY + 16]), holds(BODIES + 9000 - HEAD - 4, JUMBO[-4:]), priority=2),
    rule("vmxnet3.rx.no_buffer", "Without a buffer a frame is dropped and counted", "UPT1_RxStats, pktsRxOutOfBuf",
         in_rx_ring(rx_descriptors(1), rx_descriptor(INCOMING + 0x800, gen=0)), activated(), arrives(FRAME, FRAME, ODD),
         rx_completed(0, 60), no_rx_completion(1), command(GET_STATS, None), Load(OUT_OF_BUFFERS, 8, 2),
         Store(RX_RING + 16 + 8, 4, 0x800 | 1 << 31), rx_bell(2), no_rx_completion(1), arrives(ODD), rx_completed(1, 61)),
    rule("vmxnet3.rx.csum_flags", "Checksums that are right are reported, and no others", "Vmxnet3_RxCompDesc, cnc",
         in_rx_ring(rx_descriptors(5)), activated(shared(features=Feature.RX_CHECKSUM)), arrives(GOOD, BAD_DATA, BAD_IP, FRAME),
         told(0, 0, V4_TCP_RIGHT), told(1, 1, 0), told(2, 1, 0), told(3, 1, 0),
         Store(SHARED + 24, 8, 0), command(UPDATE_FEATURE), arrives(GOOD), told(4, 1, 0), priority=2),
    rule("vmxnet3.rx.filter_modes", "Each bit of the mode lets its kind of frames in", "Vmxnet3_RxFilterConf, rxMode",
         in_rx_ring(rx_descriptors(16)), activated(shared(mode=0)),
         frames((GUEST, False), (BROADCAST, False), (GROUP, False), (STRANGER, False)),
         mode(RxMode.UNICAST), frames((GUEST, True), (BROADCAST, False), (GROUP, False), (STRANGER, False)),
         mode(RxMode.BROADCAST), frames((GUEST, False), (BROADCAST, True), (GROUP, False), (STRANGER, False), after=1),
         mode(RxMode.ALL_MULTICAST), frames((GUEST, False), (BROADCAST, False), (GROUP, True), (STRANGER, False), after=2),
         mode(RxMode.MULTICAST), frames((GUEST, False), (BROADCAST, False), (GROUP, False), (STRANGER, False), after=3),
         mode(RxMode.PROMISCUOUS), frames((GUEST, True), (BROADCAST, True), (GROUP, True), (STRANGER, True), after=3)),
    rule("vmxnet3.rx.mcast_list", "Groups of the table are received, from the command on", "Vmxnet3_RxFilterConf, mfTable",
         Put(GROUPS, OTHER_GROUP[:5] + b"\x09" + GROUP), in_rx_ring(rx_descriptors(4)), activated(shared(mode=RxMode.MULTICAST)),
         frames((GROUP, False)), Store(SHARED + 124, 2, 12), frames((GROUP, False)), command(UPDATE_MAC_FILTERS),
         frames((GROUP, True), (OTHER_GROUP, False)),
         Store(SHARED + 124, 2, 6), command(UPDATE_MAC_FILTERS), frames((GROUP, False), after=1), priority=2),
    rule("vmxnet3.rx.vlan_filter", "A tag needs its bit in the table", "Vmxnet3_RxFilterConf, vfTable",
         in_rx_ring(rx_descriptors(4)), activated(), arrives(tagged(FRAME, VLAN)), no_rx_completion(0), arrives(FRAME), rx_completed(0, 60),
         Store(VLANS, 4, 1 << VLAN), arrives(tagged(FRAME, VLAN)), no_rx_completion(1), command(UPDATE_VLAN_FILTERS),
         arrives(tagged(FRAME, VLAN + 1), tagged(FRAME, 0xE000 | VLAN)), rx_completed(1, 64), no_rx_completion(2), holds(INCOMING + 0x800, tagged(FRAME, 0xE000 | VLAN)[:24]),
         Store(VLANS + 508, 4, 1 << 31), command(UPDATE_VLAN_FILTERS), arrives(tagged(FRAME, 4095)), rx_completed(2, 64), priority=2),
    rule("vmxnet3.rx.vlan_strip", "A tag goes from the frame into the completion, where the driver wants it", "UPT1_F_RXVLAN",
         in_rx_ring(rx_descriptors(3)), activated(shared(features=Feature.RX_VLAN, vlans=(VLAN,))), arrives(tagged(FRAME, 0xE000 | VLAN), FRAME),
         Load(RX_COMPLETIONS + 8, 4, 60 | 1 << 15 | (0xE000 | VLAN) << 16), holds(INCOMING, FRAME),
         Load(RX_COMPLETIONS + 16 + 8, 4, 60), holds(INCOMING + 0x800, FRAME[:24]),
         Store(SHARED + 24, 8, 0), command(UPDATE_FEATURE), arrives(tagged(FRAME, VLAN)), Load(RX_COMPLETIONS + 32 + 8, 4, 64), priority=2),
    rule("vmxnet3.rx.queues", "With RSS a table of the driver's says which queue a flow goes to", "UPT1_RSSConf",
         Put(RSS_CONF, rss(RssHash.TCP_IPV4, KEY, b"\x01" * 128)), in_rx_ring(rx_descriptors(2)), Put(OTHER_RINGS, rx_descriptors(2, BODIES)),
         activated(shared(rx=2, features=Feature.RSS, rss=RSS_CONF), (tx_queue(), rx_queue(), rx_queue(ring=OTHER_RINGS, completion=SECOND_COMPLETIONS))),
         arrives(GOOD, FRAME), Load(SECOND_COMPLETIONS, 4, SOP | EOP | 1 << 16 | TCP_IPV4_HASHED, 0x3FFF_CFFF), holds(BODIES, GOOD[:40]),
         Load(SECOND_COMPLETIONS + 4, 4, GOOD_HASH), rx_completed(0, 60), Load(RX_COMPLETIONS, 4, 0, 0xF << 26),
         Fill(RSS_CONF + 48, 128), arrives(GOOD), Load(SECOND_COMPLETIONS + 16 + 12, 4, GEN | 3 << 24, 0xFF00_0000),
         command(UPDATE_RSSIDT), arrives(GOOD), rx_completed(1, len(GOOD)), priority=3),
)
# fmt: on
