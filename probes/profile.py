"""Profiles, and the waivers and deviations that temper them: TOML documents, refused with the line that is wrong.

docs/profiles.md describes all three.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

from virtproof.probes import shape
from virtproof.probes.causes import CAUSES
from virtproof.probes.claims.catalogue import ALL_CLAIMS
from virtproof.probes.fact import Value
from virtproof.probes.facts.catalogue import ALL_FACTS
from virtproof.probes.toml_document import Document, Form, Rows, nearest
from virtproof.results import CaseResult, Host
from virtproof.spec.fault import Fault

FOLDER = Path(__file__).parent / "profiles"
SEVERITIES = ("critical", "major", "minor", "info")
LAYERS = ("silicon", "firmware", "kernel", "functional")
MAX_DEPTH = 8
SUBJECTS = ("fact", "claims", "cases", "areas", "cost")
CONDITIONS = ("equals", "one_of", "none_of", "at_least")
ASKING = (*SUBJECTS, *CONDITIONS, "at_most", "layers", "proven", "up_to_priority", "cause")  # about what is asked for
HOST_FIELDS = ("vendor", "cpu", "family_model_stepping", "microcode", "system", "bios", "kernel", "hypervisor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One thing a profile asks for: of a fact, of claims, of a cost, of cases whose id or area matches a pattern."""

    id: str
    title: str
    severity: str
    gates: bool = True
    allow_unknown: bool = False
    fact: str = ""
    equals: Value | None = None
    one_of: tuple[Value, ...] = ()
    none_of: tuple[str, ...] = ()  # patterns
    at_least: int | None = None
    claims: tuple[str, ...] = ()
    layers: tuple[str, ...] = LAYERS[:3]
    proven: bool = False  # a claim must also be proven by guests
    cases: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    cost: str = ""  # an operation of virtproof bench
    at_most: int | None = None  # nanoseconds, which the median of the cost must not exceed
    up_to_priority: int = 3  # of the cases only those whose rule is that important or more: 1 core, 2 full, 3 exotic
    cause: str = ""
    remedy: str = ""
    cite: tuple[str, ...] = ()

    def passes(self, value: Value) -> bool:
        """Does a fact's value satisfy the condition?"""
        if self.equals is not None:
            return value == self.equals and type(value) is type(self.equals)
        if self.one_of:
            return value in self.one_of
        if self.none_of:
            return not any(fnmatchcase(str(value), pattern) for pattern in self.none_of)
        return isinstance(value, int) and self.at_least is not None and value >= self.at_least

    def __str__(self) -> str:
        """What is asked for, in words."""
        if self.fact:
            wanted = {"equals": self.equals, "one of": self.one_of, "none of": self.none_of, "at least": self.at_least}
            said = next(f"{how} {_listed(value)}" for how, value in wanted.items() if value not in (None, ()))
            return f"fact {self.fact} {said}"
        if self.claims:
            proven = ", proven by guests" if self.proven else ""
            return f"claim {' or '.join(self.claims)}: yes in {', '.join(self.layers)}, where they apply{proven}"
        if self.cost:
            return f"{self.cost} costs {self.at_most} ns at most (median)"
        of = " or ".join((*self.cases, *(f"area {area}" for area in self.areas)))
        least = f" up to priority {self.up_to_priority}" if self.up_to_priority < 3 else ""
        return f"no case of {of}{least} comes out wrong"

    def selects(self, result: CaseResult) -> bool:
        """Is this one of the cases asked for?"""
        return result.priority <= self.up_to_priority and (
            any(fnmatchcase(result.id, one) for one in self.cases)
            or any(fnmatchcase(result.area, one) for one in self.areas)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A known, cited departure of a kernel or backend from the manual."""

    id: str
    cases: tuple[str, ...]
    backend: str
    kernel: str
    reason: str
    cite: tuple[str, ...]

    def covers(self, result: CaseResult, backend: str, kernel: str) -> bool:
        return (
            fnmatchcase(backend, self.backend)
            and kernel_in(kernel, self.kernel)
            and any(fnmatchcase(result.id, pattern) for pattern in self.cases)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a use of the host requires.  ``sha256`` is that of the file and of the deviations it is judged with."""

    name: str
    title: str
    requirements: tuple[Requirement, ...]
    strict: bool = False
    deviations: tuple[Deviation, ...] = ()
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A named, reasoned, expiring exception to one finding on one set of hosts (fields of Host -> patterns)."""

    finding: str
    host: tuple[tuple[str, str], ...]
    owner: str
    reason: str
    expires: date

    def selects(self, host: Host) -> bool:
        return all(fnmatchcase(str(getattr(host, name)), pattern) for name, pattern in self.host)

    def __str__(self) -> str:
        return f"{self.reason} (owner: {self.owner}; expires {self.expires})"


def _listed(value: Value | tuple[Value, ...] | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_listed, value)) if isinstance(value, tuple) else str(value)


def profile_names() -> tuple[str, ...]:
    """The profiles that come with virtproof."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "deviations"))


def load_profile(name_or_path: str) -> Profile:
    """The profile of that name, or in that file.  Raises ``Fault`` with file, line and key for whatever is wrong."""
    own, documents = _read(_path(name_or_path), ())
    found = {row.id: row for row in (_requirement(one) for one in own.values())}
    deviations = FOLDER / "deviations.toml"
    data = (*(document.data for document in documents), deviations.read_bytes())
    return Profile(
        name=documents[-1].table["name"],
        title=documents[-1].table["title"],
        requirements=tuple(found.values()),
        strict=any(document.table.get("strict", False) for document in documents),
        deviations=load_deviations(deviations),
        sha256=hashlib.sha256(b"\0".join(data)).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A requirement as written, and where: the last document that has a say in it."""

    document: Document
    number: int
    keys: dict[str, Any]

    def refuse(self, key: str, saw: str) -> NoReturn:
        self.document.refuse(key, saw, self.number)


def _read(path: Path, below: tuple[Path, ...]) -> tuple[dict[str, _Row], tuple[Document, ...]]:
    """The requirements of a profile and of those it extends by id, and all their documents, its own last.

    A row with the id of an inherited one changes the keys that it names; one that asks for something else asks for
    that alone.
    """
    document = Document(path, PROFILE)
    document.unique("id")
    if len(below) == MAX_DEPTH:
        document.refuse("extends", f"more than {MAX_DEPTH} profiles that extend one another")
    rows: dict[str, _Row] = {}
    documents: tuple[Document, ...] = ()
    for name in document.table.get("extends", ()):
        parent = path.parent / name if name.endswith(".toml") else FOLDER / f"{name}.toml"
        if not name.endswith(".toml") and name not in profile_names():
            document.refuse("extends", f"there is no profile {name!r}{nearest(name, profile_names())}")
        if parent.resolve() in (*below, path.resolve()):
            document.refuse("extends", f"{name!r} extends this profile: a circle")
        inherited, theirs = _read(parent, (*below, path.resolve()))
        rows.update(inherited)
        documents += theirs
    for number, row in enumerate(document.rows):
        before = rows[row["id"]].keys if row["id"] in rows else {}
        if set(row) & set(SUBJECTS):
            before = {key: value for key, value in before.items() if key not in ASKING}
        rows[row["id"]] = _Row(document, number, {**before, **row})
    return rows, (*documents, document)


def _path(name_or_path: str) -> Path:
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return Path(name_or_path)
    if name_or_path in profile_names():
        return FOLDER / f"{name_or_path}.toml"
    near = nearest(name_or_path, profile_names())
    raise Fault(f"find the profile {name_or_path!r}", f"there is none of that name{near}")


def load_waivers(path: str | Path) -> tuple[Waiver, ...]:
    """The waivers of a file.  Raises ``Fault``."""
    document = Document(Path(path), WAIVERS)
    return tuple(
        Waiver(
            finding=row["finding"],
            host=tuple(row["host"].items()),
            owner=row["owner"],
            reason=row["reason"],
            expires=row["expires"],
        )
        for row in document.rows
    )


def load_deviations(path: str | Path) -> tuple[Deviation, ...]:
    """The known departures of a file.  Raises ``Fault``."""
    document = Document(Path(path), DEVIATIONS)
    for number, row in enumerate(document.rows):
        if not KERNEL_RANGE.fullmatch(row["kernel"]):
            document.refuse("kernel", f"{row['kernel']!r} is not of the form '>=6.1 <6.5'", number)
    document.unique("id")
    return tuple(
        Deviation(**{**row, "cases": tuple(row["cases"]), "cite": tuple(row["cite"])}) for row in document.rows
    )


def kernel_in(release: str, wanted: str) -> bool:
    """Is a kernel release ("6.1.0-21-amd64") in a range ("", ">=5.10", ">=6.1 <6.5")?  An unknown one is in none."""
    found = RELEASE.match(release)
    if not wanted:
        return True
    if not found:
        return False
    have = (int(found[1]), int(found[2]))
    for operator, major, minor in BOUND.findall(wanted):
        limit = (int(major), int(minor))
        if not (have >= limit if operator == ">=" else have < limit):
            return False
    return True


RELEASE = re.compile(r"(\d{1,3})\.(\d{1,4})")
BOUND = re.compile(r"(>=|<)(\d{1,3})\.(\d{1,4})")
KERNEL_RANGE = re.compile(r"((>=|<)\d{1,3}\.\d{1,4}( (>=|<)\d{1,3}\.\d{1,4})?)?")


def _requirement(written: _Row) -> Requirement:
    row, refuse = written.keys, written.refuse
    facts, claims = [fact.id for fact in ALL_FACTS], [claim.name for claim in ALL_CLAIMS]
    for key in ("title", "severity"):
        if key not in row:
            refuse("", f"the key {key!r} is missing")
    subjects = [key for key in SUBJECTS if key in row]
    if not subjects or (len(subjects) > 1 and set(subjects) != {"cases", "areas"}):
        refuse("", f"a requirement asks for one of {', '.join(SUBJECTS)} (cases and areas may go together)")
    if row["severity"] not in SEVERITIES:
        refuse("severity", f"{row['severity']!r} is none of {', '.join(SEVERITIES)}")
    if "fact" in row and row["fact"] not in facts:
        refuse("fact", f"there is no fact {row['fact']!r}{nearest(row['fact'], facts)}")
    conditions = [key for key in CONDITIONS if key in row]
    if ("fact" in row) != (len(conditions) == 1):
        refuse(
            conditions[0] if conditions else "fact",
            f"a fact needs exactly one of {', '.join(CONDITIONS)}; nothing else has one",
        )
    if ("cost" in row) != ("at_most" in row):
        refuse("cost" if "cost" in row else "at_most", "a cost needs at_most; nothing else has it")
    for name in row.get("claims", ()):
        if name not in claims:
            refuse("claims", f"there is no claim {name!r}{nearest(name, claims)}")
    for name in row.get("layers", ()):
        if name not in LAYERS:
            refuse("layers", f"there is no layer {name!r}{nearest(name, LAYERS)}")
    if "cause" in row and row["cause"] not in CAUSES:
        refuse("cause", f"there is no cause {row['cause']!r}{nearest(row['cause'], CAUSES)}")
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Requirement(**fields)


def _value(value: object, place: str) -> None:
    if not isinstance(value, bool | int | str):
        shape.refuse(place, f"{shape.kind(value)} where a value belongs")


def _day(value: object, place: str) -> None:
    if type(value) is not date:
        shape.refuse(place, "not a date such as 2027-01-31")


ID, LINE = shape.text(64, r"[a-z0-9][a-z0-9._-]*"), shape.text(2000)
LINES, PATTERNS = shape.sequence(LINE, 64), shape.sequence(shape.text(128), 256)
PROFILE = Form(
    schema="virtproof.profile/1",
    required={"name": ID, "title": LINE},
    optional={"extends": shape.sequence(shape.text(512, r"[^\0]+"), 8), "strict": shape.boolean},
    table="requirement",
    rows=Rows(
        required={"id": ID},
        optional={
            "title": LINE,
            "severity": shape.text(16),
            "gates": shape.boolean,
            "allow_unknown": shape.boolean,
            "fact": shape.text(64),
            "equals": _value,
            "one_of": shape.sequence(_value, 64),
            "none_of": PATTERNS,
            "at_least": shape.integer(0, 2**63 - 1),
            "claims": shape.sequence(ID, 64),
            "layers": shape.sequence(ID, 4),
            "proven": shape.boolean,
            "cases": PATTERNS,
            "areas": PATTERNS,
            "cost": ID,
            "at_most": shape.integer(1, 2**63 - 1),
            "up_to_priority": shape.integer(1, 3),
            "cause": ID,
            "remedy": LINE,
            "cite": LINES,
        },
    ),
)
WAIVERS = Form(
    schema="virtproof.waivers/1",
    required={},
    optional={},
    table="waiver",
    rows=Rows(
        required={
            "finding": ID,
            "host": shape.record({}, {name: shape.text(128) for name in HOST_FIELDS}),
            "owner": shape.text(200),
            "reason": LINE,
            "expires": _day,
        },
        optional={},
    ),
)
DEVIATIONS = Form(
    schema="virtproof.deviations/1",
    required={},
    optional={},
    table="deviation",
    rows=Rows(
        required={
            "id": ID,
            "cases": PATTERNS,
            "backend": shape.text(64),
            "kernel": shape.text(64),
            "reason": LINE,
            "cite": LINES,
        },
        optional={},
    ),
)
