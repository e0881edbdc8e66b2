from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from junitparser import JUnitXml

from virtproof.cli.app import run
from virtproof.conformance.case import Case
from virtproof.results import Outcome, Verdict

if TYPE_CHECKING:
    from tests.cli.conftest import Guests

FILES = {"run.json", "evidence.json.gz", "report.html", "junit.xml", "SHA256SUMS"}


def check(out: Path, cases: Sequence[Case], *more: str) -> int:
    return run(["check", "--out", str(out), *(case.id for case in cases), *more])


def written(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "run.json").read_text())
    return document


def test_every_report_is_there_and_can_be_read(guests: Guests, some: tuple[Case, ...], tmp_path: Path) -> None:
    check(tmp_path / "out", some)
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    document = written(tmp_path / "out")
    assert document["complete"] is True
    assert document["counts"] == {some[0].area: {"pass": len(some)}}
    evidence = json.loads(gzip.decompress((tmp_path / "out" / "evidence.json.gz").read_bytes()))
    assert [case["id"] for case in evidence["cases"]] == [case.id for case in some]
    assert (tmp_path / "out" / "report.html").read_text().lower().startswith("<!doctype html>")
    assert len(list(JUnitXml.fromfile(str(tmp_path / "out" / "junit.xml")))) > 0


def test_the_engine_is_told_how_patient_to_be(guests: Guests, some: tuple[Case, ...], tmp_path: Path) -> None:
    check(tmp_path / "out", some, "--patience", "2.5")
    assert guests.patience == 2.5
    assert check(tmp_path / "out", some, "--patience", "0") == 64, "less than they need is nothing to ask for"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(Outcome.COMPLIANT, 0), (Outcome.NOT_COMPLIANT, 3), (Outcome.ERROR, 4), (Outcome.UNKNOWN, 5)],
)
def test_the_exit_code_is_the_verdict(
    guests: Guests,
    some: tuple[Case, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome,
    code: int,
) -> None:
    from virtproof.probes import judge as module

    real = module.judge
    monkeypatch.setattr(module, "judge", lambda *a, **k: replace(real(*a, **k), outcome=outcome))
    assert check(tmp_path, some) == code
    assert written(tmp_path)["outcome"] == outcome


def test_words_name_the_verdict_and_the_report(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(tmp_path, some)
    said = capsys.readouterr().out
    assert said.startswith(written(tmp_path)["outcome"].upper())
    assert str(tmp_path / "report.html") in said


def test_json_is_the_run_and_nothing_else(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(tmp_path, some, "--json")
    assert json.loads(capsys.readouterr().out) == written(tmp_path)


def test_a_case_that_fails_is_in_the_run(guests: Guests, some: tuple[Case, ...], tmp_path: Path) -> None:
    guests.verdicts = {some[0].id: Verdict.FAIL, some[1].id: Verdict.SKIP}
    check(tmp_path, some)
    assert [case["id"] for case in written(tmp_path)["failing"]] == [some[0].id]


def test_only_some_cases_are_named_as_such(guests: Guests, some: tuple[Case, ...], tmp_path: Path) -> None:
    check(tmp_path, some[:1])
    assert guests.ran == [some[0].id]
    assert any("Only the cases named" in sentence for sentence in written(tmp_path)["not_proven"])


def test_without_kvm_the_host_is_judged_and_says_what_was_not_proven(
    no_kvm: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, some) in {3, 5}
    assert no_kvm.ran == []
    assert any("Why no guest was run: open /dev/kvm" in sentence for sentence in written(tmp_path)["not_proven"])
    assert "No guest was run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no.such.case"], "no case 'no.such.case'"),
        (["--area", "no-such-area"], "no area 'no-such-area'"),
        (["--profile", "kvm-hots"], "did you mean kvm-host?"),
        (["--profile", "./none.toml"], "no profile file ./none.toml"),
        (["--waivers", "none.toml"], "none.toml"),
        (["--engine", "magic"], "magic"),
    ],
)
def test_a_word_that_nobody_knows_is_64_and_nothing_happens(
    guests: Guests, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(["check", "--out", str(tmp_path / "out"), *arguments]) == 64
    assert said in capsys.readouterr().err
    assert guests.ran == []
    assert not (tmp_path / "out").exists()


def test_a_case_id_with_a_slip_gets_the_nearest(
    guests: Guests, some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", some[0].id[:-1]]) == 64
    assert some[0].id in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_found_before_guests_run(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert check(tmp_path / "file" / "out", some) == 4
    assert "name another folder with --out" in capsys.readouterr().err
    assert guests.ran == []


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    guests: Guests,
    some: tuple[Case, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert check(tmp_path, some) == 4
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one page."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system can be mounted by root only, and not in every container")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(
    guests: Guests, some: tuple[Case, ...], tiny_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tiny_disk, some) == 4
    assert "No space left on device" in capsys.readouterr().err
    assert list(tiny_disk.iterdir()) == []


def test_interrupted_in_the_middle_there_are_reports_of_what_was_done(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guests.interrupt_after = 1
    assert check(tmp_path, some) == 130
    assert {file.name for file in tmp_path.iterdir()} == FILES
    document = written(tmp_path)
    assert (document["complete"], document["outcome"]) == (False, "interrupted")
    assert document["counts"] == {some[0].area: {"pass": 1}}
    assert f"Interrupted: {len(some) - 1} of {len(some)} cases did not run." in document["not_proven"]
    assert "INTERRUPTED" in capsys.readouterr().out
