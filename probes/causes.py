"""The closed list of causes: why a claim does not hold, and what to do about each.

``text`` and ``remedy`` are filled with named details of the host at hand; what a template names, the claim gives.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """``remedy_id`` names the kind of act, ``remedy`` says it in words."""

    id: str
    text: str
    remedy_id: str
    remedy: str


# fmt: off
CAUSES = {cause.id: cause for cause in (
    # silicon
    Cause("not-in-silicon",        "the processor does not have {what}",
          "replace-processor",     "Use a processor that has {what}; no setting can add it."),
    Cause("hidden-by-hypervisor",  "this host is itself a virtual machine ({hypervisor}), whose hypervisor does not offer {what}",
          "ask-the-hypervisor",    "On the hypervisor below, let this machine see {what} (nested virtualization, CPU model host-passthrough), or use bare metal."),
    Cause("cpus-differ",           "{what}: the CPUs of this host do not agree: {detail}",
          "make-cpus-equal",       "Install the same processors, microcode and firmware settings on all sockets, or take the odd CPUs offline."),
    # firmware
    Cause("firmware-off-vmx",      "VMX is present in silicon and off in firmware: IA32_FEATURE_CONTROL is {detail}, locked without VMX",
          "enable-in-firmware",    "In the firmware setup turn on Intel Virtualization Technology (VT-x, VMX), then switch the power off and on: a warm reset keeps the lock."),
    Cause("firmware-off-svm",      "SVM is present in silicon and off in firmware: VM_CR.SVMDIS = 1{detail}",
          "enable-in-firmware",    "In the firmware setup turn on SVM Mode (AMD-V), then switch the power off and on."),
    Cause("firmware-off-reported", "{what} is present in silicon and Linux reports it off in firmware: {detail}",
          "enable-in-firmware",    "In the firmware setup turn on Intel VT-x or AMD SVM Mode, then switch the power off and on."),
    Cause("firmware-off-xd",       "the firmware turned Execute Disable off (IA32_MISC_ENABLE bit 34)",
          "enable-in-firmware",    "In the firmware setup turn on Execute Disable (XD, NX, No-Execute Memory Protection)."),
    Cause("iommu-not-announced",   "the firmware hands over no {table} table: the IOMMU is off in firmware, or the platform has none; the two look alike from here",
          "enable-in-firmware",    "In the firmware setup turn on {what} (VT for Directed I/O, IOMMU; not 'Auto' where that means off)."),
    # kernel
    Cause("kernel-command-line",   "the kernel was told not to use {what}: {detail}",
          "edit-command-line",     "Remove {detail} from the kernel command line and reboot."),
    Cause("kernel-not-using-it",   "the kernel does not use {what}, although nothing below it stands in the way: {detail}",
          "configure-kernel",      "{advice}"),
    Cause("kernel-cleared-flag",   "CPUID has {what}, but Linux does not list it in /proc/cpuinfo",
          "read-kernel-log",       "Look in the kernel log for what cleared the flag (firmware, clearcpuid=, a mitigation)."),
    Cause("kernel-module-missing", "the kernel module {module} is not loaded",
          "load-module",           "modprobe {module}; if that fails, the kernel log says why (blacklisted, not built, refused)."),
    Cause("module-parameter",      "{what} is switched off by the module parameter {detail}",
          "set-module-parameter",  "Remove the setting from /etc/modprobe.d and the kernel command line, then reload {module}."),
    Cause("other-hypervisor",      "another hypervisor on this host holds the processor's virtualization extensions{detail}",
          "stop-other-hypervisor", "Stop the other hypervisor and unload its modules (vboxdrv, vmmon, ...), then try again."),
    Cause("software-backend",      "KVM is here in software ({module}): guests do not run on the processor's own virtualization",
          "use-hardware-backend",  "Boot a kernel with kvm_intel or kvm_amd, on a host that offers VMX or SVM."),
    # access to /dev/kvm
    Cause("kvm-device-missing",    "/dev/kvm does not exist{detail}",
          "load-module",           "modprobe {module}; the kernel log says why if that fails."),
    Cause("kvm-no-permission",     "this user may not open /dev/kvm (mode {mode}, owner {owner}, group {group})",
          "join-group",            "{advice}"),
    Cause("kvm-api-version",       "KVM's API version is {detail}; it has been 12 since Linux 2.6.22",
          "update-kernel",         "Use a kernel with the stable KVM API."),
    Cause("kvm-capability-missing", "KVM lacks a capability that every guest needs: {detail}",
          "update-kernel",         "Use a newer kernel, or one whose KVM is not cut down."),
    Cause("kvm-error",             "KVM refuses to work: {detail}",
          "read-kernel-log",       "Look in the kernel log for lines with kvm."),
    # could not tell, and what guests say
    Cause("could-not-read",        "could not be read: {detail}",
          "read-as-root",          "Run as root with the msr and cpuid drivers loaded (modprobe msr cpuid); a locked-down kernel forbids MSR reads."),
    Cause("refuted-by-guests",     "guests that use {what} did not behave as the architecture says: {detail}",
          "read-failing-cases",    "See the failing cases; update microcode, firmware and kernel, then run again."),
    Cause("emulator-breaks-rules", "the software backend ({module}) interprets privileged guest code and departs from the architecture: {detail}",
          "use-hardware-backend",  "Run on a host with kvm_intel or kvm_amd to judge the hardware."),
    Cause("guests-on-emulator",    "guests ran on the software engine ({module}), which says nothing about this host",
          "use-hardware-backend",  "Make /dev/kvm usable here and run virtproof check again."),
    Cause("not-run",               "no guest exercised it: {detail}",
          "run-guests",            "Run virtproof check on the host itself."),
)}
# fmt: on


class _Details(dict[str, str]):
    """Details for a template; one that the claim did not give is left out."""

    def __missing__(self, key: str) -> str:
        return ""


def explain(cause: str, details: dict[str, str]) -> tuple[str, str, str]:
    """The text of a cause, the id of its remedy, and the remedy's text."""
    row = CAUSES[cause]
    known = _Details(details)
    return row.text.format_map(known), row.remedy_id, row.remedy.format_map(known)
