"""The published schemas of run.json and evidence.json.gz, held against what is written and what is read."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.test_results_json import EVIDENCE, RUN
from virtproof.results_json import dump_evidence, dump_run, load_evidence, load_run
from virtproof.results_schema import DOCUMENTS, json_schema
from virtproof.spec.fault import Fault

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
WRITTEN = {"run": json.loads(dump_run(RUN)), "evidence": json.loads(gzip.decompress(dump_evidence(EVIDENCE)))}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_published_schema_is_that_of_the_dataclasses(name: str) -> None:
    renew = f"python -m virtproof.results_schema {name} > docs/schemas/{name}.schema.json"
    assert json.loads((SCHEMAS / f"{name}.schema.json").read_text()) == json_schema(name), renew


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a document, as the steps that lead there."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in inner:
        if path != ("snapshot",):  # anything is allowed in there
            yield from places(item, (*path, step))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    made = copy.deepcopy(document)
    at = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return made


def is_read(name: str, document: Any) -> bool:
    text = json.dumps(document)
    try:
        load_run(text) if name == "run" else load_evidence(gzip.compress(text.encode()))
    except Fault:
        return False
    return True


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schema_and_reader_agree_on_every_place(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(name))
    validator = jsonschema.Draft202012Validator(json_schema(name))
    document = WRITTEN[name]
    validator.validate(document)
    tried = 0
    for path in places(document):
        for value in (None, True, 7, 1.5, "x", [], {}, {"more": 1}, 1 << 64):
            if path[-1:] == ("seconds",) and value == 1 << 64:
                continue  # a schema does not tell 2^64 from 2.0^64
            made = changed(document, path, value) if path else value
            assert validator.is_valid(made) is is_read(name, made), (path, value)
            tried += 1
    assert tried > 300


@pytest.mark.parametrize("name", DOCUMENTS)
def test_members_that_are_gone_or_unknown(name: str) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(name))
    document = WRITTEN[name]
    for made in [*({k: v for k, v in document.items() if k != gone} for gone in document), {**document, "more": 1}]:
        assert validator.is_valid(made) is is_read(name, made)
