"""Packages of the distribution, downloaded and unpacked without being installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from virtproof.lab import cache
from virtproof.spec.fault import Fault

KEEP = 80  # packages in the cache
_URI = re.compile(r"^'[^']+' (\S+\.deb) \d+ \S+$", re.MULTILINE)
_DEPENDS = re.compile(r"^ +Depends: (linux-image-\S+)$", re.MULTILINE)
UPDATE = "run apt-get update; the lab takes its kernels and tools from the packages of Debian"


def unpacked(package: str) -> Path:
    """The folder with the files of ``package``, in the version that apt would install; downloaded once.

    Raises ``Fault`` where it cannot be had.
    """
    said = _apt("apt-get", "download", "--print-uris", package, tried=f"look for the package {package}")
    found = _URI.search(said)
    if not found:
        raise Fault(f"look for the package {package}", "apt-get names no file to download", UPDATE)

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            _apt("apt-get", "-q", "download", package, tried=f"download the package {package}", cwd=scratch)
            (archive,) = Path(scratch).glob("*.deb")
            _apt("dpkg-deb", "-x", str(archive), str(target), tried=f"unpack {archive.name}")

    return cache.entry("packages", found[1].removesuffix(".deb"), make, keep=KEEP)


def newest_kernel(flavour: str) -> str:
    """The package of the newest kernel of a flavour (``amd64``, ``cloud-amd64``): what its metapackage depends on."""
    said = _apt("apt-cache", "depends", f"linux-image-{flavour}", tried=f"look for a {flavour} kernel")
    found = _DEPENDS.search(said)
    if not found:
        raise Fault(f"look for a {flavour} kernel", f"no package linux-image-{flavour}", UPDATE)
    return found[1]


def with_dependencies(package: str) -> tuple[str, ...]:
    """The package and everything that it needs to run, by name."""
    said = _apt(
        "apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
        "--no-replaces", "--no-enhances", package, tried=f"look for what {package} needs",
    )  # fmt: skip
    return tuple(sorted({line for line in said.splitlines() if line and line[0].isalnum()}))


def _apt(*command: str, tried: str, cwd: str | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise Fault(
            tried,
            f"there is no {command[0]} on this machine",
            "run the lab on Debian, or on a distribution made from it",
        )
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        saw = next((line for line in done.stderr.splitlines() if line.startswith("E:")), done.stderr.strip()[-300:])
        raise Fault(tried, saw or f"{command[0]} ended with {done.returncode}", UPDATE)
    return done.stdout
