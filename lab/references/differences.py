"""Where engines and references depart from what cases expect, and which departures are known.

A case expects what the manuals say, so whoever is not the same differs from it.  ``known.KNOWN`` names the differences
that have been looked into, with the reason; what is left is unexplained: the case is wrong, or somebody else is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from virtproof.results import CaseResult, Verdict

ANSWER, ERROR = "answer", "error"  # fields of cases that crashed, or went wrong by our own fault


class Kind(StrEnum):
    """Whose a difference is."""

    EMULATOR_BUG = "emulator bug"
    KERNEL = "kernel behaviour"
    LIMIT = "backend limit"
    MAY = "may"  # the architecture leaves it open


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A difference that is understood.

    ``on``, ``cases``, ``fields`` and ``saw`` are globs: whose it is, and which checks of which cases it explains.  With
    ``bits`` it explains only numbers that differ in those bits alone.  One that explains nothing any more is stale;
    ``sometimes`` says why it need not show at each run.
    """

    id: str
    on: str
    kind: Kind
    cases: tuple[str, ...]
    reason: str
    source: str
    fields: tuple[str, ...] = ("*",)
    saw: tuple[str, ...] = ("*",)
    bits: int | None = None
    sometimes: str = ""

    def is_about(self, case: str) -> bool:
        """Does it explain anything of this case?"""
        return _any(self.cases, case)

    def explains(self, name: str, difference: Difference) -> bool:
        """Is this the reason of a difference that ``name`` showed?"""
        return (
            difference.field != ERROR
            and fnmatchcase(name, self.on)
            and self.is_about(difference.case)
            and _any(self.fields, difference.field)
            and _any(self.saw, difference.observed)
            and (self.bits is None or _differ_in(self.bits, difference))
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one case that was not as expected."""

    case: str
    field: str
    expected: str
    observed: str


@dataclass(frozen=True, slots=True)
class Run:
    """What came of the cases on one engine or reference."""

    name: str
    results: tuple[CaseResult, ...]
    explained: tuple[tuple[Difference, Known], ...]
    unexplained: tuple[Difference, ...]
    stale: tuple[Known, ...]


def differences(result: CaseResult) -> Iterator[Difference]:
    """What of a result is not as expected."""
    match result.verdict:
        case Verdict.FAIL:
            for check in result.checks:
                if not check.ok:
                    yield Difference(result.id, check.field, check.expected, check.observed)
        case Verdict.CRASH:
            yield Difference(result.id, ANSWER, "an observation", result.reason)
        case Verdict.ERROR:
            yield Difference(result.id, ERROR, "a verdict", result.reason)


def classify(name: str, results: Sequence[CaseResult], known: Sequence[Known], catalogue: Iterable[str]) -> Run:
    """Explain what can be explained.  ``catalogue`` are the ids of all cases there are, run or not."""
    explained: list[tuple[Difference, Known]] = []
    unexplained: list[Difference] = []
    for result in results:
        for difference in differences(result):
            reason = next((row for row in known if row.explains(name, difference)), None)
            if reason is None:
                unexplained.append(difference)
            else:
                explained.append((difference, reason))
    used = {row.id for _, row in explained}
    mine = [row for row in known if fnmatchcase(name, row.on) and row.id not in used and not row.sometimes]
    run = {result.id: result.verdict for result in results}
    every = tuple(catalogue)

    def has_run(row: Known) -> bool:
        about = [case for case in every if row.is_about(case)]
        return all(case in run for case in about) and any(run[case] is not Verdict.SKIP for case in about)

    return Run(name, tuple(results), tuple(explained), tuple(unexplained), tuple(filter(has_run, mine)))


def _any(globs: Iterable[str], text: str) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _differ_in(bits: int, difference: Difference) -> bool:
    try:
        changed = int(difference.expected, 16) ^ int(difference.observed, 16)
    except ValueError:
        return False
    return changed & ~bits == 0
