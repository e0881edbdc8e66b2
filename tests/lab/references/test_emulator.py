"""Boots of an emulator that is a shell script: what it may do to us."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.lab.references.test_bare import frame
from virtproof.guest_payloads import bare
from virtproof.guest_payloads.table import Entry, Observation
from virtproof.guest_payloads.trampoline import Mode
from virtproof.lab.references import emulator
from virtproof.lab.references.emulator import Emulator
from virtproof.lab.references.reference import Machine, Walked
from virtproof.spec.fault import Fault
from virtproof.vmm.exits import Shutdown, Timeout

MACHINE = Machine("some", 64)
RESET, DONE = frame(b"r"), frame(b"z", 3 << 24)
CPUID = frame(b"c", 0, struct.pack("<6I", 1, 0, 2, 3, 4, 5))


def start(index: int) -> bytes:
    return frame(b"s", index)


def seen(index: int, *, answered: bool = True) -> bytes:
    observation = Observation()
    observation.rip, observation.answered = 0x1000 + index, answered
    return frame(b"o", index, bytes(observation)[: bare.SEEN_SIZE])


class Scripted(Emulator):
    """An emulator: each boot says the next of ``scripts``, the last one for ever, and then does ``then``."""

    def __init__(self, *scripts: bytes, then: str = "exit") -> None:
        super().__init__("sh", "scripted 1")
        self.scripts, self.then, self.boots = scripts, then, 0
        self.pids: list[Path] = []

    def command(self, folder: Path, rom: Path, machine: Machine) -> list[str]:
        assert rom.stat().st_size == bare.ROM_SIZE
        (folder / "said").write_bytes(self.scripts[min(self.boots, len(self.scripts) - 1)])
        (folder / "log").write_text("the log\n")
        self.boots += 1
        return ["sh", "-c", f"cat said; {self.then}"]

    def entries(self, count: int, seconds: float = 20.0) -> Walked:
        return self.walk(MACHINE, Mode.LONG64, [Entry()] * count, seconds=seconds)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where boots put their files; nothing of them is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert not list(tmp_path.iterdir())


def ends(walked: Walked) -> list[object]:
    return [answer.end if answer.observation is None else answer.observation.rip for answer in walked.answers]


def test_a_whole_walk() -> None:
    machine = Scripted(RESET + CPUID + start(0) + seen(0) + start(1) + seen(1) + DONE, then="exec sleep 100")
    walked = machine.entries(2)
    assert ends(walked) == [0x1000, 0x1001]
    assert [entry.function for entry in walked.cpuid] == [1]
    assert machine.boots == 1


def test_goes_on_behind_what_took_the_machine_down() -> None:
    machine = Scripted(RESET + start(0) + seen(0) + start(1), RESET + start(0) + seen(0) + DONE)
    assert ends(machine.entries(3)) == [0x1000, Shutdown(), 0x1000]


@pytest.mark.parametrize(
    "wild",
    [
        RESET,  # a triple fault
        start(2),
        start(0),
        seen(5),
        frame(b"s", 0xFFFF_FFFF),
        start(1) + seen(0),
    ],
)
def test_a_guest_that_runs_wild_is_down(wild: bytes) -> None:
    machine = Scripted(
        RESET + start(0) + wild + seen(0) + DONE, RESET + start(0) + seen(0) + DONE, then="exec sleep 100"
    )
    (first, *_) = machine.entries(1).answers
    assert first.observation is None
    assert first.end == Shutdown()


def test_a_fault_of_the_walker_names_its_vector() -> None:
    machine = Scripted(RESET + start(0) + frame(b"z", 4 << 24 | 13))
    (answer,) = machine.entries(1).answers
    assert answer.fault == 13


def test_an_observation_without_an_answer_is_none() -> None:
    machine = Scripted(RESET + start(0) + seen(0, answered=False) + DONE)
    (answer,) = machine.entries(1).answers
    assert answer.observation is None


@pytest.mark.parametrize("cut", [1, 7, 8, 100])
def test_a_truncated_stream_is_no_answer(cut: int) -> None:
    machine = Scripted((RESET + start(0) + seen(0))[:-cut])
    assert ends(machine.entries(1)) == [Shutdown()]


def test_what_hangs_is_ended_and_times_out() -> None:
    machine = Scripted(RESET + start(0), then="echo $$ >../pid; sleep 100 & echo $! >>../pid; wait")
    try:
        assert ends(machine.entries(1, seconds=0.5)) == [Timeout(0.5)]
    finally:
        pids = Path(emulator.tempfile.gettempdir()) / "pid"
        numbers = [int(pid) for pid in pids.read_text().split()]
        pids.unlink()
    assert len(numbers) == 2
    assert all(processes.ends(pid) for pid in numbers)  # the emulator, and what it started


def test_noise_for_ever_is_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Scripted(RESET + start(0), then="exec cat /dev/zero")
    assert ends(machine.entries(1, seconds=0.3)) == [Timeout(0.3)]


def test_one_that_does_not_start_is_tried_again() -> None:
    machine = Scripted(b"", b"Bochs hangs", RESET, RESET + start(0) + seen(0) + DONE)
    assert ends(machine.entries(1)) == [0x1000]
    assert machine.boots == emulator.ATTEMPTS


def test_one_that_never_starts_is_a_fault_with_its_log() -> None:
    machine = Scripted(b"", then="echo no display >&2")
    with pytest.raises(Fault, match=r"(?s)4 attempts.*the log.*no display"):
        machine.entries(1)
    assert machine.boots == emulator.ATTEMPTS


def test_an_interrupt_leaves_no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Scripted(RESET + start(0), then="exec sleep 100")
    before, started = processes.children(), set[int]()

    def interrupted(*args: object) -> None:
        started.update(processes.children() - before)
        raise KeyboardInterrupt

    monkeypatch.setattr(emulator.select, "select", interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine.entries(1)
    assert started
    assert not started & processes.children()


class TestConsole:
    ROM = bytes(bare.ROM_SIZE)

    def test_what_follows_the_frames(self) -> None:
        machine = Scripted(b"a banner\n" + RESET + CPUID + b"\x07\xf5answer and more", then="exec sleep 100")
        assert machine.console(MACHINE, self.ROM, 8, seconds=20.0) == b"\x07\xf5answer"

    def test_a_machine_that_stops_early(self) -> None:
        assert Scripted(RESET + b"answer").console(MACHINE, self.ROM, 100, seconds=20.0) == b"answer"

    def test_one_that_did_not_start_is_started_again(self) -> None:
        machine = Scripted(b"", RESET + CPUID, RESET + b"answer")
        assert machine.console(MACHINE, self.ROM, 6, seconds=20.0) == b"answer"
        assert machine.boots == 3
