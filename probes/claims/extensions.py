"""VMX and SVM, and what they bring: nested paging, unrestricted guests, nested virtualization."""

from __future__ import annotations

from dataclasses import replace

from virtproof.probes.claims.access import backend_step, open_step
from virtproof.probes.claims.claim import ABSENT, NOT_ASKED, YES, Inquiry, Step, Steps
from virtproof.results import Layer

VMX, SVM = "VMX (Intel VT-x)", "SVM (AMD-V)"


def vmx(inquiry: Inquiry) -> Steps:
    """VMX: CPUID says silicon, IA32_FEATURE_CONTROL firmware, kvm_intel kernel, an empty VM functional."""
    if inquiry.amd:
        return ABSENT
    silicon = inquiry.silicon("vmx.cpuid", VMX)
    firmware = _vmx_firmware(inquiry) if silicon.layer is Layer.YES else NOT_ASKED
    return _extension(inquiry, silicon, firmware, "kvm_intel")


def svm(inquiry: Inquiry) -> Steps:
    """SVM: CPUID says silicon, VM_CR firmware, kvm_amd kernel, an empty VM functional."""
    if inquiry.vendor and not inquiry.amd:
        return ABSENT
    silicon = inquiry.silicon("svm.cpuid", SVM)
    firmware = _svm_firmware(inquiry) if silicon.layer is Layer.YES else NOT_ASKED
    return _extension(inquiry, silicon, firmware, "kvm_amd")


def ept(inquiry: Inquiry) -> Steps:
    return _with_vmx(inquiry, ("ept.control", "ept.linux"), "kvm_intel.ept", "EPT (extended page tables)")


def unrestricted_guest(inquiry: Inquiry) -> Steps:
    sources = ("vmx.control.unrestricted_guest", "vmx.linux.unrestricted_guest")
    return _with_vmx(inquiry, sources, "kvm_intel.unrestricted_guest", "unrestricted guest")


def vpid(inquiry: Inquiry) -> Steps:
    return _with_vmx(inquiry, ("vmx.control.vpid", "vmx.linux.vpid"), "kvm_intel.vpid", "VPID")


def npt(inquiry: Inquiry) -> Steps:
    steps = svm(inquiry)
    if not steps.applies or steps.silicon.layer is not Layer.YES:
        return steps
    silicon = inquiry.silicon("npt.cpuid", "NPT (nested page tables)")
    return _feature(inquiry, steps, silicon, "kvm_amd.npt", "NPT (nested page tables)")


def nested(inquiry: Inquiry) -> Steps:
    """Guests of guests: needs the extension itself and the module's parameter."""
    steps, module = (svm(inquiry), "kvm_amd") if inquiry.amd else (vmx(inquiry), "kvm_intel")
    return _feature(inquiry, steps, steps.silicon, f"{module}.nested", "nested virtualization")


def _extension(inquiry: Inquiry, silicon: Step, firmware: Step, module: str) -> Steps:
    kernel = backend_step(inquiry, module)
    functional = open_step(inquiry) if kernel.layer is Layer.YES else NOT_ASKED
    if functional.cause == "kvm-no-permission":  # says something about the user, nothing about the processor
        functional = replace(functional, layer=Layer.UNKNOWN)
    if kernel.layer is Layer.YES and functional.layer is Layer.YES and firmware.layer is Layer.UNKNOWN:
        firmware = YES  # KVM could not have turned the extension on otherwise
    if silicon.layer is Layer.UNKNOWN and not silicon.definite and functional.layer is Layer.YES:
        silicon = YES
    return Steps(silicon, firmware, kernel, functional)


def _vmx_firmware(inquiry: Inquiry) -> Step:
    off = [one for one in inquiry.answers["vmx.firmware"].seen if one.value == "locked off"]
    if off:
        inquiry.look("vmx.firmware")
        return Step(Layer.NO, "firmware-off-vmx", {"detail": f"{off[0].raw} on CPUs {off[0].cpus}"})
    if inquiry.value("vmx.firmware") is not None or inquiry.differ("vmx.firmware"):
        return YES
    # The MSR could not be read.  Linux reads it at boot, reports a lock and, since 5.6, clears the flag (feat_ctl.c).
    return _reported(inquiry, "vmx", VMX, clears_since=(5, 6))


def _svm_firmware(inquiry: Inquiry) -> Step:
    off = [one for one in inquiry.answers["svm.firmware"].seen if str(one.value).startswith("off")]
    if off:
        inquiry.look("svm.firmware")
        lock = "locked" if off[0].value == "off, locked" else "not locked"
        return Step(Layer.NO, "firmware-off-svm", {"detail": f" ({lock}; VM_CR = {off[0].raw} on CPUs {off[0].cpus})"})
    if inquiry.value("svm.firmware") is not None:
        return YES
    # The MSR could not be read.  Since 6.7 Linux clears the flag where SVMDIS is set (amd.c), and says so in its log.
    return _reported(inquiry, "svm", SVM, clears_since=(6, 7))


def _reported(inquiry: Inquiry, name: str, what: str, clears_since: tuple[int, int]) -> Step:
    """The firmware's setting, as far as the kernel gives it away."""
    if inquiry.yes(f"{name}.log_off"):
        return Step(
            Layer.NO, "firmware-off-reported", {"what": what, "detail": inquiry.answers[f"{name}.log_off"].seen[0].raw}
        )
    clears = inquiry.kernel_at_least(*clears_since)
    if inquiry.yes(f"{name}.flag") and clears:
        return YES
    unread = Step(Layer.UNKNOWN, "could-not-read", {"detail": inquiry.reason(f"{name}.firmware")})
    if not inquiry.no(f"{name}.flag") or not clears or inquiry.virtual:
        return unread
    if "clearcpuid" in str(inquiry.answers.value("kernel.parameters") or ""):
        return Step(Layer.UNKNOWN, "kernel-cleared-flag", {"what": what})
    detail = f"CPUID has it, the flag {name} is missing from /proc/cpuinfo"
    return Step(Layer.NO, "firmware-off-reported", {"what": what, "detail": detail})


def _with_vmx(inquiry: Inquiry, sources: tuple[str, ...], parameter: str, what: str) -> Steps:
    steps = vmx(inquiry)
    if not steps.applies or steps.silicon.layer is not Layer.YES:
        return steps
    silicon = inquiry.silicon(inquiry.first_known(*sources), what)
    return _feature(inquiry, steps, silicon, parameter, what)


def _feature(inquiry: Inquiry, extension: Steps, silicon: Step, parameter: str, what: str) -> Steps:
    """A part of VMX or SVM that has a module parameter: the module reads back what it really uses."""
    if extension.kernel.layer is not Layer.YES or not extension.applies:
        return Steps(silicon, extension.firmware, extension.kernel)
    match inquiry.look(parameter):
        case Layer.YES:
            if silicon.layer is Layer.UNKNOWN and not silicon.definite:
                silicon = YES  # KVM clears the parameter where the processor lacks the feature
            kernel = YES
        case Layer.NO:
            cause = "module-parameter" if silicon.layer is Layer.YES else None
            module, _, name = parameter.partition(".")
            kernel = Step(Layer.NO, cause, {"what": what, "module": module, "detail": f"{module}.{name}"})
        case _:
            kernel = Step(Layer.UNKNOWN, "could-not-read", {"detail": inquiry.reason(parameter)})
    return Steps(silicon, extension.firmware, kernel)
