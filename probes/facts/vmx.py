"""VMX (Intel VT-x) and EPT: silicon, firmware's lock, the capability MSRs, and what Linux lists."""

from __future__ import annotations

from virtproof.probes.fact import Fact, Seen, Source, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, flag, logged
from virtproof.probes.source_registers import control, cpuid, msr
from virtproof.spec.cite import linux, sdm
from virtproof.spec.x86.cpuid import Leaf1Ecx
from virtproof.spec.x86.msr import FeatureControl, Msr
from virtproof.spec.x86.msr_vmx import PinControls, PrimaryControls, SecondaryControls, VmxBasic, VmxEptVpidCap, VmxMsr

BASIC, PIN, PROC = VmxMsr.IA32_VMX_BASIC, VmxMsr.IA32_VMX_PINBASED_CTLS, VmxMsr.IA32_VMX_PROCBASED_CTLS
PROC2, CAP = VmxMsr.IA32_VMX_PROCBASED_CTLS2, VmxMsr.IA32_VMX_EPT_VPID_CAP
FEATURE_CONTROL = Msr.IA32_FEATURE_CONTROL

CPUID = sdm("2A", "CPUID")
ENABLING = sdm("3C", "Enabling and Entering VMX Operation")
A_BASIC = sdm("3D", "App. A 'Basic VMX Information'")
A_PIN = sdm("3D", "App. A 'Pin-Based VM-Execution Controls'")
A_PROC = sdm("3D", "App. A 'Primary Processor-Based VM-Execution Controls'")
A_PROC2 = sdm("3D", "App. A 'Secondary Processor-Based VM-Execution Controls'")
A_EPT = sdm("3D", "App. A 'VPID and EPT Capabilities'")
CPUINFO = linux("arch/x86/cpuinfo.rst", "x86 Feature Flags")


def firmware_setting(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """What IA32_FEATURE_CONTROL makes of VMX outside SMX.

    Linux locks the register itself where firmware left it open, so a running system hardly ever shows ``not locked``.
    """
    found = msr(FEATURE_CONTROL, FeatureControl.lock).read(snapshot)
    if isinstance(found, Unknown):
        return found
    return tuple(Seen(_setting(FeatureControl(int(one.raw, 16))), one.raw, one.cpus) for one in found)


def _setting(register: FeatureControl) -> str:
    if not register.lock:
        return "not locked"
    return "locked on" if register.vmx_outside_smx else "locked off"


def linux_lists(token: str) -> Source:
    """A VMX feature in /proc/cpuinfo.  Linux lists none of them where it has cleared vmx itself."""
    vmx, new, old = flag("vmx"), flag(token, "vmx flags"), flag(token)

    def read(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
        listed = vmx.read(snapshot)
        if isinstance(listed, Unknown) or not all(one.value for one in listed):
            return Unknown("Linux does not list vmx, and therefore none of its features")
        found = new.read(snapshot)
        return old.read(snapshot) if isinstance(found, Unknown) and token in IN_OLD_FLAGS else found

    return Source(new.where, read)


IN_OLD_FLAGS = frozenset({"ept", "vpid"})  # listed among the ordinary flags before Linux 5.6, and still

# fmt: off
FACTS = (
    #    id                                source                                                     meaning                                   cite      refs
    Fact("vmx.cpuid",                      cpuid(0x1, "ecx", Leaf1Ecx.vmx),                           "CPUID has VMX",                          CPUID,    ("CV-001",)),
    Fact("vmx.smx",                        cpuid(0x1, "ecx", Leaf1Ecx.smx),                           "CPUID has SMX (TXT)",                    CPUID,    ("CV-002",)),
    Fact("vmx.flag",                       flag("vmx"),                                               "Linux lists vmx",                        CPUINFO,  ("CV-003",)),
    Fact("vmx.firmware",                   derived("MSR 0x3a", firmware_setting),                     "VMX outside SMX, as firmware left it",   ENABLING, ("BI-003", "BI-005")),
    Fact("vmx.feature_control.lock",       msr(FEATURE_CONTROL, FeatureControl.lock),                 "IA32_FEATURE_CONTROL is locked",         ENABLING, ("BI-003",)),
    Fact("vmx.feature_control.inside_smx", msr(FEATURE_CONTROL, FeatureControl.vmx_in_smx),           "VMX inside SMX",                         ENABLING, ("BI-004",)),
    Fact("vmx.feature_control.outside_smx", msr(FEATURE_CONTROL, FeatureControl.vmx_outside_smx),     "VMX outside SMX",                        ENABLING, ("BI-005",)),
    Fact("vmx.log_off",                    logged(r"VMX \(outside TXT\) disabled by BIOS|support for 'kvm_intel' disabled by bios|VMX not enabled \(by BIOS\)|kvm: disabled by bios",
                                                  "VMX disabled by BIOS"),                            "the kernel logged VMX as off in firmware", CPUINFO, ("BI-010",)),
    Fact("vmx.revision",                   msr(BASIC, VmxBasic.revision),                             "VMCS revision identifier",               A_BASIC,  ("CV-005",)),
    Fact("vmx.region_size",                msr(BASIC, VmxBasic.region_size),                          "bytes of a VMCS region",                 A_BASIC,  ("CV-006",)),
    Fact("vmx.width_32",                   msr(BASIC, VmxBasic.width_32),                             "VMCS limited to 32-bit addresses",       A_BASIC,  ("CV-007",)),
    Fact("vmx.memory_type",                msr(BASIC, VmxBasic.memory_type),                          "memory type of a VMCS (6: write-back)",  A_BASIC,  ("CV-009",)),
    Fact("vmx.ins_outs_info",              msr(BASIC, VmxBasic.ins_outs_info),                        "exits of INS and OUTS carry details",    A_BASIC,  ("CV-010",)),
    Fact("vmx.true_controls",              msr(BASIC, VmxBasic.true_controls),                        "the TRUE capability MSRs exist",         A_BASIC,  ("CV-011",)),
    Fact("vmx.control.external_interrupt", control(PIN, PinControls.external_interrupt_exiting),      "external-interrupt exiting",             A_PIN,    ("CV-014",)),
    Fact("vmx.control.nmi",                control(PIN, PinControls.nmi_exiting),                     "NMI exiting",                            A_PIN,    ("CV-015",)),
    Fact("vmx.control.virtual_nmis",       control(PIN, PinControls.virtual_nmis),                    "virtual NMIs",                           A_PIN,    ("CV-016",)),
    Fact("vmx.control.preemption_timer",   control(PIN, PinControls.preemption_timer),                "VMX-preemption timer",                   A_PIN,    ("CV-017",)),
    Fact("vmx.control.posted_interrupts",  control(PIN, PinControls.posted_interrupts),               "posted interrupts",                      A_PIN,    ("CV-018",)),
    Fact("vmx.control.tpr_shadow",         control(PROC, PrimaryControls.tpr_shadow),                 "TPR shadow",                             A_PROC,   ("CV-031",)),
    Fact("vmx.control.monitor_trap_flag",  control(PROC, PrimaryControls.monitor_trap_flag),          "monitor trap flag",                      A_PROC,   ("CV-036",)),
    Fact("vmx.control.msr_bitmaps",        control(PROC, PrimaryControls.msr_bitmaps),                "MSR bitmaps",                            A_PROC,   ("CV-037",)),
    Fact("vmx.control.secondary",          control(PROC, PrimaryControls.secondary_controls),         "secondary controls",                     A_PROC,   ("CV-040",)),
    Fact("vmx.control.apic_accesses",      control(PROC2, SecondaryControls.virtualize_apic_accesses), "virtualize APIC accesses",              A_PROC2,  ("CV-041",)),
    Fact("ept.control",                    control(PROC2, SecondaryControls.enable_ept),              "EPT can be enabled",                     A_PROC2,  ("MV-001",)),
    Fact("ept.linux",                      linux_lists("ept"),                                        "Linux lists ept",                        CPUINFO,  ("CV-004",)),
    Fact("vmx.control.x2apic_mode",        control(PROC2, SecondaryControls.virtualize_x2apic_mode),  "virtualize x2APIC mode",                 A_PROC2,  ("CV-044",)),
    Fact("vmx.control.vpid",               control(PROC2, SecondaryControls.enable_vpid),             "VPID can be enabled",                    A_PROC2,  ("MV-002",)),
    Fact("vmx.linux.vpid",                 linux_lists("vpid"),                                       "Linux lists vpid",                       CPUINFO,  ("CV-004",)),
    Fact("vmx.control.unrestricted_guest", control(PROC2, SecondaryControls.unrestricted_guest),      "unrestricted guest can be enabled",      A_PROC2,  ("CV-046",)),
    Fact("vmx.linux.unrestricted_guest",   linux_lists("unrestricted_guest"),                         "Linux lists unrestricted_guest",         CPUINFO,  ("CV-004",)),
    Fact("vmx.control.apic_registers",     control(PROC2, SecondaryControls.apic_register_virtualization), "APIC-register virtualization",      A_PROC2,  ("CV-047",)),
    Fact("vmx.control.interrupt_delivery", control(PROC2, SecondaryControls.virtual_interrupt_delivery), "virtual-interrupt delivery",          A_PROC2,  ("CV-048",)),
    Fact("vmx.control.pause_loop",         control(PROC2, SecondaryControls.pause_loop_exiting),      "PAUSE-loop exiting",                     A_PROC2,  ("CV-049",)),
    Fact("vmx.control.invpcid",            control(PROC2, SecondaryControls.enable_invpcid),          "INVPCID in guests",                      A_PROC2,  ("CV-051",)),
    Fact("vmx.control.vmcs_shadowing",     control(PROC2, SecondaryControls.vmcs_shadowing),          "VMCS shadowing",                         A_PROC2,  ("CV-053",)),
    Fact("ept.pml",                        control(PROC2, SecondaryControls.enable_pml),              "page-modification logging",              A_PROC2,  ("MV-003",)),
    Fact("ept.violation_ve",               control(PROC2, SecondaryControls.ept_violation_ve),        "EPT-violation #VE",                      A_PROC2,  ("MV-004",)),
    Fact("ept.mode_based_execute",         control(PROC2, SecondaryControls.mode_based_ept_execute),  "mode-based execute control",             A_PROC2,  ("MV-005",)),
    Fact("vmx.control.tsc_scaling",        control(PROC2, SecondaryControls.tsc_scaling),             "TSC scaling",                            A_PROC2),
    Fact("ept.execute_only",               msr(CAP, VmxEptVpidCap.execute_only),                      "execute-only EPT entries",               A_EPT,    ("MV-007",)),
    Fact("ept.walk4",                      msr(CAP, VmxEptVpidCap.walk4),                             "4-level EPT walks",                      A_EPT,    ("MV-008",)),
    Fact("ept.walk5",                      msr(CAP, VmxEptVpidCap.walk5),                             "5-level EPT walks",                      A_EPT,    ("MV-009",)),
    Fact("ept.memory_uc",                  msr(CAP, VmxEptVpidCap.memory_uc),                         "uncacheable EPT structures",             A_EPT,    ("MV-010",)),
    Fact("ept.memory_wb",                  msr(CAP, VmxEptVpidCap.memory_wb),                         "write-back EPT structures",              A_EPT,    ("MV-011",)),
    Fact("ept.page2m",                     msr(CAP, VmxEptVpidCap.page2m),                            "2 MiB EPT leaves",                       A_EPT,    ("MV-012",)),
    Fact("ept.page1g",                     msr(CAP, VmxEptVpidCap.page1g),                            "1 GiB EPT leaves",                       A_EPT,    ("MV-013",)),
    Fact("ept.invept",                     msr(CAP, VmxEptVpidCap.invept),                            "INVEPT",                                 A_EPT,    ("MV-014",)),
    Fact("ept.dirty",                      msr(CAP, VmxEptVpidCap.dirty),                             "accessed and dirty flags in EPT",        A_EPT,    ("MV-015",)),
    Fact("ept.advanced_exit_info",         msr(CAP, VmxEptVpidCap.advanced_exit_info),                "advanced exit information",              A_EPT,    ("MV-016",)),
    Fact("ept.invept_single",              msr(CAP, VmxEptVpidCap.invept_single),                     "single-context INVEPT",                  A_EPT,    ("MV-018",)),
    Fact("ept.invept_all",                 msr(CAP, VmxEptVpidCap.invept_all),                        "all-context INVEPT",                     A_EPT,    ("MV-019",)),
    Fact("vpid.invvpid",                   msr(CAP, VmxEptVpidCap.invvpid),                           "INVVPID",                                A_EPT,    ("MV-020",)),
    Fact("vpid.invvpid_address",           msr(CAP, VmxEptVpidCap.invvpid_address),                   "individual-address INVVPID",             A_EPT,    ("MV-021",)),
    Fact("vpid.invvpid_single",            msr(CAP, VmxEptVpidCap.invvpid_single),                    "single-context INVVPID",                 A_EPT,    ("MV-022",)),
    Fact("vpid.invvpid_all",               msr(CAP, VmxEptVpidCap.invvpid_all),                       "all-context INVVPID",                    A_EPT,    ("MV-023",)),
    Fact("vpid.invvpid_single_but_global", msr(CAP, VmxEptVpidCap.invvpid_single_but_global),         "INVVPID that keeps global pages",        A_EPT,    ("MV-024",)),
)
# fmt: on
