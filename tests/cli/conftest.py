"""Stand-ins for what a test of the command line must not depend on: /dev/kvm, and how guests end."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from virtproof.conformance.case import Case
from virtproof.results import Backend, CaseResult, Check, Verdict
from virtproof.vmm.engines.opening import EngineUnavailable


class Guests:
    """Instead of the worker pool: every case passes, unless ``verdicts`` has another word for it."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.ran: list[str] = []
        self.interrupt_after: int | None = None  # as ctrl-C would, after so many cases
        self.unavailable: EngineUnavailable | None = None
        self.patience = 1.0
        self.backend = Backend(engine="kvm", name="kvm_amd", software=False)

    @contextmanager
    def open_engine(self, choice: str) -> Iterator[Guests]:
        """As that of the monitor; the engine is nothing but its backend."""
        if self.unavailable is not None:
            raise self.unavailable
        yield self

    def run_cases(self, cases: Sequence[Case], *, engine: object, workers: int) -> Iterator[CaseResult]:
        assert (engine, workers > 0) == (self, True)
        for case in cases:
            if len(self.ran) == self.interrupt_after:
                signal.raise_signal(signal.SIGINT)
            self.ran.append(case.id)
            yield self.result(case)

    def result(self, case: Case) -> CaseResult:
        verdict = self.verdicts.get(case.id, Verdict.PASS)
        ok = verdict is Verdict.PASS
        return CaseResult(
            id=case.id,
            area=case.area,
            title=case.title,
            mode=str(case.mode),
            cite=tuple(map(str, case.cite)),
            verdict=verdict,
            reason="" if ok else "the vector differs\x1b[2J",
            checks=(Check("vector", "#UD", "#UD" if ok else "#GP\x1b[2J", ok),),
        )


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> Guests:
    stand_in = Guests()
    monkeypatch.setattr("virtproof.vmm.engines.opening.open_engine", stand_in.open_engine)
    monkeypatch.setattr("virtproof.conformance.pool.run_cases", stand_in.run_cases)
    return stand_in


@pytest.fixture
def no_kvm(guests: Guests) -> Guests:
    """A host on which no engine can be used."""
    guests.unavailable = EngineUnavailable("open /dev/kvm", "No such file or directory", "load kvm_intel or kvm_amd")
    return guests


@pytest.fixture(scope="session")
def some() -> tuple[Case, ...]:
    """A few cases of one area, by which a test limits what it runs; each id selects one case."""
    from virtproof.conformance.catalogue import all_cases

    cases = all_cases()
    above = {case.id.rpartition(".")[0] for case in cases}  # ids that also select what is below them
    return tuple(case for case in cases if case.area == cases[0].area and case.id not in above)[:3]
