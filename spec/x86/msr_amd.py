"""AMD's own model-specific registers: AMD APM vol. 2, "System Resources", "Secure Virtual Machine", "Secure Encrypted
Virtualization"; HWCR: the processor programming references.
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits


# fmt: off
class AmdMsr(IntEnum):
    """Numbers, as in ECX of RDMSR."""

    PATCH_LEVEL        = 0x0000_008B
    TSC_RATIO          = 0xC000_0104
    SYSCFG             = 0xC001_0010
    HWCR               = 0xC001_0015
    TOP_MEM            = 0xC001_001A
    TOP_MEM2           = 0xC001_001D
    SMM_ADDR           = 0xC001_0112
    SMM_MASK           = 0xC001_0113
    VM_CR              = 0xC001_0114
    IGNNE              = 0xC001_0115
    SMM_CTL            = 0xC001_0116
    VM_HSAVE_PA        = 0xC001_0117
    SVM_KEY            = 0xC001_0118
    GHCB               = 0xC001_0130
    SEV_STATUS         = 0xC001_0131
    RMP_BASE           = 0xC001_0132
    RMP_END            = 0xC001_0133


class VmCr(Bits, width=64):
    """VM_CR -- SVM control.  Firmware that turns SVM off sets SVMDIS, and LOCK so that nobody turns it on again."""

    dpd          = bit(0, "external hardware debug disabled")
    r_init       = bit(1, "INIT becomes #SX")
    dis_a20m     = bit(2)
    lock         = bit(3, "LOCK and SVMDIS are read-only until SVM_KEY is written")
    svmdis       = bit(4, "setting EFER.SVME raises #GP")


class Syscfg(Bits, width=64):
    """SYSCFG -- memory configuration."""

    mtrr_fix_dram_en     = bit(18)
    mtrr_fix_dram_mod_en = bit(19)
    mtrr_var_dram_en     = bit(20)
    mtrr_tom2_en         = bit(21)
    tom2_force_mem_type_wb = bit(22)
    mem_encryption_mod_en = bit(23, "SME and SEV may be used")
    secure_nested_paging_en = bit(24, "the reverse map table is in force: SEV-SNP")
    vmpl_en              = bit(25)


class SmmMask(Bits, width=64):
    """SMM_MASK -- which ranges of SMM memory are protected."""

    a_valid       = bit(0, "ASEG is in force")
    t_valid       = bit(1, "TSEG is in force")
    a_close       = bit(2)
    t_close       = bit(3)
    am_type_iowc  = bit(4)
    tm_type_iowc  = bit(5)
    am_type_dram  = bits(10, 8)
    tm_type_dram  = bits(14, 12)
    tseg_mask     = bits(51, 17)


class Hwcr(Bits, width=64):
    """HWCR -- hardware configuration; only the fields that are the same on families 15h to 1Ah."""

    smm_lock            = bit(0)
    tlb_cache_dis       = bit(3)
    invd_wbinvd         = bit(4,  "INVD acts as WBINVD")
    ignne_em            = bit(8)
    mon_mwait_dis       = bit(9)
    mon_mwait_user_en   = bit(10)
    smi_sp_cyc_dis      = bit(13)
    rsm_sp_cyc_dis      = bit(14)
    wrap32_dis          = bit(17)
    mc_status_wr_en     = bit(18)
    io_cfg_gp_fault     = bit(20)
    tsc_freq_sel        = bit(24, "the TSC counts at the P0 frequency")
    cpb_dis             = bit(25, "no boost")
    eff_freq_cnt_mwait  = bit(26)
    eff_freq_ro_lock    = bit(27)
    irperf_en           = bit(30)
    cpuid_flt_en        = bit(35, "CPUID raises #GP outside CPL 0")


class PatchLevel(Bits, width=64):
    """PATCH_LEVEL -- revision of the loaded microcode."""

    patch_level = bits(31, 0)


class VmHsavePa(Bits, width=64):
    """VM_HSAVE_PA -- where VMRUN saves the host's state."""

    base = bits(51, 12, "physical frame")


class SevStatus(Bits, width=64):
    """SEV_STATUS -- which protections are active for this guest; not readable outside a guest."""

    sev_enabled            = bit(0)
    sev_es_enabled         = bit(1)
    sev_snp_active         = bit(2)
    vtom_enabled           = bit(3)
    reflect_vc             = bit(4)
    restrict_injection     = bit(5)
    alternate_injection    = bit(6)
    debug_swap             = bit(7)
    prevent_host_ibs       = bit(8)
    snp_btb_isolation      = bit(9)
    vmpl_sss               = bit(10)
    secure_tsc             = bit(11)
    vmgexit_parameter      = bit(12)
    ibs_virtualization     = bit(14)
    vmsa_reg_prot          = bit(16)
    smt_protection         = bit(17)


REGISTERS: dict[int, type[Bits]] = {
    AmdMsr.SYSCFG:      Syscfg,
    AmdMsr.HWCR:        Hwcr,
    AmdMsr.SMM_MASK:    SmmMask,
    AmdMsr.VM_CR:       VmCr,
    AmdMsr.VM_HSAVE_PA: VmHsavePa,
    AmdMsr.SEV_STATUS:  SevStatus,
    AmdMsr.PATCH_LEVEL: PatchLevel,
}
# fmt: on
