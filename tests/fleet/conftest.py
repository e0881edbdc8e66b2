"""Made-up fleets: folders of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from virtproof.fleet.document import Fleet
from virtproof.fleet.merge import merge
from virtproof.results import Backend, Finding, Host, Outcome, Run, Standing
from virtproof.results_json import dump_run

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KVM = Finding(id="kvm-usable", title="KVM can be used", severity="critical", standing=Standing.MET, gates=True)
NO_KVM = replace(
    KVM,
    standing=Standing.NOT_MET,
    cause="firmware-off-svm",
    cause_text="SVM is off in firmware",
    remedy="enable-in-firmware",
    remedy_text="turn it on",
)
GOOD = Run(
    version="0.1.0",
    started="2026-05-31T10:00:00+00:00",
    seconds=60.0,
    complete=True,
    outcome=Outcome.COMPLIANT,
    summary="Compliant with kvm-host.",
    host=Host(
        vendor="AuthenticAMD", cpu="EPYC 9354", cpus=64, microcode="0xa1", system="Dell R7615", bios="Dell 1.6",
        kernel="Linux 6.1.0", boot_id="",
    ),
    backend=Backend(engine="kvm", name="kvm_amd", software=False),
    profile="kvm-host",
    profile_sha256="11",
    cases_sha256="22",
    findings=(KVM,),
    counts={"traps": {"pass": 300}},
)  # fmt: skip
BAD = replace(
    GOOD, outcome=Outcome.NOT_COMPLIANT, summary="Not compliant with kvm-host: SVM is off.", findings=(NO_KVM,)
)


class Folder:
    """A folder of a fleet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, place: str, run: Run | str | bytes) -> Path:
        """Write a run, or anything else, as the run.json of a host."""
        target = self.path / place / "run.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        data = dump_run(run) if isinstance(run, Run) else run
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        return target

    def merged(self, **more: Path) -> Fleet:
        return merge([self.path], now=NOW, workers=1, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "fleet")


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[str], Folder]:
    return lambda name: Folder(tmp_path / name)
