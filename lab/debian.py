"""Packages of the distribution, downloaded and unpacked without being installed."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from virtproof.lab import cache
from virtproof.lab.missing import Missing

KIND, KEEP = "packages", 100  # of cache entries
_URI = re.compile(r"^'[^']+' (\S+\.deb) \d+ \S+$", re.MULTILINE)
_DEPENDS = re.compile(r"^ +Depends: (linux-image-\S+)$", re.MULTILINE)
UPDATE = "run apt-get update; the lab takes its kernels and tools from the packages of Debian"


@functools.cache
def unpacked(package: str) -> Path:
    """The folder with the files of ``package``, in the version that apt would install; downloaded once.

    Raises ``Missing`` where it cannot be had.
    """
    (folder,) = unpacked_all((package,))
    return folder


def unpacked_all(packages: Sequence[str]) -> tuple[Path, ...]:
    """``unpacked`` for many packages with few calls of apt, which is slow to start.  Raises ``Missing``."""
    tried = f"look for the package{'s' * (len(packages) > 1)} {' '.join(packages)}"
    found = _URI.findall(_apt("apt-get", "download", "--print-uris", *packages, tried=tried))
    keys = {file.partition("_")[0]: file.removesuffix(".deb") for file in found}  # in an order of apt's own
    if keys.keys() != set(packages):
        raise Missing(tried, f"apt-get names no file of {' '.join(sorted(set(packages) - keys.keys()))}", UPDATE)
    missing = [package for package, key in keys.items() if not cache.has(KIND, key)]
    with tempfile.TemporaryDirectory() as scratch:
        if missing:
            _apt("apt-get", "-q", "download", *missing, tried=f"download {' '.join(missing)}", cwd=scratch)

        def unpack(target: Path) -> None:
            archive = str(Path(scratch, f"{target.name}.deb"))
            _apt("dpkg-deb", "-x", archive, str(target), tried=f"unpack {target.name}.deb")

        return tuple(cache.entry(KIND, keys[package], unpack, keep=KEEP) for package in packages)


def newest_kernel(flavour: str) -> str:
    """The package of the newest kernel of a flavour (``amd64``, ``cloud-amd64``): what its metapackage depends on."""
    said = _apt("apt-cache", "depends", f"linux-image-{flavour}", tried=f"look for a {flavour} kernel")
    found = _DEPENDS.search(said)
    if not found:
        raise Missing(f"look for a {flavour} kernel", f"no package linux-image-{flavour}", UPDATE)
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
        raise Missing(
            tried,
            f"there is no {command[0]} on this machine",
            "run the lab on Debian, or on a distribution made from it",
        )
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        saw = next((line for line in done.stderr.splitlines() if line.startswith("E:")), done.stderr.strip()[-300:])
        raise Missing(tried, saw or f"{command[0]} ended with {done.returncode}", UPDATE)
    return done.stdout
