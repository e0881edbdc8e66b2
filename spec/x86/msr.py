"""Architectural model-specific registers: Intel SDM vol. 4, "Architectural MSRs".  The VMX capabilities are in
msr_vmx.py, AMD's own registers in msr_amd.py.

Numbers have the manuals' names.  ``REGISTERS`` finds the layout of a register by number; one without an entry is a
plain number or an address.  IA32_EFER's layout is control.Efer.
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits
from virtproof.spec.x86.control import Efer


# fmt: off
class Msr(IntEnum):
    """Numbers, as in ECX of RDMSR."""

    IA32_TIME_STAMP_COUNTER = 0x10
    IA32_PLATFORM_ID        = 0x17
    IA32_APIC_BASE          = 0x1B
    IA32_FEATURE_CONTROL    = 0x3A
    MSR_TEST_CTRL           = 0x33
    IA32_TSC_ADJUST         = 0x3B
    IA32_SPEC_CTRL          = 0x48
    IA32_PRED_CMD           = 0x49
    IA32_MKTME_KEYID_PARTITIONING = 0x87
    IA32_BIOS_SIGN_ID       = 0x8B
    IA32_SMM_MONITOR_CTL    = 0x9B
    IA32_CORE_CAPABILITIES  = 0xCF
    IA32_MPERF              = 0xE7
    IA32_APERF              = 0xE8
    IA32_MTRRCAP            = 0xFE
    IA32_ARCH_CAPABILITIES  = 0x10A
    IA32_FLUSH_CMD          = 0x10B
    IA32_TSX_CTRL           = 0x122
    IA32_SYSENTER_CS        = 0x174
    IA32_SYSENTER_ESP       = 0x175
    IA32_SYSENTER_EIP       = 0x176
    IA32_MCG_CAP            = 0x179
    IA32_MCG_STATUS         = 0x17A
    IA32_MISC_ENABLE        = 0x1A0
    IA32_DEBUGCTL           = 0x1D9
    IA32_SMRR_PHYSBASE      = 0x1F2
    IA32_SMRR_PHYSMASK      = 0x1F3
    IA32_MTRR_PHYSBASE0     = 0x200
    IA32_PAT                = 0x277
    MSR_LT_LOCK_MEMORY      = 0x2E7
    IA32_MTRR_DEF_TYPE      = 0x2FF
    IA32_TSC_DEADLINE       = 0x6E0
    IA32_TME_ACTIVATE       = 0x982
    IA32_DEBUG_INTERFACE    = 0xC80
    IA32_XSS                = 0xDA0
    IA32_EFER               = 0xC000_0080
    IA32_STAR               = 0xC000_0081
    IA32_LSTAR              = 0xC000_0082
    IA32_CSTAR              = 0xC000_0083
    IA32_FMASK              = 0xC000_0084
    IA32_FS_BASE            = 0xC000_0100
    IA32_GS_BASE            = 0xC000_0101
    IA32_KERNEL_GS_BASE     = 0xC000_0102
    IA32_TSC_AUX            = 0xC000_0103


X2APIC_MSRS = range(0x800, 0x900)
APIC_MSRS = frozenset((Msr.IA32_APIC_BASE, Msr.IA32_TSC_DEADLINE, *X2APIC_MSRS))  # of the local APIC


class ApicBase(Bits, width=64):
    """IA32_APIC_BASE."""

    bsp   = bit(8,  "this is the bootstrap processor")
    extd  = bit(10, "x2APIC mode; needs EN")
    en    = bit(11, "local APIC enabled")
    base  = bits(51, 12, "physical frame of the registers")


class FeatureControl(Bits, width=64):
    """IA32_FEATURE_CONTROL -- Intel only.  Firmware sets and locks it; where it did not, Linux does."""

    lock              = bit(0,  "writes raise #GP until reset; VMXON needs it set")
    vmx_in_smx        = bit(1,  "VMXON inside SMX operation")
    vmx_outside_smx   = bit(2,  "VMXON outside SMX operation: what KVM needs")
    senter_local      = bits(14, 8)
    senter_global     = bit(15)
    sgx_launch        = bit(17, "IA32_SGXLEPUBKEYHASHn are writable")
    sgx               = bit(18)
    lmce              = bit(20, "machine checks may be delivered to one processor")


class SpecCtrl(Bits, width=64):
    """IA32_SPEC_CTRL."""

    ibrs        = bit(0)
    stibp       = bit(1)
    ssbd        = bit(2)
    ipred_dis_u = bit(3)
    ipred_dis_s = bit(4)
    rrsba_dis_u = bit(5)
    rrsba_dis_s = bit(6)
    psfd        = bit(7)
    ddpd_u      = bit(8)
    bhi_dis_s   = bit(10)


class BiosSignId(Bits, width=64):
    """IA32_BIOS_SIGN_ID -- Intel: read after writing 0 and executing CPUID.  AMD reads its PATCH_LEVEL here."""

    patch_level = bits(31, 0,  "AMD")
    signature   = bits(63, 32, "Intel: revision of the loaded microcode, 0 for none")


class MtrrCap(Bits, width=64):
    """IA32_MTRRCAP."""

    vcnt = bits(7, 0, "variable-range registers")
    fix  = bit(8)
    wc   = bit(10)
    smrr = bit(11)
    prmrr = bit(12)


class MtrrDefType(Bits, width=64):
    """IA32_MTRR_DEF_TYPE."""

    type = bits(7, 0, "memory type outside every range")
    fe   = bit(10, "fixed ranges enabled")
    e    = bit(11, "MTRRs enabled; clear: all memory is uncacheable")


class ArchCapabilities(Bits, width=64):
    """IA32_ARCH_CAPABILITIES -- Intel only; CPUID.(07H,0):EDX.ARCH_CAPABILITIES says that it is there."""

    rdcl_no                = bit(0,  "not vulnerable to Meltdown and L1TF")
    ibrs_all               = bit(1)
    rsba                   = bit(2)
    skip_l1dfl_vmentry     = bit(3,  "a hypervisor need not flush L1D on VM entry")
    ssb_no                 = bit(4)
    mds_no                 = bit(5)
    if_pschange_mc_no      = bit(6,  "not vulnerable to the iTLB multihit machine check")
    tsx_ctrl               = bit(7)
    taa_no                 = bit(8)
    mcu_control            = bit(9)
    misc_package_ctls      = bit(10)
    energy_filtering_ctl   = bit(11)
    doitm                  = bit(12)
    sbdr_ssdp_no           = bit(13)
    fbsdp_no               = bit(14)
    psdp_no                = bit(15)
    fb_clear               = bit(17)
    fb_clear_ctrl          = bit(18)
    rrsba                  = bit(19)
    bhi_no                 = bit(20)
    xapic_disable_status   = bit(21)
    mcu_extended_service   = bit(22)
    overclocking_status    = bit(23)
    pbrsb_no               = bit(24)
    gds_ctrl               = bit(25)
    gds_no                 = bit(26)
    rfds_no                = bit(27)
    rfds_clear             = bit(28)
    its_no                 = bit(62, "hypervisors set it for guests; no processor does")


class TestCtrl(Bits, width=64):
    """MSR_TEST_CTRL -- Intel only."""

    split_lock_detect = bit(29, "split locks raise #AC")
    bus_lock_disable  = bit(31, "split locks do not lock the bus")


class CoreCapabilities(Bits, width=64):
    """IA32_CORE_CAPABILITIES -- Intel only; CPUID.(07H,0):EDX.CORE_CAPABILITIES says that it is there."""

    stlb_qos           = bit(0)
    fusa               = bit(2)
    rsm_in_cpl0_only   = bit(3)
    uc_lock_disable    = bit(4)
    split_lock_disable = bit(5, "MSR_TEST_CTRL can make split locks raise #AC")
    snoop_filter_qos   = bit(6)
    uc_store_throttling = bit(7)


class SmmMonitorCtl(Bits, width=64):
    """IA32_SMM_MONITOR_CTL -- the dual-monitor treatment of SMM; Intel only."""

    valid          = bit(0, "an SMM-transfer monitor may be activated")
    unblock_vmxoff = bit(2)
    mseg_base      = bits(31, 12)


class SmrrPhysBase(Bits, width=64):
    """IA32_SMRR_PHYSBASE; IA32_MTRRCAP.SMRR says that it is there."""

    type = bits(7, 0, "memory type: 6 WB, 0 UC")
    base = bits(31, 12)


class SmrrPhysMask(Bits, width=64):
    """IA32_SMRR_PHYSMASK."""

    lock = bit(10)
    v    = bit(11, "the range is in force")
    mask = bits(31, 12)


class LtLockMemory(Bits, width=64):
    """MSR_LT_LOCK_MEMORY -- Intel client processors; as coreboot and chipsec know it."""

    lock = bit(0, "the memory configuration is locked")


class TmeActivate(Bits, width=64):
    """IA32_TME_ACTIVATE -- total memory encryption; CPUID.(07H,0):ECX.TME_EN says that it is there."""

    lock            = bit(0)
    enable          = bit(1, "memory is encrypted; says so only when locked")
    key_select      = bit(2)
    save_key        = bit(3)
    policy          = bits(7, 4)
    bypass_enable   = bit(31)
    keyid_bits      = bits(35, 32, "physical address bits that select a key")
    tdx_keyid_bits  = bits(39, 36)
    crypto_algs     = bits(63, 48)


class MktmeKeyidPartitioning(Bits, width=64):
    """IA32_MKTME_KEYID_PARTITIONING."""

    mktme_keyids = bits(31, 0)
    tdx_keyids   = bits(63, 32, "private keys: those of TDX")


class DebugInterface(Bits, width=64):
    """IA32_DEBUG_INTERFACE; CPUID.01H:ECX.SDBG says that it is there."""

    enable   = bit(0,  "silicon debug features are on")
    lock     = bit(30)
    occurred = bit(31, "the processor has been debugged since reset")


class MiscEnable(Bits, width=64):
    """IA32_MISC_ENABLE -- Intel only."""

    fast_strings        = bit(0)
    tcc                 = bit(3,  "automatic thermal control")
    perfmon             = bit(7,  "performance monitoring available")
    bts_unavailable     = bit(11)
    pebs_unavailable    = bit(12)
    eist                = bit(16)
    monitor             = bit(18, "0: CPUID.01H:ECX.MONITOR reads 0")
    limit_cpuid_maxval  = bit(22, "CPUID stops at leaf 2: firmware for very old systems")
    xtpr_disable        = bit(23)
    xd_disable          = bit(34, "CPUID hides NX and EFER.NXE raises #GP")


class Debugctl(Bits, width=64):
    """IA32_DEBUGCTL."""

    lbr                    = bit(0)
    btf                    = bit(1, "TF steps over branches only")
    bld                    = bit(2, "bus locks trap")
    tr                     = bit(6)
    bts                    = bit(7)
    btint                  = bit(8)
    bts_off_os             = bit(9)
    bts_off_usr            = bit(10)
    freeze_lbrs_on_pmi     = bit(11)
    freeze_perfmon_on_pmi  = bit(12)
    enable_uncore_pmi      = bit(13)
    freeze_while_smm       = bit(14)
    rtm_debug              = bit(15)


class Pat(Bits, width=64):
    """IA32_PAT -- memory types: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-; others raise #GP."""

    pa0 = bits(2, 0)
    pa1 = bits(10, 8)
    pa2 = bits(18, 16)
    pa3 = bits(26, 24)
    pa4 = bits(34, 32)
    pa5 = bits(42, 40)
    pa6 = bits(50, 48)
    pa7 = bits(58, 56)


class Star(Bits, width=64):
    """IA32_STAR -- selectors that SYSCALL and SYSRET load."""

    eip        = bits(31, 0,  "SYSCALL target outside long mode; AMD only")
    syscall_cs = bits(47, 32, "CS; SS is 8 more")
    sysret_cs  = bits(63, 48, "32-bit CS; SS is 8 more, 64-bit CS 16 more")


class McgCap(Bits, width=64):
    """IA32_MCG_CAP."""

    count    = bits(7, 0, "machine-check banks")
    ctl      = bit(8)
    ext      = bit(9)
    cmci     = bit(10)
    tes      = bit(11)
    ext_cnt  = bits(23, 16)
    ser      = bit(24, "software error recovery")
    elog     = bit(26)
    lmce     = bit(27)


REGISTERS: dict[int, type[Bits]] = {
    Msr.MSR_TEST_CTRL:          TestCtrl,
    Msr.IA32_MKTME_KEYID_PARTITIONING: MktmeKeyidPartitioning,
    Msr.IA32_SMM_MONITOR_CTL:   SmmMonitorCtl,
    Msr.IA32_CORE_CAPABILITIES: CoreCapabilities,
    Msr.IA32_SMRR_PHYSBASE:     SmrrPhysBase,
    Msr.IA32_SMRR_PHYSMASK:     SmrrPhysMask,
    Msr.MSR_LT_LOCK_MEMORY:     LtLockMemory,
    Msr.IA32_TME_ACTIVATE:      TmeActivate,
    Msr.IA32_DEBUG_INTERFACE:   DebugInterface,
    Msr.IA32_APIC_BASE:         ApicBase,
    Msr.IA32_FEATURE_CONTROL:   FeatureControl,
    Msr.IA32_SPEC_CTRL:         SpecCtrl,
    Msr.IA32_BIOS_SIGN_ID:      BiosSignId,
    Msr.IA32_MTRRCAP:           MtrrCap,
    Msr.IA32_MTRR_DEF_TYPE:     MtrrDefType,
    Msr.IA32_ARCH_CAPABILITIES: ArchCapabilities,
    Msr.IA32_MCG_CAP:           McgCap,
    Msr.IA32_MISC_ENABLE:       MiscEnable,
    Msr.IA32_DEBUGCTL:          Debugctl,
    Msr.IA32_PAT:               Pat,
    Msr.IA32_EFER:              Efer,
    Msr.IA32_STAR:              Star,
}

PAT_RESET = Pat(0x0007_0406_0007_0406)
# fmt: on
