"""What changed between two runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from virtproof.results import (
    Backend,
    CaseResult,
    Change,
    ClaimResult,
    Evidence,
    FactAnswer,
    Finding,
    Host,
    Layer,
    Outcome,
    Run,
    Standing,
    Verdict,
)
from virtproof.results_compare import MAX_CHANGES, MAX_TEXT, compare
from virtproof.results_json import dump_run, load_run


def finding(name: str, standing: Standing = Standing.MET, cause: str | None = None) -> Finding:
    return Finding(id=name, title=name, severity="major", standing=standing, gates=True, cause=cause)


def case(name: str, verdict: Verdict = Verdict.PASS) -> CaseResult:
    return CaseResult(id=name, area="traps", title="", mode="long64", cite=(), verdict=verdict)


CLAIM = ClaimResult(
    name="vmx", title="VMX", silicon=Layer.YES, firmware=Layer.YES, kernel=Layer.YES, functional=Layer.YES, cause=None
)
RUN = Run(
    version="0.1.0",
    started="2026-05-01T00:00:00+00:00",
    seconds=1.0,
    complete=True,
    outcome=Outcome.COMPLIANT,
    summary="",
    host=Host(kernel="6.1.0", microcode="0x1"),
    backend=Backend(engine="kvm", name="kvm_intel", software=False),
    profile="kvm-host",
    profile_sha256="",
    cases_sha256="",
    findings=(finding("a"), finding("b")),
    claims=(CLAIM,),
)
EVIDENCE = Evidence(
    snapshot={},
    facts=(FactAnswer(id="cpu.nx", meaning="", known=True), FactAnswer(id="old", meaning="", known=1)),
    cases=(case("trap.a"), case("trap.b"), case("trap.gone")),
)


def changes(run: Run = RUN, evidence: Evidence | None = EVIDENCE) -> tuple[Change, ...]:
    return compare((RUN, EVIDENCE), (run, evidence)).changes


def test_nothing_changed():
    baseline = compare((RUN, EVIDENCE), (RUN, EVIDENCE))
    assert (baseline.changes, baseline.left_out, baseline.not_compared) == ((), 0, ())
    assert (baseline.started, baseline.version, baseline.profile) == (RUN.started, "0.1.0", "kvm-host")


LAYERS = "silicon yes, firmware yes, kernel {}, functional yes; unproven"


@pytest.mark.parametrize(("changed", "expected"), [
    ({"outcome": Outcome.NOT_COMPLIANT}, ("verdict", "outcome", "compliant", "not compliant")),
    ({"host": Host(kernel="6.2.0", microcode="0x1")}, ("host", "kernel", "6.1.0", "6.2.0")),
    ({"findings": (finding("a"),)}, ("finding", "b", "met", "")),
    ({"findings": (finding("a"), finding("b"), finding("c"))}, ("finding", "c", "", "met")),
    ({"findings": (finding("a"), finding("b", Standing.NOT_MET, "not-run"))},
     ("finding", "b", "met", "not met: not-run")),
    ({"claims": (replace(CLAIM, kernel=Layer.NO, cause="module-parameter"),)},
     ("claim", "vmx", LAYERS.format("yes"), LAYERS.format("no") + "; module-parameter")),
])  # fmt: skip
def test_one_change_of_the_run(changed, expected):
    (change,) = changes(replace(RUN, **changed))
    assert (change.subject, change.id, change.before, change.after) == expected


def test_facts_and_cases():
    facts = (FactAnswer(id="cpu.nx", meaning="", unknown="no permission"), FactAnswer(id="new", meaning="", known="x"))
    cases = (case("trap.a", Verdict.FAIL), case("trap.b"), case("trap.new"))
    baseline = compare((RUN, EVIDENCE), (RUN, replace(EVIDENCE, facts=facts, cases=cases)))
    assert [(one.subject, one.id, one.before, one.after) for one in baseline.changes] == [
        ("fact", "cpu.nx", "True", "unknown: no permission"),
        ("fact", "new", "", "x"),
        ("fact", "old", "1", ""),
        ("case", "trap.a", "pass", "fail"),
    ]
    assert baseline.not_compared == ("1 cases are in the baseline only.", "1 cases are in the new run only.")


def test_without_evidence_facts_and_cases_are_not_compared():
    for before, after, which in ((None, EVIDENCE, "baseline"), (EVIDENCE, None, "new run")):
        baseline = compare((RUN, before), (RUN, after))
        assert baseline.changes == ()
        assert f"The {which} came without evidence" in baseline.not_compared[0]


def test_what_is_listed_is_bounded():
    facts = tuple(FactAnswer(id=f"f{number}", meaning="", known="x" * 9999) for number in range(MAX_CHANGES + 5))
    baseline = compare((RUN, replace(EVIDENCE, facts=())), (RUN, replace(EVIDENCE, facts=facts)))
    assert (len(baseline.changes), baseline.left_out) == (MAX_CHANGES, 5)
    assert max(len(one.after) for one in baseline.changes) == MAX_TEXT


def test_a_baseline_survives_run_json():
    run = replace(RUN, baseline=compare((RUN, None), (replace(RUN, outcome=Outcome.ERROR), None)))
    assert load_run(dump_run(run)) == run
