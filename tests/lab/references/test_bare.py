"""The ROM of a bare machine, and the ear for what it says."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtproof.guest_payloads import bare, images
from virtproof.guest_payloads.bare import Cpuid, Ended, Listener, Reset, Seen, Started
from virtproof.guest_payloads.table import CAPACITY, Entry
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import CpuidEntry
from virtproof.spec.fault import Fault


def frame(kind: bytes, argument: int = 0, payload: bytes = b"") -> bytes:
    return bare.HEADER.pack(bare.MAGIC, kind, argument) + payload


SEEN = frame(b"o", 3, struct.pack("<Q", 0x1234).ljust(bare.SEEN_SIZE, b"\xf5"))
FRAMES = (
    frame(b"r") + frame(b"c", 0, struct.pack("<6I", 7, 1, 2, 3, 4, 5)) + frame(b"s", 4) + SEEN + frame(b"z", 0x3000001)
)


def pieces(rom: bytes) -> dict[int, bytes]:
    """What the ROM's code will copy, by address."""
    found, at = {}, 0
    while True:
        address, length = struct.unpack_from("<II", rom, at)
        if not length:
            return found
        found[address] = rom[at + 8 : at + 8 + length]
        at += 8 + length


class TestRom:
    @pytest.mark.parametrize("mode", Mode)
    def test_holds_the_trampoline_and_its_table(self, mode: Mode) -> None:
        entry = Entry()
        entry.stimulus.rip = 0x1234
        rom = bare.rom(mode, [entry, Entry()])
        image, found = images.load(mode.value), pieces(rom)
        assert len(rom) == bare.ROM_SIZE
        assert rom[-16] == 0xE9  # a jump where the processor begins
        assert found[image["image"]] == image.data
        assert found[image["count"]] == struct.pack("<I", 2)
        assert found[image["table"]] == bytes(entry) + bytes(Entry())

    def test_what_is_filled_lies_over_the_image(self) -> None:
        rom = bare.rom(Mode.LONG64, [Entry()], {0x2000: b"x" * 8, 0x10_0000: b"y"})
        order = list(pieces(rom))
        assert order.index(0x2000) > order.index(images.load("long64")["image"])
        assert pieces(rom)[0x10_0000] == b"y"

    def test_the_walker_finds_the_handlers(self) -> None:
        for mode, name in ((Mode.REAL16, "real16"), (Mode.VM86, "prot"), (Mode.PAE32, "prot"), (Mode.LONG64, "long")):
            found, image, stub = pieces(bare.rom(mode, [])), images.load(mode.value), images.load("bare")
            assert found[image["on_start"]] == struct.pack("<I", stub[f"start_{name}"])
            assert found[image["on_done"]] == struct.pack("<I", stub[f"done_{name}"])

    def test_the_table_is_where_the_handlers_look(self) -> None:
        assert {images.load(mode.value)["table"] for mode in Mode} == {images.load("bare")["entries"]}

    def test_refuses_what_does_not_fit(self) -> None:
        with pytest.raises(Fault, match="it holds"):
            bare.rom(Mode.LONG64, [], {0x10_0000: bytes(bare.ROM_SIZE)})
        with pytest.raises(Fault, match="out of reach"):
            bare.rom(Mode.LONG64, [], {1 << 32: b"x"})
        with pytest.raises(ValueError, match="a table holds"):
            bare.rom(Mode.LONG64, [Entry()] * (CAPACITY + 1))


class TestListener:
    def test_hears_every_kind(self) -> None:
        reset, cpuid, started, seen, ended = Listener().hear(FRAMES)
        assert reset == Reset()
        assert cpuid == Cpuid(CpuidEntry(7, 1, 0, 2, 3, 4, 5))
        assert started == Started(4)
        assert isinstance(seen, Seen)
        assert (seen.index, seen.observation.gpr[0], seen.observation.answered) == (3, 0x1234, 0xF5F5_F5F5_F5F5_F5F5)
        assert ended == Ended(0x3000001)

    @given(st.lists(st.integers(0, len(FRAMES)), max_size=20))
    def test_hears_the_same_in_pieces(self, cuts: list[int]) -> None:
        listener, edges = Listener(), [0, *sorted(cuts), len(FRAMES)]
        heard = [said for start, end in pairwise(edges) for said in listener.hear(FRAMES[start:end])]
        assert [type(said) for said in heard] == [Reset, Cpuid, Started, Seen, Ended]

    def test_passes_over_what_is_no_frame(self) -> None:
        noise = b"\xf5V\xf5VPq\0\0" + b"\xf5" * 9
        assert list(Listener().hear(noise + frame(b"s", 1) + noise + frame(b"s", 2))) == [Started(1), Started(2)]

    @given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([FRAMES[:50], bare.MAGIC, SEEN[:99]]))))
    def test_keeps_no_more_than_a_frame(self, heard: list[bytes]) -> None:
        listener = Listener()
        for data in heard:
            for said in listener.hear(data):
                assert isinstance(said, Reset | Cpuid | Started | Seen | Ended)
            assert len(listener._heard) < bare.HEADER.size + bare.SEEN_SIZE
