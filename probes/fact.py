"""What a fact is: a question with an id, the source that answers it from a snapshot, and a citation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from virtproof.probes.snapshot import Snapshot
from virtproof.spec.cite import Cite

Value = bool | int | str


@dataclass(frozen=True, slots=True)
class Known:
    value: Value


@dataclass(frozen=True, slots=True)
class Unknown:
    """The host would not say.  Never folded into 'no'."""

    reason: str


Answer = Known | Unknown


@dataclass(frozen=True, slots=True)
class Seen:
    """One value, the raw text it was taken from, and the CPUs that gave it (empty: the whole host)."""

    value: Value
    raw: str = ""
    cpus: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One place a value is read from.  ``read`` is a pure function; it gives each distinct value once."""

    where: str
    read: Callable[[Snapshot], tuple[Seen, ...] | Unknown]


@dataclass(frozen=True, slots=True)
class Fact:
    """``refs`` are the ids of the catalogue rows that this fact covers."""

    id: str
    source: Source
    meaning: str
    cite: Cite
    refs: tuple[str, ...] = ()
