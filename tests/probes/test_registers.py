"""The capability registers: every bit that has a name is a fact; absent, forced and unreadable are told apart."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virtproof.probes.ask import ask
from virtproof.probes.capability_table import tables
from virtproof.probes.facts import sev, svm, svm_capabilities, vmx, vmx_capabilities, vmx_controls
from virtproof.probes.facts.catalogue import ALL_FACTS
from virtproof.probes.presence import absence
from virtproof.probes.register import ControlsPlace, CpuidPlace, MsrPlace
from virtproof.probes.snapshot import Snapshot
from virtproof.spec.x86 import cpuid, cpuid_extended, msr, msr_amd, msr_vmx
from virtproof.spec.x86.msr_presence import PRESENCE, MsrAtLeast

VMX = (*vmx.REGISTERS, *vmx_capabilities.REGISTERS, *vmx_controls.REGISTERS)
SVM = (*svm.REGISTERS, *svm_capabilities.REGISTERS, *sev.REGISTERS)
LAYOUTS = msr.REGISTERS | msr_amd.REGISTERS | msr_vmx.REGISTERS | msr_vmx.CONTROLS
LEAVES = cpuid.REGISTERS | cpuid_extended.REGISTERS


def layout(place):
    return LEAVES.get((place.leaf, 0, place.register)) if isinstance(place, CpuidPlace) else LAYOUTS.get(place.index)


@pytest.mark.parametrize("register", VMX + SVM, ids=lambda one: f"{one.place}")
def test_every_named_field_is_a_row(register):
    fields = [row.field for row in register.rows]
    named = layout(register.place)
    if named and register.whole:
        assert Counter(fields) == Counter(named.FIELDS)
    elif named:
        assert set(fields) <= set(named.FIELDS)
    else:
        assert [(field.hi, field.lo) for field in fields] in ([(63, 0)], [(31, 0)], [(39, 0)])
    assert [field.lo for field in fields] == sorted(field.lo for field in fields)
    assert len({row.term for row in register.rows}) == len(fields)


def test_every_register_of_vmx_is_there_once():
    read = Counter(register.place.index for register in VMX if not isinstance(register.place, CpuidPlace))
    true = Counter(one.place.true for one in VMX if isinstance(one.place, ControlsPlace) and one.place.true)
    assert read + true == Counter({0x3A: 1} | dict.fromkeys(range(0x480, 0x494), 1))
    assert {row.id for register in VMX + SVM for row in register.rows} <= {fact.id for fact in ALL_FACTS}


def test_every_register_that_a_fact_reads_is_collected():
    asked = {fact.source.where.split()[1] for fact in ALL_FACTS if fact.source.where.startswith("MSR 0x")}
    assert {int(one.split("-")[0].rstrip(","), 16) for one in asked} <= PRESENCE.keys()


def test_conditions_name_registers_that_are_read_before():
    order = list(PRESENCE)
    for index, conditions in PRESENCE.items():
        for condition in conditions:
            if isinstance(condition, MsrAtLeast):
                assert order.index(condition.index) < order.index(index)


PARENTS = {
    # register: CPUID says VMX; what the registers it depends on hold where it does not exist, and where it does
    0x48B: ({0x482: 0x7FF9_FFFE_0000_0000}, {0x482: 0xFFF9_FFFE_0000_0000}),
    0x48C: ({0x482: 1 << 63, 0x48B: 0xFFFF_FFDD_0000_0000}, {0x482: 1 << 63, 0x48B: 1 << 37}),
    0x48D: ({0x480: 0}, {0x480: 1 << 55}),
    0x490: ({0x480: ~(1 << 55)}, {0x480: 1 << 55}),
    0x491: ({0x482: 1 << 63, 0x48B: 0}, {0x482: 1 << 63, 0x48B: 1 << 45}),
    0x492: ({0x482: ~(1 << 49)}, {0x482: 1 << 49}),
    0x493: ({0x483: ~(1 << 63)}, {0x483: 1 << 63}),
}


@pytest.mark.parametrize("index", PARENTS)
def test_a_register_exists_where_its_parents_say_so(index):
    without, having = PARENTS[index]

    def register(leaf, name):
        return {(0, "eax"): 0x20, (1, "ecx"): 1 << 5, (1, "edx"): 1 << 5}.get((leaf, name))

    assert absence(index, register, without.get)
    assert not absence(index, register, having.get)
    assert not absence(index, register, {}.get)  # the parents were not read: nobody knows
    assert absence(index, lambda leaf, name: 0, having.get)  # no VMX at all
    assert not absence(index, lambda leaf, name: None, {}.get)


@pytest.mark.parametrize(
    ("vendor", "index", "absent"),
    [
        ("GenuineIntel", 0xC001_0114, True),
        ("AuthenticAMD", 0xC001_0114, False),
        ("HygonGenuine", 0xC001_0114, False),
        ("AuthenticAMD", 0x3A, True),
        ("  Shanghai  ", 0x3A, False),
        ("GenuineIntel", 0x1A0, False),
        ("AuthenticAMD", 0x1A0, True),
    ],
)
def test_a_makers_own_registers_are_looked_for_on_its_processors(vendor, index, absent):
    words = dict(zip(("ebx", "edx", "ecx"), (vendor[n : n + 4].encode() for n in (0, 4, 8)), strict=True))

    def register(leaf, name):
        return int.from_bytes(words[name], "little") if leaf == 0 and name in words else None

    assert bool(absence(index, register, {}.get)) is absent


def by_term(snapshot, register):
    (table,) = tables(snapshot, (register,))
    return table, {line.term: line for line in table.lines}


def test_forced_default_and_optional_controls_are_told_apart(intel):
    """A Skylake: CR3-load exiting must be 1 for software that knows nothing of the TRUE capabilities."""
    intel.msrs = intel.msrs | {0x48E: 0xFFF9_FFFE_0400_6172, 0x482: 0xFFF9_FFFE_0401_E172}
    table, lines = by_term(intel.collect(), vmx_controls.PRIMARY)
    assert table.processor == "0xfff9fffe0401e172, TRUE 0xfff9fffe04006172"
    assert lines["CR3-load exiting"].processor == "yes, default 1"
    assert lines["HLT exiting"].processor == "yes"
    assert lines["activate tertiary controls"].processor == "no"
    del intel.msrs[0x48E]
    assert by_term(intel.collect(), vmx_controls.PRIMARY)[1]["CR3-load exiting"].processor == "forced"


def test_a_register_that_cannot_exist_lists_nothing(intel):
    _, lines = by_term(intel.collect(), vmx_controls.TERTIARY)
    assert {line.processor for line in lines.values()} == {"no"}
    assert ask(intel.collect()).value("vmx.control.ipi_virtualization") is False


def test_an_unreadable_register_is_unknown(intel):
    intel.msrs.pop(0x482)
    table, lines = by_term(intel.collect(), vmx_controls.PRIMARY)
    assert {line.processor for line in lines.values()} == {"unknown"}
    assert "#GP" in table.processor
    answers = ask(intel.collect())
    assert answers.value("vmx.control.hlt") is None
    assert answers.value("vmx.control.vpid") is True  # its own register was read
    assert answers.value("vmx.control.hlat") is None  # whether that register exists is not known


def test_cpus_that_differ_are_shown_apart(intel):
    intel.odd = {2: (intel.leaves, intel.msrs | {0x48B: 0x0257_7FFD_0000_0000})}
    table, lines = by_term(intel.collect(), vmx_controls.SECONDARY)
    assert lines["enable EPT"].processor == "yes (CPUs 0-1,3), no (CPUs 2)"
    assert "on CPUs 2" in table.processor


def test_bits_without_a_name_are_shown_where_they_are_set(amd, intel):
    a, b, c, d = amd.leaves[0x8000_000A, 0]
    amd.leaves = amd.leaves | {(0x8000_000A, 0): (a, b, c, d | 1 << 22)}
    (table,) = tables(amd.collect(), (svm_capabilities.EDX,))
    assert [line.bits for line in table.lines if line.term == "no name in the manual"] == ["11", "22"]  # 11: a Genoa
    intel.msrs[0x48B] |= 1 << 61
    (table,) = tables(intel.collect(), (vmx_controls.SECONDARY,))
    assert [line.bits for line in table.lines if line.term == "no name in the manual"] == ["29"]


def test_what_kvm_shows_is_kept_apart(intel):
    intel.msrs = None
    intel.kvm.feature_msrs = lambda indices: {0x48B: 0x0000_0002_0000_0000}
    snapshot = intel.collect()
    table, lines = by_term(snapshot, vmx_controls.SECONDARY)
    assert (lines["enable EPT"].processor, lines["enable EPT"].kvm) == ("unknown", "yes")
    assert (lines["enable VPID"].processor, lines["enable VPID"].kvm) == ("unknown", "no")
    assert table.kvm == "0x200000000"
    assert ask(snapshot).value("ept.control") is None


def test_control_registers_name_the_bits_that_are_fixed(intel):
    intel.msrs[0x486] = 0x8000_0021
    _, lines = by_term(intel.collect(), vmx_capabilities.FIXED[0])
    assert lines["CR0 bits that must be 1 in VMX operation"].processor == "PE NE PG"


def test_a_makers_register_that_is_no_capability_is_neither_yes_nor_no(intel):
    (table,) = tables(intel.collect(), (svm.LOCK,))
    assert {line.processor for line in table.lines} == {"-"}
    assert table.processor == "only AMD's processors have it"
    assert ask(intel.collect()).value("svm.vm_cr.svmdis") is None
    assert isinstance(svm.LOCK.place, MsrPlace)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.dictionaries(
        st.sampled_from([f"{index:#x}" for index in PRESENCE]),
        st.dictionaries(st.integers(0, 2**64 - 1).map(hex), st.sampled_from(["0", "1-2", "0-3", ""]), max_size=3),
    ),
    absent=st.dictionaries(
        st.sampled_from([f"{index:#x}" for index in PRESENCE]),
        st.dictionaries(st.text(max_size=8), st.sampled_from(["0", "2-3", "9"]), max_size=2),
    ),
)
def test_any_snapshot_can_be_shown(intel, values, absent):
    """Another host's values, as odd as they may be: each field gets a word."""
    snapshot = Snapshot(intel.collect() | {"msr": {"how": {}, "values": values, "absent": absent, "unread": []}})
    ask(snapshot)
    lines = [line for table in tables(snapshot, VMX + SVM) for line in table.lines]
    assert all(line.processor and line.kvm and line.bits for line in lines)


def test_cpuid_alone_rules_out_what_the_processor_cannot_have(amd):
    """No msr driver: what CPUID says is known all the same, and the rest is not."""
    amd.msrs = None
    answers = ask(amd.collect())
    assert answers.value("vmx.control.hlt") is False
    assert answers.value("vmx.revision") is None  # a number is not 0 because there is none
    assert answers["vmx.revision"].answer.reason == "there is no MSR 0x480: CPUID lists no VMX"
    assert answers.value("vmx.feature_control.lock") is None
    assert answers.value("svm.vm_cr.svmdis") is None
    assert "No such file" in answers["svm.vm_cr.svmdis"].answer.reason
