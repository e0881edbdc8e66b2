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
    Cause("hybrid-cores-differ",   "this processor has cores of more than one kind, and they do not agree: {detail}",
          "pin-guests",            "Give each guest CPUs of one kind only (CPU affinity, cpuset), or turn one kind off in the firmware setup."),
    Cause("microcode-differs",     "the CPUs of this host run different microcode: {detail}",
          "update-microcode",      "Load the microcode update early (initramfs), or update the firmware, and reboot: CPUs that were offline keep the old revision."),
    # firmware
    Cause("firmware-off-vmx",      "VMX is present in silicon and off in firmware: IA32_FEATURE_CONTROL is {detail}, locked without VMX ({who})",
          "enable-in-firmware",    "In the firmware setup turn on Intel Virtualization Technology (VT-x, VMX), then switch the power off and on: a warm reset keeps the lock."),
    Cause("firmware-off-svm",      "SVM is present in silicon and off in firmware: VM_CR.SVMDIS = 1{detail}",
          "enable-in-firmware",    "In the firmware setup turn on SVM Mode (AMD-V), then switch the power off and on."),
    Cause("firmware-off-reported", "{what} is present in silicon and Linux reports it off in firmware: {detail}",
          "enable-in-firmware",    "In the firmware setup turn on Intel VT-x or AMD SVM Mode, then switch the power off and on."),
    Cause("firmware-off-setting",  "{what} is off in the firmware's setup: {detail}",
          "enable-in-firmware",    "Turn it on in the firmware setup, or by writing its current_value, then switch the power off and on."),
    Cause("firmware-change-pending", "{what} is on in the firmware's setup and yet not in force: {detail}",
          "power-cycle",           "Switch the power off and on: a warm reset keeps what was locked before the change."),
    Cause("firmware-off-xd",       "the firmware turned Execute Disable off (IA32_MISC_ENABLE bit 34)",
          "enable-in-firmware",    "In the firmware setup turn on Execute Disable (XD, NX, No-Execute Memory Protection)."),
    Cause("iommu-not-announced",   "the firmware hands over no {table} table: the IOMMU is off in firmware, or the platform has none; the two look alike from here",
          "enable-in-firmware",    "In the firmware setup turn on {what} (VT for Directed I/O, IOMMU; not 'Auto' where that means off)."),
    Cause("firmware-no-interrupt-remapping", "the firmware rules interrupt remapping out: {detail}",
          "enable-in-firmware",    "In the firmware setup turn on interrupt remapping beside the IOMMU; where it has no such setting, update the firmware."),
    Cause("sr-iov-not-seen",       "no PCI device here shows SR-IOV: none has it, or the firmware hides it; the two look alike from here",
          "enable-in-firmware",    "In the firmware setup turn on SR-IOV (for the slot too, where it has a setting), or use an adapter that has it."),
    Cause("sr-iov-blocked",        "devices have SR-IOV and yet no virtual functions to offer: {detail}",
          "enable-in-firmware",    "In the firmware setup turn on SR-IOV and memory-mapped I/O above 4 GiB; where they are on, update the adapter's firmware."),
    Cause("firmware-off-memory-encryption", "the processor has memory encryption and the firmware keeps it off: SYSCFG bit 23 is 0 ({detail})",
          "enable-in-firmware",    "In the firmware setup turn on Secure Memory Encryption (SME, SMEE)."),
    Cause("firmware-no-sev-es-asids", "the firmware leaves no ASID to SEV-ES: the first ASID without it is {detail}",
          "enable-in-firmware",    "In the firmware setup raise the SEV-ES ASID space limit (minimum SEV non-ES ASID) above 1."),
    Cause("firmware-no-rmp",       "the firmware reserved no memory for the reverse map table that SEV-SNP needs: {detail}",
          "enable-in-firmware",    "In the firmware setup turn on SEV-SNP and SNP Memory (RMP Table) Coverage."),
    Cause("firmware-off-tdx",      "the firmware gives TDX no memory keys: {detail}",
          "enable-in-firmware",    "In the firmware setup turn on TME, TME-MT (multi-key), TDX and the SEAM loader, and give TDX some of the keys."),
    # kernel
    Cause("kernel-command-line",   "the kernel was told not to use {what}: {detail}",
          "edit-command-line",     "Remove {detail} from the kernel command line and reboot."),
    Cause("kernel-not-using-it",   "the kernel does not use {what}, although nothing below it stands in the way: {detail}",
          "configure-kernel",      "{advice}"),
    Cause("kernel-too-old",        "Linux {release} has no support for {what}; it came with Linux {since}",
          "update-kernel",         "Use Linux {since} or newer."),
    Cause("kernel-module-missing", "the kernel module {module} is not loaded",
          "load-module",           "modprobe {module}; if that fails, the kernel log says why (blacklisted, not built, refused)."),
    Cause("kernel-module-blacklisted", "the kernel module {module} is not loaded, and {detail} keeps it from loading by itself",
          "allow-module",          "Remove {detail} and reboot, or modprobe {module} where that is allowed."),
    Cause("kernel-module-failed",  "the kernel module {module} refused to start: {detail}",
          "read-kernel-log",       "Mend what the line says, then modprobe {module}; the kernel log has the lines around it."),
    Cause("module-parameter",      "{what} is switched off by the module parameter {detail}",
          "set-module-parameter",  "Turn {parameter} on in /etc/modprobe.d or on the kernel command line, or remove what turns it off there; then reload {module}."),
    Cause("other-hypervisor",      "another hypervisor on this host holds the processor's virtualization extensions{detail}",
          "stop-other-hypervisor", "Stop the other hypervisor and unload its modules (vboxdrv, vmmon, ...), then try again."),
    Cause("software-backend",      "KVM is here in software ({module}): guests do not run on the processor's own virtualization",
          "use-hardware-backend",  "Boot a kernel with kvm_intel or kvm_amd, on a host that offers VMX or SVM."),
    Cause("vulnerable",            "the kernel calls this host vulnerable: {detail}",
          "mitigate",              "Update microcode and kernel; the kernel's admin-guide/hw-vuln says what each flaw needs (for some: SMT off)."),
    Cause("memory-not-backed",     "there are no huge pages for guests: none is reserved, and transparent huge pages are off",
          "reserve-huge-pages",    "Reserve huge pages (hugepagesz=, hugepages= on the kernel command line, or nr_hugepages), or set transparent_hugepage to madvise."),
    # device nodes
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
    Cause("device-node-missing",   "{node} does not exist",
          "load-module",           "modprobe {module}; in a container, pass {node} in."),
    Cause("device-no-permission",  "this user may not read and write {node} (it may: {detail})",
          "join-group",            "Give {node} to a group of the user's by a udev rule, or run as root."),
    # could not tell, and what guests say
    Cause("could-not-read",        "could not be read: {detail}",
          "read-as-root",          "Run as root on the host itself; what a snapshot or dump does not hold, only its host can tell."),
    Cause("msr-driver-missing",    "model-specific registers could not be read: the msr driver is not loaded ({detail})",
          "load-msr-driver",       "modprobe msr, then run again as root."),
    Cause("msr-forbidden",         "model-specific registers could not be read: the kernel forbids it ({detail})",
          "read-as-root",          "Run as root with CAP_SYS_RAWIO; a kernel in lockdown forbids it to root as well: boot without lockdown to see them."),
    Cause("refuted-by-guests",     "guests that use {what} did not behave as the architecture says: {detail}",
          "read-failing-cases",    "See the failing cases; update microcode, firmware and kernel, then run again."),
    Cause("costs-too-much",        "{what}: {detail}",
          "look-for-layers",       "Look for a hypervisor or a software backend below, for mitigations and for power saving; compare with virtproof bench on a host in order."),
    Cause("emulator-breaks-rules", "the software backend ({module}) interprets privileged guest code and departs from the architecture: {detail}",
          "use-hardware-backend",  "Run on a host with kvm_intel or kvm_amd to judge the hardware."),
    Cause("guests-on-emulator",    "guests ran on the software engine ({module}), which says nothing about this host",
          "use-hardware-backend",  "Make /dev/kvm usable here and run virtproof check again."),
    Cause("not-run",               "no guest exercised it: {detail}",
          "run-guests",            "Run virtproof check on the host itself."),
)}
# fmt: on


def why_unread(reason: str) -> str:
    """The cause of what could not be read, by the reason that its source gave."""
    if "/dev/cpu/N/msr: " not in reason:
        return "could-not-read"
    absent = reason.endswith(("No such file or directory", "No such device or address"))
    return "msr-driver-missing" if absent else "msr-forbidden"


class _Details(dict[str, str]):
    """Details for a template; one that the claim did not give is left out."""

    def __missing__(self, key: str) -> str:
        return ""


def explain(cause: str, details: dict[str, str]) -> tuple[str, str, str]:
    """The text of a cause, the id of its remedy, and the remedy's text."""
    row = CAUSES[cause]
    known = _Details(details)
    return row.text.format_map(known), row.remedy_id, row.remedy.format_map(known)
