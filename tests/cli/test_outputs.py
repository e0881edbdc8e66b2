"""``--html FILE`` and its kind, of ``check`` and ``report``; the manifest that ``check`` leaves; ``--bench``."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from virtproof.cli.app import run
from virtproof.conformance.case import Case
from virtproof.reports.formats import FORMATS
from virtproof.results import CostResult, DiskResult, NicResult
from virtproof.results_json import load_evidence

if TYPE_CHECKING:
    from tests.cli.conftest import Guests

NICS = (NicResult(name="e1000", title="82540EM", packets=8, exits=32, seconds=0.5),)
DISKS = (DiskResult(name="pvscsi", title="PVSCSI", requests=8, size=4096, exits=8, seconds=0.5),)
COSTS = (CostResult(name="cpuid", title="CPUID", samples=1, minimum=5, median=5, p99=5, histogram=((4, 1),)),)


def every_format(folder: Path) -> list[str]:
    return [word for one in FORMATS for word in (f"--{one.name}", str(folder / one.name))]


def test_check_writes_every_format_and_its_manifest_holds(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    run(["check", "--out", str(tmp_path / "out"), *every_format(more), *(case.id for case in some)])
    assert sorted(os.listdir(more)) == sorted(one.name for one in FORMATS)
    assert json.loads((more / "sarif").read_text())["version"] == "2.1.0"
    assert run(["verify", str(tmp_path / "out")]) == 0


def test_report_writes_what_check_wrote(guests: Guests, some: tuple[Case, ...], tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    run(["check", "--out", str(tmp_path / "out"), *every_format(one), *(case.id for case in some)])
    assert run(["report", str(tmp_path / "out"), *every_format(other)]) == 0
    for name in os.listdir(one):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_standard_output_takes_one_format_alone(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["check", "--out", str(tmp_path), some[0].id])
    capsys.readouterr()
    assert run(["report", str(tmp_path), "--sarif", "-"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["version"] == "2.1.0"
    assert said.err == ""


@pytest.mark.parametrize(
    ("file", "code", "said"),
    [
        ("-", 64, "standard output has the verdict"),
        ("none/x", 4, "that folder is not there"),
        (".", 64, "is a directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_found_before_guests_run(
    guests: Guests, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    file: str, code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["check", "--out", str(tmp_path / "out"), "--csv", file]) == code
    assert said in capsys.readouterr().err
    assert guests.ran == []


def test_a_full_disk_leaves_the_old_file(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["check", "--out", str(tmp_path / "out"), some[0].id])
    file = tmp_path / "virtproof.prom"
    file.write_text("old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert run(["report", str(tmp_path / "out"), "--prometheus", str(file)]) == 4
    assert file.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["out", "virtproof.prom"]


def test_what_exits_cost_gets_into_the_evidence_and_the_report(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virtproof.cli.check.costs_of", lambda engine, stop: COSTS)
    monkeypatch.setattr("virtproof.cli.check.nics_of", lambda engine, stop: NICS)
    monkeypatch.setattr("virtproof.cli.check.disks_of", lambda engine, stop: DISKS)
    run(["check", "--out", str(tmp_path), some[0].id, "--bench"])
    evidence = load_evidence((tmp_path / "evidence.json.gz").read_bytes())
    assert (evidence.costs, evidence.nics, evidence.disks) == (COSTS, NICS, DISKS)
    page = (tmp_path / "report.html").read_text()
    assert 'id="cost-cpuid"' in page
    assert 'id="nic-e1000"' in page


def test_costs_are_not_measured_unasked(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("virtproof.cli.check.costs_of", never)
    monkeypatch.setattr("virtproof.cli.check.nics_of", never)
    monkeypatch.setattr("virtproof.cli.check.disks_of", never)
    run(["check", "--out", str(tmp_path), some[0].id])
    assert load_evidence((tmp_path / "evidence.json.gz").read_bytes()).costs == ()
