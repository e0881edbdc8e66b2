"""What is known of a fleet: the content of ``fleet report --json`` (docs/fleet.md), and what its page is made from."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = "virtproof.fleet-report/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """One host.  Without a run, ``verdict`` says what came instead, and what only a run knows is empty."""

    host: str
    verdict: str  # an Outcome, "unreachable", "failed" or "unreadable"
    summary: str  # the verdict in one sentence, or why there is none
    proof: str  # what its guests can prove: "hardware", "software KVM", "software engine", "no guest ran", ...
    system: str = ""
    bios: str = ""
    cpu: str = ""
    cpus: str = ""
    microcode: str = ""
    kernel: str = ""
    hypervisor: str = ""
    backend: str = ""
    profile: str = ""
    version: str = ""  # of virtproof
    started: str = ""
    counts: dict[str, int]  # of cases, by verdict
    causes: tuple[int, ...] = ()  # numbers of causes of the fleet, from 0
    notes: tuple[str, ...] = ()  # what makes its run doubtful, in sentences
    run: str = ""  # path of run.json
    report: str = ""  # of the HTML report beside it: an absolute path, quoted as in a URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One wording of a cause."""

    text: str
    hosts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCause:
    """What stands in the way of some hosts."""

    kind: str  # id of the named cause, where it has one
    subject: str  # the first requirement or claim that it stops
    text: str  # the commonest wording
    action: str  # what to do; empty where nobody knows
    gates: bool  # does it decide the verdict of a host?
    hosts: int
    variants: tuple[Variant, ...]  # the commonest wordings, where there are several


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Hosts that are the same in one respect."""

    value: str  # empty: could not tell
    hosts: int
    verdicts: dict[str, int]
    cause: int | None  # the commonest that gates, as a number of the fleet's causes


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One respect in which two things differ."""

    name: str
    here: str
    there: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """A host that is unlike its own group: the hosts of the same model and processor."""

    host: str
    group: str
    size: int  # of the group
    differences: tuple[Difference, ...]  # here: this host; there: what three quarters of the group have
    left_out: int  # differences beyond those


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One change since the baseline, and how many hosts went through it."""

    name: str
    before: str
    after: str
    hosts: int
    example: str  # the first of them by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What is different since an earlier report's hosts were run."""

    compared: int  # hosts in both
    changed: int  # of them
    new: tuple[str, ...]
    gone: tuple[str, ...]
    moved: tuple[Moved, ...]
    left_out: int  # changes beyond those


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A file that could not be read as a run."""

    host: str
    path: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything about a fleet."""

    version: str  # of the virtproof that merged
    made: str  # ISO 8601, UTC
    verdicts: dict[str, int]
    proofs: dict[str, int]  # what guests can prove -> hosts
    causes: tuple[FleetCause, ...]  # the worst first
    groups: dict[str, tuple[Group, ...]]  # by "system", "bios", "microcode", ...
    outliers: tuple[Outlier, ...]
    drift: Drift | None
    refused: tuple[Refusal, ...]
    refused_left_out: int
    superseded: int  # earlier runs of hosts that have a later one
    notes: tuple[str, ...]  # about the fleet as a whole, in sentences
    hosts: tuple[HostRow, ...]
