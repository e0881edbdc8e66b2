"""For each cause a host that yields exactly it: a server in order, changed in one thing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from virtproof.probes.ask import ask
from virtproof.probes.causes import CAUSES
from virtproof.probes.claims.catalogue import ALL_CLAIMS, claims
from virtproof.probes.cpus import render
from virtproof.probes.judge import judge
from virtproof.probes.profile import LAYERS as PROFILE_LAYERS
from virtproof.probes.profile import Profile, Requirement
from virtproof.probes.snapshot import Snapshot, checked
from virtproof.results import ClaimResult, Layer, Outcome

Change = Callable[[Snapshot], None]
DOCS = Path(__file__).parents[2] / "docs"


def bit(leaf: int, column: int, number: int, on: bool, cpu: int | None = None) -> Change:
    """One bit of CPUID, on all CPUs or on one.  Columns are those of EAX, EBX, ECX, EDX."""

    def change(snapshot: Snapshot) -> None:
        changed: dict[str, str] = {}
        for text, cpus in snapshot["cpuid"]["values"][f"{leaf:08x}.00"].items():
            words = [int(word, 16) for word in text.split()]
            words[column] = words[column] | 1 << number if on else words[column] & ~(1 << number)
            new = " ".join(f"{word:08x}" for word in words)
            if cpu is None:
                changed[new] = cpus
            else:  # the test's hosts have four CPUs; leaves that differ by CPU are not asked for here
                changed[text], changed[new] = render(set(range(4)) - {cpu}), str(cpu)
        snapshot["cpuid"]["values"][f"{leaf:08x}.00"] = changed

    return change


def register(leaf: int, column: int, value: int) -> Change:
    def change(snapshot: Snapshot) -> None:
        values = snapshot["cpuid"]["values"][f"{leaf:08x}.00"]
        for text, cpus in list(values.items()):
            words = text.split()
            words[column] = f"{value:08x}"
            values.clear()
            values[" ".join(words)] = cpus

    return change


def offer(leaf: int, column: int, number: int) -> Change:
    """KVM does not offer a flag."""

    def change(snapshot: Snapshot) -> None:
        words = [int(word, 16) for word in snapshot["kvm"]["supported_cpuid"][f"{leaf:08x}.00"].split()]
        words[column] &= ~(1 << number)
        snapshot["kvm"]["supported_cpuid"][f"{leaf:08x}.00"] = " ".join(f"{word:08x}" for word in words)

    return change


def msr(index: int, value: int) -> Change:
    return lambda snapshot: snapshot["msr"]["values"].update({f"{index:#x}": {f"{value:#x}": snapshot["cpus"]}})


def no_msr(index: int) -> Change:
    """One MSR that could not be read."""

    def change(snapshot: Snapshot) -> None:
        snapshot["msr"]["values"].pop(f"{index:#x}")
        snapshot["msr"]["unread"].append(
            {"what": f"{index:#x}", "cpus": snapshot["cpus"], "reason": "Input/output error"}
        )

    return change


def no_msrs(reason: str) -> Change:
    def change(snapshot: Snapshot) -> None:
        unread = [{"what": "*", "cpus": snapshot["cpus"], "reason": f"/dev/cpu/N/msr: {reason}"}]
        snapshot["msr"] = {"how": {}, "values": {}, "unread": unread}

    return change


def file(path: str, text: str | None) -> Change:
    """What a file says; ``None``: it is not there."""

    def change(snapshot: Snapshot) -> None:
        if text is None:
            snapshot["files"]["values"].pop(path)
            snapshot["files"]["absent"].append(path)
        else:
            snapshot["files"]["values"][path] = text

    return change


def parameter(name: str, value: str) -> Change:
    return file("/sys/module/{}/parameters/{}".format(*name.split(".")), value)


def without_parameter(name: str) -> Change:
    path = "/sys/module/{}/parameters/{}".format(*name.split("."))
    return lambda snapshot: snapshot["files"]["values"].pop(path)


def folder(path: str, *names: str) -> Change:
    return lambda snapshot: snapshot["files"]["names"].update({path: list(names)})


def no_module(name: str) -> Change:
    """A module that is not there, and therefore no /dev/kvm."""

    def change(snapshot: Snapshot) -> None:
        files = snapshot["files"]
        files["names"].pop(f"/sys/module/{name}")
        files["absent"].append(f"/sys/module/{name}")
        files["values"] = {
            path: v for path, v in files["values"].items() if not path.startswith(f"/sys/module/{name}/")
        }
        no_kvm(snapshot)

    return change


def no_kvm(snapshot: Snapshot) -> None:
    snapshot["nodes"]["values"].pop("/dev/kvm")
    snapshot["nodes"]["absent"].append("/dev/kvm")
    none = {"engine": "none", "name": "none", "software": None, "detail": "there is no /dev/kvm"}
    unread = [{"what": "*", "cpus": "", "reason": "open /dev/kvm: no such file"}]
    snapshot["kvm"] = {"backend": none, "cause": "kvm-device-missing", "unread": unread}


def kvm(**answers: object) -> Change:
    return lambda snapshot: snapshot["kvm"].update(answers)


def closed(snapshot: Snapshot) -> None:
    """/dev/kvm of the group kvm, and a user who is not in it."""
    snapshot["nodes"]["values"]["/dev/kvm"].update(mode="0660", group="kvm", in_group=False, access="")
    unread = [{"what": "*", "cpus": "", "reason": "permission denied"}]
    snapshot["kvm"] = {"backend": snapshot["kvm"]["backend"], "cause": "kvm-no-permission", "unread": unread}


def software(snapshot: Snapshot) -> None:
    snapshot["kvm"]["backend"] = {"engine": "kvm", "name": "kvm_pvm", "software": True, "detail": "kvm_pvm is loaded"}


def node(path: str, **attributes: str) -> Change:
    return lambda snapshot: snapshot["nodes"]["values"][path].update(attributes)


def no_node(path: str) -> Change:
    def change(snapshot: Snapshot) -> None:
        snapshot["nodes"]["values"].pop(path)
        snapshot["nodes"]["absent"].append(path)

    return change


def no_table(name: str) -> Change:
    def change(snapshot: Snapshot) -> None:
        del snapshot["acpi"]["tables"][name]
        snapshot["acpi"]["names"].remove(name)

    return change


def logs(*lines: str) -> Change:
    return lambda snapshot: snapshot["log"].update(lines=list(lines), complete=True)


def lost_log(snapshot: Snapshot) -> None:
    snapshot["log"].update(lines=[], complete=False)


def parameters(line: str) -> Change:
    return file("/proc/cmdline", line)


def kernel(release: str) -> Change:
    return file("/proc/sys/kernel/osrelease", release)


def intr_remap_flag(snapshot: Snapshot) -> None:
    """DMAR flags bit 0 is 0."""
    import base64

    table = snapshot["acpi"]["tables"]["DMAR"]
    data = bytearray(base64.b64decode(table["data"]))
    data[37] &= ~1
    table["data"] = base64.b64encode(bytes(data)).decode()


def no_flags(snapshot: Snapshot) -> None:
    snapshot["cpuinfo"]["values"]["flags"] = {"fpu": "0-3"}


def setup(name: str, value: str) -> Change:
    """A setting of Lenovo's firmware."""
    return file(f"/sys/class/firmware-attributes/thinklmi/attributes/{name}/current_value", value)


def no_sriov(snapshot: Snapshot) -> None:
    snapshot["pci"]["devices"]["0000:3b:00.0"].pop("sriov_totalvfs")


def redfish(**attributes: str) -> Change:
    """Settings of Dell's firmware, as its service processor tells them."""
    return lambda snapshot: snapshot.update(
        redfish={
            "system": {"manufacturer": "Dell Inc."},
            "bios": {"attributes": attributes, "registry": "it"},
            "unread": [],
        }
    )


def blocked_sriov(snapshot: Snapshot) -> None:
    snapshot["pci"]["devices"]["0000:3b:00.0"].update(extended=[0x10], sriov_totalvfs=0)


def odd_microcode(snapshot: Snapshot) -> None:
    snapshot["cpuinfo"]["values"]["microcode"] = {"0xd0003a5": "0-2", "0xd000389": "3"}


NO_SVM_MSR = no_msrs("No such file or directory")
VIRTUAL = bit(1, 2, 31, True)
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
MELTDOWN = "/sys/devices/system/cpu/vulnerabilities/meltdown"
IR = "DMAR-IR: Enabled IRQ remapping in x2apic mode"

# fmt: off
ROWS = [
    #  cause                              base     claim                  layers (silicon firmware kernel functional)   what is changed
    ("not-in-silicon",                   "intel", "vmx",                 "no unknown no unknown",   (bit(1, 2, 5, False), no_module("kvm_intel"))),
    ("not-in-silicon",                   "intel", "ept",                 "no yes yes unknown",      (msr(0x48B, 0x0257_7FFD << 32),)),
    ("not-in-silicon",                   "intel", "unrestricted_guest",  "no yes yes unknown",      (msr(0x48B, 0x0257_7F7F << 32),)),
    ("not-in-silicon",                   "intel", "vpid",                "no yes yes unknown",      (msr(0x48B, 0x0257_7FDF << 32),)),
    ("not-in-silicon",                   "intel", "pml",                 "no yes yes unknown",      (msr(0x48B, 0x0255_7FFF << 32),)),
    ("not-in-silicon",                   "intel", "apicv",               "no yes yes unknown",      (msr(0x48B, 0x0257_7DFF << 32),)),
    ("not-in-silicon",                   "intel", "apicv",               "no yes yes unknown",      (no_msr(0x48B), msr(0x481, 0x7F << 32 | 0x16))),
    ("not-in-silicon",                   "intel", "posted_interrupts",   "no yes yes unknown",      (msr(0x481, 0x7F << 32 | 0x16),)),
    ("not-in-silicon",                   "intel", "tsc_scaling",         "no n/a yes unknown",      (msr(0x48B, 0x0057_7FFF << 32),)),
    ("not-in-silicon",                   "intel", "tdx",                 "no unknown yes unknown",  (bit(7, 2, 13, False), msr(0x87, 0), logs(IR))),
    ("not-in-silicon",                   "amd",   "svm",                 "no unknown no unknown",   (bit(0x8000_0001, 2, 2, False), no_module("kvm_amd"))),
    ("not-in-silicon",                   "amd",   "npt",                 "no yes yes unknown",      (bit(0x8000_000A, 3, 0, False),)),
    ("not-in-silicon",                   "amd",   "asid",                "no yes yes yes",          (register(0x8000_000A, 1, 1),)),
    ("not-in-silicon",                   "amd",   "avic",                "no yes yes unknown",      (bit(0x8000_000A, 3, 13, False),)),
    ("not-in-silicon",                   "amd",   "x2avic",              "no yes yes unknown",      (bit(0x8000_000A, 3, 18, False),)),
    ("not-in-silicon",                   "amd",   "sev",                 "no yes yes unknown",      (bit(0x8000_001F, 0, 1, False),)),
    ("not-in-silicon",                   "amd",   "sev_es",              "no yes yes unknown",      (bit(0x8000_001F, 0, 3, False),)),
    ("not-in-silicon",                   "amd",   "sev_snp",             "no yes yes unknown",      (bit(0x8000_001F, 0, 4, False),)),
    ("not-in-silicon",                   "amd",   "smep",                "no n/a yes unknown",      (bit(7, 1, 7, False),)),
    ("not-in-silicon",                   "amd",   "smap",                "no n/a yes unknown",      (bit(7, 1, 20, False),)),
    ("not-in-silicon",                   "amd",   "umip",                "no n/a yes unknown",      (bit(7, 2, 2, False),)),
    ("not-in-silicon",                   "amd",   "page1g",              "no n/a yes unknown",      (bit(0x8000_0001, 3, 26, False),)),
    ("not-in-silicon",                   "amd",   "la57",                "no n/a yes unknown",      (bit(7, 2, 16, False),)),
    ("not-in-silicon",                   "amd",   "nx",                  "no n/a yes unknown",      (bit(0x8000_0001, 3, 20, False),)),
    ("not-in-silicon",                   "amd",   "tsc_invariant",       "no n/a yes unknown",      (bit(0x8000_0007, 3, 8, False),)),
    ("not-in-silicon",                   "amd",   "pcid",                "no n/a yes unknown",      (bit(1, 2, 17, False),)),
    ("not-in-silicon",                   "amd",   "invpcid",             "no n/a yes unknown",      (bit(7, 1, 10, False),)),
    ("not-in-silicon",                   "amd",   "pku",                 "no n/a yes unknown",      (bit(7, 2, 3, False),)),
    ("not-in-silicon",                   "amd",   "xsave",               "no n/a yes unknown",      (bit(1, 2, 26, False),)),
    ("not-in-silicon",                   "intel", "tsc_deadline",        "no n/a yes unknown",      (bit(1, 2, 24, False),)),
    ("not-in-silicon",                   "intel", "x2apic",              "no n/a yes unknown",      (bit(1, 2, 21, False),)),
    ("hidden-by-hypervisor",             "amd",   "svm",                 "unknown unknown no unknown", (VIRTUAL, bit(0x8000_0001, 2, 2, False), no_module("kvm_amd"))),
    ("hidden-by-hypervisor",             "amd",   "npt",                 "unknown yes yes unknown", (VIRTUAL, bit(0x8000_000A, 3, 0, False))),
    ("hidden-by-hypervisor",             "intel", "sr_iov",              "unknown no no unknown",   (VIRTUAL, no_sriov)),
    ("cpus-differ",                      "intel", "uniformity",          "no n/a n/a n/a",          (bit(7, 1, 20, False, cpu=3),)),
    ("hybrid-cores-differ",              "intel", "uniformity",          "no n/a n/a n/a",          (bit(7, 1, 20, False, cpu=3), bit(7, 3, 15, True))),
    ("microcode-differs",                "intel", "microcode",           "n/a n/a no n/a",          (odd_microcode,)),
    ("firmware-off-vmx",                 "intel", "vmx",                 "yes no no unknown",       (msr(0x3A, 1), no_module("kvm_intel"))),
    ("firmware-off-vmx",                 "intel", "ept",                 "yes no no unknown",       (msr(0x3A, 1), no_module("kvm_intel"))),
    ("firmware-off-svm",                 "amd",   "svm",                 "yes no no unknown",       (msr(0xC001_0114, 0x18), no_module("kvm_amd"))),
    ("firmware-off-svm",                 "amd",   "sev_snp",             "yes no no unknown",       (msr(0xC001_0114, 0x18), no_module("kvm_amd"))),
    ("firmware-off-reported",            "intel", "vmx",                 "yes no no unknown",       (no_msrs("No such file or directory"), logs("x86/cpu: VMX (outside TXT) disabled by BIOS"), no_module("kvm_intel"))),
    ("firmware-off-reported",            "amd",   "svm",                 "yes no no unknown",       (NO_SVM_MSR, no_module("kvm_amd"), no_flags)),
    ("firmware-off-setting",             "intel", "vmx",                 "yes no no unknown",       (no_msrs("Permission denied"), lost_log, setup("VirtualizationTechnology", "Disable"), no_module("kvm_intel"))),
    ("firmware-off-setting",             "intel", "vt_d",                "unknown no no unknown",   (no_table("DMAR"), folder("/sys/class/iommu"), setup("VTdFeature", "Disable"))),
    ("firmware-off-setting",             "amd",   "amd_vi",              "unknown no no unknown",   (no_table("IVRS"), folder("/sys/class/iommu"), redfish(IommuSupport="Disabled"))),
    ("firmware-off-setting",             "amd",   "sr_iov",              "unknown no no unknown",   (no_sriov, redfish(SriovGlobalEnable="Disabled"))),
    ("firmware-change-pending",          "amd",   "svm",                 "yes no no unknown",       (msr(0xC001_0114, 0x18), redfish(ProcVirtualization="Enabled"), no_module("kvm_amd"))),
    ("firmware-change-pending",          "intel", "vmx",                 "yes no no unknown",       (msr(0x3A, 1), setup("VirtualizationTechnology", "Enable"), no_module("kvm_intel"))),
    ("firmware-change-pending",          "amd",   "svm",                 "yes no no unknown",       (msr(0xC001_0114, 0x18), setup("AmdVt", "Enable"), no_module("kvm_amd"))),
    ("firmware-off-xd",                  "intel", "nx",                  "yes no yes unknown",      (bit(0x8000_0001, 3, 20, False), msr(0x1A0, 1 << 34))),
    ("iommu-not-announced",              "intel", "vt_d",                "unknown no no unknown",   (no_table("DMAR"), folder("/sys/class/iommu"))),
    ("iommu-not-announced",              "amd",   "amd_vi",              "unknown no no unknown",   (no_table("IVRS"), folder("/sys/class/iommu"))),
    ("iommu-not-announced",              "amd",   "interrupt_remapping", "unknown no no unknown",   (no_table("IVRS"), folder("/sys/class/iommu"), logs())),
    ("firmware-no-interrupt-remapping",  "intel", "interrupt_remapping", "yes no no unknown",       (intr_remap_flag, logs())),
    ("firmware-no-interrupt-remapping",  "amd",   "interrupt_remapping", "yes no no unknown",       (logs("AMD-Vi: Disabling interrupt remapping"),)),
    ("sr-iov-not-seen",                  "intel", "sr_iov",              "unknown no no unknown",   (no_sriov,)),
    ("sr-iov-blocked",                   "intel", "sr_iov",              "yes no no unknown",       (blocked_sriov,)),
    ("not-in-silicon",                   "intel", "interrupt_remapping", "no yes no unknown",       (file("/sys/class/iommu/dmar0/intel-iommu/ecap", "f020d7"), logs())),
    ("firmware-off-memory-encryption",   "amd",   "sev",                 "yes no yes unknown",      (msr(0xC001_0010, 0),)),
    ("firmware-no-sev-es-asids",         "amd",   "sev_es",              "yes no yes unknown",      (register(0x8000_001F, 3, 1),)),
    ("firmware-no-rmp",                  "amd",   "sev_snp",             "yes no yes unknown",      (msr(0xC001_0132, 0x1000),)),
    ("firmware-no-rmp",                  "amd",   "sev_snp",             "yes no yes unknown",      (NO_SVM_MSR, logs("SEV-SNP: Memory for the RMP table has not been reserved by BIOS"))),
    ("firmware-off-tdx",                 "intel", "tdx",                 "unknown no yes unknown",  (msr(0x87, 63), logs(IR))),
    ("kernel-command-line",              "intel", "vt_d",                "yes yes no unknown",      (folder("/sys/class/iommu"), parameters("intel_iommu=off"))),
    ("kernel-command-line",              "amd",   "amd_vi",              "yes yes no unknown",      (folder("/sys/class/iommu"), parameters("amd_iommu=off"))),
    ("kernel-command-line",              "amd",   "interrupt_remapping", "yes yes no unknown",      (logs(), parameters("intremap=off,nosid"))),
    ("kernel-command-line",              "intel", "smep",                "yes n/a no unknown",      (offer(7, 1, 7), parameters("nosmep"))),
    ("kernel-command-line",              "intel", "mitigations",         "n/a n/a no n/a",          (file(MELTDOWN, "Vulnerable"), parameters("mitigations=off"))),
    ("kernel-not-using-it",              "intel", "vt_d",                "yes yes no unknown",      (folder("/sys/class/iommu"),)),
    ("kernel-not-using-it",              "intel", "interrupt_remapping", "yes yes no unknown",      (logs(),)),
    ("kernel-not-using-it",              "intel", "smap",                "yes n/a no unknown",      (offer(7, 1, 20),)),
    ("kernel-not-using-it",              "amd",   "sev",                 "yes yes no unknown",      (without_parameter("kvm_amd.sev"),)),
    ("kernel-not-using-it",              "intel", "tdx",                 "yes yes no unknown",      (without_parameter("kvm_intel.tdx"),)),
    ("kernel-too-old",                   "amd",   "sev_snp",             "yes yes no unknown",      (without_parameter("kvm_amd.sev_snp"), kernel("6.8.0-40-generic"))),
    ("kernel-too-old",                   "amd",   "x2avic",              "yes yes no unknown",      (kernel("5.15.0"),)),
    ("kernel-too-old",                   "intel", "tdx",                 "yes yes no unknown",      (without_parameter("kvm_intel.tdx"), kernel("6.12.0"))),
    ("kernel-command-line",              "intel", "vmx",                 "yes unknown no unknown",  (no_msrs("Permission denied"), parameters("clearcpuid=vmx"), no_module("kvm_intel"), no_flags)),
    ("kernel-command-line",              "amd",   "svm",                 "yes yes no unknown",      (parameters("clearcpuid=194"), no_module("kvm_amd"), no_flags)),
    ("kernel-module-missing",            "intel", "vmx",                 "yes yes no unknown",      (no_module("kvm_intel"),)),
    ("kernel-module-missing",            "amd",   "kvm",                 "n/a n/a no no",           (no_module("kvm_amd"),)),
    ("kernel-module-blacklisted",        "intel", "vmx",                 "yes yes no unknown",      (no_module("kvm_intel"), parameters("module_blacklist=kvm_intel"))),
    ("kernel-module-blacklisted",        "amd",   "kvm",                 "n/a n/a no no",           (no_module("kvm_amd"), parameters("modprobe.blacklist=nouveau,kvm-amd"))),
    ("kernel-module-blacklisted",        "intel", "vmx",                 "yes yes no unknown",      (no_module("kvm_intel"), file("/etc/modprobe.d/no.conf", "install kvm-intel /bin/false"))),
    ("kernel-module-failed",             "amd",   "svm",                 "yes yes no unknown",      (no_module("kvm_amd"), logs("kvm_amd: Unknown symbol kvm_init (err -2)"))),
    ("module-parameter",                 "intel", "ept",                 "yes yes no unknown",      (parameter("kvm_intel.ept", "N"),)),
    ("module-parameter",                 "intel", "unrestricted_guest",  "yes yes no unknown",      (parameter("kvm_intel.unrestricted_guest", "N"),)),
    ("module-parameter",                 "intel", "vpid",                "yes yes no unknown",      (parameter("kvm_intel.vpid", "N"),)),
    ("module-parameter",                 "intel", "pml",                 "yes yes no unknown",      (parameter("kvm_intel.pml", "N"),)),
    ("module-parameter",                 "intel", "nested",              "yes yes no unknown",      (parameter("kvm_intel.nested", "N"),)),
    ("module-parameter",                 "intel", "apicv",               "yes yes no unknown",      (parameter("kvm_intel.enable_apicv", "N"),)),
    ("module-parameter",                 "intel", "posted_interrupts",   "yes yes no unknown",      (parameter("kvm_intel.enable_apicv", "N"),)),
    ("module-parameter",                 "intel", "tdx",                 "yes yes no unknown",      (parameter("kvm_intel.tdx", "N"),)),
    ("module-parameter",                 "amd",   "npt",                 "yes yes no unknown",      (parameter("kvm_amd.npt", "N"),)),
    ("module-parameter",                 "amd",   "avic",                "yes yes no unknown",      (parameter("kvm_amd.avic", "N"),)),
    ("module-parameter",                 "amd",   "nested",              "yes yes no unknown",      (parameter("kvm_amd.nested", "0"),)),
    ("module-parameter",                 "amd",   "sev",                 "yes yes no unknown",      (parameter("kvm_amd.sev", "N"),)),
    ("module-parameter",                 "amd",   "tsc_scaling",         "yes n/a no unknown",      (parameter("kvm_amd.tsc_scaling", "0"), lambda snapshot: snapshot["kvm"]["extensions"].update(TSC_CONTROL=0))),
    ("other-hypervisor",                 "intel", "vmx",                 "yes yes yes no",          (kvm(create_vm="kvm-busy: EBUSY"), folder("/sys/module/vboxdrv"))),
    ("other-hypervisor",                 "intel", "vmx",                 "yes unknown no unknown",  (no_msrs("Permission denied"), file("/sys/hypervisor/properties/capabilities", "control_d"), no_module("kvm_intel"), no_flags)),
    ("other-hypervisor",                 "amd",   "kvm",                 "n/a n/a yes no",          (kvm(create_vm="kvm-busy: EBUSY"),)),
    ("software-backend",                 "amd",   "svm",                 "yes yes no unknown",      (software,)),
    ("software-backend",                 "intel", "ept",                 "yes yes no unknown",      (software,)),
    ("vulnerable",                       "amd",   "mitigations",         "n/a n/a no n/a",          (file(MELTDOWN, "Vulnerable"),)),
    ("memory-not-backed",                "amd",   "memory_backing",      "n/a n/a no n/a",          (file(THP, "always madvise [never]"),)),
    ("kvm-device-missing",               "amd",   "svm",                 "yes yes no unknown",      (no_kvm,)),
    ("kvm-no-permission",                "amd",   "kvm",                 "n/a n/a yes no",          (closed,)),
    ("kvm-api-version",                  "amd",   "kvm",                 "n/a n/a yes no",          (kvm(api_version=11),)),
    ("kvm-capability-missing",           "amd",   "kvm",                 "n/a n/a yes no",          (kvm(create_vm="kvm-capability-missing: USER_MEMORY"),)),
    ("kvm-error",                        "amd",   "kvm",                 "n/a n/a yes no",          (kvm(create_vm="kvm-error: ENOMEM"),)),
    ("device-node-missing",              "amd",   "device_nodes",        "n/a n/a no n/a",          (no_node("/dev/vhost-net"),)),
    ("device-no-permission",             "amd",   "device_nodes",        "n/a n/a yes no",          (node("/dev/net/tun", access="r"),)),
    ("could-not-read",                   "amd",   "interrupt_remapping", "yes yes unknown unknown", (lost_log,)),
    ("msr-driver-missing",               "intel", "pml",                 "unknown yes no unknown",  (no_msrs("No such file or directory"), parameter("kvm_intel.pml", "N"))),
    ("msr-forbidden",                    "intel", "pml",                 "unknown yes no unknown",  (no_msrs("Operation not permitted"), parameter("kvm_intel.pml", "N"))),
]
# fmt: on
# These are said of requirements or proofs, which test_judge.py covers, and not of claims.
OF_GUESTS = {"refuted-by-guests", "costs-too-much", "emulator-breaks-rules", "guests-on-emulator", "not-run"}


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Snapshot]:
    from importlib import util

    spec = util.spec_from_file_location("conftest_of_probes", Path(__file__).parent / "conftest.py")
    assert spec
    assert spec.loader
    import sys

    conftest = util.module_from_spec(spec)
    sys.modules[spec.name] = conftest
    spec.loader.exec_module(conftest)
    return {
        "intel": conftest.complete_intel(tmp_path_factory.mktemp("intel")).collect(),
        "amd": conftest.complete_amd(tmp_path_factory.mktemp("amd")).collect(),
    }


def claimed(snapshot: Snapshot) -> dict[str, ClaimResult]:
    return {claim.name: claim for claim in claims(ask(snapshot))}


def changed(base: Snapshot, changes: tuple[Change, ...]) -> Snapshot:
    snapshot = Snapshot(copy.deepcopy(dict(base)))
    for change in changes:
        change(snapshot)
    return checked(dict(snapshot))


@pytest.mark.parametrize("name", ["intel", "amd"])
def test_nothing_stands_in_the_way_on_a_complete_server(bases, name):
    found = claimed(bases[name])
    assert {one.name: one.cause_text for one in found.values() if one.cause} == {}
    for claim in found.values():
        asked = {claim.silicon, claim.firmware, claim.kernel}
        assert asked <= {Layer.YES, Layer.NOT_APPLICABLE}, claim.name


@pytest.mark.parametrize(("cause", "base", "claim", "layers", "changes"), ROWS)
def test_one_change_yields_exactly_this_cause(bases, cause, base, claim, layers, changes):
    before = claimed(bases[base])[claim]
    found = claimed(changed(bases[base], changes))[claim]
    assert before.cause is None
    assert (found.cause, found.remedy) == (cause, CAUSES[cause].remedy_id)
    assert f"{found.silicon} {found.firmware} {found.kernel} {found.functional}" == layers
    assert found.cause_text
    assert found.remedy_text
    assert "{" not in found.cause_text + found.remedy_text
    assert "()" not in found.cause_text + found.remedy_text
    assert found.evidence


@pytest.mark.parametrize(("cause", "base", "claim", "layers", "changes"), ROWS)
def test_the_change_changes_the_verdict(bases, cause, base, claim, layers, changes):
    before = claimed(bases[base])[claim]
    asked = tuple(name for name in PROFILE_LAYERS if getattr(before, name) is not Layer.UNKNOWN)  # guests have the rest
    requirement = Requirement(id="it", title="it", severity="major", claims=(claim,), layers=asked)
    profile = Profile(name="p", title="p", requirements=(requirement,))

    def judged(snapshot: Snapshot) -> tuple[Outcome, str | None]:
        judgement = judge(snapshot, (), profile, today=date(2026, 6, 1))
        return judgement.outcome, judgement.findings[0].cause

    decided = "no" in layers.split() or cause == "hidden-by-hypervisor"
    assert judged(bases[base]) == (Outcome.COMPLIANT, None)
    assert judged(changed(bases[base], changes)) == (Outcome.NOT_COMPLIANT if decided else Outcome.UNKNOWN, cause)


def test_every_cause_has_its_row():
    assert {row[0] for row in ROWS} | OF_GUESTS == set(CAUSES)


def test_every_claim_has_its_row():
    assert {claim.name for claim in ALL_CLAIMS} - {row[2] for row in ROWS} == {
        "iommu"
    }  # vt_d or amd_vi by another name


def test_the_documentation_lists_all_causes_as_they_are():
    text = (DOCS / "causes.md").read_text()
    rows = [f"| `{one.id}` | {one.text} | `{one.remedy_id}` | {one.remedy} |" for one in CAUSES.values()]
    listed = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line for line in listed if line.split("`")[1] in CAUSES] == rows
