"""Shapes of JSON and TOML documents that come from elsewhere: bounded, and refused with the place that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from virtproof.spec.fault import Fault

Shape = Callable[[object, str], None]  # (value, place); raises Fault


def refuse(place: str, saw: str) -> NoReturn:
    raise Fault(f"check {place}", saw)


def text(limit: int = 4096, pattern: str = "") -> Shape:
    """A string of at most ``limit`` characters that UTF-8 can carry and ``pattern``, if any, matches as a whole."""
    compiled = re.compile(pattern) if pattern else None

    def check(value: object, place: str) -> None:
        if not isinstance(value, str):
            refuse(place, f"{kind(value)} where text belongs")
        if len(value) > limit:
            refuse(place, f"{len(value)} characters, at most {limit} are allowed")
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            refuse(place, "half of a surrogate pair")
        if compiled and not compiled.fullmatch(value):
            refuse(place, f"{value[:60]!r} is not of the form {pattern}")

    return check


def integer(low: int, high: int) -> Shape:
    def check(value: object, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            refuse(place, f"{kind(value)} where a number belongs")
        if not low <= value <= high:
            refuse(place, f"the number is outside {low}..{high}")

    return check


def boolean(value: object, place: str) -> None:
    if not isinstance(value, bool):
        refuse(place, f"{kind(value)} where true or false belongs")


def optional(item: Shape) -> Shape:
    """The shape, or JSON's null."""

    def check(value: object, place: str) -> None:
        if value is not None:
            item(value, place)

    return check


def one_of(*items: Shape) -> Shape:
    """Any of several shapes."""

    def check(value: object, place: str) -> None:
        for item in items[:-1]:
            try:
                item(value, place)
            except Fault:
                continue
            return
        items[-1](value, place)

    return check


def parsed_by(parse: Callable[[str], object], limit: int) -> Shape:
    """Text that ``parse`` takes without a ``Fault``."""
    is_text = text(limit)

    def check(value: object, place: str) -> None:
        is_text(value, place)
        try:
            parse(str(value))
        except Fault as error:
            refuse(place, error.saw)

    return check


def sequence(item: Shape, limit: int) -> Shape:
    def check(value: object, place: str) -> None:
        if not isinstance(value, list):
            refuse(place, f"{kind(value)} where a list belongs")
        if len(value) > limit:
            refuse(place, f"{len(value)} entries, at most {limit} are allowed")
        for number, entry in enumerate(value):
            item(entry, f"{place}[{number}]")

    return check


def mapping(key: Shape, item: Shape, limit: int) -> Shape:
    def check(value: object, place: str) -> None:
        if not isinstance(value, dict):
            refuse(place, f"{kind(value)} where a table belongs")
        if len(value) > limit:
            refuse(place, f"{len(value)} entries, at most {limit} are allowed")
        for name, entry in value.items():
            key(name, f"a name in {place}")
            item(entry, f"{place}[{str(name)[:80]!r}]")

    return check


def record(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """A table with exactly these names."""
    known = {**required, **(optional or {})}

    def check(value: object, place: str) -> None:
        if not isinstance(value, dict):
            refuse(place, f"{kind(value)} where a table belongs")
        for name in required:
            if name not in value:
                refuse(place, f"{name!r} is missing")
        for name, entry in value.items():
            if name not in known:
                refuse(place, f"{str(name)[:80]!r} is not known here; known: {', '.join(known)}")
            known[name](entry, f"{place}.{name}")

    return check


def kind(value: object) -> str:
    """What a value is, in words for people."""
    names = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a fraction"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
