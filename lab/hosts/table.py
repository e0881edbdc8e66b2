"""The lab hosts: what is wrong with each, and what virtproof must say about it."""

from __future__ import annotations

from dataclasses import dataclass

from virtproof.lab.hosts.machine import Emulator
from virtproof.results import Outcome

QEMU, BOCHS = Emulator.QEMU, Emulator.BOCHS
CLOUD, GENERIC = "cloud-amd64", "amd64"  # flavours of Debian's kernel; the cloud kernel has no driver for AMD's IOMMU
ROOT, SOMEBODY = 0, 1000

# QEMU's processors say that they are virtual; with that bit off, kernel and virtproof take the machine for a real one.
EPYC, INTEL_WITHOUT_VMX = "EPYC,-hypervisor", "Skylake-Client,-hypervisor"
SKYLAKE, LYNNFIELD, PENRYN, PRESCOTT = (
    "corei7_skylake_x",
    "corei5_lynnfield_750",
    "core2_penryn_t9600",
    "p4_prescott_celeron_336",
)
RYZEN = "ryzen"

VM_CR, SVMDIS_AND_LOCK = 0xC001_0114, 0x18  # AMD APM vol. 2, VM_CR MSR (C001_0114h)


@dataclass(frozen=True, slots=True)
class Expected:
    """The verdict, and what names the injected cause and its remedy: ``finding ID`` or ``claim NAME``."""

    outcome: Outcome
    where: str
    cause: str | None = None
    remedy: str | None = None


def met(where: str) -> Expected:
    """Compliant, and ``where`` has nothing to say."""
    return Expected(Outcome.COMPLIANT, where)


def noted(where: str, cause: str, remedy: str) -> Expected:
    """Compliant: what is wrong does not gate, but is named."""
    return Expected(Outcome.COMPLIANT, where, cause, remedy)


def refused(where: str, cause: str, remedy: str) -> Expected:
    """Not compliant."""
    return Expected(Outcome.NOT_COMPLIANT, where, cause, remedy)


@dataclass(frozen=True, slots=True)
class LabHost:
    """One emulated host.

    ``kvm``: the module of KVM with its parameters, empty where none is loaded; ``drivers``: modules loaded before;
    ``wrmsr``: pairs (number, value) written to each CPU in between, as firmware would have.
    """

    name: str
    emulator: Emulator
    cpu: str
    fault: str
    expected: Expected
    kvm: str
    kernel: str = CLOUD
    parameters: str = ""
    firmware: str = ""
    devices: tuple[str, ...] = ()
    cpus: int = 1
    user: int = ROOT
    drivers: tuple[str, ...] = ("cpuid", "msr")
    wrmsr: tuple[tuple[int, int], ...] = ()


# Bochs refuses the descriptor of posted interrupts: with them no VM with an interrupt controller enters.
INTEL = "kvm_intel enable_apicv=0"

HARDWARE, PAGING = "finding hardware-virtualization", "finding nested-paging"
SILICON = ("not-in-silicon", "replace-processor")
FIRMWARE = "enable-in-firmware"
PARAMETER = ("module-parameter", "set-module-parameter")

HOSTS = (
    LabHost("amd-npt", QEMU, EPYC, "nothing", met(HARDWARE), "kvm_amd npt=1"),
    LabHost("amd-shadow", QEMU, EPYC, "kvm_amd npt=0", refused(PAGING, *PARAMETER), "kvm_amd npt=0"),
    LabHost("amd-no-npt-cpuid", QEMU, f"{EPYC},-npt", "CPUID without NPT", refused(PAGING, *SILICON), "kvm_amd"),
    LabHost("amd-no-svm", QEMU, f"{EPYC},-svm", "CPUID without SVM", refused(HARDWARE, *SILICON), "kvm_amd"),
    LabHost(
        "amd-svmdis", BOCHS, RYZEN, "VM_CR.SVMDIS set and locked, as firmware does",
        refused(HARDWARE, "firmware-off-svm", FIRMWARE), "kvm_amd", wrmsr=((VM_CR, SVMDIS_AND_LOCK),),
    ),
    LabHost("amd-smp2", QEMU, EPYC, "nothing; two processors", met(HARDWARE), "kvm_amd", cpus=2),
    LabHost(
        "amd-iommu", QEMU, EPYC, "nothing; AMD IOMMU with interrupt remapping", met("claim interrupt_remapping"), "kvm_amd",
        kernel=GENERIC, devices=("amd-iommu,intremap=on",),
    ),
    LabHost(
        "amd-iommu-noremap", QEMU, EPYC, "AMD IOMMU whose IVRS table rules interrupt remapping out",
        noted("claim interrupt_remapping", "firmware-no-interrupt-remapping", FIRMWARE), "kvm_amd",
        kernel=GENERIC, devices=("amd-iommu,intremap=off",),
    ),
    LabHost(
        "amd-iommu-off", QEMU, EPYC, "AMD IOMMU there, kernel told amd_iommu=off",
        noted("claim amd_vi", "kernel-command-line", "edit-command-line"), "kvm_amd",
        kernel=GENERIC, devices=("amd-iommu,intremap=on",), parameters="amd_iommu=off",
    ),
    LabHost("amd-nested-off", QEMU, EPYC, "kvm_amd nested=0", noted("claim nested", *PARAMETER), "kvm_amd nested=0"),
    LabHost("intel-ept", BOCHS, SKYLAKE, "nothing", met(HARDWARE), INTEL),
    LabHost("intel-ept-off", BOCHS, SKYLAKE, "kvm_intel ept=0", refused(PAGING, *PARAMETER), f"{INTEL} ept=0"),
    LabHost("intel-no-ept", BOCHS, PENRYN, "a processor without EPT", refused(PAGING, *SILICON), INTEL),
    LabHost(
        "intel-no-unrestricted", BOCHS, LYNNFIELD, "a processor without unrestricted guest",
        refused("finding unrestricted-guest", *SILICON), INTEL,
    ),
    LabHost("intel-no-vmx", BOCHS, PRESCOTT, "a processor without VMX", refused(HARDWARE, *SILICON), INTEL),
    LabHost(
        "intel-locked-off", BOCHS, SKYLAKE, "the BIOS locks IA32_FEATURE_CONTROL without VMX",
        refused(HARDWARE, "firmware-off-vmx", FIRMWARE), INTEL, firmware="locked-off",
    ),
    LabHost(
        "intel-unlocked", BOCHS, SKYLAKE, "the BIOS leaves IA32_FEATURE_CONTROL unlocked; Linux turns VMX on and locks it",
        met(HARDWARE), INTEL, firmware="unlocked",
    ),
    LabHost("intel-no-vpid", BOCHS, SKYLAKE, "kvm_intel vpid=0", noted("claim vpid", *PARAMETER), f"{INTEL} vpid=0"),
    LabHost("intel-pml-off", BOCHS, SKYLAKE, "kvm_intel pml=0", noted("claim pml", *PARAMETER), f"{INTEL} pml=0"),
    LabHost(
        "dmar-on", QEMU, INTEL_WITHOUT_VMX, "VT-d there and used, the processor without VMX",
        refused(HARDWARE, *SILICON), INTEL, devices=("intel-iommu,intremap=on",), parameters="intel_iommu=on",
    ),
    LabHost(
        "kvm-module-missing", QEMU, EPYC, "kvm_amd not loaded",
        refused(HARDWARE, "kernel-module-missing", "load-module"), "",
    ),
    LabHost(
        "kvm-no-permission", QEMU, EPYC, "run by a user who may not open /dev/kvm",
        refused("finding kvm-usable", "kvm-no-permission", "join-group"), "kvm_amd", user=SOMEBODY,
    ),
    LabHost(
        "msr-module-missing", BOCHS, SKYLAKE, "the msr driver is not loaded",
        noted("finding registers-readable", "msr-driver-missing", "load-msr-driver"), INTEL,
        drivers=("cpuid",),
    ),
    LabHost("nx-off", QEMU, f"{EPYC},-nx", "CPUID without NX", refused("finding no-execute", *SILICON), "kvm_amd"),
)  # fmt: skip
