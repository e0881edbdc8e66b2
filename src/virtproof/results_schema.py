"""The JSON schemas of run.json and evidence.json.gz, made from the dataclasses that are read and written.

``python -m virtproof.results_schema run > docs/schemas/run.schema.json`` renews a published one.
"""

from __future__ import annotations

import json
import sys
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from virtproof.results import Evidence, Run
from virtproof.results_json import EVIDENCE_SCHEMA, RUN_SCHEMA

DOCUMENTS: dict[str, tuple[str, type]] = {"run": (RUN_SCHEMA, Run), "evidence": (EVIDENCE_SCHEMA, Evidence)}
SCALARS: dict[object, dict[str, object]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": -(2**64) + 1, "maximum": 2**64 - 1},
    float: {"type": "number"},
    type(None): {"type": "null"},
    object: {},
}


def json_schema(name: str) -> dict[str, object]:
    """The schema (draft 2020-12) of the document ``name``: "run" or "evidence"."""
    return schema_of(*DOCUMENTS[name])


def schema_of(identifier: str, kind: type) -> dict[str, object]:
    """The schema of a document that ``results_json.dump_document`` makes of a dataclass."""
    definitions: dict[str, object] = {}
    _of(kind, definitions)
    top: dict[str, Any] = definitions.pop(kind.__name__)  # type: ignore[assignment]
    top["properties"] = {"schema": {"const": identifier}, **top["properties"]}
    top["required"] = ["schema", *top["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": identifier,
        **top,
        "$defs": dict(sorted(definitions.items())),
    }


def _of(kind: Any, definitions: dict[str, object]) -> dict[str, object]:
    """The schema of a type; dataclasses become definitions."""
    origin = get_origin(kind)
    if kind in SCALARS:
        return SCALARS[kind]
    if origin is tuple:
        return {"type": "array", "items": _of(get_args(kind)[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(get_args(kind)[1], definitions)}
    if origin is UnionType or origin is Union:
        return {"anyOf": [_of(one, definitions) for one in get_args(kind)]}
    assert isinstance(kind, type)
    if is_dataclass(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # known before its members are looked at
            definitions[kind.__name__] = _of_dataclass(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    assert issubclass(kind, Enum)
    return {"enum": [member.value for member in kind]}


def _of_dataclass(kind: Any, definitions: dict[str, object]) -> dict[str, object]:
    hints = get_type_hints(kind)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING],
        "properties": {f.name: _of(hints[f.name], definitions) for f in fields(kind)},
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(sys.argv[1]), indent=1))
