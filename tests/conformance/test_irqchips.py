"""Cases of interrupts, timers and several processors on the monitor's own controllers.

They run with KVM, and on the software engine.  On the kernel's controllers they run with all others.
"""

from __future__ import annotations

import pytest

from virtproof.conformance.areas.smp import exits
from virtproof.conformance.case import Case
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.execute import execute
from virtproof.results import CaseResult, Verdict
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.engines.software.engine import SoftwareEngine

AREAS = ("interrupts", "timers", "smp")
CASES = [case for case in all_cases() if case.area in AREAS or case in exits.CASES]
# What kvm_pvm breaks whoever has the controllers; lab/references/known.py says why.
PVM = {"int.user.window", "int.lapic.cr8_pending", "int.lapic.cr8_pending.x2", "smp.cmpxchg16b", "time.tsc.offset"}

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@pytest.fixture
def monitors(engine: KvmEngine) -> KvmEngine:
    """KVM without its interrupt controllers."""
    return KvmEngine(engine.kvm, kernel_irqchip=False)


@pytest.mark.kvm
@each_case
def test_with_kvm(monitors: KvmEngine, case: Case) -> None:
    if monitors.backend.name == "kvm_pvm" and case.id in PVM:
        pytest.skip("kvm_pvm breaks the rule")
    passes(execute(case, monitors))


@each_case
def test_on_the_software_engine(software: SoftwareEngine, case: Case) -> None:
    passes(execute(case, software))


def passes(result: CaseResult) -> None:
    if result.verdict is Verdict.SKIP:
        pytest.skip(result.reason)
    assert result.verdict is Verdict.PASS, (result.reason, result.checks)
