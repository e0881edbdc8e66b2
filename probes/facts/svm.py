"""SVM (AMD-V): silicon, firmware's lock, and what Linux lists.  The features are in svm_capabilities.py and sev.py."""

from __future__ import annotations

from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.register import CpuidPlace, MsrPlace, Register, Row, facts
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, flag, logged
from virtproof.probes.source_registers import msr
from virtproof.spec.bits import Field, bits
from virtproof.spec.cite import apm, linux
from virtproof.spec.x86.control import Efer
from virtproof.spec.x86.cpuid_extended import Leaf80000001Ecx
from virtproof.spec.x86.msr import Msr
from virtproof.spec.x86.msr_amd import AmdMsr, Hwcr, VmCr, VmHsavePa

FLAGS = apm(3, "App. E 'Feature Identifiers'")
ENABLING = apm(2, "Secure Virtual Machine, 'Enabling SVM'")
VM_CR = apm(2, "Secure Virtual Machine, 'VM_CR MSR'")
HSAVE = apm(2, "Secure Virtual Machine, 'VM_HSAVE_PA MSR'")
RATIO = apm(2, "Secure Virtual Machine, 'TSC Ratio MSR'")
HARDWARE = apm(2, "System Resources, 'Hardware Configuration Register (HWCR)'")
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


SOMEWHERE = Field(VmHsavePa.base.hi, VmHsavePa.base.lo, bool, "each CPU has an area of its own")

# fmt: off
EXTENSION = Register(CpuidPlace(0x8000_0001, "ecx"), "feature identifiers", FLAGS, (
    #   id                   field                    term                                                    ref
    Row("svm.cpuid",         Leaf80000001Ecx.svm,     "SVM: secure virtual machine",                          "CV-112"),
    Row("svm.skinit",        Leaf80000001Ecx.skinit,  "SKINIT: SKINIT and STGI",                              "CV-113"),
), whole=False)

EFER = Register(MsrPlace(Msr.IA32_EFER), "extended feature enables", ENABLING, (
    Row("svm.efer_svme",     Efer.svme,               "SVME: SVM is enabled now",                             "CV-115"),
), whole=False)

LOCK = Register(MsrPlace(AmdMsr.VM_CR), "SVM control", VM_CR, (
    Row("svm.vm_cr.dpd",     VmCr.dpd,                "DPD: external debug disabled",                         "BI-014"),
    Row("svm.vm_cr.r_init",  VmCr.r_init,             "R_INIT: INIT becomes #SX",                             "BI-014"),
    Row("svm.vm_cr.dis_a20m", VmCr.dis_a20m,          "DIS_A20M: no A20 masking",                             "BI-014"),
    Row("svm.vm_cr.lock",    VmCr.lock,               "LOCK: LOCK and SVMDIS are read-only",                  "BI-013"),
    Row("svm.vm_cr.svmdis",  VmCr.svmdis,             "SVMDIS: EFER.SVME cannot be set",                      "BI-012"),
))

STATE = (
    Register(MsrPlace(AmdMsr.VM_HSAVE_PA), "host state-save area", HSAVE, (
        Row("svm.host_save", VmHsavePa.base,          "page frame of the host state-save area, 0 for none"),)),
    Register(MsrPlace(AmdMsr.TSC_RATIO), "TSC ratio", RATIO, (
        Row("svm.tsc_ratio", bits(39, 0),             "TSC rate of guests, 32 bits of it fraction",           "CV-148"),)),
    Register(MsrPlace(AmdMsr.HWCR), "hardware configuration", HARDWARE, (
        Row("hwcr.smm_lock", Hwcr.smm_lock,           "SmmLock: SMM is locked",                               "SE-102"),), whole=False),
)

REGISTERS = (EXTENSION, EFER, LOCK, *STATE)

FACTS = (
    *facts(REGISTERS),
    #    id              source                                        meaning                                       cite     refs
    Fact("svm.flag",     flag("svm"),                                  "Linux lists svm",                            CPUINFO, ("CV-114",)),
    Fact("svm.host_save_set", msr(AmdMsr.VM_HSAVE_PA, SOMEWHERE),      "each CPU has a host state-save area",        HSAVE,   ("CV-116",)),
    Fact("svm.firmware", derived("MSR 0xc0010114", firmware_setting),  "SVM, as firmware left it",                   VM_CR,   ("BI-012", "BI-013")),
    Fact("svm.log_off",  logged(r"SVM disabled \(by BIOS\)|support for 'kvm_amd' disabled by bios", "SVM disabled by BIOS"),
                                                                       "the kernel logged SVM as off in firmware",   CPUINFO, ("BI-016",)),
)
# fmt: on
