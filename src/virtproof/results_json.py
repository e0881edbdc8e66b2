"""Runs and evidence as JSON files: virtproof.run/1 and virtproof.evidence/1 (docs/run.md).

The dataclasses of ``virtproof.results`` are the schema: what is written follows from their fields, what is read
is checked against their types.  Files may come from a hostile host: reading is bounded and raises ``Fault`` only.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import math
import os
import secrets
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from virtproof.results import Evidence, Run, contradiction
from virtproof.spec.fault import Fault

RUN_SCHEMA = "virtproof.run/1"
EVIDENCE_SCHEMA = "virtproof.evidence/1"

# Ours are below 200 KiB and a few MiB; what a parser makes of a document takes up to 20 times its size.
RUN_LIMIT = 16 << 20
EVIDENCE_LIMIT = 64 << 20

T = TypeVar("T")


def dump_run(run: Run) -> str:
    """The text of run.json."""
    return dump_document(RUN_SCHEMA, run, indent=1) + "\n"


def load_run(text: str | bytes, name: str = "run.json") -> Run:
    """The run in ``text``; ``name`` is what an error calls it.  Raises Fault, also where the run contradicts itself."""
    run = load_document(Run, RUN_SCHEMA, text, name, RUN_LIMIT)
    if why := contradiction(run):
        raise _unreadable(name, f"it contradicts itself: {ascii(why)[1:-1][:300]}")
    return run


def dump_evidence(evidence: Evidence) -> bytes:
    """The bytes of evidence.json.gz; the same evidence makes the same bytes."""
    return gzip.compress(dump_document(EVIDENCE_SCHEMA, evidence).encode(), compresslevel=6, mtime=0)


def load_evidence(data: bytes, name: str = "evidence.json.gz") -> Evidence:
    """The evidence in gzip ``data``; ``name`` is what an error calls it.  Raises Fault."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            text = stream.read(EVIDENCE_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as err:
        raise _unreadable(name, f"damaged gzip data ({err})") from None
    return load_document(Evidence, EVIDENCE_SCHEMA, text, name, EVIDENCE_LIMIT)


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path``: whole, or not at all and with nothing left behind.  Raises Fault."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Not tempfile: its files are private, and a report is for others to read as the umask allows.
        with open(unfinished, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as err:
        remedy = _WRITE_REMEDIES.get(err.errno or 0, "choose another directory")
        raise Fault(f"write {path}", err.strerror or str(err), remedy.format(folder=path.parent)) from None
    finally:
        with suppress(OSError):
            unfinished.unlink()


_NO_SPACE = "free some space on the file system of {folder}, or choose another directory"
_NO_FOLDER = "create the directory {folder}, or choose another one"
_NOT_ALLOWED = "make {folder} writable for this user, or choose another directory"
_WRITE_REMEDIES = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EFBIG: _NO_SPACE,
    errno.ENOENT: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _NOT_ALLOWED,
    errno.EISDIR: "remove the directory of that name, or choose another one",
}


# Values to JSON and back.


def dump_document(schema: str, value: object, indent: int | None = None) -> str:
    """The text of a dataclass as a JSON document of that schema."""
    # ASCII only: a lone surrogate in a host's text has no UTF-8 form, but it has an escape.
    separators = None if indent else (",", ":")
    return json.dumps(
        {"schema": schema, **_fields(value)}, default=_fields, indent=indent, separators=separators, allow_nan=False
    )


def _fields(value: Any) -> dict[str, object]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


def load_document(kind: type[T], schema: str, text: str | bytes, name: str, limit: int) -> T:
    """The dataclass in a JSON document of that schema, at most ``limit`` bytes.  Raises Fault."""
    if len(text) > limit:
        raise _unreadable(name, f"larger than {limit >> 20} MiB")
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise _unreadable(name, "nested too deeply") from None
    except ValueError as err:
        raise _unreadable(name, f"not JSON ({err})") from None
    found = document.pop("schema", None) if isinstance(document, dict) else None
    if found != schema:
        raise Fault(
            f"read {name}",
            f"schema is {_shown(found)}, not {schema!r}",
            "give a file that `virtproof check` wrote; read one of a newer virtproof with that version",
        )
    try:
        wanted: Any = kind
        loaded: T = _decoder(wanted)(document)
    except _Misfit as misfit:
        raise _unreadable(name, str(misfit)) from None
    return loaded


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _unreadable(name: str, saw: str) -> Fault:
    return Fault(f"read {name}", saw, "the file is damaged or was not written by virtproof: make it again")


class _Misfit(Exception):
    """A value that does not fit its type; the path grows while the error climbs out of the document."""

    def __init__(self, saw: str, path: str = "") -> None:
        super().__init__(saw, path)
        self.saw, self.path = saw, path

    def __str__(self) -> str:
        return f"at ${self.path}: {self.saw}"

    def inside(self, step: str) -> _Misfit:
        return _Misfit(self.saw, step + self.path)


def _shown(value: object) -> str:
    """A hostile value in an error message: ASCII, bounded."""
    text = ascii(value) if isinstance(value, str | bool | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """What makes a ``kind`` of a value from JSON: a scalar, Enum, dataclass, tuple, dict, union or ``object``.

    Chosen once for each type: a run has thousands of values, and a fleet thousands of runs.
    """
    origin = get_origin(kind)
    if origin is tuple:
        return partial(_decode_tuple, _decoder(get_args(kind)[0]))
    if origin is dict:
        return partial(_decode_dict, _decoder(get_args(kind)[1]))
    if origin is UnionType or origin is Union:
        return partial(_decode_union, get_args(kind))
    if is_dataclass(kind):
        return partial(_decode_dataclass, kind)
    if kind is object:
        return _decode_anything
    if issubclass(kind, Enum):
        return partial(_decode_enum, kind)
    return _decode_text if kind is str else partial(_decode_scalar, kind)


def _decode_anything(value: object) -> object:
    return value


def _decode_text(value: object) -> object:
    if type(value) is not str:
        raise _Misfit(f"{_shown(value)} where {_named(str)} belongs")
    return value


def _decode_scalar(kind: Any, value: object) -> object:
    if kind is float and type(value) is int:
        value = float(value) if value.bit_length() <= 64 else math.inf
    if type(value) is not kind:  # by identity: a bool is an int to isinstance
        raise _Misfit(f"{_shown(value)} where {_named(kind)} belongs")
    if (isinstance(value, int) and value.bit_length() > 64) or (isinstance(value, float) and not math.isfinite(value)):
        raise _Misfit("a number out of range")
    return value


def _decode_tuple(decode: Callable[[Any], Any], value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _Misfit(f"{_shown(value)} where a list belongs")
    items: list[object] = []
    try:
        for item in value:
            items.append(decode(item))
    except _Misfit as misfit:
        raise misfit.inside(f"[{len(items)}]") from None
    return tuple(items)


def _decode_dict(decode: Callable[[Any], Any], value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _Misfit(f"{_shown(value)} where an object belongs")
    items: dict[str, object] = {}
    for key, item in value.items():
        try:
            items[key] = decode(item)
        except _Misfit as misfit:
            raise misfit.inside(f"[{_shown(key)}]") from None
    return items


def _decode_union(kinds: tuple[Any, ...], value: object) -> object:
    """A union of scalars and at most one dataclass: each JSON value fits one of them at most."""
    scalar: Any = type(value)
    if scalar in kinds:
        return _decoder(scalar)(value)
    if isinstance(value, dict) and (record := next(filter(is_dataclass, kinds), None)):
        return _decode_dataclass(record, value)
    raise _Misfit(f"{_shown(value)} where {' or '.join(map(_named, kinds))} belongs")


def _decode_enum(kind: type[Enum], value: object) -> Enum:
    try:
        return kind(value)
    except ValueError:
        raise _Misfit(f"{_shown(value)} is none of {', '.join(repr(m.value) for m in kind)}") from None


@cache
def _members(kind: Any) -> tuple[dict[str, Callable[[Any], Any]], frozenset[str]]:
    """The decoders of a dataclass's fields, and which fields have no default."""
    decoders = {name: _decoder(hint) for name, hint in get_type_hints(kind).items()}
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    return decoders, frozenset(required)


def _decode_dataclass(kind: Any, value: object) -> object:
    if not isinstance(value, dict):
        raise _Misfit(f"{_shown(value)} where an object belongs")
    decoders, required = _members(kind)
    if missing := required - value.keys():
        raise _Misfit("missing", f".{min(missing)}")
    if unknown := value.keys() - decoders.keys():
        raise _Misfit(f"unknown field {_shown(min(unknown))}")
    found: dict[str, object] = {}
    for key, item in value.items():
        try:
            found[key] = decoders[key](item)
        except _Misfit as misfit:
            raise misfit.inside(f".{key}") from None
    return kind(**found)


def _named(kind: Any) -> str:
    names = {str: "text", bool: "true or false", int: "an integer", float: "a number", type(None): "null"}
    return names.get(kind, "an object")
