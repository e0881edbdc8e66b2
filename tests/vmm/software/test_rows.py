"""Rows of every mode, many to a guest, come out on the software engine as on hardware."""

from __future__ import annotations

import pytest

from virtproof.conformance.batch import can_share, execute_batch
from virtproof.conformance.case import Row
from virtproof.conformance.catalogue import all_cases
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Verdict
from virtproof.vmm.engines.software import SoftwareEngine

AREA = {
    Mode.REAL16: "sensitive",
    Mode.VM86: "privileged",
    Mode.PROT16: "modes",
    Mode.PROT32: "privileged",
    Mode.PSE32: "paging",
    Mode.PAE32: "traps",
    Mode.COMPAT32: "traps",
    Mode.LONG64: "privileged",
}


@pytest.mark.parametrize("mode", list(Mode))
def test_a_batch_of_each_mode_passes(engine: SoftwareEngine, mode: Mode) -> None:
    rows = [case for case in all_cases() if isinstance(case, Row) and case.mode is mode and case.area == AREA[mode]]
    rows = [row for row in rows if can_share(row) and "limit" not in row.id]
    results = execute_batch(tuple(rows), engine)
    verdicts = {result.id: result.verdict for result in results}
    assert rows
    assert [row.id for row in rows if verdicts.get(row.id) not in (Verdict.PASS, Verdict.SKIP)] == []
