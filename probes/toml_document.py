"""TOML documents of people: every mistake is refused with file, line, key, and the nearest known name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from virtproof.probes import shape
from virtproof.spec.fault import Fault

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """The shape of one row of an array of tables."""

    required: Mapping[str, shape.Shape]
    optional: Mapping[str, shape.Shape]

    @property
    def known(self) -> dict[str, shape.Shape]:
        return {**self.required, **self.optional}


@dataclass(frozen=True, slots=True)
class Form:
    """What a document holds: its own keys, and one array of tables."""

    schema: str
    required: Mapping[str, shape.Shape]
    optional: Mapping[str, shape.Shape]
    table: str
    rows: Rows


class Document:
    """A TOML file that remembers where its keys are.  Raises ``Fault`` for whatever is not of its form."""

    def __init__(self, path: Path, form: Form) -> None:
        self.path, self.form = path, form
        try:
            with path.open("rb") as file:
                self.data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise Fault(f"read {path}", getattr(error, "strerror", None) or str(error)) from error
        if len(self.data) > MAX_BYTES:
            raise Fault(f"read {path}", f"more than {MAX_BYTES >> 20} MiB")
        try:
            self.text = self.data.decode("utf-8")
            self.table: dict[str, Any] = tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise Fault(f"read {path}", f"not a TOML document: {error}") from error
        if self.table.get("schema") != form.schema:
            self.refuse("schema", f"it must say schema = {form.schema!r}")
        self._check()

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.table.get(self.form.table, [])
        return rows

    def refuse(self, key: str, saw: str, row: int | None = None) -> NoReturn:
        """Refuse a key of the document, or of its ``row``-th table; an empty key is the table itself."""
        place = f"{self.path}, line {self._line(key, row)}"
        raise Fault(f"read {place}", f"{key}: {saw}" if key else saw)

    def unique(self, key: str) -> None:
        seen: set[str] = set()
        for number, row in enumerate(self.rows):
            if row[key] in seen:
                self.refuse(key, f"the {key} {row[key]!r} is taken", number)
            seen.add(row[key])

    def _check(self) -> None:
        form = self.form
        known = {"schema": shape.text(64), **form.required, **form.optional}
        for key, value in self.table.items():
            if key == form.table:
                continue
            if key not in known:
                self.refuse(key, f"there is no key {key!r}{nearest(key, (*known, form.table))}")
            self._checked(known[key], value, key, None)
        for key in form.required:
            if key not in self.table:
                self.refuse("", f"the key {key!r} is missing")
        rows = self.table.get(form.table, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self.refuse(form.table, f"{form.table} must be an array of tables: [[{form.table}]]")
        for number, row in enumerate(rows):
            for key in form.rows.required:
                if key not in row:
                    self.refuse("", f"the key {key!r} is missing", number)
            for key, value in row.items():
                if key not in form.rows.known:
                    self.refuse(key, f"there is no key {key!r}{nearest(key, form.rows.known)}", number)
                self._checked(form.rows.known[key], value, key, number)

    def _checked(self, check: shape.Shape, value: object, key: str, row: int | None) -> None:
        try:
            check(value, key)
        except Fault as error:
            self.refuse(key, error.saw, row)

    def _line(self, key: str, row: int | None) -> int:
        """The line of a key in the n-th table; of the table's header where the key is not there."""
        seen, header = -1, 1
        for count, line in enumerate(self.text.splitlines(), 1):
            stripped = line.strip()
            if stripped.startswith("[["):
                if row is None or seen == row:
                    break
                seen += 1
                header = count if seen == row else header
            elif (row is None or seen == row) and key and re.match(rf"{re.escape(key)}\s*=", stripped):
                return count
        return header


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"``, or nothing where nothing is near."""
    import difflib  # noqa: PLC0415 -- needed where something is wrong

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
