"""MSR layouts, against values read on real processors."""

from virtproof.spec.bits import Bits
from virtproof.spec.x86 import msr, msr_amd, msr_vmx
from virtproof.spec.x86.control import Efer
from virtproof.spec.x86.msr_vmx import Allowed, VmxMsr


def test_every_layout_can_be_found() -> None:
    for module, found in (
        (msr, {*msr.REGISTERS.values()}),
        (msr_amd, {*msr_amd.REGISTERS.values()}),
        (msr_vmx, {*msr_vmx.REGISTERS.values(), *msr_vmx.CONTROLS.values()}),
    ):
        defined = {c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__}
        assert {c for c in defined if issubclass(c, Bits)} == found - {Efer}
    assert set(msr_vmx.CONTROLS) == {n for n, layout in msr_vmx.REGISTERS.items() if layout is Allowed}


def test_numbers() -> None:
    assert [m.value for m in VmxMsr] == list(range(0x480, 0x494))
    assert msr.Msr.IA32_KERNEL_GS_BASE.value == 0xC0000102
    assert msr_amd.AmdMsr.VM_CR.value == 0xC0010114


def test_feature_control_says_why_vmx_does_not_start() -> None:
    assert repr(msr.FeatureControl(5)) == "FeatureControl(lock=0x1 vmx_outside_smx=0x1)"
    off = msr.FeatureControl(1)
    assert off.lock
    assert not off.vmx_outside_smx


def test_vm_cr_says_why_svm_does_not_start() -> None:
    assert repr(msr_amd.VmCr(0x18)) == "VmCr(lock=0x1 svmdis=0x1)"


def test_apic_base_of_a_bootstrap_processor() -> None:
    base = msr.ApicBase(0xFEE00900)
    assert base.bsp
    assert base.en
    assert not base.extd
    assert base.base << 12 == 0xFEE00000


def test_pat_after_reset() -> None:
    pat = msr.PAT_RESET
    assert [pat.pa0, pat.pa1, pat.pa2, pat.pa3] == [6, 4, 7, 0] == [pat.pa4, pat.pa5, pat.pa6, pat.pa7]


def test_vmx_capabilities_of_a_skylake() -> None:
    basic = msr_vmx.VmxBasic(0x00DA_0400_0000_0004)
    assert (basic.revision, basic.region_size, basic.memory_type) == (4, 1024, 6)
    assert basic.true_controls
    assert basic.ins_outs_info
    assert not basic.width_32

    primary = Allowed(0xFFF9_FFFE_0401_E172)
    may = msr_vmx.PrimaryControls(primary.allowed1)
    must = msr_vmx.PrimaryControls(primary.allowed0)
    assert may.secondary_controls
    assert may.msr_bitmaps
    assert not may.tertiary_controls
    assert must.cr3_load_exiting
    assert must.cr3_store_exiting
    assert not must.hlt_exiting

    pins = msr_vmx.PinControls(Allowed(0x0000_00FF_0000_0016).allowed1)
    assert pins.posted_interrupts
    assert pins.virtual_nmis
    entry = msr_vmx.EntryControls(Allowed(0x0000_FFFF_0000_11FF).allowed1)
    assert entry.ia32e_mode_guest
    assert entry.load_efer
    assert not entry.load_bndcfgs

    misc = msr_vmx.VmxMisc(0x7004_C1E7)
    assert misc.preemption_timer_rate == 7
    assert misc.cr3_targets == 4
    assert misc.activity_hlt
    assert misc.vmwrite_all
    assert misc.reserved == 0


def test_ept_capabilities() -> None:
    cap = msr_vmx.VmxEptVpidCap(0x0000_0F01_0633_4141)
    assert cap.execute_only
    assert cap.walk4
    assert not cap.walk5
    assert cap.page2m
    assert cap.page1g
    assert cap.dirty
    assert cap.invept
    assert cap.invvpid
    assert cap.reserved == 0
