"""The VMXNET3 with no machine around it: what cases cannot see, and what only numbers can show."""

import json
import random
import struct

import pytest

from tests.vmm.devices.vmxnet3_bench import MAC, RXPROD, TXPROD, Bench, frame
from virtproof.conformance import vmxnet3_layout as layout
from virtproof.conformance.vmxnet3_layout import (
    OUTGOING,
    rx_descriptor,
    rx_descriptors,
    rx_queue,
    shared,
    tx_descriptor,
    tx_queue,
)
from virtproof.spec.vmxnet3 import (
    Cmd,
    Event,
    Feature,
    QueueError,
    Register,
    RssHash,
    RssType,
    RxMode,
    RxStatistics,
    TxStatistics,
)
from virtproof.vmm.devices.vmxnet3 import adapter
from virtproof.vmm.devices.vmxnet3.headers import verified
from virtproof.vmm.devices.vmxnet3.rss import Rss

scapy = pytest.importorskip("scapy.all")

ADDRESS, DATA = 0xFEE00000, 0x41
ETHER = scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")  # else scapy asks the network


@pytest.fixture
def nic() -> Bench:
    return Bench()


def use_msix(nic: Bench, vectors: int = 2) -> None:
    function = nic.nic.function
    function.write_config(0x9C + 2, 2, 0x8000)
    for vector in range(vectors):
        for at, value in ((0, ADDRESS), (4, 0), (8, DATA + vector), (12, 0)):
            function._msix.write_table(16 * vector + at, 4, value)


def statistics(nic: Bench, queue: int) -> list[int]:
    nic.command(Cmd.GET_STATS)
    return list(struct.unpack("<10Q", nic.get(layout.QUEUES + 256 * queue + 88, 80)))


def status(nic: Bench, queue: int) -> tuple[int, int]:
    return struct.unpack("<B3xI", nic.get(layout.QUEUES + 256 * queue + 80, 8))


class TestTransmit:
    def test_rings_turn_many_times(self, nic: Bench) -> None:
        assert nic.activate() == 0
        for n in range(100):
            gen = 1 - n // 32 % 2
            nic.put(OUTGOING, frame(seed=n))
            nic.tx(tx_descriptor(gen=gen), at=n % 32)
            assert nic.tx_completion(n % 32)[0] == n % 32
            assert nic.tx_completion(n % 32).gen == gen
        assert nic.cable.sent == [frame(seed=n) for n in range(100)]

    def test_a_packet_may_come_in_two_goes(self, nic: Bench) -> None:
        nic.activate()
        nic.put(OUTGOING, frame(90))
        nic.tx(tx_descriptor(length=30, eop=0, cq=0))
        assert nic.cable.sent == []
        nic.put(layout.TX_RING, bytes(16))  # the copy counts
        nic.tx(tx_descriptor(OUTGOING + 30, 60), at=1)
        assert nic.cable.sent == [frame(90)]

    def test_what_wants_no_completion_gets_none(self, nic: Bench) -> None:
        nic.activate()
        nic.unmask(0)
        nic.tx(tx_descriptor(cq=0))
        assert len(nic.cable.sent) == 1
        assert nic.tx_completion(0) == (0, 0, 0, 0)
        assert not nic.wires.line

    def test_work_beyond_one_bell_goes_on_later(self, nic: Bench) -> None:
        nic.activate(None, tx_queue(size=1024, completion_size=1024), rx_queue())
        nic.put(OUTGOING, frame())
        nic.tx(*[tx_descriptor()] * 1000)
        first = len(nic.cable.sent)
        assert first <= adapter.BATCH
        for _ in range(10):
            nic.loop.poll()
        assert len(nic.cable.sent) == 1000
        assert nic.tx_completion(999)[0] == 999

    @pytest.mark.parametrize("stop", [Cmd.RESET, Cmd.QUIESCE, None])
    def test_what_was_stopped_does_not_go_on(self, nic: Bench, stop: int | None) -> None:
        nic.activate(None, tx_queue(size=1024, completion_size=1024), rx_queue())
        nic.tx(*[tx_descriptor()] * 1000)
        first = len(nic.cable.sent)
        if stop is None:
            nic.set_vd(Register.DSAL, 0)
        else:
            nic.command(stop)
        before = bytes(nic.wires.ram)
        for _ in range(10):
            nic.loop.poll()
        assert len(nic.cable.sent) == first
        assert nic.wires.ram == before

    def test_each_queue_has_its_own_rings(self, nic: Bench) -> None:
        second = tx_queue(ring=layout.OTHER_RINGS, completion=layout.OTHER_RINGS + 0x1000, interrupt=3)
        nic.activate(shared(tx=2), tx_queue(), second, rx_queue())
        nic.put(OUTGOING, frame())
        nic.tx(tx_descriptor(), queue=1, ring=layout.OTHER_RINGS)
        assert nic.cable.sent == [frame()]
        assert nic.completion(0, layout.OTHER_RINGS + 0x1000).gen == 1
        assert nic.tx_completion(0).gen == 0
        nic.tx(tx_descriptor(), queue=2)
        assert len(nic.cable.sent) == 1

    @pytest.mark.parametrize("tag", [None, 0x2007])
    @pytest.mark.parametrize("version", [4, 6])
    def test_segmentation(self, nic: Bench, version: int, tag: int | None) -> None:
        ip = scapy.IP(src="1.2.3.4", dst="5.6.7.8") if version == 4 else scapy.IPv6(src="::1", dst="::2")
        whole = bytes(ETHER / ip / scapy.TCP(flags="PA") / bytes(3000))
        header = len(whole) - 3000
        nic.activate()
        nic.put(OUTGOING, whole)
        first = tx_descriptor(
            length=header, eop=0, cq=0, om=3, hlen=header, msscof=1460, ti=tag is not None, tci=tag or 0
        )
        nic.tx(first, tx_descriptor(OUTGOING + header, 3000))
        assert len(nic.cable.sent) == 3
        for one in nic.cable.sent:
            packet = scapy.Ether(one)
            assert (packet[scapy.Dot1Q].vlan == 7) if tag is not None else (scapy.Dot1Q not in packet)
            del packet[scapy.TCP].chksum
            assert bytes(packet) == one
        tso = [TxStatistics.TSO_FRAMES, TxStatistics.UNICAST_FRAMES, TxStatistics.ERRORS]
        assert [statistics(nic, 0)[n] for n in tso] == [3, 3, 0]

    @pytest.mark.parametrize(
        "offload",
        [
            {"om": 3, "hlen": 54, "msscof": 0},
            {"om": 3, "hlen": 14, "msscof": 1000},
            {"om": 3, "hlen": 1000, "msscof": 1000},
            {"om": 2, "hlen": 34, "msscof": 99},
            {"om": 2, "hlen": 200, "msscof": 50},
            {"om": 1},
        ],
    )
    def test_an_offload_that_does_not_fit_drops_the_packet(self, nic: Bench, offload: dict[str, int]) -> None:
        nic.activate()
        nic.put(OUTGOING, bytes(ETHER / scapy.IP() / scapy.TCP() / bytes(46)))
        nic.tx(tx_descriptor(length=100, **offload), tx_descriptor(length=100))
        assert len(nic.cable.sent) == 1
        assert statistics(nic, 0)[TxStatistics.ERRORS] == 1
        assert [nic.tx_completion(n).gen for n in (0, 1)] == [1, 1]
        assert status(nic, 0) == (0, 0)

    @pytest.mark.parametrize(
        ("descriptors", "error"),
        [
            ([tx_descriptor(eop=0)] * 32, QueueError.NO_EOP),
            ([tx_descriptor(eop=0)] * 16 + [tx_descriptor()], QueueError.BIG_PACKET),
            ([tx_descriptor(eop=0, length=0)] * 4 + [tx_descriptor(length=100)], QueueError.BIG_PACKET),
            ([tx_descriptor(dtype=1)], QueueError.DESCRIPTOR_NOT_SUPPORTED),
            ([tx_descriptor(address=1 << 40)], QueueError.INVALID_DESCRIPTOR),
            ([tx_descriptor(address=(1 << 64) - 4)], QueueError.INVALID_DESCRIPTOR),
        ],
    )
    def test_errors_stop_the_queue(self, nic: Bench, descriptors: list[bytes], error: QueueError) -> None:
        nic.activate()
        nic.unmask(1)
        nic.tx(*descriptors)
        assert nic.cable.sent == []
        assert status(nic, 0) == (1, error)
        assert nic.word(layout.SHARED + 696) == Event.TX_QUEUE_ERROR
        assert nic.wires.line
        nic.tx(tx_descriptor(gen=0), tx_descriptor(), at=0)
        assert nic.cable.sent == []

    def test_sixteen_pieces_are_not_too_many(self, nic: Bench) -> None:
        nic.activate()
        nic.tx(*[tx_descriptor(eop=0, length=10)] * 15, tx_descriptor(length=10))
        assert [len(one) for one in nic.cable.sent] == [160]
        assert nic.tx_completion(0).index == 15

    def test_without_a_link_frames_are_discarded_and_completed(self, nic: Bench) -> None:
        nic.activate()
        nic.nic.set_link(False)
        nic.tx(tx_descriptor())
        assert nic.cable.sent == []
        assert nic.tx_completion(0).gen == 1
        assert statistics(nic, 0)[TxStatistics.DISCARDED] == 1

    def test_without_bus_mastering_nothing_happens(self, nic: Bench) -> None:
        nic.activate()
        nic.nic.function.write_config(4, 2, 3)
        before = bytes(nic.wires.ram)
        nic.put(layout.TX_RING, tx_descriptor())
        nic.set_pt(TXPROD, 1)
        nic.cable.receive(frame())
        nic.wires.ram[layout.TX_RING : layout.TX_RING + 16] = bytes(16)
        assert nic.wires.ram == before
        nic.nic.function.write_config(4, 2, 7)
        nic.tx(tx_descriptor())
        assert len(nic.cable.sent) == 1


class TestReceive:
    def test_rings_turn_many_times(self, nic: Bench) -> None:
        nic.activate(None, tx_queue(), rx_queue(completion_size=32))
        for n in range(100):
            gen = 1 - n // 32 % 2
            nic.put(layout.RX_RING + 16 * (n % 32), rx_descriptor(layout.INCOMING, gen=gen))
            assert nic.cable.receive(frame(seed=n))
            assert nic.get(layout.INCOMING, 60) == frame(seed=n)
            assert nic.completion(n % 32).gen == gen
            assert nic.completion(n % 32).index == n % 32
        nic.cable.receive(frame(seed=100))
        assert statistics(nic, 1)[RxStatistics.NO_BUFFER] == 1

    def test_bodies_of_ring_0_go_before_those_of_ring_1(self, nic: Bench) -> None:
        nic.activate(shared(rx=1), tx_queue(), rx_queue(size1=32))
        heads = rx_descriptors(1, length=1000) + rx_descriptors(1, layout.BODIES, body=1, length=500)
        nic.fill_rx(heads + rx_descriptor(layout.INCOMING + 0x8000))
        nic.fill_rx(rx_descriptors(2, layout.BODIES + 0x4000, body=1, length=400), layout.RX_RING1)
        sent = frame(2200)
        nic.cable.receive(sent)
        seen = [nic.completion(n) for n in range(4)]
        assert [one.length for one in seen] == [1000, 500, 400, 300]
        assert [one.word0 >> 16 & 0x3FF for one in seen] == [0, 0, 1, 1]
        assert [one.word0 >> 14 & 3 for one in seen] == [2, 0, 0, 1]
        assert [one.index for one in seen] == [0, 1, 0, 1]
        places = (
            (layout.INCOMING, 1000),
            (layout.BODIES, 500),
            (layout.BODIES + 0x4000, 400),
            (layout.BODIES + 0x4800, 300),
        )
        assert b"".join(nic.get(at, size) for at, size in places) == sent
        nic.cable.receive(frame())
        assert nic.completion(4).index == 2

    def test_a_frame_takes_all_its_buffers_or_none(self, nic: Bench) -> None:
        nic.activate(None, tx_queue(), rx_queue(size1=32))
        nic.fill_rx(rx_descriptors(2, length=100))
        nic.fill_rx(rx_descriptors(1, layout.BODIES, body=1, length=100), layout.RX_RING1)
        nic.cable.receive(frame(250))
        assert nic.completion(0).gen == 0
        assert statistics(nic, 1)[RxStatistics.NO_BUFFER] == 1
        nic.cable.receive(frame(200))
        assert [nic.completion(n).length for n in (0, 1)] == [100, 100]

    def test_no_more_pieces_than_the_driver_can_take(self, nic: Bench) -> None:
        nic.activate(shared(pieces=2), tx_queue(), rx_queue(size1=32))
        nic.fill_rx(rx_descriptors(1, length=100))
        nic.fill_rx(rx_descriptors(4, layout.BODIES, body=1, length=100), layout.RX_RING1)
        nic.cable.receive(frame(201))
        assert nic.completion(0).gen == 0
        assert statistics(nic, 1)[RxStatistics.ERRORS] == 1

    def test_a_buffer_that_is_nowhere_is_an_error_of_its_frame(self, nic: Bench) -> None:
        nic.activate()
        nic.fill_rx(rx_descriptor(1 << 40) + rx_descriptor(layout.INCOMING))
        nic.cable.receive(frame(seed=1))
        nic.cable.receive(frame(seed=2))
        assert [nic.completion(n).word2 >> 14 & 1 for n in (0, 1)] == [1, 0]
        assert nic.get(layout.INCOMING, 60) == frame(seed=2)
        assert statistics(nic, 1)[RxStatistics.ERRORS] == 1

    @pytest.mark.parametrize("bad", [b"", b"x"])
    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("protocol", ["tcp", "udp"])
    @pytest.mark.parametrize("tag", [False, True])
    def test_checksums(self, version: int, protocol: str, bad: bytes, tag: bool) -> None:
        ip = scapy.IP(src="1.2.3.4", dst="5.6.7.8") if version == 4 else scapy.IPv6(src="::1", dst="::2")
        transport = scapy.TCP() if protocol == "tcp" else scapy.UDP()
        head = ETHER / scapy.Dot1Q(vlan=5) if tag else ETHER
        packet = bytearray(bytes(head / ip / transport / b"some data!"))
        packet[-1] ^= len(bad)
        word0, word3 = verified(bytes(packet) + bytes(7))  # padding does not count
        flags = (1 << 16) | (1 << 18 if protocol == "tcp" else 1 << 17)
        flags |= (1 << 19 | 1 << 21) if version == 4 else 1 << 20
        assert (word0, word3) == ((1 << 30, 0) if bad else (0, flags))

    @pytest.mark.parametrize(
        "packet",
        [
            ETHER / scapy.IP() / scapy.ICMP(),
            ETHER / scapy.IP() / scapy.UDP(chksum=0),
            ETHER / scapy.IP(flags="MF") / scapy.TCP(),
            ETHER / scapy.IP(frag=100) / scapy.TCP(),
            ETHER / scapy.IP(chksum=0x1234) / scapy.TCP(),
            ETHER / scapy.IP(len=1000) / scapy.TCP(),
            ETHER / scapy.IP(len=20) / scapy.TCP(),
            ETHER / scapy.ARP(),
            ETHER / scapy.IPv6() / scapy.IPv6ExtHdrFragment() / scapy.TCP(),
        ],
    )
    def test_what_there_is_no_checksum_for(self, packet: "scapy.Packet") -> None:
        assert verified(bytes(packet)) == (1 << 30, 0)

    def test_any_bytes_are_looked_at(self) -> None:
        source = random.Random(3)
        whole = bytes(ETHER / scapy.IP() / scapy.TCP() / bytes(40))
        for _ in range(3000):
            cut = bytearray(whole[: source.randrange(14, len(whole) + 1)])
            cut[source.randrange(12, len(cut))] = source.randrange(256)
            verified(bytes(cut))

    @pytest.mark.parametrize(
        ("mode", "to", "taken"),
        [
            (0, MAC, False),
            (RxMode.UNICAST, MAC, True),
            (RxMode.UNICAST, b"\x02" + MAC[1:], False),
            (RxMode.UNICAST, b"\xff" * 6, False),
            (RxMode.BROADCAST, b"\xff" * 6, True),
            (RxMode.MULTICAST, b"\x01\0\x5e\0\0\1", True),
            (RxMode.MULTICAST, b"\x01\0\x5e\0\0\2", False),
            (RxMode.ALL_MULTICAST, b"\x01\0\x5e\0\0\2", True),
            (RxMode.ALL_MULTICAST, b"\xff" * 6, False),
            (RxMode.PROMISCUOUS, b"\x02" + MAC[1:], True),
        ],
    )
    def test_filter(self, nic: Bench, mode: int, to: bytes, taken: bool) -> None:
        nic.put(layout.GROUPS, b"\x01\0\x5e\0\0\7" + b"\x01\0\x5e\0\0\1" + b"\x01\0\x5e")
        nic.activate(shared(mode=mode, group_bytes=15))
        nic.fill_rx(rx_descriptors(4))
        nic.cable.receive(frame(to=to))
        assert nic.completion(0).gen == taken


KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
SPREAD = ETHER / scapy.IP(src="66.9.149.187", dst="161.142.100.80") / scapy.TCP(sport=2794, dport=1766)
SPREAD_6 = ETHER / scapy.IPv6(src="3ffe:2501:200:1fff::7", dst="3ffe:2501:200:3::1") / scapy.TCP(sport=2794, dport=1766)


class TestSteering:
    """The hashes are those of Microsoft's "Verifying the RSS Hash Calculation"."""

    @pytest.mark.parametrize(
        ("packet", "hashes", "value", "kind"),
        [
            (SPREAD, RssHash.TCP_IPV4 | RssHash.IPV4, 0x51CCC178, RssType.TCP_IPV4),
            (SPREAD, RssHash.IPV4, 0x323E8FC2, RssType.IPV4),
            (SPREAD_6, RssHash.TCP_IPV6, 0x40207D3D, RssType.TCP_IPV6),
            (SPREAD_6, RssHash.IPV6, 0x2CC18CD5, RssType.IPV6),
            (SPREAD, RssHash.IPV6 | RssHash.TCP_IPV6, 0, RssType.NONE),
            (ETHER / scapy.ARP(), 15, 0, RssType.NONE),
        ],
    )
    def test_hashes(self, packet: "scapy.Packet", hashes: int, value: int, kind: RssType) -> None:
        steered = Rss(hashes, KEY, bytes(range(128))).steer(bytes(packet))
        assert steered == (value % 128 if kind else 0, value, kind)

    def steering(self, nic: Bench, conf: bytes, feature: int = Feature.RSS) -> None:
        second = rx_queue(ring=layout.OTHER_RINGS, completion=layout.OTHER_RINGS + 0x1000, interrupt=3)
        nic.put(layout.GROUPS, conf)
        area = shared(rx=2, features=feature, mode=RxMode.PROMISCUOUS, rss=layout.GROUPS)
        assert nic.activate(area, tx_queue(), rx_queue(), second) == 0
        nic.fill_rx(rx_descriptors(4))
        nic.fill_rx(rx_descriptors(4, layout.BODIES), layout.OTHER_RINGS)
        nic.cable.receive(bytes(SPREAD))

    def test_a_flow_goes_where_the_table_says(self, nic: Bench) -> None:
        table = bytes(n == 0x78 for n in range(128))
        self.steering(nic, layout.rss(RssHash.TCP_IPV4, KEY, table))
        seen = nic.completion(0, layout.OTHER_RINGS + 0x1000)
        assert [seen.gen, seen.word0 >> 16 & 0x3FF, seen.word0 >> 26 & 0xF, seen.word1] == [1, 1, 2, 0x51CCC178]
        assert nic.completion(0).gen == 0
        nic.put(layout.GROUPS, layout.rss(RssHash.TCP_IPV4, KEY, bytes(128)))
        nic.cable.receive(bytes(SPREAD))
        assert nic.completion(0).gen == 0  # not before it is told
        nic.command(Cmd.UPDATE_RSSIDT)
        nic.cable.receive(bytes(SPREAD))
        assert nic.completion(0).word1 == 0x51CCC178
        saved = json.loads(json.dumps(nic.nic.state()))
        nic.nic.restore(saved)
        assert nic.nic.state() == saved

    @pytest.mark.parametrize(
        ("conf", "feature"),
        [
            (layout.rss(15, KEY, b"\1" * 128), 0),
            (layout.rss(15, KEY, b""), Feature.RSS),
            (layout.rss(15, KEY, b"\1" * 129), Feature.RSS),
            (layout.rss(15, KEY[:39], b"\1" * 128), Feature.RSS),
            (layout.rss(15, KEY, b"\1" * 128, function=2), Feature.RSS),
        ],
    )
    def test_without_a_table_all_goes_to_the_first(self, nic: Bench, conf: bytes, feature: int) -> None:
        self.steering(nic, conf, feature)
        assert nic.completion(0).gen == 1
        assert nic.completion(0).word1 == 0

    def test_entries_beyond_the_queues(self, nic: Bench) -> None:
        self.steering(nic, layout.rss(15, KEY, b"\xff" * 128))
        assert nic.completion(0, layout.OTHER_RINGS + 0x1000).gen == 1


class TestInterrupts:
    def test_messages(self, nic: Bench) -> None:
        use_msix(nic)
        nic.activate()
        nic.unmask(0, 1)
        nic.tx(tx_descriptor())
        assert nic.wires.messages == [(ADDRESS, DATA)]
        nic.nic.set_link(False)
        assert nic.wires.messages == [(ADDRESS, DATA), (ADDRESS, DATA + 1)]
        assert nic.wires.lines == []
        assert nic.vd(Register.ICR) == 0

    def test_a_mask_holds_a_message_back(self, nic: Bench) -> None:
        use_msix(nic)
        nic.activate()
        nic.tx(tx_descriptor())
        nic.tx(tx_descriptor(), at=1)
        assert nic.wires.messages == []
        nic.unmask(0)
        nic.unmask(0)
        assert nic.wires.messages == [(ADDRESS, DATA)]

    def test_auto_mask(self, nic: Bench) -> None:
        use_msix(nic)
        nic.activate(shared(auto_mask=1))
        nic.unmask(0)
        for n in range(3):
            nic.tx(tx_descriptor(), at=n)
        assert len(nic.wires.messages) == 1
        assert nic.pt(0) == 1
        nic.unmask(0)
        assert len(nic.wires.messages) == 2

    def test_the_pin(self, nic: Bench) -> None:
        nic.activate()
        nic.unmask(0)
        nic.tx(tx_descriptor())
        assert nic.wires.line
        assert nic.vd(Register.ICR) == 1
        assert not nic.wires.line
        assert nic.vd(Register.ICR) == 0
        nic.tx(tx_descriptor(), at=1)
        nic.set_pt(0, 1)
        assert not nic.wires.line
        nic.unmask(0)
        assert nic.wires.line

    def test_the_driver_switches_all_off_in_memory(self, nic: Bench) -> None:
        nic.activate(shared(control=1))
        nic.unmask(0)
        nic.tx(tx_descriptor())
        assert nic.wires.lines == []
        nic.put(layout.SHARED + 108, bytes(4))
        nic.tx(tx_descriptor(), at=1)
        assert nic.wires.line


class TestRegisters:
    def test_parts_are_read_and_not_written(self, nic: Bench) -> None:
        window = nic.nic.function.bars[1].device
        assert window.read(Register.MACL + 1, 1) == 0x54
        assert window.read(Register.MACH, 2) == 0x5634
        window.write(Register.MACL, 1, 0)
        window.write(Register.MACL, 2, 0)
        assert nic.vd(Register.MACL) == 0x12005452

    def test_there_is_nothing_between_registers(self, nic: Bench) -> None:
        assert [nic.pt(offset) for offset in (4, 8 * 25, TXPROD, RXPROD, 0xFFC)] == [0] * 5
        nic.set_pt(4, 0)
        assert nic.pt(0) == 1
        assert [nic.vd(offset) for offset in (4, 0x24, 0x48, 0xFFC)] == [0] * 4

    @pytest.mark.parametrize(
        ("area", "queues"),
        [
            (shared(magic=0), ()),
            (shared(tx=0), ()),
            (shared(rx=0), ()),
            (shared(tx=9), ()),
            (shared(rx=17), ()),
            (shared(queues=layout.QUEUES + 64), ()),
            (shared(queues=4 << 20), ()),
            (shared(event=25), ()),
            (shared(), (tx_queue(interrupt=25), rx_queue())),
            (shared(), (tx_queue(size=0), rx_queue())),
            (shared(), (tx_queue(size=16), rx_queue())),
            (shared(), (tx_queue(size=33), rx_queue())),
            (shared(), (tx_queue(size=4128), rx_queue())),
            (shared(), (tx_queue(completion_size=0), rx_queue())),
            (shared(), (tx_queue(completion_size=4097), rx_queue())),
            (shared(), (tx_queue(ring=layout.TX_RING + 16), rx_queue())),
            (shared(), (tx_queue(), rx_queue(size=0))),
            (shared(), (tx_queue(), rx_queue(size1=4128))),
            (shared(), (tx_queue(), rx_queue(ring1=layout.RX_RING1 + 256, size1=32))),
            (shared(), (tx_queue(), rx_queue(completion_size=8193))),
            (shared(), (tx_queue(), rx_queue(completion=1 << 40))),
        ],
    )
    def test_what_cannot_be_is_not_activated(self, nic: Bench, area: bytes, queues: tuple[bytes, ...]) -> None:
        assert nic.activate(area, *queues) != 0
        assert not nic.nic.active
        nic.tx(tx_descriptor())
        nic.cable.receive(frame())
        assert nic.cable.sent == []
        assert nic.activate() == 0

    def test_both_halves_of_a_state(self, nic: Bench) -> None:
        """A saved adapter goes on where it was, in the middle of a packet."""
        nic.activate(
            shared(tx=2, features=Feature.RX_VLAN),
            tx_queue(size=64, completion_size=64),
            tx_queue(),
            rx_queue(size1=32),
        )
        nic.unmask(0)
        nic.put(OUTGOING, frame(90))
        nic.tx(tx_descriptor(), tx_descriptor(length=30, eop=0, cq=0))
        nic.fill_rx(rx_descriptors(8))
        nic.cable.receive(frame())
        saved = json.loads(json.dumps([nic.nic.state(), nic.nic.function.state()]))
        other = Bench()
        other.wires.ram[:] = nic.wires.ram
        other.nic.function.restore(saved[1])
        other.nic.restore(saved[0])
        assert json.loads(json.dumps(other.nic.state())) == saved[0]
        other.tx(tx_descriptor(OUTGOING + 30, 60), at=2)
        assert other.cable.sent == [frame(90)]
        other.cable.receive(frame(seed=3))
        assert other.completion(1).index == 1

    @pytest.mark.parametrize("bad", [{}, {"mac": "00"}, {"active": {}}, {"active": 7}])
    def test_a_state_of_something_else_is_refused(self, nic: Bench, bad: dict[str, object]) -> None:
        with pytest.raises((ValueError, TypeError, KeyError)):
            nic.nic.restore((nic.nic.state() | bad) if bad else {})

    def test_damaged_states(self, nic: Bench) -> None:
        nic.activate(None, tx_queue(), rx_queue(size1=32))
        nic.tx(tx_descriptor(), tx_descriptor(eop=0))
        text = json.dumps(nic.nic.state())
        source = random.Random(5)
        for _ in range(150):
            other, at = Bench(), source.randrange(len(text))
            changed = text[:at] + source.choice('0123456789-[]{}",nul') + text[at + source.randrange(3) :]
            try:
                other.nic.restore(json.loads(changed))
            except (ValueError, TypeError, KeyError):
                continue
            for command in (Cmd.GET_STATS, Cmd.GET_QUEUE_STATUS, Cmd.UPDATE_MAC_FILTERS, Cmd.QUIESCE):
                other.tx(tx_descriptor())
                other.cable.receive(frame())
                other.command(command)
            other.loop.poll()
