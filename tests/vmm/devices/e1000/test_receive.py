"""Filters, the receive ring, checksums, and what a hostile guest or peer makes of them."""

from __future__ import annotations

import random
import zlib

import pytest

from tests.vmm.devices.e1000.rig import BROADCAST, BUFFERS, MAC, OTHER, RX_RING, Rig, frame
from tests.vmm.devices.e1000.test_transmit import tcp
from virtproof.spec import e1000
from virtproof.spec.e1000 import BUFFER_SIZES, Cause, Rctl, Rxcsum, Statistic
from virtproof.spec.e1000_descriptors import Receive
from virtproof.vmm.network.segment import checksum

RXT0, RXO, RXDMT0 = Cause.rxt0.mask, Cause.rxo.mask, Cause.rxdmt0.mask
GROUP = bytes.fromhex("01005e0102fb")
DD, EOP, IXSM, VP = 1, 2, 4, 8


@pytest.fixture
def rig() -> Rig:
    return Rig()


def status(rig: Rig, index: int) -> int:
    return rig.received(index) >> 32 & 0xFF


class TestFilter:
    """``taken``: whether a frame to that address was stored."""

    def taken(self, rig: Rig, to: bytes, **fields: int) -> bool:
        rig.start_rx(Rctl(0).but(**fields))
        head = rig.read(e1000.RDH)
        assert rig.cable.receive(frame(to=to))
        return rig.read(e1000.RDH) != head

    def test_own_address(self, rig: Rig) -> None:
        assert self.taken(rig, MAC)
        assert not self.taken(rig, OTHER)
        assert self.taken(rig, OTHER, upe=1)

    def test_all_groups(self, rig: Rig) -> None:
        assert not self.taken(rig, GROUP)
        assert self.taken(rig, GROUP, mpe=1)
        assert not self.taken(rig, GROUP, upe=1)
        assert not self.taken(rig, OTHER, mpe=1)

    def test_broadcast(self, rig: Rig) -> None:
        assert not self.taken(rig, BROADCAST)
        assert self.taken(rig, BROADCAST, bam=1)
        assert not self.taken(rig, GROUP, bam=1)
        assert self.taken(rig, BROADCAST, mpe=1)

    def test_further_addresses(self, rig: Rig) -> None:
        rig.write(e1000.RA + 8 * 15, int.from_bytes(OTHER[:4], "little"))
        rig.write(e1000.RA + 8 * 15 + 4, int.from_bytes(OTHER[4:], "little"))
        assert not self.taken(rig, OTHER)
        rig.write(e1000.RA + 8 * 15 + 4, int.from_bytes(OTHER[4:], "little") | 1 << 31)
        assert self.taken(rig, OTHER)
        rig.write(e1000.RA + 8 * 15 + 4, int.from_bytes(OTHER[4:], "little") | 1 << 31 | 1 << 16)
        assert not self.taken(rig, OTHER)

    @pytest.mark.parametrize(("mo", "low"), [(0, 36), (1, 35), (2, 34), (3, 32)])
    def test_hash(self, rig: Rig, mo: int, low: int) -> None:
        index = int.from_bytes(GROUP, "little") >> low & 0xFFF
        rig.write(e1000.MTA + 4 * (index >> 5), 1 << (index & 31))
        assert self.taken(rig, GROUP, mo=mo)
        assert rig.received(0).pif
        rig.write(e1000.MTA + 4 * (index >> 5), 0xFFFF_FFFF & ~(1 << (index & 31)))
        assert not self.taken(rig, GROUP, mo=mo)
        assert not self.taken(rig, BROADCAST, mo=mo)

    def test_hash_is_for_groups(self, rig: Rig) -> None:
        for n in range(128):
            rig.write(e1000.MTA + 4 * n, 0xFFFF_FFFF)
        assert not self.taken(rig, OTHER)
        assert self.taken(rig, BROADCAST)  # without BAM one group among others

    def tagged(self, rig: Rig, tag: int, **fields: int) -> bool:
        rig.start_rx(Rctl(0).but(**fields))
        head = rig.read(e1000.RDH)
        rig.cable.receive(MAC + OTHER + b"\x81\x00" + tag.to_bytes(2, "big") + bytes(60))
        return rig.read(e1000.RDH) != head

    def test_vlan(self, rig: Rig) -> None:
        assert self.tagged(rig, 5)
        assert not self.tagged(rig, 5, vfe=1)
        rig.write(e1000.VFTA, 1 << 5)
        assert self.tagged(rig, 5, vfe=1)
        assert self.tagged(rig, 0xE005, vfe=1)
        assert not self.tagged(rig, 6, vfe=1)
        assert not self.tagged(rig, 0x805, vfe=1)
        assert self.taken(rig, MAC, vfe=1)

    def test_cfi(self, rig: Rig) -> None:
        rig.write(e1000.VFTA, 1 << 5)
        assert not self.tagged(rig, 0x1005, vfe=1, cfien=1)
        assert self.tagged(rig, 0x1005, vfe=1, cfien=1, cfi=1)
        assert self.tagged(rig, 0x0005, vfe=1, cfien=1)


class TestRing:
    def test_one_frame(self, rig: Rig) -> None:
        rig.start_rx()
        assert rig.cable.receive(frame(100))
        assert rig.stored(0) == frame(100)
        assert rig.received(0) == Receive(0).but(
            length=100, checksum=~checksum(frame(100)) & 0xFFFF, dd=1, eop=1, ixsm=1
        )
        assert rig.read(e1000.RDH) == 1
        assert rig.read(e1000.ICR) == RXT0

    def test_with_its_crc(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(bam=1))
        rig.cable.receive(frame(60))
        assert rig.stored(0) == frame(60) + zlib.crc32(frame(60)).to_bytes(4, "little")

    def test_short_frames_are_padded(self, rig: Rig) -> None:
        rig.start_rx()
        rig.cable.receive(frame(42))
        assert rig.stored(0) == frame(42).ljust(60, b"\0")

    def test_disabled(self, rig: Rig) -> None:
        rig.start_rx()
        rig.write(e1000.RCTL, 0)
        assert rig.cable.receive(frame(60))
        assert (rig.read(e1000.RDH), rig.read(e1000.ICR), rig.read(Statistic.MPC)) == (0, 0, 0)

    def test_no_link(self, rig: Rig) -> None:
        rig.start_rx()
        rig.nic.set_link(False)
        rig.read(e1000.ICR)
        assert rig.cable.receive(frame(60))
        assert (rig.read(e1000.RDH), rig.read(e1000.ICR)) == (0, 0)

    def test_no_descriptors(self, rig: Rig) -> None:
        rig.start_rx(tail=0)
        assert not rig.cable.receive(frame(60))
        assert rig.read(e1000.ICR) == RXO
        assert rig.read(Statistic.MPC) == 1
        assert rig.read(Statistic.RNBC) == 1
        assert rig.cable.readies == 0
        rig.write(e1000.RDT, 8)
        assert rig.cable.readies == 1
        rig.write(e1000.RDT, 9)
        assert rig.cable.readies == 1
        assert rig.cable.receive(frame(60))

    def test_the_tail_is_not_the_controllers(self, rig: Rig) -> None:
        rig.start_rx(tail=3)
        assert [rig.cable.receive(frame(60)) for _ in range(4)] == [True, True, True, False]
        assert rig.read(e1000.RDH) == 3

    def test_wraps(self, rig: Rig) -> None:
        rig.start_rx(count=8, tail=7)
        for _ in range(7):
            rig.cable.receive(frame(60))
        rig.write(e1000.RDT, 6)
        for n in range(7):
            assert rig.cable.receive(frame(61 + n))
        assert rig.stored(7) == frame(61)
        assert rig.stored(5) == frame(67)
        assert rig.read(e1000.RDH) == 6

    @pytest.mark.parametrize(("rdmts", "left"), [(0, 8), (1, 4), (2, 2)])
    def test_few_descriptors(self, rig: Rig, rdmts: int, left: int) -> None:
        rig.start_rx(Rctl(0).but(rdmts=rdmts))
        raised = []
        for n in range(15):
            rig.cable.receive(frame(60))
            if rig.read(e1000.ICR) & RXDMT0:
                raised.append(14 - n)
        assert raised == [left]

    def test_many_buffers(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(bsize=3, secrc=1))
        rig.cable.receive(frame(600))
        assert [rig.received(n).length for n in range(4)] == [256, 256, 88, 0]
        assert [status(rig, n) for n in range(3)] == [DD, DD, DD | EOP | IXSM]
        assert b"".join(rig.stored(n) for n in range(3)) == frame(600)
        assert rig.read(e1000.RDH) == 3
        assert rig.read(Statistic.GPRC) == 1

    def test_not_enough_buffers(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(bsize=3, secrc=1), tail=2)
        assert not rig.cable.receive(frame(600))
        assert rig.read(e1000.RDH) == 0
        assert rig.received(0) == 0

    @pytest.mark.parametrize(("code", "size"), BUFFER_SIZES.items())
    def test_buffer_sizes(self, rig: Rig, code: tuple[int, int], size: int) -> None:
        rig.start_rx(Rctl(0).but(bsex=code[0], bsize=code[1], secrc=1, lpe=1))
        whole = frame(16380)
        rig.cable.receive(whole[: size + 1])
        assert rig.received(0).length == min(size, 16380)
        assert rig.read(e1000.RDH) == (2 if size < 16384 else 1)

    @pytest.mark.parametrize(
        ("size", "lpe", "taken"), [(1518, 0, 1), (1519, 0, 0), (1519, 1, 1), (16380, 1, 1), (16381, 1, 0)]
    )
    def test_long_frames(self, rig: Rig, size: int, lpe: int, taken: int) -> None:
        rig.start_rx(Rctl(0).but(lpe=lpe, bsex=1, bsize=1))
        assert rig.cable.receive(frame(size))
        assert rig.read(e1000.RDH) == taken
        assert rig.read(Statistic.ROC) == 1 - taken

    def test_descriptors_without_a_buffer(self, rig: Rig) -> None:
        rig.start_rx()
        rig.descriptor(0, 0, 0, RX_RING)
        rig.cable.receive(frame(60))
        assert (status(rig, 0), rig.received(0).length) == (DD, 0)
        assert rig.stored(1) == frame(60)
        assert rig.read(e1000.RDH) == 2

    def test_statistics(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(bam=1, mpe=1))
        for each in (frame(60), frame(42, to=BROADCAST), frame(200, to=GROUP), frame(1518)):
            rig.cable.receive(each)
        counted = {stat: rig.read(stat) for stat in Statistic if stat not in e1000.WIDE}
        assert {stat: n for stat, n in counted.items() if n} == {
            Statistic.GPRC: 4, Statistic.TPR: 4, Statistic.PRC64: 2, Statistic.PRC255: 1, Statistic.PRC1522: 1,
            Statistic.BPRC: 1, Statistic.MPRC: 1,
        }  # fmt: skip
        assert rig.read(Statistic.GORC) == rig.read(Statistic.TOR) == 64 + 64 + 204 + 1522


class TestTags:
    TAGGED = MAC + OTHER + bytes.fromhex("8100 a005 88b5") + bytes(60)

    def test_stripped(self, rig: Rig) -> None:
        rig.vlan_mode()
        rig.start_rx()
        rig.cable.receive(self.TAGGED)
        assert rig.stored(0) == self.TAGGED[:12] + self.TAGGED[16:]
        assert status(rig, 0) == DD | EOP | IXSM | VP
        assert rig.received(0).special == 0xA005
        rig.cable.receive(frame(60))
        assert (status(rig, 1), rig.received(1).special) == (DD | EOP | IXSM, 0)

    def test_kept(self, rig: Rig) -> None:
        rig.start_rx()
        rig.cable.receive(self.TAGGED)
        assert rig.stored(0) == self.TAGGED
        assert rig.received(0).special == 0


class TestChecksums:
    def good(self) -> bytearray:
        packet = bytearray(tcp(b"payload"))
        packet[16:18] = (len(packet) - 14).to_bytes(2, "big")
        packet[24:26] = (~checksum(packet[14:34]) & 0xFFFF).to_bytes(2, "big")
        packet[50:52] = b"\0\0"
        pseudo = packet[26:34] + b"\0\6" + (len(packet) - 34).to_bytes(2, "big")
        packet[50:52] = (~checksum(pseudo + packet[34:]) & 0xFFFF).to_bytes(2, "big")
        return packet

    def said(self, rig: Rig, packet: bytes, rxcsum: int = Rxcsum.ipofl.mask | Rxcsum.tuofl.mask) -> tuple[int, int]:
        """Status without DD and EOP, and errors."""
        rig.write(e1000.RXCSUM, rxcsum)
        rig.start_rx()
        head = rig.read(e1000.RDH)
        rig.cable.receive(bytes(packet))
        return status(rig, head) & ~(DD | EOP), rig.received(head) >> 40 & 0xFF

    IPCS, TCPCS, IPE, TCPE = 0x40, 0x20, 0x40, 0x20

    def test_good(self, rig: Rig) -> None:
        assert self.said(rig, self.good()) == (self.IPCS | self.TCPCS, 0)

    def test_only_what_is_asked_for(self, rig: Rig) -> None:
        assert self.said(rig, self.good(), Rxcsum.ipofl.mask) == (self.IPCS, 0)
        assert self.said(rig, self.good(), Rxcsum.tuofl.mask) == (self.TCPCS, 0)
        assert self.said(rig, self.good(), 0) == (IXSM, 0)

    def test_bad_header(self, rig: Rig) -> None:
        packet = self.good()
        packet[24] ^= 1
        assert self.said(rig, packet) == (self.IPCS | self.TCPCS, self.IPE)

    def test_bad_data(self, rig: Rig) -> None:
        packet = self.good()
        packet[-1] ^= 1
        assert self.said(rig, packet) == (self.IPCS | self.TCPCS, self.TCPE)

    def test_fragments(self, rig: Rig) -> None:
        packet = self.good()
        packet[20] = 0x20
        assert self.said(rig, packet)[0] == self.IPCS

    def test_udp_without(self, rig: Rig) -> None:
        packet = self.good()
        packet[23] = 17
        packet[40:42] = b"\0\0"
        assert self.said(rig, packet)[0] == self.IPCS

    def test_other_protocols(self, rig: Rig) -> None:
        packet = self.good()
        packet[23] = 1
        assert self.said(rig, packet)[0] == self.IPCS
        assert self.said(rig, frame(60)) == (IXSM, 0)

    @pytest.mark.parametrize(("at", "value"), [(14, 0x44), (14, 0x4F), (14, 0x65), (16, 0xFF), (17, 10), (12, 0x86)])
    def test_what_is_no_ipv4(self, rig: Rig, at: int, value: int) -> None:
        packet = self.good()
        packet[at] = value
        assert self.said(rig, packet) == (IXSM, 0)

    def test_from_a_place_on(self, rig: Rig) -> None:
        rig.write(e1000.RXCSUM, 14)
        rig.start_rx()
        rig.cable.receive(frame(60))
        assert rig.received(0).checksum == ~checksum(frame(60), 14) & 0xFFFF


class TestHostile:
    @pytest.mark.parametrize(
        ("register", "value"), [(e1000.RDLEN, 0), (e1000.RDH, 0xFFFF), (e1000.RDT, 0xFFFF), (e1000.RDH, 16)]
    )
    def test_ring_that_is_none(self, rig: Rig, register: int, value: int) -> None:
        rig.start_rx()
        rig.write(register, value)
        assert not rig.cable.receive(frame(60))
        assert rig.read(Statistic.MPC) == 1

    @pytest.mark.parametrize("base", [0xFEBC_0000, 0xFFFF_FFFF_FFFF_FFF0])
    def test_no_ring_there(self, rig: Rig, base: int) -> None:
        rig.start_rx()
        rig.write(e1000.RDBAL, base & 0xFFFF_FFFF)
        rig.write(e1000.RDBAH, base >> 32)
        assert not rig.cable.receive(frame(60))
        assert rig.read(e1000.RDH) == 0

    def test_nothing_but_null_buffers(self, rig: Rig) -> None:
        rig.write(e1000.RDBAL, 0x4000)
        rig.write(e1000.RDLEN, 4096 * 16)
        rig.write(e1000.RDT, 4095)
        rig.write(e1000.RCTL, Rctl(0).but(en=1))
        assert not rig.cable.receive(frame(60))
        assert 0 < rig.read(e1000.RDH) <= 65
        for _ in range(100):
            rig.cable.receive(frame(60))
        assert rig.read(e1000.RDH) == 4095

    def test_null_buffers_before_too_few(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(bsize=3, secrc=1), tail=3)
        rig.descriptor(0, 0, 0, RX_RING)
        assert not rig.cable.receive(frame(600))
        assert rig.read(e1000.RDH) == 1
        assert rig.received(1) == 0

    @pytest.mark.parametrize("address", [0xFEBC_3818, 0xFFFF_FFFF_FFFF_FFF0, 0x3F_FFE0])
    def test_no_buffer_there(self, rig: Rig, address: int) -> None:
        rig.start_rx()
        rig.descriptor(0, address, 0, RX_RING)
        before = bytes(rig.wires.ram[0x3F_0000:])
        assert rig.cable.receive(frame(60))
        assert rig.wires.ram[0x3F_0000:] == before
        assert rig.read(e1000.RDH) == 1

    def test_buffer_over_the_ring(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(bsex=1, bsize=1, lpe=1, upe=1))
        for n in range(16):
            rig.descriptor(n, RX_RING + 8 * n, 0, RX_RING)
        shuffle = random.Random(3)
        for _ in range(50):
            rig.cable.receive(OTHER + shuffle.randbytes(1000))
            rig.write(e1000.RDT, shuffle.randrange(16))

    @pytest.mark.parametrize("size", [0, 1, 13, 16381, 70_000])
    def test_frames_of_a_wrong_size(self, rig: Rig, size: int) -> None:
        rig.start_rx(Rctl(0).but(lpe=1, upe=1, mpe=1))
        assert rig.cable.receive(frame(size))
        assert rig.read(e1000.RDH) == 0

    def test_flood(self, rig: Rig) -> None:
        rig.start_rx(tail=0)
        for _ in range(10_000):
            rig.cable.receive(frame(60))
        assert rig.read(Statistic.MPC) == 10_000
        assert rig.loop.next_deadline() is None

    def test_no_bus_master(self, rig: Rig) -> None:
        rig.start_rx()
        rig.nic.function.write_config(4, 2, 2)
        before = bytes(rig.wires.ram)
        assert not rig.cable.receive(frame(60))
        assert rig.wires.ram == before

    def test_buffers_are_not_touched_beyond_their_size(self, rig: Rig) -> None:
        rig.start_rx(Rctl(0).but(bsize=3, secrc=1))
        rig.cable.receive(b"".join((MAC, b"\xee" * 588)))
        assert rig.wires.ram[BUFFERS + 256 : BUFFERS + 0x4000] == bytes(0x4000 - 256)
