"""The cases as pytest items: ``pytest --pyargs virtproof.conformance``, with ``-k`` on ids, areas and modes.

The same objects, executed by the same function as ``virtproof check`` does; pytest only shows them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from virtproof.conformance.case import Case
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.pool import run_cases
from virtproof.kvm import Kvm, KvmUnavailable
from virtproof.results import CaseResult, Verdict

Execute = Callable[[Case], CaseResult]


@pytest.fixture(scope="session")
def execute_case() -> Execute:
    """Execute a case in a worker process, or skip with the reason where there is no usable /dev/kvm."""
    try:
        Kvm.open().close()
    except KvmUnavailable as fault:
        pytest.skip(str(fault))
    return lambda case: next(run_cases([case], engine="kvm", workers=1))


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
