"""Boot a lab host, and bring its results back."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtproof.lab import cache, initramfs_linux
from virtproof.lab.frames import Kind, Receiver
from virtproof.lab.hosts import bochs, contents, qemu
from virtproof.lab.hosts.machine import Emulator, Machine
from virtproof.lab.hosts.table import LabHost
from virtproof.spec.fault import Fault

COMMANDS = {Emulator.QEMU: qemu.command, Emulator.BOCHS: bochs.command}
CONSOLE = "console.log"
NICE = 5  # an emulator keeps a processor busy for a minute; others may have something urgent to do
POLL = 0.5  # seconds


@dataclass(slots=True)
class Results:
    """What came out of a lab host: its files by name, its streams, what became of the steps, and the other tools."""

    stdout: bytes = b""
    stderr: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # from power-on to the last frame, on the clock of this machine


def boot(host: LabHost, command: Sequence[str], folder: Path, *, limit: float, tools: bool = False) -> Results:
    """Boot ``host``, run ``virtproof COMMAND`` in it and return what came out; its console is kept in ``folder``.

    Raises ``Fault`` where something is missing to boot it, where it does not deliver within ``limit`` seconds, or
    delivers damaged results.
    """
    kernel = initramfs_linux.kernel(host.kernel)
    shared = contents.initrds(kernel, tools=tools)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="virtproof-lab-") as scratch:
            own = Path(scratch, "job.cpio")
            own.write_bytes(contents.job(host, command, tools=tools))
            machine = Machine(
                cpu=host.cpu,
                cpus=host.cpus,
                kernel=kernel.image,
                initrds=(*shared, own),
                parameters=host.parameters,
                devices=host.devices,
                firmware=host.firmware,
            )
            console = folder / CONSOLE
            console.unlink(missing_ok=True)
            return _collect(host.name, COMMANDS[host.emulator](machine, Path(scratch), console), console, limit)
    except OSError as err:
        raise cache.no_room(err, folder) from err


def _collect(name: str, command: list[str], console: Path, limit: float) -> Results:
    results, receiver, started = Results(), Receiver(f"the lab host {name}"), time.monotonic()
    latest = ""  # of the files

    def take(kind: Kind, payload: bytes) -> None:
        nonlocal latest
        match kind:
            case Kind.STDOUT:
                results.stdout += payload
            case Kind.STDERR:
                results.stderr += payload
            case Kind.FILE:
                encoded, _, content = payload.partition(b"\0")
                latest = os.fsdecode(encoded)
                results.files[latest] = content
            case Kind.REPORT:
                latest = ""
                reports.append(payload)
            case Kind.MORE if latest:
                results.files[latest] += payload
            case Kind.MORE:
                reports.append(payload)

    reports: list[bytes] = []
    with _running(command) as emulator:
        for data in _output(emulator, started + limit):
            for kind, payload in receiver.feed(data):
                if kind is Kind.END:
                    results.report = _parsed(name, b"".join(reports))
                    results.seconds = time.monotonic() - started
                    return results
                take(kind, payload)
        raise _silent(name, emulator, console, limit)


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The emulator, in a process group of its own, which ends with the context."""
    with subprocess.Popen(
        ["nice", "-n", str(NICE), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as emulator:
        try:
            if emulator.stdin:
                with suppress(BrokenPipeError):
                    emulator.stdin.write(b"c\n")  # "continue", to the debugger that Debian's Bochs starts in
                    emulator.stdin.flush()
            yield emulator
        finally:
            with suppress(ProcessLookupError):
                os.killpg(emulator.pid, signal.SIGKILL)


def _output(emulator: subprocess.Popen[bytes], deadline: float) -> Iterator[bytes]:
    """What the emulator writes, until it ends or the time is over."""
    assert emulator.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(emulator.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(min(left, POLL)):
                data = os.read(emulator.stdout.fileno(), 1 << 16)
                if not data:
                    return
                yield data


def _parsed(name: str, text: bytes) -> dict[str, Any]:
    try:
        report = json.loads(text)
    except ValueError as err:
        raise Fault(f"read the report of the lab host {name}", f"it is not JSON ({err})", "run it again") from err
    assert isinstance(report, dict)
    return report


def _silent(name: str, emulator: subprocess.Popen[bytes], console: Path, limit: float) -> Fault:
    """The emulator ended, or its time did, before the results were complete."""
    said = console.read_text(encoding="utf-8", errors="replace").strip() if console.exists() else ""
    last = said.splitlines()[-1][:200] if said else ""
    code = emulator.poll()
    ended = f"no results within {limit:.0f} s" if code is None else f"the emulator ended with {code} before any results"
    saw = f"{ended}; its console says last: {last}" if last else f"{ended}; nothing on its console"
    return Fault(f"run the lab host {name}", saw, f"read {console}; give it more time with --limit")
