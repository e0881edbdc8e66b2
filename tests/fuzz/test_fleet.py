"""Damaged run files: each is a row of a fleet, or a file that is told; nothing else comes out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fleet.conftest import BAD, NOW
from virtproof.fleet.merge import merge
from virtproof.fleet.page import render_page
from virtproof.fleet.tables import render_csv, render_json
from virtproof.results_json import dump_run

EXAMPLES = int(os.environ.get("VIRTPROOF_FUZZ", "60"))  # of each test

WORDS = st.sampled_from(
    ["", "\0", "\ud800", "\x1b[2J", "</script>", "=1+1", "\n" * 9, "x" * 5000, "2026-01-01", "9999-12-31T23:59:59Z"]
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20)
VALUES |= st.lists(VALUES, max_size=3) | st.dictionaries(WORDS, VALUES, max_size=3)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    if path:
        yield path
    for key, inside in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inside, (*path, key))


PLACES = [*places(json.loads(dump_run(BAD)))]


def fleet_of(*files: bytes) -> None:
    with TemporaryDirectory() as name:
        for number, data in enumerate(files):
            host = Path(name) / f"h{number}"
            host.mkdir()
            (host / "run.json").write_bytes(data)
        fleet = merge([Path(name)], now=NOW, baseline=Path(name), workers=1)
        assert {one.host for one in fleet.hosts} == {f"h{number}" for number in range(len(files))}
        render_page(fleet, Path(name)).encode()
        render_csv(fleet).encode()
        render_json(fleet).encode()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=4))
def test_runs_with_other_values(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = json.loads(dump_run(BAD))
    for path, value in changes:
        inside = document
        try:
            for step in path[:-1]:
                inside = inside[step]
            inside[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    fleet_of(json.dumps(document).encode(), dump_run(BAD).encode())


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=8))
def test_files_with_other_bytes(where: float, cut: int, put: bytes) -> None:
    data = dump_run(BAD).encode()
    at = int(where * len(data))
    fleet_of(data[:at] + put + data[at + cut :])
