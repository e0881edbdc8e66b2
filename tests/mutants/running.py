"""Runs cases against a mutant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.mutants.mutant import Mutant
from virtproof.conformance.case import Case
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.pool import run_cases
from virtproof.results import CaseResult, Verdict
from virtproof.vmm.engine import Engine


@dataclass(frozen=True)
class Judged:
    """The cases that the engine passes unmutated, each with a limit of its own, so that none hangs long."""

    cases: tuple[Case, ...]

    @classmethod
    def by(cls, engine: Engine, workers: int, cases: Iterable[Case] | None = None) -> Judged:
        every = {case.id: case for case in (all_cases() if cases is None else cases)}
        results = run_cases(every.values(), engine=engine, workers=workers)
        took = {result.id: result.seconds for result in results if result.verdict is Verdict.PASS}
        return cls(tuple(replace(every[name], seconds=_limit(every[name], seconds)) for name, seconds in took.items()))


def _limit(case: Case, seconds: float) -> float:
    return min(case.seconds, 1.0 + 4 * seconds)


def run_against(mutant: Mutant, cases: Iterable[Case], engine: Engine, workers: int) -> list[CaseResult]:
    """Run cases with the mutant in force; workers are forked while it is."""
    with mutant.how():
        return list(run_cases(cases, engine=engine, workers=workers))


def catchers(results: Iterable[CaseResult]) -> list[str]:
    """Who noticed.  An ERROR is none of a case's: it is the monitor that stumbled."""
    return sorted(result.id for result in results if result.verdict in (Verdict.FAIL, Verdict.CRASH))


__all__ = ["Judged", "catchers", "run_against"]
