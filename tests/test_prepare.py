"""``.ci/prepare`` on machines that lack things, each made of a folder of commands."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PREPARE = Path(__file__).parents[1] / ".ci" / "prepare"


class Machine:
    """A PATH of its own: ``sh``, the interpreter, and what else is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        for tool in ("sh", "cat"):
            (folder / tool).symlink_to(str(shutil.which(tool)))
        self.add("python3", f'exec {sys.executable} "$@"')

    def add(self, name: str, script: str = "exit 0") -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.folder / name).chmod(0o755)

    def be(self, user: int) -> None:
        self.add("id", f"echo {user}")
        self.add("apt-get", f'echo "$@" >> {self.log}')

    def prepare(self, *packages: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PREPARE), *packages], env={"PATH": str(self.folder)}, capture_output=True, text=True, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_done_where_nothing_is_missing(machine: Machine) -> None:
    machine.be(user=0)
    for tool in ("gcc", "as", "ld"):
        machine.add(tool)
    done = machine.prepare("gcc", "binutils", "libc6-dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not machine.log.exists()


def test_root_gets_what_is_missing_and_is_told(machine: Machine) -> None:
    machine.be(user=0)
    machine.add("gcc")
    done = machine.prepare("gcc", "binutils")
    assert done.returncode == 0
    assert "installing binutils" in done.stdout
    assert machine.log.read_text() == "update -qq\ninstall -qq -y --no-install-recommends binutils\n"


def test_anybody_else_is_told_in_one_line_what_to_install(machine: Machine) -> None:
    machine.be(user=1000)
    done = machine.prepare("gcc", "binutils")
    assert done.returncode == 1
    assert "sudo apt-get install gcc binutils" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not machine.log.exists()


def test_root_without_apt_is_told_as_well(machine: Machine) -> None:
    machine.be(user=0)
    (machine.folder / "apt-get").unlink()
    done = machine.prepare("gcc")
    assert done.returncode == 1
    assert "please install gcc" in done.stderr


def test_a_python_without_ensurepip_lacks_python3_venv(machine: Machine) -> None:
    machine.be(user=1000)
    machine.add("python3", "exit 1")
    done = machine.prepare("python3-venv")
    assert done.returncode == 1
    assert "python3-venv" in done.stderr


def test_an_old_python_is_named(machine: Machine) -> None:
    machine.add("python3", 'test "$1" = --version && echo Python 3.9.2 && exit 0; exit 1')
    done = machine.prepare()
    assert done.returncode == 1
    assert "Python 3.9.2 is too old" in done.stderr
