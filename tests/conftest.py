"""What tests of more than one folder need: the engine, and the bundles."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser
from virtproof.kvm import Kvm, KvmUnavailable
from virtproof.spec.fault import Fault
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.engines.software import SoftwareEngine

# A shell starts what it puts into the background with SIGINT ignored, and all that this starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def bundles() -> Iterator[Path]:
    """A folder that everybody can read, with both bundles; for tests that ``tests.building.BUILDS`` marks."""
    build = Path(__file__).parents[1] / "bundle" / "build.py"
    with tempfile.TemporaryDirectory(prefix="virtproof-test-") as name:
        os.chmod(name, 0o755)
        script = [sys.executable, str(build), "--out", name]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield Path(name)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser; skips, with the reason, where there is none."""
    if not CHROMIUM:
        pytest.skip("no chromium on this machine (Debian: chromium)")
    with Browser(tmp_path_factory.mktemp("browser")) as one:
        yield one
