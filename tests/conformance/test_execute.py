"""What becomes of a case: every outcome is a verdict with a reason."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import pytest

from virtproof.conformance import pool
from virtproof.conformance.batch import Batch
from virtproof.conformance.case import Expect, HostScript, Insn, Row, completes, faults, stops
from virtproof.conformance.execute import execute, result_of
from virtproof.conformance.guest import GuestStopped, Inapplicable
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import CaseResult, Check, Verdict
from virtproof.spec.cite import sdm
from virtproof.spec.fault import Fault
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.worker import WorkerTimedOut

CITE = (sdm("3A", "Interrupt and Exception Handling"),)
NOP, UD2, LOOP, HLT = (Insn(*row) for row in (("90", "nop"), ("0f 0b", "ud2"), ("eb fe", "jmp"), ("f4", "hlt")))
LIDT_ZERO = Insn("0f 01 1c 25 00 60 01 00", "lidt [0x16000]")


def row(code: Iterable[Insn], expect: Expect, *, requires: tuple[str, ...] = (), seconds: float = 2.0) -> Row:
    return Row(
        id="test.row", title="a rule", area="traps", mode=Mode.LONG64, cite=CITE,
        code=tuple(code), expect=expect, requires=requires, seconds=seconds,
    )  # fmt: skip


def script(function: object) -> HostScript:
    return HostScript(
        id="test.script", title="a rule", area="traps", mode=Mode.LONG64, cite=CITE,
        script=function,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.kvm
@pytest.mark.parametrize(
    ("code", "expect", "verdict", "reason"),
    [
        ((NOP,), completes(), Verdict.PASS, ""),
        ((UD2, NOP), faults(Vector.UD, at=0), Verdict.PASS, ""),
        ((NOP,), faults(Vector.GP, 0), Verdict.FAIL, "exception: expected #GP, saw completes"),
        ((UD2, NOP), faults(Vector.UD, at=1), Verdict.FAIL, "saved RIP: expected 0x15002, saw 0x15000"),
        ((NOP,), completes(regs={"rcx": 5}), Verdict.FAIL, "rcx: expected 0x5, saw 0x202020202020202"),
        ((LIDT_ZERO, UD2), completes(), Verdict.CRASH, "shutdown (triple fault)"),
        ((LIDT_ZERO, UD2), stops("shutdown"), Verdict.PASS, ""),
        ((NOP,), stops("shutdown"), Verdict.FAIL, "the guest ends with: expected shutdown, saw an answer"),
        ((HLT,), completes(), Verdict.CRASH, "halted (HLT)"),
    ],
)
def test_verdicts_of_rows(
    engine: KvmEngine, code: tuple[Insn, ...], expect: Expect, verdict: Verdict, reason: str
) -> None:
    result = execute(row(code, expect), engine)
    assert (result.verdict, result.reason) == (verdict, reason)


@pytest.mark.kvm
def test_a_guest_that_loops_for_ever_is_a_crash(engine: KvmEngine) -> None:
    result = execute(row((LOOP,), completes(), seconds=0.05), engine)
    assert (result.verdict, result.reason) == (Verdict.CRASH, "the guest gave no answer within 0.05 s")
    assert any("rip=0x15000" in line for line in result.evidence)


class NoFeatures:
    """An engine that offers nothing."""

    name, max_vcpus, patience = "fake", 1, 1.0

    def supported_cpuid(self) -> tuple[()]:
        return ()


def test_a_missing_feature_skips_with_the_reason() -> None:
    result = execute(row((NOP,), completes(), requires=("smep",)), NoFeatures())  # type: ignore[arg-type]
    assert result.verdict is Verdict.SKIP
    assert result.reason == "the engine offers no CPUID leaf 0x7.0, so no smep"


def raising(error: Exception) -> object:
    def run(engine: Engine) -> Iterable[Check]:
        raise error

    return run


@pytest.mark.parametrize(
    ("function", "verdict", "reason"),
    [
        (lambda engine: [Check("a", "1", "1", True)], Verdict.PASS, ""),
        (
            lambda engine: [Check("a", "1", "1", True), Check("b", "1", "2", False)],
            Verdict.FAIL,
            "b: expected 1, saw 2",
        ),
        (lambda engine: [], Verdict.ERROR, "the case checked nothing"),
        (raising(GuestStopped("gone")), Verdict.CRASH, "gone"),
        (raising(Inapplicable("another host")), Verdict.SKIP, "another host"),
        (raising(Fault("open it", "no")), Verdict.ERROR, "open it: no"),
        (raising(KeyError("x")), Verdict.ERROR, "bug in virtproof: KeyError: 'x'"),
    ],
)
def test_verdicts_of_host_scripts(function: object, verdict: Verdict, reason: str) -> None:
    result = execute(script(function), NoFeatures())  # type: ignore[arg-type]
    assert (result.verdict, result.reason) == (verdict, reason)


@pytest.mark.kvm
def test_a_killed_or_stuck_worker_costs_one_case(engine: KvmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def play(batch: Batch, engine: Engine) -> tuple[CaseResult, ...]:
        titles = [case.title for case in batch]
        if "dies" in titles:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hangs" in titles:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True:
                time.sleep(1)
        return tuple(result_of(case, Verdict.PASS, "") for case in batch)

    monkeypatch.setattr(pool, "execute_batch", play)
    monkeypatch.setattr(pool, "GRACE", 3.0)  # a busy host takes its time to start the others
    cases = [
        Row(
            id=title,
            title=title,
            area="traps",
            mode=Mode.LONG64,
            cite=CITE,
            code=(NOP,),
            expect=completes(),
            seconds=0.1,
        )
        for title in ("lives", "dies", "hangs", "lives on")
    ]
    results = {result.id: result for result in pool.run_cases(cases, engine=engine, workers=1)}
    assert {name: result.verdict.value for name, result in results.items()} == {
        "lives": "pass",
        "dies": "error",
        "hangs": "crash",
        "lives on": "pass",
    }
    assert "SIGKILL" in results["dies"].reason
    assert "stuck in the kernel" in results["hangs"].reason


def test_a_worker_has_as_much_more_time_as_the_engine_has_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def time_out(self: object, items: Iterable[tuple[int, ...]], seconds: float) -> Iterator[object]:
        limits.append(seconds)
        return ((item, WorkerTimedOut(seconds)) for item in items)

    monkeypatch.setattr(pool.WorkerPool, "map", time_out)
    engine = NoFeatures()
    engine.patience = 5.0
    row = Row(id="r", title="", area="traps", mode=Mode.LONG64, cite=CITE, code=(NOP,), expect=completes(), seconds=3.0)
    assert [result.verdict for result in pool.run_cases([row], engine=engine, workers=1)] == [Verdict.CRASH]  # type: ignore[arg-type]
    assert set(limits) == {15.0 + pool.GRACE}


@pytest.mark.parametrize(("name", "verdict"), [("software", Verdict.CRASH), ("kvm", Verdict.ERROR)])
def test_a_translator_that_aborts_is_the_guests_crash(
    monkeypatch: pytest.MonkeyPatch, name: str, verdict: Verdict
) -> None:
    def play(batch: Batch, engine: Engine) -> tuple[CaseResult, ...]:
        os.kill(os.getpid(), signal.SIGABRT)
        return ()

    monkeypatch.setattr(pool, "execute_batch", play)
    cases = [Row(id="a", title="a", area="traps", mode=Mode.LONG64, cite=CITE, code=(NOP,), expect=completes())]
    (result,) = pool.run_cases(cases, engine=SimpleNamespace(name=name, patience=1.0), workers=1)  # type: ignore[arg-type]
    assert (result.verdict, "SIGABRT" in result.reason) == (verdict, True)
