"""How the kernel was built, what it was told on its command line, and what it said in its log."""

from __future__ import annotations

from virtproof.probes.fact import Fact
from virtproof.probes.source import logged, text
from virtproof.probes.source_linux import boot, chosen, kconfig
from virtproof.spec.cite import linux

PARAMETERS = "admin-guide/kernel-parameters.txt"
KCONFIG = linux("kbuild/kconfig-language.rst", "Kconfig Language")
LOCKDOWN = linux("ABI/testing/securityfs-secadv", "/sys/kernel/security/lockdown")
LSM = linux("admin-guide/LSM/index.rst", "Linux Security Module Usage")
SPLIT_LOCK = linux("arch/x86/buslock.rst", "Software handling")
DMAR = linux("arch/x86/iommu.rst", "x86 IOMMU Support")
SRIOV = linux("PCI/pci-iov-howto.rst", "PCI Express I/O Virtualization Howto")
MICROCODE = linux("arch/x86/microcode.rst", "The Linux Microcode Loader")
CLOCK = linux("timers/timekeeping.rst", "Clock sources")


def _built(name: str, symbol: str, meaning: str, *refs: str) -> Fact:
    return Fact(f"kconfig.{name}", kconfig(symbol), f"the kernel is built with {meaning}", KCONFIG, refs)


def _told(name: str, parameters: tuple[str, ...], meaning: str, *refs: str) -> Fact:
    return Fact(f"boot.{name}", boot(*parameters), meaning, linux(PARAMETERS, parameters[0]), refs)


# fmt: off
BUILT = (
    _built("kvm",                   "KVM",                      "KVM",                                        "KE-090"),
    _built("kvm_intel",             "KVM_INTEL",                "KVM for VMX",                                "KE-090"),
    _built("kvm_amd",               "KVM_AMD",                  "KVM for SVM",                                "KE-090"),
    _built("kvm_amd_sev",           "KVM_AMD_SEV",              "SEV guests"),
    _built("kvm_intel_tdx",         "KVM_INTEL_TDX",            "TDX guests"),
    _built("msr",                   "X86_MSR",                  "the msr driver, which MSR facts need",       "KE-091"),
    _built("cpuid",                 "X86_CPUID",                "the cpuid driver",                           "KE-091"),
    _built("dmi",                   "DMIID",                    "DMI names in sysfs",                         "KE-091"),
    _built("efivar",                "EFIVAR_FS",                "efivarfs",                                   "KE-091"),
    _built("intel_iommu",           "INTEL_IOMMU",              "VT-d"),
    _built("intel_iommu_on",        "INTEL_IOMMU_DEFAULT_ON",   "VT-d on unless told otherwise",              "KE-109"),
    _built("amd_iommu",             "AMD_IOMMU",                "AMD-Vi"),
    _built("irq_remap",             "IRQ_REMAP",                "interrupt remapping"),
    _built("vfio",                  "VFIO",                     "VFIO"),
    _built("vfio_pci",              "VFIO_PCI",                 "VFIO for PCI devices"),
    _built("pci_iov",               "PCI_IOV",                  "SR-IOV"),
    _built("vhost_net",             "VHOST_NET",                "vhost-net"),
    _built("tun",                   "TUN",                      "TUN and TAP"),
    _built("hugetlbfs",             "HUGETLBFS",                "huge pages"),
)

TOLD = (
    #     id                  parameters                                        meaning                                     ref
    _told("intel_iommu",      ("intel_iommu",),                                 "told about VT-d",                          "KE-109"),
    _told("amd_iommu",        ("amd_iommu",),                                   "told about AMD-Vi",                        "KE-110"),
    _told("iommu",            ("iommu", "iommu.passthrough", "iommu.strict"),   "told about IOMMUs",                        "KE-111"),
    _told("nested",           ("kvm-intel.nested", "kvm-amd.nested"),           "told about guests of guests",              "KE-112"),
    _told("mitigations",      ("mitigations",),                                 "told about mitigations",                   "KE-113"),
    _told("nosmt",            ("nosmt",),                                       "told to leave SMT off",                    "KE-114"),
    _told("hugepages",        ("default_hugepagesz", "hugepagesz", "hugepages"), "told to reserve huge pages",              "KE-115"),
    _told("isolation",        ("isolcpus", "nohz_full", "rcu_nocbs"),           "told to keep CPUs free",                   "KE-116"),
    _told("cleared_features", ("clearcpuid", "nopku", "noxsave", "noxsaveopt", "noxsaves"), "told to hide processor features", "KE-117"),
    _told("tsx",              ("tsx",),                                         "told about TSX",                           "KE-118"),
    _told("intremap",         ("intremap", "nointremap"),                       "told about interrupt remapping",           "KE-119"),
    _told("acs_override",     ("pcie_acs_override",),                           "told to break up IOMMU groups (a patch)",  "KE-120"),
    _told("split_lock",       ("split_lock_detect",),                           "told what to do about split locks",        "KE-108"),
)

SAID = (
    #    id                   source: the line, what it means, the first kernel that is sure to log it
    Fact("log.split_lock",    logged(r"x86/split lock detection: ", "split locks are detected", (5, 7)),
                              "the kernel detects split locks",                                    SPLIT_LOCK, ("KE-108",)),
    Fact("log.dmar_errors",   logged(r"DMAR: .*(handling fault|fault addr|fault reason|Failed to|Invalid)|DMAR.*(BIOS is broken|Firmware Bug)|Firmware Bug.*DMAR|BIOS is broken; DMAR", "VT-d faults or a broken table"),
                              "the kernel logged faults of VT-d, or of its table",                 DMAR,       ("IO-010",)),
    Fact("log.sriov_no_space", logged(r"not enough MMIO resources for SR-IOV", "no address space for virtual functions"),
                              "firmware left no address space for virtual functions",              SRIOV),
    Fact("log.x2apic_refused", logged(r"BIOS .*requested that x2apic be disabled|x2apic: IRQ remapping doesn't support|x2apic: Not supported without IRQ|x2apic disabled", "x2APIC is off"),
                              "the kernel logged that it does not use x2APIC",                     DMAR),
    Fact("log.locked_down",   logged(r"Kernel is locked down from", "lockdown", (5, 4)),
                              "the kernel logged that it is locked down",                          LOCKDOWN),
    Fact("log.secure_boot",   logged(r"[Ss]ecure ?[Bb]oot (mode )?enabled", "Secure Boot"),
                              "the kernel logged Secure Boot",                                     LOCKDOWN),
    Fact("log.microcode_early", logged(r"microcode: .*[Uu]pdated early", "microcode was updated at boot"),
                              "the kernel updated the microcode at boot",                          MICROCODE),
    Fact("log.tsc_unstable",  logged(r"tsc: Marking TSC unstable", "the TSC is unstable"),
                              "the kernel gave the TSC up",                                        CLOCK),
)

POLICY = (
    Fact("lockdown",          chosen("/sys/kernel/security/lockdown"), "kernel lockdown (MSRs can still be read)", LOCKDOWN, ("SE-050",)),
    Fact("lsm",               text("/sys/kernel/security/lsm"),        "Linux security modules",                   LSM),
)
# fmt: on

FACTS = (*BUILT, *TOLD, *SAID, *POLICY)
