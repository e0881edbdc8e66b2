"""The software engine, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from virtproof.spec.fault import Fault
from virtproof.vmm.engines.software import SoftwareEngine


@pytest.fixture(scope="session")
def engine() -> Iterator[SoftwareEngine]:
    try:
        made = SoftwareEngine()
    except Fault as fault:
        pytest.skip(str(fault))
    with made:
        yield made
