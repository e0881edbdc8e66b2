"""What guests need of the host beyond the processor: mitigations, memory to back them, devices to share, modules that
start.
"""

from __future__ import annotations

import re

from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, logged, text
from virtproof.spec.cite import Cite, linux

MODPROBE = re.compile(r"/(lib|usr/lib|etc|run)/modprobe\.d/[^/]+\.conf")
VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities/"
HUGE_PAGES = re.compile(r"/sys/kernel/mm/hugepages/hugepages-(\d{1,10})kB/nr_hugepages")

HW_VULN = linux("admin-guide/hw-vuln/index.rst", "Hardware vulnerabilities")
HUGETLB = linux("admin-guide/mm/hugetlbpage.rst", "HugeTLB Pages")
THP = linux("admin-guide/mm/transhuge.rst", "Transparent Hugepage Support")
SRIOV = Cite("PCI Express Base Specification 6.0", "Single Root I/O Virtualization and Sharing")
XEN = linux("ABI/stable/sysfs-hypervisor-xen", "/sys/hypervisor/properties/capabilities")
MODULE = linux("virt/kvm/api.rst", "General description")


def vulnerable(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """The processor flaws that Linux calls vulnerable, KVM's part of each included; empty where there is none."""
    states = {path: value for path, value in snapshot.paths().items() if path.startswith(VULNERABILITIES)}
    if not states:
        return Unknown(snapshot.obstacle("files", VULNERABILITIES + "*") or "this kernel lists no vulnerabilities")
    open_ones = {path.rpartition("/")[2]: value for path, value in states.items() if "Vulnerable" in value}
    raw = "; ".join(f"{name}: {value[:80]}" for name, value in sorted(open_ones.items()))
    return (Seen(" ".join(sorted(open_ones)), raw or f"{len(states)} files"),)


def huge_pages(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """MiB reserved as huge pages of any size."""
    pools = {int(size[1]): value for path, value in snapshot.paths().items() if (size := HUGE_PAGES.fullmatch(path))}
    if not pools:
        absent = snapshot.absent("files", "/sys/kernel/mm/hugepages")
        return (Seen(0, "no /sys/kernel/mm/hugepages"),) if absent else Unknown("the pools of huge pages were not read")
    counts = {size: int(value) for size, value in pools.items() if value.isascii() and value.isdigit()}
    raw = ", ".join(f"{count} of {size} kB" for size, count in sorted(counts.items()))
    return (Seen(sum(size * count for size, count in counts.items()) >> 10, raw),)


def control_domain(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Is this the control domain of Xen?  Then Xen, below it, has the processor's virtualization."""
    capabilities = snapshot.text("/sys/hypervisor/properties/capabilities")
    if capabilities is not None:
        return (Seen("control_d" in capabilities, capabilities[:120]),)
    if snapshot.absent("files", "/sys/hypervisor/type"):
        return (Seen(False, "no /sys/hypervisor"),)
    return Unknown(snapshot.obstacle("files", "/sys/hypervisor/type") or "/sys/hypervisor was not read")


def modprobe_rules(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """What modprobe's configuration says about KVM's modules, a line each: rule and file; empty where it says nothing."""
    if "files" not in snapshot:
        return Unknown("the snapshot has no files")
    rules = [
        f"{line} ({path})"
        for path, text in snapshot.paths().items()
        if MODPROBE.fullmatch(path)
        for line in text.splitlines()
    ]
    return (Seen("\n".join(rules), "; ".join(rules)[:400] or "no rule"),)


def virtual_functions(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """How many PCI functions can be split into virtual functions."""
    if reason := snapshot.obstacle("pci"):
        return Unknown(reason)
    usable = [address for address, one in snapshot.pci().items() if one.get("sriov_totalvfs")]
    return (Seen(len(usable), " ".join(usable)[:200] or f"{len(snapshot.pci())} functions"),)


# fmt: off
FACTS = (
    #    id                       source                                                             meaning                                              cite     refs
    Fact("mitigations.vulnerable", derived(VULNERABILITIES + "*", vulnerable),                       "processor flaws that the kernel calls vulnerable",  HW_VULN, tuple(f"SE-{n:03}" for n in range(51, 71))),
    Fact("memory.huge_mib",       derived("/sys/kernel/mm/hugepages/*/nr_hugepages", huge_pages),    "MiB reserved as huge pages",                        HUGETLB, ("KE-098", "KE-099")),
    Fact("memory.thp",            text("/sys/kernel/mm/transparent_hugepage/enabled"),               "transparent huge pages",                            THP,     ("KE-101",)),
    Fact("sriov.devices",         derived("/sys/bus/pci/devices/*/sriov_totalvfs", virtual_functions), "PCI functions with SR-IOV",                       SRIOV,   ("IO-047",)),
    Fact("xen.control_domain",    derived("/sys/hypervisor/properties/capabilities", control_domain), "this is the control domain of Xen",                 XEN),
    Fact("modprobe.kvm",          derived("/etc/modprobe.d", modprobe_rules),                        "what modprobe is told about KVM's modules",         MODULE),
    Fact("kvm_intel.log_refused", logged(r"(kvm|kvm_intel):.*(no hardware support|VMX not supported|not enabled|already setup|already loaded|Unknown symbol|disagrees about version|module verification failed|requires)", "kvm_intel refused"),
                                                                                                     "the kernel logged why kvm_intel did not start",     MODULE),
    Fact("kvm_amd.log_refused",   logged(r"(kvm|kvm_amd|has_svm):.*(no hardware support|svm not available|SVM not supported|already setup|already loaded|Unknown symbol|disagrees about version|module verification failed|requires)", "kvm_amd refused"),
                                                                                                     "the kernel logged why kvm_amd did not start",       MODULE),
    Fact("iommu.log_no_remap",    logged(r"AMD-Vi: Disabling interrupt remapping|DMAR-IR: .*(Not enabling|not enabled|Failed to enable)|Failed to enable irq remapping", "interrupt remapping refused"),
                                                                                                     "the kernel logged why it does not remap interrupts", linux("admin-guide/kernel-parameters.txt", "intremap"), ("IO-042",)),
)
# fmt: on
