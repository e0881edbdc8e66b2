"""Fixtures for tests that boot guests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from virtproof.kvm import Kvm, KvmUnavailable
from virtproof.spec.fault import Fault
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.engines.software import SoftwareEngine


@pytest.fixture
def engine() -> Iterator[KvmEngine]:
    """The KVM engine; skips, with the reason, where /dev/kvm cannot be used."""
    try:
        kvm = Kvm.open()
    except KvmUnavailable as fault:
        pytest.skip(str(fault))
    with kvm:
        yield KvmEngine(kvm)


@pytest.fixture(scope="session")
def software() -> Iterator[SoftwareEngine]:
    """The software engine; skips, with the reason, where there is none."""
    try:
        made = SoftwareEngine()
    except Fault as fault:
        pytest.skip(str(fault))
    with made:
        yield made
