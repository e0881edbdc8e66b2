"""What /dev/kvm answers: its version, its capabilities by name, what it offers to guests."""

from __future__ import annotations

from virtproof.probes.fact import Fact
from virtproof.probes.source_kvm import capability, feature_msrs, kvm, offered, vm_type
from virtproof.spec.cite import linux
from virtproof.spec.kvm import Cap, VmType
from virtproof.spec.x86.cpuid import Leaf1Ecx, Leaf7Ebx, Leaf7Ecx
from virtproof.spec.x86.cpuid_extended import Leaf8000000AEdx, Leaf80000001Ecx, Leaf80000001Edx
from virtproof.spec.x86.msr_vmx import VmxMsr

VERSION = linux("virt/kvm/api.rst", "KVM_GET_API_VERSION")
CREATE_VM = linux("virt/kvm/api.rst", "KVM_CREATE_VM")
EXTENSION = linux("virt/kvm/api.rst", "KVM_CHECK_EXTENSION")
OFFER = linux("virt/kvm/api.rst", "KVM_GET_SUPPORTED_CPUID")
FEATURE_MSRS = linux("virt/kvm/api.rst", "KVM_GET_MSR_INDEX_LIST, KVM_GET_MSR_FEATURE_INDEX_LIST")

# fmt: off
ANSWERS = (
    #    id                      source                                                    meaning                                          cite       refs
    Fact("kvm.api_version",      kvm("api_version"),                                       "KVM API version",                               VERSION,   ("KE-003",)),
    Fact("kvm.create_vm",        kvm("create_vm"),                                         "creating an empty VM",                          CREATE_VM, ("KE-004",)),
    Fact("kvm.feature_msrs.vmx", feature_msrs(VmxMsr.IA32_VMX_BASIC, VmxMsr.IA32_VMX_VMFUNC), "VMX capability MSRs that KVM shows, of 18",  FEATURE_MSRS, ("CV-111",)),
    Fact("kvm.vm_type.sw_protected", vm_type(VmType.SW_PROTECTED),                             "KVM_CREATE_VM takes KVM_X86_SW_PROTECTED_VM",   CREATE_VM, ("KE-088",)),
    Fact("kvm.vm_type.sev",      vm_type(VmType.SEV),                                          "KVM_CREATE_VM takes KVM_X86_SEV_VM",            CREATE_VM, ("KE-088",)),
    Fact("kvm.vm_type.sev_es",   vm_type(VmType.SEV_ES),                                       "KVM_CREATE_VM takes KVM_X86_SEV_ES_VM",         CREATE_VM, ("KE-088",)),
    Fact("kvm.vm_type.snp",      vm_type(VmType.SNP),                                          "KVM_CREATE_VM takes KVM_X86_SNP_VM",            CREATE_VM, ("KE-088",)),
    Fact("kvm.vm_type.tdx",      vm_type(VmType.TDX),                                          "KVM_CREATE_VM takes KVM_X86_TDX_VM",            CREATE_VM, ("SE-045", "KE-088")),
)

OFFERS = (
    #    id                      source                                                    meaning                                          cite       refs
    Fact("kvm.offers.vmx",       offered(0x1, "ecx", Leaf1Ecx.vmx),                        "KVM offers VMX to guests",                      OFFER,     ("KE-089",)),
    Fact("kvm.offers.svm",       offered(0x8000_0001, "ecx", Leaf80000001Ecx.svm),         "KVM offers SVM to guests",                      OFFER,     ("KE-089",)),
    Fact("kvm.offers.npt",       offered(0x8000_000A, "edx", Leaf8000000AEdx.np),          "KVM offers nested paging to guests",            OFFER,     ("KE-089",)),
    Fact("kvm.offers.nx",        offered(0x8000_0001, "edx", Leaf80000001Edx.nx),          "KVM offers NX to guests",                       OFFER,     ("KE-089",)),
    Fact("kvm.offers.page1g",    offered(0x8000_0001, "edx", Leaf80000001Edx.page1gb),     "KVM offers 1 GiB pages to guests",              OFFER),
    Fact("kvm.offers.smep",      offered(0x7, "ebx", Leaf7Ebx.smep),                       "KVM offers SMEP to guests",                     OFFER),
    Fact("kvm.offers.smap",      offered(0x7, "ebx", Leaf7Ebx.smap),                       "KVM offers SMAP to guests",                     OFFER),
    Fact("kvm.offers.umip",      offered(0x7, "ecx", Leaf7Ecx.umip),                       "KVM offers UMIP to guests",                     OFFER),
    Fact("kvm.offers.la57",      offered(0x7, "ecx", Leaf7Ecx.la57),                       "KVM offers 5-level paging to guests",           OFFER),
    Fact("kvm.offers.x2apic",    offered(0x1, "ecx", Leaf1Ecx.x2apic),                     "KVM offers x2APIC to guests",                   OFFER),
    Fact("kvm.offers.pcid",      offered(0x1, "ecx", Leaf1Ecx.pcid),                       "KVM offers PCIDs to guests",                    OFFER),
    Fact("kvm.offers.invpcid",   offered(0x7, "ebx", Leaf7Ebx.invpcid),                    "KVM offers INVPCID to guests",                  OFFER),
    Fact("kvm.offers.pku",       offered(0x7, "ecx", Leaf7Ecx.pku),                        "KVM offers protection keys to guests",          OFFER),
    Fact("kvm.offers.xsave",     offered(0x1, "ecx", Leaf1Ecx.xsave),                      "KVM offers XSAVE to guests",                    OFFER),
)

CAPABILITIES = tuple(
    Fact(f"kvm.cap.{cap.name.lower()}", capability(cap), f"KVM_CAP_{cap.name}: {meaning}", EXTENSION, (ref,))
    for cap, meaning, ref in (
        (Cap.IRQCHIP,                  "interrupt controllers in the kernel",                         "KE-049"),
        (Cap.HLT,                      "HLT exits to the monitor",                                    "KE-050"),
        (Cap.USER_MEMORY,              "guest memory out of the monitor's",                           "KE-051"),
        (Cap.SET_TSS_ADDR,             "three pages of a TSS, for real mode on VMX",                  "KE-052"),
        (Cap.EXT_CPUID,                "CPUID tables with subleaves",                                 "KE-053"),
        (Cap.NR_VCPUS,                 "vCPUs of a VM, recommended",                                  "KE-054"),
        (Cap.NR_MEMSLOTS,              "memory slots of a VM",                                        "KE-055"),
        (Cap.PIT2,                     "interval timer in the kernel",                                "KE-056"),
        (Cap.IRQFD,                    "eventfds that interrupt",                                     "KE-057"),
        (Cap.IOEVENTFD,                "eventfds that a write signals",                               "KE-058"),
        (Cap.SET_IDENTITY_MAP_ADDR,    "identity map page, for unpaged mode on VMX",                  "KE-059"),
        (Cap.VCPU_EVENTS,              "pending events can be saved",                                 "KE-060"),
        (Cap.XSAVE,                    "extended state can be saved",                                 "KE-061"),
        (Cap.XCRS,                     "extended control registers can be saved",                     "KE-062"),
        (Cap.TSC_CONTROL,              "guests may have a TSC rate of their own",                     "KE-063"),
        (Cap.GET_TSC_KHZ,              "the TSC rate can be asked",                                   "KE-064"),
        (Cap.MAX_VCPUS,                "vCPUs of a VM, at most",                                      "KE-065"),
        (Cap.TSC_DEADLINE_TIMER,       "TSC deadline timer",                                          "KE-066"),
        (Cap.READONLY_MEM,             "read-only memory slots",                                      "KE-067"),
        (Cap.SPLIT_IRQCHIP,            "local APICs in the kernel, the rest in the monitor",          "KE-068"),
        (Cap.X86_SMM,                  "system management mode",                                      "KE-069"),
        (Cap.X2APIC_API,               "32-bit APIC ids",                                             "KE-070"),
        (Cap.IMMEDIATE_EXIT,           "a vCPU can be kicked without a race",                         "KE-071"),
        (Cap.X86_DISABLE_EXITS,        "exits that can be turned off: 1 MWAIT, 2 HLT, 4 PAUSE, 8 C-state", "KE-072"),
        (Cap.GET_MSR_FEATURES,         "feature MSRs can be read",                                    "KE-073"),
        (Cap.NESTED_STATE,             "bytes of a nested guest's state, 0 where nesting is off",     "KE-074"),
        (Cap.MANUAL_DIRTY_LOG_PROTECT2, "dirty logs cleared apart",                                   "KE-075"),
        (Cap.PMU_EVENT_FILTER,         "performance events can be filtered",                          "KE-076"),
        (Cap.X86_USER_SPACE_MSR,       "MSR accesses exit to the monitor",                            "KE-077"),
        (Cap.X86_MSR_FILTER,           "MSRs can be denied to guests",                                "KE-078"),
        (Cap.DIRTY_LOG_RING,           "bytes of a dirty ring, at most",                              "KE-079"),
        (Cap.X86_BUS_LOCK_EXIT,        "bus locks of guests: 1 ignore, 2 exit",                       "KE-080"),
        (Cap.SREGS2,                   "PDPTEs can be saved",                                         "KE-081"),
        (Cap.BINARY_STATS_FD,          "statistics by descriptor",                                    "KE-082"),
        (Cap.XSAVE2,                   "bytes of the extended state, at least 4096",                  "KE-083"),
        (Cap.X86_NOTIFY_VMEXIT,        "guests that block events exit",                               "KE-084"),
        (Cap.VM_GPA_BITS,              "guest physical address width, 0 where KVM does not say",      "KE-085"),
        (Cap.MEMORY_ATTRIBUTES,        "memory attributes, 8: private",                               "KE-086"),
        (Cap.GUEST_MEMFD,              "guest memory that the monitor cannot map",                    "KE-087"),
        (Cap.VM_TYPES,                 "kinds of VMs, as a bit map",                                  "KE-088"),
        (Cap.PRE_FAULT_MEMORY,         "memory can be mapped ahead; two-dimensional paging only",     "KE-007"),
    )
)
# fmt: on

FACTS = (*ANSWERS, *OFFERS, *CAPABILITIES)
