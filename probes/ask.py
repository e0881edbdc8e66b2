"""Ask: every fact, of one snapshot.  A pure function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from virtproof.probes.fact import Answer, Fact, Known, Seen, Unknown, Value
from virtproof.probes.facts.catalogue import ALL_FACTS
from virtproof.probes.snapshot import Snapshot
from virtproof.results import FactAnswer, Layer


@dataclass(frozen=True, slots=True)
class Answered:
    """A fact with its answer, and every value that was seen (more than one where CPUs differ)."""

    fact: Fact
    answer: Answer
    seen: tuple[Seen, ...] = ()

    @property
    def value(self) -> Value | None:
        """The value, ``None`` where it is unknown."""
        return self.answer.value if isinstance(self.answer, Known) else None

    @property
    def layer(self) -> Layer:
        """A yes-or-no fact as a layer's word: any other number than 0, and any text, is a yes."""
        if isinstance(self.answer, Unknown):
            return Layer.UNKNOWN
        return Layer.YES if self.answer.value else Layer.NO

    @property
    def evidence(self) -> str:
        """One line: the question, the answer, the raw value, the CPUs, the source."""
        if not self.seen:
            reason = self.answer.reason if isinstance(self.answer, Unknown) else ""
            return f"{self.fact.meaning}: unknown ({reason})"
        return f"{self.fact.meaning}: " + "; ".join(_shown(one, self.fact.source.where) for one in self.seen)


class Answers(dict[str, Answered]):
    """The answers of one host by fact id.  An id that does not exist is our own mistake and raises KeyError."""

    def value(self, fact: str) -> Value | None:
        return self[fact].value

    def yes(self, fact: str) -> bool:
        """Is it known, and not off?"""
        return bool(self[fact].value)

    def no(self, fact: str) -> bool:
        """Is it known to be off?"""
        return self[fact].layer is Layer.NO


def ask(snapshot: Snapshot, facts: Iterable[Fact] = ALL_FACTS) -> Answers:
    """Answer every fact from the snapshot."""
    fixed = Snapshot(snapshot)
    return Answers((fact.id, answer(fixed, fact)) for fact in facts)


def answer(snapshot: Snapshot, fact: Fact) -> Answered:
    """One fact: known where all CPUs agree, unknown where they differ or one could not be read."""
    found = fact.source.read(snapshot)
    if isinstance(found, Unknown):
        return Answered(fact, found)
    if len(found) == 1 or len({one.value for one in found}) == 1:
        return Answered(fact, Known(found[0].value), found)
    differ = "; ".join(_shown(one, "") for one in found[:8])
    return Answered(fact, Unknown(f"the CPUs differ: {differ}"), found)


def fact_answers(answers: Answers) -> tuple[FactAnswer, ...]:
    """The answers as the evidence of a run keeps them."""
    return tuple(
        FactAnswer(
            id=one.fact.id,
            meaning=one.fact.meaning,
            known=one.value,
            unknown=one.answer.reason if isinstance(one.answer, Unknown) else None,
            raw="; ".join(filter(None, map(_raw, one.seen))),
            source=one.fact.source.where,
        )
        for one in answers.values()
    )


def _raw(one: Seen) -> str:
    on = f"CPUs {one.cpus}" if one.cpus else ""
    return ", ".join(filter(None, (one.raw[:200], on)))


def _shown(one: Seen, where: str) -> str:
    value = {True: "yes", False: "no"}.get(one.value, str(one.value)) if isinstance(one.value, bool) else str(one.value)
    raw = f"{where} = {one.raw}" if where and one.raw else where or one.raw
    on = f", CPUs {one.cpus}" if one.cpus else ""
    return f"{value[:200]} ({raw}{on})" if raw or on else value[:200]
