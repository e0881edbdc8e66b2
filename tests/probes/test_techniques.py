"""How guests run: each technique by the observation that tells it, and never by a failure of another kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from virtproof.conformance.catalogue import all_cases
from virtproof.probes.techniques import APIC, KERNEL, REAL, SIGNS, TABLES, USER, USER_TABLES, techniques
from virtproof.results import Backend, CaseResult, Check, Technique, Verdict

PASS, FAIL, SKIP = Verdict.PASS, Verdict.FAIL, Verdict.SKIP


def backend(name: str, *, engine: str = "kvm") -> Backend:
    return Backend(engine=engine, name=name, software=None)


def result(id: str, verdict: Verdict, counter: str = "", saw: str = "5000", reason: str = "") -> CaseResult:  # noqa: A002
    checks = (Check(f"1000 times: {counter}", "0", saw, verdict is PASS),) if counter else ()
    return CaseResult(
        id=id, area="claims", title=id, mode="long64", cite=(), verdict=verdict, checks=checks, reason=reason
    )


def only(found: tuple[Technique, ...]) -> Technique:
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("name", "case", "verdict", "counter", "subject", "technique", "contradicts"),
    [
        ("kvm_intel", "claim.vmx", PASS, "", KERNEL, "hardware-assisted virtualization (VT-x)", ""),
        ("kvm_amd", "claim.svm", PASS, "", KERNEL, "hardware-assisted virtualization (AMD-V)", ""),
        ("kvm_pvm", "claim.backend", FAIL, "insn_emulation", KERNEL, "interpretation", ""),
        ("kvm_amd", "claim.backend", FAIL, "insn_emulation", KERNEL, "interpretation", "AMD-V"),
        ("kvm_pvm", "claim.backend.ring3", PASS, "", USER, "direct execution", ""),
        ("kvm_intel", "claim.unrestricted", FAIL, "insn_emulation", REAL, "interpretation", "unrestricted_guest is on"),
        ("kvm_intel", "slat.pf_noexit", PASS, "", TABLES, "EPT", ""),
        ("kvm_amd", "slat.pf_noexit", PASS, "", TABLES, "RVI (NPT)", ""),
        ("kvm_intel", "slat.pf_noexit", FAIL, "pf_guest", TABLES, "shadow page tables", "ept is on"),
        ("kvm_intel", "claim.no_tdp", PASS, "", TABLES, "shadow page tables", ""),
        ("kvm_amd", "claim.no_tdp", FAIL, "pf_guest", TABLES, "RVI (NPT)", "npt is off"),
        ("kvm_intel", "claim.apicv", FAIL, "exits", APIC, "emulation in the kernel", "enable_apicv is on"),
        ("kvm_pvm", "claim.backend.real", FAIL, "insn_emulation", REAL, "interpretation", ""),
        ("kvm_intel", "claim.backend.real", FAIL, "insn_emulation", REAL, "interpretation", ""),
        ("kvm_pvm", "claim.backend.tables", FAIL, "pf_guest", TABLES, "shadow page tables", ""),
        ("kvm_pvm", "claim.backend.tables", FAIL, "insn_emulation", TABLES, "emulation: an interpreter walks them", ""),
        ("kvm_pvm", "claim.backend.tables", PASS, "", TABLES, "second-level translation", ""),
        ("kvm_pvm", "claim.backend.tables.ring3", FAIL, "pf_guest", USER_TABLES, "shadow page tables", ""),
        ("kvm_amd", "claim.backend.tables.ring3", PASS, "", USER_TABLES, "RVI (NPT)", ""),
        ("kvm_pvm", "claim.backend.apic", FAIL, "insn_emulation", APIC, "emulation in the kernel", ""),
        ("kvm_intel", "claim.backend.apic", FAIL, "exits", APIC, "emulation in the kernel", ""),
        ("kvm_amd", "claim.backend.apic.memory", PASS, "", APIC, "hardware-assisted virtualization (AVIC)", ""),
    ],
)
def test_an_observation_names_the_technique(name, case, verdict, counter, subject, technique, contradicts):
    found = only(techniques((result(case, verdict, counter),), backend(name)))
    assert (found.subject, found.name) == (subject, technique)
    assert case in found.how
    assert contradicts in found.contradiction
    assert bool(contradicts) == bool(found.contradiction)


@pytest.mark.parametrize(("counter", "saw"), [("exits", "5000"), ("insn_emulation", "no such counter"), ("", "")])
def test_a_failure_of_another_kind_says_nothing(counter, saw):
    assert only(techniques((result("claim.backend", FAIL, counter, saw),), backend("kvm_pvm"))).name == "unknown"


def test_an_interpreter_that_injects_faults_keeps_no_shadows():
    counted = replace(
        result("claim.backend.tables", FAIL, "pf_guest"),
        checks=tuple(
            Check(f"1000 page faults: {name}", "0", "51012", False) for name in ("pf_guest", "insn_emulation")
        ),
    )
    assert only(techniques((counted,), backend("kvm_pvm"))).name == "emulation: an interpreter walks them"


def test_a_module_that_claims_nothing_is_judged_by_behaviour():
    off = result("claim.apicv", SKIP, reason="enable_apicv is off")
    found = only(techniques((off, result("claim.backend.apic", FAIL, "exits")), backend("kvm_intel")))
    assert (found.name, found.contradiction) == ("emulation in the kernel", "")


def test_interrupts_that_get_lost_are_no_technique():
    lost = replace(result("claim.backend.apic", FAIL), checks=(Check("observations", "0x3e8", "0x3", False),))
    assert only(techniques((lost,), backend("kvm_pvm"))).name == "unknown"


def test_what_kvm_says_of_itself_is_held_against_it():
    check = Check("KVM_CAP_PRE_FAULT_MEMORY while kvm_intel.ept is on", "offered", "not offered", False)
    said = replace(result("claim.no_tdp.capability", FAIL), checks=(check,))
    found = only(techniques((result("slat.pf_noexit", PASS), said), backend("kvm_intel")))
    assert found.name == "EPT"
    assert found.contradiction == "KVM_CAP_PRE_FAULT_MEMORY while kvm_intel.ept is on: not offered"


def test_what_kvm_says_of_itself_is_no_technique():
    said = result("claim.no_tdp.capability", PASS)
    assert only(techniques((result("slat.pf_noexit", PASS), said), backend("kvm_amd"))).contradiction == ""
    assert techniques((said,), backend("kvm_amd")) == ()


def test_what_was_skipped_says_why():
    found = only(techniques((result("claim.apicv", SKIP, reason="enable_apicv is off"),), backend("kvm_intel")))
    assert (found.name, found.how) == ("unknown", "claim.apicv: skip, enable_apicv is off")


def test_the_module_in_use_says_why_and_not_the_other():
    results = (result("claim.apicv", SKIP, reason="other"), result("claim.apicv.avic", SKIP, reason="avic is off"))
    assert "avic is off" in only(techniques(results, backend("kvm_amd"))).how


def test_the_software_engine_translates():
    found = techniques((result("trap.x", PASS),), backend("unicorn", engine="software"))
    assert {one.name for one in found} == {"binary translation"}


def test_nothing_is_said_of_what_was_not_run():
    assert techniques((), backend("kvm_intel")) == ()
    assert techniques((), backend("unicorn", engine="software")) == ()


def test_signs_are_of_cases_that_there_are():
    assert {sign.case for sign in SIGNS} <= {case.id for case in all_cases()}
