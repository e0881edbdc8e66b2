"""Profiles, and the waivers and deviations that temper them: TOML documents, refused with the line that is wrong.

docs/profiles.md describes all three.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable
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
from virtproof.results import CaseResult, Host
from virtproof.spec.fault import Fault

FOLDER = Path(__file__).parent / "profiles"
SCHEMA, WAIVERS_SCHEMA, DEVIATIONS_SCHEMA = "virtproof.profile/1", "virtproof.waivers/1", "virtproof.deviations/1"
MAX_BYTES = 1 << 20
SEVERITIES = ("critical", "major", "minor", "info")
LAYERS = ("silicon", "firmware", "kernel", "functional")
SUBJECTS = ("fact", "claims", "cases", "areas")
HOST_FIELDS = ("vendor", "cpu", "family_model_stepping", "microcode", "system", "bios", "kernel", "hypervisor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One thing a profile asks for: of a fact, of claims, or of the cases whose id or area matches a pattern."""

    id: str
    title: str
    severity: str
    gates: bool = True
    allow_unknown: bool = False
    fact: str = ""
    equals: Value | None = None
    one_of: tuple[Value, ...] = ()
    at_least: int | None = None
    claims: tuple[str, ...] = ()
    layers: tuple[str, ...] = LAYERS[:3]
    proven: bool = False  # a claim must also be proven by guests
    cases: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
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
        return isinstance(value, int) and self.at_least is not None and value >= self.at_least

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


def profile_names() -> tuple[str, ...]:
    """The profiles that come with virtproof."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "deviations"))


def load_profile(name_or_path: str) -> Profile:
    """The profile of that name, or in that file.  Raises ``Fault`` with file, line and key for whatever is wrong."""
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        path = Path(name_or_path)
    elif name_or_path in profile_names():
        path = FOLDER / f"{name_or_path}.toml"
    else:
        near = _nearest(name_or_path, profile_names())
        raise Fault(f"find the profile {name_or_path!r}", f"there is none of that name{near}")
    document = _Document(path, SCHEMA)
    known = (FOLDER / "deviations.toml").read_bytes() if (FOLDER / "deviations.toml").exists() else b""
    document.check(PROFILE)
    requirements = tuple(_requirement(document, number, row) for number, row in enumerate(document.rows("requirement")))
    document.unique("requirement", [one.id for one in requirements])
    return Profile(
        name=document.table["name"],
        title=document.table["title"],
        requirements=requirements,
        strict=document.table.get("strict", False),
        deviations=load_deviations(FOLDER / "deviations.toml"),
        sha256=hashlib.sha256(document.data + known).hexdigest(),
    )


def load_waivers(path: str | Path) -> tuple[Waiver, ...]:
    """The waivers of a file.  Raises ``Fault``."""
    document = _Document(Path(path), WAIVERS_SCHEMA)
    document.check(WAIVERS)
    return tuple(
        Waiver(
            finding=row["finding"],
            host=tuple(row["host"].items()),
            owner=row["owner"],
            reason=row["reason"],
            expires=row["expires"],
        )
        for row in document.rows("waiver")
    )


def load_deviations(path: str | Path) -> tuple[Deviation, ...]:
    """The known departures of a file.  Raises ``Fault``."""
    document = _Document(Path(path), DEVIATIONS_SCHEMA)
    document.check(DEVIATIONS)
    rows = document.rows("deviation")
    for number, row in enumerate(rows):
        if not KERNEL_RANGE.fullmatch(row["kernel"]):
            document.refuse("deviation", number, "kernel", f"{row['kernel']!r} is not of the form '>=6.1 <6.5'")
    document.unique("deviation", [row["id"] for row in rows])
    return tuple(Deviation(**{**row, "cases": tuple(row["cases"]), "cite": tuple(row["cite"])}) for row in rows)


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


class _Document:
    """A TOML file that remembers where its keys are."""

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise Fault(f"read {path}", error.strerror or str(error)) from error
        if len(self.data) > MAX_BYTES:
            raise Fault(f"read {path}", f"more than {MAX_BYTES >> 20} MiB")
        try:
            self.text = self.data.decode("utf-8")
            self.table: dict[str, Any] = tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise Fault(f"read {path}", f"not a TOML document: {error}") from error
        if self.table.get("schema") != schema:
            self.refuse("", 0, "schema", f"it must say schema = {schema!r}")

    def rows(self, table: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.table.get(table, [])
        return rows

    def check(self, tables: dict[str, shape.Shape]) -> None:
        """Check the document's own keys, then each row of its arrays of tables."""
        for key, value in self.table.items():
            if key not in tables:
                self.refuse("", 0, key, f"there is no key {key!r}{_nearest(key, tables)}")
            if not isinstance(value, list):
                self._checked(tables[key], value, "", 0, key)
        for key, row_shape in tables.items():
            if not isinstance(row_shape, _Rows):
                if key not in self.table and key not in OPTIONAL:
                    self.refuse("", 0, key, f"the key {key!r} is missing")
                continue
            rows = self.table.get(key, [])
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                self.refuse("", 0, key, f"{key} must be an array of tables: [[{key}]]")
            for number, row in enumerate(rows):
                self._row(row_shape, key, number, row)

    def _row(self, rows: _Rows, table: str, number: int, row: dict[str, Any]) -> None:
        for key in rows.required:
            if key not in row:
                self.refuse(table, number, "", f"the key {key!r} is missing")
        for key, value in row.items():
            known = {**rows.required, **rows.optional}
            if key not in known:
                self.refuse(table, number, key, f"there is no key {key!r}{_nearest(key, known)}")
            self._checked(known[key], value, table, number, key)

    def _checked(self, check: shape.Shape, value: object, table: str, number: int, key: str) -> None:
        try:
            check(value, key)
        except Fault as error:
            self.refuse(table, number, key, error.saw)

    def unique(self, table: str, ids: list[str]) -> None:
        for number, one in enumerate(ids):
            if one in ids[:number]:
                self.refuse(table, number, "id", f"the id {one!r} is taken")

    def refuse(self, table: str, number: int, key: str, saw: str, remedy: str = "") -> NoReturn:
        place = f"{self.path}, line {self._line(table, number, key)}"
        raise Fault(f"read {place}", f"{key}: {saw}" if key else saw, remedy)

    def _line(self, table: str, number: int, key: str) -> int:
        """The line of a key in the n-th [[table]]; of the table's header where the key is not there."""
        seen, header = -1, 1
        for count, line in enumerate(self.text.splitlines(), 1):
            stripped = line.strip()
            if stripped.startswith("[["):
                seen += stripped == f"[[{table}]]"
                if table and seen == number and stripped == f"[[{table}]]":
                    header = count
                if table and seen > number:
                    break
            inside = seen == number if table else not stripped.startswith("[")
            if inside and key and re.match(rf"{re.escape(key)}\s*=", stripped):
                return count
        return header


@dataclass(frozen=True, slots=True)
class _Rows:
    """The shape of one row of an array of tables."""

    required: dict[str, shape.Shape]
    optional: dict[str, shape.Shape]

    def __call__(self, value: object, place: str) -> None:
        """Rows are checked one by one, so that a message can name the line."""


def _requirement(document: _Document, number: int, row: dict[str, Any]) -> Requirement:
    def refuse(key: str, saw: str) -> NoReturn:
        document.refuse("requirement", number, key, saw)

    facts, claims = [fact.id for fact in ALL_FACTS], [claim.name for claim in ALL_CLAIMS]
    subjects = [key for key in SUBJECTS if key in row]
    if not subjects or (len(subjects) > 1 and set(subjects) != {"cases", "areas"}):
        refuse("", f"a requirement asks for one of {', '.join(SUBJECTS)} (cases and areas may go together)")
    if row["severity"] not in SEVERITIES:
        refuse("severity", f"{row['severity']!r} is none of {', '.join(SEVERITIES)}")
    if "fact" in row and row["fact"] not in facts:
        refuse("fact", f"there is no fact {row['fact']!r}{_nearest(row['fact'], facts)}")
    conditions = [key for key in ("equals", "one_of", "at_least") if key in row]
    if ("fact" in row) != (len(conditions) == 1):
        refuse(
            conditions[0] if conditions else "fact",
            "a fact needs exactly one of equals, one_of, at_least; nothing else has one",
        )
    for name in row.get("claims", ()):
        if name not in claims:
            refuse("claims", f"there is no claim {name!r}{_nearest(name, claims)}")
    for name in row.get("layers", ()):
        if name not in LAYERS:
            refuse("layers", f"there is no layer {name!r}{_nearest(name, LAYERS)}")
    if "cause" in row and row["cause"] not in CAUSES:
        refuse("cause", f"there is no cause {row['cause']!r}{_nearest(row['cause'], CAUSES)}")
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Requirement(**fields)


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 -- needed where something is wrong

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _value(value: object, place: str) -> None:
    if not isinstance(value, bool | int | str):
        shape.refuse(place, f"{shape.kind(value)} where a value belongs")


def _day(value: object, place: str) -> None:
    if type(value) is not date:
        shape.refuse(place, "not a date such as 2027-01-31")


ID, LINE = shape.text(64, r"[a-z0-9][a-z0-9._-]*"), shape.text(2000)
LINES, PATTERNS = shape.sequence(LINE, 64), shape.sequence(shape.text(128), 256)
OPTIONAL = frozenset({"strict"})
HEADER: dict[str, shape.Shape] = {"schema": shape.text(64)}
PROFILE: dict[str, Callable[[object, str], None]] = {
    **HEADER,
    "name": ID,
    "title": LINE,
    "requirement": _Rows(
        {"id": ID, "title": LINE, "severity": shape.text(16)},
        {
            "gates": shape.boolean,
            "allow_unknown": shape.boolean,
            "fact": shape.text(64),
            "equals": _value,
            "one_of": shape.sequence(_value, 64),
            "at_least": shape.integer(0, 2**63 - 1),
            "claims": shape.sequence(ID, 64),
            "layers": shape.sequence(ID, 4),
            "proven": shape.boolean,
            "cases": PATTERNS,
            "areas": PATTERNS,
            "up_to_priority": shape.integer(1, 3),
            "cause": ID,
            "remedy": LINE,
            "cite": LINES,
        },
    ),
    "strict": shape.boolean,
}
WAIVERS: dict[str, Callable[[object, str], None]] = {
    **HEADER,
    "waiver": _Rows(
        {
            "finding": ID,
            "host": shape.record({}, {name: shape.text(128) for name in HOST_FIELDS}),
            "owner": shape.text(200),
            "reason": LINE,
            "expires": _day,
        },
        {},
    ),
}
DEVIATIONS: dict[str, Callable[[object, str], None]] = {
    **HEADER,
    "deviation": _Rows(
        {
            "id": ID,
            "cases": PATTERNS,
            "backend": shape.text(64),
            "kernel": shape.text(64),
            "reason": LINE,
            "cite": LINES,
        },
        {},
    ),
}
