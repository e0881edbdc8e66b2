"""The wheel and the sdist hold everything, payload images included, and run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.building import BUILDS

ROOT = Path(__file__).parents[1]
SOURCES = (
    *("LICENSE", "README.md", "pyproject.toml", "src"),
    *("spec", "probes", "vmm", "guest_payloads", "conformance", "reports", "fleet", "lab"),
)

# setuptools of our own environment builds it: an index may be out of reach.
pytestmark = BUILDS


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, because a build leaves its traces where it is made; without images made earlier."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "images")
            shutil.copytree(source, copy / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(source, copy)
    return copy


def build(source: Path, kind: str, out: Path) -> Path:
    """Call the build backend as pip would, in the folder ``source``."""
    script = f"import sys, setuptools.build_meta as b; print(b.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as ``pip install --target`` leaves it."""
    target = tmp_path_factory.mktemp("installed")
    with ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, *arguments: str) -> str:
    """Run Python with the wheel's content first on its path, and no compiler on the machine's."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=installed,
        env={"PYTHONPATH": str(installed), "PATH": "", "HOME": str(installed / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_says_its_version(installed: Path) -> None:
    from virtproof import __version__

    assert run(installed, "-m", "virtproof", "--version") == f"virtproof {__version__}\n"


def test_the_wheel_lists_its_cases(installed: Path) -> None:
    cases = json.loads(run(installed, "-m", "virtproof", "cases", "--json"))["cases"]
    assert len(cases) > 0


def test_the_wheel_needs_no_compiler(installed: Path) -> None:
    script = (
        "from virtproof.guest_payloads import images\n"
        "print(images.__file__, *(len(images.load(name).data) > 0 for name in images.RECIPES))"
    )
    file, *loaded = run(installed, "-c", script).split()
    assert Path(file).is_relative_to(installed)
    assert set(loaded) == {"True"}
    assert not (installed / "home").exists(), "an image was built again"


def test_the_wheel_brings_what_is_no_python(installed: Path) -> None:
    """Every file of the checkout's packages that is not listed as package data would be missed on a host."""
    for folder in ("spec", "probes", "vmm", "guest_payloads", "conformance", "reports", "fleet", "lab"):
        for file in _tracked(folder):
            assert (installed / "virtproof" / file).exists(), f"{file} is not in the wheel; see package-data"


def _tracked(folder: str) -> list[Path]:
    made = {"__pycache__", "images"}
    files = (file.relative_to(ROOT) for file in (ROOT / folder).rglob("*") if file.is_file())
    return [file for file in files if not made & set(file.parts)]


def test_a_wheel_from_the_sdist_is_the_same(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build(checkout, "sdist", tmp_path)
    shutil.unpack_archive(sdist, tmp_path)
    again = build(tmp_path / sdist.name.removesuffix(".tar.gz"), "wheel", tmp_path)
    with ZipFile(wheel) as one, ZipFile(again) as other:
        contents = [{name: z.read(name) for name in z.namelist() if "RECORD" not in name} for z in (one, other)]
    assert contents[0].keys() == contents[1].keys()
    assert [name for name in contents[0] if contents[0][name] != contents[1][name]] == []


def test_the_build_leaves_no_images_in_the_sources(checkout: Path, wheel: Path) -> None:
    assert wheel.exists()
    assert not os.path.exists(checkout / "guest_payloads" / "images")
