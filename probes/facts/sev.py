"""Memory encryption of guests on AMD: AMD APM vol. 3, App. E "Encrypted Memory Capabilities"; vol. 2, "Secure Encrypted
Virtualization".
"""

from virtproof.probes.register import CpuidPlace, MsrPlace, Register, Row, facts
from virtproof.spec.bits import bits
from virtproof.spec.cite import apm
from virtproof.spec.x86.cpuid_extended import Leaf8000001FEax, Leaf8000001FEbx
from virtproof.spec.x86.msr_amd import AmdMsr, Syscfg

LEAF = 0x8000_001F
CAPABILITIES = apm(3, "App. E 'Encrypted Memory Capabilities'")
SYSCFG = apm(2, "Memory System, 'SYSCFG Register'")
RMP_TABLE = apm(2, "Secure Nested Paging (SEV-SNP), 'Initializing the RMP'")

# fmt: off
EAX = Register(CpuidPlace(LEAF, "eax"), "encrypted memory", CAPABILITIES, (
    #   id                         field                                   term                                                          ref
    Row("sme.cpuid",               Leaf8000001FEax.sme,                    "SME: secure memory encryption",                              "SE-005"),
    Row("sev.cpuid",               Leaf8000001FEax.sev,                    "SEV: secure encrypted virtualization",                       "SE-006"),
    Row("sev.page_flush_msr",      Leaf8000001FEax.page_flush_msr,         "PageFlushMsr: VM page flush MSR",                            "SE-007"),
    Row("sev.es",                  Leaf8000001FEax.sev_es,                 "SEV-ES: encrypted register state",                           "SE-008"),
    Row("sev.snp",                 Leaf8000001FEax.sev_snp,                "SEV-SNP: secure nested paging",                              "SE-009"),
    Row("sev.vmpl",                Leaf8000001FEax.vmpl,                   "VMPL: VM permission levels",                                 "SE-010"),
    Row("sev.rmpquery",            Leaf8000001FEax.rmpquery,               "RMPQUERY",                                                   "SE-011"),
    Row("sev.vmpl_sss",            Leaf8000001FEax.vmpl_sss,               "VmplSSS: supervisor shadow stacks by VMPL",                  "SE-012"),
    Row("sev.secure_tsc",          Leaf8000001FEax.secure_tsc,             "SecureTsc: secure TSC",                                      "SE-013"),
    Row("sev.tsc_aux",             Leaf8000001FEax.tsc_aux_virt,           "TscAuxVirtualization: TSC_AUX virtualization",               "SE-014"),
    Row("sev.coherent",            Leaf8000001FEax.hw_enf_cache_coh,       "HwEnfCacheCoh: caches coherent across encryption",           "SE-015"),
    Row("sev.host_64",             Leaf8000001FEax.host_64bit,             "64BitHost: guests only under a 64-bit host",                 "SE-016"),
    Row("sev.restricted_injection", Leaf8000001FEax.restricted_injection,  "RestrictedInjection: restricted injection",                  "SE-017"),
    Row("sev.alternate_injection", Leaf8000001FEax.alternate_injection,    "AlternateInjection: alternate injection",                    "SE-018"),
    Row("sev.debug_swap",          Leaf8000001FEax.debug_virt,             "DebugVirt: debug registers swapped for SEV-ES",              "SE-019"),
    Row("sev.prevent_host_ibs",    Leaf8000001FEax.prevent_host_ibs,       "PreventHostIbs: no host IBS in SEV-ES guests",               "SE-020"),
    Row("sev.vte",                 Leaf8000001FEax.vte,                    "VTE: virtual transparent encryption",                        "SE-021"),
    Row("sev.vmgexit_parameter",   Leaf8000001FEax.vmgexit_parameter,      "VmgexitParameter: parameter of VMGEXIT",                     "SE-022"),
    Row("sev.virtual_tom",         Leaf8000001FEax.virtual_tom_msr,        "VirtualTomMsr: virtual top of memory MSR",                   "SE-023"),
    Row("sev.ibs_virt",            Leaf8000001FEax.ibs_virt_guest_ctl,     "IbsVirtGuestCtl: IBS virtualization by the guest",           "SE-024"),
    Row("sev.pmc_virt",            Leaf8000001FEax.pmc_virt_guest_ctl,     "PmcVirtGuestCtl: counter virtualization by the guest"),
    Row("sev.rmpread",             Leaf8000001FEax.rmpread,                "RMPREAD"),
    Row("sev.guest_intercept_ctl", Leaf8000001FEax.guest_intercept_ctl,    "GuestInterceptCtl: intercepts by the guest"),
    Row("sev.segmented_rmp",       Leaf8000001FEax.segmented_rmp,          "SegmentedRmp: reverse map table in segments"),
    Row("sev.vmsa_reg_prot",       Leaf8000001FEax.vmsa_reg_prot,          "VmsaRegProt: VMSA register protection",                      "SE-025"),
    Row("sev.smt_protection",      Leaf8000001FEax.smt_protection,         "SmtProtection: SMT protection",                              "SE-026"),
    Row("sev.secure_avic",         Leaf8000001FEax.secure_avic,            "SecureAvic: secure AVIC"),
    Row("sev.allowed_features",    Leaf8000001FEax.allowed_sev_features,   "AllowedSevFeatures: the host limits SEV features"),
    Row("sev.svsm_page_msr",       Leaf8000001FEax.svsm_comm_page_msr,     "SvsmCommPageMsr: SVSM communication page MSR",               "SE-027"),
    Row("sev.nested_snp_msr",      Leaf8000001FEax.nested_virt_snp_msr,    "NestedVirtSnpMsr: VIRT_RMPUPDATE and VIRT_PSMASH MSRs",      "SE-028"),
    Row("sev.hv_in_use_write",     Leaf8000001FEax.hv_in_use_wr_allowed,   "HvInUseWrAllowed: writes to in-use hypervisor pages",        "SE-029"),
    Row("sev.ibpb_on_entry",       Leaf8000001FEax.ibpb_on_entry,          "IbpbOnEntry: IBPB on entry"),
))

EBX = Register(CpuidPlace(LEAF, "ebx"), "encrypted memory", CAPABILITIES, (
    Row("sev.c_bit",               Leaf8000001FEbx.c_bit_position,         "CbitPosition: page table bit of encryption",                 "SE-030"),
    Row("sev.phys_bits_lost",      Leaf8000001FEbx.phys_addr_reduction,    "PhysAddrReduction: physical address bits lost",              "SE-031"),
    Row("sev.vmpls",               Leaf8000001FEbx.vmpls,                  "NumVMPL: VM permission levels",                              "SE-032"),
    Row("sev.coherency_sfw_no",    Leaf8000001FEbx.coherency_sfw_no,       "COHERENCY_SFW_NO: no flush for coherency needed"),
))

ECX = Register(CpuidPlace(LEAF, "ecx"), "encrypted memory", CAPABILITIES, (
    Row("sev.guests",              bits(31, 0),                            "NumEncryptedGuests: encrypted guests at a time",             "SE-033"),
))

EDX = Register(CpuidPlace(LEAF, "edx"), "encrypted memory", CAPABILITIES, (
    Row("sev.min_asid",            bits(31, 0),                            "MinSevNoEsAsid: first ASID for SEV without SEV-ES",          "SE-034"),
))

SYSTEM = Register(MsrPlace(AmdMsr.SYSCFG), "system configuration", SYSCFG, (
    Row("syscfg.mtrr_fix_dram",    Syscfg.mtrr_fix_dram_en,                "MtrrFixDramEn: fixed ranges name DRAM"),
    Row("syscfg.mtrr_fix_dram_mod", Syscfg.mtrr_fix_dram_mod_en,           "MtrrFixDramModEn: those bits can be written"),
    Row("syscfg.mtrr_var_dram",    Syscfg.mtrr_var_dram_en,                "MtrrVarDramEn: TOP_MEM is in force"),
    Row("syscfg.tom2",             Syscfg.mtrr_tom2_en,                    "MtrrTom2En: TOP_MEM2 is in force"),
    Row("syscfg.tom2_write_back",  Syscfg.tom2_force_mem_type_wb,          "Tom2ForceMemTypeWB: memory above 4 GiB is write-back"),
    Row("sme.firmware",            Syscfg.mem_encryption_mod_en,           "MemEncryptionModEn: SME and SEV may be used",                "SE-035"),
    Row("snp.syscfg",              Syscfg.secure_nested_paging_en,         "SecureNestedPagingEn: the reverse map table is in force",    "SE-036"),
    Row("snp.vmpl_enabled",        Syscfg.vmpl_en,                         "VMPLEn: VM permission levels are in force",                  "SE-036"),
))

RMP = (
    Register(MsrPlace(AmdMsr.RMP_BASE), "reverse map table", RMP_TABLE, (
        Row("snp.rmp_base",        bits(63, 0),                            "first byte of the reverse map table",                        "SE-037"),)),
    Register(MsrPlace(AmdMsr.RMP_END), "reverse map table", RMP_TABLE, (
        Row("snp.rmp_end",         bits(63, 0),                            "last byte of the reverse map table",                         "SE-037"),)),
)
# fmt: on

REGISTERS = (EAX, EBX, ECX, EDX, SYSTEM, *RMP)
FACTS = facts(REGISTERS)
