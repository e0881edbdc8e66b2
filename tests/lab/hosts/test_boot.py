"""Booting: results come back whole, and an emulator that hangs, dies or talks nonsense is ended and named."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from tests import processes
from virtproof.lab.frames import PAYLOAD, Kind, Sender
from virtproof.lab.hosts import bochs, boot, qemu
from virtproof.lab.hosts.machine import Machine
from virtproof.spec.fault import Fault


def emulator(tmp_path: Path, script: str) -> list[str]:
    """A command that stands in for an emulator."""
    program = tmp_path / "emulator.sh"
    program.write_text(script)
    return ["sh", str(program)]


def speaking(tmp_path: Path, *messages: tuple[Kind, bytes]) -> list[str]:
    """An emulator that writes these frames to its debug port, and then goes on running."""
    stream = bytearray()
    sender = Sender(stream.extend)
    for kind, payload in messages:
        sender.send(kind, payload)
    (tmp_path / "stream").write_bytes(stream)
    return emulator(tmp_path, f"cat {shlex.quote(str(tmp_path / 'stream'))}; exec sleep 600")


def collect(tmp_path: Path, command: list[str], limit: float = 60.0) -> boot.Results:
    return boot._collect("x", command, tmp_path / "console.log", limit)


def test_results_come_back_whole(tmp_path):
    big = bytes(range(256)) * 1000
    results = collect(
        tmp_path,
        speaking(
            tmp_path,
            (Kind.STDOUT, b"one "),
            (Kind.STDERR, b"warning"),
            (Kind.STDOUT, b"two"),
            (Kind.FILE, b"a/b\0" + big),
            (Kind.FILE, b"empty\0"),
            (Kind.REPORT, b'{"exit": 3, "log": "' + b"x" * 2 * PAYLOAD + b'"}'),
            (Kind.END, b""),
        ),
    )
    assert results.stdout == b"one two"
    assert results.stderr == b"warning"
    assert results.files == {"a/b": big, "empty": b""}
    assert results.report["exit"] == 3
    assert len(results.report["log"]) == 2 * PAYLOAD


def test_a_host_that_hangs_is_killed_with_all_its_processes(tmp_path):
    pids = tmp_path / "pids"
    (tmp_path / "console.log").write_text("booting\nKernel panic - not syncing\n")
    command = emulator(tmp_path, f"sleep 600 & echo $! $$ > {pids}; wait")
    with pytest.raises(Fault) as fault:
        collect(tmp_path, command, limit=1.0)
    assert "no results within 1 s" in fault.value.saw
    assert "Kernel panic" in fault.value.saw
    assert str(tmp_path) in fault.value.remedy
    for pid in map(int, pids.read_text().split()):
        assert processes.ends(pid)


def test_an_emulator_that_ends_early_is_named_with_its_code(tmp_path):
    with pytest.raises(Fault, match="the emulator ended with 7 before any results; last words: none"):
        collect(tmp_path, emulator(tmp_path, "exit 7"))


def test_what_the_emulator_complains_of_is_shown(tmp_path):
    with pytest.raises(Fault, match="last words: no such model"):
        collect(tmp_path, emulator(tmp_path, "echo no such model >&2; exit 1"))


@pytest.mark.parametrize("report", [b"", b"not JSON", b"[]", b'"text"'])
def test_a_report_that_is_none_is_a_fault(tmp_path, report):
    with pytest.raises(Fault, match="read the report of the lab host x"):
        collect(tmp_path, speaking(tmp_path, (Kind.REPORT, report), (Kind.END, b"")))


def test_a_continuation_of_nothing_does_no_harm(tmp_path):
    results = collect(tmp_path, speaking(tmp_path, (Kind.MORE, b"{"), (Kind.REPORT, b"}"), (Kind.END, b"")))
    assert results.files == {}
    assert results.report == {}


def test_no_emulator_is_said_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine = Machine(cpu="EPYC", kernel=tmp_path, initrds=())
    with pytest.raises(Fault, match="apt-get install qemu-system-x86"):
        qemu.command(machine, tmp_path, tmp_path / "console.log")
    with pytest.raises(Fault, match="virtproof lab build bochs"):
        bochs.command(machine, tmp_path, tmp_path / "console.log")


def test_the_emulator_is_killed_when_we_are(tmp_path):
    """The kernel ends it where no handler of ours can."""
    pid = tmp_path / "pid"
    command = emulator(tmp_path, f"echo $$ > {pid}; printf x; exec sleep 600")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with boot._running(command, tmp_path / "errors") as process:
                assert process.stdout is not None
                process.stdout.read(1)
                os.write(write, b"x")
                os.kill(os.getpid(), 9)
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b"x"
    os.waitpid(child, 0)
    os.close(read)
    assert processes.ends(int(pid.read_text()))


def test_an_emulator_that_hangs_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(boot, "SILENCE", 2.0)
    good = speaking(tmp_path, (Kind.REPORT, b"{}"), (Kind.END, b""))
    tries = tmp_path / "tries"
    script = f"echo x >> {tries}; test $(wc -l < {tries}) -ge 2 || exec sleep 600; exec sh {good[1]}-2"
    Path(f"{good[1]}-2").write_text(Path(good[1]).read_text())
    results = boot._tried("x", emulator(tmp_path, script), tmp_path / "console.log", 60.0)
    assert results.attempts == 2


def test_one_that_always_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(boot, "SILENCE", 0.1)
    with pytest.raises(Fault, match="the emulator hung 3 times; last words: waiting"):
        boot._tried("x", emulator(tmp_path, "echo waiting >&2; exec sleep 600"), tmp_path / "console.log", 60.0)
