"""The transmit ring, offloads, and what a hostile guest makes of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.vmm.devices.e1000.rig import BROADCAST, MAC, TX_RING, Rig, frame
from virtproof.spec import e1000
from virtproof.spec.e1000 import Cause, Ctrl, Rctl, Statistic, Tctl
from virtproof.spec.e1000_descriptors import Legacy
from virtproof.spec.pci import COMMAND
from virtproof.vmm.network.segment import checksum

TXDW, TXQE = Cause.txdw.mask, Cause.txqe.mask
PSP = Tctl.psp.mask


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.start_tx()
    return rig


def tcp(payload: bytes, *, flags: int = 0x18, vlan: bool = False) -> bytes:
    """A TCP segment from 10.0.0.1 to 10.0.0.2, with the sum of the pseudo header without the length in its field."""
    ip = bytes.fromhex("4500 0000 1234 4000 4006 0000 0a000001 0a000002")
    pseudo = checksum(ip[12:20] + b"\0\6")
    header = bytes.fromhex("1000 2000 00001000 00002000 50") + bytes((flags,)) + bytes.fromhex("ffff")
    return frame(14, kind=0x0800) + ip + header + pseudo.to_bytes(2, "big") + b"\0\0" + payload


IP, TCP, HEADERS = 14, 34, 54
OFFSETS = {"ipcss": IP, "ipcso": IP + 10, "ipcse": TCP - 1, "tucss": TCP, "tucso": TCP + 16}


class TestRing:
    def test_one_frame(self, rig: Rig) -> None:
        assert rig.send(frame(60), rs=1) == [frame(60)]
        assert (rig.read(e1000.TDH), rig.done(0)) == (1, 1)
        assert rig.read(e1000.ICR) == TXDW | TXQE

    def test_without_rs_nothing_is_written_back(self, rig: Rig) -> None:
        assert rig.send(frame(60)) == [frame(60)]
        assert rig.done(0) == 0
        assert rig.read(e1000.ICR) == TXQE

    def test_rps_reports_too(self, rig: Rig) -> None:
        rig.send(frame(60), rps=1)
        assert rig.done(0) == 1

    def test_a_frame_of_many_descriptors(self, rig: Rig) -> None:
        whole = frame(60)
        for n in range(3):
            rig.legacy(n, whole[20 * n : 20 * n + 20], eop=n == 2)
        rig.write(e1000.TDT, 2)
        assert rig.cable.sent == []
        rig.write(e1000.TDT, 3)
        assert rig.cable.sent == [whole]

    def test_many_frames(self, rig: Rig) -> None:
        frames = [frame(60 + n) for n in range(5)]
        assert rig.send(*frames) == frames

    def test_wraps(self, rig: Rig) -> None:
        rig.send(*[frame(60 + n) for n in range(15)])
        for n in range(15, 20):
            rig.legacy(n % 16, frame(60 + n))
        rig.write(e1000.TDT, 4)
        assert [len(sent) for sent in rig.cable.sent] == list(range(60, 80))
        assert rig.read(e1000.TDH) == 4

    def test_waits_until_it_is_enabled(self, rig: Rig) -> None:
        rig.write(e1000.TCTL, 0)
        assert rig.send(frame(60)) == []
        rig.write(e1000.TCTL, Tctl.en.mask)
        assert rig.cable.sent == [frame(60)]

    def test_pads(self, rig: Rig) -> None:
        rig.write(e1000.TCTL, Tctl.en.mask | PSP)
        assert rig.send(frame(14)) == [frame(14).ljust(60, b"\0")]

    def test_does_not_pad_unasked(self, rig: Rig) -> None:
        assert rig.send(frame(14)) == [frame(14)]

    def test_no_frame_without_a_header(self, rig: Rig) -> None:
        assert rig.send(frame(13), rs=1) == []
        assert rig.done(0) == 1
        assert rig.nic.transmitter.dropped == 1

    def test_no_link_no_frame(self, rig: Rig) -> None:
        rig.nic.set_link(False)
        assert rig.send(frame(60), rs=1) == []
        assert rig.done(0) == 1

    def test_needs_the_bus(self, rig: Rig) -> None:
        rig.nic.function.write_config(COMMAND, 2, 2)
        assert rig.send(frame(60)) == []
        assert rig.read(e1000.TDH) == 0
        rig.nic.function.write_config(COMMAND, 2, 6)
        rig.write(e1000.TDT, 1)
        assert rig.cable.sent == [frame(60)]

    def test_statistics(self, rig: Rig) -> None:
        rig.send(frame(60), frame(60, to=BROADCAST), frame(200, to=b"\1" + MAC[1:]))
        counted = {stat: rig.read(stat) for stat in Statistic if stat not in e1000.WIDE}
        assert {stat: n for stat, n in counted.items() if n} == {
            Statistic.GPTC: 3, Statistic.TPT: 3, Statistic.PTC64: 2, Statistic.PTC255: 1,
            Statistic.BPTC: 1, Statistic.MPTC: 1,
        }  # fmt: skip
        assert rig.read(Statistic.GPTC) == 0

    def test_wide_statistics(self, rig: Rig) -> None:
        rig.send(frame(60))
        for low in (Statistic.GOTC, Statistic.TOT):
            assert [rig.read(low), rig.read(low), rig.read(low + 4), rig.read(low)] == [64, 64, 0, 0]

    def test_statistics_stay_at_the_top(self, rig: Rig) -> None:
        rig.nic.statistics.count(Statistic.GPTC, 1 << 40)
        rig.nic.statistics.count(Statistic.GOTC, 1 << 70)
        assert rig.read(Statistic.GPTC) == 0xFFFF_FFFF
        assert (rig.read(Statistic.GOTC), rig.read(Statistic.GOTC + 4)) == (0xFFFF_FFFF, 0xFFFF_FFFF)
        rig.nic.statistics.count(Statistic.GOTC, 5 << 32 | 6)
        assert (rig.read(Statistic.GOTC), rig.read(Statistic.GOTC + 4)) == (6, 5)


class TestOffload:
    def test_checksum_of_a_legacy_descriptor(self, rig: Rig) -> None:
        whole = frame(24) + bytes(2) + frame(34)
        (sent,) = rig.send(whole, ic=1, css=14, cso=24)
        assert sent[:24] + bytes(2) + sent[26:] == whole
        assert checksum(sent[14:]) == 0xFFFF

    def test_checksums_of_tcp(self, rig: Rig) -> None:
        packet = bytearray(tcp(b"payload"))
        packet[IP + 2 : IP + 4] = (len(packet) - IP).to_bytes(2, "big")
        length = len(packet) - TCP
        seed = checksum(packet[26:34] + b"\0\6" + length.to_bytes(2, "big"))
        packet[TCP + 16 : TCP + 18] = seed.to_bytes(2, "big")
        rig.context(0, OFFSETS, tcp=1, ip=1)
        rig.data(1, bytes(packet), ixsm=1, txsm=1)
        rig.write(e1000.TDT, 2)
        (sent,) = rig.cable.sent
        assert checksum(sent[IP:TCP]) == 0xFFFF
        assert checksum(sent[26:34] + b"\0\6" + length.to_bytes(2, "big") + sent[TCP:]) == 0xFFFF
        assert sent[HEADERS:] == b"payload"

    @pytest.mark.parametrize(("option", "changed"), [("ixsm", {24, 25}), ("txsm", {50, 51})])
    def test_only_what_is_asked_for(self, rig: Rig, option: str, changed: set[int]) -> None:
        packet = tcp(b"payload")
        rig.context(0, OFFSETS, tcp=1, ip=1)
        rig.data(1, packet, **{option: 1})
        rig.write(e1000.TDT, 2)
        (sent,) = rig.cable.sent
        different = {n for n, (a, b) in enumerate(zip(packet, sent, strict=True)) if a != b}
        assert different
        assert different <= changed

    def test_options_are_those_of_the_first_descriptor(self, rig: Rig) -> None:
        packet = tcp(b"payload")
        rig.context(0, OFFSETS, tcp=1, ip=1)
        rig.data(1, packet[:HEADERS], eop=0)
        rig.data(2, packet[HEADERS:], ixsm=1, txsm=1)
        rig.write(e1000.TDT, 3)
        assert rig.cable.sent == [packet]

    def test_a_context_serves_many_frames(self, rig: Rig) -> None:
        rig.context(0, OFFSETS, tcp=1, ip=1)
        for n in (1, 2):
            rig.data(n, tcp(b"payload"), ixsm=1)
        rig.write(e1000.TDT, 3)
        assert [checksum(sent[IP:TCP]) for sent in rig.cable.sent] == [0xFFFF, 0xFFFF]

    def test_context_reports(self, rig: Rig) -> None:
        rig.context(0, {}, rs=1)
        rig.write(e1000.TDT, 1)
        assert rig.done(0) == 1
        assert rig.read(e1000.ICR) == TXDW | TXQE
        assert rig.cable.sent == []

    def test_segmentation(self, rig: Rig) -> None:
        payload = bytes(n * 7 & 0xFF for n in range(3000))
        packet = tcp(payload, flags=0x19)
        rig.context(0, OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=1460, paylen=3000)
        rig.data(1, packet[:HEADERS], tse=1, ixsm=1, txsm=1, eop=0)
        rig.data(2, packet[HEADERS:], tse=1)
        rig.write(e1000.TDT, 3)
        sent = rig.cable.sent
        assert [len(each) - HEADERS for each in sent] == [1460, 1460, 80]
        assert b"".join(each[HEADERS:] for each in sent) == payload
        for n, each in enumerate(sent):
            assert checksum(each[IP:TCP]) == 0xFFFF
            length = len(each) - TCP
            assert checksum(each[26:34] + b"\0\6" + length.to_bytes(2, "big") + each[TCP:]) == 0xFFFF
            assert int.from_bytes(each[IP + 4 : IP + 6], "big") == 0x1234 + n
            assert int.from_bytes(each[TCP + 4 : TCP + 8], "big") == 0x1000 + 1460 * n
            assert each[TCP + 13] == (0x19 if n == 2 else 0x10)
        assert rig.read(Statistic.TSCTC) == 1
        assert rig.read(Statistic.GPTC) == 3

    def test_contexts_of_both_kinds_are_kept(self, rig: Rig) -> None:
        rig.context(0, OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=100)
        rig.context(1, {"ipcss": 0, "ipcso": 0}, tcp=1, ip=1)
        rig.data(2, tcp(bytes(150)), tse=1)
        rig.write(e1000.TDT, 3)
        assert [len(sent) for sent in rig.cable.sent] == [154, 104]

    def test_tag(self, rig: Rig) -> None:
        rig.vlan_mode()
        (sent,) = rig.send(frame(60), vle=1, special=0x64)
        assert sent == frame(60)[:12] + bytes.fromhex("81000064") + frame(60)[12:]

    def test_tag_needs_both(self, rig: Rig) -> None:
        rig.send(frame(60), vle=1, special=0x64)
        rig.vlan_mode()
        rig.legacy(1, frame(60), special=0x64)
        rig.write(e1000.TDT, 2)
        assert rig.cable.sent == [frame(60)] * 2

    def test_tag_of_segments(self, rig: Rig) -> None:
        rig.vlan_mode()
        rig.write(e1000.VET, 0x9100)
        rig.context(0, OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=100)
        rig.data(1, tcp(bytes(150)), tse=1, vle=1, special=5)
        rig.write(e1000.TDT, 2)
        assert [sent[12:16] for sent in rig.cable.sent] == [bytes.fromhex("91000005")] * 2

    def test_loop_back(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(lbm=3, secrc=1))
        assert rig.send(frame(60)) == []
        assert rig.stored(0) == frame(60)

    def test_loop_back_in_the_phy(self, rig: Rig) -> None:
        rig.start_rx()
        rig.write(e1000.MDIC, 1 << 26 | 1 << 21 | 0x4140)
        assert rig.send(frame(60)) == []
        assert rig.stored(0) == frame(60)


class TestHostile:
    @pytest.mark.parametrize(("length", "head", "tail"), [(0, 0, 5), (128, 0xFFFF, 1), (128, 0, 0xFFFF), (128, 8, 0)])
    def test_head_or_tail_outside(self, rig: Rig, length: int, head: int, tail: int) -> None:
        rig.legacy(0, frame(60))
        rig.write(e1000.TDLEN, length)
        rig.write(e1000.TDH, head)
        rig.write(e1000.TDT, tail)
        assert rig.cable.sent == []
        assert rig.read(e1000.TDH) == head

    @pytest.mark.parametrize("base", [0xFEBC_0000, 0xFFFF_FFFF_FFFF_FFF0, 0x40_0000 - 16])
    def test_no_ring_there(self, rig: Rig, base: int) -> None:
        rig.write(e1000.TDBAL, base & 0xFFFF_FFFF)
        rig.write(e1000.TDBAH, base >> 32)
        rig.write(e1000.TDT, 5)
        assert rig.cable.sent == []

    @pytest.mark.parametrize("address", [0xFEBC_3800, 0xFFFF_FFFF_FFFF_FFF0])
    def test_no_buffer_there(self, rig: Rig, address: int) -> None:
        rig.descriptor(0, address, Legacy(0).but(length=60, eop=1, rs=1))
        rig.write(e1000.TDT, 1)
        assert rig.cable.sent == [bytes(60)]
        assert rig.done(0) == 1

    def test_no_length(self, rig: Rig) -> None:
        rig.write(e1000.TCTL, Tctl.en.mask | PSP)
        assert rig.send(b"", rs=1) == []
        assert rig.done(0) == 1

    def test_frames_are_not_longer_than_they_may_be(self, rig: Rig) -> None:
        longest = e1000.LONGEST_WITH_LPE - e1000.CRC
        assert [len(sent) for sent in rig.send(frame(longest), frame(longest + 1), frame(60))] == [longest, 60]
        assert rig.nic.transmitter.dropped == 1

    def test_no_end(self, rig: Rig) -> None:
        for n in range(16):
            rig.descriptor(n, 0, Legacy(0).but(length=0xFFFF))
        for n in range(200):
            rig.write(e1000.TDT, (15 + 15 * n) % 16)
            assert len(rig.nic.transmitter.state()["frame"]) <= 2 * e1000.LONGEST_WITH_LPE
        head = rig.read(e1000.TDH)
        rig.legacy(head, b"", eop=1)
        rig.legacy((head + 1) % 16, frame(60))
        rig.write(e1000.TDT, (head + 2) % 16)
        assert rig.cable.sent == [frame(60)]

    def test_data_descriptors_of_a_mebibyte(self, rig: Rig) -> None:
        word = int(Legacy(0).but(length=0xFFFF, dext=1, eop=1)) | 0x1F << 16
        rig.descriptor(0, 0, word)
        rig.write(e1000.TDT, 1)
        assert rig.cable.sent == []

    @pytest.mark.parametrize(
        "context", [{"mss": 0}, {"hdrlen": 255}, {"hdrlen": 0}, {"tcp": 0}, {"mss": 1}, {"hdrlen": 20}]
    )
    def test_frames_that_cannot_be_cut(self, rig: Rig, context: dict[str, int]) -> None:
        good = {"tcp": 1, "ip": 1, "tse": 1, "hdrlen": HEADERS, "mss": 1460, "paylen": 2000}
        rig.context(0, OFFSETS, **(good | context))
        rig.data(1, tcp(bytes(2000))[: 100 if "hdrlen" in context else None], tse=1, rs=1)
        rig.write(e1000.TDT, 2)
        assert rig.cable.sent == []
        assert rig.done(1) == 1
        assert rig.nic.transmitter.dropped == 1
        assert rig.read(Statistic.TSCTFC) == 1

    @pytest.mark.parametrize("paylen", [0, 1, 0xFFFFF])
    def test_payload_length_that_is_not_so(self, rig: Rig, paylen: int) -> None:
        rig.context(0, OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=1000, paylen=paylen)
        rig.data(1, tcp(bytes(2500)), tse=1)
        rig.write(e1000.TDT, 2)
        assert len(rig.cable.sent) == 3

    @pytest.mark.parametrize("fields", [{"css": 255, "cso": 24}, {"css": 14, "cso": 59}, {"css": 14, "cso": 255}])
    def test_legacy_checksum_outside(self, rig: Rig, fields: dict[str, int]) -> None:
        assert rig.send(frame(60), ic=1, **fields) == [frame(60)]

    @given(some.fixed_dictionaries({name: some.integers(0, 255) for name in OFFSETS}))
    def test_checksums_anywhere(self, offsets: dict[str, int]) -> None:
        rig = Rig(ram=1 << 20)
        rig.start_tx()
        rig.context(0, offsets, tcp=1, ip=1)
        rig.data(1, tcp(b"payload"), ixsm=1, txsm=1)
        rig.write(e1000.TDT, 2)
        (sent,) = rig.cable.sent
        assert len(sent) == len(tcp(b"payload"))

    @pytest.mark.parametrize("size", [1, 4, 11, 12, 13])
    def test_tag_of_a_short_frame(self, rig: Rig, size: int) -> None:
        rig.vlan_mode()
        rig.write(e1000.TCTL, Tctl.en.mask | PSP)
        (sent,) = rig.send(frame(size), vle=1)
        assert len(sent) == 60

    def test_work_is_done_in_pieces(self) -> None:
        rig = Rig()
        rig.start_tx(count=4096)
        for n in range(4096):
            rig.descriptor(n, 0x8_0000, Legacy(0).but(length=60, eop=1))
        rig.write(e1000.TDT, 4095)
        assert len(rig.cable.sent) == 256
        rig.settle()
        assert len(rig.cable.sent) == 4095
        assert rig.read(e1000.ICR) == TXQE

    def test_much_data_is_done_in_pieces(self) -> None:
        rig = Rig()
        rig.start_tx(count=256)
        for n in range(256):
            rig.descriptor(n, 0, Legacy(0).but(length=16000, eop=1))
        rig.write(e1000.TDT, 255)
        assert 50 <= len(rig.cable.sent) <= 70
        rig.settle()
        assert len(rig.cable.sent) == 255

    def test_segments_are_done_in_pieces(self) -> None:
        rig = Rig()
        rig.start_tx(count=256)
        rig.context(0, OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=1)
        for n in range(1, 256):
            rig.data(n, tcp(bytes(1000)), tse=1)
        rig.write(e1000.TDT, 255)
        assert len(rig.cable.sent) < 3000

    def test_doorbells_do_not_pile_up(self) -> None:
        rig = Rig()
        rig.start_tx(count=4096)
        for n in range(4096):
            rig.descriptor(n, 0, Legacy(0).but(length=60, eop=1))
        for _ in range(100):
            rig.write(e1000.TDT, 4095)
        assert len(rig.cable.sent) == 256
        assert len(rig.loop._heap) == 1

    def test_reset_between_pieces(self) -> None:
        rig = Rig()
        rig.start_tx(count=4096)
        for n in range(4096):
            rig.descriptor(n, 0, Legacy(0).but(length=60, eop=1, rs=1))
        rig.write(e1000.TDT, 4095)
        rig.write(e1000.CTRL, Ctrl.rst.mask)
        rig.settle()
        assert len(rig.cable.sent) == 256

    def test_reset_within_a_piece(self, rig: Rig) -> None:
        rig.cable.on_send = lambda frame: rig.write(e1000.CTRL, Ctrl.rst.mask)
        rig.send(frame(60), frame(60), rs=1)
        assert len(rig.cable.sent) == 1
        assert (rig.done(0), rig.read(e1000.TDH), rig.read(e1000.ICR)) == (0, 0, 0)

    def test_reset_between_segments(self, rig: Rig) -> None:
        rig.cable.on_send = lambda frame: rig.write(e1000.CTRL, Ctrl.rst.mask)
        rig.context(0, OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=100)
        rig.data(1, tcp(bytes(1000)), tse=1)
        rig.write(e1000.TDT, 2)
        assert len(rig.cable.sent) == 1

    def test_a_doorbell_from_within(self, rig: Rig) -> None:
        rig.cable.on_send = lambda frame: rig.write(e1000.TDT, 3)
        for n in range(3):
            rig.legacy(n, frame(60))
        rig.write(e1000.TDT, 1)
        assert len(rig.cable.sent) == 3

    def test_loop_back_into_the_same_ring(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(lbm=3, upe=1))
        rig.write(e1000.RDBAL, TX_RING)
        rig.write(e1000.TDT, 0)
        for n in range(16):
            rig.legacy(n, frame(60), rs=1)
        for n in range(100):
            rig.write(e1000.TDT, n % 16)
        assert rig.cable.sent == []

    def test_a_descriptor_is_read_once(self, rig: Rig) -> None:
        """What the guest changes behind our back does not count."""
        words = [int(Legacy(0).but(length=60, eop=1))] * 2

        def change(sent: bytes) -> None:
            rig.descriptor(1, 0, 0)

        rig.cable.on_send = change
        for n, word in enumerate(words):
            rig.descriptor(n, rig.buffer(frame(60)), word)
        rig.write(e1000.TDT, 2)
        assert rig.cable.sent == [frame(60)] * 2

    def test_random_descriptors(self) -> None:
        shuffle = random.Random(2)
        rig = Rig(ram=1 << 20)
        rig.start_tx(count=64)
        for _ in range(50):
            for n in range(64):
                rig.descriptor(n, shuffle.getrandbits(20), shuffle.getrandbits(64))
            rig.write(e1000.TDT, shuffle.randrange(64))
            rig.settle()
        assert all(14 <= len(sent) <= 65536 + 18 for sent in rig.cable.sent)
