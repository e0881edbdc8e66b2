"""What a reader wants to know first: the causes in plain words, and what to do, each said once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from virtproof.results import ClaimResult, Finding, Run, Standing, Verdict

SEVERITIES = ("critical", "major", "minor", "info")
STANDINGS = (  # what needs attention first
    Standing.NOT_MET,
    Standing.STALE_WAIVER,
    Standing.UNKNOWN,
    Standing.WAIVED,
    Standing.MET,
    Standing.NOT_APPLICABLE,
)
OPEN = frozenset({Standing.NOT_MET, Standing.STALE_WAIVER, Standing.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that stands in the way."""

    kind: str  # what its like have in common: one action mends them all
    text: str
    findings: tuple[Finding, ...]  # what it affects
    claims: tuple[ClaimResult, ...]
    action: str  # what to do about it; empty where nobody knows

    @property
    def gates(self) -> bool:
        """Does a requirement that decides the outcome fail by it?"""
        return any(finding.gates for finding in self.findings)

    @property
    def affects(self) -> tuple[str, ...]:
        """Titles of requirements, then of claims."""
        titles = [finding.title for finding in self.findings] + [claim.title for claim in self.claims]
        return tuple(dict.fromkeys(titles))


@dataclass(frozen=True, slots=True)
class Digest:
    """The first screen of a report."""

    causes: tuple[Cause, ...]  # those that gate first
    actions: tuple[str, ...]  # one for each kind of cause, in their order
    findings: tuple[Finding, ...]  # what needs attention first
    verdicts: dict[str, int]  # over all areas; every Verdict is there

    @property
    def gating(self) -> tuple[Cause, ...]:
        return tuple(cause for cause in self.causes if cause.gates)

    @property
    def others(self) -> tuple[Cause, ...]:
        """Causes without weight, but for those of a kind that was told already."""
        told = {cause.kind for cause in self.gating}
        return tuple(cause for cause in self.causes if not cause.gates and cause.kind not in told)


def digest(run: Run) -> Digest:
    """Put together what the findings and claims of a run say, each cause and each action once."""
    findings = tuple(sorted(run.findings, key=_attention))
    in_the_way: list[Finding | ClaimResult] = [finding for finding in findings if finding.standing in OPEN]
    in_the_way += [claim for claim in run.claims if claim.cause]
    causes = _causes(in_the_way)
    actions = [*_first_of_each_kind(causes)]
    if not run.complete:
        actions.append("Run virtproof check again and let it finish.")
    return Digest(
        causes=causes,
        actions=tuple(dict.fromkeys(actions)),
        findings=findings,
        verdicts=_verdicts(run),
    )


def _first_of_each_kind(causes: Iterable[Cause]) -> Iterator[str]:
    seen = set()
    for cause in causes:
        if cause.action and cause.kind not in seen:
            seen.add(cause.kind)
            yield cause.action


def _attention(finding: Finding) -> tuple[int, bool, int]:
    return STANDINGS.index(finding.standing), not finding.gates, rank(finding)


def rank(finding: Finding) -> int:
    """The place of a finding's severity among all, 0 the gravest; one that is not known comes last."""
    return SEVERITIES.index(finding.severity) if finding.severity in SEVERITIES else len(SEVERITIES)


def _causes(in_the_way: Iterable[Finding | ClaimResult]) -> tuple[Cause, ...]:
    by_text: dict[str, list[Finding | ClaimResult]] = {}
    for item in in_the_way:
        by_text.setdefault(_words(item), []).append(item)
    causes = [
        Cause(
            kind=items[0].cause or text,
            text=text,
            findings=tuple(item for item in items if isinstance(item, Finding)),
            claims=tuple(item for item in items if isinstance(item, ClaimResult)),
            action=next((item.remedy_text for item in items if item.remedy_text), ""),
        )
        for text, items in by_text.items()
    ]
    return tuple(sorted(causes, key=lambda cause: not cause.gates))


def _words(item: Finding | ClaimResult) -> str:
    if item.cause_text or isinstance(item, ClaimResult):
        return item.cause_text or item.cause or item.title
    if item.standing is Standing.STALE_WAIVER:
        return item.title
    return f"{item.title}: {item.standing}" + (f" ({item.evidence[0]})" if item.evidence else "")


def _verdicts(run: Run) -> dict[str, int]:
    total = Counter({verdict.value: 0 for verdict in Verdict})
    for counts in run.counts.values():
        total.update(counts)
    return dict(total)
