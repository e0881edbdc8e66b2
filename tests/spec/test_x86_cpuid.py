"""CPUID layouts, against dumps of real processors and what their vendors say about them."""

from types import ModuleType

import pytest

from virtproof.spec.bits import Bits
from virtproof.spec.x86 import cpuid, cpuid_extended, cpuid_hypervisor
from virtproof.spec.x86.control import Xcr0


@pytest.mark.parametrize("module", [cpuid, cpuid_extended, cpuid_hypervisor])
def test_every_layout_can_be_found(module: ModuleType) -> None:
    defined = {c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__}
    assert {c for c in defined if issubclass(c, Bits)} == set(module.REGISTERS.values()) - {Xcr0}
    for (leaf, subleaf, register), layout in module.REGISTERS.items():
        assert (64 if layout is Xcr0 else 32) == layout.WIDTH
        assert 0 <= leaf < 1 << 32
        assert subleaf in (0, 1, 2)
        assert register in ("eax", "ebx", "ecx", "edx")


@pytest.mark.parametrize(
    ("layout", "register", "title"),
    [(layout, key[2], key) for key, layout in {**cpuid.REGISTERS, **cpuid_extended.REGISTERS}.items()],
)
def test_docstrings_name_the_leaf_and_register(layout: type[Bits], register: str, title: tuple[int, int, str]) -> None:
    leaf, subleaf, _ = title
    text = layout.__doc__ or ""
    assert register.upper() in text or layout is Xcr0
    assert f"{leaf:02X}H" in text
    assert not subleaf or f"({leaf:02X}H,{subleaf})" in text


def test_alder_lake() -> None:
    version = cpuid.Leaf1Eax(0x00090675)
    assert (version.display_family, version.display_model, version.stepping) == (6, 0x97, 5)
    features = cpuid.Leaf1Ecx(0x7FFAFBBF)
    assert features.vmx
    assert features.x2apic
    assert features.tsc_deadline
    assert features.smx is False
    assert features.hypervisor is False
    assert features.reserved == 0
    assert cpuid.Leaf1Edx(0xBFEBFBFF).reserved == 0
    assert cpuid.Leaf1Ebx(0x00100800).clflush_size * 8 == 64
    ebx = cpuid.Leaf7Ebx(0x239CA7EB)
    assert ebx.smep
    assert ebx.smap
    assert ebx.invpcid
    assert ebx.sha
    assert not ebx.avx512f
    assert cpuid.Leaf7Ecx(0x98C007AC).umip
    assert cpuid.Leaf7Ecx(0x98C007AC).pks
    assert cpuid.Leaf7Edx(0xFC184410).arch_capabilities
    l2 = cpuid.Leaf4Eax(0x1C004143), cpuid.Leaf4Ebx(0x0240003F)
    assert (l2[0].type, l2[0].level) == (3, 2)
    assert (l2[1].ways_minus_1 + 1) * (l2[1].line_size_minus_1 + 1) * (0x7FF + 1) == 1280 * 1024
    pmu = cpuid.LeafAEax(0x08300805)
    assert (pmu.version, pmu.counters, pmu.counter_width) == (5, 8, 48)
    assert cpuid.LeafBEcx(0x00000201).type == 2
    xcr0 = Xcr0(0x207)
    assert (xcr0.x87, xcr0.sse, xcr0.avx, xcr0.pkru, xcr0.opmask) == (True, True, True, True, False)
    assert cpuid.Leaf16(0x0CE4).mhz == 3300
    assert cpuid_extended.Leaf80000008Eax(0x3027).phys_addr_size == 39
    assert repr(cpuid_extended.Leaf80000001Ecx(0x121)) == "Leaf80000001Ecx(lahf_lm=0x1 lzcnt=0x1 prefetchw=0x1)"


def test_turin() -> None:
    version = cpuid.Leaf1Eax(0x00B00F21)
    assert (version.display_family, version.display_model, version.stepping) == (0x1A, 2, 1)
    assert not cpuid.Leaf1Ecx(0x7EFA320B).vmx
    assert cpuid_extended.Leaf80000001Ecx(0x75C237FF).svm
    svm = cpuid_extended.Leaf8000000AEdx(0xFFBFBDFF)
    assert svm.np
    assert svm.nrips
    assert svm.avic
    assert svm.vnmi
    widths = cpuid_extended.Leaf80000008Eax(0x00003934)
    assert (widths.phys_addr_size, widths.lin_addr_size, widths.guest_phys_addr_size) == (52, 57, 0)
    assert cpuid_extended.Leaf80000005(0x300C0140).kib == 48
    assert cpuid_extended.Leaf80000006Ecx(0x04008140).kib == 1024
    assert cpuid_extended.Leaf80000007Edx(0x00006799).tsc_invariant
    sev = cpuid_extended.Leaf8000001FEax(0xCFFFFFFB)
    assert (sev.sme, sev.sev, sev.page_flush_msr, sev.sev_es, sev.sev_snp) == (True, True, False, True, True)
    assert cpuid_extended.Leaf8000001FEbx(0x41B3).c_bit_position == 51
    assert cpuid_extended.Leaf80000022Ebx(0x00304106).core_counters == 6
    assert cpuid.Leaf7Ecx(0x19415FCE).la57


def test_hypervisor_signature() -> None:
    # What KVM answers in EBX, ECX, EDX.
    assert cpuid_hypervisor.signature(0x4B4D564B, 0x564B4D56, 0x0000004D) == "KVMKVMKVM"
    assert cpuid_hypervisor.signature(0x7263694D, 0x666F736F, 0x76482074) == "Microsoft Hv"
    assert cpuid_hypervisor.signature(-1, 1 << 40, 0) == "ÿÿÿÿ"
    assert all(len(s) <= 12 for s in cpuid_hypervisor.SIGNATURES)
