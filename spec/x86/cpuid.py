"""CPUID leaves 0 to 1FH: Intel SDM vol. 2A, "CPUID"; AMD APM vol. 3, "Obtaining Processor Information Via the CPUID
Instruction".  The extended leaves are in cpuid_extended.py, those of hypervisors in cpuid_hypervisor.py.

Field names are the manuals' names in lower case; "minus 1" means that the stored number is one less than what it
counts.  A bit without a name is reserved, or too new for this table; ``repr`` shows it when it is set.
``REGISTERS`` finds the layout of a register by (leaf, subleaf, name); a register without fields is a plain number.
"""

from virtproof.spec.bits import Bits, bit, bits
from virtproof.spec.x86.control import Xcr0


# fmt: off
class Leaf1Eax(Bits, width=32):
    """CPUID.01H:EAX -- version information."""

    stepping        = bits(3, 0)
    model           = bits(7, 4)
    family          = bits(11, 8)
    processor_type  = bits(13, 12, "Intel only; reserved on AMD")
    extended_model  = bits(19, 16)
    extended_family = bits(27, 20)
# fmt: on

    @property
    def display_family(self) -> int:
        """The family people speak of."""
        return self.family + self.extended_family if self.family == 0xF else self.family

    @property
    def display_model(self) -> int:
        """The model people speak of; AMD extends it for family 0FH only, and sets no extended model below."""
        return self.model | self.extended_model << 4 if self.family in (0x6, 0xF) else self.model


# fmt: off
class Leaf1Ebx(Bits, width=32):
    """CPUID.01H:EBX."""

    brand_index     = bits(7, 0)
    clflush_size    = bits(15, 8,  "in units of 8 bytes")
    logical_count   = bits(23, 16, "addressable ids of logical processors in the package, with HTT")
    initial_apic_id = bits(31, 24)


class Leaf1Ecx(Bits, width=32):
    """CPUID.01H:ECX -- feature flags."""

    sse3         = bit(0)
    pclmulqdq    = bit(1)
    dtes64       = bit(2,  "Intel only")
    monitor      = bit(3)
    ds_cpl       = bit(4,  "Intel only")
    vmx          = bit(5,  "Intel only; Linux hides it where firmware locked it off")
    smx          = bit(6,  "Intel only")
    eist         = bit(7,  "Intel only")
    tm2          = bit(8,  "Intel only")
    ssse3        = bit(9)
    cnxt_id      = bit(10, "Intel only")
    sdbg         = bit(11, "Intel only")
    fma          = bit(12)
    cmpxchg16b   = bit(13)
    xtpr         = bit(14, "Intel only")
    pdcm         = bit(15, "Intel only")
    pcid         = bit(17)
    dca          = bit(18, "Intel only")
    sse4_1       = bit(19)
    sse4_2       = bit(20)
    x2apic       = bit(21)
    movbe        = bit(22)
    popcnt       = bit(23)
    tsc_deadline = bit(24, "Intel only; hypervisors offer it on any processor")
    aesni        = bit(25)
    xsave        = bit(26)
    osxsave      = bit(27, "live copy of CR4.OSXSAVE, not a capability")
    avx          = bit(28)
    f16c         = bit(29)
    rdrand       = bit(30)
    hypervisor   = bit(31, "always 0 on bare metal")


class Leaf1Edx(Bits, width=32):
    """CPUID.01H:EDX -- feature flags."""

    fpu   = bit(0)
    vme   = bit(1)
    de    = bit(2)
    pse   = bit(3)
    tsc   = bit(4)
    msr   = bit(5)
    pae   = bit(6)
    mce   = bit(7)
    cx8   = bit(8)
    apic  = bit(9,  "live: 0 where IA32_APIC_BASE turned the local APIC off")
    sep   = bit(11)
    mtrr  = bit(12)
    pge   = bit(13)
    mca   = bit(14)
    cmov  = bit(15)
    pat   = bit(16)
    pse36 = bit(17)
    psn   = bit(18, "Intel only")
    clfsh = bit(19)
    ds    = bit(21, "Intel only")
    acpi  = bit(22, "Intel only")
    mmx   = bit(23)
    fxsr  = bit(24)
    sse   = bit(25)
    sse2  = bit(26)
    ss    = bit(27, "Intel only")
    htt   = bit(28, "the package has room for more than one logical processor")
    tm    = bit(29, "Intel only")
    pbe   = bit(31, "Intel only")


class Leaf4Eax(Bits, width=32):
    """CPUID.04H:EAX -- one cache for each subleaf until the type is 0; AMD answers in 8000001DH."""

    type               = bits(4, 0, "0 none, 1 data, 2 instruction, 3 unified")
    level              = bits(7, 5)
    self_initializing  = bit(8)
    fully_associative  = bit(9)
    sharing_minus_1    = bits(25, 14, "addressable ids of logical processors that share it")
    core_ids_minus_1   = bits(31, 26, "addressable ids of cores in the package; reserved on AMD")


class Leaf4Ebx(Bits, width=32):
    """CPUID.04H:EBX."""

    line_size_minus_1  = bits(11, 0)
    partitions_minus_1 = bits(21, 12)
    ways_minus_1       = bits(31, 22)


class Leaf4Edx(Bits, width=32):
    """CPUID.04H:EDX; ECX is the number of sets minus 1."""

    wbinvd_not_lower = bit(0, "WBINVD need not act on lower levels of other threads")
    inclusive        = bit(1)
    complex_indexing = bit(2, "Intel only")


class Leaf6Eax(Bits, width=32):
    """CPUID.06H:EAX -- thermal and power management."""

    dts               = bit(0)
    turbo             = bit(1)
    arat              = bit(2, "the APIC timer runs in deep C-states")
    pln               = bit(4)
    ecmd              = bit(5)
    ptm               = bit(6)
    hwp               = bit(7)
    hwp_notification  = bit(8)
    hwp_window        = bit(9)
    hwp_epp           = bit(10)
    hwp_package       = bit(11)
    hdc               = bit(13)
    turbo_max_3       = bit(14)
    hwp_highest       = bit(15)
    hwp_peci          = bit(16)
    hwp_flexible      = bit(17)
    hwp_fast          = bit(18)
    hw_feedback       = bit(19)
    hwp_ignore_idle   = bit(20)
    thread_director   = bit(23)


class Leaf6Ecx(Bits, width=32):
    """CPUID.06H:ECX."""

    aperfmperf      = bit(0)
    epb             = bit(3, "IA32_ENERGY_PERF_BIAS; Intel only")
    director_classes = bits(15, 8)


class Leaf7Ebx(Bits, width=32):
    """CPUID.(07H,0):EBX -- structured extended feature flags; EAX is the highest subleaf."""

    fsgsbase   = bit(0)
    tsc_adjust = bit(1)
    sgx        = bit(2)
    bmi1       = bit(3)
    hle        = bit(4)
    avx2       = bit(5)
    fdp_excptn_only = bit(6)
    smep       = bit(7)
    bmi2       = bit(8)
    erms       = bit(9)
    invpcid    = bit(10)
    rtm        = bit(11)
    rdt_m      = bit(12)
    fcs_fds_deprecated = bit(13)
    mpx        = bit(14)
    rdt_a      = bit(15)
    avx512f    = bit(16)
    avx512dq   = bit(17)
    rdseed     = bit(18)
    adx        = bit(19)
    smap       = bit(20)
    avx512_ifma = bit(21)
    clflushopt = bit(23)
    clwb       = bit(24)
    intel_pt   = bit(25)
    avx512pf   = bit(26)
    avx512er   = bit(27)
    avx512cd   = bit(28)
    sha        = bit(29)
    avx512bw   = bit(30)
    avx512vl   = bit(31)


class Leaf7Ecx(Bits, width=32):
    """CPUID.(07H,0):ECX."""

    prefetchwt1     = bit(0)
    avx512_vbmi     = bit(1)
    umip            = bit(2, "KVM offers it by emulation on processors without it")
    pku             = bit(3)
    ospke           = bit(4, "live copy of CR4.PKE")
    waitpkg         = bit(5)
    avx512_vbmi2    = bit(6)
    cet_ss          = bit(7)
    gfni            = bit(8)
    vaes            = bit(9)
    vpclmulqdq      = bit(10)
    avx512_vnni     = bit(11)
    avx512_bitalg   = bit(12)
    tme_en          = bit(13)
    avx512_vpopcntdq = bit(14)
    la57            = bit(16)
    mawau           = bits(21, 17)
    rdpid           = bit(22)
    kl              = bit(23)
    bus_lock_detect = bit(24)
    cldemote        = bit(25)
    movdiri         = bit(27)
    movdir64b       = bit(28)
    enqcmd          = bit(29)
    sgx_lc          = bit(30)
    pks             = bit(31)


class Leaf7Edx(Bits, width=32):
    """CPUID.(07H,0):EDX."""

    sgx_keys           = bit(1)
    avx512_4vnniw      = bit(2)
    avx512_4fmaps      = bit(3)
    fsrm               = bit(4)
    uintr              = bit(5)
    avx512_vp2intersect = bit(8)
    srbds_ctrl         = bit(9)
    md_clear           = bit(10)
    rtm_always_abort   = bit(11)
    rtm_force_abort    = bit(13)
    serialize          = bit(14)
    hybrid             = bit(15)
    tsxldtrk           = bit(16)
    pconfig            = bit(18)
    arch_lbr           = bit(19)
    cet_ibt            = bit(20)
    amx_bf16           = bit(22)
    avx512_fp16        = bit(23)
    amx_tile           = bit(24)
    amx_int8           = bit(25)
    ibrs_ibpb          = bit(26)
    stibp              = bit(27)
    l1d_flush          = bit(28)
    arch_capabilities  = bit(29)
    core_capabilities  = bit(30)
    ssbd               = bit(31)


class Leaf7Sub1Eax(Bits, width=32):
    """CPUID.(07H,1):EAX."""

    sha512         = bit(0)
    sm3            = bit(1)
    sm4            = bit(2)
    rao_int        = bit(3)
    avx_vnni       = bit(4)
    avx512_bf16    = bit(5)
    lass           = bit(6)
    cmpccxadd      = bit(7)
    archperfmonext = bit(8, "leaf 23H exists")
    fzrm           = bit(10)
    fsrs           = bit(11)
    fsrc           = bit(12)
    fred           = bit(17)
    lkgs           = bit(18)
    wrmsrns        = bit(19)
    amx_fp16       = bit(21)
    hreset         = bit(22)
    avx_ifma       = bit(23)
    lam            = bit(26)
    msrlist        = bit(27)


class Leaf7Sub1Edx(Bits, width=32):
    """CPUID.(07H,1):EDX."""

    avx_vnni_int8  = bit(4)
    avx_ne_convert = bit(5)
    amx_complex    = bit(8)
    avx_vnni_int16 = bit(10)
    prefetchi      = bit(14)
    cet_sss        = bit(18)
    avx10          = bit(19)
    apx_f          = bit(21)


class Leaf7Sub2Edx(Bits, width=32):
    """CPUID.(07H,2):EDX -- controls of IA32_SPEC_CTRL."""

    psfd       = bit(0)
    ipred_ctrl = bit(1)
    rrsba_ctrl = bit(2)
    ddpd_u     = bit(3)
    bhi_ctrl   = bit(4)
    mcdt_no    = bit(5)
    uc_lock    = bit(6)


class LeafAEax(Bits, width=32):
    """CPUID.0AH:EAX -- architectural performance monitoring."""

    version       = bits(7, 0)
    counters      = bits(15, 8)
    counter_width = bits(23, 16)
    events        = bits(31, 24, "how many bits of EBX mean something")


class LeafAEbx(Bits, width=32):
    """CPUID.0AH:EBX -- a set bit says that the event is NOT there."""

    no_core_cycles      = bit(0)
    no_instructions     = bit(1)
    no_reference_cycles = bit(2)
    no_llc_references   = bit(3)
    no_llc_misses       = bit(4)
    no_branches         = bit(5)
    no_branch_misses    = bit(6)
    no_topdown_slots    = bit(7)


class LeafAEdx(Bits, width=32):
    """CPUID.0AH:EDX; ECX is a bitmap of the fixed counters."""

    fixed_counters      = bits(4, 0)
    fixed_counter_width = bits(12, 5)
    anythread_deprecated = bit(15)


class LeafBEax(Bits, width=32):
    """CPUID.0BH:EAX, also 1FH -- one topology level for each subleaf until the type is 0."""

    shift = bits(4, 0, "x2APIC id bits to drop to get to the next level")


class LeafBEbx(Bits, width=32):
    """CPUID.0BH:EBX, also 1FH."""

    logical_processors = bits(15, 0)


class LeafBEcx(Bits, width=32):
    """CPUID.0BH:ECX, also 1FH; EDX is the x2APIC id of the processor that executes CPUID."""

    level = bits(7, 0,  "the subleaf asked for")
    type  = bits(15, 8, "0 none, 1 SMT, 2 core; 1FH only: 3 module, 4 tile, 5 die, 6 die group")


class LeafDSub1Eax(Bits, width=32):
    """CPUID.(0DH,1):EAX -- XSAVE instructions.  Subleaf 0 EDX:EAX is what XCR0 may hold (control.Xcr0)."""

    xsaveopt = bit(0)
    xsavec   = bit(1)
    xgetbv_1 = bit(2)
    xsaves   = bit(3)
    xfd      = bit(4)


class Leaf12Eax(Bits, width=32):
    """CPUID.(12H,0):EAX -- SGX; only with (07H,0):EBX.SGX."""

    sgx1    = bit(0)
    sgx2    = bit(1)
    enclv   = bit(5)
    encls_v = bit(6, "ETRACKC, ERDINFO, ELDBC, ELDUC")


class Leaf14Ebx(Bits, width=32):
    """CPUID.(14H,0):EBX -- Intel Processor Trace."""

    cr3_filter  = bit(0)
    psb_config  = bit(1)
    ip_filter   = bit(2)
    mtc         = bit(3)
    ptwrite     = bit(4)
    power_event = bit(5)
    psb_pmi     = bit(6)
    event_trace = bit(7)
    tnt_disable = bit(8)


class Leaf16(Bits, width=32):
    """CPUID.16H:EAX, EBX and ECX -- base, maximum and bus frequency; not measured, as sold.

    Of 15H, EBX over EAX is the ratio of TSC and crystal clock, and ECX the crystal's frequency in Hz, or 0.
    """

    mhz = bits(15, 0)


class Leaf19Eax(Bits, width=32):
    """CPUID.19H:EAX -- key locker restrictions."""

    cpl0_only  = bit(0)
    no_encrypt = bit(1)
    no_decrypt = bit(2)


class Leaf19Ebx(Bits, width=32):
    """CPUID.19H:EBX."""

    aeskle  = bit(0, "enabled by firmware and CR4.KL")
    wide    = bit(2)
    backup  = bit(4, "the key can be saved and copied")


REGISTERS: dict[tuple[int, int, str], type[Bits]] = {
    (0x01, 0, "eax"): Leaf1Eax,     (0x01, 0, "ebx"): Leaf1Ebx,
    (0x01, 0, "ecx"): Leaf1Ecx,     (0x01, 0, "edx"): Leaf1Edx,
    (0x04, 0, "eax"): Leaf4Eax,     (0x04, 0, "ebx"): Leaf4Ebx,     (0x04, 0, "edx"): Leaf4Edx,
    (0x06, 0, "eax"): Leaf6Eax,     (0x06, 0, "ecx"): Leaf6Ecx,
    (0x07, 0, "ebx"): Leaf7Ebx,     (0x07, 0, "ecx"): Leaf7Ecx,     (0x07, 0, "edx"): Leaf7Edx,
    (0x07, 1, "eax"): Leaf7Sub1Eax, (0x07, 1, "edx"): Leaf7Sub1Edx,
    (0x07, 2, "edx"): Leaf7Sub2Edx,
    (0x0A, 0, "eax"): LeafAEax,     (0x0A, 0, "ebx"): LeafAEbx,     (0x0A, 0, "edx"): LeafAEdx,
    (0x0B, 0, "eax"): LeafBEax,     (0x0B, 0, "ebx"): LeafBEbx,     (0x0B, 0, "ecx"): LeafBEcx,
    (0x0D, 0, "eax"): Xcr0,         (0x0D, 1, "eax"): LeafDSub1Eax,
    (0x12, 0, "eax"): Leaf12Eax,    (0x14, 0, "ebx"): Leaf14Ebx,
    (0x16, 0, "eax"): Leaf16,       (0x16, 0, "ebx"): Leaf16,       (0x16, 0, "ecx"): Leaf16,
    (0x19, 0, "eax"): Leaf19Eax,    (0x19, 0, "ebx"): Leaf19Ebx,
    (0x1F, 0, "eax"): LeafBEax,     (0x1F, 0, "ebx"): LeafBEbx,     (0x1F, 0, "ecx"): LeafBEcx,
}
# fmt: on
