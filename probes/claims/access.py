"""Is /dev/kvm usable, and which module is behind it."""

from __future__ import annotations

from virtproof.probes.claims.claim import NOT_APPLICABLE, VMX_VENDORS, YES, Inquiry, Step, Steps
from virtproof.results import Layer

KVM_API_VERSION = 12
KVM_AMD_NEEDS_NX = (5, 14)  # arch/x86/kvm/svm/svm.c, svm_hardware_setup()
FLAG_NUMBERS = {"vmx": str(4 * 32 + 5), "svm": str(6 * 32 + 2)}  # word and bit in Linux's cpufeatures.h
BLACKLISTS = ("module_blacklist", "modprobe.blacklist")  # the kernel's own, and that of kmod


def hardware_module(inquiry: Inquiry) -> str:
    """The kernel module that would drive this vendor's virtualization."""
    if inquiry.vendor in VMX_VENDORS:
        return "kvm_intel"
    return "kvm_amd" if inquiry.amd else "kvm_intel or kvm_amd"


def backend_step(inquiry: Inquiry, module: str) -> Step:
    """The kernel layer of VMX or SVM: does this module drive KVM?"""
    backend = inquiry.value("kvm.backend")
    if backend == module:
        return YES
    if inquiry.yes("kvm.software"):
        return Step(Layer.NO, "software-backend", {"module": str(backend)})
    if inquiry.yes("xen.control_domain"):
        detail = " (this system is the control domain of Xen, which runs below it)"
        return Step(Layer.NO, "other-hypervisor", {"detail": detail})
    if inquiry.no(f"{module}.loaded"):
        return _not_loaded(inquiry, module)
    if inquiry.yes(f"{module}.loaded") and inquiry.no("kvm.node"):
        if inquiry.yes(f"{module}.log_refused"):
            return _refused(inquiry, module)
        detail = f", although {module} is there: it refused to start"
        return Step(Layer.NO, "kvm-device-missing", {"module": module, "detail": detail})
    return inquiry.unread(f"{module}.loaded")


def _not_loaded(inquiry: Inquiry, module: str) -> Step:
    """Why a module is not there: forbidden, tried in vain, or never tried."""
    for word in str(inquiry.answers.value("kernel.parameters") or "").split():
        name, _, names = word.partition("=")
        if name in BLACKLISTS and {"kvm", module} & set(names.replace("-", "_").split(",")):
            return Step(Layer.NO, "kernel-module-blacklisted", {"module": module, "detail": word})
    for rule in str(inquiry.answers.value("modprobe.kvm") or "").splitlines():
        verb, name, *_ = rule.replace("-", "_").split()
        if verb in {"blacklist", "install"} and name in {"kvm", module}:
            inquiry.look("modprobe.kvm")
            return Step(Layer.NO, "kernel-module-blacklisted", {"module": module, "detail": rule})
    if word := cleared(inquiry, {"kvm_intel": "vmx", "kvm_amd": "svm"}[module]):
        return Step(Layer.NO, "kernel-command-line", {"what": "the processor's virtualization", "detail": word})
    if module == "kvm_amd" and inquiry.answers.no("cpu.nx") and inquiry.kernel_at_least(*KVM_AMD_NEEDS_NX):
        inquiry.look("cpu.nx")
        return Step(Layer.NO, "not-in-silicon", {"what": "NX (no-execute pages), without which kvm_amd does not start"})
    if inquiry.yes(f"{module}.log_refused"):
        return _refused(inquiry, module)
    return Step(Layer.NO, "kernel-module-missing", {"module": module})


def cleared(inquiry: Inquiry, flag: str) -> str:
    """The kernel parameter that makes Linux forget a CPU flag: by name since 5.19, by number before."""
    for word in str(inquiry.answers.value("kernel.parameters") or "").split():
        name, _, flags = word.partition("=")
        if name == "clearcpuid" and {flag, FLAG_NUMBERS[flag]} & set(flags.split(",")):
            return word
    return ""


def _refused(inquiry: Inquiry, module: str) -> Step:
    line = inquiry.answers[f"{module}.log_refused"].seen[0].raw
    return Step(Layer.NO, "kernel-module-failed", {"module": module, "detail": line})


def open_step(inquiry: Inquiry) -> Step:
    """The functional layer of everything that needs a VM: could one be created?"""
    outcome = str(inquiry.value("kvm.create_vm") or "")
    if outcome == "ok":
        return YES
    cause, _, saw = outcome.partition(": ")
    cause = cause or str(inquiry.value("kvm.obstacle") or "")
    if cause == "kvm-busy":
        modules = inquiry.value("other.modules")
        detail = f" ({modules} is loaded)" if modules else ""
        return Step(Layer.NO, "other-hypervisor", {"detail": detail})
    if cause == "kvm-no-permission" or inquiry.answers.value("kvm.access") == "":
        return Step(Layer.NO, "kvm-no-permission", _owners(inquiry))
    if cause == "kvm-api-version":
        return Step(Layer.NO, "kvm-api-version", {"detail": str(inquiry.value("kvm.api_version") or "another one")})
    if cause == "kvm-device-missing":
        return Step(Layer.NO, "kvm-device-missing", {"module": hardware_module(inquiry)})
    if cause == "kvm-capability-missing":
        return Step(Layer.NO, "kvm-capability-missing", {"detail": saw})
    if cause:
        return Step(Layer.NO, "kvm-error", {"detail": saw or cause})
    return inquiry.unread("kvm.create_vm")


def kvm(inquiry: Inquiry, below: tuple[Steps, ...]) -> Steps:
    """/dev/kvm itself.  Where it does not exist, the cause is that of the extension ``below``, if that has one."""
    if inquiry.yes("kvm.node"):
        version = inquiry.value("kvm.api_version")
        if isinstance(version, int) and version != KVM_API_VERSION:
            wrong = Step(Layer.NO, "kvm-api-version", {"detail": str(version)})
            return Steps(NOT_APPLICABLE, NOT_APPLICABLE, YES, wrong)
        return Steps(NOT_APPLICABLE, NOT_APPLICABLE, YES, open_step(inquiry))
    if not inquiry.no("kvm.node"):
        return Steps(NOT_APPLICABLE, NOT_APPLICABLE, inquiry.unread("kvm.node"))
    missing = Step(Layer.NO, "kvm-device-missing", {"module": hardware_module(inquiry)})
    for steps in below:
        deciding = steps.deciding
        if steps.applies and deciding and deciding.definite and deciding.cause:
            missing = Step(Layer.NO, deciding.cause, deciding.details)
    return Steps(NOT_APPLICABLE, NOT_APPLICABLE, missing, Step(Layer.NO))


def _owners(inquiry: Inquiry) -> dict[str, str]:
    """Whose /dev/kvm is, and how this user gets in."""
    inquiry.look("kvm.access")
    mode, owner, group = (str(inquiry.answers.value(f"kvm.{name}") or "unknown") for name in ("mode", "owner", "group"))
    if inquiry.yes("kvm.in_group"):
        advice = f"The user is in the group {group} already: see the container's device policy, LSM and seccomp."
    elif mode.endswith(("60", "66")) and group != "root":
        advice = f"Add the user to the group {group} (usermod -aG {group} USER, then log in again), or run as root."
    else:
        advice = "Give the device to a group (chgrp kvm /dev/kvm; chmod 660 /dev/kvm; lastingly by a udev rule) and add the user to it, or run as root."
    return {"mode": mode, "owner": owner, "group": group, "advice": advice}
