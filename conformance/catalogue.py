"""All cases: the families' tables, found by import."""

from __future__ import annotations

import functools
import hashlib
import importlib
import pkgutil
from pathlib import Path

from virtproof import conformance, guest_payloads
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
def cases_sha256() -> str:
    """A hash over everything that decides what a case asks and judges: the sources of cases and payloads."""
    digest = hashlib.sha256()
    for package in (conformance, guest_payloads):
        root = Path(package.__path__[0])
        for file in sorted(root.rglob("*")):
            if file.suffix in (".py", ".S", ".c", ".h", ".inc", ".ld"):
                digest.update(f"{package.__name__}/{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()
