"""Runs cases over worker processes: a guest that takes its process with it costs one case."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from virtproof.conformance.batch import Batch, execute_batch, plan
from virtproof.conformance.case import Case
from virtproof.conformance.execute import result_of
from virtproof.kvm import Kvm
from virtproof.results import CaseResult, Verdict
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.worker import WorkerDied, WorkerPool, WorkerTimedOut

GRACE = 10.0  # seconds beyond a guest's own limit, which the watchdog enforces, before the worker is killed


def run_cases(cases: Iterable[Case], *, engine: str, workers: int) -> Generator[CaseResult, None, None]:
    """Execute ``cases`` and yield their results in order of completion.

    Rows share guests where they can, and what a shared guest does not settle is run again alone, so that verdicts are
    those of cases that run alone.  Closing the iterator ends the workers.  Raises ``KvmUnavailable`` where /dev/kvm
    cannot be used.
    """
    if engine != "kvm":
        raise ValueError(f"no engine {engine!r}")
    with Kvm.open() as kvm:
        shared = KvmEngine(kvm)  # forked workers inherit its descriptor
        pool: WorkerPool[Batch, tuple[CaseResult, ...]] = WorkerPool(lambda batch: execute_batch(batch, shared), workers)
        with pool:
            todo = list(cases)
            limit = max((case.seconds for case in todo), default=0) + GRACE
            unsettled: list[Batch] = []
            for batches in (plan(todo), unsettled):
                for batch, answer in pool.map(batches, limit):
                    results = _results(batch, answer)
                    yield from results
                    done = {result.id for result in results}
                    unsettled += ((case,) for case in batch if case.id not in done)


def _results(batch: Batch, answer: tuple[CaseResult, ...] | WorkerDied | WorkerTimedOut) -> tuple[CaseResult, ...]:
    match answer:
        case tuple():
            return answer
        case _ if len(batch) > 1:  # who is to blame, and of what, is seen when they are run alone
            return ()
        case WorkerTimedOut():
            return (result_of(batch[0], Verdict.CRASH, f"stuck in the kernel: {answer}", seconds=answer.seconds),)
        case _:  # an exception in the target is one of these too
            return (result_of(batch[0], Verdict.ERROR, str(answer)),)
