"""VMX and SVM, and what they bring: nested paging, unrestricted guests, nested virtualization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from virtproof.probes.claims.access import backend_step, cleared, open_step
from virtproof.probes.claims.claim import ABSENT, NOT_ASKED, YES, Inquiry, Step, Steps
from virtproof.results import Layer

VMX, SVM = "VMX (Intel VT-x)", "SVM (AMD-V)"
MIN_ASIDS = 2  # ASID 0 is the host's


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


def with_vmx(what: str, parameter: str, *sources: str) -> Callable[[Inquiry], Steps]:
    """A part of VMX: the first of ``sources`` that is known says silicon, kvm_intel's ``parameter`` kernel."""

    def steps(inquiry: Inquiry) -> Steps:
        extension = vmx(inquiry)
        if not extension.applies or extension.silicon.layer is not Layer.YES:
            return extension
        silicon = inquiry.silicon(inquiry.first_known(*sources), what)
        return part(inquiry, extension, silicon, parameter, what)

    return steps


def with_svm(what: str, parameter: str, source: str) -> Callable[[Inquiry], Steps]:
    """A part of SVM: the fact ``source`` says silicon, kvm_amd's ``parameter`` kernel."""

    def steps(inquiry: Inquiry) -> Steps:
        extension = svm(inquiry)
        if not extension.applies or extension.silicon.layer is not Layer.YES:
            return extension
        return part(inquiry, extension, inquiry.silicon(source, what), parameter, what)

    return steps


def asid(inquiry: Inquiry) -> Steps:
    """Address-space identifiers have no switch: KVM uses what CPUID counts."""
    steps = svm(inquiry)
    if not steps.applies or steps.silicon.layer is not Layer.YES:
        return steps
    count = inquiry.value("svm.asids")
    if count is None:
        return replace(steps, silicon=inquiry.unread("svm.asids"))
    if isinstance(count, int) and count >= MIN_ASIDS:
        return steps
    return replace(steps, silicon=Step(Layer.NO, "not-in-silicon", {"what": "ASIDs for guests"}))


def nested(inquiry: Inquiry) -> Steps:
    """Guests of guests: needs the extension itself and the module's parameter."""
    steps, module = (svm(inquiry), "kvm_amd") if inquiry.amd else (vmx(inquiry), "kvm_intel")
    return part(inquiry, steps, steps.silicon, f"{module}.nested", "nested virtualization")


def part(inquiry: Inquiry, extension: Steps, silicon: Step, parameter: str, what: str) -> Steps:
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
            detail = f"{module}.{name}{_set_by(inquiry, module, name)}"
            kernel = Step(
                Layer.NO, cause, {"what": what, "module": module, "parameter": f"{module}.{name}", "detail": detail}
            )
        case _:
            kernel = inquiry.unread(parameter)
    return Steps(silicon, extension.firmware, kernel)


def _set_by(inquiry: Inquiry, module: str, name: str) -> str:
    """Where a module parameter is given, as far as the configuration of modprobe and the command line say."""
    for rule in str(inquiry.answers.value("modprobe.kvm") or "").splitlines():
        verb, whose, *settings = rule.split()
        if (
            verb == "options"
            and whose.replace("-", "_") == module
            and any(one.startswith(f"{name}=") for one in settings)
        ):
            inquiry.look("modprobe.kvm")
            return f", by {rule}"
    for word in str(inquiry.answers.value("kernel.parameters") or "").split():
        if word.replace("-", "_").startswith(f"{module}.{name}="):
            return f", by {word} on the kernel command line"
    return ""


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
        # Linux with KVM that finds the register open turns VMX on when it locks it, since 5.6 (feat_ctl.c), and only
        # such a kernel logs that firmware disabled VMX.  Other kernels lock it without VMX themselves.
        if pending := _pending(inquiry, VMX, off[0].raw):
            return pending
        who = "before this kernel started" if inquiry.yes("vmx.log_off") else "by whom cannot be told"
        detail = f"{off[0].raw} on CPUs {off[0].cpus}"
        return Step(Layer.NO, "firmware-off-vmx", {"detail": detail, "who": who, "setting": "vmx"})
    if inquiry.value("vmx.firmware") is not None or inquiry.differ("vmx.firmware"):
        return YES
    # The MSR could not be read.  Linux reads it at boot, reports a lock and, since 5.6, clears the flag (feat_ctl.c).
    return _reported(inquiry, "vmx", VMX, clears_since=(5, 6))


def _svm_firmware(inquiry: Inquiry) -> Step:
    off = [one for one in inquiry.answers["svm.firmware"].seen if str(one.value).startswith("off")]
    if off:
        inquiry.look("svm.firmware")
        if pending := _pending(inquiry, SVM, off[0].raw):
            return pending
        lock = "locked" if off[0].value == "off, locked" else "not locked"
        detail = f" ({lock}; VM_CR = {off[0].raw} on CPUs {off[0].cpus})"
        return Step(Layer.NO, "firmware-off-svm", {"detail": detail, "setting": "svm"})
    if inquiry.value("svm.firmware") is not None:
        return YES
    # The MSR could not be read.  Since 6.7 Linux clears the flag where SVMDIS is set (amd.c), and says so in its log.
    return _reported(inquiry, "svm", SVM, clears_since=(6, 7))


def _pending(inquiry: Inquiry, what: str, register: str) -> Step | None:
    """The register says off: what if the setup says on?"""
    layer, shown = inquiry.setting("virtualization")
    if layer is not Layer.YES:
        return None
    detail = f"{shown}, the register still says {register}"
    return Step(Layer.NO, "firmware-change-pending", {"what": what, "detail": detail})


def _reported(inquiry: Inquiry, name: str, what: str, clears_since: tuple[int, int]) -> Step:
    """The firmware's setting, as far as the kernel gives it away."""
    if inquiry.yes(f"{name}.log_off"):
        line = inquiry.answers[f"{name}.log_off"].seen[0].raw
        return Step(Layer.NO, "firmware-off-reported", {"what": what, "detail": line, "setting": name})
    layer, shown = inquiry.setting("virtualization")
    if layer is Layer.NO:
        return Step(Layer.NO, "firmware-off-setting", {"what": what, "detail": shown, "setting": name})
    clears = inquiry.kernel_at_least(*clears_since)
    if inquiry.yes(f"{name}.flag") and clears:
        return YES
    if not inquiry.no(f"{name}.flag") or not clears or inquiry.virtual:
        return inquiry.unread(f"{name}.firmware")
    if cleared(inquiry, name) or inquiry.yes("xen.control_domain"):  # both hide the flag
        return inquiry.unread(f"{name}.firmware")
    detail = f"CPUID has it, the flag {name} is missing from /proc/cpuinfo"
    return Step(Layer.NO, "firmware-off-reported", {"what": what, "detail": detail, "setting": name})


# fmt: off
ept                = with_vmx("EPT (extended page tables)", "kvm_intel.ept", "ept.control", "ept.linux", "vmx.generation.ept")
unrestricted_guest = with_vmx("unrestricted guest", "kvm_intel.unrestricted_guest", "vmx.control.unrestricted_guest", "vmx.linux.unrestricted_guest", "vmx.generation.unrestricted_guest")
vpid               = with_vmx("VPID", "kvm_intel.vpid", "vmx.control.vpid", "vmx.linux.vpid", "vmx.generation.ept")
pml                = with_vmx("page-modification logging", "kvm_intel.pml", "ept.pml")
npt                = with_svm("NPT (nested page tables)", "kvm_amd.npt", "npt.cpuid")
# fmt: on
