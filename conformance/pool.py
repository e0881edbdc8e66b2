"""Runs cases over worker processes: a guest that takes its process with it costs one case."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from virtproof.conformance.batch import Batch, execute_batch, plan
from virtproof.conformance.case import Case
from virtproof.conformance.execute import result_of
from virtproof.results import CaseResult, Verdict
from virtproof.vmm.engine import Engine
from virtproof.vmm.worker import WorkerDied, WorkerPool, WorkerRaised, WorkerTimedOut

GRACE = 10.0  # seconds beyond a guest's own limit, which the watchdog enforces, before the worker is killed

Answered = tuple[CaseResult, ...] | WorkerDied | WorkerTimedOut


def run_cases(cases: Iterable[Case], *, engine: Engine, workers: int) -> Generator[CaseResult, None, None]:
    """Execute ``cases`` and yield their results in order of completion.

    Rows share guests where they can, and what a shared guest does not settle is run again alone, so that verdicts are
    those of cases that run alone.  Closing the iterator ends the workers, which are forked and share ``engine``.
    """
    # What is sent to a worker are the numbers of cases: cases hold functions, which do not pickle.
    todo = list(cases)
    number = {case.id: n for n, case in enumerate(todo)}
    limit = max((case.seconds for case in todo), default=0) * engine.patience + GRACE
    pool: WorkerPool[tuple[int, ...], tuple[CaseResult, ...]] = WorkerPool(
        lambda numbers: execute_batch(tuple(todo[n] for n in numbers), engine), workers
    )
    unsettled: list[Batch] = []
    with pool:
        for batches in (plan(todo), unsettled):
            sent = (tuple(number[case.id] for case in batch) for batch in batches)
            for numbers, answer in pool.map(sent, limit):
                batch = tuple(todo[n] for n in numbers)
                results = _results(batch, answer, engine)
                yield from results
                settled = {result.id for result in results}
                unsettled += ((case,) for case in batch if case.id not in settled)


def _results(batch: Batch, answer: Answered, engine: Engine) -> tuple[CaseResult, ...]:
    """What is settled; of a batch whose worker gave no answer nothing is, of a case alone that is the answer."""
    match answer:
        case tuple():
            return answer
        case _ if len(batch) > 1:
            return ()
        case WorkerTimedOut():
            return (result_of(batch[0], Verdict.CRASH, f"stuck in the kernel: {answer}", seconds=answer.seconds),)
        case WorkerDied(crashed=True) if engine.name == "software":  # its translator aborts on some code
            return (result_of(batch[0], Verdict.CRASH, f"the software engine did not survive the guest: {answer}"),)
        case WorkerRaised(traceback=lines):
            return (result_of(batch[0], Verdict.ERROR, str(answer), evidence=tuple(lines.splitlines())),)
        case _:
            return (result_of(batch[0], Verdict.ERROR, str(answer)),)
