"""Guests run again: which verdicts change, and which one counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from virtproof.cli.app import run
from virtproof.cli.repeat import LISTED, Repetitions
from virtproof.conformance.case import Case
from virtproof.results import CaseResult, Verdict

if TYPE_CHECKING:
    from tests.cli.conftest import Guests


def results(**verdicts: Verdict) -> list[CaseResult]:
    return [
        CaseResult(id=name, area="traps", title="", mode="long64", cite=(), verdict=verdict, reason=f"by {verdict}")
        for name, verdict in verdicts.items()
    ]


@pytest.mark.parametrize(
    ("seen", "counts"),
    [
        ([Verdict.PASS, Verdict.FAIL, Verdict.PASS], Verdict.FAIL),
        ([Verdict.ERROR, Verdict.FAIL], Verdict.FAIL),
        ([Verdict.CRASH, Verdict.ERROR, Verdict.PASS], Verdict.CRASH),
        ([Verdict.ERROR, Verdict.PASS], Verdict.ERROR),
        ([Verdict.PASS, Verdict.SKIP], Verdict.SKIP),
    ],
)
def test_the_worst_counts_and_says_that_it_changes(seen: list[Verdict], counts: Verdict) -> None:
    for order in (seen, seen[::-1]):
        repetitions = Repetitions()
        for verdict in order:
            repetitions.add(results(a=verdict))
        (one,) = repetitions.results()
        assert one.verdict is counts
        assert one.reason.startswith("changes from run to run: 1 ") or "2 pass" in one.reason
        assert one.reason.endswith(f"by {counts}")


def test_what_does_not_change_is_left_as_it_is() -> None:
    repetitions = Repetitions()
    for _ in range(3):
        repetitions.add(results(a=Verdict.FAIL, b=Verdict.PASS))
    assert [*repetitions.results()] == results(a=Verdict.FAIL, b=Verdict.PASS)
    assert [*repetitions.lines()] == ["0 of 2 verdicts changed in 3 repetitions"]


def test_a_repetition_that_was_interrupted() -> None:
    repetitions = Repetitions()
    repetitions.add(results(a=Verdict.PASS, b=Verdict.PASS))
    repetitions.add(results(a=Verdict.FAIL))
    assert [one.verdict for one in repetitions.results()] == [Verdict.FAIL, Verdict.PASS]


def test_very_many_stay_readable() -> None:
    repetitions = Repetitions()
    for verdict in (Verdict.PASS, Verdict.FAIL):
        repetitions.add(results(**{f"c{number}": verdict for number in range(LISTED + 5)}))
    assert len([*repetitions.lines()]) == LISTED + 2


def test_check_shows_what_changes(
    guests: Guests,
    some: tuple[Case, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = guests.run_cases

    def flaky(cases: Sequence[Case], **options: object) -> Iterator[CaseResult]:
        guests.verdicts = {some[0].id: Verdict.FAIL} if len(guests.ran) == len(some) else {}
        yield from real(cases, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("virtproof.conformance.pool.run_cases", flaky)
    run(["check", "--repeat", "3", "--out", str(tmp_path), *(case.id for case in some)])
    assert len(guests.ran) == 3 * len(some)
    said = capsys.readouterr().err
    assert f"1 of {len(some)} verdicts changed in 3 repetitions:\n  {some[0].id}: 2 pass, 1 fail\n" in said
    (failing,) = json.loads((tmp_path / "run.json").read_text())["failing"]
    assert failing["id"] == some[0].id
    assert failing["reason"].startswith("changes from run to run: 2 pass, 1 fail; ")
