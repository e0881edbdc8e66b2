"""The bundles run where nothing is installed: built once, and run by interpreters that see nothing else."""

from __future__ import annotations

import ast
import glob
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.building import BUILDS
from virtproof.probes.snapshot import loads
from virtproof.probes.sources.cpuid_helper import HOW

ROOT = Path(__file__).parents[1]


def python_3_9() -> str | None:
    """An interpreter of the oldest version that collecting supports."""
    for path in (*glob.glob(os.path.expanduser("~/.pyenv/versions/3.9.*/bin/python3.9")), shutil.which("python3.9")):
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


pytestmark = BUILDS


def run(file: Path, *arguments: str, python: str = sys.executable, home: Path | None = None, **options: object) -> str:
    """Run a bundle in an empty environment."""
    done = subprocess.run(
        [python, "-I", str(file), *arguments],
        cwd="/",
        env={"HOME": str(home or "/nowhere"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_nothing_in_them_depends_on_time_or_place(bundles: Path) -> None:
    for file in bundles.iterdir():
        with ZipFile(file) as archive:
            entries = archive.infolist()
            assert [one.filename for one in entries] == sorted(one.filename for one in entries)
            assert {one.date_time for one in entries} == {(1980, 1, 1, 0, 0, 0)}
            places = (str(ROOT).encode(), str(bundles).encode())
            ours = [one for one in entries if "virtproof" in one.filename]
            assert ours
            for one in ours:
                assert not any(place in archive.read(one) for place in places), one.filename


def test_it_has_the_images_and_nothing_for_one_python_only(bundles: Path) -> None:
    with ZipFile(bundles / "virtproof.pyz") as archive:
        names = archive.namelist()
    assert any(name.startswith("site/virtproof/guest_payloads/images/") for name in names)
    assert "site/virtproof/probes/sources/cpuid-helper" in names
    assert not [name for name in names if ".cpython-" in name or name.endswith(".pyc")]


def test_the_whole_runs_without_an_installation(bundles: Path, tmp_path: Path) -> None:
    file = bundles / "virtproof.pyz"
    assert run(file, "--version", home=tmp_path).startswith("virtproof ")
    (unpacked,) = (tmp_path / ".cache/virtproof-bundle").iterdir()
    before = unpacked.stat()
    assert json.loads(run(file, "cases", "--json", home=tmp_path))["cases"]
    assert unpacked.stat() == before, "it was unpacked twice"
    assert loads(run(file, "collect", home=tmp_path))


def test_without_a_home_nothing_is_left_behind(bundles: Path, tmp_path: Path) -> None:
    here = {**os.environ, "TMPDIR": str(tmp_path), "HOME": "/proc/nowhere"}
    script = [sys.executable, str(bundles / "virtproof.pyz"), "--version"]
    subprocess.run(script, env=here, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_can_write_is_not_run_from(bundles: Path, tmp_path: Path) -> None:
    run(bundles / "virtproof.pyz", "--version", home=tmp_path)
    (unpacked,) = (tmp_path / ".cache/virtproof-bundle").iterdir()
    (unpacked / "site/virtproof/__main__.py").write_text("def main(): print('planted')\n")
    assert run(bundles / "virtproof.pyz", "--version", home=tmp_path) == "planted\n", (
        "the folder is not what it runs from"
    )
    for path in (unpacked, unpacked.parent):
        path.chmod(0o777)
        assert run(bundles / "virtproof.pyz", "--version", home=tmp_path).startswith("virtproof ")
        path.chmod(0o700)


@pytest.mark.kvm
def test_it_boots_guests(bundles: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = subprocess.run(
        [sys.executable, "-I", str(bundles / "virtproof.pyz"), "check", "--area", "serial", "--out", str(out)],
        env={"HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 3, 5}, done.stderr
    document = json.loads((out / "run.json").read_text())
    assert document["schema"]
    assert (out / "report.html").stat().st_size > 10_000


def test_collecting_alone_is_python_3_9(bundles: Path) -> None:
    with ZipFile(bundles / "virtproof-collect.pyz") as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                ast.parse(archive.read(name), name, feature_version=(3, 9))
        assert not [name for name in archive.namelist() if name.startswith(("virtproof/vmm", "virtproof/cli"))]


@pytest.mark.parametrize("python", [sys.executable, python_3_9()], ids=["this Python", "Python 3.9"])
def test_collecting_alone_needs_the_standard_library_only(bundles: Path, python: str | None, tmp_path: Path) -> None:
    if python is None:
        pytest.skip("no Python 3.9 here")
    file = bundles / "virtproof-collect.pyz"
    snapshot = loads(run(file, python=python))
    assert snapshot["cpuid"]["values"]
    run(file, "-o", str(tmp_path / "host.json"), python=python)
    again = loads((tmp_path / "host.json").read_text())
    assert again["cpuid"] == snapshot["cpuid"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_nobody_executes_cpuid_by_the_helper(bundles: Path) -> None:
    file = bundles / "virtproof-collect.pyz"
    python = shutil.which("python3", path="/usr/bin:/bin")  # ours may be out of nobody's reach
    if python is None:
        pytest.skip("no python3 in /usr/bin")
    mine = loads(run(file, python=python))
    theirs = loads(run(file, python=python, user=65534, group=65534, extra_groups=[]))
    assert list(theirs["cpuid"]["how"]) == [HOW]
    assert theirs["nodes"]["root"] is False
    for key in mine["cpuid"]["values"].keys() - {"0000000d.00", "0000000d.01"}:
        assert theirs["cpuid"]["values"][key] == mine["cpuid"]["values"][key], key
