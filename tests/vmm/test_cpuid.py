"""CPUID tables: topology of each vCPU, masks, overrides, and that none of it goes unseen."""

from __future__ import annotations

import pytest

from tests.vmm.guests import SECONDS, machine
from virtproof.kvm import CpuidEntry
from virtproof.spec.fault import Fault
from virtproof.spec.x86.cpuid import Leaf1Ecx, Leaf1Edx
from virtproof.vmm import cpuid, exits, modes
from virtproof.vmm.cpuid import MASKS, Override, for_vcpu, masked, overridden
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.machine import Irqchip, Machine
from virtproof.vmm.registers import Registers

ONES = 0xFFFF_FFFF
TABLE = (
    CpuidEntry(0x0, 0, 0, 0x1F, 1, 2, 3),
    CpuidEntry(0x1, 0, 0, 0xA10F11, 0x07_10_08_00, ONES, ONES),
    CpuidEntry(0x4, 0, 1, 0x1C00_4121, 0, 0, 0),
    CpuidEntry(0x4, 1, 1, 0, 0, 0, 0),
    CpuidEntry(0x7, 0, 1, 1, ONES, ONES, ONES),
    CpuidEntry(0xB, 0, 1, 9, 9, 9, 9),
    CpuidEntry(0xD, 0, 1, 7, 0x340, 0x340, 0),
    CpuidEntry(0x8000_0001, 0, 0, 0, 0, ONES, ONES),
    CpuidEntry(0x8000_0008, 0, 0, 0x3030, 0, 0x7001, 0),
    CpuidEntry(0x8000_001E, 0, 0, 7, 7, 7, 0),
)


def row(table: tuple[CpuidEntry, ...], leaf: int, subleaf: int = 0) -> CpuidEntry:
    (found,) = (entry for entry in table if (entry.function, entry.index) == (leaf, subleaf))
    return found


def test_each_vcpu_has_its_own_id_in_every_leaf_that_tells_it() -> None:
    for index in range(6):
        table = for_vcpu(TABLE, index, 6)
        assert row(table, 1).ebx == index << 24 | 8 << 16 | 0x0800
        for leaf in (0xB, 0x1F):
            threads, cores = row(table, leaf, 0), row(table, leaf, 1)
            assert (threads.eax, threads.ebx, threads.ecx, threads.edx) == (0, 1, 0x100, index)
            assert (cores.eax, cores.ebx, cores.ecx, cores.edx) == (3, 6, 0x201, index)
        assert row(table, 0x8000_001E).eax == index
        assert row(table, 0x8000_0008).ecx == 3 << 12 | 5
        assert row(table, 4, 0).eax == 7 << 26 | 0x4121
        assert row(table, 4, 1).eax == 0


def test_what_is_not_topology_is_left_as_it_is() -> None:
    table = for_vcpu(TABLE, 3, 4)
    for leaf in (0x0, 0x7, 0xD, 0x8000_0001):
        assert row(table, leaf) == row(TABLE, leaf)
    assert (row(table, 1).eax, row(table, 1).ecx, row(table, 1).edx) == (0xA10F11, ONES, ONES)


def test_one_vcpu_is_alone_in_its_package() -> None:
    table = for_vcpu(TABLE, 0, 1)
    assert row(table, 1).ebx == 1 << 16 | 0x0800
    assert not Leaf1Edx(row(table, 1).edx).htt
    assert (row(table, 0xB, 1).eax, row(table, 0xB, 1).ebx) == (0, 1)


def test_a_leaf_beyond_the_highest_is_not_invented() -> None:
    low = (CpuidEntry(0x0, 0, 0, 0x7, 1, 2, 3), *TABLE[1:2])
    assert {entry.function for entry in for_vcpu(low, 1, 2)} == {0, 1}


@pytest.mark.parametrize(
    ("mask", "gone", "kept"),
    [
        ("x87", Leaf1Edx.fpu.mask | Leaf1Edx.mmx.mask, Leaf1Edx.sse.mask),
        ("sse", Leaf1Edx.sse.mask | Leaf1Edx.sse2.mask, Leaf1Edx.fpu.mask | Leaf1Edx.fxsr.mask),
        ("xsave", Leaf1Edx.fxsr.mask, Leaf1Edx.sse.mask),
    ],
)
def test_a_mask_clears_its_features_and_no_others(mask: str, gone: int, kept: int) -> None:
    table = masked(TABLE, [mask])
    assert row(table, 1).edx & gone == 0
    assert row(table, 1).edx & kept == kept
    assert row(table, 1).ecx & (Leaf1Ecx.osxsave.mask | Leaf1Ecx.popcnt.mask) == row(TABLE, 1).ecx & (
        Leaf1Ecx.osxsave.mask | Leaf1Ecx.popcnt.mask
    )
    assert row(TABLE, 1).edx == ONES


def test_without_xsave_its_leaf_is_empty_and_avx_is_gone() -> None:
    table = masked(TABLE, ["xsave"])
    assert row(table, 0xD) == CpuidEntry(0xD, 0, 1, 0, 0, 0, 0)
    assert not Leaf1Ecx(row(table, 1).ecx).avx


def test_every_field_of_a_mask_is_one_that_its_register_has() -> None:
    for mask in MASKS.values():
        for clear in mask.clears:
            assert set(clear.fields.split()) <= {field.name for field in clear.layout.FIELDS}
            assert clear.bits


def test_an_unknown_mask_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(Fault, match="x87, sse, xsave"):
        masked(TABLE, ["mmx"])


def test_overrides_change_bits_and_add_leaves() -> None:
    table = overridden(
        TABLE, [Override(0x1, 0, "eax", 0x600, 0xF00), Override(0x15, 0, "ecx", 24_000_000), Override(0x4, 5, "eax", 3)]
    )
    assert row(table, 1).eax == 0xA10611
    assert row(table, 0x15) == CpuidEntry(0x15, 0, 0, 0, 0, 24_000_000, 0)
    assert row(table, 0x4, 5).flags == 1
    assert len(table) == len(TABLE) + 2


# ---- under KVM

# cpuid; hlt
ASK = b"\x0f\xa2\xf4"


@pytest.mark.kvm
def test_the_guest_sees_the_mask_and_the_override_and_so_does_the_description(engine: KvmEngine) -> None:
    asked = Override(0x1, 0, "ecx", 0, Leaf1Ecx.popcnt.mask)
    with machine(
        engine,
        modes.real16,
        ASK,
        registers=Registers(rax=1),
        cpuid=engine.supported_cpuid(),
        cpuid_masks=("x87", "sse"),
        cpuid_overrides=(asked,),
    ) as guest:
        assert guest.run(SECONDS) == exits.Halt()
        registers = guest.vcpu.registers()
        text = str(guest.description)
    edx, ecx = Leaf1Edx(registers.rdx), Leaf1Ecx(registers.rcx)
    # A backend may show its own features in spite; then the description says so.
    assert edx.fpu == ("leaf 0x1.0 EDX still has fpu" in text)
    assert edx.sse == ("EDX still has sse" in text)
    assert ecx.popcnt == ("leaf 0x1.0 ECX is" in text)
    assert "CPUID masked: x87: floating point" in text
    assert "CPUID masked: sse" in text
    assert f"CPUID changed: {asked}" in text


@pytest.mark.kvm
@pytest.mark.parametrize("irqchip", [False, "injected", "split", "kernel"])
def test_the_deadline_timer_is_there_where_its_apic_is(engine: KvmEngine, irqchip: Irqchip | bool) -> None:
    offered = Leaf1Ecx(row(engine.supported_cpuid(), 1).ecx).tsc_deadline
    with Machine(engine, cpuid=engine.supported_cpuid(), irqchip=irqchip) as guest:
        there = Leaf1Ecx(row(guest.vcpu.cpuid(), 1).ecx).tsc_deadline
    assert there == (offered and irqchip in ("split", "kernel"))


@pytest.mark.kvm
def test_nothing_is_masked_unless_it_is_asked_for(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, ASK, registers=Registers(rax=1), cpuid=engine.supported_cpuid()) as guest:
        assert guest.run(SECONDS) == exits.Halt()
        assert Leaf1Edx(guest.vcpu.registers().rdx).fpu
        assert "CPUID" not in str(guest.description)


def test_what_the_backend_did_not_take_is_named() -> None:
    asked = (Override(0x1, 0, "eax", 0x600, 0xF00), Override(0x7, 0, "eax", 1))
    assert cpuid.not_taken(overridden(masked(TABLE, ["x87"]), asked), ["x87"], asked) == ()
    assert cpuid.not_taken(TABLE, ["x87"], asked) == (
        "leaf 0x1.0 EDX still has fpu mmx",
        "leaf 0x1.0 EAX is 0xa10f11",
        "leaf 0x80000001.0 EDX still has fpu mmxext mmx threednowext threednow",
    )


@pytest.mark.kvm
def test_the_guest_sees_an_override_of_a_leaf_that_describes_no_feature(engine: KvmEngine) -> None:
    asked = Override(0x8000_0002, 0, "ebx", 0x1234_5678)
    with machine(
        engine,
        modes.real16,
        ASK,
        registers=Registers(rax=0x8000_0002),
        cpuid=engine.supported_cpuid(),
        cpuid_overrides=(asked,),
    ) as guest:
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rbx == 0x1234_5678


@pytest.mark.kvm
@pytest.mark.parametrize("change", [{"cpuid_masks": ("x87",)}, {"cpuid_overrides": (Override(1, 0, "eax", 0),)}])
def test_a_mask_of_nothing_is_a_mistake(engine: KvmEngine, change: dict[str, object]) -> None:
    with pytest.raises(Fault, match="no CPUID table"):
        Machine(engine, **change)  # type: ignore[arg-type]


@pytest.mark.kvm
def test_masks_apply_to_what_this_host_offers(engine: KvmEngine) -> None:
    table = engine.supported_cpuid()
    assert cpuid.masked(table, ("x87", "sse", "xsave")) != table
