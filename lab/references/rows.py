"""Cases on a reference: which of them it can judge, and their results.

Rows of one mode share a boot.  What passes among others has passed; anything else is run again alone, and rows that the
first processor model lacks a feature for are run on the next one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace

from virtproof.conformance.case import Case, Row, mem64
from virtproof.conformance.encode import encode, resolve
from virtproof.conformance.execute import judge_row, result_of
from virtproof.conformance.features import FEATURES
from virtproof.conformance.guest import Booted
from virtproof.guest_payloads import images
from virtproof.guest_payloads.table import CAPACITY, SETS
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import CpuidEntry
from virtproof.lab.references.reference import Machine, Reference
from virtproof.results import CaseResult, Verdict
from virtproof.spec.fault import Fault

NOT_APPLICABLE = "not applicable to a reference: "
MEMORY, MOST_MEMORY = 64, 2048  # MiB: what is quick to boot, and what Bochs can have without a file
PATIENCE = 5.0  # seconds for a row at the least: an emulated processor is slow
SHUTDOWN = "shutdown"


def why_not(case: Case) -> str:
    """Empty, or why a machine without a monitor of ours cannot judge the case."""
    if not isinstance(case, Row):
        return f"it is a {type(case).__name__}: Python on the host drives it, or it is a program of its own"
    if case.expect.stop not in (None, SHUTDOWN):
        return f"what must be seen is an exit of KVM: {case.expect.stop}"
    for present, reason in (
        (bool(case.expect.accesses), "what must be seen are the accesses that reach the monitor"),
        (bool(case.answers), "it needs a device that answers as the case says"),
        (case.serial or bool(case.acts), "it needs the host to act while it runs"),
        (bool(case.irqchip), "it needs interrupt controllers as the case says"),
        (
            any(ram.address + ram.length > MOST_MEMORY << 20 for ram in case.ram),
            f"it needs RAM above {MOST_MEMORY} MiB",
        ),
    ):
        if present:
            return reason
    return ""


def run_rows(reference: Reference, cases: Iterable[Case]) -> Generator[CaseResult, None, None]:
    """Yield a result for each case; those that a reference cannot judge are skipped, with the reason.

    Raises Fault where the reference does not start.
    """
    rows: list[Row] = []
    for case in cases:
        if reason := why_not(case):
            yield result_of(case, Verdict.SKIP, NOT_APPLICABLE + reason)
        elif isinstance(case, Row):
            rows.append(case)
    for n, cpu in enumerate(reference.cpus):
        lacking: list[Row] = []
        for result, row in _on(reference, cpu, rows):
            if result.verdict is Verdict.SKIP and n + 1 < len(reference.cpus):
                lacking.append(row)
            else:
                yield result
        rows = lacking


def _on(reference: Reference, cpu: str, rows: Sequence[Row]) -> Iterator[tuple[CaseResult, Row]]:
    """The rows on one processor model."""
    together: defaultdict[tuple[Mode, Machine], list[Row]] = defaultdict(list)
    for row in rows:
        together[row.mode, _machine(row, cpu)].append(row)
    for (_, machine), alike in together.items():
        for at in range(0, len(alike), CAPACITY):
            batch = alike[at : at + CAPACITY]
            shared = [row for row in batch if row.expect.stop is None and len(row.sets) + len(row.fill) <= SETS]
            passed = {
                row.id: result for result, row in _boot(reference, machine, shared, alone=False) if _settled(result)
            }
            for row in batch:
                if row.id in passed:
                    yield passed[row.id], row
                else:
                    yield from _boot(reference, machine, [row], alone=True)


def _machine(row: Row, cpu: str) -> Machine:
    top = max((ram.address + ram.length for ram in row.ram), default=0)
    return Machine(cpu, MEMORY if top <= MEMORY << 20 else MOST_MEMORY)


def _settled(result: CaseResult) -> bool:
    return result.verdict in (Verdict.PASS, Verdict.SKIP)


def _boot(
    reference: Reference, machine: Machine, rows: Sequence[Row], *, alone: bool
) -> Iterator[tuple[CaseResult, Row]]:
    """Run rows of one mode; what one alone fills before the machine starts, others set before they run."""
    if not rows:
        return
    image = images.load(rows[0].mode.value)
    started = time.perf_counter()
    if alone:
        fill = {resolve(at, image): value.to_bytes(8, "little") for row in rows for at, value in row.fill.items()}
        entries = [encode(row, image) for row in rows]
    else:
        fill = {}
        entries = [encode(_setting_its_fill(row), image) for row in rows]
    seconds = max(PATIENCE, *(row.seconds for row in rows))
    walked = reference.walk(machine, rows[0].mode, entries, seconds=seconds, fill=fill)
    share = (time.perf_counter() - started) / len(rows)
    for row, answer in zip(rows, walked.answers, strict=True):
        if lacks := _lacks(row, walked.cpuid):
            yield result_of(row, Verdict.SKIP, f"{reference.name} {machine.cpu}: {lacks}"), row
        else:
            yield _judged(row, Booted(image, answer, b""), share), row


def _judged(row: Row, booted: Booted, seconds: float) -> CaseResult:
    """Nobody is there who could see accesses: where none are expected, that is left open."""
    try:
        return result_of(row, *judge_row(replace(row, expect=replace(row.expect, accesses=None)), booted), seconds)
    except Fault as fault:
        return result_of(row, Verdict.ERROR, str(fault), seconds=seconds)


def _setting_its_fill(row: Row) -> Row:
    return replace(row, fill={}, sets=(*(mem64(at, value) for at, value in row.fill.items()), *row.sets))


def _lacks(row: Row, cpuid: Sequence[CpuidEntry]) -> str:
    return next(filter(None, (FEATURES[name].absent(cpuid) for name in row.requires)), "")
