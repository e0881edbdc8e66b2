"""``virtproof guest --gdb`` with GDB itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernels import build
from virtproof.cli.app import run
from virtproof.vmm.engines.kvm import KvmEngine

SECONDS = 120.0
OK = 3 << 1 | 1  # what the kernels leave with

Debug = Callable[..., tuple[str, int]]


@pytest.fixture
def debug(tmp_path: Path, engine: KvmEngine) -> Debug:
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")

    def debug(name: str, *commands: str, address: str = "0", options: tuple[str, ...] = ()) -> tuple[str, int]:
        """Boot a kernel under GDB; return what GDB printed and how the guest ended."""
        kernel = build(name, tmp_path)
        command = [sys.executable, "-m", "virtproof", "guest", str(kernel), "--gdb", address, *options]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as guest:
            try:
                assert guest.stderr is not None
                where = re.search(r"target remote (\S+)", guest.stderr.readline())
                assert where is not None
                said = subprocess.run(
                    ["gdb", "-nx", "-batch", "-ex", f"target remote {where[1]}"]
                    + [part for text in commands for part in ("-ex", text)]
                    + ([str(kernel)] if kernel.read_bytes().startswith(b"\x7fELF") else []),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=SECONDS,
                    check=False,
                )
                return said.stdout, guest.wait(SECONDS)
            finally:
                guest.kill()

    return debug


@pytest.mark.kvm
def test_registers_memory_breakpoints_and_steps(debug: Debug) -> None:
    said, status = debug(
        "debugged",
        "info registers rip cs cr0 efer",
        "break count",
        "continue",
        "p $ebx",
        "stepi",
        "p $ebx",
        "x/2xb $pc",
        "set $rbx = 3",
        "p $ebx",
        "x/1xb 0x8000000000",
        "delete",
        "hbreak again if $ebx == 3",
        "continue",
        "p *(int *) &total",
        "delete",
        "continue",
    )
    assert re.search(r"rip +0x200000 ", said)
    assert re.search(r"cr0 +0x80000031 ", said)
    assert "Breakpoint 1, 0x" in said
    assert "$1 = 0\n" in said
    assert "$2 = 1\n" in said
    assert "0x89" in said  # the mov behind inc
    assert "$3 = 3\n" in said
    assert "Cannot access memory at address 0x8000000000" in said
    assert re.search(r"Breakpoint 2, 0x\w+ in again", said)
    assert "$4 = 3\n" in said
    assert "exited with code 07" in said
    assert status == OK


@pytest.mark.kvm
@pytest.mark.parametrize("hardware", [True, False], ids=["by the processor", "step by step"])
def test_watchpoints(debug: Debug, hardware: bool) -> None:
    said, status = debug(
        "debugged", f"set can-use-hw-watchpoints {int(hardware)}", "watch *(int *) &total",
        "continue", "continue", "p $ebx", "delete", "continue",
    )  # fmt: skip
    if hardware and "Could not insert hardware watchpoint" in said:
        pytest.skip("the backend does not carry out data breakpoints in ring 0")
    assert "New value = 1\n" in said
    assert "Old value = 1\nNew value = 2\n" in said
    assert "$1 = 2\n" in said
    assert status == OK


@pytest.mark.kvm
def test_a_guest_runs_on_without_the_debugger(debug: Debug) -> None:
    said, status = debug("debugged", "break count", "continue", "detach")
    assert "Breakpoint 1, 0x" in said
    assert status == OK


@pytest.mark.kvm
def test_a_killed_guest_ends(debug: Debug) -> None:
    _, status = debug("debugged", "kill")
    assert status == 130


@pytest.mark.kvm
def test_every_vcpu_is_a_thread(debug: Debug, tmp_path: Path) -> None:
    said, status = debug(
        "debugged", "info threads", "break count", "continue", "info threads", "delete", "continue",
        address=str(tmp_path / "socket"), options=("--smp", "2"),
    )  # fmt: skip
    assert re.search(r"\* 1 +Thread 1 \(vCPU 0\)", said)
    assert re.search(r"  2 +Thread 2 \(vCPU 1 \(uninitialized\)\)", said)
    assert "Breakpoint 1, 0x" in said
    assert "exited with code 07" in said
    assert status == OK


@pytest.mark.kvm
def test_a_kernel_of_32_bits(debug: Debug) -> None:
    said, status = debug(
        "pvh", "info registers eip cs cr0", "break bad_magic", "break done", "continue", "bt 1",
        "monitor exits", "monitor translate 0x100000", "delete", "continue",
    )  # fmt: skip
    assert re.search(r"eip +0x\w+ +0x\w+ <entry>", said)
    assert re.search(r"Breakpoint 2, 0x\w+ in done", said)
    assert re.search(r"^exits +\d+$", said, re.MULTILINE)
    assert "0x100000: physical 0x100000" in said
    assert status == OK


@pytest.mark.kvm
def test_real_mode(debug: Debug) -> None:
    said, status = debug(
        "flat", "set architecture i8086", "info registers eip cs", "break *0x7c04", "continue", "info registers al",
        "delete", "continue", options=("--gdb-bits", "32"),
    )  # fmt: skip
    assert re.search(r"eip +0x7c00 ", said)
    assert "Breakpoint 1, 0x00007c04" in said
    assert re.search(rf"al +{ord('1'):#x} ", said)
    assert status == OK


@pytest.mark.parametrize("address", ["kernel.elf", "99999", ""])
def test_an_address_that_is_none(tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"\xf4")
    assert run(["guest", str(kernel), "--format", "flat", f"--gdb={address}"]) == 4
    assert "is not an address" in capsys.readouterr().err
