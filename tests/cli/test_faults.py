"""How an exception becomes an exit code and words."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from virtproof.cli import app
from virtproof.spec.fault import Fault


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command line whose every command raises the exception put into this list."""
    errors: list[BaseException] = []

    @click.command()
    def command() -> None:
        raise errors[0]

    monkeypatch.setattr(app.Commands, "get_command", lambda self, ctx, name: command)
    return errors


def test_a_fault_is_told_as_tried_saw_and_remedy(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(Fault("open /dev/kvm", "Permission denied", "join the group kvm"))
    assert app.run(["cases"]) == 4
    assert capsys.readouterr().err == "virtproof: open /dev/kvm: Permission denied\n  to do: join the group kvm\n"


def test_a_fault_cannot_drive_the_terminal(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(Fault("read x", "\x1b]0;pwned\x07"))
    app.run(["cases"])
    assert "\x1b" not in capsys.readouterr().err


def test_an_unforeseen_exception_leaves_a_traceback_file(
    failing: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("VIRTPROOF_DEBUG", raising=False)
    failing.append(ZeroDivisionError("one over zero"))
    assert app.run(["cases"]) == 4
    (file,) = tmp_path.iterdir()
    said = capsys.readouterr().err
    assert "bug in virtproof: ZeroDivisionError: one over zero" in said
    assert str(file) in said
    assert "Traceback" not in said
    assert "Traceback" in file.read_text()


def test_an_unforeseen_exception_is_shown_in_full_when_debugging(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTPROOF_DEBUG", "1")
    failing.append(ZeroDivisionError())
    assert app.run(["cases"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_no_place_for_the_traceback_is_no_second_error(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc")
    failing.append(ZeroDivisionError())
    assert app.run(["cases"]) == 4
    assert "VIRTPROOF_DEBUG=1" in capsys.readouterr().err


def test_an_error_of_a_file_is_not_taken_for_one_of_stdout(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing.append(OSError(errno.ENOSPC, "No space left on device", "/var/x"))
    assert app.run(["cases"]) == 4
    assert "bug" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_130(failing: list[BaseException], error: BaseException) -> None:
    failing.append(error)
    assert app.run(["cases"]) == 130


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["--no-such-option"], ["cases", "--no-such-option"], ["report"], ["check", "--workers", "0"]],
)
def test_wrong_usage_is_64(arguments: list[str]) -> None:
    assert app.run(arguments) == 64


def test_no_arguments_show_the_help_but_do_not_look_compliant(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([]) == 64
    said = capsys.readouterr()
    assert "Usage: virtproof" in said.err
    assert said.out == ""


def test_an_unknown_command_gets_the_nearest_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["chekc"]) == 64
    assert "did you mean check" in capsys.readouterr().err


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"virtproof {name}" in said.split("Example", 1)[1]


def test_a_full_disk_behind_stdout_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "virtproof", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 4
    assert done.stderr == "virtproof: write to standard output: No space left on device\n"


def test_a_closed_pipe_behind_stdout_is_quiet_and_not_success() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "virtproof", "--help"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (4, "")
