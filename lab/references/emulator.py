"""Emulators as child processes: each boot is one, ended with its group whatever becomes of us."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from virtproof.guest_payloads import bare
from virtproof.guest_payloads.bare import Cpuid, Ended, Listener, Reset, Seen, Started
from virtproof.guest_payloads.table import CAPACITY, Entry, Observation
from virtproof.guest_payloads.trampoline import Answer, Mode
from virtproof.kvm import CpuidEntry
from virtproof.lab.references.reference import Machine, Walked
from virtproof.spec.fault import Fault
from virtproof.spec.guest_protocol import Event, Report
from virtproof.vmm.allowance import Allowance
from virtproof.vmm.exits import Shutdown, Timeout

START_SECONDS = 20.0  # an emulator that has not reset its processor by then hangs, as Bochs does now and then
ATTEMPTS = 4  # to start
LOG_BYTES = 600  # of a log that are quoted
READ = 1 << 16


@dataclass(slots=True)
class Boot:
    """What one boot of a table of ``count`` entries told, up to where it ended."""

    count: int
    resets: int = 0  # how often the processor came out of it
    started: int = 0  # entries
    seen: dict[int, Observation] = field(default_factory=dict)
    cpuid: list[CpuidEntry] = field(default_factory=list)
    report: int | None = None
    timed_out: bool = False

    def take(self, said: bare.Said) -> bool:
        """Take what the machine said; return whether there is more to come."""
        match said:
            case Reset():
                self.resets += 1
                return self.resets == 1
            case Cpuid(entry):
                self.cpuid.append(entry)
            case Seen(index, observation) if index == self.started - 1:
                self.seen[index] = observation
            case Started(index) if index == self.started < self.count:
                self.started += 1
            case Ended(report):
                self.report = report
                return False
            case _:  # out of order: the guest runs wild
                return False
        return True


class Emulator(ABC):
    """An emulator of one kind: a reference whose machines are child processes."""

    def __init__(self, program: str, name: str) -> None:
        self.program, self.name = program, name

    @abstractmethod
    def command(self, folder: Path, rom: Path, machine: Machine) -> list[str]:
        """How a machine is started: writes what it needs to ``folder`` and returns the command."""

    def walk(
        self,
        machine: Machine,
        mode: Mode,
        entries: Sequence[Entry],
        *,
        seconds: float,
        fill: Mapping[int, bytes] | None = None,
    ) -> Walked:
        """Run a table in as many boots as it leaves no machine alive.  Raises Fault where none starts."""
        walked = Walked()
        while len(walked.answers) < len(entries):
            rest = entries[len(walked.answers) : len(walked.answers) + CAPACITY]
            boot = self._started(bare.rom(mode, rest, fill or {}), len(rest), machine, seconds)
            walked.cpuid = tuple(boot.cpuid)
            walked.answers += _answers(boot, seconds)
        return walked

    def console(self, machine: Machine, rom: bytes, size: int, *, seconds: float) -> bytes:
        """Boot a ROM; return what its guest writes to the debug console behind the frames of bare.S, ``size`` bytes.

        Fewer come where the machine stops, or where nothing comes for ``seconds``: the last of a few attempts.
        """
        said = b""
        for _ in range(ATTEMPTS):
            said = self._said(machine, rom, size, seconds)
            if said:
                break
        return said

    def _said(self, machine: Machine, rom: bytes, size: int, seconds: float) -> bytes:
        with _folder() as folder, self._machine(folder, rom, machine) as (output, pid):
            heard, allowance = bytearray(), Allowance(seconds, pid=pid)
            while len(said := bare.behind_frames(heard)) < size and (left := allowance.left()) > 0:
                if not select.select([output], [], [], left)[0]:
                    continue
                more = os.read(output, READ)
                if not more:
                    break
                heard += more
                allowance = Allowance(seconds, pid=pid)
        return said[:size]

    def _started(self, rom: bytes, count: int, machine: Machine, seconds: float) -> Boot:
        """Boot until a machine has started its first entry.  Raises Fault with what the last one left in its logs."""
        for _ in range(ATTEMPTS):
            with _folder() as folder:
                boot = self._boot(folder, rom, count, machine, seconds)
                if boot.started:
                    return boot
                logs = _logs(folder)
        raise Fault(
            f"boot an emulated {machine.cpu}",
            f"it did not start in {ATTEMPTS} attempts; its log ends: {logs}",
            "see docs/references.md",
        )

    def _boot(self, folder: Path, rom: bytes, count: int, machine: Machine, seconds: float) -> Boot:
        """One boot, up to its end or to an entry that does not end."""
        boot, listener = Boot(count), Listener()
        with self._machine(folder, rom, machine) as (output, pid):
            allowance = Allowance(START_SECONDS, pid=pid)
            while (left := allowance.left()) > 0:
                if not select.select([output], [], [], left)[0]:
                    continue
                heard = os.read(output, READ)
                if not heard:
                    return boot
                before = boot.resets, boot.started
                if not all(boot.take(said) for said in listener.hear(heard)):
                    return boot
                if (boot.resets, boot.started) != before:
                    allowance = Allowance(seconds, pid=pid)
        boot.timed_out = True
        return boot

    @contextmanager
    def _machine(self, folder: Path, rom: bytes, machine: Machine) -> Iterator[tuple[int, int]]:
        """A machine while it runs: the descriptor that its debug console is read from, and its process."""
        (folder / "rom").write_bytes(rom)
        with _running(self.command(folder, folder / "rom", machine), folder) as process:
            assert process.stdout is not None
            yield process.stdout.fileno(), process.pid


def _answers(boot: Boot, seconds: float) -> Iterator[Answer]:
    """The answers of the entries that started; the last one says why no other did, if so."""
    for index in range(boot.started):
        answer = Answer()
        seen = boot.seen.get(index)
        if seen is not None and seen.answered:
            answer.observation = seen
        elif index == boot.started - 1:
            report = Report(boot.report or 0)
            if report.event == Event.FAULT:
                answer.fault = report.argument & 0xFF
            answer.end = Timeout(seconds) if boot.timed_out else Shutdown()
        yield answer


def output(*command: str, folder: str | None = None) -> str:
    """Run an emulator that ends by itself, and return all it says.  Raises Fault."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=START_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise Fault(f"run {' '.join(command)}", str(err), "install a build that works") from err
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An emulator with its debug console on a pipe; it is told to go on, should it be one with a debugger."""
    with (folder / "stderr").open("wb") as errors, (folder / "stdin").open("w+b") as orders:
        orders.write(b"continue\n")
        orders.seek(0)
        process = subprocess.Popen(
            command,
            stdin=orders,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            process_group=0,  # ctrl-C is ours to hear
            preexec_fn=_die_with_parent,  # noqa: PLW1509 -- it calls nothing but the kernel
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


_prctl = ctypes.CDLL(None).prctl
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="virtproof-reference-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _logs(folder: Path) -> str:
    told = [
        path.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace").strip()
        for path in (folder / "log", folder / "stderr")
        if path.exists()
    ]
    return "\n".join(filter(None, told)) or "nothing"
