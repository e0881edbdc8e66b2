"""Verdicts: who is compliant, who is not, and what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from virtproof.probes.judge import Judgement
from virtproof.probes.judge import judge as judge_by
from virtproof.probes.profile import Deviation, Profile, Waiver, load_profile
from virtproof.probes.proofs import ProofTable
from virtproof.results import Backend, CaseResult, CostResult, Layer, Outcome, Proof, Standing, Verdict

TODAY = date(2026, 6, 1)
PASS, FAIL, CRASH, SKIP, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.CRASH, Verdict.SKIP, Verdict.ERROR


def case(name: str, area: str = "traps", verdict: Verdict = PASS) -> CaseResult:
    return CaseResult(id=name, area=area, title=name, mode="long64", cite=(), verdict=verdict)


RAN = (
    case("trap.de.x"), case("pg.acc.y", "paging"), case("pio.x.z", "pio"),
    case("claim.vmx", "claims"), case("claim.svm", "claims"), case("slat.pf_noexit", "second_level"),
)  # fmt: skip
PROOFS = ProofTable(
    proves={"claim.vmx": ("vmx",), "claim.svm": ("svm",), "slat.pf_noexit": ("ept", "npt")},
    discriminating=frozenset({"claim.vmx", "claim.svm", "slat.pf_noexit"}),
)


def judge(*args, proofs: ProofTable = PROOFS, **more) -> Judgement:
    return judge_by(*args, proofs=proofs, **more)


@pytest.fixture
def profile() -> Profile:
    return load_profile("kvm-host")


def finding(judgement, name):
    (one,) = (one for one in judgement.findings if one.id == name)
    return one


@pytest.mark.parametrize("maker", ["healthy_intel", "healthy_amd"])
def test_a_healthy_server_is_compliant(hosts, tmp_path, profile, maker):
    judgement = judge(getattr(hosts, maker)(tmp_path).collect(), RAN, profile, today=TODAY)
    assert judgement.outcome is Outcome.COMPLIANT, judgement.summary
    assert not [one for one in judgement.findings if one.gates and one.standing is Standing.NOT_MET]


def test_a_healthy_server_is_compliant_without_the_msr_device(intel, profile):
    intel.msrs = None
    assert judge(intel.collect(), RAN, profile, today=TODAY).outcome is Outcome.COMPLIANT


def test_without_guests_nothing_is_proven_and_the_verdict_is_unknown(intel, profile):
    judgement = judge(intel.collect(), (), profile, today=TODAY)
    assert judgement.outcome is Outcome.UNKNOWN
    assert judgement.not_proven[0] == "No guest was run: nothing is proven."
    assert finding(judgement, "guest-traps").cause == "not-run"


def test_a_software_backend_is_never_compliant(amd, profile):
    (amd.root / "sys/module/kvm_amd").rename(amd.root / "sys/module/kvm_pvm")
    judgement = judge(amd.collect(), (*RAN, case("trap.ud.q", verdict=FAIL)), profile, today=TODAY)
    assert judgement.outcome is Outcome.NOT_COMPLIANT
    assert judgement.backend.software is True
    assert finding(judgement, "hardware-backend").cause == "software-backend"
    traps = finding(judgement, "guest-traps")
    assert traps.cause == "emulator-breaks-rules"
    assert any("trap.ud.q" in line for line in traps.evidence)


def test_guests_on_the_software_engine_say_nothing_about_the_host(intel, profile):
    unicorn = Backend(engine="software", name="unicorn 2.1.4", software=True)
    proofs = ProofTable(proves={"trap.de.x": ("vmx", "kvm")}, discriminating=frozenset({"trap.de.x"}))
    judgement = judge(intel.collect(), RAN, profile, today=TODAY, backend=unicorn, proofs=proofs)
    assert judgement.outcome is Outcome.UNKNOWN
    for name in ("guest-traps", "guest-translation"):
        assert (finding(judgement, name).standing, finding(judgement, name).cause) == (
            Standing.UNKNOWN,
            "guests-on-emulator",
        )
    for claim in judgement.claims:
        if claim.name in {"vmx", "kvm"}:
            assert claim.proof is Proof.UNPROVEN
            assert "software engine (unicorn 2.1.4)" in claim.proof_reason


def test_what_is_behind_kvm_is_named_whatever_the_guests_ran_on(amd, profile):
    (amd.root / "sys/module/kvm_amd").rename(amd.root / "sys/module/kvm_pvm")
    unicorn = Backend(engine="software", name="unicorn 2.1.4", software=True)
    found = finding(judge(amd.collect(), RAN, profile, today=TODAY, backend=unicorn), "hardware-backend")
    assert "kvm_pvm" in found.cause_text
    assert "unicorn" not in found.cause_text


def test_what_fails_on_the_software_engine_is_not_the_hosts_fault(intel, profile):
    unicorn = Backend(engine="software", name="unicorn 2.1.4", software=True)
    results = (*RAN, case("trap.de.bad", verdict=FAIL))
    judgement = judge(intel.collect(), results, profile, today=TODAY, backend=unicorn)
    assert finding(judgement, "guest-traps").standing is Standing.UNKNOWN


def test_the_cause_and_the_remedy_reach_the_summary(intel, hosts, profile):
    intel.msrs = {**hosts.INTEL_MSRS, 0x3A: 1}
    judgement = judge(intel.collect(), (), profile, today=TODAY)
    assert judgement.outcome is Outcome.NOT_COMPLIANT
    assert "off in firmware" in judgement.summary
    assert finding(judgement, "hardware-virtualization").remedy == "enable-in-firmware"


def test_one_failing_case_on_hardware_decides(intel, profile):
    bad = replace(case("trap.de.bad", verdict=FAIL), cite=("the rule",))
    results = (*RAN, bad, case("trap.db.dead", verdict=CRASH))
    judgement = judge(intel.collect(), results, profile, today=TODAY)
    traps = finding(judgement, "guest-traps")
    assert (judgement.outcome, traps.standing, traps.cause) == (
        Outcome.NOT_COMPLIANT,
        Standing.NOT_MET,
        "refuted-by-guests",
    )
    assert "trap.de: 1 wrong: trap.de.bad" in traps.evidence
    assert traps.evidence[0] == "1 crash, 1 fail, 1 pass"
    assert traps.cite == ("the rule",)


def test_cases_that_no_profile_gates_are_reported_not_judged(intel, profile):
    judgement = judge(intel.collect(), (*RAN, case("time.pit.x", "timers", FAIL)), profile, today=TODAY)
    assert judgement.outcome is Outcome.COMPLIANT
    assert finding(judgement, "guests-other").standing is Standing.NOT_MET


def test_our_own_error_outranks(intel, profile):
    assert (
        judge(intel.collect(), (*RAN, case("trap.a.b", verdict=ERROR)), profile, today=TODAY).outcome is Outcome.ERROR
    )


def test_skipped_cases_alone_are_not_applicable(intel, profile):
    results = (*RAN[1:], case("trap.a.b", verdict=SKIP))
    assert (
        finding(judge(intel.collect(), results, profile, today=TODAY), "guest-traps").standing
        is Standing.NOT_APPLICABLE
    )


def test_cpus_that_differ_are_a_finding(intel, hosts, profile):
    intel.odd = {1: (hosts.with_bit(hosts.INTEL, 7, 1, 20, False), hosts.INTEL_MSRS)}
    judgement = judge(intel.collect(), RAN, profile, today=TODAY)
    uniform = finding(judgement, "uniform-cpus")
    assert (uniform.standing, uniform.cause) == (Standing.NOT_MET, "cpus-differ")
    assert "CPUID 0x7 EBX" in uniform.cause_text
    assert judgement.outcome is Outcome.NOT_COMPLIANT


def test_a_fact_whose_value_differs_must_do_on_every_cpu(intel, hosts, profile):
    intel.odd = {1: (hosts.with_bit(hosts.INTEL, 0x8000_0001, 3, 29, False), hosts.INTEL_MSRS)}
    judgement = judge(intel.collect(), RAN, profile, today=TODAY)
    assert finding(judgement, "long-mode").standing is Standing.NOT_MET


def test_microcode_that_differs_is_a_finding(intel, hosts, profile):
    intel.cpuinfo(f"{hosts.BOOT_FLAGS} vmx", "ept", ("0x1", "0x1", "0x2", "0x1"))
    judgement = judge(intel.collect(), RAN, profile, today=TODAY)
    assert "0x2 on CPUs 2" in finding(judgement, "uniform-microcode").cause_text
    assert judgement.outcome is Outcome.NOT_COMPLIANT


# Waivers and deviations


def waiver(**changes) -> Waiver:
    fields = {"finding": "guest-traps", "host": (), "owner": "ops", "reason": "known", "expires": date(2027, 1, 1)}
    return Waiver(**{**fields, **changes})


@pytest.mark.parametrize(("changes", "outcome", "stale"), [
    ({}, Outcome.COMPLIANT, 0),
    ({"expires": TODAY}, Outcome.COMPLIANT, 0),
    ({"expires": date(2026, 5, 31)}, Outcome.NOT_COMPLIANT, 1),
    ({"host": (("vendor", "GenuineIntel"), ("kernel", "6.1*"))}, Outcome.COMPLIANT, 0),
    ({"host": (("vendor", "AuthenticAMD"),)}, Outcome.NOT_COMPLIANT, 0),
    ({"finding": "no-such"}, Outcome.NOT_COMPLIANT, 1),
    ({"finding": "long-mode"}, Outcome.NOT_COMPLIANT, 1),
])  # fmt: skip
def test_waivers(intel, profile, changes, outcome, stale):
    results = (*RAN, case("trap.de.bad", verdict=FAIL))
    judgement = judge(intel.collect(), results, profile, (waiver(**changes),), today=TODAY)
    assert judgement.outcome is outcome
    assert sum(one.standing is Standing.STALE_WAIVER for one in judgement.findings) == stale


def test_a_known_deviation_gates_only_a_strict_profile(intel, profile):
    known = Deviation(id="d", cases=("trap.de.*",), backend="kvm_intel", kernel=">=6.0 <6.2", reason="r", cite=("c",))
    results = (*RAN, case("trap.de.bad", verdict=FAIL))
    tolerant, strict = replace(profile, deviations=(known,)), replace(profile, deviations=(known,), strict=True)
    judgement = judge(intel.collect(), results, tolerant, today=TODAY)
    assert judgement.outcome is Outcome.COMPLIANT
    assert any("known deviation d (r; c): trap.de.bad" in line for line in finding(judgement, "guest-traps").evidence)
    assert judge(intel.collect(), results, strict, today=TODAY).outcome is Outcome.NOT_COMPLIANT
    elsewhere = replace(profile, deviations=(replace(known, kernel=">=6.2"),))
    assert judge(intel.collect(), results, elsewhere, today=TODAY).outcome is Outcome.NOT_COMPLIANT


# Proofs


def proven(machine, profile, verdict: Verdict, discriminates: bool = True, claim: str = "ept"):
    table = ProofTable(proves={"pg.acc.y": (claim,)}, discriminating=frozenset({"pg.acc.y"} if discriminates else ()))
    results = (case("trap.de.x"), case("pg.acc.y", "paging", verdict), case("pio.x.z", "pio"))
    judgement = judge(machine.collect(), results, profile, today=TODAY, proofs=table)
    return next(one for one in judgement.claims if one.name == claim), judgement


def test_a_discriminating_case_proves(intel, profile):
    claim, _ = proven(intel, profile, PASS)
    assert (claim.proof, claim.functional, claim.proof_cases) == (Proof.PROVEN, Layer.YES, ("pg.acc.y",))


def test_a_case_that_does_not_discriminate_shows_function_only(intel, profile):
    claim, judgement = proven(intel, profile, PASS, discriminates=False)
    assert (claim.proof, claim.functional) == (Proof.FUNCTIONAL_ONLY, Layer.YES)
    assert any("emulation would look the same" in line for line in judgement.not_proven)


def test_a_broken_case_refutes_and_the_claim_falls(intel, profile):
    claim, judgement = proven(intel, profile, FAIL)
    assert (claim.proof, claim.functional, claim.cause) == (Proof.REFUTED, Layer.NO, "refuted-by-guests")
    assert finding(judgement, "nested-paging").standing is Standing.NOT_MET


def test_a_proof_without_a_claim_is_a_contradiction(intel, hosts, profile):
    intel.msrs = {**hosts.INTEL_MSRS, 0x48B: 0x0000_006D_0000_0000}  # no EPT in silicon
    assert proven(intel, profile, PASS)[0].proof is Proof.CONTRADICTED


def test_a_software_backend_proves_nothing_about_hardware(amd, profile):
    (amd.root / "sys/module/kvm_amd").rename(amd.root / "sys/module/kvm_pvm")
    for verdict in (PASS, FAIL):
        claim, _ = proven(amd, profile, verdict, claim="npt")
        assert claim.proof is Proof.UNPROVEN
        assert "describe the emulator (kvm_pvm)" in claim.proof_reason
    assert proven(amd, profile, PASS, claim="kvm")[0].proof is Proof.PROVEN


def test_a_skipped_case_leaves_the_reason(intel, profile):
    claim, _ = proven(intel, profile, SKIP)
    assert (claim.proof, claim.proof_reason) == (Proof.UNPROVEN, "no case gave an answer (pg.acc.y: skip)")


def test_without_proof_the_virtualization_of_a_server_is_not_known(intel, profile):
    judgement = judge(intel.collect(), RAN[:3], profile, today=TODAY)
    assert judgement.outcome is Outcome.UNKNOWN
    for name in ("hardware-virtualization", "nested-paging"):
        assert finding(judgement, name).standing is Standing.UNKNOWN
        assert "no case that could prove it was run" in finding(judgement, name).cause_text


UMIP_CASES = ("sens.sgdt.umip.cpl3.long64", "sens.smsw.umip.cpl3.long64")
UMIP = ProofTable(proves=dict.fromkeys(UMIP_CASES, ("umip",)), discriminating=frozenset(UMIP_CASES[1:]))


@pytest.mark.parametrize(("strict", "proof"), [(False, Proof.FUNCTIONAL_ONLY), (True, Proof.REFUTED)])
def test_a_known_deviation_does_not_refute_a_claim(intel, hosts, profile, strict, proof):
    """KVM emulates UMIP on processors without it, but for SMSW."""
    intel.leaves = hosts.with_bit(hosts.INTEL, 7, 2, 2, False)
    ran = [case(name, "sensitive", verdict) for name, verdict in zip(UMIP_CASES, (PASS, FAIL), strict=True)]
    judgement = judge(intel.collect(), ran, replace(profile, strict=strict), today=TODAY, proofs=UMIP)
    (umip,) = (claim for claim in judgement.claims if claim.name == "umip")
    assert (umip.silicon, umip.proof) == (Layer.NO, proof)


def test_a_claim_of_which_only_a_known_deviation_speaks_is_unproven(intel, profile):
    ran = [case(UMIP_CASES[1], "sensitive", FAIL)]
    judgement = judge(intel.collect(), ran, profile, today=TODAY, proofs=UMIP)
    (umip,) = (claim for claim in judgement.claims if claim.name == "umip")
    assert (umip.proof, umip.proof_reason) == (Proof.UNPROVEN, "all fail by known deviations")


def test_what_kvm_emulates_on_any_processor_says_so(intel, profile):
    claim, _ = proven(intel, profile, PASS, discriminates=False, claim="tsc_deadline")
    assert (claim.proof, claim.proof_reason) == (
        Proof.FUNCTIONAL_ONLY, "it works, as KVM's own timers make it on any processor",
    )  # fmt: skip


# Costs

BOUND = """
schema = "virtproof.profile/1"
name = "own"
title = "Ours"

[[requirement]]
id = "exit-cost"
title = "An exit is cheap"
severity = "minor"
cost = "cpuid"
at_most = 1000
"""
EXIT = CostResult(name="cpuid", title="CPUID", samples=100, minimum=1800, median=2000, p99=9000, tsc_khz=2_000_000)


@pytest.mark.parametrize(("costs", "standing", "said"), [
    ((EXIT,), Standing.MET, "1000 ns"),
    ((replace(EXIT, median=2002),), Standing.NOT_MET, "1001 ns"),
    ((replace(EXIT, unit="ns", median=1001),), Standing.NOT_MET, "1001 ns"),
    ((replace(EXIT, name="pio_out", median=9999),), Standing.UNKNOWN, "check --bench"),
    ((), Standing.UNKNOWN, "check --bench"),
    ((replace(EXIT, tsc_khz=None),), Standing.UNKNOWN, "frequency"),
    ((CostResult(name="cpuid", title="CPUID", reason="the guest stopped"),), Standing.UNKNOWN, "the guest stopped"),
])  # fmt: skip
def test_a_profile_bounds_what_an_exit_costs(intel, tmp_path, costs, standing, said):
    path = tmp_path / "own.toml"
    path.write_text(BOUND)
    judgement = judge(intel.collect(), (), load_profile(str(path)), today=TODAY, costs=costs)
    (found,) = judgement.findings
    assert found.standing is standing
    assert said in " ".join((*found.evidence, found.cause_text))
    assert found.asks == "cpuid costs 1000 ns at most (median)"
    wanted = {Standing.MET: Outcome.COMPLIANT, Standing.NOT_MET: Outcome.NOT_COMPLIANT}
    assert judgement.outcome is wanted.get(standing, Outcome.UNKNOWN)


def test_what_exits_cost_in_the_software_engine_says_nothing_of_the_host(intel, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(BOUND)
    emulator = Backend(engine="software", name="unicorn", software=True)
    profile = load_profile(str(path))
    judgement = judge(intel.collect(), (), profile, today=TODAY, costs=(EXIT,), backend=emulator)
    assert judgement.findings[0].cause == "guests-on-emulator"
