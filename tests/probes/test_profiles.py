"""The profiles that come along: a server in order meets each; one change breaks it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from virtproof.probes.judge import Judgement, judge
from virtproof.probes.profile import load_profile, profile_names
from virtproof.probes.proofs import ProofTable
from virtproof.results import CaseResult, Outcome, Standing, Verdict

TODAY = date(2026, 6, 1)
AREAS = ("traps", "paging", "pio")
PROVE = {"claim.vmx": ("vmx",), "claim.svm": ("svm",), "slat.pf_noexit": ("ept", "npt"), "claim.nested": ("nested",)}
PROOFS = ProofTable(proves=PROVE, discriminating=frozenset(PROVE))
RAN = tuple(
    CaseResult(id=name, area=area, title="", mode="", cite=(), verdict=Verdict.PASS)
    for name, area in [*((f"{area}.x.y", area) for area in AREAS), *((name, "claims") for name in PROVE)]
)
ONE_MAKER = {"confidential-sev-snp": "amd", "confidential-tdx": "intel"}


@pytest.fixture
def machines(hosts, tmp_path):
    made = {"intel": hosts.complete_intel(tmp_path / "intel"), "amd": hosts.complete_amd(tmp_path / "amd")}
    made["amd"].file("/dev/sev")
    return made


def judged(machine, profile: str) -> Judgement:
    return judge(machine.collect(), RAN, load_profile(profile), today=TODAY, proofs=PROOFS)


@pytest.mark.parametrize("maker", ["intel", "amd"])
@pytest.mark.parametrize("profile", profile_names())
def test_a_server_in_order_is_compliant(machines, profile, maker):
    judgement = judged(machines[maker], profile)
    wanted = Outcome.COMPLIANT if ONE_MAKER.get(profile, maker) == maker else Outcome.NOT_COMPLIANT
    assert judgement.outcome is wanted, judgement.summary


def off(path: str, text: str):
    return lambda machine: machine.file(path, text)


def without(path: str):
    return lambda machine: (machine.root / path).rmdir()


# fmt: off
BROKEN = [
    #  profile                 maker    what is wrong                                                              the finding
    ("esxi-6.5",              "intel", lambda m: m.msrs.update({0x3A: 1}),                                         "hardware-virtualization"),
    ("esxi-6.5",              "amd",   lambda m: m.msrs.update({0xC001_0114: 0x18}),                               "hardware-virtualization"),
    ("esxi-6.5",              "intel", lambda m: setattr(m, "cpus", 1),                                            "cpus"),
    ("esxi-7",                "intel", lambda m: m.leaves.update({(1, 0): (0x000206C2, *m.leaves[1, 0][1:])}),     "cpu-generation"),
    ("esxi-8",                "intel", lambda m: m.leaves.update({(1, 0): (*m.leaves[1, 0][:2], m.leaves[1, 0][2] & ~(1 << 26), m.leaves[1, 0][3])}), "xsave"),
    ("hyperv",                "intel", lambda m: m.msrs.update({0x48B: 0x0257_7FFD << 32}),                        "second-level-translation"),
    ("openstack-compute",     "amd",   lambda m: (m.root / "dev/vhost-net").unlink(),                              "network-devices"),
    ("openstack-compute",     "amd",   off("/sys/devices/system/cpu/vulnerabilities/meltdown", "Vulnerable"),      "mitigations"),
    ("nested-kvm",            "intel", off("/sys/module/kvm_intel/parameters/nested", "N"),                        "nested-guests"),
    ("confidential-sev-snp",  "amd",   lambda m: m.msrs.update({0xC001_0010: 0}),                                  "sev-snp"),
    ("confidential-sev-snp",  "amd",   lambda m: (m.root / "dev/sev").unlink(),                                    "secure-processor"),
    ("confidential-tdx",      "intel", off("/sys/module/kvm_intel/parameters/tdx", "N"),                           "tdx"),
    ("device-assignment",     "amd",   without("sys/class/iommu/ivhd0"),                                           "iommu"),
    ("device-assignment",     "intel", lambda m: m.log("DMAR-IR: Not enabling interrupt remapping"),               "interrupt-remapping"),
    ("device-assignment",     "intel", off("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y"), "no-unsafe-interrupts"),
]
# fmt: on


@pytest.mark.parametrize(("profile", "maker", "change", "finding"), BROKEN)
def test_one_thing_wrong_is_not_compliant(machines, hosts, profile, maker, change, finding):
    machine = machines[maker]
    machine.leaves, machine.msrs = dict(machine.leaves), dict(machine.msrs)
    change(machine)
    judgement = judged(machine, profile)
    gating = [one.id for one in judgement.findings if one.gates and one.standing is Standing.NOT_MET]
    assert judgement.outcome is Outcome.NOT_COMPLIANT
    assert finding in gating


HEAD = 'schema = "virtproof.profile/1"\nname = "x"\ntitle = "X"\n'


def test_a_profile_changes_what_it_extends_key_by_key(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(HEAD + 'extends = ["kvm-host"]\n[[requirement]]\nid = "iommu"\ngates = true\n')
    parent, own = load_profile("kvm-host"), load_profile(str(path))
    assert [one.id for one in own.requirements] == [one.id for one in parent.requirements]
    (before,) = (one for one in parent.requirements if one.id == "iommu")
    (after,) = (one for one in own.requirements if one.id == "iommu")
    assert (before.gates, after.gates, after.claims, after.layers) == (False, True, before.claims, before.layers)
    assert own.sha256 != parent.sha256


def test_asking_for_something_else_drops_what_was_asked_before(tmp_path):
    path = tmp_path / "own.toml"
    row = '[[requirement]]\nid = "iommu"\nfact = "iommu.groups"\nat_least = 2\n'
    path.write_text(HEAD + 'extends = ["kvm-host"]\n' + row)
    (changed,) = (one for one in load_profile(str(path)).requirements if one.id == "iommu")
    assert (changed.fact, changed.at_least, changed.claims) == ("iommu.groups", 2, ())


def test_profiles_extend_files_beside_them(tmp_path):
    (tmp_path / "base.toml").write_text(HEAD + 'strict = true\nextends = ["kvm-host"]\n')
    (tmp_path / "own.toml").write_text(HEAD + 'extends = ["base.toml"]\n')
    assert load_profile(str(tmp_path / "own.toml")).strict


@pytest.mark.parametrize(("text", "message"), [
    ('extends = ["kvm-hosts"]\n', r"line 4: extends: there is no profile 'kvm-hosts'; did you mean 'kvm-host'"),
    ('extends = ["own.toml"]\n', r"line 4: extends: .* circle"),
    ('extends = "kvm-host"\n', "line 4: extends: text where a list belongs"),
    ('extends = ["kvm-host"]\n[[requirement]]\nid = "iommus"\ngates = true\n', "line 5: the key 'title' is missing"),
    ('extends = ["kvm-host"]\n[[requirement]]\nid = "iommu"\nequals = 3\n', "line 7: equals: a fact needs exactly one"),
])  # fmt: skip
def test_mistakes_in_extending_name_the_place(tmp_path, text, message):
    from virtproof.spec.fault import Fault

    path = tmp_path / "own.toml"
    path.write_text(HEAD + text)
    with pytest.raises(Fault, match=message):
        load_profile(str(path))


@pytest.mark.parametrize("profile", profile_names())
def test_every_requirement_says_what_to_do_and_where_it_is_written(profile):
    """Claims and cases bring remedy and citation of their own."""
    for one in load_profile(profile).requirements:
        assert one.title
        if one.fact:
            assert one.remedy or one.cause, one.id
            assert one.cite or one.remedy, one.id


def test_the_documentation_names_all_profiles():
    text = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text()
    assert [name for name in profile_names() if f"`{name}`" not in text] == []
