"""Packets, whole, in pieces, damaged and hostile."""

from __future__ import annotations

import random

import pytest

from virtproof.vmm.gdb.packets import MAX_PAYLOAD, Decoder, ProtocolError, Signal, encode, unescape


def decoded(data: bytes) -> list[bytes | Signal]:
    return list(Decoder().feed(data))


def test_a_packet_as_the_manual_has_it() -> None:
    assert encode(b"OK") == b"$OK#9a"
    assert encode(b"") == b"$#00"
    assert decoded(b"+$OK#9a$#00-\x03") == [Signal.ACK, b"OK", b"", Signal.NAK, Signal.INTERRUPT]


def test_every_byte_survives_and_no_delimiter_is_sent_bare() -> None:
    payload = bytes(range(256)) * 2
    packet = encode(payload)
    assert b"$" not in packet[1:]
    assert packet.count(b"#") == 1
    assert decoded(packet) == [payload]


def test_a_packet_may_come_in_pieces_of_any_size() -> None:
    stream = encode(b"m1000,4") + b"\x03+" + encode(b"X\x03#}")
    for cut in range(1, len(stream)):
        decoder = Decoder()
        pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
        got = [event for piece in pieces for event in decoder.feed(piece)]
        assert got == [b"m1000,4", Signal.INTERRUPT, Signal.ACK, b"X\x03#}"]


@pytest.mark.parametrize("sum_", [b"00", b"zz", b"+9", b" 9"])
def test_a_wrong_checksum_is_damage(sum_: bytes) -> None:
    assert decoded(b"$OK#" + sum_) == [Signal.DAMAGED]


def test_a_packet_that_lost_its_end_does_not_swallow_the_next() -> None:
    assert decoded(b"$m10$OK#9a") == [Signal.DAMAGED, b"OK"]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n$k#6b", b"\x16\x03\x01", b"\0", b"$OK#9a\n"])
def test_what_no_debugger_sends_ends_the_conversation(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(data)


def test_a_packet_has_a_largest_size() -> None:
    assert decoded(encode(b"x" * MAX_PAYLOAD)) == [b"x" * MAX_PAYLOAD]
    for data in (b"$" + b"x" * (MAX_PAYLOAD + 1), encode(b"x" * (MAX_PAYLOAD + 1))):
        with pytest.raises(ProtocolError, match="more than"):
            decoded(data)


def test_an_escape_at_the_end_is_dropped() -> None:
    assert unescape(b"a}") == b"a"
    assert unescape(b"}\x03}]") == b"#}"


def test_random_bytes_are_events_or_an_end() -> None:
    chance = random.Random(1)
    for _ in range(3000):
        data = bytes(chance.choices(b"$#}+-\x03az09\xff*", k=chance.randrange(40)))
        decoder = Decoder()
        try:
            for event in decoder.feed(data):
                assert isinstance(event, bytes | Signal)
        except ProtocolError:
            pass
