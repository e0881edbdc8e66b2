"""What is collected on one day is shown and judged on another."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from junitparser import JUnitXml

from virtproof.cli.app import run
from virtproof.conformance.case import Case
from virtproof.results import CostResult

if TYPE_CHECKING:
    from tests.cli.conftest import Guests

LAYER_WORDS = {"yes", "no", "unknown", "n/a"}


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    file = tmp_path / "host.json"
    assert run(["collect", "-o", str(file)]) == 0
    return file


def test_a_snapshot_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["collect"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "virtproof.snapshot/2"


def test_probe_gives_facts_and_claims_to_a_program(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe", "--json", "--snapshot", str(snapshot)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"schema", "facts", "claims"}
    assert document["facts"]
    assert all(set(fact) in ({"known"}, {"unknown"}) for fact in document["facts"].values())
    assert document["claims"]
    for claim in document["claims"].values():
        assert set(claim) == {"silicon", "firmware", "kernel", "functional", "cause", "remedy"}
        assert {claim["silicon"], claim["firmware"], claim["kernel"], claim["functional"]} <= LAYER_WORDS


def test_probe_shows_facts_and_claims_to_a_reader(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe", "--snapshot", str(snapshot)]) == 0
    said = capsys.readouterr().out
    assert "fact" in said.splitlines()[0]
    assert "what stands in the way" in said


def test_a_snapshot_is_judged(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["judge", str(snapshot), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert {0: "compliant", 3: "not compliant", 5: "unknown"}[code] == document["outcome"]
    assert document["counts"] == {}


def test_a_snapshot_is_judged_from_standard_input(
    snapshot: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = run(["judge", str(snapshot)])
    words = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(snapshot.read_bytes())))
    assert run(["judge", "-"]) == code
    assert capsys.readouterr().out == words


def test_evidence_is_judged_with_what_its_guests_saw(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["check", "--out", str(tmp_path), *(case.id for case in some)])
    capsys.readouterr()
    assert run(["judge", str(tmp_path / "evidence.json.gz"), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["counts"] == {some[0].area: {"pass": len(some)}}


BOUND = """
schema = "virtproof.profile/1"
name = "own"
title = "Ours"

[[requirement]]
id = "exit-cost"
title = "An exit is cheap"
severity = "minor"
cost = "cpuid"
at_most = 1000
"""


@pytest.mark.parametrize(("median", "code"), [(999, 0), (1001, 3)])
def test_a_profile_bounds_a_cost_as_measured_and_as_recorded(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, median: int, code: int
) -> None:
    profile = tmp_path / "own.toml"
    profile.write_text(BOUND)
    cost = CostResult(name="cpuid", title="CPUID", unit="ns", samples=9, minimum=1, median=median, p99=median)
    monkeypatch.setattr("virtproof.cli.check.costs_of", lambda *_: (cost,))
    monkeypatch.setattr("virtproof.cli.check.nics_of", lambda *_: ())
    monkeypatch.setattr("virtproof.cli.check.disks_of", lambda *_: ())
    asked = ["--profile", str(profile)]
    assert run(["check", "--bench", "--out", str(tmp_path / "out"), *asked, some[0].id]) == code
    assert run(["judge", str(tmp_path / "out/evidence.json.gz"), *asked]) == code
    assert run(["check", "--out", str(tmp_path / "none"), *asked, some[0].id]) == 5


def test_a_run_is_shown_again(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["check", "--out", str(tmp_path), *(case.id for case in some)])
    first = capsys.readouterr().out
    assert run(["report", str(tmp_path)]) == 0
    assert first.startswith(capsys.readouterr().out.rstrip())
    html, junit = tmp_path / "again.html", tmp_path / "again.xml"
    assert run(["report", str(tmp_path / "run.json"), "--html", str(html), "--junit", str(junit)]) == 0
    assert html.read_bytes() == (tmp_path / "report.html").read_bytes()
    assert len(list(JUnitXml.fromfile(str(junit)))) > 0


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8b rest", b"[" * 100_000, b"\xff\xfe\x00"])
@pytest.mark.parametrize("command", [["judge"], ["probe", "--snapshot"], ["report"]])
def test_a_file_that_is_none_of_ours_is_a_fault(
    command: list[str], content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert run([*command, str(tmp_path / "file")]) == 4
    assert "bug" not in capsys.readouterr().err


def test_a_folder_without_a_run_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) == 4
    assert "run.json" in capsys.readouterr().err


def test_a_snapshot_that_cannot_be_written_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["collect", "-o", str(tmp_path / "none" / "host.json")]) == 4
    assert "bug" not in capsys.readouterr().err


def test_a_judgement_is_compared_with_an_earlier_one(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["judge", str(snapshot), "--json"])
    (tmp_path / "run.json").write_text(capsys.readouterr().out)
    document = json.loads(snapshot.read_text())
    document["files"]["values"]["/proc/sys/kernel/osrelease"] = "9.9.9"
    snapshot.write_text(json.dumps(document))
    run(["judge", str(snapshot), "--json", "--baseline", str(tmp_path)])
    baseline = json.loads(capsys.readouterr().out)["baseline"]
    (change,) = (one for one in baseline["changes"] if one["subject"] == "host")
    assert (change["id"], change["after"]) == ("kernel", "9.9.9")
    run(["judge", str(snapshot), "--baseline", str(tmp_path / "run.json")])
    said = capsys.readouterr().out
    assert "Changed since 20" in said
    assert "host kernel: " in said


@pytest.mark.parametrize("name", [".", "host.json"])
def test_a_baseline_that_is_no_run_is_refused(
    snapshot: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["judge", str(snapshot), "--baseline", str(tmp_path / name)]) == 4
    assert "run.json" in capsys.readouterr().err or name != "."
