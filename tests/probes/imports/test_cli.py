"""``virtproof import``, and what reads its output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.probes.imports.samples import CPUID_RAW, CPUINFO, SAMPLES
from virtproof.cli.app import run


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_goes_through_probe_and_judge(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dump, snapshot = tmp_path / "dump", str(tmp_path / "snapshot.json")
    dump.write_bytes(SAMPLES[name])
    assert run(["import", str(dump), "-o", snapshot]) == 0
    assert run(["probe", "--snapshot", snapshot, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert all(fact.keys() in ({"known"}, {"unknown"}) for fact in facts.values())
    assert any("known" in fact for fact in facts.values())
    assert run(["judge", snapshot, "--json"]) in {3, 5}, "a dump alone proves no host compliant"


def test_several_files_and_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a").write_text(CPUID_RAW)
    (tmp_path / "b").write_text(CPUINFO)
    assert run(["import", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    snapshot = json.loads(capsys.readouterr().out)
    assert {"cpuid", "cpuinfo"} <= snapshot.keys()
    assert str(tmp_path) not in json.dumps(snapshot)


def test_an_unknown_format_gets_the_nearest_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a").write_text(CPUINFO)
    assert run(["import", str(tmp_path / "a"), "--format", "cpuinf"]) == 64
    assert "did you mean cpuinfo" in capsys.readouterr().err


def test_what_is_no_dump_is_told_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a").write_text("hello")
    assert run(["import", str(tmp_path / "a")]) == 4
    assert str(tmp_path / "a") in capsys.readouterr().err
