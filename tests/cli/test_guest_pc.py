"""``virtproof guest`` with a whole PC: what is plugged in, and what people are told who ask for what cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vmm.loaders.files import bzimage_file
from virtproof.cli.app import run
from virtproof.vmm.engines.software.engine import SoftwareEngine

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
EXIT, POWER_OFF = "b0 2a e6 f4 f4", "66 ba 04 06  66 b8 00 20  66 ef  f4"


def guest(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "virtproof", "guest", *arguments, "--engine", "software", "--timeout", "60")
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def kernel(folder: Path, code: str) -> str:
    made = folder / "vmlinuz"
    made.write_bytes(bzimage_file(protected=bytes.fromhex(code).ljust(0x200, b"\xf4") + bytes.fromhex(code)))
    return str(made)


@pytest.fixture
def bios(software: SoftwareEngine) -> str:
    if not SEABIOS.exists():
        pytest.skip(f"no {SEABIOS} (Debian: seabios)")
    return str(SEABIOS)


def test_a_bios_boots_a_disk_that_stays_as_it_was(bios: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes((bytes.fromhex("b0 2a e6 f4 f4")).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    before = disk.read_bytes()
    for bus in ("pvscsi", "lsi"):
        done = guest("--bios", bios, "--disk", f"{disk},bus={bus},snapshot")
        assert done.returncode == 0x55, done.stderr
        assert "Booting from Hard Disk" in done.stdout
    assert disk.read_bytes() == before


@pytest.mark.parametrize(("code", "status"), [(EXIT, 0x55), (POWER_OFF, 0)])
def test_a_kernel_ends_the_pc(software: SoftwareEngine, tmp_path: Path, code: str, status: int) -> None:
    done = guest(
        "--kernel",
        kernel(tmp_path, code),
        "--nic",
        "model=vmxnet3,backend=switch",
        "--nic",
        "model=virtio,backend=switch",
    )
    assert (done.returncode, done.stderr) == (status, "")


def test_a_reset_without_a_bios_is_told(software: SoftwareEngine, tmp_path: Path) -> None:
    done = guest("--kernel", kernel(tmp_path, "b0 fe e6 64 f4"))
    assert done.returncode == 71
    assert "asked for a reset" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 64, "name one thing to boot"),
        (("--bios", "x", "--kernel", os.devnull), 64, "name one thing to boot|Invalid value"),
        (("--bios", "/nowhere/bios"), 4, "install SeaBIOS"),
        (("--bios", os.devnull), 4, "it is empty"),
        (("--bios", __file__), 4, "whole pages"),
        (("--bios", "x", "--disk", "f,bus=ide"), 64, "known are bus=virtio"),
        (("--bios", "x", "--nic", "model=rtl8139"), 64, "known are e1000"),
        (("--bios", "x", "--nic", "backend=wifi"), 64, "known are none, loopback, switch, tap"),
        (("--bios", "x", "--nic", "mac=ff:ff:ff:ff:ff:ff"), 64, "six bytes"),
        (("--bios", "x", "--nic", "speed=9"), 64, "known are model="),
        (("--bios", "x", "--disk", "/nowhere/disk"), 4, "/nowhere/disk"),
        (("--bios", "x", "--append", "quiet"), 64, "go with a kernel"),
        (("--bios", "x", "--gdb"), 64, "--gdb goes with FILE only"),
        (("--disk", "f"), 64, "name one thing to boot"),
    ],
)
def test_what_cannot_be_is_told(
    software: SoftwareEngine, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    assert run(["guest", *arguments, "--engine", "software"]) == status
    told = capsys.readouterr().err
    assert any(each in told for each in said.split("|")), told


def test_disks_and_adapters_need_a_whole_pc(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["guest", kernel(tmp_path, EXIT), "--disk", "f"]) == 64
    assert "need a whole PC" in capsys.readouterr().err
