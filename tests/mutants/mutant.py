"""What a mutant is, and how anything of ours is made wrong for a while."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from unittest.mock import patch

from virtproof.conformance.case import Case

How = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong thing of the processor or the monitor.

    ``wrong`` says what; ``how`` makes the context in which it is so.  ``cases`` are areas, or patterns of case ids, that
    are run against it; ``caught`` are ids of cases of which at least one must not pass then.
    """

    id: str
    wrong: str
    how: How
    cases: tuple[str, ...]
    caught: tuple[str, ...]

    def concerns(self, case: Case) -> bool:
        return any(case.area == pattern or fnmatchcase(case.id, pattern) for pattern in self.cases)


def of(*cases: str) -> Callable[..., Mutant]:
    """A maker of mutants that concern the same cases, for tables of one line a mutant; patterns may be added."""

    def mutant(id: str, wrong: str, how: How, caught: str, *more: str) -> Mutant:  # noqa: A002
        return Mutant(id, wrong, how, (*cases, *more), tuple(caught.split()))

    return mutant


def wrapped(owner: Any, name: str, around: Callable[..., Any]) -> How:
    """``around(original, ...)`` is called in place of a function or method."""

    def how() -> AbstractContextManager[Any]:
        original = getattr(owner, name)
        return patch.object(owner, name, lambda *args, **kwargs: around(original, *args, **kwargs))

    return how


def replaced(owner: Any, name: str, value: Any) -> How:
    """An attribute has another value."""
    return lambda: patch.object(owner, name, value)


def entry(table: dict[Any, Any], key: Any, **fields: Any) -> How:
    """Fields of a named tuple in a table have other values."""
    return lambda: patch.dict(table, {key: table[key]._replace(**fields)})
