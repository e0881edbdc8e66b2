"""CPUID leaves from 80000000H: AMD APM vol. 3, "Obtaining Processor Information Via the CPUID Instruction"; Intel SDM
vol. 2A, "CPUID".

Leaf 80000000H holds the highest extended leaf in EAX, 80000002H to 80000004H the brand string.  Conventions as in
cpuid.py.
"""

from virtproof.spec.bits import Bits, bit, bits


# fmt: off
class Leaf80000001Ecx(Bits, width=32):
    """CPUID.80000001H:ECX -- feature flags; Intel defines LAHF_LM, LZCNT and PREFETCHW only."""

    lahf_lm       = bit(0)
    cmp_legacy    = bit(1)
    svm           = bit(2,  "AMD only; some Linux versions hide it where firmware locked it off")
    ext_apic      = bit(3)
    alt_mov_cr8   = bit(4,  "LOCK MOV CR0 is MOV CR8 outside long mode")
    lzcnt         = bit(5,  "ABM")
    sse4a         = bit(6)
    misalign_sse  = bit(7)
    prefetchw     = bit(8,  "3DNowPrefetch")
    osvw          = bit(9)
    ibs           = bit(10)
    xop           = bit(11)
    skinit        = bit(12)
    wdt           = bit(13)
    lwp           = bit(15)
    fma4          = bit(16)
    tce           = bit(17)
    nodeid_msr    = bit(19)
    tbm           = bit(21)
    topoext       = bit(22)
    perfctr_core  = bit(23)
    perfctr_nb    = bit(24)
    dbx           = bit(26, "data breakpoints have address masks")
    perf_tsc      = bit(27)
    perfctr_llc   = bit(28)
    monitorx      = bit(29)
    addr_mask_ext = bit(30)


class Leaf80000001Edx(Bits, width=32):
    """CPUID.80000001H:EDX -- feature flags; AMD repeats some of 01H:EDX, Intel has them reserved."""

    fpu      = bit(0,  "AMD only, as all bits up to 18 but SYSCALL")
    vme      = bit(1)
    de       = bit(2)
    pse      = bit(3)
    tsc      = bit(4)
    msr      = bit(5)
    pae      = bit(6)
    mce      = bit(7)
    cx8      = bit(8)
    apic     = bit(9)
    syscall  = bit(11, "Intel: 1 in 64-bit mode only")
    mtrr     = bit(12)
    pge      = bit(13)
    mca      = bit(14)
    cmov     = bit(15)
    pat      = bit(16)
    pse36    = bit(17)
    mp       = bit(19, "AMD K7 only")
    nx       = bit(20, "firmware may hide it")
    mmxext   = bit(22, "AMD only")
    mmx      = bit(23, "AMD only")
    fxsr     = bit(24, "AMD only")
    ffxsr    = bit(25, "AMD only")
    page1gb  = bit(26)
    rdtscp   = bit(27)
    lm       = bit(29, "long mode")
    threednowext = bit(30, "AMD only")
    threednow    = bit(31, "AMD only")


class Leaf80000005(Bits, width=32):
    """CPUID.80000005H:ECX and EDX -- first-level data and instruction cache; AMD only."""

    line_size     = bits(7, 0)
    lines_per_tag = bits(15, 8)
    ways          = bits(23, 16, "FFH: fully associative")
    kib           = bits(31, 24)


class Leaf80000006Ecx(Bits, width=32):
    """CPUID.80000006H:ECX -- second-level cache."""

    line_size     = bits(7, 0)
    lines_per_tag = bits(11, 8)
    associativity = bits(15, 12, "a code, not a number")
    kib           = bits(31, 16)


class Leaf80000006Edx(Bits, width=32):
    """CPUID.80000006H:EDX -- third-level cache; AMD only."""

    line_size     = bits(7, 0)
    lines_per_tag = bits(11, 8)
    associativity = bits(15, 12, "a code, not a number")
    half_mib      = bits(31, 18, "size in units of 512 KiB")


class Leaf80000007Ebx(Bits, width=32):
    """CPUID.80000007H:EBX -- reliability; AMD only."""

    mca_overflow_recov = bit(0)
    succor             = bit(1)
    hwa                = bit(2)
    scalable_mca       = bit(3)


class Leaf80000007Edx(Bits, width=32):
    """CPUID.80000007H:EDX -- power management; Intel defines the invariant TSC only."""

    ts               = bit(0)
    fid              = bit(1)
    vid              = bit(2)
    ttp              = bit(3)
    htc              = bit(4)
    stc              = bit(5)
    steps_100mhz     = bit(6)
    hw_pstate        = bit(7)
    tsc_invariant    = bit(8, "one rate in all P-, C- and T-states")
    cpb              = bit(9)
    eff_freq_ro      = bit(10)
    proc_feedback    = bit(11)
    power_reporting  = bit(12)
    connected_standby = bit(13)
    rapl             = bit(14)


class Leaf80000008Eax(Bits, width=32):
    """CPUID.80000008H:EAX -- address widths in bits."""

    phys_addr_size       = bits(7, 0,   "MAXPHYADDR")
    lin_addr_size        = bits(15, 8)
    guest_phys_addr_size = bits(23, 16, "with nested paging; 0: as phys_addr_size")


class Leaf80000008Ebx(Bits, width=32):
    """CPUID.80000008H:EBX -- feature flags; Intel defines WBNOINVD only."""

    clzero           = bit(0)
    inst_ret_cnt_msr = bit(1)
    rstr_fp_err_ptrs = bit(2)
    invlpgb          = bit(3)
    rdpru            = bit(4)
    be               = bit(6, "bandwidth enforcement")
    mcommit          = bit(8)
    wbnoinvd         = bit(9)
    ibpb             = bit(12)
    int_wbinvd       = bit(13)
    ibrs             = bit(14)
    stibp            = bit(15)
    ibrs_always_on   = bit(16)
    stibp_always_on  = bit(17)
    ibrs_preferred   = bit(18)
    ibrs_same_mode   = bit(19)
    efer_lmsle_unsupported = bit(20)
    invlpgb_nested_pages   = bit(21)
    ppin             = bit(23)
    ssbd             = bit(24)
    ssbd_virt_spec_ctrl    = bit(25)
    ssbd_not_required      = bit(26)
    cppc             = bit(27)
    psfd             = bit(28)
    btc_no           = bit(29)
    ibpb_ret         = bit(30)
    branch_sampling  = bit(31)


class Leaf80000008Ecx(Bits, width=32):
    """CPUID.80000008H:ECX -- size identifiers; AMD only."""

    threads_minus_1 = bits(7, 0)
    apic_id_size    = bits(15, 12)
    perf_tsc_size   = bits(17, 16)


class Leaf8000000AEax(Bits, width=32):
    """CPUID.8000000AH:EAX -- SVM revision; EBX is the number of address-space identifiers.  AMD only."""

    svm_revision = bits(7, 0)


class Leaf8000000AEcx(Bits, width=32):
    """CPUID.8000000AH:ECX -- SVM features.  AMD only."""

    pml           = bit(4, "page-modification logging")
    enhanced_tlbi = bit(5)
    x2avic_ext    = bit(6, "x2AVIC for 4096 vCPUs")


class Leaf8000000AEdx(Bits, width=32):
    """CPUID.8000000AH:EDX -- SVM features.  AMD only."""

    np                     = bit(0,  "nested paging")
    lbr_virt               = bit(1)
    svml                   = bit(2,  "SVM lock: VM_CR.LOCK and SVM_KEY")
    nrips                  = bit(3,  "next RIP saved on #VMEXIT")
    tsc_rate_msr           = bit(4)
    vmcb_clean             = bit(5)
    flush_by_asid          = bit(6)
    decode_assists         = bit(7)
    pmc_virt               = bit(8)
    pause_filter           = bit(10)
    pause_filter_threshold = bit(12)
    avic                   = bit(13)
    vmsave_virt            = bit(15, "VMSAVE and VMLOAD virtualized")
    vgif                   = bit(16)
    gmet                   = bit(17)
    x2avic                 = bit(18)
    sss_check              = bit(19)
    spec_ctrl              = bit(20)
    rogpt                  = bit(21)
    host_mce_override      = bit(23)
    tlbi_ctl               = bit(24)
    vnmi                   = bit(25)
    ibs_virt               = bit(26)
    ext_lvt_avic_access    = bit(27)
    nested_vmcb_addr_chk   = bit(28)
    bus_lock_threshold     = bit(29)
    idle_hlt_intercept     = bit(30)


class Leaf8000001BEax(Bits, width=32):
    """CPUID.8000001BH:EAX -- instruction-based sampling.  AMD only."""

    ibs_ffv            = bit(0, "the others mean something")
    fetch_sam          = bit(1)
    op_sam             = bit(2)
    rd_wr_op_cnt       = bit(3)
    op_cnt             = bit(4)
    brn_trgt           = bit(5)
    op_cnt_ext         = bit(6)
    rip_invalid_chk    = bit(7)
    op_brn_fuse        = bit(8)
    fetch_ctl_extd     = bit(9)
    op_data_4          = bit(10)
    l3_miss_filtering  = bit(11)


class Leaf8000001EEbx(Bits, width=32):
    """CPUID.8000001EH:EBX -- compute unit; EAX is the extended APIC id.  AMD only."""

    core_id                  = bits(7, 0)
    threads_per_core_minus_1 = bits(15, 8)


class Leaf8000001EEcx(Bits, width=32):
    """CPUID.8000001EH:ECX -- node.  AMD only."""

    node_id                 = bits(7, 0)
    nodes_per_socket_minus_1 = bits(10, 8)


class Leaf8000001FEax(Bits, width=32):
    """CPUID.8000001FH:EAX -- memory encryption.  AMD only."""

    sme                   = bit(0)
    sev                   = bit(1)
    page_flush_msr        = bit(2)
    sev_es                = bit(3)
    sev_snp               = bit(4)
    vmpl                  = bit(5)
    rmpquery              = bit(6)
    vmpl_sss              = bit(7)
    secure_tsc            = bit(8)
    tsc_aux_virt          = bit(9)
    hw_enf_cache_coh      = bit(10)
    host_64bit            = bit(11, "SEV guests only under a 64-bit host")
    restricted_injection  = bit(12)
    alternate_injection   = bit(13)
    debug_virt            = bit(14)
    prevent_host_ibs      = bit(15)
    vte                   = bit(16)
    vmgexit_parameter     = bit(17)
    virtual_tom_msr       = bit(18)
    ibs_virt_guest_ctl    = bit(19)
    pmc_virt_guest_ctl    = bit(20)
    rmpread               = bit(21)
    guest_intercept_ctl   = bit(22)
    segmented_rmp         = bit(23)
    vmsa_reg_prot         = bit(24)
    smt_protection        = bit(25)
    secure_avic           = bit(26)
    allowed_sev_features  = bit(27)
    svsm_comm_page_msr    = bit(28)
    nested_virt_snp_msr   = bit(29)
    hv_in_use_wr_allowed  = bit(30, "the host may write pages in use by the hypervisor: AVIC beside SEV-SNP")
    ibpb_on_entry         = bit(31)


class Leaf8000001FEbx(Bits, width=32):
    """CPUID.8000001FH:EBX; ECX is the number of encrypted guests, EDX the first ASID without SEV-ES.  AMD only."""

    c_bit_position     = bits(5, 0)
    phys_addr_reduction = bits(11, 6)
    vmpls              = bits(15, 12)
    coherency_sfw_no   = bit(31)


class Leaf80000021Eax(Bits, width=32):
    """CPUID.80000021H:EAX -- extended features 2.  AMD only."""

    no_nested_data_bp         = bit(0)
    fs_gs_base_not_serializing = bit(1)
    lfence_always_serializing = bit(2)
    smm_pg_cfg_lock           = bit(3)
    null_select_clears_base   = bit(6)
    upper_address_ignore      = bit(7)
    automatic_ibrs            = bit(8)
    no_smm_ctl_msr            = bit(9)
    fsrs                      = bit(10)
    fsrc                      = bit(11)
    prefetch_ctl_msr          = bit(13)
    cpuid_user_dis            = bit(17)
    epsf                      = bit(18)


class Leaf80000022Eax(Bits, width=32):
    """CPUID.80000022H:EAX -- performance monitoring.  AMD only."""

    perfmon_v2         = bit(0)
    lbr_stack          = bit(1)
    lbr_and_pmc_freeze = bit(2)


class Leaf80000022Ebx(Bits, width=32):
    """CPUID.80000022H:EBX -- how many counters.  AMD only."""

    core_counters = bits(3, 0)
    lbr_entries   = bits(9, 4)
    nb_counters   = bits(15, 10)
    umc_counters  = bits(21, 16)


REGISTERS: dict[tuple[int, int, str], type[Bits]] = {
    (0x8000_0001, 0, "ecx"): Leaf80000001Ecx, (0x8000_0001, 0, "edx"): Leaf80000001Edx,
    (0x8000_0005, 0, "ecx"): Leaf80000005,    (0x8000_0005, 0, "edx"): Leaf80000005,
    (0x8000_0006, 0, "ecx"): Leaf80000006Ecx, (0x8000_0006, 0, "edx"): Leaf80000006Edx,
    (0x8000_0007, 0, "ebx"): Leaf80000007Ebx, (0x8000_0007, 0, "edx"): Leaf80000007Edx,
    (0x8000_0008, 0, "eax"): Leaf80000008Eax, (0x8000_0008, 0, "ebx"): Leaf80000008Ebx,
    (0x8000_0008, 0, "ecx"): Leaf80000008Ecx,
    (0x8000_000A, 0, "eax"): Leaf8000000AEax, (0x8000_000A, 0, "ecx"): Leaf8000000AEcx,
    (0x8000_000A, 0, "edx"): Leaf8000000AEdx,
    (0x8000_001B, 0, "eax"): Leaf8000001BEax,
    (0x8000_001E, 0, "ebx"): Leaf8000001EEbx, (0x8000_001E, 0, "ecx"): Leaf8000001EEcx,
    (0x8000_001F, 0, "eax"): Leaf8000001FEax, (0x8000_001F, 0, "ebx"): Leaf8000001FEbx,
    (0x8000_0021, 0, "eax"): Leaf80000021Eax,
    (0x8000_0022, 0, "eax"): Leaf80000022Eax, (0x8000_0022, 0, "ebx"): Leaf80000022Ebx,
}
# fmt: on
