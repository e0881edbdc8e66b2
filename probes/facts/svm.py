"""SVM (AMD-V) and nested paging: silicon, VM_CR, and the feature leaf."""

from __future__ import annotations

from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, flag, logged
from virtproof.probes.source_registers import cpuid, msr
from virtproof.spec.bits import bits
from virtproof.spec.cite import apm, linux
from virtproof.spec.x86.control import Efer
from virtproof.spec.x86.cpuid_extended import Leaf8000000AEax, Leaf8000000AEdx, Leaf80000001Ecx
from virtproof.spec.x86.msr import Msr
from virtproof.spec.x86.msr_amd import AmdMsr, VmCr

LEAF = 0x8000_000A
FEATURES = apm(3, "App. E 'SVM Features'")
ENABLING = apm(2, "Secure Virtual Machine, 'Enabling SVM'")
VM_CR = apm(2, "Secure Virtual Machine, 'VM_CR MSR'")
CPUINFO = linux("arch/x86/cpuinfo.rst", "x86 Feature Flags")


def firmware_setting(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """What VM_CR makes of SVM."""
    found = msr(AmdMsr.VM_CR, VmCr.svmdis).read(snapshot)
    if isinstance(found, Unknown):
        return found
    return tuple(Seen(_setting(VmCr(int(one.raw, 16))), one.raw, one.cpus) for one in found)


def _setting(register: VmCr) -> str:
    if not register.svmdis:
        return "on"
    return "off, locked" if register.lock else "off, not locked"


# fmt: off
FACTS = (
    #    id                            source                                                    meaning                                   cite      refs
    Fact("svm.cpuid",                  cpuid(0x8000_0001, "ecx", Leaf80000001Ecx.svm),           "CPUID has SVM",                          FEATURES, ("CV-112",)),
    Fact("svm.skinit",                 cpuid(0x8000_0001, "ecx", Leaf80000001Ecx.skinit),        "SKINIT and STGI",                        FEATURES, ("CV-113",)),
    Fact("svm.flag",                   flag("svm"),                                              "Linux lists svm",                        CPUINFO,  ("CV-114",)),
    Fact("svm.efer_svme",              msr(Msr.IA32_EFER, Efer.svme),                            "EFER.SVME is set now",                   ENABLING, ("CV-115",)),
    Fact("svm.firmware",               derived("MSR 0xc0010114", firmware_setting),              "SVM, as firmware left it",               VM_CR,    ("BI-012", "BI-013")),
    Fact("svm.vm_cr.svmdis",           msr(AmdMsr.VM_CR, VmCr.svmdis),                           "VM_CR.SVMDIS",                           VM_CR,    ("BI-012",)),
    Fact("svm.vm_cr.lock",             msr(AmdMsr.VM_CR, VmCr.lock),                             "VM_CR.LOCK",                             VM_CR,    ("BI-013",)),
    Fact("svm.log_off",                logged(r"SVM disabled \(by BIOS\)|support for 'kvm_amd' disabled by bios", "SVM disabled by BIOS"),
                                                                                                 "the kernel logged SVM as off in firmware", CPUINFO, ("BI-016",)),
    Fact("svm.revision",               cpuid(LEAF, "eax", Leaf8000000AEax.svm_revision),         "SVM revision",                           FEATURES, ("CV-117",)),
    Fact("svm.asids",                  cpuid(LEAF, "ebx", bits(31, 0)),                          "address-space identifiers",              FEATURES, ("CV-118",)),
    Fact("npt.cpuid",                  cpuid(LEAF, "edx", Leaf8000000AEdx.np),                   "nested paging",                          FEATURES, ("MV-026",)),
    Fact("svm.lbr_virt",               cpuid(LEAF, "edx", Leaf8000000AEdx.lbr_virt),             "LBR virtualization",                     FEATURES, ("CV-119",)),
    Fact("svm.svml",                   cpuid(LEAF, "edx", Leaf8000000AEdx.svml),                 "SVM lock",                               FEATURES, ("CV-120",)),
    Fact("svm.nrips",                  cpuid(LEAF, "edx", Leaf8000000AEdx.nrips),                "next RIP saved on #VMEXIT",              FEATURES, ("CV-121",)),
    Fact("svm.tsc_rate",               cpuid(LEAF, "edx", Leaf8000000AEdx.tsc_rate_msr),         "TSC scaling",                            FEATURES, ("CV-122",)),
    Fact("svm.vmcb_clean",             cpuid(LEAF, "edx", Leaf8000000AEdx.vmcb_clean),           "VMCB clean bits",                        FEATURES, ("CV-123",)),
    Fact("svm.flush_by_asid",          cpuid(LEAF, "edx", Leaf8000000AEdx.flush_by_asid),        "TLB flush by ASID",                      FEATURES, ("CV-124",)),
    Fact("svm.decode_assists",         cpuid(LEAF, "edx", Leaf8000000AEdx.decode_assists),       "decode assists",                         FEATURES, ("CV-125",)),
    Fact("svm.pause_filter",           cpuid(LEAF, "edx", Leaf8000000AEdx.pause_filter),         "PAUSE intercept filter",                 FEATURES, ("CV-127",)),
    Fact("svm.pause_filter_threshold", cpuid(LEAF, "edx", Leaf8000000AEdx.pause_filter_threshold), "PAUSE filter threshold",               FEATURES, ("CV-128",)),
    Fact("svm.avic",                   cpuid(LEAF, "edx", Leaf8000000AEdx.avic),                 "AVIC",                                   FEATURES, ("CV-129",)),
    Fact("svm.vmsave_virt",            cpuid(LEAF, "edx", Leaf8000000AEdx.vmsave_virt),          "virtualized VMSAVE and VMLOAD",          FEATURES, ("CV-130",)),
    Fact("svm.vgif",                   cpuid(LEAF, "edx", Leaf8000000AEdx.vgif),                 "virtual GIF",                            FEATURES, ("CV-131",)),
    Fact("npt.gmet",                   cpuid(LEAF, "edx", Leaf8000000AEdx.gmet),                 "guest mode execute trap",                FEATURES, ("MV-027",)),
    Fact("svm.x2avic",                 cpuid(LEAF, "edx", Leaf8000000AEdx.x2avic),               "x2AVIC",                                 FEATURES, ("CV-132",)),
    Fact("npt.sss_check",              cpuid(LEAF, "edx", Leaf8000000AEdx.sss_check),            "supervisor shadow stack check",          FEATURES, ("MV-028",)),
    Fact("svm.spec_ctrl",              cpuid(LEAF, "edx", Leaf8000000AEdx.spec_ctrl),            "virtual SPEC_CTRL",                      FEATURES, ("CV-133",)),
    Fact("npt.rogpt",                  cpuid(LEAF, "edx", Leaf8000000AEdx.rogpt),                "read-only guest page tables",            FEATURES, ("MV-029",)),
    Fact("svm.host_mce_override",      cpuid(LEAF, "edx", Leaf8000000AEdx.host_mce_override),    "host MCE override",                      FEATURES, ("CV-134",)),
    Fact("npt.tlbi_ctl",               cpuid(LEAF, "edx", Leaf8000000AEdx.tlbi_ctl),             "INVLPGB control",                        FEATURES, ("MV-030",)),
    Fact("svm.vnmi",                   cpuid(LEAF, "edx", Leaf8000000AEdx.vnmi),                 "virtual NMI",                            FEATURES, ("CV-135",)),
    Fact("svm.ibs_virt",               cpuid(LEAF, "edx", Leaf8000000AEdx.ibs_virt),             "IBS virtualization",                     FEATURES, ("CV-136",)),
    Fact("svm.nested_vmcb_addr_chk",   cpuid(LEAF, "edx", Leaf8000000AEdx.nested_vmcb_addr_chk), "VMCB address check",                     FEATURES, ("CV-138",)),
    Fact("svm.bus_lock_threshold",     cpuid(LEAF, "edx", Leaf8000000AEdx.bus_lock_threshold),   "bus lock threshold",                     FEATURES, ("CV-139",)),
    Fact("svm.idle_hlt_intercept",     cpuid(LEAF, "edx", Leaf8000000AEdx.idle_hlt_intercept),   "idle HLT intercept",                     FEATURES, ("CV-140",)),
)
# fmt: on
