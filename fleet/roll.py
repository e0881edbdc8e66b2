"""fleet.json: which hosts a fleet run asked, and what came of each.  So a host that did not answer is a row, too."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from virtproof.results_json import dump_document, load_document, write_atomically

SCHEMA = "virtproof.fleet/1"
FILE = "fleet.json"
LIMIT = 64 << 20


class State(StrEnum):
    """What came of asking a host."""

    CHECKED = "checked"  # virtproof check ran there
    COLLECTED = "collected"  # its Python is too old for that: a snapshot was taken, and judged here
    UNREACHABLE = "unreachable"
    FAILED = "failed"  # reached, and no run came back


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One host of the inventory."""

    host: str
    state: State
    detail: str  # why there is no run, or what it lacks; empty where all went well
    begun: str  # ISO 8601, UTC, by the clock of who asked
    ended: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """All hosts that were asked."""

    version: str  # of virtproof
    profile: str
    begun: str
    ended: str
    complete: bool  # False: Ansible ended before it was through with all hosts
    hosts: tuple[Attempt, ...]


def save(roll: Roll, folder: Path) -> None:
    """Write the roll into the fleet's folder; raises Fault."""
    write_atomically(folder / FILE, dump_document(SCHEMA, roll, indent=1).encode())


def load(path: Path) -> Roll:
    """Read a roll; raises Fault, or OSError."""
    with path.open("rb") as file:
        return load_document(Roll, SCHEMA, file.read(LIMIT + 1), str(path), LIMIT)
