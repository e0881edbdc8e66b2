"""Kernels of a few instructions, assembled when a test needs them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent

ARGUMENTS = {
    "debugged": ("-m64", "-Wl,-Ttext=0x200000"),
    "elf64": ("-m64", "-Wl,-Ttext=0x200000"),
    "flat": ("-m32", "-Wl,-Ttext=0x7c00", "-Wl,--oformat=binary"),
}
MULTIBOOT = ("-m32", "-Wl,-Ttext-segment=0x100000")


def build(name: str, folder: Path) -> Path:
    """Assemble and link ``name``.S into ``folder``; skips the test, with the reason, where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    made = folder / f"{name}.kernel"
    arguments = ARGUMENTS.get(name, MULTIBOOT)
    subprocess.run(
        [
            "gcc",
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,-n,--build-id=none",
            *arguments,
            "-o",
            made,
            HERE / f"{name}.S",
        ],
        check=True,
    )
    return made
