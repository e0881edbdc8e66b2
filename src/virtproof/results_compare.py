"""What changed between two runs: a pure function of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields

from virtproof.results import Baseline, Change, ClaimResult, Evidence, FactAnswer, Finding, Host, Run

MAX_CHANGES = 150  # listed, so that run.json stays small
MAX_TEXT = 200  # characters of a value

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
    missing = []
    if before[1] and after[1]:
        changes += _changed("fact", _facts(before[1].facts), _facts(after[1].facts))
        was, now = ({case.id: str(case.verdict) for case in one.cases} for one in (before[1], after[1]))
        both = was.keys() & now.keys()
        changes += _changed("case", {name: was[name] for name in was if name in both}, now, only_both=True)
        for names, which in ((was.keys() - both, "baseline"), (now.keys() - both, "new run")):
            if names:
                missing.append(f"{len(names)} cases are in the {which} only.")
    else:
        without = "baseline" if before[1] is None else "new run"
        missing.append(f"The {without} came without evidence.json.gz: facts and cases were not compared.")
    return Baseline(
        started=old.started,
        version=old.version,
        profile=old.profile,
        changes=tuple(changes[:MAX_CHANGES]),
        left_out=max(len(changes) - MAX_CHANGES, 0),
        not_compared=tuple(missing),
    )


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
    return {field.name: str(getattr(host, field.name)) for field in fields(host)}


def _findings(findings: Iterable[Finding]) -> dict[str, str]:
    return {one.id: f"{one.standing}: {one.cause}" if one.cause else str(one.standing) for one in findings}


def _claims(claims: Iterable[ClaimResult]) -> dict[str, str]:
    said = {}
    for one in claims:
        layers = f"silicon {one.silicon}, firmware {one.firmware}, kernel {one.kernel}, functional {one.functional}"
        said[one.name] = f"{layers}; {one.proof}" + (f"; {one.cause}" if one.cause else "")
    return said


def _facts(facts: Iterable[FactAnswer]) -> dict[str, str]:
    return {one.id: f"unknown: {one.unknown}" if one.unknown is not None else str(one.known) for one in facts}
