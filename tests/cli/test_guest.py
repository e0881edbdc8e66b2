"""``virtproof guest`` from the outside, with kernels of a few instructions."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernels import build
from virtproof.cli import guest
from virtproof.cli.app import run
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.loaders.detect import FORMATS

COMMAND = (sys.executable, "-m", "virtproof", "guest")
SECONDS = 60.0  # far more than any kernel here needs

Boot = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def kernel(tmp_path: Path, engine: KvmEngine) -> Callable[[str], Path]:
    """Build a kernel, for a host that can run it."""
    return lambda name: build(name, tmp_path)


@pytest.fixture
def boot(kernel: Callable[[str], Path]) -> Boot:
    def boot(name: str, *arguments: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = (*COMMAND, str(kernel(name)), "--timeout", str(SECONDS), *arguments)
        return subprocess.run(command, capture_output=True, check=False, input=typed)

    return boot


@pytest.mark.kvm
def test_a_multiboot_kernel_is_told_what_it_was_given(boot: Boot, tmp_path: Path) -> None:
    module = tmp_path / "module"
    module.write_bytes(b"module \xff\x00 content")
    done = boot("multiboot", "--append", "a=1 é", "--module", str(module), "--memory", "64")
    expected = f"{tmp_path}/multiboot.kernel a=1 é[".encode() + b"module \xff\x00 content]04000000"
    assert (done.stdout, done.stderr, done.returncode) == (expected, b"", 3 << 1 | 1)


@pytest.mark.kvm
def test_a_pvh_kernel_is_told_what_it_was_given(boot: Boot, tmp_path: Path) -> None:
    module = tmp_path / "module"
    module.write_bytes(b"content")
    done = boot("pvh", "--append", "hello", "--module", str(module))
    assert (done.stdout, done.stderr, done.returncode) == (b"hello[content]", b"", 7)


@pytest.mark.kvm
@pytest.mark.parametrize(("name", "said"), [("elf64", b"64"), ("flat", b"16")])
def test_kernels_that_are_told_nothing(boot: Boot, name: str, said: bytes) -> None:
    done = boot(name)
    assert (done.stdout, done.stderr, done.returncode) == (said, b"", 7)


@pytest.mark.kvm
def test_a_pipe_reaches_the_guest_to_the_last_byte(boot: Boot) -> None:
    text = bytes(set(range(256)) - {ord("q")}) * 4
    done = boot("echo", typed=text + b"q")
    assert (done.stdout, done.returncode) == (b">" + text, 7)


@pytest.mark.kvm
def test_a_guest_that_does_not_end_is_ended(boot: Boot) -> None:
    done = boot("stuck", "--timeout", "0.2")
    assert (done.stdout, done.returncode) == (b".", 124)
    assert b"no answer within 0.2 s" in done.stderr


@pytest.mark.kvm
def test_a_triple_fault_is_named(boot: Boot) -> None:
    done = boot("stuck", "--append", "t")
    assert (done.stdout, done.returncode) == (b".", 70)
    assert b"triple fault" in done.stderr


@pytest.mark.kvm
def test_a_reader_that_leaves_ends_the_guest(kernel: Callable[[str], Path]) -> None:
    command = [*COMMAND, str(kernel("echo"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read(1) == b">"
        process.stdout.close()
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.wait(SECONDS) == 4


@pytest.mark.kvm
@pytest.mark.parametrize("end", ["ctrl-C", "SIGTERM", "the guest"])
def test_the_terminal_is_as_before(kernel: Callable[[str], Path], end: str) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = ["setsid", "--ctty", *COMMAND, str(kernel("echo"))]  # ctrl-C goes to whose terminal it is
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as process:
        try:
            assert _read(ours, b">") == b">"
            assert not termios.tcgetattr(theirs)[3] & (termios.ECHO | termios.ICANON)
            os.write(ours, b"a")
            assert _read(ours, b"a") == b"a"  # once: by the guest, and not by the terminal
            match end:
                case "ctrl-C":
                    os.write(ours, b"\x03")
                case "SIGTERM":
                    process.send_signal(signal.SIGTERM)
                case _:
                    os.write(ours, b"q")
            assert process.wait(SECONDS) == (7 if end == "the guest" else 130)
        finally:
            process.kill()
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def _read(fd: int, end: bytes) -> bytes:
    """Read from a terminal up to ``end``."""
    read = b""
    while end not in read and select.select([fd], [], [], SECONDS)[0]:
        read += os.read(fd, 100)
    return read


def test_a_file_that_is_no_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"#!/bin/sh\n")
    assert run(["guest", str(file)]) == 4
    assert "no kernel this monitor knows" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["/nowhere"], ["/"], [__file__, "--memory", "0"], [__file__, "--format", "elf"], [__file__, "--timeout", "0"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(["guest", *arguments]) == 64


def test_the_formats_of_the_command_are_those_of_the_loaders() -> None:
    assert ("auto", *sorted(FORMATS, key=guest.FORMATS.index)) == guest.FORMATS
