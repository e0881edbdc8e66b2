"""Confidential guests.  Firmware decides most: it turns memory encryption on, shares out ASIDs and keys, and sets
memory aside.
"""

from __future__ import annotations

from dataclasses import replace

from virtproof.probes.claims.claim import ABSENT, NOT_ASKED, SVM_VENDORS, YES, Inquiry, Step, Steps
from virtproof.probes.claims.extensions import part, svm, vmx
from virtproof.probes.claims.interrupts import too_old
from virtproof.results import Layer

# A parameter that a loaded module does not have: the kernel is older than this, or built without the option.
SEV_SINCE, SEV_ES_SINCE, SNP_SINCE, TDX_SINCE = (4, 16), (5, 11), (6, 11), (6, 16)


def sev(inquiry: Inquiry) -> Steps:
    return _sev(inquiry, "sev.cpuid", "SEV", "kvm_amd.sev", SEV_SINCE)


def sev_es(inquiry: Inquiry) -> Steps:
    steps = _sev(inquiry, "sev.es", "SEV-ES", "kvm_amd.sev_es", SEV_ES_SINCE)
    if steps.firmware is YES and inquiry.value("sev.min_asid") == 1:
        firmware = Step(Layer.NO, "firmware-no-sev-es-asids", {"detail": "1", "setting": "sev_es"})
        return replace(steps, firmware=firmware)
    return steps


def sev_snp(inquiry: Inquiry) -> Steps:
    steps = _sev(inquiry, "sev.snp", "SEV-SNP", "kvm_amd.sev_snp", SNP_SINCE)
    if steps.firmware is not YES:
        return steps
    for fact, missing in (("snp.rmp_reserved", inquiry.no), ("snp.log_no_rmp", inquiry.yes)):
        if missing(fact):
            detail = inquiry.answers[fact].seen[0].raw
            firmware = Step(Layer.NO, "firmware-no-rmp", {"detail": detail, "setting": "snp"})
            return replace(steps, firmware=firmware)
    return steps


def _sev(inquiry: Inquiry, source: str, what: str, parameter: str, since: tuple[int, int]) -> Steps:
    if inquiry.vendor not in SVM_VENDORS:
        return ABSENT
    extension = svm(inquiry)
    if extension.silicon.layer is not Layer.YES:
        return extension
    silicon = inquiry.silicon(source, what)
    steps = part(inquiry, extension, silicon, parameter, what)
    if extension.firmware.definite or silicon.layer is not Layer.YES:
        return steps
    match inquiry.look("sme.firmware"):
        case Layer.YES:
            firmware = YES
        case Layer.NO:
            raw = inquiry.answers["sme.firmware"].seen[0].raw
            firmware = Step(Layer.NO, "firmware-off-memory-encryption", {"detail": f"SYSCFG = {raw}", "setting": "sme"})
        case _:
            firmware = YES if steps.kernel is YES else inquiry.unread("sme.firmware")
    return replace(steps, firmware=firmware, kernel=_built(inquiry, steps.kernel, parameter, what, since))


def tdx(inquiry: Inquiry) -> Steps:
    """TDX shows in no CPUID flag of a host: firmware's share of the memory keys shows that processor and firmware do."""
    if inquiry.vendor != "GenuineIntel":
        return ABSENT
    extension = vmx(inquiry)
    if extension.silicon.layer is not Layer.YES:
        return extension
    silicon, firmware = NOT_ASKED, inquiry.unread("tdx.keys")
    if inquiry.yes("tdx.log_bios") or inquiry.yes("tdx.keys"):
        silicon = firmware = YES
    elif not inquiry.yes("tme.cpuid"):
        silicon = inquiry.silicon("tme.cpuid", "TDX (total memory encryption)")
    elif inquiry.no("tdx.keys"):
        raw = inquiry.answers["tdx.keys"].seen[0].raw
        firmware = Step(Layer.NO, "firmware-off-tdx", {"detail": f"MSR 0x87 = {raw}"})
    elif "RDMSR raises #GP" in inquiry.reason("tdx.keys"):
        firmware = Step(Layer.NO, "firmware-off-tdx", {"detail": "MSR 0x87 is not there, so TME-MT is off"})
    steps = part(inquiry, extension, silicon, "kvm_intel.tdx", "TDX")
    return Steps(silicon, firmware, _built(inquiry, steps.kernel, "kvm_intel.tdx", "TDX", TDX_SINCE))


OPTIONS = {"kvm_amd": "CONFIG_KVM_AMD_SEV", "kvm_intel": "CONFIG_KVM_INTEL_TDX"}


def _built(inquiry: Inquiry, kernel: Step, parameter: str, what: str, since: tuple[int, int]) -> Step:
    """A parameter that is missing from a module whose other parameters were read is an answer."""
    module = parameter.partition(".")[0]
    other = "kvm_amd.npt" if module == "kvm_amd" else "kvm_intel.ept"
    if kernel.layer is not Layer.UNKNOWN or inquiry.answers.value(other) is None:
        return kernel
    if inquiry.release and not inquiry.kernel_at_least(*since):
        return too_old(inquiry, what, since)
    detail, advice = f"{module} has no parameter for it", f"Use a kernel with {OPTIONS[module]}."
    return Step(Layer.NO, "kernel-not-using-it", {"what": what, "detail": detail, "advice": advice})
