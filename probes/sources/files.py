"""Small text files and directory listings of sysfs and procfs.

A file that is not there is listed under ``absent``: often that is the answer.  Nothing here holds a serial number, a
UUID of the machine, a MAC address or, unless asked for, a host name; of the kernel command line only the parameters
that bear on virtualization are kept.  The boot id is a random number that the kernel draws anew at each boot.
"""

from __future__ import annotations

import glob
import os
import re

from virtproof.probes.sources import read_bounded, under, unread, why
from virtproof.spec.firmware_setup import SETTINGS

LIMIT = 4096  # bytes of one file: a page, as sysfs gives at most
MAX_MATCHES = 1024  # files of one pattern
MAX_NAMES = 4096  # entries of one directory
CMDLINE = "/proc/cmdline"

SETUP = "/sys/class/firmware-attributes/*/attributes"
TEXTS = (
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/kernel/tainted",
    "/proc/cgroups",
    *(
        f"/sys/devices/system/cpu/{name}"
        for name in (
            "online", "present", "isolated", "nohz_full", "smt/active", "smt/control", "vulnerabilities/*",
        )
    ),
    "/sys/devices/system/node/online",
    "/sys/devices/system/node/node*/cpulist",
    "/sys/devices/system/node/node*/distance",
    "/sys/devices/system/node/node*/hugepages/hugepages-*/nr_hugepages",
    "/sys/devices/system/node/node*/hugepages/hugepages-*/free_hugepages",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "/sys/devices/system/clocksource/clocksource0/available_clocksource",
    "/sys/devices/system/edac/mc/mc*/ce_count",
    "/sys/devices/system/edac/mc/mc*/ue_count",
    *(
        f"/sys/class/dmi/id/{name}"
        for name in (
            "sys_vendor", "product_name", "board_vendor", "board_name", "bios_vendor", "bios_version", "bios_date",
            "bios_release",
        )
    ),
    "/sys/hypervisor/type",
    "/sys/hypervisor/properties/capabilities",
    "/sys/module/kvm/parameters/*",
    "/sys/module/kvm_intel/parameters/*",
    "/sys/module/kvm_amd/parameters/*",
    "/sys/module/kvm_pvm/parameters/*",
    "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
    "/sys/class/iommu/*/intel-iommu/cap",
    "/sys/class/iommu/*/intel-iommu/ecap",
    "/sys/class/iommu/*/amd-iommu/features",
    "/sys/kernel/iommu_groups/*/type",
    "/sys/kernel/iommu_groups/*/reserved_regions",
    "/sys/kernel/mm/hugepages/hugepages-*/nr_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-*/free_hugepages",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/ksm/run",
    "/sys/kernel/mm/ksm/merge_across_nodes",
    "/sys/kernel/security/lockdown",
    "/sys/kernel/security/lsm",
    "/sys/fs/cgroup/cgroup.controllers",
    "/sys/fs/cgroup/misc.capacity",
    "/sys/class/tpm/tpm0/tpm_version_major",
    "/sys/class/mei/mei*/kind",
    "/sys/class/mei/mei*/fw_status",
    "/sys/bus/pci/drivers/intel-spi/*/intel_spi_protected",
    "/sys/bus/pci/drivers/intel-spi/*/intel_spi_bios_locked",
    f"{SETUP}/pending_reboot",
    *(f"{SETUP}/{name.replace('/', '!')}/current_value" for names in SETTINGS.values() for name in names),
)  # fmt: skip
DIRECTORIES = (
    "/sys/class/iommu",
    "/sys/class/firmware-attributes",
    "/sys/kernel/iommu_groups",
    "/sys/kernel/mm/hugepages",
    "/sys/firmware/efi",
    "/sys/devices/system/node",
    "/sys/devices/system/edac/mc",
    *(
        f"/sys/module/{name}"
        for name in (
            "kvm", "kvm_intel", "kvm_amd", "kvm_pvm", "msr", "vfio", "vfio_pci", "iommufd", "vhost_net",
            "vboxdrv", "vmmon", "acrn", "jailhouse", "mshv_root",  # hypervisors that take VMX or SVM for themselves
        )
    ),
)  # fmt: skip
HOST_NAME = "/proc/sys/kernel/hostname"  # kept on request only
# Of these parameters and families of parameters the snapshot keeps the values; others may name disks or carry secrets.
PARAMETERS = (
    "intel_iommu", "amd_iommu", "iommu", "intremap", "nointremap", "kvm", "kvm-intel", "kvm-amd", "kvm_intel",
    "kvm_amd", "nosmt", "mitigations", "noexec", "nosmep", "nosmap", "clearcpuid", "nox2apic", "x2apic_phys",
    "nogbpages", "gbpages", "no5lvl", "mem_encrypt", "module_blacklist", "modprobe", "nomodule", "lockdown",
    "pcie_acs_override", "tsx", "hugepagesz", "default_hugepagesz", "hugepages", "isolcpus", "nohz_full", "noapic",
    "tsc", "nested_pvm", "xen",
    "amd_iommu_intr", "rcu_nocbs", "nopku", "noxsave", "noxsaveopt", "noxsaves", "split_lock_detect",
    "transparent_hugepage", "maxcpus", "nr_cpus", "nopti", "pti", "l1tf", "mds", "spectre_v2", "tsx_async_abort",
    "retbleed", "spec_store_bypass_disable", "vmscape", "vfio_iommu_type1", "vfio-pci", "vfio_pci", "numa",
    "clocksource", "lsm", "efi", "amd_pstate", "intel_pstate", "idle",
)  # fmt: skip


def read(root: str, *, identity: bool = False) -> dict[str, object]:
    """The snapshot's section ``files``; ``identity`` keeps the host's name."""
    values: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    absent: list[str] = []
    missing: list[dict[str, str]] = []
    for pattern in (*TEXTS, HOST_NAME) if identity else TEXTS:
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
    for path in (one for pattern in MODPROBE for one in _matches(root, pattern)):
        try:
            if kept := kept_modprobe(read_bounded(under(root, path), LARGE).decode("utf-8", "replace")):
                values[path] = kept[:LIMIT]
        except OSError as error:
            missing.append(unread(path, why(error)))
    for path, keep in PARTS.items():
        try:
            values[path] = keep(read_bounded(under(root, path), LARGE).decode("utf-8", "replace"))[:LIMIT]
        except OSError as error:
            missing.append(unread(path, why(error)))
    return {"values": values, "names": names, "absent": absent, "unread": missing}


def kept_modprobe(text: str) -> str:
    """The lines of a modprobe configuration that forbid KVM's modules or give them options."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if KVM_RULE.match(line.replace("-", "_")))


def kept_parameters(command_line: str) -> str:
    """The parameters of a kernel command line that bear on virtualization, in their order."""
    words = command_line.split(" -- ", maxsplit=1)[0].split()  # what follows belongs to init
    return " ".join(word for word in words if word.partition("=")[0].partition(".")[0] in PARAMETERS)


def kept_memory(text: str) -> str:
    """The lines of /proc/meminfo about sizes, swap and huge pages."""
    return "\n".join(line for line in text.splitlines() if line.partition(":")[0] in MEMORY)


def kept_ranges(text: str) -> str:
    """The lines of /proc/iomem that say where memory and the windows of PCI root buses are."""
    return "\n".join(line.strip() for line in text.splitlines() if line.endswith(" : System RAM") or WINDOW.match(line))


MEMORY = frozenset({"MemTotal", "SwapTotal", "SwapFree", "HugePages_Total", "Hugepagesize", "Hugetlb", "DirectMap1G"})
WINDOW = re.compile(r"[0-9a-f]+-[0-9a-f]+ : PCI Bus ")  # not indented: a root bus
LARGE = 256 << 10
MODPROBE = ("/lib/modprobe.d/*.conf", "/usr/lib/modprobe.d/*.conf", "/etc/modprobe.d/*.conf", "/run/modprobe.d/*.conf")
KVM_RULE = re.compile(r"(blacklist|install|options) kvm(_intel|_amd)?\b")
# Of these files the snapshot keeps a part.
PARTS = {CMDLINE: kept_parameters, "/proc/meminfo": kept_memory, "/proc/iomem": kept_ranges}


def _matches(root: str, pattern: str) -> list[str]:
    if "*" not in pattern:
        return [pattern]
    base = under(glob.escape(root), pattern)
    prefix = len(under(root, "/x")) - 2
    return ["/" + path[prefix:].lstrip("/") for path in sorted(glob.glob(base))[:MAX_MATCHES]]
