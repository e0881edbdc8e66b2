"""What else the VMX capability MSRs say: Intel SDM vol. 3D, appendix "VMX Capability Reporting Facility"."""

from virtproof.probes.register import MsrPlace, Register, Row, facts
from virtproof.spec.bits import bits
from virtproof.spec.cite import sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.msr_vmx import VmcsEnum, VmFunc, VmxBasic, VmxEptVpidCap, VmxMisc, VmxMsr

WHOLE = bits(63, 0)
CR0, CR4 = sdm("3D", "App. A 'VMX-Fixed Bits in CR0'"), sdm("3D", "App. A 'VMX-Fixed Bits in CR4'")

# fmt: off
BASIC = Register(MsrPlace(VmxMsr.IA32_VMX_BASIC, capabilities=True),
                 "basic VMX information", sdm("3D", "App. A 'Basic VMX Information'"), (
    #   id                              field                                     term                                                ref
    Row("vmx.revision",                 VmxBasic.revision,                        "VMCS revision identifier",                         "CV-005"),
    Row("vmx.region_size",              VmxBasic.region_size,                     "bytes of a VMXON or VMCS region",                  "CV-006"),
    Row("vmx.width_32",                 VmxBasic.width_32,                        "physical addresses limited to 32 bits",            "CV-007"),
    Row("vmx.dual_monitor",             VmxBasic.dual_monitor,                    "dual-monitor treatment of SMIs and SMM",           "CV-008"),
    Row("vmx.memory_type",              VmxBasic.memory_type,                     "memory type for VMCS access (0 UC, 6 WB)",         "CV-009"),
    Row("vmx.ins_outs_info",            VmxBasic.ins_outs_info,                   "exit information for INS and OUTS",                "CV-010"),
    Row("vmx.true_controls",            VmxBasic.true_controls,                   "default1 controls may be 0 (TRUE MSRs)",           "CV-011"),
    Row("vmx.no_error_code",            VmxBasic.no_error_code,                   "exceptions injected with or without error code",   "CV-012"),
    Row("vmx.nested_exception",         VmxBasic.nested_exception,                "nested-exception bit at event injection",          "CV-013"),
))

MISC = Register(MsrPlace(VmxMsr.IA32_VMX_MISC, capabilities=True),
                "miscellaneous data", sdm("3D", "App. A 'Miscellaneous Data'"), (
    Row("vmx.misc.preemption_timer_rate", VmxMisc.preemption_timer_rate,          "VMX-preemption timer: TSC bit that drives it",     "CV-096"),
    Row("vmx.misc.stores_lma",          VmxMisc.stores_lma,                       "VM exits store IA32_EFER.LMA",                     "CV-097"),
    Row("vmx.misc.activity_hlt",        VmxMisc.activity_hlt,                     "activity state HLT",                               "CV-098"),
    Row("vmx.misc.activity_shutdown",   VmxMisc.activity_shutdown,                "activity state shutdown",                          "CV-099"),
    Row("vmx.misc.activity_wait_sipi",  VmxMisc.activity_wait_sipi,               "activity state wait-for-SIPI",                     "CV-100"),
    Row("vmx.misc.pt_in_vmx",           VmxMisc.pt_in_vmx,                        "Intel PT in VMX operation",                        "CV-101"),
    Row("vmx.misc.rdmsr_smbase",        VmxMisc.rdmsr_smbase,                     "IA32_SMBASE readable in SMM"),
    Row("vmx.misc.cr3_targets",         VmxMisc.cr3_targets,                      "CR3-target values",                                "CV-102"),
    Row("vmx.misc.msr_list_units",      VmxMisc.msr_list_units,                   "MSR lists: (n + 1) * 512 entries recommended",     "CV-103"),
    Row("vmx.misc.smi_unblock",         VmxMisc.smi_unblock_on_vmxoff,            "SMIs can be blocked until VMXOFF"),
    Row("vmx.misc.vmwrite_all",         VmxMisc.vmwrite_all,                      "VMWRITE to VM-exit information fields",            "CV-104"),
    Row("vmx.misc.inject_length_0",     VmxMisc.inject_length_0,                  "injection with instruction length 0",              "CV-105"),
    Row("vmx.misc.mseg_revision",       VmxMisc.mseg_revision,                    "MSEG revision identifier"),
))

FIXED = (
    Register(MsrPlace(VmxMsr.IA32_VMX_CR0_FIXED0, capabilities=True), "bits of CR0 fixed to 1", CR0, (
        Row("vmx.cr0_fixed0",           WHOLE,                                    "CR0 bits that must be 1 in VMX operation",         "CV-106", Cr0),)),
    Register(MsrPlace(VmxMsr.IA32_VMX_CR0_FIXED1, capabilities=True), "bits of CR0 not fixed to 0", CR0, (
        Row("vmx.cr0_fixed1",           WHOLE,                                    "CR0 bits that may be 1 in VMX operation",          "CV-106", Cr0),)),
    Register(MsrPlace(VmxMsr.IA32_VMX_CR4_FIXED0, capabilities=True), "bits of CR4 fixed to 1", CR4, (
        Row("vmx.cr4_fixed0",           WHOLE,                                    "CR4 bits that must be 1 in VMX operation",         "CV-107", Cr4),)),
    Register(MsrPlace(VmxMsr.IA32_VMX_CR4_FIXED1, capabilities=True), "bits of CR4 not fixed to 0", CR4, (
        Row("vmx.cr4_fixed1",           WHOLE,                                    "CR4 bits that may be 1 in VMX operation",          "CV-107", Cr4),)),
)

ENUM = Register(MsrPlace(VmxMsr.IA32_VMX_VMCS_ENUM, capabilities=True),
                "VMCS enumeration", sdm("3D", "App. A 'VMCS Enumeration'"), (
    Row("vmx.vmcs_highest_index",       VmcsEnum.highest_index,                   "highest index of a VMCS field encoding",           "CV-108"),
))

EPT_VPID = Register(MsrPlace(VmxMsr.IA32_VMX_EPT_VPID_CAP, capabilities=True),
                    "VPID and EPT capabilities", sdm("3D", "App. A 'VPID and EPT Capabilities'"), (
    Row("ept.execute_only",             VmxEptVpidCap.execute_only,               "execute-only translations",                        "MV-007"),
    Row("ept.walk4",                    VmxEptVpidCap.walk4,                      "page-walk length 4",                               "MV-008"),
    Row("ept.walk5",                    VmxEptVpidCap.walk5,                      "page-walk length 5",                               "MV-009"),
    Row("ept.memory_uc",                VmxEptVpidCap.memory_uc,                  "paging structures uncacheable (UC)",               "MV-010"),
    Row("ept.memory_wb",                VmxEptVpidCap.memory_wb,                  "paging structures write-back (WB)",                "MV-011"),
    Row("ept.page2m",                   VmxEptVpidCap.page2m,                     "2-MByte pages",                                    "MV-012"),
    Row("ept.page1g",                   VmxEptVpidCap.page1g,                     "1-GByte pages",                                    "MV-013"),
    Row("ept.invept",                   VmxEptVpidCap.invept,                     "INVEPT",                                           "MV-014"),
    Row("ept.dirty",                    VmxEptVpidCap.dirty,                      "accessed and dirty flags for EPT",                 "MV-015"),
    Row("ept.advanced_exit_info",       VmxEptVpidCap.advanced_exit_info,         "advanced VM-exit information for EPT violations",  "MV-016"),
    Row("ept.supervisor_shadow_stack",  VmxEptVpidCap.supervisor_shadow_stack,    "supervisor shadow-stack control",                  "MV-017"),
    Row("ept.invept_single",            VmxEptVpidCap.invept_single,              "single-context INVEPT",                            "MV-018"),
    Row("ept.invept_all",               VmxEptVpidCap.invept_all,                 "all-context INVEPT",                               "MV-019"),
    Row("vpid.invvpid",                 VmxEptVpidCap.invvpid,                    "INVVPID",                                          "MV-020"),
    Row("vpid.invvpid_address",         VmxEptVpidCap.invvpid_address,            "individual-address INVVPID",                       "MV-021"),
    Row("vpid.invvpid_single",          VmxEptVpidCap.invvpid_single,             "single-context INVVPID",                           "MV-022"),
    Row("vpid.invvpid_all",             VmxEptVpidCap.invvpid_all,                "all-context INVVPID",                              "MV-023"),
    Row("vpid.invvpid_single_but_global", VmxEptVpidCap.invvpid_single_but_global, "single-context-retaining-globals INVVPID",        "MV-024"),
    Row("vmx.hlat_prefix",              VmxEptVpidCap.hlat_prefix,                "highest HLAT prefix size"),
))

VM_FUNC = Register(MsrPlace(VmxMsr.IA32_VMX_VMFUNC, capabilities=True),
                   "VM functions", sdm("3D", "App. A 'VM Functions'"), (
    Row("ept.eptp_switching",           VmFunc.eptp_switching,                    "EPTP switching",                                   "MV-025"),
))
# fmt: on

REGISTERS = (BASIC, MISC, *FIXED, ENUM, EPT_VPID, VM_FUNC)
FACTS = facts(REGISTERS)
