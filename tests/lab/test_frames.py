"""Frames in a stream: whole ones come through, anything else is noticed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtproof.lab import frames
from virtproof.lab.frames import HEADER, PAYLOAD, Kind, Receiver, Sender
from virtproof.spec.fault import Fault


def sent(*messages: tuple[Kind, bytes]) -> bytes:
    stream = bytearray()
    sender = Sender(stream.extend)
    for kind, payload in messages:
        sender.send(kind, payload)
    return bytes(stream)


def received(stream: bytes, step: int = 1 << 20) -> list[tuple[Kind, bytes]]:
    receiver = Receiver("a host")
    return [frame for at in range(0, len(stream), step) for frame in receiver.feed(stream[at : at + step])]


MESSAGES = [(Kind.STDOUT, b"hello\n"), (Kind.FILE, b"run.json\0{}"), (Kind.END, b"")]


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
def test_what_was_sent_comes_back_however_it_is_cut(step):
    assert received(sent(*MESSAGES), step) == MESSAGES


def test_what_others_write_in_between_is_skipped():
    parts = [sent(MESSAGES[0]), b"\r\nBochs is exiting\xf5V\n", sent(*MESSAGES[:2])[len(sent(MESSAGES[0])) :]]
    assert received(b"noise\xf5" + b"".join(parts)) == MESSAGES[:2]


def test_a_long_message_is_cut_and_continued():
    data = bytes(range(256)) * 600
    found = received(sent((Kind.FILE, data), (Kind.END, b"")))
    assert [kind for kind, _ in found] == [Kind.FILE, Kind.MORE, Kind.MORE, Kind.END]
    assert b"".join(payload for _, payload in found) == data
    assert max(len(payload) for _, payload in found) == PAYLOAD


def test_every_changed_bit_of_a_frame_is_noticed():
    stream = sent((Kind.STDOUT, b"compliant"), (Kind.END, b""))
    for bit in range(8 * len(sent((Kind.STDOUT, b"compliant")))):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = received(bytes(damaged))
        except Fault:
            continue
        assert found == [], "a longer frame is still waited for"


def test_a_lost_frame_is_noticed():
    first = len(sent(MESSAGES[0]))
    second = len(sent(*MESSAGES[:2]))
    stream = sent(*MESSAGES)
    with pytest.raises(Fault, match="frame 2 came where 1 belongs"):
        received(stream[:first] + stream[second:])


def test_a_frame_too_long_is_refused_before_it_is_waited_for():
    header = HEADER.pack(frames.MAGIC, Kind.STDOUT.value, 0, PAYLOAD + 1) + bytes(4)
    with pytest.raises(Fault, match="makes no sense"):
        received(header)


def test_a_flood_ends(monkeypatch):
    monkeypatch.setattr(frames, "TOTAL", 3 * PAYLOAD)
    with pytest.raises(Fault, match="more than"):
        received(sent((Kind.STDOUT, bytes(4 * PAYLOAD))))


@given(st.lists(st.one_of(st.binary(max_size=40), st.just(frames.MAGIC), st.just(sent(*MESSAGES))), max_size=8))
def test_any_bytes_give_frames_or_a_fault(parts):
    with suppress(Fault):
        assert all(isinstance(kind, Kind) for kind, _ in received(b"".join(parts), 13))
