"""What changed between two runs: a pure function of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from virtproof.results import (
    Baseline,
    CaseResult,
    Change,
    ClaimResult,
    Evidence,
    FactAnswer,
    Finding,
    Host,
    Layer,
    Proof,
    Run,
    Standing,
    Verdict,
)

MAX_CHANGES = 150  # listed, so that run.json stays small
MAX_TEXT = 200  # characters of a value
BOOT_ID = "boot_id"  # another one after every boot: no news of the host

Recorded = tuple[Run, Evidence | None]


def compare(before: Recorded, after: Recorded) -> Baseline:
    """What is different in ``after``.  Facts and passing cases are compared where both runs have their evidence."""
    old, new = before[0], after[0]
    changes = [
        *_changed("verdict", {"outcome": str(old.outcome)}, {"outcome": str(new.outcome)}),
        *_changed("host", _host(old.host), _host(new.host)),
        *_changed("finding", _findings(old.findings), _findings(new.findings)),
        *_changed("claim", _claims(old.claims), _claims(new.claims)),
    ]
    if before[1] and after[1]:
        changes += _changed("fact", _facts(before[1].facts), _facts(after[1].facts))
        was, now = ({case.id: str(case.verdict) for case in one.cases} for one in (before[1], after[1]))
        changes += _changed("case", {name: was[name] for name in was if name in now}, now, only_both=True)
    return Baseline(
        started=old.started,
        version=old.version,
        profile=old.profile,
        changes=tuple(changes[:MAX_CHANGES]),
        left_out=max(len(changes) - MAX_CHANGES, 0),
        not_compared=tuple(not_compared(before, after)),
    )


def traits(run: Run) -> dict[str, str]:
    """Everything of a run.json that two hosts, or two runs, can be compared by."""
    parts = {"host": _host(run.host), "requirement": _findings(run.findings), "claim": _claims(run.claims)}
    said = {f"{part} {name}": text for part, of_part in parts.items() for name, text in of_part.items()}
    return {"verdict": str(run.outcome), **said, "backend": run.backend.name, "profile": run.profile}


def not_compared(before: Recorded, after: Recorded) -> Iterator[str]:
    """What only one of the two runs has, in sentences."""
    if before[1] is None or after[1] is None:
        without = "baseline" if before[1] is None else "new run"
        yield f"The {without} came without evidence.json.gz: facts and cases were not compared."
        return
    if not same_kind(before[0], after[0]):
        old, new = before[0].backend.name, after[0].backend.name
        yield f"Guests ran on {old} before and on {new} now: one of them is the software engine."
    was, now = ({case.id for case in one.cases} for one in (before[1], after[1]))
    for names, which in ((was - now, "baseline"), (now - was, "new run")):
        if names:
            yield f"{len(names)} cases are in the {which} only."


@dataclass(frozen=True, slots=True)
class Worse:
    """Something that was better before."""

    change: Change
    certain: bool  # False: it was known to be good, and now it could not be told


def worse(before: Recorded, after: Recorded) -> Iterator[Worse]:
    """What was good and is not any more: requirements, claims, and cases that both runs have.

    What the earlier run did not know, and what nobody asks for any longer, is not worse.
    """
    findings = {one.id: one for one in before[0].findings}
    for finding in after[0].findings:
        if finding.id in findings:
            yield from _worse_finding(findings[finding.id], finding)
    claims = {one.name: one for one in before[0].claims}
    for claim in after[0].claims:
        if claim.name in claims:
            yield from _worse_claim(claims[claim.name], claim)
    if before[1] and after[1] and same_kind(before[0], after[0]):
        passed = {case.id for case in before[1].cases if case.verdict is Verdict.PASS}
        for case in after[1].cases:
            if case.id in passed and case.verdict is not Verdict.PASS:
                yield _worse_case(case)


def same_kind(before: Run, after: Run) -> bool:
    """Did guests run on a host's KVM both times, or on the software engine both times?"""
    return before.backend.speaks_of_host is after.backend.speaks_of_host


def _worse_finding(was: Finding, now: Finding) -> Iterator[Worse]:
    good = {Standing.MET, Standing.WAIVED, Standing.NOT_APPLICABLE}
    if was.standing in good and now.standing in {Standing.NOT_MET, Standing.UNKNOWN}:
        after = f"{now.standing}: {now.cause_text}" if now.cause_text else str(now.standing)
        yield _worse("finding", now.id, str(was.standing), after, certain=now.standing is Standing.NOT_MET)


def _worse_claim(was: ClaimResult, now: ClaimResult) -> Iterator[Worse]:
    for layer in ("silicon", "firmware", "kernel", "functional"):
        before, after = getattr(was, layer), getattr(now, layer)
        if before is Layer.YES and after in {Layer.NO, Layer.UNKNOWN}:
            yield _worse("claim", now.name, f"{layer} {before}", f"{layer} {after}", certain=after is Layer.NO)
    if was.proof is Proof.PROVEN and now.proof is not Proof.PROVEN:
        certain = now.proof in {Proof.REFUTED, Proof.CONTRADICTED}
        yield _worse("claim", now.name, str(was.proof), str(now.proof), certain=certain)


def _worse_case(now: CaseResult) -> Worse:
    # A skip is certain: a fact says that the host does not have the feature, which it had when the case passed.
    return _worse("case", now.id, "pass", str(now.verdict), certain=now.verdict is not Verdict.ERROR)


def _worse(subject: str, name: str, before: str, after: str, *, certain: bool) -> Worse:
    return Worse(Change(subject=subject, id=name, before=before, after=after[:MAX_TEXT]), certain)


def _changed(
    subject: str, before: Mapping[str, str], after: Mapping[str, str], *, only_both: bool = False
) -> Iterator[Change]:
    """The differences, in the order of the new run; what is gone comes last."""
    names: Sequence[str] = [*after, *(name for name in before if name not in after)]
    for name in names:
        was, now = before.get(name, ""), after.get(name, "")
        if was != now and not (only_both and name not in before):
            yield Change(subject=subject, id=name, before=was[:MAX_TEXT], after=now[:MAX_TEXT])


def _host(host: Host) -> dict[str, str]:
    return {field.name: str(getattr(host, field.name)) for field in fields(host) if field.name != BOOT_ID}


def _findings(findings: Iterable[Finding]) -> dict[str, str]:
    return {one.id: f"{one.standing}: {one.cause}" if one.cause else str(one.standing) for one in findings}


def _claims(claims: Iterable[ClaimResult]) -> dict[str, str]:
    said = {}
    for one in claims:
        layers = f"silicon {one.silicon}, firmware {one.firmware}, kernel {one.kernel}, functional {one.functional}"
        said[one.name] = f"{layers}; {one.proof}" + (f"; {one.cause}" if one.cause else "")
    return said


def _facts(facts: Iterable[FactAnswer]) -> dict[str, str]:
    return {
        one.id: f"unknown: {one.unknown}" if one.unknown is not None else str(one.known)
        for one in facts
        if one.id != f"kernel.{BOOT_ID}"
    }
