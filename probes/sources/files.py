"""Small text files and directory listings of sysfs and procfs.

A file that is not there is listed under ``absent``: often that is the answer.  Nothing here holds a serial number, a
UUID, a host name or a MAC address; of the kernel command line only the parameters that bear on virtualization are kept.
"""

from __future__ import annotations

import glob
import os

from virtproof.probes.sources import read_bounded, under, unread, why

LIMIT = 4096  # bytes of one file: a page, as sysfs gives at most
MAX_MATCHES = 1024  # files of one pattern
MAX_NAMES = 4096  # entries of one directory
CMDLINE = "/proc/cmdline"

TEXTS = (
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/tainted",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/present",
    "/sys/devices/system/cpu/smt/active",
    "/sys/devices/system/cpu/smt/control",
    "/sys/devices/system/cpu/vulnerabilities/*",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    *(
        f"/sys/class/dmi/id/{name}"
        for name in (
            "sys_vendor", "product_name", "board_vendor", "board_name", "bios_vendor", "bios_version", "bios_date",
        )
    ),
    "/sys/hypervisor/type",
    "/sys/module/kvm/parameters/*",
    "/sys/module/kvm_intel/parameters/*",
    "/sys/module/kvm_amd/parameters/*",
    "/sys/module/kvm_pvm/parameters/*",
    "/sys/kernel/mm/hugepages/*/nr_hugepages",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/bus/pci/devices/*/sriov_totalvfs",
    "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
    "/sys/class/iommu/*/intel-iommu/cap",
    "/sys/class/iommu/*/intel-iommu/ecap",
    "/sys/class/iommu/*/amd-iommu/features",
)  # fmt: skip
DIRECTORIES = (
    "/sys/class/iommu",
    "/sys/kernel/iommu_groups",
    "/sys/bus/pci/devices",
    "/sys/kernel/mm/hugepages",
    "/sys/firmware/efi",
    *(
        f"/sys/module/{name}"
        for name in (
            "kvm", "kvm_intel", "kvm_amd", "kvm_pvm",
            "vboxdrv", "vmmon", "acrn", "jailhouse", "mshv_root",  # hypervisors that take VMX or SVM for themselves
        )
    ),
)  # fmt: skip
# Of these parameters and families of parameters the snapshot keeps the values; others may name disks or carry secrets.
PARAMETERS = (
    "intel_iommu", "amd_iommu", "iommu", "intremap", "nointremap", "kvm", "kvm-intel", "kvm-amd", "kvm_intel",
    "kvm_amd", "nosmt", "mitigations", "noexec", "nosmep", "nosmap", "clearcpuid", "nox2apic", "x2apic_phys",
    "nogbpages", "gbpages", "no5lvl", "mem_encrypt", "module_blacklist", "modprobe", "nomodule", "lockdown",
    "pcie_acs_override", "tsx", "hugepagesz", "default_hugepagesz", "hugepages", "isolcpus", "nohz_full", "noapic",
    "tsc", "nested_pvm", "xen",
)  # fmt: skip


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``files``."""
    values: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    absent: list[str] = []
    missing: list[dict[str, str]] = []
    for pattern in TEXTS:
        for path in _matches(root, pattern):
            try:
                values[path] = read_bounded(under(root, path), LIMIT).decode("utf-8", "replace").strip()
            except (FileNotFoundError, NotADirectoryError):
                absent.append(path)
            except OSError as error:
                missing.append(unread(path, why(error)))
    for path in DIRECTORIES:
        try:
            names[path] = sorted(os.listdir(under(root, path)))[:MAX_NAMES]
        except (FileNotFoundError, NotADirectoryError):
            absent.append(path)
        except OSError as error:
            missing.append(unread(path, why(error)))
    try:
        values[CMDLINE] = kept_parameters(read_bounded(under(root, CMDLINE), LIMIT).decode("utf-8", "replace"))
    except OSError as error:
        missing.append(unread(CMDLINE, why(error)))
    return {"values": values, "names": names, "absent": absent, "unread": missing}


def kept_parameters(command_line: str) -> str:
    """The parameters of a kernel command line that bear on virtualization, in their order."""
    words = command_line.split(" -- ", maxsplit=1)[0].split()  # what follows belongs to init
    return " ".join(word for word in words if word.partition("=")[0].partition(".")[0] in PARAMETERS)


def _matches(root: str, pattern: str) -> list[str]:
    if "*" not in pattern:
        return [pattern]
    base = under(glob.escape(root), pattern)
    prefix = len(under(root, "/x")) - 2
    return ["/" + path[prefix:].lstrip("/") for path in sorted(glob.glob(base))[:MAX_MATCHES]]
