"""The features of SVM: AMD APM vol. 3, App. E "SVM Features"; what they are for is in vol. 2, "Secure Virtual Machine"."""

from virtproof.probes.register import CpuidPlace, Register, Row, facts
from virtproof.spec.bits import bits
from virtproof.spec.cite import apm
from virtproof.spec.x86.cpuid_extended import Leaf8000000AEax, Leaf8000000AEcx, Leaf8000000AEdx

LEAF = 0x8000_000A
FEATURES = apm(3, "App. E 'SVM Features'")

# fmt: off
REVISION = Register(CpuidPlace(LEAF, "eax"), "SVM revision", FEATURES, (
    #   id                        field                                    term                                                         ref
    Row("svm.revision",           Leaf8000000AEax.svm_revision,            "SvmRev: revision",                                          "CV-117"),
))

ASIDS = Register(CpuidPlace(LEAF, "ebx"), "SVM address-space identifiers", FEATURES, (
    Row("svm.asids",              bits(31, 0),                             "NASID: address-space identifiers",                          "CV-118"),
))

ECX = Register(CpuidPlace(LEAF, "ecx"), "SVM features", FEATURES, (
    Row("svm.pml",                Leaf8000000AEcx.pml,                     "PML: page-modification logging"),
    Row("svm.enhanced_tlbi",      Leaf8000000AEcx.enhanced_tlbi,           "EnhancedTlbi: enhanced INVLPGB and TLBSYNC",                "CV-146"),
    Row("svm.x2avic_ext",         Leaf8000000AEcx.x2avic_ext,              "x2AVIC_EXT: x2AVIC with 4096 vCPUs",                        "CV-147"),
))

EDX = Register(CpuidPlace(LEAF, "edx"), "SVM features", FEATURES, (
    Row("npt.cpuid",              Leaf8000000AEdx.np,                      "NP: nested paging",                                         "MV-026"),
    Row("svm.lbr_virt",           Leaf8000000AEdx.lbr_virt,                "LbrVirt: LBR virtualization",                               "CV-119"),
    Row("svm.svml",               Leaf8000000AEdx.svml,                    "SVML: SVM lock",                                            "CV-120"),
    Row("svm.nrips",              Leaf8000000AEdx.nrips,                   "NRIPS: next RIP saved on #VMEXIT",                          "CV-121"),
    Row("svm.tsc_rate",           Leaf8000000AEdx.tsc_rate_msr,            "TscRateMsr: TSC scaling",                                   "CV-122"),
    Row("svm.vmcb_clean",         Leaf8000000AEdx.vmcb_clean,              "VmcbClean: VMCB clean bits",                                "CV-123"),
    Row("svm.flush_by_asid",      Leaf8000000AEdx.flush_by_asid,           "FlushByAsid: TLB flush by ASID",                            "CV-124"),
    Row("svm.decode_assists",     Leaf8000000AEdx.decode_assists,          "DecodeAssists: decode assists",                             "CV-125"),
    Row("svm.pmc_virt",           Leaf8000000AEdx.pmc_virt,                "PmcVirt: performance counter virtualization",               "CV-126"),
    Row("svm.pause_filter",       Leaf8000000AEdx.pause_filter,            "PauseFilter: PAUSE intercept filter",                       "CV-127"),
    Row("svm.pause_filter_threshold", Leaf8000000AEdx.pause_filter_threshold, "PauseFilterThreshold: PAUSE filter threshold",           "CV-128"),
    Row("svm.avic",               Leaf8000000AEdx.avic,                    "AVIC: virtual interrupt controller",                        "CV-129"),
    Row("svm.vmsave_virt",        Leaf8000000AEdx.vmsave_virt,             "VMSAVEvirt: virtualized VMSAVE and VMLOAD",                 "CV-130"),
    Row("svm.vgif",               Leaf8000000AEdx.vgif,                    "VGIF: virtual global interrupt flag",                       "CV-131"),
    Row("npt.gmet",               Leaf8000000AEdx.gmet,                    "GMET: guest mode execute trap",                             "MV-027"),
    Row("svm.x2avic",             Leaf8000000AEdx.x2avic,                  "x2AVIC: AVIC in x2APIC mode",                               "CV-132"),
    Row("npt.sss_check",          Leaf8000000AEdx.sss_check,               "SSSCheck: supervisor shadow stack restrictions",            "MV-028"),
    Row("svm.spec_ctrl",          Leaf8000000AEdx.spec_ctrl,               "SpecCtrl: SPEC_CTRL virtualization",                        "CV-133"),
    Row("npt.rogpt",              Leaf8000000AEdx.rogpt,                   "ROGPT: read-only guest page tables",                        "MV-029"),
    Row("svm.host_mce_override",  Leaf8000000AEdx.host_mce_override,       "HOST_MCE_OVERRIDE: machine checks go to the host",          "CV-134"),
    Row("npt.tlbi_ctl",           Leaf8000000AEdx.tlbi_ctl,                "TlbiCtl: INVLPGB and TLBSYNC for guests",                   "MV-030"),
    Row("svm.vnmi",               Leaf8000000AEdx.vnmi,                    "VNMI: NMI virtualization",                                  "CV-135"),
    Row("svm.ibs_virt",           Leaf8000000AEdx.ibs_virt,                "IbsVirt: IBS virtualization",                               "CV-136"),
    Row("svm.ext_lvt_avic",       Leaf8000000AEdx.ext_lvt_avic_access,     "ExtLvtAvicAccessChg: extended LVT under AVIC",              "CV-137"),
    Row("svm.nested_vmcb_addr_chk", Leaf8000000AEdx.nested_vmcb_addr_chk,  "NestedVirtVmcbAddrChk: VMCB address check",                 "CV-138"),
    Row("svm.bus_lock_threshold", Leaf8000000AEdx.bus_lock_threshold,      "BusLockThreshold: bus lock threshold",                      "CV-139"),
    Row("svm.idle_hlt_intercept", Leaf8000000AEdx.idle_hlt_intercept,      "IdleHltIntercept: intercept of HLT with nothing pending",   "CV-140"),
))
# fmt: on

REGISTERS = (REVISION, ASIDS, ECX, EDX)
FACTS = facts(REGISTERS)
