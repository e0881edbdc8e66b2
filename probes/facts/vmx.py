"""VMX (Intel VT-x) and EPT: silicon, firmware's lock, and what Linux lists.

The capability MSRs are in vmx_capabilities.py and vmx_controls.py.
"""

from __future__ import annotations

from virtproof.probes.fact import Fact, Seen, Source, Unknown
from virtproof.probes.register import CpuidPlace, MsrPlace, Register, Row, facts
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, flag, logged
from virtproof.probes.source_registers import msr
from virtproof.spec.cite import linux, sdm
from virtproof.spec.x86.cpuid import Leaf1Ecx
from virtproof.spec.x86.msr import FeatureControl, Msr

FEATURE_CONTROL = Msr.IA32_FEATURE_CONTROL

CPUID = sdm("2A", "CPUID")
ENABLING = sdm("3C", "Enabling and Entering VMX Operation")
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
EXTENSION = Register(CpuidPlace(0x1, "ecx"), "feature information", CPUID, (
    #   id                                   field                           term                               ref
    Row("vmx.cpuid",                         Leaf1Ecx.vmx,                   "VMX: virtual machine extensions", "CV-001"),
    Row("vmx.smx",                           Leaf1Ecx.smx,                   "SMX: safer mode extensions",      "CV-002"),
), whole=False)

LOCK = Register(MsrPlace(FEATURE_CONTROL), "feature control", ENABLING, (
    Row("vmx.feature_control.lock",          FeatureControl.lock,            "lock bit",                        "BI-003"),
    Row("vmx.feature_control.inside_smx",    FeatureControl.vmx_in_smx,      "enable VMX inside SMX operation", "BI-004"),
    Row("vmx.feature_control.outside_smx",   FeatureControl.vmx_outside_smx, "enable VMX outside SMX operation", "BI-005"),
    Row("vmx.feature_control.senter_local",  FeatureControl.senter_local,    "SENTER local function enables"),
    Row("vmx.feature_control.senter_global", FeatureControl.senter_global,   "SENTER global enable"),
    Row("sgx.launch_writable",               FeatureControl.sgx_launch,      "SGX launch control enable",       "BI-006"),
    Row("sgx.firmware",                      FeatureControl.sgx,             "SGX global enable",               "BI-007"),
    Row("vmx.feature_control.lmce",          FeatureControl.lmce,            "LMCE on",                         "BI-008"),
))

REGISTERS = (EXTENSION, LOCK)

FACTS = (
    *facts(REGISTERS),
    #    id                                source                                                     meaning                                   cite      refs
    Fact("vmx.flag",                       flag("vmx"),                                               "Linux lists vmx",                        CPUINFO,  ("CV-003",)),
    Fact("vmx.firmware",                   derived("MSR 0x3a", firmware_setting),                     "VMX outside SMX, as firmware left it",   ENABLING, ("BI-003", "BI-005")),
    Fact("vmx.log_off",                    logged(r"VMX \(outside TXT\) disabled by BIOS|support for 'kvm_intel' disabled by bios|VMX not enabled \(by BIOS\)|kvm: disabled by bios",
                                                  "VMX disabled by BIOS"),                            "the kernel logged VMX as off in firmware", CPUINFO, ("BI-010",)),
    Fact("ept.linux",                      linux_lists("ept"),                                        "Linux lists ept",                        CPUINFO,  ("CV-004",)),
    Fact("vmx.linux.vpid",                 linux_lists("vpid"),                                       "Linux lists vpid",                       CPUINFO,  ("CV-004",)),
    Fact("vmx.linux.unrestricted_guest",   linux_lists("unrestricted_guest"),                         "Linux lists unrestricted_guest",         CPUINFO,  ("CV-004",)),
)
# fmt: on
