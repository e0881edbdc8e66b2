"""The host is wrong: a snapshot of a server in order with one bit changed, and the claim and cause that must tell of it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from virtproof.probes.cpus import render
from virtproof.probes.snapshot import Snapshot

Change = Callable[[Snapshot], None]
CPUS = 4  # of each host


@dataclass(frozen=True, slots=True)
class HostMutant:
    """``claim`` must be told with ``cause``, which it is not in the healthy host."""

    id: str
    wrong: str
    host: Literal["intel", "amd"]
    change: Change
    claim: str
    cause: str


def cpuid(leaf: int, register: str, number: int, *, cpu: int | None = None) -> Change:
    """A bit of CPUID is inverted, on all CPUs or on one."""
    column = ("eax", "ebx", "ecx", "edx").index(register)

    def change(snapshot: Snapshot) -> None:
        changed: dict[str, str] = {}
        for text, cpus in snapshot["cpuid"]["values"][f"{leaf:08x}.00"].items():
            words = text.split()
            words[column] = f"{int(words[column], 16) ^ 1 << number:08x}"
            if cpu is not None:
                changed[text] = render(set(range(CPUS)) - {cpu})
            changed[" ".join(words)] = cpus if cpu is None else str(cpu)
        snapshot["cpuid"]["values"][f"{leaf:08x}.00"] = changed

    return change


def msr(index: int, number: int) -> Change:
    """A bit of an MSR is inverted on all CPUs."""

    def change(snapshot: Snapshot) -> None:
        values = snapshot["msr"]["values"]
        values[f"{index:#x}"] = {
            f"{int(text, 16) ^ 1 << number:#x}": cpus for text, cpus in values[f"{index:#x}"].items()
        }

    return change


def offered(leaf: int, register: str, number: int) -> Change:
    """KVM does not offer a bit to guests."""
    column = ("eax", "ebx", "ecx", "edx").index(register)

    def change(snapshot: Snapshot) -> None:
        offers = snapshot["kvm"]["supported_cpuid"]
        words = offers[f"{leaf:08x}.00"].split()
        words[column] = f"{int(words[column], 16) ^ 1 << number:08x}"
        offers[f"{leaf:08x}.00"] = " ".join(words)

    return change


def parameter(module: str, name: str) -> Change:
    """A switch of a kernel module is off."""

    def change(snapshot: Snapshot) -> None:
        snapshot["files"]["values"][f"/sys/module/{module}/parameters/{name}"] = "N"

    return change


def dmar_flag(snapshot: Snapshot) -> None:
    """Bit 0 of the DMAR's flags, INTR_REMAP."""
    table = snapshot["acpi"]["tables"]["DMAR"]
    data = bytearray(base64.b64decode(table["data"]))
    data[37] ^= 1
    table["data"] = base64.b64encode(bytes(data)).decode()
    snapshot["log"]["lines"] = []


MSR_VMX, VM_CR, EPT_CONTROLS = 0x3A, 0xC001_0114, 0x48B
# fmt: off
HOSTS = (
    HostMutant("host.vmx_off",       "IA32_FEATURE_CONTROL forbids VMX",              "intel", msr(MSR_VMX, 2),                           "vmx",                 "firmware-off-vmx"),
    HostMutant("host.vmx_absent",    "CPUID has no VMX, though KVM runs",             "intel", cpuid(1, "ecx", 5),                        "vmx",                 "not-in-silicon"),
    HostMutant("host.ept",           "The controls of VMX do not allow EPT",          "intel", msr(EPT_CONTROLS, 33),                     "ept",                 "not-in-silicon"),
    HostMutant("host.vpid",          "The controls of VMX do not allow VPID",         "intel", msr(EPT_CONTROLS, 37),                     "vpid",                "not-in-silicon"),
    HostMutant("host.unrestricted",  "The controls of VMX do not allow unrestricted guests", "intel", msr(EPT_CONTROLS, 39),              "unrestricted_guest",  "not-in-silicon"),
    HostMutant("host.pml",           "The controls of VMX do not allow PML",          "intel", msr(EPT_CONTROLS, 49),                     "pml",                 "not-in-silicon"),
    HostMutant("host.ept_parameter", "kvm_intel was loaded with ept=N",               "intel", parameter("kvm_intel", "ept"),             "ept",                 "module-parameter"),
    HostMutant("host.smap",          "CPUID has no SMAP",                             "intel", cpuid(7, "ebx", 20),                       "smap",                "not-in-silicon"),
    HostMutant("host.smap_one",      "CPUID of one CPU has no SMAP",                  "intel", cpuid(7, "ebx", 20, cpu=3),                "uniformity",          "cpus-differ"),
    HostMutant("host.smep_offered",  "KVM does not offer SMEP",                       "intel", offered(7, "ebx", 7),                      "smep",                "kernel-not-using-it"),
    HostMutant("host.x2apic",        "CPUID has no x2APIC",                           "intel", cpuid(1, "ecx", 21),                       "x2apic",              "not-in-silicon"),
    HostMutant("host.intr_remap",    "The DMAR does not announce interrupt remapping", "intel", dmar_flag,                                "interrupt_remapping", "firmware-no-interrupt-remapping"),
    HostMutant("host.svm_off",       "VM_CR.SVMDIS is set",                           "amd",   msr(VM_CR, 4),                             "svm",                 "firmware-off-svm"),
    HostMutant("host.svm_absent",    "CPUID has no SVM, though KVM runs",             "amd",   cpuid(0x8000_0001, "ecx", 2),              "svm",                 "not-in-silicon"),
    HostMutant("host.npt",           "CPUID has no nested paging",                    "amd",   cpuid(0x8000_000A, "edx", 0),              "npt",                 "not-in-silicon"),
    HostMutant("host.npt_parameter", "kvm_amd was loaded with npt=N",                 "amd",   parameter("kvm_amd", "npt"),               "npt",                 "module-parameter"),
    HostMutant("host.nx",            "CPUID has no NX",                               "amd",   cpuid(0x8000_0001, "edx", 20),             "nx",                  "not-in-silicon"),
    HostMutant("host.page1g",        "CPUID has no 1 GiB pages",                      "amd",   cpuid(0x8000_0001, "edx", 26),             "page1g",              "not-in-silicon"),
    HostMutant("host.tsc",           "CPUID says that the TSC is not invariant",      "amd",   cpuid(0x8000_0007, "edx", 8),              "tsc_invariant",       "not-in-silicon"),
    HostMutant("host.sev",           "SYSCFG has memory encryption off",              "amd",   msr(0xC001_0010, 23),                      "sev",                 "firmware-off-memory-encryption"),
    HostMutant("host.avic",          "CPUID has no AVIC",                             "amd",   cpuid(0x8000_000A, "edx", 13),             "avic",                "not-in-silicon"),
    HostMutant("host.pcid",          "CPUID has no PCIDs",                            "intel", cpuid(1, "ecx", 17),                       "pcid",                "not-in-silicon"),
    HostMutant("host.invpcid",       "KVM does not offer INVPCID",                    "intel", offered(7, "ebx", 10),                     "invpcid",             "kernel-not-using-it"),
    HostMutant("host.pku",           "KVM does not offer protection keys",            "intel", offered(7, "ecx", 3),                      "pku",                 "kernel-not-using-it"),
    HostMutant("host.xsave",         "CPUID has no XSAVE",                            "amd",   cpuid(1, "ecx", 26),                       "xsave",               "not-in-silicon"),
    HostMutant("host.tsc_deadline",  "CPUID has no TSC deadline timer",               "intel", cpuid(1, "ecx", 24),                       "tsc_deadline",        "not-in-silicon"),
    HostMutant("host.smep_one",      "CPUID of one CPU has no SMEP",                  "amd",   cpuid(7, "ebx", 7, cpu=2),                 "uniformity",          "cpus-differ"),
)
# fmt: on
