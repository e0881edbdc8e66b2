"""A claim that a profile wants proven must be proven: from the text of a profile and the cases to the verdict."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.execute import result_of
from virtproof.probes.judge import Judgement, judge
from virtproof.probes.profile import load_profile
from virtproof.probes.proofs import ProofTable
from virtproof.results import Backend, Outcome, Proof, Standing, Verdict

PROFILE = """
schema = "virtproof.profile/1"
name = "own"
title = "Ours"

[[requirement]]
id = "second-level"
title = "EPT is proven"
severity = "critical"
claims = ["ept"]
proven = {proven}
"""
CASES = {case.id: case for case in all_cases()}
PROOFS = ProofTable(
    proves={case.id: case.proves for case in all_cases()},
    discriminating=frozenset(case.id for case in all_cases() if case.discriminates),
)
PROVES = next(case.id for case in all_cases() if "ept" in case.proves and case.discriminates)
HARDWARE = Backend(engine="kvm", name="kvm_intel", software=False)
EMULATOR = Backend(engine="software", name="unicorn", software=True)


def judged(machine, folder: Path, results: dict[str, Verdict], *, proven: str = "true", **more) -> Judgement:
    path = folder / "own.toml"
    path.write_text(PROFILE.format(proven=proven))
    ran = [result_of(CASES[name], verdict, "") for name, verdict in results.items()]
    more = {"backend": HARDWARE, "proofs": PROOFS} | more
    return judge(machine.collect(), ran, load_profile(str(path)), today=date(2026, 6, 1), **more)


@pytest.mark.parametrize(
    ("results", "standing", "outcome"),
    [
        ({PROVES: Verdict.PASS}, Standing.MET, Outcome.COMPLIANT),
        ({PROVES: Verdict.FAIL}, Standing.NOT_MET, Outcome.NOT_COMPLIANT),
        ({PROVES: Verdict.CRASH}, Standing.NOT_MET, Outcome.NOT_COMPLIANT),
        ({PROVES: Verdict.SKIP}, Standing.UNKNOWN, Outcome.UNKNOWN),
        ({"trap.ud.ud2.long64": Verdict.PASS}, Standing.UNKNOWN, Outcome.UNKNOWN),
        ({}, Standing.UNKNOWN, Outcome.UNKNOWN),
    ],
)
def test_the_verdict_hangs_on_the_proof(intel, tmp_path, results, standing, outcome):
    judgement = judged(intel, tmp_path, results)
    (finding,) = judgement.findings
    assert (finding.standing, judgement.outcome) == (standing, outcome)


def test_a_claim_that_need_not_be_proven_stands_by_itself(intel, tmp_path):
    assert judged(intel, tmp_path, {}, proven="false").outcome is Outcome.COMPLIANT


def test_what_emulation_would_show_as_well_is_no_proof(intel, tmp_path):
    table = ProofTable(proves=PROOFS.proves)  # nothing discriminates
    judgement = judged(intel, tmp_path, {PROVES: Verdict.PASS}, proofs=table)
    assert judgement.outcome is Outcome.UNKNOWN
    assert {claim.name: claim.proof for claim in judgement.claims}["ept"] is Proof.FUNCTIONAL_ONLY


def test_guests_on_an_emulator_prove_nothing(intel, tmp_path):
    assert judged(intel, tmp_path, {PROVES: Verdict.PASS}, backend=EMULATOR).outcome is Outcome.UNKNOWN


def test_the_finding_says_what_was_asked_and_what_is_missing(intel, tmp_path):
    (finding,) = judged(intel, tmp_path, {}).findings
    assert "proven by guests" in finding.asks
    assert "no case that could prove it was run" in finding.evidence[0]
