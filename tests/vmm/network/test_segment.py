"""Checksums and segmentation against scapy, which computes them in its own way."""

import random

import pytest

from virtproof.vmm.network.segment import SEGMENTS, checksum, insert_checksum, segments

scapy = pytest.importorskip("scapy.all")

ETHER, MSS = 14, 1000


def tcp(version: int, size: int, flags: str = "PAF", options: tuple[object, ...] = ()) -> bytes:
    ip = {
        4: lambda: scapy.IP(src="10.0.0.1", dst="10.0.0.2", id=0xFFFF),
        6: lambda: scapy.IPv6(src="fe80::1", dst="fe80::2"),
    }[version]()
    data = bytes(random.Random(size).randbytes(size))
    segment = scapy.TCP(sport=1, dport=2, seq=0xFFFF_FE00, ack=7, flags=flags, options=list(options))
    return bytes(scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ip / segment / scapy.Raw(data))


def split(frame: bytes, version: int, mss: int = MSS, tcp_header: int = 20) -> list[bytes]:
    transport = ETHER + (20 if version == 4 else 40)
    return list(segments(frame, transport + tcp_header, mss, ETHER, transport))


def right(frame: bytes) -> bool:
    """Are all lengths and checksums what scapy makes of this packet?"""
    again = scapy.Ether(frame)
    for layer, fields in ((scapy.IP, ("len", "chksum")), (scapy.IPv6, ("plen",)), (scapy.TCP, ("chksum", "dataofs"))):
        if layer in again:
            for field in fields:
                delattr(again[layer], field)
    return bytes(again) == frame


@pytest.mark.parametrize("length", [0, 1, 2, 3, 59, 60, 1499, 65535])
def test_the_sum_is_that_of_words(length: int) -> None:
    data = random.Random(length).randbytes(length)
    words = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, length, 2))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    assert checksum(data) == words


@pytest.mark.parametrize(("data", "folded"), [(bytes(8), 0), (b"\xff\xff" * 3, 0xFFFF), (b"\xff\xfe\0\1", 0xFFFF)])
def test_zero_and_all_ones_are_told_apart(data: bytes, folded: int) -> None:
    assert checksum(data) == folded


def test_a_sum_from_the_middle() -> None:
    assert checksum(b"\x12\x34\xab\xcd", 2) == 0xABCD


@pytest.mark.parametrize("version", [4, 6])
def test_a_driver_leaves_the_pseudo_header_in_the_field(version: int) -> None:
    whole = tcp(version, 333)
    packet = scapy.Ether(whole)
    transport = len(whole) - 333 - 20
    addresses = whole[26:34] if version == 4 else whole[22:54]
    left = bytearray(whole)
    left[transport + 16 : transport + 18] = checksum(addresses + (353).to_bytes(4, "big") + b"\0\0\0\6").to_bytes(
        2, "big"
    )
    assert left != whole
    insert_checksum(left, transport, transport + 16)
    assert left == whole == bytes(packet)


def test_a_range_that_ends_before_the_frame() -> None:
    whole = tcp(4, 10)
    left = bytearray(whole)
    left[24:26] = bytes(2)
    insert_checksum(left, 14, 24, 34)
    assert left == whole


def test_udp_never_says_that_it_has_none() -> None:
    frame = bytearray(b"\xff\xff" + bytes(8))
    insert_checksum(frame, 0, 6)
    assert frame[6:8] == b"\xff\xff"
    insert_checksum(other := bytearray(b"\xff\xff" + bytes(18)), 0, 16)
    assert other[16:18] == bytes(2)


@pytest.mark.parametrize("where", [(0, 63), (0, 64), (64, 0), (70, 2), (-1, 6), (0, -1), (8, 2, 8), (8, 2, 65)])
def test_a_checksum_outside_the_frame_is_refused(where: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="checksum"):
        insert_checksum(bytearray(64), *where)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 3000, 65000])
def test_segments_are_what_a_stack_would_have_sent(version: int, size: int) -> None:
    frame = tcp(version, size)
    cut = split(frame, version)
    assert len(cut) == max(1, -(-size // MSS))
    assert b"".join(bytes(scapy.Ether(one)[scapy.TCP].payload) for one in cut) == frame[len(frame) - size :]
    assert all(right(one) for one in cut)
    assert [scapy.Ether(one)[scapy.TCP].seq for one in cut] == [
        0xFFFF_FE00 + MSS * n & 0xFFFF_FFFF for n in range(len(cut))
    ]
    if version == 4:
        assert [scapy.Ether(one)[scapy.IP].id for one in cut] == [0xFFFF + n & 0xFFFF for n in range(len(cut))]


def test_flags_go_where_they_belong() -> None:
    assert [str(scapy.Ether(one)[scapy.TCP].flags) for one in split(tcp(4, 3 * MSS, flags="FPAC"), 4)] == [
        "AC",
        "A",
        "FPA",
    ]
    assert [str(scapy.Ether(one)[scapy.TCP].flags) for one in split(tcp(4, MSS, flags="FPAC"), 4)] == ["FPAC"]


def test_options_are_in_every_segment() -> None:
    frame = tcp(4, 2500, options=(("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)))
    cut = split(frame, 4, tcp_header=32)
    assert len(cut) == 3
    assert all(right(one) and scapy.Ether(one)[scapy.TCP].options[0] == ("Timestamp", (1, 2)) for one in cut)


@pytest.mark.parametrize(
    ("header", "mss", "ip", "transport"),
    [
        (54, 0, 14, 34),  # no end
        (54, -1, 14, 34),
        (54, 1, 14, 34),  # too many
        (53, 1000, 14, 34),  # TCP does not fit
        (99999, 1000, 14, 34),
        (54, 1000, 14, 30),  # nor IP
        (54, 1000, 13, 34),  # no IP
        (54, 1000, -1, 34),
        (54, 1000, 99999, 34),
    ],
)
def test_what_cannot_be_cut_is_refused(header: int, mss: int, ip: int, transport: int) -> None:
    with pytest.raises(ValueError, match=r"segments of|begins no IP"):
        segments(tcp(4, SEGMENTS + 1), header, mss, ip, transport)


def test_an_ip_header_longer_or_shorter_than_it_can_be_is_refused() -> None:
    frame = bytearray(tcp(4, 100))
    frame[14] = 0x4F  # 60 bytes
    with pytest.raises(ValueError, match="begins no IP"):
        segments(bytes(frame), 54, MSS, 14, 34)
    frame[14] = 0x40
    assert len(list(segments(bytes(frame), 54, MSS, 14, 34))) == 1


def test_any_frame_is_cut_or_refused() -> None:
    source = random.Random(1)
    for _ in range(3000):
        frame = source.randbytes(source.choice((14, 60, 54, 200, 1500)))
        if source.random() < 0.8 and len(frame) > 20:
            frame = frame[:14] + bytes([source.choice((0x45, 0x60, 0x40, 0x4F))]) + frame[15:]
        numbers = [source.choice((0, 1, 14, 34, 54, 74, 1460, source.randrange(-2, 1600))) for _ in range(4)]
        try:
            cut = list(segments(frame, *numbers))
        except ValueError:
            continue
        assert 1 <= len(cut) <= SEGMENTS
