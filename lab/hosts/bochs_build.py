"""Builds Bochs 3.0 from the source package of Debian trixie: VMX and SVM, no debugger, no display."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

from virtproof.lab import cache
from virtproof.lab.hosts.bochs import BUILT
from virtproof.spec.fault import Fault

SOURCE = "bochs=3.0+dfsg-1"
TARBALL = "bochs_3.0+dfsg.orig.tar.xz"
SHA256 = "78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b"
TOOLS = {"g++": "g++", "make": "make", "apt-get": "apt", "tar": "tar", "xz": "xz-utils"}  # program -> package

_SUITE = """\
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
# --enable-avx does not compile without --enable-evex.
_OPTIONS = (
    "--enable-cpu-level=6", "--enable-x86-64", "--enable-vmx=2", "--enable-svm", "--enable-avx", "--enable-evex",
    "--enable-smp", "--enable-long-phy-address", "--enable-all-optimizations", "--enable-repeat-speedups",
    "--enable-fast-function-calls", "--enable-handlers-chaining", "--enable-large-ramfile", "--enable-pci",
    "--enable-monitor-mwait", "--disable-docbook", "--with-nogui", "CFLAGS=-O2 -pipe", "CXXFLAGS=-O2 -pipe",
)  # fmt: skip


def build(workers: int = 1) -> Path:
    """The program, built first where the cache does not have it: 2 to 5 minutes.  Raises ``Fault``."""
    for program, package in TOOLS.items():
        if shutil.which(program) is None:
            raise Fault("build Bochs", f"no {program} on this machine", f"apt-get install {package}")

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            program = _compiled(_source(Path(scratch)), workers)
            shutil.copy(program, target)

    return cache.entry(BUILT, "bochs", make)


def _source(scratch: Path) -> Path:
    """Fetch and check the source by apt, which knows the archive's keys, with lists of its own."""
    for folder in ("lists/partial", "cache/archives/partial", "parts"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "parts/trixie.sources").write_text(_SUITE, encoding="ascii")
    options = [
        f"-oDir::State::lists={scratch}/lists", f"-oDir::Cache={scratch}/cache", "-oDir::Etc::sourcelist=/dev/null",
        f"-oDir::Etc::sourceparts={scratch}/parts", f"-oAPT::Sandbox::User={_user()}",
    ]  # fmt: skip
    _run(["apt-get", "-q", *options, "update"], scratch)
    fetched = _finished(["apt-get", "-q", *options, "source", "--download-only", SOURCE], scratch)
    # Only the tarball counts: mirrors have been seen to lack the description of the package beside it.
    archive = scratch / TARBALL
    if not archive.exists():
        raise Fault(f"fetch the source of {SOURCE}", _end(fetched), "look at the network, then build again")
    if (found := sha256(archive.read_bytes()).hexdigest()) != SHA256:
        raise Fault(f"fetch the source of {SOURCE}", f"{TARBALL} has another hash: {found}", "do not use this mirror")
    _run(["tar", "-xf", TARBALL], scratch)
    return next(path.parent for path in scratch.glob("*/configure"))


def _user() -> str:
    """apt fetches as this user: the scratch folder is ours alone."""
    return "root" if os.geteuid() == 0 else ""


def _compiled(source: Path, workers: int) -> Path:
    _run(["./configure", *_OPTIONS], source)
    _run(["make", f"-j{workers}"], source)
    return source / "bochs"


def _run(command: list[str], folder: Path) -> None:
    done = _finished(command, folder)
    if done.returncode:
        raise Fault(f"build Bochs: {command[0]}", _end(done), "mend what it complains of, then build again")


def _finished(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)


def _end(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
