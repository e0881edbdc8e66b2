"""The EEPROM by EERD and bit by bit."""

from __future__ import annotations

import random

import pytest

from tests.vmm.devices.e1000.rig import Rig
from virtproof.spec import e1000
from virtproof.spec.e1000 import Eecd

REQ, CS, SK, DI = 0x40, 0x02, 0x01, 0x04


@pytest.fixture
def rig() -> Rig:
    return Rig()


def eerd(rig: Rig, address: int) -> int:
    rig.write(e1000.EERD, address << 8 | 1)
    return rig.read(e1000.EERD)


def clock(rig: Rig, bit: int) -> int:
    """One clock with DI at ``bit``; return DO after it has risen."""
    for level in (0, SK):
        rig.write(e1000.EECD, REQ | CS | DI * bit | level)
    out = Eecd(rig.read(e1000.EECD)).do
    rig.write(e1000.EECD, REQ | CS | DI * bit)
    return int(out)


def command(rig: Rig, bits: str) -> list[int]:
    return [clock(rig, int(bit)) for bit in bits]


def word(rig: Rig, address: int) -> int:
    rig.write(e1000.EECD, REQ | CS)
    command(rig, f"110{address:06b}")
    value = sum(clock(rig, 0) << 15 - n for n in range(16))
    rig.write(e1000.EECD, REQ)
    return value


def test_words(rig: Rig) -> None:
    words = [eerd(rig, n) >> 16 for n in range(64)]
    assert sum(words) & 0xFFFF == 0xBABA
    assert words[:3] == [0x5452, 0x1200, 0x5634]
    assert words[0x0A] == 0x6403
    assert words[0x0D:0x0F] == [0x100E, 0x8086]


def test_eerd_beyond_the_end(rig: Rig) -> None:
    assert eerd(rig, 0x40) == 0x4010
    assert eerd(rig, 0xFF) == 0xFF10


def test_eerd_needs_start(rig: Rig) -> None:
    rig.write(e1000.EERD, 0x0100)
    assert rig.read(e1000.EERD) == 0


def test_bit_by_bit(rig: Rig) -> None:
    assert [word(rig, n) for n in range(64)] == [eerd(rig, n) >> 16 for n in range(64)]


def test_a_zero_comes_before_the_word(rig: Rig) -> None:
    rig.write(e1000.EECD, REQ | CS)
    assert command(rig, "110000000") == [1] * 8 + [0]


def test_leading_zeros_are_no_command(rig: Rig) -> None:
    rig.write(e1000.EECD, REQ | CS)
    command(rig, "0000" + "110000001")
    assert command(rig, "0" * 16) == [int(b) for b in f"{0x1200:016b}"]


def test_words_follow_one_another(rig: Rig) -> None:
    rig.write(e1000.EECD, REQ | CS)
    command(rig, "110111111")
    bits = "".join(map(str, command(rig, "0" * 32)))
    assert (int(bits[:16], 2), int(bits[16:], 2)) == (eerd(rig, 0x3F) >> 16, 0x5452)


def test_deselecting_begins_anew(rig: Rig) -> None:
    rig.write(e1000.EECD, REQ | CS)
    command(rig, "110000001" + "0" * 5)
    rig.write(e1000.EECD, REQ)
    assert Eecd(rig.read(e1000.EECD)).do
    assert word(rig, 2) == 0x5634


def test_the_pins_have_to_be_asked_for(rig: Rig) -> None:
    assert rig.read(e1000.EECD) & 0x180 == 0x100
    rig.write(e1000.EECD, REQ)
    assert rig.read(e1000.EECD) & 0x180 == 0x180
    rig.write(e1000.EECD, CS)
    for bit in "110000000":
        for level in (0, SK):
            rig.write(e1000.EECD, CS | DI * int(bit) | level)
    assert Eecd(rig.read(e1000.EECD)).do


def test_other_commands_change_nothing(rig: Rig) -> None:
    for bits in ("100110000", "101000000", "111000000"):  # enable writing, write, erase
        rig.write(e1000.EECD, REQ | CS)
        command(rig, bits + "0101" * 8)
        rig.write(e1000.EECD, REQ)
    assert word(rig, 0) == 0x5452


def test_random_pins(rig: Rig) -> None:
    shuffle = random.Random(1)
    for _ in range(20_000):
        rig.write(e1000.EECD, shuffle.getrandbits(32) | REQ)
    rig.write(e1000.EECD, REQ)
    assert word(rig, 1) == 0x1200
