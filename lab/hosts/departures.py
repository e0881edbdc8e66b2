"""Cases that do not pass on a lab host, and why: departures.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from virtproof.results import CaseResult, Verdict
from virtproof.spec.fault import Fault

FILE = Path(__file__).with_name("departures.toml")
SCHEMA = "virtproof.departures/1"
WRONG = frozenset({Verdict.FAIL, Verdict.CRASH, Verdict.ERROR})


class Blame(StrEnum):
    """Whose departure it is."""

    EMULATOR = "emulator"  # the emulated processor or platform breaks the rule
    KERNEL = "kernel"  # KVM does; ``deviation`` names the entry of deviations.toml, with its citation


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Cases (patterns of ids) that do not pass on hosts (patterns of names), and why.

    ``sometimes``: they pass at times, so that a pass is not held against the entry.  ``fatal``: they end the emulator,
    so that they are left out.
    """

    hosts: tuple[str, ...]
    cases: tuple[str, ...]
    blame: Blame
    reason: str
    deviation: str = ""
    sometimes: bool = False
    fatal: bool = False

    def covers(self, host: str, case: str) -> bool:
        return any(fnmatchcase(host, one) for one in self.hosts) and self.names(case)

    def names(self, case: str) -> bool:
        return any(fnmatchcase(case, one) for one in self.cases)


def load(path: Path = FILE) -> tuple[Departure, ...]:
    """The table.  Raises ``Fault`` where it is not one."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        if document.pop("schema", None) != SCHEMA or not document.keys() <= {"departure"}:
            raise ValueError(f"not a {SCHEMA} document")
        return tuple(
            Departure(
                **row | {"hosts": tuple(row["hosts"]), "cases": tuple(row["cases"]), "blame": Blame(row["blame"])}
            )
            for row in document.get("departure", ())
        )
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise Fault(f"read {path}", str(err), "mend the table") from err


def safe(host: str, cases: Iterable[str], table: Sequence[Departure]) -> tuple[str, ...]:
    """The ids of those cases that do not end the emulator."""
    fatal = [entry for entry in table if entry.fatal]
    return tuple(case for case in cases if not any(entry.covers(host, case) for entry in fatal))


def unexplained(host: str, results: Iterable[CaseResult], table: Sequence[Departure]) -> tuple[CaseResult, ...]:
    """Results that are wrong and that no entry covers."""
    return tuple(
        one for one in results if one.verdict in WRONG and not any(entry.covers(host, one.id) for entry in table)
    )


def stale(host: str, results: Sequence[CaseResult], table: Sequence[Departure]) -> tuple[str, ...]:
    """Patterns of the table that name cases which were run on this host, and all passed."""
    found = []
    for entry in table:
        if entry.sometimes or not any(fnmatchcase(host, one) for one in entry.hosts):
            continue
        for pattern in entry.cases:
            ran = [one for one in results if fnmatchcase(one.id, pattern) and one.verdict is not Verdict.SKIP]
            if ran and not any(one.verdict in WRONG for one in ran):
                found.append(pattern)
    return tuple(found)
