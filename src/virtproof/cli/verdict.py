"""From snapshot and case results to a run: the one way for ``check`` and ``judge``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from virtproof import __version__
from virtproof.cli.execution import count
from virtproof.results import CaseResult, CostResult, DiskResult, Evidence, NicResult, Outcome, Run, Verdict

if TYPE_CHECKING:
    from virtproof.probes.profile import Profile, Waiver
    from virtproof.probes.snapshot import Snapshot
    from virtproof.results import Backend


# run.json of a fleet's hosts is read by the thousand, so it stays under 200 KiB: evidence.json.gz has the rest.
FAILING_LISTED = 125
REASON_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Started:
    """When a run began."""

    at: datetime
    tick: float

    @classmethod
    def now(cls) -> Started:
        return cls(datetime.now(UTC), monotonic())


def make_run(
    snapshot: Snapshot,
    results: Sequence[CaseResult],
    profile: Profile,
    waivers: Sequence[Waiver],
    started: Started,
    *,
    interrupted: bool = False,
    not_proven: Sequence[str] = (),
    backend: Backend | None = None,
    baseline: tuple[Run, Evidence | None] | None = None,
    costs: Sequence[CostResult] = (),
    nics: Sequence[NicResult] = (),
    disks: Sequence[DiskResult] = (),
) -> tuple[Run, Evidence]:
    """Judge, and say what the judgement rests on.  An interrupted run has no verdict but that.

    ``backend``: what the guests ran on, where there were any.  ``baseline``: an earlier run to compare with.
    """
    from virtproof.conformance.catalogue import all_cases, cases_sha256
    from virtproof.probes.ask import fact_answers
    from virtproof.probes.judge import judge
    from virtproof.probes.proofs import ProofTable
    from virtproof.probes.techniques import techniques

    proofs = ProofTable(
        proves={case.id: case.proves for case in all_cases()},
        discriminating=frozenset(case.id for case in all_cases() if case.discriminates),
    )
    failing = [r for r in results if r.verdict in {Verdict.FAIL, Verdict.CRASH, Verdict.ERROR}]
    judgement = judge(
        snapshot, results, profile, waivers, today=started.at.date(), proofs=proofs, backend=backend, costs=costs
    )
    run = Run(
        version=__version__,
        started=started.at.isoformat(timespec="seconds"),
        seconds=round(monotonic() - started.tick, 3),
        complete=not interrupted,
        outcome=Outcome.INTERRUPTED if interrupted else judgement.outcome,
        summary=f"Interrupted: {judgement.summary}" if interrupted else judgement.summary,
        host=judgement.host,
        backend=judgement.backend,
        profile=profile.name,
        profile_sha256=profile.sha256,
        cases_sha256=cases_sha256(),
        findings=judgement.findings,
        claims=judgement.claims,
        techniques=techniques(results, judgement.backend),
        deviations=judgement.deviations,
        counts=count(results),
        failing=tuple(map(brief, failing[:FAILING_LISTED])),
        not_proven=(*not_proven, *judgement.not_proven),
    )
    facts = fact_answers(judgement.answers)
    evidence = Evidence(
        snapshot=snapshot,
        facts=facts,
        cases=tuple(results),
        backend=backend,
        costs=tuple(costs),
        nics=tuple(nics),
        disks=tuple(disks),
    )
    if baseline:
        from virtproof.results_compare import compare

        run = replace(run, baseline=compare(baseline, (run, evidence)))
    return run, evidence


def brief(result: CaseResult) -> CaseResult:
    """Return a failing case as run.json lists it: what was wrong, without the evidence."""
    reason = result.reason if len(result.reason) <= REASON_LENGTH else f"{result.reason[:REASON_LENGTH]}..."
    return replace(result, reason=reason, checks=tuple(c for c in result.checks if not c.ok), evidence=())
