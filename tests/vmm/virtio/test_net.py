"""virtio-net on a cable whose other end is the test."""

from __future__ import annotations

import itertools
import struct

import pytest

from tests.vmm.virtio.driver import Driver, loop
from virtproof.conformance.cable import Cable
from virtproof.spec.virtio_net import CONTROL, RECEIVE, TRANSMIT, Feature
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.net_filter import ReceiveFilter
from virtproof.vmm.devices.virtio.rng import MOST, VirtioRng
from virtproof.vmm.network.segment import checksum

MAC, OTHER = bytes.fromhex("525400112233"), bytes.fromhex("525400445566")
FRAME = MAC + OTHER + b"\x08\x06" + bytes(range(46))


@pytest.fixture
def cable() -> Cable:
    return Cable()


@pytest.fixture
def net(cable: Cable) -> Driver:
    return Driver(VirtioNet(MAC, cable, loop.after))


def got(driver: Driver, into: list[tuple[int, int]]) -> bytes:
    return b"".join(bytes(driver.wires.ram[at : at + size]) for at, size in into)


def header(flags: int = 0, gso: int = 0, length: int = 0, size: int = 0, start: int = 0, offset: int = 0) -> bytes:
    return struct.pack("<BBHHHHH", flags, gso, length, size, start, offset, 0)


@pytest.mark.parametrize("cuts", [(), (12,), (5,), (5, 12), (8, 20)])
def test_a_frame_goes_out_however_it_lies(net: Driver, cable: Cable, cuts: tuple[int, ...]) -> None:
    net.start()
    whole = header() + FRAME
    edges = (0, *cuts, len(whole))
    assert net.ask(TRANSMIT, [whole[a:b] for a, b in itertools.pairwise(edges)]) == (b"", 0)
    assert cable.sent == [FRAME]


def test_a_frame_arrives_behind_a_header(net: Driver, cable: Cable) -> None:
    net.start()
    into = net.add(RECEIVE, (), (1000, 1000))
    assert cable.receive(FRAME)
    assert net.take(RECEIVE) == [(0, 12 + len(FRAME))]
    assert got(net, into)[: 12 + len(FRAME)] == header()[:10] + b"\1\0" + FRAME
    assert net.isr == 1


def test_without_buffers_it_is_told_when_there_are_some(net: Driver, cable: Cable) -> None:
    net.start()
    before = cable.readies
    assert not cable.receive(FRAME)
    net.add(RECEIVE, (), (1526,))
    net.kick(RECEIVE)
    assert cable.readies == before + 1
    assert cable.receive(FRAME)


def test_notifications_are_wanted_only_where_buffers_have_run_out(net: Driver, cable: Cable) -> None:
    net.start(size=4)
    flags = net.rings[RECEIVE].used
    for _ in range(2):
        net.add(RECEIVE, (), (1526,))
    assert [cable.receive(FRAME), net.word(flags)] == [True, 1]
    assert [cable.receive(FRAME), net.word(flags)] == [True, 1]
    assert [cable.receive(FRAME), net.word(flags)] == [False, 0]


def test_a_buffer_that_is_too_small_is_kept_and_the_frame_dropped(net: Driver, cable: Cable) -> None:
    net.start()
    net.add(RECEIVE, (), (40,))
    assert cable.receive(FRAME)
    assert net.take(RECEIVE) == []
    into = net.add(RECEIVE, (), (40,))
    assert cable.receive(FRAME[:14])
    assert net.take(RECEIVE) == [(0, 26)]
    assert into
    assert net.device.dropped == 1  # type: ignore[attr-defined]


def test_a_large_frame_is_spread_over_merged_buffers(net: Driver, cable: Cable) -> None:
    net.start(Feature.MRG_RXBUF)
    large = MAC + OTHER + b"\x08\x00" + bytes(n & 0xFF for n in range(8986))
    into = []
    for _ in range(2):
        into += net.add(RECEIVE, (), (4096,))
    assert not cable.receive(large)  # not enough yet, and nothing is used up
    assert net.take(RECEIVE) == []
    into += net.add(RECEIVE, (), (4096,))
    assert cable.receive(large)
    assert [length for _, length in net.take(RECEIVE)] == [4096, 4096, 9012 - 8192]
    assert got(net, into)[10 : 12 + len(large)] == b"\3\0" + large


def test_what_never_fits_is_dropped(net: Driver, cable: Cable) -> None:
    net.start(Feature.MRG_RXBUF, size=2)
    for _ in range(2):
        net.add(RECEIVE, (), (20,))
    assert cable.receive(FRAME)
    assert cable.receive(FRAME[:20])
    assert [length for _, length in net.take(RECEIVE)] == [20, 12]


def test_frames_of_bad_lengths_do_not_go_out(net: Driver, cable: Cable) -> None:
    net.start()
    for data in (b"", bytes(4), bytes(12), bytes(25)):
        assert net.ask(TRANSMIT, [data]) == (b"", 0)
    address, _ = net.buffer(16)
    net.offer(TRANSMIT, net.describe(TRANSMIT, (address, 0xFFFF_FFFF, 0)))
    net.kick(TRANSMIT)
    assert len(net.take(TRANSMIT)) == 1
    assert cable.sent == []
    assert not net.status.needs_reset


def ipv4(protocol: int, payload: bytes) -> bytes:
    fields = 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0, b"\n\0\0\1", b"\n\0\0\2"
    head = bytearray(struct.pack(">BBHHHBBH4s4s", *fields))
    head[10:12] = (~checksum(head) & 0xFFFF).to_bytes(2, "big")
    return OTHER + MAC + b"\x08\x00" + bytes(head) + payload


def pseudo(protocol: int, length: int) -> int:
    return checksum(b"\n\0\0\1\n\0\0\2" + struct.pack(">HH", protocol, length))


def test_the_checksum_that_the_driver_left_out_is_put_in(net: Driver, cable: Cable) -> None:
    net.start(Feature.CSUM | Feature.GUEST_CSUM)
    udp = struct.pack(">HHHH", 1000, 2000, 8 + 5, pseudo(17, 13)) + b"hello"
    net.ask(TRANSMIT, [header(flags=1, start=34, offset=6) + ipv4(17, udp)])
    (frame,) = cable.sent
    assert checksum(b"\n\0\0\1\n\0\0\2" + struct.pack(">HH", 17, 13) + frame[34:]) == 0xFFFF
    into = net.add(RECEIVE, (), (1526,))
    assert cable.receive(frame)
    assert got(net, into)[0] == 2  # its checksum is right
    into = net.add(RECEIVE, (), (1526,))
    assert cable.receive(frame[:-1] + b"?")
    assert got(net, into)[0] == 0
    into = net.add(RECEIVE, (), (1526,))
    assert cable.receive(FRAME)
    assert got(net, into)[0] == 0


def test_tcp_is_cut_into_segments(net: Driver, cable: Cable) -> None:
    net.start(Feature.CSUM | Feature.HOST_TSO4)
    data = bytes(n & 0xFF for n in range(3000))
    tcp = struct.pack(">HHIIBBHHH", 1, 2, 100, 0, 0x50, 0x18, 1000, pseudo(6, 0), 0)
    net.ask(TRANSMIT, [header(flags=1, gso=1, length=54, size=1400, start=34, offset=16), ipv4(6, tcp + data)])
    assert [len(frame) for frame in cable.sent] == [1454, 1454, 254]
    assert b"".join(frame[54:] for frame in cable.sent) == data


@pytest.mark.parametrize(
    "head",
    [
        header(flags=1, gso=1, size=0, start=34, offset=16),
        header(flags=1, gso=1, size=100, start=0xFFFF, offset=16),
        header(flags=0, gso=1, size=100, start=34, offset=16),
        header(flags=1, gso=3, size=100, start=34, offset=6),
        header(flags=1, gso=0x7F, size=100, start=34),
        header(flags=1, start=0xFFFF, offset=0xFFFF),
        header(flags=1, start=10, offset=0xFFFF),
        header(flags=1, gso=4, length=0xFFFF, size=1, start=34, offset=16),
    ],
)
def test_a_header_that_makes_no_sense_costs_the_frame(net: Driver, cable: Cable, head: bytes) -> None:
    net.start(Feature.CSUM | Feature.HOST_TSO4 | Feature.HOST_TSO6)
    net.ask(TRANSMIT, [head + FRAME])
    assert cable.sent == []
    assert net.device.dropped == 1  # type: ignore[attr-defined]
    net.ask(TRANSMIT, [header() + FRAME])
    assert cable.sent == [FRAME]


def test_the_link(net: Driver, cable: Cable) -> None:
    net.start()
    net.add(RECEIVE, (), (1526,))
    assert net.config(6, 2) == 1
    net.device.set_link(False)  # type: ignore[attr-defined]
    net.device.set_link(False)  # type: ignore[attr-defined]
    assert (net.config(6, 2), net.isr) == (0, 2)
    assert cable.receive(FRAME)
    net.ask(TRANSMIT, [header() + FRAME])
    assert (cable.sent, net.take(RECEIVE)) == ([], [])
    net.device.set_link(True)  # type: ignore[attr-defined]
    assert cable.receive(FRAME)
    assert len(net.take(RECEIVE)) == 1


def test_before_a_driver_is_there_frames_are_gone(net: Driver, cable: Cable) -> None:
    assert cable.receive(FRAME)


CONTROLS = Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_VLAN | Feature.CTRL_RX_EXTRA | Feature.CTRL_MAC_ADDR


def test_the_control_queue_filters(net: Driver, cable: Cable) -> None:
    net.start(CONTROLS)

    def command(*data: bytes) -> int:
        return net.ask(CONTROL, data, (1,))[0][0]

    def comes(to: bytes, kind: bytes = b"\x08\x06") -> bool:
        net.add(RECEIVE, (), (1526,))
        cable.receive(to + OTHER + kind + bytes(46))
        return bool(net.take(RECEIVE))

    many, group, broadcast = b"\x33\x33\0\0\0\1", b"\x01\0\x5e\0\0\1", b"\xff" * 6
    assert all(map(comes, (MAC, OTHER, many, group, broadcast)))
    assert command(b"\0\0", b"\0") == 0  # not promiscuous
    assert [comes(to) for to in (MAC, OTHER, many, group, broadcast)] == [True, False, False, False, True]
    assert command(b"\1\0", struct.pack("<I", 1) + OTHER + struct.pack("<I", 1) + group) == 0
    assert [comes(to) for to in (MAC, OTHER, many, group, broadcast)] == [True, True, False, True, True]
    assert command(b"\0\1\1") == 0  # all multicast
    assert comes(many)
    assert command(b"\0\5\1") == 0  # no broadcast
    assert not comes(broadcast)
    assert command(b"\0\4\1") == 0  # no unicast
    assert not comes(MAC)
    assert command(b"\0\4\0") == 0
    assert command(b"\1\1", OTHER[:5]) == 1
    assert command(b"\1\1", bytes(6)) == 0
    assert bytes(net.config(n, 1) for n in range(6)) == bytes(6)
    assert not comes(MAC)
    assert comes(bytes(6))
    assert comes(bytes(6), b"\x81\0\0\7")
    assert command(b"\2\0", struct.pack("<H", 5)) == 0
    assert not comes(bytes(6), b"\x81\0\0\7")
    assert comes(bytes(6), b"\x81\0\0\5")
    assert command(b"\2\1", struct.pack("<H", 5)) == 0
    assert not comes(bytes(6), b"\x81\0\0\5")
    assert command(b"\0\3\1") == 0  # no multicast
    assert not comes(group)
    net.put_status(0)
    net.start()
    assert comes(OTHER)
    assert bytes(net.config(n, 1) for n in range(6)) == MAC


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\x63\0\1",
        b"\0\x63\1",
        b"\0\0",
        b"\0\0\1\1",
        b"\1\0" + b"\xff" * 4,
        b"\1\0" + bytes(4),
        b"\1\0" + struct.pack("<I", 1) + bytes(5) + bytes(4),
        b"\1\0" + bytes(9),
        b"\1\7" + bytes(6),
        b"\2\0\0\x10",
        b"\2\0\1",
        b"\2\2\1\0",
    ],
)
def test_a_bad_command_is_answered_so(net: Driver, data: bytes) -> None:
    net.start(CONTROLS)
    assert net.ask(CONTROL, (data,), (1,)) == (b"\1", 1)


def test_a_command_that_was_not_negotiated(net: Driver) -> None:
    net.start(Feature.CTRL_VQ)
    for data in (b"\0\0\1", b"\0\2\1", b"\1\1" + bytes(6), b"\1\0" + bytes(8), b"\2\0\0\0"):
        assert net.ask(CONTROL, (data,), (1,))[0] == b"\1"


def test_a_command_without_room_for_an_answer_breaks_the_device(net: Driver) -> None:
    net.start(CONTROLS)
    net.add(CONTROL, (b"\0\0\1",))
    net.kick(CONTROL)
    assert net.status.needs_reset


def test_too_many_addresses_let_all_in() -> None:
    of = ReceiveFilter()
    assert of.set_mode(0, b"\0")
    assert of.set_table(struct.pack("<I", 65) + bytes(6 * 65) + bytes(4))
    assert of.accepts(FRAME, OTHER)
    assert not of.accepts(b"\x01" + FRAME[1:], OTHER)


def test_random_bytes_come_in_bounded_pieces() -> None:
    driver = Driver(VirtioRng(loop.after)).start()
    (first, length), (second, _) = driver.ask(0, (), (64,)), driver.ask(0, (), (64,))
    assert length == 64
    assert first != second
    driver.offer(0, driver.describe(0, (0x4_8000, 0xFFFF_FFFF, 2)))
    driver.kick(0)
    assert driver.take(0) == [(2, MOST)]
