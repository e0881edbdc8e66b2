"""The product of permissions: what is in it, and what is said of what differs."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from tests.mutants.table import MUTANTS
from virtproof.conformance.areas.paging import product
from virtproof.conformance.areas.paging.product import CASES, KINDS, Kinds, Try
from virtproof.conformance.execute import execute
from virtproof.guest_payloads.combination import NOTHING, Combination
from virtproof.guest_payloads.permissions import CELL, CONTENTS, SETTINGS, Ran, run, tables
from virtproof.results import Verdict
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.walk import FOUR_LEVEL, Access, Control, Page, walk
from virtproof.vmm.engines.software import SoftwareEngine
from virtproof.vmm.exits import Shutdown

BY_ID = {case.id: case for case in CASES}
L4 = next(kinds for kinds in KINDS if kinds.id == "pg.l4.product")
OPENED = tuple(at | 7 for at in (*tables(FOUR_LEVEL, 0).tables[1:], CELL & ~0xFFF))
MARKED = tuple(entry | 0x20 for entry in OPENED)
PLACES = tables(FOUR_LEVEL, 0).places


def seen(entries: tuple[int, ...], **fields: Any) -> Combination:
    made = Combination(**{"vector": NOTHING, "value": CONTENTS & 0xFFFF_FFFF, "cell": CONTENTS} | fields)
    for level, entry in enumerate(entries):
        made.entries[level] = entry
    return made


class TestWhatIsTried:
    def test_ten_thousand_in_one_guest(self) -> None:
        assert len(product.tries(L4, L4.groups[0], 48)) > 10_000

    @pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: kinds.id)
    def test_no_combination_twice(self, kinds: Kinds) -> None:
        for group in kinds.groups:
            tries = product.tries(kinds, group, 48)
            assert len(set(tries)) == len(tries)

    def test_every_right_at_every_level(self) -> None:
        tries = [one for one in product.tries(L4, L4.groups[0], 48) if len(one.entries) == 4]
        for level in range(4):
            rights = {one.entries[level] & (1 << 63 | 7) for one in tries}
            assert rights >= {1 | us | rw | nx for us in (0, 4) for rw in (0, 2) for nx in (0, 1 << 63)}

    def test_accesses_of_both_rings_under_every_bit(self) -> None:
        (smap,) = (group for group in L4.groups if group.name == ".smap")
        found = {
            (one.control.wp, one.control.nxe, one.control.smep, one.control.ac, one.access)
            for one in product.tries(L4, smap, 48)
        }
        assert len(found) == 2 * 2 * 2 * 2 * 6

    def test_where_physical_addresses_reach_bit_51_it_is_not_reserved(self) -> None:
        wide, narrow = (product.tries(L4, L4.groups[0], bits) for bits in (52, 48))
        assert not any(one.entries[3] >> 51 & 1 for one in wide if len(one.entries) == 4)
        assert any(one.entries[3] >> 51 & 1 for one in narrow if len(one.entries) == 4)


class TestWhatIsJudged:
    READ = Try(OPENED, Control(), Access())
    REFUSED = Try((*OPENED[:3], OPENED[3] & ~4), Control(), Access(user=True))
    FAULT: ClassVar[dict[str, int]] = {"vector": Vector.PF, "error_code": 5, "cr2": SETTINGS[FOUR_LEVEL].linear}

    def test_what_the_model_says(self) -> None:
        assert product.differences(FOUR_LEVEL, PLACES, self.READ, seen(MARKED)) is None
        assert product.differences(FOUR_LEVEL, PLACES, self.REFUSED, seen(self.REFUSED.entries, **self.FAULT)) is None

    def test_accessed_bits_of_a_refused_access_are_left_open(self) -> None:
        marked = (*MARKED[:3], self.REFUSED.entries[3] | 0x20)
        assert product.differences(FOUR_LEVEL, PLACES, self.REFUSED, seen(marked, **self.FAULT)) is None

    @pytest.mark.parametrize(
        ("one", "saw", "told"),
        [
            (READ, seen(MARKED, vector=Vector.PF), ("vector none", "vector #PF")),
            (READ, seen(MARKED, value=0), ("value 0xffc3", "value 0x0")),
            (READ, seen(MARKED, cell=1), ("memory 0xcff3000000ffc3", "memory 0x1")),
            (READ, seen(OPENED[:1] + MARKED[1:]), ("PML4E 0x21027", "PML4E 0x21007")),
            (READ, seen((*MARKED[:3], MARKED[3] | 0x40)), ("PTE 0x7027", "PTE 0x7067")),
            (REFUSED, seen(REFUSED.entries), ("vector #PF", "vector none")),
            (REFUSED, seen(REFUSED.entries, **FAULT | {"error_code": 4}), ("error code 0x5", "error code 0x4")),
            (REFUSED, seen(REFUSED.entries, **FAULT | {"cr2": 1}), ("CR2 0x8080007128", "CR2 0x1")),
            (REFUSED, seen((*OPENED[:3], 0x7043), **FAULT), ("PTE 0x7003", "PTE 0x7043")),
        ],
    )
    def test_what_differs(self, one: Try, saw: Combination, told: tuple[str, str]) -> None:
        assert product.differences(FOUR_LEVEL, PLACES, one, saw) == told

    def test_the_entries_are_named(self) -> None:
        said = product.described(FOUR_LEVEL, self.REFUSED)
        assert said == "read at CPL 3, PML4E=0x21007 PDPTE=0x22007 PDE=0x23007 PTE=0x7003 with WP NXE"

    def test_the_number_and_the_first_that_differ(self) -> None:
        count, *first = product.judged(FOUR_LEVEL, [self.READ] * 30, [seen(OPENED)] * 30)
        assert (count.field, count.observed, count.ok) == ("of 30 combinations differ", "30", False)
        assert len(first) == product.SHOWN
        assert "PTE=0x7007" in first[0].field

    def test_all_as_they_must_be(self) -> None:
        (count,) = product.judged(FOUR_LEVEL, [self.READ], [seen(MARKED)])
        assert count.ok


def test_the_tables_map_memory_one_to_one() -> None:
    for kinds in KINDS:
        paging, made = kinds.paging, tables(kinds.paging, 0x10_0000)
        if not paging.levels:
            continue
        base = made.tables[0]

        def entry(at: int, data: bytes = made.data, base: int = base, width: int = paging.width) -> int:
            return int.from_bytes(data[at - base : at - base + width], "little")

        for address, user in ((0x1234, False), (0xC010, True), (0xDFF8, True), (0xE000, False), (0xF_FFFF, False)):
            page = walk(entry, base, address, paging=paging)
            assert isinstance(page, Page)
            assert (page.physical, page.user, page.execute) == (address, user, True)


class TestOnTheSoftwareEngine:
    def execute(self, engine: SoftwareEngine, name: str) -> Any:
        return execute(BY_ID[name], engine)

    @pytest.mark.parametrize(
        "mutant",
        ["page.wp", "page.nx", "pf.code_w", "pf.code_u", "pf.code_fetch", "pf.cr2_page", "ad.dirty"],
    )
    def test_a_broken_processor_differs(self, software: SoftwareEngine, mutant: str) -> None:
        (how,) = (each.how for each in MUTANTS if each.id == mutant)
        assert self.execute(software, "pg.pae.product.implicit").verdict is Verdict.PASS
        with how():
            assert self.execute(software, "pg.pae.product.smep").verdict is Verdict.FAIL

    def test_one_guest_has_thousands(self, software: SoftwareEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        boots: list[int] = []

        def counted(*args: Any, **more: Any) -> Ran:
            boots.append(len(args[2]))
            return run(*args, **more)

        monkeypatch.setattr(product, "run", counted)
        assert self.execute(software, "pg.l4.product").verdict is Verdict.PASS
        assert len(boots) == 1
        assert boots[0] > 10_000


def test_a_guest_that_stops_says_where(monkeypatch: pytest.MonkeyPatch, software: SoftwareEngine) -> None:
    def stopped(engine: object, paging: object, made: list[Combination], **more: object) -> Ran:
        for one in made[:7]:
            one.vector = NOTHING
        return Ran(tuple(made), False, Shutdown(), None)

    monkeypatch.setattr(product, "run", stopped)
    result = execute(BY_ID["pg.pae.product"], software)
    assert result.verdict is Verdict.CRASH
    assert "in combination 7 of 3120: write at CPL 0, PDPTE=" in result.reason
