"""A fleet for programs: CSV with a line for each host, and one JSON document."""

from __future__ import annotations

import csv
import io

from virtproof.fleet.document import SCHEMA, Fleet
from virtproof.results import Verdict
from virtproof.results_json import dump_document

COLUMNS = (
    "host", "verdict", "summary", "proof", "system", "bios", "cpu", "cpus", "microcode", "kernel", "hypervisor",
    "backend", "profile", "version", "started",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet compute a cell


def render_csv(fleet: Fleet) -> str:
    """RFC 4180, with a header; a cell that a spreadsheet would take for a formula begins with an apostrophe."""
    file = io.StringIO()
    table = csv.writer(file)
    table.writerow([*COLUMNS, *(verdict.value for verdict in Verdict), "causes", "notes", "run"])
    for one in fleet.hosts:
        cells = [getattr(one, name) for name in COLUMNS]
        counts = [one.counts.get(verdict.value, 0) for verdict in Verdict]
        causes = "; ".join(fleet.causes[number].text for number in one.causes if fleet.causes[number].gates)
        table.writerow([*map(_cell, cells), *counts, _cell(causes), _cell(" ".join(one.notes)), _cell(one.run)])
    return file.getvalue()


def render_json(fleet: Fleet) -> str:
    """The document of docs/fleet.md, ``virtproof.fleet-report/1``."""
    return dump_document(SCHEMA, fleet) + "\n"


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
