"""What the software engine cannot judge: each limit is about cases, and none has been overcome unnoticed."""

from __future__ import annotations

import faulthandler
from fnmatch import fnmatchcase

import pytest

from virtproof.conformance import execute as executor
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.limits import SOFTWARE, limit
from virtproof.results import Verdict
from virtproof.vmm.engines.software import SoftwareEngine
from virtproof.vmm.worker import WorkerDied, WorkerPool

CASES = {case.id: case for case in all_cases()}
PATTERNS = [pattern for row in SOFTWARE for pattern in row.cases]
LIMITED = [name for name in CASES if limit(name, "software")]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_limit_is_about_a_case(pattern: str) -> None:
    assert any(fnmatchcase(name, pattern) for name in CASES)


def test_a_limited_case_is_skipped_on_this_engine_only(engine: SoftwareEngine) -> None:
    assert "cannot judge" in executor.execute(CASES[LIMITED[0]], engine).reason
    assert not limit(LIMITED[0], "kvm")


def test_no_limited_case_passes(engine: SoftwareEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs in a process of its own, which some of them end."""

    def verdict_of(name: str) -> str:
        faulthandler.disable()
        return str(executor.execute(CASES[name], engine).verdict)

    monkeypatch.setattr(executor, "limit", lambda case, engine: "")
    with WorkerPool(verdict_of, workers=2) as pool:
        verdicts = dict(pool.map(LIMITED, seconds=60))
    assert all(isinstance(verdict, str | WorkerDied) for verdict in verdicts.values())
    assert [name for name, verdict in verdicts.items() if verdict == Verdict.PASS] == []
