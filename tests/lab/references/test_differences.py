"""What explains a difference, and what does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from virtproof.conformance.catalogue import all_cases
from virtproof.lab.references.crosscheck import known
from virtproof.lab.references.differences import Kind, Known, Run, classify
from virtproof.lab.references.known import KNOWN
from virtproof.results import CaseResult, Check, Verdict

ROW = Known(id="some", on="bochs *", kind=Kind.EMULATOR_BUG, cases=("trap.db.*",), reason="why", source="where")
CATALOGUE = ("trap.db.a", "trap.db.b", "pg.x")


def result(name: str, verdict: Verdict = Verdict.PASS, *checks: Check, reason: str = "") -> CaseResult:
    return CaseResult(
        id=name, area="a", title="t", mode="long64", cite=(), verdict=verdict, reason=reason, checks=checks
    )


def failed(name: str, field: str = "rax", expected: str = "0x10", observed: str = "0x11") -> CaseResult:
    return result(name, Verdict.FAIL, Check("good", "1", "1", True), Check(field, expected, observed, False))


def ran(*results: CaseResult, row: Known = ROW, on: str = "bochs 3.0") -> Run:
    return classify(on, results, (row,), CATALOGUE)


def explained(result: CaseResult, row: Known = ROW, on: str = "bochs 3.0") -> bool:
    run = ran(result, row=row, on=on)
    assert len(run.explained) + len(run.unexplained) == 1
    return bool(run.explained)


def test_what_passes_and_what_is_skipped_is_no_difference() -> None:
    run = ran(result("trap.db.a"), result("trap.db.b", Verdict.SKIP))
    assert (run.explained, run.unexplained) == ((), ())


def test_a_known_difference_is_explained_on_its_own_machine_and_case_only() -> None:
    assert explained(failed("trap.db.a"))
    assert not explained(failed("trap.db.a"), on="qemu 7.2")
    assert not explained(failed("pg.x"))


def test_fields_and_what_was_seen_narrow_it() -> None:
    row = replace(ROW, fields=("saved *",), saw=("#UD *",))
    assert explained(failed("trap.db.a", "saved RIP", "#DB", "#UD at 1"), row)
    assert not explained(failed("trap.db.a", "rax", "#DB", "#UD at 1"), row)
    assert not explained(failed("trap.db.a", "saved RIP", "#DB", "completes"), row)


@pytest.mark.parametrize(
    ("expected", "observed", "same"),
    [("0x10002", "0x2", True), ("0x10002", "0x0", False), ("0x2", "0x10002", True), ("#DB", "#UD", False)],
)
def test_bits_name_all_that_may_differ(expected: str, observed: str, same: bool) -> None:
    assert explained(failed("trap.db.a", "f", expected, observed), replace(ROW, bits=0x10000)) is same


def test_a_crash_can_be_explained_an_error_of_ours_cannot() -> None:
    assert explained(result("trap.db.a", Verdict.CRASH, reason="shutdown"))
    assert not explained(result("trap.db.a", Verdict.ERROR, reason="bug"))


def test_every_field_needs_its_explanation() -> None:
    both = result("trap.db.a", Verdict.FAIL, Check("rax", "1", "2", False), Check("rbx", "1", "2", False))
    run = ran(both, row=replace(ROW, fields=("rax",)))
    assert [d.field for d, _ in run.explained] == ["rax"]
    assert [d.field for d in run.unexplained] == ["rbx"]


class TestStale:
    def test_what_explains_nothing_any_more_is_stale(self) -> None:
        assert ran(result("trap.db.a"), result("trap.db.b")).stale == (ROW,)

    def test_what_explains_something_is_not(self) -> None:
        assert ran(failed("trap.db.a"), result("trap.db.b")).stale == ()

    def test_nor_where_its_cases_did_not_run(self) -> None:
        assert ran(result("trap.db.a")).stale == ()
        assert ran(result("trap.db.a", Verdict.SKIP), result("trap.db.b", Verdict.SKIP)).stale == ()
        assert ran(result("trap.db.a"), result("trap.db.b"), on="qemu 7.2").stale == ()

    def test_nor_what_shows_sometimes(self) -> None:
        assert ran(result("trap.db.a"), result("trap.db.b"), row=replace(ROW, sometimes="luck")).stale == ()


class TestTable:
    def test_ids_are_unique(self) -> None:
        ids = [row.id for row in known()]
        assert len(ids) == len(set(ids))

    @pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.id)
    def test_every_pattern_names_a_case(self, row: Known) -> None:
        ids = [case.id for case in all_cases()]
        for glob in row.cases:
            assert any(replace(row, cases=(glob,)).is_about(case) for case in ids), glob

    @pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.id)
    def test_every_row_says_why_and_where_that_is_written(self, row: Known) -> None:
        assert row.reason
        assert row.source

    def test_the_documentation_has_the_same_table(self) -> None:
        page = (Path(__file__).parents[3] / "docs/references.md").read_text()
        rows = [f"| `{row.on}` | {row.reason} | {row.kind} | `{row.id}` |" for row in KNOWN]
        assert [line for line in page.splitlines() if line.endswith("` |")] == rows

    def test_kvm_has_the_deviations_of_profiles(self) -> None:
        (row,) = (row for row in known("6.1.0") if row.id == "kvm-pit-counts-with-gate-closed")
        assert explained(failed("time.pit.gate2"), row, on="kvm_intel")
        assert not explained(failed("time.pit.gate2"), row, on="bochs 3.0")
