"""All cases: the families' tables, found by import."""

from __future__ import annotations

import functools
import hashlib
import importlib
import pkgutil

from virtproof.conformance import areas
from virtproof.conformance.case import Case

AREAS = tuple(module.name for module in pkgutil.iter_modules(areas.__path__))


@functools.cache
def all_cases() -> tuple[Case, ...]:
    """Every case of every module below ``conformance.areas``, in the order of areas and tables.

    Raises ValueError where two cases have the same id.
    """
    cases: dict[str, Case] = {}
    for found in pkgutil.walk_packages(areas.__path__, areas.__name__ + "."):
        if found.ispkg:
            continue
        for case in importlib.import_module(found.name).CASES:
            if case.id in cases:
                raise ValueError(f"two cases have the id {case.id}")
            cases[case.id] = case
    return tuple(cases.values())


@functools.cache
def by_id() -> dict[str, Case]:
    """All cases by id."""
    return {case.id: case for case in all_cases()}


@functools.cache
def cases_sha256() -> str:
    """A hash over all case tables, by which runs of different versions can be told apart."""
    digest = hashlib.sha256()
    for case in all_cases():
        digest.update(repr(case).encode())
    return digest.hexdigest()
