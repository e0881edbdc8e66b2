"""Runs cases over worker processes: a guest that takes its process with it costs one case."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from virtproof.conformance.case import Case
from virtproof.conformance.execute import execute, result_of
from virtproof.kvm import Kvm
from virtproof.results import CaseResult, Verdict
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.worker import WorkerDied, WorkerPool, WorkerTimedOut

GRACE = 10.0  # seconds beyond a guest's own limit, which the watchdog enforces, before the worker is killed


def run_cases(cases: Iterable[Case], *, engine: str, workers: int) -> Generator[CaseResult, None, None]:
    """Execute ``cases`` and yield their results in order of completion.

    Closing the iterator ends the workers.  Raises ``KvmUnavailable`` where /dev/kvm cannot be used.
    """
    if engine != "kvm":
        raise ValueError(f"no engine {engine!r}")
    with Kvm.open() as kvm:
        shared = KvmEngine(kvm)  # forked workers inherit its descriptor
        # What is sent to a worker is the number of a case: cases hold functions, which do not pickle.
        todo = list(cases)
        limit = max((case.seconds for case in todo), default=0) + GRACE
        pool: WorkerPool[int, CaseResult] = WorkerPool(lambda number: execute(todo[number], shared), workers)
        with pool:
            for number, answer in pool.map(range(len(todo)), limit):
                case = todo[number]
                match answer:
                    case WorkerTimedOut():
                        yield result_of(case, Verdict.CRASH, f"stuck in the kernel: {answer}", seconds=answer.seconds)
                    case WorkerDied():  # an exception in the target is one of these too
                        yield result_of(case, Verdict.ERROR, str(answer))
                    case _:
                        yield answer
