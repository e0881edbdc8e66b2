"""Every mutant is caught: of the processor and the monitor by a case that its row names, of the host by its claim."""

from __future__ import annotations

import copy
import os
from datetime import date

import pytest

from tests.mutants import document
from tests.mutants.hosts import HOSTS, HostMutant
from tests.mutants.mutant import Mutant
from tests.mutants.running import Judged, catchers
from tests.mutants.table import MUTANTS
from tests.probes.conftest import complete_amd, complete_intel
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.execute import execute
from virtproof.probes.judge import judge
from virtproof.probes.profile import load_profile
from virtproof.probes.snapshot import Snapshot
from virtproof.vmm.engine import Engine
from virtproof.vmm.worker import WorkerPool, WorkerRaised

CASES = {case.id: case for case in all_cases()}
WORKERS = len(os.sched_getaffinity(0))
LIMIT = 30.0  # seconds before a guest that hangs its worker is given up
IDS = [mutant.id for mutant in MUTANTS]


@pytest.fixture(scope="module")
def judged(software: Engine) -> Judged:
    """The cases that the table names, as they pass on the sound engine."""
    names = {name for mutant in MUTANTS for name in mutant.caught}
    return Judged.by(software, WORKERS, (CASES[name] for name in sorted(names)))


@pytest.fixture(scope="module")
def caught(software: Engine, judged: Judged) -> dict[str, object]:
    """By mutant: the cases that noticed, or how the worker process ended."""
    sound = {case.id: case for case in judged.cases}

    def run(index: int) -> tuple[str, ...]:
        mutant = MUTANTS[index]
        for name in mutant.caught:
            with mutant.how():
                noticed = catchers([execute(sound[name], software)])
            if noticed:
                return tuple(noticed)
        return ()

    with WorkerPool(run, WORKERS) as pool:
        return {IDS[index]: answer for index, answer in pool.map(range(len(MUTANTS)), seconds=LIMIT)}


def test_the_cases_that_are_named_pass_on_the_sound_engine(judged: Judged) -> None:
    names = {name for mutant in MUTANTS for name in mutant.caught}
    assert names - {case.id for case in judged.cases} == set()


@pytest.mark.parametrize("mutant", MUTANTS, ids=IDS)
def test_a_mutant_is_caught_by_a_case_that_its_row_names(mutant: Mutant, caught: dict[str, object]) -> None:
    assert not isinstance(caught[mutant.id], WorkerRaised), "the mutant could not be made"
    assert caught[mutant.id], f"{mutant.wrong}: {' '.join(mutant.caught)} passed"


@pytest.mark.parametrize("mutant", MUTANTS, ids=IDS)
def test_a_row_names_cases_that_are_run_against_it(mutant: Mutant) -> None:
    assert mutant.caught
    assert all(mutant.concerns(CASES[name]) for name in mutant.caught)


def test_ids_are_unique() -> None:
    every = [*IDS, *(host.id for host in HOSTS)]
    assert len(every) == len(set(every))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Snapshot]:
    """Servers on which every claim holds."""
    makers = {"intel": complete_intel, "amd": complete_amd}
    return {name: make(tmp_path_factory.mktemp(name)).collect() for name, make in makers.items()}


@pytest.mark.parametrize("mutant", HOSTS, ids=[host.id for host in HOSTS])
def test_a_changed_bit_is_told_by_its_claim(mutant: HostMutant, healthy: dict[str, Snapshot]) -> None:
    changed = copy.deepcopy(healthy[mutant.host])
    mutant.change(changed)
    profile, today = load_profile("kvm-host"), date(2026, 1, 1)
    before, after = (judge(one, [], profile, today=today) for one in (healthy[mutant.host], changed))
    causes = {claim.name: claim.cause for claim in after.claims}
    assert {claim.name: claim.cause for claim in before.claims}[mutant.claim] != mutant.cause
    assert causes[mutant.claim] == mutant.cause


def test_the_page_is_current() -> None:
    assert document.PAGE.read_text() == document.page(), "run python -m tests.mutants.document"


def test_a_mutant_is_undone() -> None:
    from virtproof.vmm.engines.software.delivery import Delivery
    from virtproof.vmm.engines.software.execution import Execution

    before = [dict(vars(owner)) for owner in (Delivery, Execution)]
    for mutant in MUTANTS:
        with mutant.how():
            pass
    assert [dict(vars(owner)) for owner in (Delivery, Execution)] == before
