"""``check --gate``: the exit code of a run for a CI, and the reasons behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from virtproof.results import Evidence, Finding, Outcome, Run, Standing
from virtproof.results_compare import Recorded, not_compared, same_kind, worse

LINES = 50  # of reasons: a CI's log is read from its end


class Condition(StrEnum):
    """What closes the gate."""

    PROFILE = "profile"  # the verdict
    BASELINE = "baseline"  # anything that was better in an earlier run


class Level(StrEnum):
    """How much a reason weighs."""

    ERROR = "error"  # closes the gate
    WARNING = "warning"  # could not be told; closes it with exit code 5
    NOTICE = "notice"  # closes nothing: a waiver that somebody relies on


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing to know about the state of a gate."""

    level: Level
    id: str  # of the finding, or subject and id of what got worse
    text: str
    remedy: str = ""
    severity: str = "major"  # as findings have it


@dataclass(frozen=True, slots=True)
class Gate:
    """How a run stands with the conditions of a gate."""

    exit_code: int
    reasons: tuple[Reason, ...]

    @property
    def sentence(self) -> str:
        if self.exit_code == 0:
            return "gate open (exit code 0)"
        if self.exit_code == Outcome.UNKNOWN.exit_code:
            return "gate closed: could not tell (exit code 5)"
        return f"gate closed (exit code {self.exit_code})"


CLOSES = {Level.ERROR: Outcome.NOT_COMPLIANT, Level.WARNING: Outcome.UNKNOWN}
STRONGEST = (Outcome.INTERRUPTED, Outcome.ERROR, Outcome.NOT_COMPLIANT, Outcome.UNKNOWN, Outcome.COMPLIANT)


def gate(run: Run, evidence: Evidence, conditions: Collection[Condition], before: Recorded | None) -> Gate:
    """Judge a run by ``conditions``; ``before`` is the baseline, which ``Condition.BASELINE`` needs.

    Half a run, and one that ended in our own error, closes every gate with its own code.
    """
    outcomes = {run.outcome if Condition.PROFILE in conditions else Outcome.COMPLIANT}
    reasons = [*_findings(run.findings, gating=Condition.PROFILE in conditions)]
    if run.outcome in {Outcome.ERROR, Outcome.INTERRUPTED}:
        outcomes.add(run.outcome)
        reasons.insert(0, Reason(Level.ERROR, "run", run.summary, severity="critical"))
    if before and Condition.BASELINE in conditions:
        since = [*_since_baseline(before, (run, evidence))]
        levels = {reason.level for reason in since}
        outcomes |= {outcome for level, outcome in CLOSES.items() if level in levels}
        reasons += since
    strongest = min(outcomes, key=STRONGEST.index)
    order = tuple(Level)
    return Gate(strongest.exit_code, tuple(sorted(reasons, key=lambda reason: order.index(reason.level))))


def _findings(findings: tuple[Finding, ...], *, gating: bool) -> Iterator[Reason]:
    for one in findings:
        said = one.cause_text or one.title
        if one.standing in {Standing.WAIVED, Standing.STALE_WAIVER}:
            yield Reason(Level.NOTICE, one.id, f"{one.standing}: {one.title}: {one.waiver}", one.remedy_text, "info")
        elif gating and one.gates and one.standing in {Standing.NOT_MET, Standing.UNKNOWN}:
            level = Level.ERROR if one.standing is Standing.NOT_MET else Level.WARNING
            text = f"{one.standing}: {one.title}" + (f": {said}" if said != one.title else "")
            yield Reason(level, one.id, text, one.remedy_text, one.severity)


def _since_baseline(before: Recorded, after: Recorded) -> Iterator[Reason]:
    for found in worse(before, after):
        one = found.change
        level = Level.ERROR if found.certain else Level.WARNING
        text = f"worse than in the run of {before[0].started}: {one.before} -> {one.after}"
        yield Reason(level, f"{one.subject} {one.id}", text)
    whole = before[1] is not None and same_kind(before[0], after[0])
    for text in not_compared(before, after):
        yield Reason(Level.NOTICE if whole else Level.WARNING, "baseline", text, severity="info")


def lines(state: Gate) -> Iterator[str]:
    """What a person reads on standard error: a line for each reason, the gravest last, then the state."""
    shown = state.reasons[:LINES]
    if left := len(state.reasons) - len(shown):
        yield f"virtproof: and {left} more reasons; run.json and report.html have all of them"
    for reason in reversed(shown):
        todo = f" (to do: {reason.remedy})" if reason.remedy else ""
        yield f"virtproof: {reason.level}: {reason.id}: {' '.join(f'{reason.text}{todo}'.split())}"
    yield f"virtproof: {state.sentence}"
