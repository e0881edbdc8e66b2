"""Random stimuli on the software engine: each ends in an observation, with the guest's end, or with its time.

Unicorn aborts on a few, LOCK BTS of a register among them: that costs a worker process, and is the guest's crash.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest

from tests.fuzz.stimuli import random_row
from virtproof.conformance.case import Row
from virtproof.conformance.encode import encode
from virtproof.guest_payloads import images, trampoline
from virtproof.guest_payloads.trampoline import Mode
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.opening import EngineUnavailable, open_engine
from virtproof.vmm.worker import WorkerDied, WorkerPool

STIMULI = int(os.environ.get("VIRTPROOF_FUZZ", "300"))
SEED = int(os.environ.get("VIRTPROOF_FUZZ_SEED", "1"))
BATCH = 32  # that share a guest, until one takes it down
PATIENCE = 0.25  # seconds for a stimulus; a loop is no fault of the engine's
HANGS = 90.0  # seconds after which a batch hangs: far more than all of its stimuli may take


def test_a_seed_and_a_number_are_a_stimulus() -> None:
    assert random_row(1, 7) == random_row(1, 7)
    assert random_row(1, 7) != random_row(1, 8) != random_row(2, 8)
    assert {random_row(1, number).mode for number in range(200)} == set(Mode)


def test_every_stimulus_fits_its_table() -> None:
    for number in range(STIMULI):
        row = random_row(SEED, number)
        assert encode(row, images.load(row.mode.value)).stimulus.code_length <= 256


def test_the_software_engine_survives_them() -> None:
    try:
        with open_engine("software") as engine:
            ends, problems = survived([random_row(SEED, number) for number in range(STIMULI)], engine)
    except EngineUnavailable as fault:
        pytest.skip(str(fault))
    assert not problems
    assert ends.total() == STIMULI
    assert ends["observed"] > 0.8 * STIMULI  # else they are not plausible


def test_an_exception_and_a_hang_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(engine: Engine, mode: Mode, entries: Sequence[object], *, seconds: float) -> None:
        if mode is Mode.REAL16:
            raise ValueError("what a bug raises")
        while True:
            pass

    monkeypatch.setattr(trampoline, "walk", broken)
    rows = [
        next(row for n in range(200) if (row := random_row(1, n)).mode is mode) for mode in (Mode.REAL16, Mode.VM86)
    ]
    ends, problems = survived(rows, None, hangs=0.5)  # type: ignore[arg-type]
    assert not ends
    raised, hung = sorted(problems, key=lambda problem: "ValueError" not in problem)
    assert rows[0].id in raised
    assert "ValueError: what a bug raises" in raised
    assert rows[1].id in hung
    assert "no answer" in hung


def survived(rows: Sequence[Row], engine: Engine, hangs: float = HANGS) -> tuple[Counter[str], list[str]]:
    """How many ended how, and what went wrong: exceptions and hangs, with the stimuli they are among."""
    alike: defaultdict[Mode, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        alike[row.mode].append(number)
    batches = [tuple(some[n : n + BATCH]) for some in alike.values() for n in range(0, len(some), BATCH)]

    def run(batch: tuple[int, ...]) -> tuple[str, ...]:
        mode = rows[batch[0]].mode
        entries = [encode(rows[number], images.load(mode.value)) for number in batch]
        answers = trampoline.walk(engine, mode, entries, seconds=PATIENCE)
        return tuple("observed" if answer.observation else type(answer.end).__name__ for answer in answers)

    ends: Counter[str] = Counter()
    problems: list[str] = []
    with WorkerPool(run, workers=2) as pool:
        unsettled: list[tuple[int, ...]] = []
        for some in (batches, unsettled):
            for batch, answer in pool.map(some, hangs):
                if isinstance(answer, tuple):
                    ends.update(answer)
                elif len(batch) > 1:  # which of them was it?
                    unsettled += ((number,) for number in batch)
                elif isinstance(answer, WorkerDied) and answer.crashed:
                    ends["crash"] += 1
                else:
                    row = rows[batch[0]]
                    code = ", ".join(insn.hex for insn in row.code)
                    problems.append(f"{row.id} ({row.mode}: {code}): {answer} {getattr(answer, 'traceback', '')}")
    return ends, problems
