"""Markers for ``pytest --pyargs virtproof.conformance -m``: a case's area, and how important its rule is."""

from __future__ import annotations

import pytest

from virtproof.conformance.case import HostScript, Program, Row
from virtproof.conformance.catalogue import AREAS

IMPORTANCE = {1: "core", 2: "full", 3: "exotic"}


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known: pytest warns of others, and refuses them with --strict-markers."""
    for area in AREAS:
        config.addinivalue_line("markers", f"{area}: conformance cases of this area")
    for priority, name in IMPORTANCE.items():
        config.addinivalue_line("markers", f"{name}: conformance cases whose rule has priority {priority}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each case."""
    for item in items:
        parameters = getattr(item, "callspec", None)  # other tests of the same session may have none
        case = parameters.params.get("case") if parameters else None
        if isinstance(case, Row | Program | HostScript):
            item.add_marker(case.area)
            item.add_marker(IMPORTANCE[case.priority])
