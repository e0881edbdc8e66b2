"""Rows that share a guest, so that they share what its life costs.

A row can share a guest where it asks for nothing of the machine and is not meant to end it.  What passes among
others has passed.  Anything else is not settled by a batch, whether the row is to blame or one before it: it is run
again, alone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from virtproof.conformance.case import Case, Row
from virtproof.conformance.execute import execute, judge_row, missing, result_of
from virtproof.conformance.guest import boot_together
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import CaseResult, Verdict
from virtproof.vmm.engine import Engine

SIZE = 96  # rows in a batch: enough to make little of a guest's life, and still something for each worker

PATIENCE = 0.25  # seconds that a batch gives a row before it leaves it to a run alone, which has the row's own limit

Batch = tuple[Case, ...]


def plan(cases: Iterable[Case]) -> list[Batch]:
    """Divide ``cases`` into batches of one mode; a case that needs a guest of its own is a batch of one."""
    together: defaultdict[Mode, list[Row]] = defaultdict(list)
    alone: list[Batch] = []
    for case in cases:
        if isinstance(case, Row) and can_share(case):
            together[case.mode].append(case)
        else:
            alone.append((case,))
    return [tuple(rows[n : n + SIZE]) for rows in together.values() for n in range(0, len(rows), SIZE)] + alone


def can_share(row: Row) -> bool:
    """Return whether the row needs nothing but RAM below 640 KiB, and leaves its guest alive where all goes well."""
    of_its_own = (row.ram, row.fill, row.answers, row.acts, row.irqchip, row.serial, row.serial_output is not None)
    return not any(of_its_own) and row.expect.stop is None


def execute_batch(batch: Batch, engine: Engine) -> tuple[CaseResult, ...]:
    """Execute a batch of one case, or of rows that can share a guest, and return the results of what it settles.

    A batch of one is settled always.  Of others those that are missing have to be executed alone.
    """
    if len(batch) == 1:
        return (execute(batch[0], engine),)
    rows: list[Row] = []
    settled: list[CaseResult] = []
    for row in batch:
        if reason := missing(row, engine):
            settled.append(result_of(row, Verdict.SKIP, reason))
        elif isinstance(row, Row):
            rows.append(row)
    return (*settled, *_passed(rows, engine))


def _passed(rows: Sequence[Row], engine: Engine) -> list[CaseResult]:
    """The results of those that pass; none where something of ours fails, which a run alone will tell better."""
    if not rows:
        return []
    started = time.perf_counter()
    try:
        answers = boot_together(rows, engine, seconds=PATIENCE)
        judged = [(row, judge_row(row, booted)) for row, booted in zip(rows, answers, strict=True)]
    except Exception:  # one broken row must not cost the others their results
        return []
    share = (time.perf_counter() - started) / len(rows)
    return [result_of(row, *verdict, share) for row, verdict in judged if verdict[0] is Verdict.PASS]
