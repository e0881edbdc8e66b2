"""The table of facts as a whole: nothing twice, every row of the fact catalogue answered, or left out for a reason."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import virtproof.probes
from virtproof.probes.facts.catalogue import ALL_FACTS


def omitted():
    return tomllib.loads((Path(virtproof.probes.__file__).parent / "omitted_facts.toml").read_text())


@pytest.fixture
def rows(data_folder):
    path = data_folder.parent / "facts" / "host_facts.csv"
    if not path.is_file():
        pytest.skip(f"no fact catalogue in {path} (set VIRTPROOF_DATA)")
    with path.open(newline="") as file:
        return {row["id"]: row["source_kind"] for row in csv.DictReader(file)}


def test_no_fact_is_asked_twice():
    assert not [name for name, times in Counter(fact.id for fact in ALL_FACTS).items() if times > 1]


def test_no_row_is_both_answered_and_omitted():
    answered = {ref for fact in ALL_FACTS for ref in fact.refs}
    assert not [row for table in omitted().values() for row in table if row in answered]


def test_every_row_of_a_complete_kind_is_answered_or_omitted(rows):
    answered = {ref for fact in ALL_FACTS for ref in fact.refs}
    assert answered <= rows.keys()
    for kind, table in omitted().items():
        assert table.keys() <= {row for row, of in rows.items() if of == kind}, kind
        assert all(len(reason) > 20 for reason in table.values())
        assert {row for row, of in rows.items() if of == kind} - answered - table.keys() == set(), kind
