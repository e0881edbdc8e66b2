"""The tests here speak of one engine."""

from __future__ import annotations

import pytest

from virtproof.vmm.engines.software import SoftwareEngine


@pytest.fixture(scope="session")
def engine(software: SoftwareEngine) -> SoftwareEngine:
    return software
