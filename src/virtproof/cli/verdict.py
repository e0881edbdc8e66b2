"""From snapshot and case results to a run: the one way for ``check`` and ``judge``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from virtproof import __version__
from virtproof.cli.execution import count
from virtproof.results import CaseResult, Evidence, Outcome, Run, Verdict

if TYPE_CHECKING:
    from virtproof.probes.profile import Profile, Waiver
    from virtproof.probes.snapshot import Snapshot


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
) -> tuple[Run, Evidence]:
    """Judge, and say what the judgement rests on.  An interrupted run has no verdict but that."""
    from virtproof.conformance.catalogue import all_cases, cases_sha256
    from virtproof.probes.ask import ask, fact_answers
    from virtproof.probes.judge import judge
    from virtproof.probes.proofs import ProofTable

    proofs = ProofTable(
        proves={case.id: case.proves for case in all_cases()},
        discriminating=frozenset(case.id for case in all_cases() if case.discriminates),
    )
    judgement = judge(snapshot, results, profile, waivers, today=started.at.date(), proofs=proofs)
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
        counts=count(results),
        failing=tuple(r for r in results if r.verdict in {Verdict.FAIL, Verdict.CRASH, Verdict.ERROR}),
        not_proven=(*not_proven, *judgement.not_proven),
    )
    return run, Evidence(snapshot=snapshot, facts=fact_answers(ask(snapshot)), cases=tuple(results))
