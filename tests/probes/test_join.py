"""What cases say they prove, against what there is to prove."""

from __future__ import annotations

from pathlib import Path

from virtproof.conformance.catalogue import all_cases
from virtproof.probes.claims.catalogue import ALL_CLAIMS
from virtproof.probes.profile import load_profile
from virtproof.results import CaseResult, Verdict


def test_cases_prove_claims_that_exist():
    known = {claim.name for claim in ALL_CLAIMS}
    unknown = {(case.id, name) for case in all_cases() for name in case.proves if name not in known}
    assert not unknown


def test_every_case_of_a_gating_area_is_gated():
    """A new area must be named by the profile, or knowingly left to what is only reported."""
    gating = [one for one in load_profile("kvm-host").requirements if one.gates and (one.cases or one.areas)]
    for case in all_cases():
        result = CaseResult(id=case.id, area=case.area, title="", mode="", cite=(), verdict=Verdict.PASS)
        if case.area.partition(".")[0] in {"traps", "paging", "translation", "io", "pio", "mmio", "serial"}:
            assert any(one.selects(result) for one in gating), case.id


def test_the_documentation_lists_all_claims():
    text = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text()
    missing = [claim.name for claim in ALL_CLAIMS if f"`{claim.name}`" not in text]
    assert not missing
