"""Hold what a lab host said against what its row expects, field by field."""

from __future__ import annotations

from dataclasses import dataclass

from virtproof.lab.hosts.table import Expected
from virtproof.results import ClaimResult, Finding, Outcome, Run, Standing


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One field that is not as expected; values are text, empty for none."""

    field: str
    expected: str
    observed: str

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected or 'none'}, got {self.observed or 'none'}"


def mismatches(expected: Expected, run: Run) -> tuple[Mismatch, ...]:
    """What differs; nothing where the host was judged as it should be."""
    named = _named(expected.where, run)
    if named is None:
        return (Mismatch(expected.where, "in the run", ""),)
    first = headline(run)
    fields = [
        ("outcome", expected.outcome.value, run.outcome.value),
        ("cause", expected.cause or "", named.cause or ""),
        ("remedy", expected.remedy or "", named.remedy or ""),
        ("text of the cause", "some" if expected.cause else "", "some" if named.cause_text else ""),
        ("text of the remedy", "some" if expected.remedy else "", "some" if named.remedy_text else ""),
    ]
    if expected.outcome is Outcome.NOT_COMPLIANT:
        # The first thing that people read must be the injected cause, too.
        fields.append(("first cause of the verdict", expected.cause or "", first.cause or "" if first else ""))
    return tuple(Mismatch(name, want, got) for name, want, got in fields if want != got)


def headline(run: Run) -> Finding | None:
    """The finding that the verdict's sentence is about: the first that gates and is not met."""
    return next((one for one in run.findings if one.gates and one.standing is Standing.NOT_MET), None)


def _named(where: str, run: Run) -> Finding | ClaimResult | None:
    kind, _, name = where.partition(" ")
    if kind == "finding":
        return next((one for one in run.findings if one.id == name), None)
    return next((one for one in run.claims if one.name == name), None)
