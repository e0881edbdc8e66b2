"""Bit fields: what a definition refuses, what a value shows."""

import pytest

from virtproof.spec.bits import Bits, bit, bits


class Word(Bits, width=16):
    low = bits(3, 0, "a note")
    flag = bit(4)
    high = bits(15, 12)


class Wider(Word):
    more = bit(8)


def test_fields_read_as_what_they_are() -> None:
    word = Word(0xA015)
    assert word.low == 5
    assert word.flag is True
    assert word.high == 0xA
    assert word == 0xA015


def test_the_class_knows_its_fields() -> None:
    assert [f.name for f in Word.FIELDS] == ["low", "flag", "high"]
    assert Word.low.mask == 0x000F
    assert Word.high.mask == 0xF000
    assert Word.low.note == "a note"
    assert Word.high.of(0x7000) == 7
    assert Word.KNOWN == 0xF01F


def test_repr_names_fields_and_reserved_bits() -> None:
    assert repr(Word(0xA015)) == "Word(low=0x5 flag=0x1 high=0xa)"
    assert repr(Word(0x0F20)) == "Word(reserved=0xf20)"
    assert str(Word(0)) == "Word()"
    assert f"{Word(0xA015):#x}" == "0xa015"
    assert Word(0x0F20).reserved == 0x0F20


def test_but_replaces_fields_and_nothing_else() -> None:
    assert Word(0x0F2A).but(low=1, flag=1) == 0x0F31
    assert isinstance(Word(0).but(high=1), Word)
    for wrong in (16, -1):
        with pytest.raises(ValueError, match=r"Word\.low"):
            Word(0).but(low=wrong)
    with pytest.raises(AttributeError):
        Word(0).but(absent=1)


def test_a_subclass_adds_fields() -> None:
    assert repr(Wider(0x0113)) == "Wider(low=0x3 flag=0x1 more=0x1)"
    assert Wider.WIDTH == 16
    assert "more" not in repr(Word(0x0113))


def test_overlap_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Bad\.b: overlaps"):

        class Bad(Bits, width=8):
            a = bits(3, 0)
            b = bit(3)

    with pytest.raises(TypeError, match=r"Worse\.again: overlaps"):

        class Worse(Word):
            again = bit(0)


@pytest.mark.parametrize(("hi", "lo"), [(8, 8), (9, 0), (0, 1), (3, -1)])
def test_a_field_outside_the_register_is_refused(hi: int, lo: int) -> None:
    with pytest.raises(TypeError, match="do not fit 8"):
        type("Bad", (Bits,), {"field": bits(hi, lo)}, width=8)
