"""How the running kernel was configured: the symbols that bear on virtualization and on what the probes can read."""

from __future__ import annotations

import re
import zlib

from virtproof.probes.sources import read_bounded, under, unread, why

RELEASE = "/proc/sys/kernel/osrelease"
PROC = "/proc/config.gz"
INSTALLED = ("/boot/config-{release}", "/lib/modules/{release}/config", "/usr/lib/modules/{release}/config")
LIMIT = 2 << 20  # bytes of text; distributions have 300 KiB
RELEASE_TEXT = re.compile(r"[A-Za-z0-9._+~-]{1,128}")  # it becomes part of a path
WANTED = (
    "KVM", "KVM_INTEL", "KVM_AMD", "KVM_AMD_SEV", "KVM_INTEL_TDX", "KVM_SMM", "KVM_HYPERV", "KVM_XEN", "KVM_PVM",
    "X86_MSR", "X86_CPUID", "DMIID", "DMI_SYSFS", "EFIVAR_FS", "EFI", "IKCONFIG_PROC",
    "INTEL_IOMMU", "INTEL_IOMMU_DEFAULT_ON", "INTEL_IOMMU_SVM", "AMD_IOMMU", "IRQ_REMAP", "IOMMU_DEFAULT_PASSTHROUGH",
    "IOMMUFD", "VFIO", "VFIO_PCI", "PCI_IOV", "PCI_PRI", "PCI_PASID", "X86_X2APIC", "VHOST_NET", "VHOST_VSOCK", "TUN",
    "HUGETLBFS", "TRANSPARENT_HUGEPAGE", "KSM", "NUMA", "CGROUP_MISC", "SECURITY_LOCKDOWN_LSM", "INTEL_TDX_HOST",
    "AMD_MEM_ENCRYPT", "X86_5LEVEL", "MITIGATION_PAGE_TABLE_ISOLATION", "USERFAULTFD", "PREEMPT_RT",
)  # fmt: skip
LINE = re.compile(rb"^(?:CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set)$", re.MULTILINE)


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``kconfig``: symbol -> ``y``, ``m``, ``n`` or its value.

    A symbol that the file does not mention has no entry: this kernel does not know it, or hides it.
    """
    tried: list[str] = []
    for path in places(root):
        try:
            raw = read_bounded(under(root, path), LIMIT)
            text = _unpacked(raw) if path == PROC else raw
        except (OSError, zlib.error) as error:
            tried.append(f"{path}: {why(error) if isinstance(error, OSError) else error}")
            continue
        return {"path": path, "values": _kept(text), "unread": []}
    return {"path": "", "values": {}, "unread": [unread("*", "; ".join(tried))]}


def places(root: str) -> tuple[str, ...]:
    """Where the configuration may be, in the order in which it is looked for."""
    try:
        release = read_bounded(under(root, RELEASE), 256).decode("ascii", "replace").strip()
    except OSError:
        release = ""
    if not RELEASE_TEXT.fullmatch(release) or release.startswith("."):
        return (PROC,)
    return (PROC, *(place.format(release=release) for place in INSTALLED))


def _unpacked(raw: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(raw, LIMIT)


def _kept(text: bytes) -> dict[str, str]:
    found = {
        (on or off).decode(): value.decode("ascii", "replace")[:64] or "n" for on, value, off in LINE.findall(text)
    }
    return {name: found[name] for name in WANTED if name in found}
