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
CONSOLE, ERRORS = "console.log", "emulator.log"
NICE = 5  # an emulator keeps a processor busy for a minute; others may have something urgent to do
POLL = 0.5  # seconds
SILENCE = 300.0  # seconds without a frame, on a busy machine
ATTEMPTS = 3


class _Hung(Exception):
    """The emulator runs, and nothing comes out of it."""


@dataclass(slots=True)
class Results:
    """What came out of a lab host: its files by name, its streams, what became of the steps, and the other tools."""

    stdout: bytes = b""
    stderr: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1  # how often the emulator was started, because it hung
    seconds: float = 0.0  # from power-on to the last frame, on the clock of this machine


def boot(host: LabHost, words: Sequence[str], folder: Path, *, limit: float, tools: bool = False) -> Results:
    """Boot ``host``, run ``virtproof WORDS`` in it and return what came out; its console is kept in ``folder``.

    Raises ``Fault`` where something is missing to boot it, where it does not deliver within ``limit`` seconds, or
    delivers damaged results.
    """
    kernel = initramfs_linux.kernel(host.kernel)
    shared = contents.initrds(kernel, tools=tools)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="virtproof-lab-") as scratch:
            own = Path(scratch, "job.cpio")
            own.write_bytes(contents.job(host, words, tools=tools))
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
            command = COMMANDS[host.emulator](machine, Path(scratch), console)
            return _tried(host.name, command, console, limit)
    except OSError as err:
        raise cache.no_room(err, folder) from err


def _tried(name: str, command: list[str], console: Path, limit: float) -> Results:
    """The results of the first attempt in which the emulator does not hang."""
    for attempt in range(1, ATTEMPTS + 1):
        console.unlink(missing_ok=True)
        try:
            results = _collect(name, command, console, limit)
            results.attempts = attempt
            return results
        except _Hung as hung:
            last = hung
    raise Fault(
        f"run the lab host {name}",
        f"the emulator hung {ATTEMPTS} times; {last}",
        f"read the logs in {console.parent}, and run it again",
    )


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
    heard = started
    errors = console.with_name(ERRORS)
    with _running(command, errors) as emulator:
        for data in _output(emulator, started + limit):
            for kind, payload in receiver.feed(data):
                if kind is Kind.END:
                    results.report = _parsed(name, b"".join(reports))
                    results.seconds = time.monotonic() - started
                    return results
                take(kind, payload)
                heard = time.monotonic()
            if time.monotonic() - heard > SILENCE:
                raise _Hung(_last_words((errors, console)))
        raise _silent(name, emulator, (errors, console), limit)


@contextmanager
def _running(command: list[str], errors: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The emulator, in a process group of its own, which ends with the context, or with us if we are killed."""
    with (
        open(errors, "wb") as complaints,
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "nice", "-n", str(NICE), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            bufsize=0,
            start_new_session=True,
        ) as emulator,
    ):
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
    """What the emulator writes, until it ends or the time is over; nothing, now and then, while it is silent."""
    assert emulator.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(emulator.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(min(left, POLL)):
                yield b""
            elif data := os.read(emulator.stdout.fileno(), 1 << 16):
                yield data
            else:
                return


def _parsed(name: str, text: bytes) -> dict[str, Any]:
    tried, remedy = f"read the report of the lab host {name}", "run it again"
    try:
        report = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise Fault(tried, f"it is not JSON ({err})", remedy) from err
    if not isinstance(report, dict):
        raise Fault(tried, "it is not a JSON object", remedy)
    return report


def _silent(name: str, emulator: subprocess.Popen[bytes], logs: Sequence[Path], limit: float) -> Fault:
    """The emulator ended, or its time did, before the results were complete."""
    try:
        ended = f"the emulator ended with {emulator.wait(POLL)} before any results"
    except subprocess.TimeoutExpired:
        ended = f"no results within {limit:.0f} s"
    remedy = f"read the logs in {logs[0].parent}; give it more time with --limit"
    return Fault(f"run the lab host {name}", f"{ended}; {_last_words(logs)}", remedy)


def _last_words(logs: Sequence[Path]) -> str:
    last = [line for line in map(_last_line, logs) if line]
    return f"last words: {' / '.join(last) or 'none'}"


def _last_line(log: Path) -> str:
    said = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
    return said.splitlines()[-1][:200] if said else ""
