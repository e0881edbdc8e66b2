"""Executes one case on one engine: a plain function, which the command line, pytest and the lab call."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator

from virtproof.conformance.case import Case, HostScript, Program, Row
from virtproof.conformance.compare import compare, mnemonic
from virtproof.conformance.encode import offsets
from virtproof.conformance.features import FEATURES
from virtproof.conformance.guest import Booted, GuestStopped, Inapplicable, boot, how_it_ended, run_program
from virtproof.conformance.limits import limit
from virtproof.guest_payloads.table import Observation, Phase
from virtproof.guest_payloads.trampoline import Answer
from virtproof.results import CaseResult, Check, Verdict
from virtproof.spec.fault import Fault, unforeseen
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Exit, Halt, InternalError, Shutdown

STOPS: dict[str, type[Exit]] = {"shutdown": Shutdown, "internal error": InternalError, "halt": Halt}

TRACEBACK_LINES = 100  # of a bug of ours: the last ones, where it happened


def execute(case: Case, engine: Engine) -> CaseResult:
    """Boot the case's guest on ``engine`` and judge what it observed.

    Every outcome is a result: a Fault, or a bug of ours, gives the verdict ERROR.
    """
    started = time.perf_counter()
    checks: tuple[Check, ...] = ()
    evidence: tuple[str, ...] = ()
    try:
        reason = missing(case, engine)
        if reason:
            verdict = Verdict.SKIP
        else:
            match case:
                case Row():
                    verdict, reason, checks, evidence = judge_row(case, boot(case, engine))
                case Program():
                    verdict, reason, checks, evidence = _program(case, engine)
                case HostScript():
                    verdict, reason, checks, evidence = _script(case, engine)
                case _:
                    raise TypeError(f"no way to execute a {type(case).__name__}")
    except Inapplicable as other:
        verdict, reason = Verdict.SKIP, str(other)
    except Fault as fault:
        verdict, reason = Verdict.ERROR, str(fault)
    except Exception as bug:  # one broken case must not end the run
        verdict, reason = Verdict.ERROR, f"bug in virtproof: {unforeseen(bug)}"
        evidence = tuple("".join(traceback.format_exception(bug)).splitlines()[-TRACEBACK_LINES:])
    return result_of(case, verdict, reason, checks, evidence, time.perf_counter() - started)


def result_of(
    case: Case,
    verdict: Verdict,
    reason: str,
    checks: tuple[Check, ...] = (),
    evidence: tuple[str, ...] = (),
    seconds: float = 0.0,
) -> CaseResult:
    """A result that names its case."""
    return CaseResult(
        id=case.id,
        area=case.area,
        title=case.title,
        mode=f"{case.mode}, ring {case.ring}" if isinstance(case, Row) and case.ring else str(case.mode),
        cite=tuple(map(str, case.cite)),
        verdict=verdict,
        priority=case.priority,
        reason=reason,
        checks=checks,
        evidence=evidence,
        seconds=seconds,
    )


Judged = tuple[Verdict, str, tuple[Check, ...], tuple[str, ...]]


def missing(case: Case, engine: Engine) -> str:
    """Empty, or why the case does not apply to what the engine offers, or the engine cannot judge it."""
    if reason := limit(case.id, engine.name):
        return reason
    offered = engine.supported_cpuid() if case.requires else ()
    return next(filter(None, (FEATURES[name].absent(offered) for name in case.requires)), "")


def judge_row(row: Row, booted: Booted) -> Judged:
    """Compare what came of the row's guest with what the row expects."""
    image, answer, sent = booted
    evidence = tuple(_evidence(row, answer))
    if row.expect.stop is not None:
        check = _stop_check(row.expect.stop, answer)
        return _judge([check], evidence)
    seen = answer.observation
    if seen is None:
        return Verdict.CRASH, how_it_ended(answer), (), evidence
    if seen.phase != Phase.RUN:
        return Verdict.CRASH, f"the set-up was refused: {mnemonic(seen.vector)} at {seen.rip:#x}", (), evidence
    checks = list(compare(row, image, seen, answer.accesses))
    if row.serial_output is not None:
        checks.append(Check("serial output", row.serial_output.hex(" "), sent.hex(" "), sent == row.serial_output))
    return _judge(checks, evidence)


def _program(case: Program, engine: Engine) -> Judged:
    ran = run_program(case, engine)
    evidence = (
        *(f"message: {text}" for text in ran.messages),
        *(f"observed: {value:#x}" for value in ran.observations),
        f"the guest ended: {ran.end}",
    )
    if not ran.done:
        how = str(ran.end) if ran.fault is None else f"{mnemonic(ran.fault)} that the program did not expect"
        return Verdict.CRASH, how, (), evidence
    want, saw = (" ".join(f"{v:#x}" for v in values) or "none" for values in (case.observations, ran.observations))
    return _judge([Check("observations", want, saw, want == saw)], evidence)


def _script(case: HostScript, engine: Engine) -> Judged:
    try:
        return _judge(list(case.script(engine)), ())
    except GuestStopped as stopped:
        return Verdict.CRASH, str(stopped), (), ()


def _judge(checks: Iterable[Check], evidence: tuple[str, ...]) -> Judged:
    checks = tuple(checks)
    wrong = [f"{c.field}: expected {c.expected}, saw {c.observed}" for c in checks if not c.ok]
    if not checks:
        return Verdict.ERROR, "the case checked nothing", checks, evidence
    return (Verdict.FAIL if wrong else Verdict.PASS), "; ".join(wrong), checks, evidence


def _stop_check(want: str, answer: Answer) -> Check:
    ok = isinstance(answer.end, STOPS[want])
    return Check("the guest ends with", want, "an answer" if answer.end is None else str(answer.end), ok)


def _evidence(row: Row, answer: Answer) -> Iterator[str]:
    for offset, insn in zip(offsets(row), row.code, strict=False):
        yield f"code +{offset:#04x}: {insn.hex:<24} {insn.text}"
    yield from (f"access: {access}" for access in answer.accesses)
    if answer.observation is not None:
        yield f"observed: {_show(answer.observation)}"
    if answer.end is not None:
        yield f"the guest ended: {how_it_ended(answer)}"
    if answer.registers is not None:
        yield f"registers: {answer.registers}"


def _show(seen: Observation) -> str:
    names = ("error_code", "rip", "cs", "rflags", "rsp", "ss", "cr2", "dr6", "frame", "handler_rflags", "handler_ss")
    return f"{mnemonic(seen.vector)} " + " ".join(f"{name}={getattr(seen, name):#x}" for name in names)
