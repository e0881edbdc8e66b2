"""The cases as pytest items: ``pytest --pyargs virtproof.conformance``, with ``-k`` on ids and ``-m`` on markers.

The same objects, executed by the same function as ``virtproof check`` does; pytest only shows them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from virtproof.conformance.case import Case
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.pool import run_cases
from virtproof.results import CaseResult, Verdict
from virtproof.vmm.engines.opening import EngineUnavailable, open_engine

Execute = Callable[[Case], CaseResult]


@pytest.fixture(scope="session")
def execute_case() -> Iterator[Execute]:
    """Execute a case in a worker process, or skip with the reason where the engine cannot be used.

    VIRTPROOF_ENGINE names the engine, and then every case fails where it cannot be used: pytest's exit code would be
    0 when all are skipped.  Without it that is KVM only: a host that has none must not look fit.
    """
    wanted = os.environ.get("VIRTPROOF_ENGINE")
    try:
        with open_engine(wanted or "kvm") as engine:
            yield lambda case: next(run_cases([case], engine=engine, workers=1))
    except EngineUnavailable as fault:
        if wanted:
            pytest.fail(str(fault), pytrace=False)
        pytest.skip(str(fault))


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.area}/{case.id}") for case in all_cases()])
def test_case(case: Case, execute_case: Execute) -> None:
    """PASS passes; FAIL, CRASH and ERROR fail with what was expected and seen; SKIP skips with its reason."""
    result = execute_case(case)
    match result.verdict:
        case Verdict.PASS:
            return
        case Verdict.SKIP:
            pytest.skip(result.reason)
        case _:
            pytest.fail(explain(result), pytrace=False)


def explain(result: CaseResult) -> str:
    """What a failed case tells: the rule, where it is written, and expected against observed."""
    lines = [f"{result.verdict}: {result.title} ({result.mode})", result.reason, *result.cite]
    for check in result.checks:
        mark = "ok" if check.ok else "->"
        lines.append(f"  {mark} {check.field}: expected {check.expected}, observed {check.observed}")
    return "\n".join([*lines, *(f"  {line}" for line in result.evidence)])
