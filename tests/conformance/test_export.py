"""Reproducers: they judge what the comparer judges, and say what they need."""

from collections.abc import Iterator, Mapping
from ctypes import sizeof
from dataclasses import replace

import pytest

from virtproof.conformance import export
from virtproof.conformance.case import At, Ram, Row
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.compare import compare
from virtproof.conformance.encode import encode
from virtproof.conformance.export import NotExportable, why_not
from virtproof.conformance.export_page import page
from virtproof.guest_payloads import images, reproducer
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.reproducer import Judged, Piece
from virtproof.guest_payloads.table import Entry, Observation
from virtproof.spec.fault import Fault

CASES = {case.id: case for case in all_cases()}
ROWS = [case for case in CASES.values() if isinstance(case, Row) and not why_not(case)]
WALK = {"end of the walk", "answered", "phase (the stimulus ran)"}  # what the executor judges, not the comparer
JUDGED_WORDS = Observation.phase.offset // 8


def row(name: str) -> Row:
    case = CASES[name]
    assert isinstance(case, Row)
    return case


def observed(judged: list[Judged], image: Image, spoilt: Mapping[int, int]) -> Observation:
    """An observation that satisfies ``judged``; then the bits of ``spoilt``, by address, are turned over."""
    start = image["table"] + Entry.observation.offset
    memory = bytearray(sizeof(Observation))
    for address, bits in [*((j.address, j.want) for j in judged), *spoilt.items()]:
        if 0 <= address - start < len(memory):
            at = slice(address - start, address - start + 8)
            memory[at] = (int.from_bytes(memory[at], "little") ^ bits).to_bytes(8, "little")
    return Observation.from_buffer_copy(memory)


def distinct(judged: list[Judged]) -> list[Judged]:
    """What is wanted of a bit once: two judgements may share one (parts of a word, RIP of a page fault)."""
    known: dict[int, int] = {}
    made = []
    for one in judged:
        fresh = one.mask & ~known.get(one.address, 0)
        known[one.address] = known.get(one.address, 0) | one.mask
        made.append(replace(one, want=one.want & fresh, mask=fresh))
    return made


def passes(row: Row, image: Image, seen: Observation) -> bool:
    return all(check.ok for check in compare(row, image, seen, ()))


@pytest.mark.parametrize("row", [case for case in ROWS if case.expect.stop is None], ids=lambda case: case.id)
def test_a_reproducer_judges_exactly_what_the_comparer_judges(row: Row) -> None:
    image = images.load(row.mode.value)
    judged = distinct(list(export.judge(row, image)))
    assert passes(row, image, observed(judged, image, {}))
    masks: dict[int, int] = {}
    for one in judged:
        masks[one.address] = masks.get(one.address, 0) | one.mask
        if one.name not in WALK:
            for bit in {one.mask & -one.mask, 1 << one.mask.bit_length() - 1} - {0}:
                assert not passes(row, image, observed(judged, image, {one.address: bit})), one.name
    start = image["table"] + Entry.observation.offset
    for address in range(start, start + 8 * JUDGED_WORDS, 8):
        free = ~masks.get(address, 0) & export.EVERY_BIT
        assert passes(row, image, observed(judged, image, {address: free})), f"word {(address - start) // 8}"


def test_most_rows_can_be_exported_and_every_mode_among_them() -> None:
    assert len(ROWS) > 400
    assert {row.mode for row in ROWS} == {case.mode for case in CASES.values() if isinstance(case, Row)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"irqchip": True}, "interrupt controllers"),
        ({"serial": True}, "a serial port"),
        ({"ram": (Ram(1 << 32, 4096),)}, "memory that 32-bit code cannot reach"),
    ],
)
def test_a_row_that_needs_our_monitor_is_refused(changes: dict[str, object], reason: str) -> None:
    needy = replace(row("trap.ud.ud2.long64"), **changes)  # type: ignore[arg-type]
    with pytest.raises(NotExportable, match=reason) as refused:
        export.export(needy)
    assert "virtproof guests trap.ud.ud2.long64" in str(refused.value)


def refused() -> Iterator[tuple[str, str]]:
    for case in CASES.values():
        if why_not(case):
            yield case.id, why_not(case)


def test_what_only_a_monitor_sees_is_refused_with_the_reason() -> None:
    reasons = dict(refused())
    assert all(reasons.values())
    for case in CASES.values():
        if not isinstance(case, Row) or case.expect.accesses or case.answers:
            assert case.id in reasons


def test_the_kernel_holds_the_trampoline_and_the_table_untouched() -> None:
    case = row("trap.ud.ud2.long64")
    made = export.export(case)
    image = images.load(case.mode.value)
    assert image.data in made.kernel
    assert bytes(encode(case, image)) in made.kernel


def test_features_are_asked_for_by_their_bit() -> None:
    needed = {need.name: need for need in export.export(row("trap.ud.ud2.long64")).needed}
    assert set(needed) == {"long mode", "nx"}
    assert (needed["nx"].leaf, needed["nx"].register, needed["nx"].mask) == (0x8000_0001, "edx", 1 << 20)


def test_nothing_is_put_where_the_reproducer_lies() -> None:
    case = row("trap.ud.ud2.long64")
    entry = encode(case, images.load(case.mode.value))
    for address in (0x9F000, 0x100000, 0x1FFFFF, 0xFFFF_FFFF):
        with pytest.raises(Fault, match="which a reproducer cannot reach"):
            reproducer.kernel("a.b", "", case.mode, entry, pieces=[Piece(address, b"1234")])


@pytest.mark.parametrize("name", ["trap.ud.ud2.long64", "trap.triple.idt_limit0.long64", "pg.ad.d_large"])
def test_the_page_tells_all(name: str) -> None:
    made = export.export(row(name))
    text = page(made)
    assert f"# {name}\n" in text
    assert all(str(cite) in text for cite in made.row.cite)
    assert all(f"{insn.hex} " in text and insn.text in text for insn in made.row.code)
    assert f"-m {made.memory} " in text
    assert ("| passed | `running ...` |" in text) == (made.row.expect.stop is not None)
    assert max(map(len, text.splitlines())) <= 160


def test_memory_covers_what_the_row_asks_for() -> None:
    asks = replace(row("trap.ud.ud2.long64"), ram=(Ram(1 << 30, 4096),), fill={At("kernel_data"): 7})
    assert export.export(asks).memory > 1024
