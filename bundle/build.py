"""Build the bundles: files that run where nothing is installed (docs/bundle.md).

    python bundle/build.py [--out dist]

writes ``virtproof.pyz``, the whole of virtproof with what it depends on, and ``virtproof-collect.pyz``, ``collect``
alone.  Both are made from the built wheel, because linked packages are empty folders to a zip of src/.  Dependencies
are those of the environment that builds.  The same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
ROOT = HERE.parent
LEFT = (
    ".git",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    "images",
    "virtproof-report",
    ".hypothesis",
)
HELPER = "virtproof/probes/sources/cpuid-helper"
# Extensions for one version of Python only; the helper does what they do.
NOT_BUNDLED = frozenset({"cpuid", "cpuid-native"})
GCC = (
    *(
        "gcc",
        "-Os",
        "-static",
        "-nostdlib",
        "-ffreestanding",
        "-fno-stack-protector",
        "-fno-asynchronous-unwind-tables",
    ),
    *("-fno-pie", "-no-pie", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"),
)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can tell


def main() -> None:
    parser = argparse.ArgumentParser(description="Build virtproof.pyz and virtproof-collect.pyz.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        package = wheel(Path(name))
        package[HELPER] = helper(Path(name))
        whole = {**dependencies("virtproof"), **package}
        alone = {path: package[path] for path in (*closure(Path(name), package), HELPER)}
    bundle(out / "virtproof.pyz", "self_extracting.py", {f"site/{path}": data for path, data in whole.items()})
    bundle(out / "virtproof-collect.pyz", "collect_main.py", alone)


def wheel(scratch: Path) -> dict[str, bytes]:
    """The content of the wheel, built from a copy: a build folder left behind would leak into it."""
    shutil.copytree(ROOT, scratch / "checkout", symlinks=True, ignore=shutil.ignore_patterns(*LEFT))
    script = f"import setuptools.build_meta as b; b.build_wheel({str(scratch)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=scratch / "checkout", check=True, stdout=subprocess.DEVNULL)
    (file,) = scratch.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def helper(scratch: Path) -> bytes:
    """The program that executes CPUID."""
    subprocess.run([*GCC, "-o", str(scratch / "cpuid"), str(HERE / "cpuid.c")], check=True)
    return (scratch / "cpuid").read_bytes()


def dependencies(name: str) -> dict[str, bytes]:
    """The files of everything that a distribution needs, as they are installed here."""
    files: dict[str, bytes] = {}
    seen: set[str] = set()
    wanted = [name]
    while wanted:
        found = distribution(wanted.pop())
        for text in found.requires or ():
            need = Requirement(text)
            key = need.name.lower().replace("_", "-")
            if key not in seen | NOT_BUNDLED and (need.marker is None or need.marker.evaluate({"extra": ""})):
                seen.add(key)
                wanted.append(need.name)
                files.update(_files(distribution(need.name)))
    return files


def _files(found: Distribution) -> Iterator[tuple[str, bytes]]:
    for file in found.files or ():
        path = file.as_posix()
        leftover = path.startswith("..") or "__pycache__" in path or ".cpython-" in path
        if leftover or (".dist-info/" in path and not path.endswith(("/METADATA", "/entry_points.txt"))):
            continue
        yield path, Path(str(found.locate_file(file))).read_bytes()


def closure(scratch: Path, package: Mapping[str, bytes]) -> list[str]:
    """The modules that collecting imports, found by doing it."""
    for path, data in package.items():
        target = scratch / "installed" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    script = (
        "import sys; from virtproof.probes.collect import collect; from virtproof.probes.snapshot import dumps\n"
        "dumps(collect()); collect('/nowhere')\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'virtproof'), sep='\\n')"
    )
    where = scratch / "installed"
    done = subprocess.run([sys.executable, "-c", script], cwd=where, check=True, capture_output=True, text=True)
    return sorted(str(Path(file).relative_to(where)) for file in done.stdout.split("\n") if file)


def bundle(target: Path, main_file: str, files: Mapping[str, bytes]) -> None:
    """A zip that Python runs: sorted, without times, and with its own hash in it."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{len(files[path])}\0".encode() + files[path])
    start = (HERE / main_file).read_text().replace("@DIGEST@", digest.hexdigest()).encode()
    temporary = target.with_suffix(".part")
    with temporary.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path, data in sorted({**files, "__main__.py": start}.items()):
                info = zipfile.ZipInfo(path, EPOCH)
                info.external_attr = 0o100644 << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)
    temporary.chmod(0o755)
    temporary.replace(target)
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB, {len(files)} files")


if __name__ == "__main__":
    main()
