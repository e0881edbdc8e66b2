"""Text of a host or a guest, made fit for a document: every character visible, none that acts, none without end."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

LIMIT = 4096  # characters; the longest text of our own is a citation of some 300

# Control characters drive terminals and are mostly forbidden in XML 1.0; surrogates have no UTF-8 form;
# U+FFFE and U+FFFF are forbidden in XML; direction marks make text read as something else than it says.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff\ud800-\udfff]"
)

T = TypeVar("T")


def printable(text: str, limit: int = LIMIT) -> str:
    """``text`` with unprintable characters as escapes, at most ``limit`` characters and a note on what is left out.

    >>> printable("a\\x00b")
    'a\\\\x00b'
    >>> printable("abcdef", limit=4)
    'abcd… (2 more characters)'
    """
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text) - limit} more characters)"
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def printable_values(value: T) -> T:
    """A copy of a result, in which every text went through ``printable``; a report is made from nothing else."""
    return _copy(value)  # type: ignore[no-any-return]


def _copy(value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return printable(value)
    if kind is tuple:
        return tuple([_copy(item) for item in value])
    if kind is dict:
        return {printable(key): _copy(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _copy(getattr(value, f.name)) for f in fields(value)})
    return value
