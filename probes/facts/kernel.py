"""The kernel's side: KVM's modules and parameters, /dev/kvm and who may use it."""

from __future__ import annotations

from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, directory, entries, flag, node, node_exists, parameter, text
from virtproof.probes.sources.files import CMDLINE
from virtproof.spec.cite import linux

API = linux("virt/kvm/api.rst", "General description")
PARAMETERS = linux("admin-guide/kernel-parameters.txt", "kvm")
MODULE = linux("ABI/stable/sysfs-module", "/sys/module/<MODULENAME>")
HUGE = linux("admin-guide/mm/hugetlbpage.rst", "HugeTLB Pages")
CPUINFO = linux("arch/x86/cpuinfo.rst", "x86 Feature Flags")
PROC = linux("filesystems/proc.rst", "Kernel data")

# Modules of hypervisors that take VMX or SVM for themselves.
OTHERS = ("vboxdrv", "vmmon", "acrn", "jailhouse", "mshv_root")


def backend_name(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """The module behind /dev/kvm: ``none`` where there is no /dev/kvm; unknown where several may own it."""
    backend = snapshot.kvm("backend")
    if backend is None:
        return Unknown("the snapshot does not say what is behind /dev/kvm")
    return Unknown(backend["detail"]) if backend["name"] == "unknown" else (Seen(backend["name"], backend["detail"]),)


def backend_software(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Does KVM run guests without the processor's virtualization?"""
    backend = snapshot.kvm("backend")
    if backend is None or backend["software"] is None:
        return Unknown(backend["detail"] if backend else "the snapshot does not say what is behind /dev/kvm")
    return (Seen(backend["software"], backend["detail"]),)


def kvm_obstacle(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """The id of what stood in the way of opening /dev/kvm; empty where nothing did."""
    if (cause := snapshot.kvm("cause")) is not None:
        return (Seen(cause, snapshot.obstacle("kvm") or cause),)
    if snapshot.kvm("api_version") is not None:
        return (Seen("", "opened"),)
    return Unknown(snapshot.obstacle("kvm") or "/dev/kvm was not asked")


def other_modules(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Loaded modules of other hypervisors; empty where there are none."""
    if "files" not in snapshot:
        return Unknown("the snapshot has no files")
    loaded = [name for name in OTHERS if snapshot.names(f"/sys/module/{name}") is not None]
    return (Seen(" ".join(loaded), "/sys/module"),)


def _parameters(module: str, rows: tuple[tuple[str, str, str], ...]) -> tuple[Fact, ...]:
    return tuple(
        Fact(f"{module}.{name}", parameter(module, name), f"{module}.{name}: {meaning}", PARAMETERS, (ref,))
        for name, meaning, ref in rows
    )


# fmt: off
NODES = (
    #    id                  source                                                     meaning                                          cite       refs
    Fact("kvm.node",         node_exists("/dev/kvm"),                                   "/dev/kvm exists",                               API,       ("KE-001",)),
    Fact("kvm.access",       node("/dev/kvm", "access"),                                "what this user may do with /dev/kvm",           API,       ("KE-002",)),
    Fact("kvm.mode",         node("/dev/kvm", "mode"),                                  "mode of /dev/kvm",                              API),
    Fact("kvm.owner",        node("/dev/kvm", "owner"),                                 "owner of /dev/kvm",                             API),
    Fact("kvm.group",        node("/dev/kvm", "group"),                                 "group of /dev/kvm",                             API),
    Fact("kvm.in_group",     node("/dev/kvm", "in_group"),                              "this user is in the group of /dev/kvm",         API),
    Fact("kvm.backend",      derived("/sys/module", backend_name),                      "the module behind /dev/kvm",                    MODULE,    ("KE-006",)),
    Fact("kvm.software",     derived("/sys/module", backend_software),                  "KVM runs guests in software",                   MODULE,    ("KE-006",)),
    Fact("kvm.obstacle",     derived("open /dev/kvm", kvm_obstacle),                    "what stands in the way of opening /dev/kvm",    API),
    Fact("kvm.loaded",       directory("/sys/module/kvm"),                              "the module kvm is loaded",                      MODULE),
    Fact("kvm_intel.loaded", directory("/sys/module/kvm_intel"),                        "the module kvm_intel is loaded",                MODULE),
    Fact("kvm_amd.loaded",   directory("/sys/module/kvm_amd"),                          "the module kvm_amd is loaded",                  MODULE),
    Fact("linux.apicv",      flag("apicv", "vmx flags"),                                "Linux lists apicv: all of APIC virtualization", CPUINFO,  ("CV-109",)),
    Fact("linux.flexpriority", flag("flexpriority", "vmx flags"),                       "Linux lists flexpriority: a TPR shadow and virtual APIC accesses", CPUINFO, ("CV-110",)),
    Fact("other.modules",    derived("/sys/module", other_modules),                     "modules of other hypervisors",                  MODULE,    ("KE-107",)),
    Fact("kernel.release",   text("/proc/sys/kernel/osrelease"),                        "kernel release",                                PROC,      ("KE-105",)),
    Fact("kernel.boot_id",   text("/proc/sys/kernel/random/boot_id"),                   "random name of this boot",                      PROC),
    Fact("kernel.taint",     text("/proc/sys/kernel/tainted"),                          "kernel taint flags",                            PROC,      ("KE-106",)),
    Fact("kernel.parameters", text(CMDLINE),                                            "kernel parameters about virtualization",        PROC),
    Fact("msr.device",       node_exists("/dev/cpu/0/msr"),                             "the msr driver is there",                       PROC,      ("KE-092",)),
    Fact("cpuid.device",     node_exists("/dev/cpu/0/cpuid"),                           "the cpuid driver is there",                     PROC,      ("KE-093",)),
    Fact("vhost_net.node",   node_exists("/dev/vhost-net"),                             "/dev/vhost-net exists",                         API,       ("KE-094",)),
    Fact("vhost_vsock.node", node_exists("/dev/vhost-vsock"),                           "/dev/vhost-vsock exists",                       API,       ("KE-095",)),
    Fact("vhost_net.access", node("/dev/vhost-net", "access"),                          "what this user may do with /dev/vhost-net",     API,       ("KE-094",)),
    Fact("tun.access",       node("/dev/net/tun", "access"),                            "what this user may do with /dev/net/tun",       API,       ("KE-096",)),
    Fact("tun.node",         node_exists("/dev/net/tun"),                               "/dev/net/tun exists",                           API,       ("KE-096",)),
    Fact("hugepages.1g",     entries("/sys/kernel/mm/hugepages", "hugepages-1048576kB"),  "the kernel has 1 GiB huge pages",              HUGE),
)

INTEL = _parameters("kvm_intel", (
    ("ept",                         "extended page tables",                      "KE-008"),
    ("unrestricted_guest",          "real mode runs natively",                   "KE-009"),
    ("eptad",                       "accessed and dirty flags in EPT",           "KE-010"),
    ("vpid",                        "virtual-processor identifiers",             "KE-011"),
    ("flexpriority",                "TPR shadow",                                "KE-012"),
    ("vnmi",                        "virtual NMIs",                              "KE-013"),
    ("enable_apicv",                "APIC virtualization",                       "KE-014"),
    ("enable_ipiv",                 "IPI virtualization",                        "KE-015"),
    ("nested",                      "guests may run guests",                     "KE-016"),
    ("enable_shadow_vmcs",          "VMCS shadowing for nested guests",          "KE-017"),
    ("pml",                         "page-modification logging",                 "KE-018"),
    ("preemption_timer",            "VMX-preemption timer",                      "KE-019"),
    ("ple_gap",                     "PAUSE-loop gap, 0 is off",                  "KE-020"),
    ("pt_mode",                     "processor trace: 0 the host's, 1 guests'",  "KE-021"),
    ("vmentry_l1d_flush",           "L1D flush on VM entry",                     "KE-022"),
    ("allow_smaller_maxphyaddr",    "guests with fewer address bits",            "KE-023"),
    ("sgx",                         "SGX guests",                                "KE-024"),
    ("emulate_invalid_guest_state", "invalid guest states are emulated",         "KE-025"),
))

AMD = _parameters("kvm_amd", (
    ("npt",                         "nested page tables",                        "KE-026"),
    ("nested",                      "guests may run guests",                     "KE-027"),
    ("nrips",                       "next RIP from hardware",                    "KE-028"),
    ("vls",                         "virtualized VMSAVE and VMLOAD",             "KE-029"),
    ("vgif",                        "virtual GIF",                               "KE-030"),
    ("vnmi",                        "virtual NMI",                               "KE-031"),
    ("lbrv",                        "LBR virtualization",                        "KE-032"),
    ("tsc_scaling",                 "TSC scaling",                               "KE-033"),
    ("avic",                        "virtual interrupt controller",              "KE-034"),
    ("force_avic",                  "AVIC on processors that do not list it",    "KE-035"),
    ("pause_filter_count",          "PAUSE filter count",                        "KE-036"),
    ("intercept_smi",               "SMIs are intercepted",                      "KE-037"),
))

COMMON = _parameters("kvm", (
    ("nx_huge_pages",               "huge pages are not executable",             "KE-038"),
    ("tdp_mmu",                     "the MMU for nested paging",                 "KE-039"),
    ("mmio_caching",                "MMIO faults are cached",                    "KE-040"),
    ("enable_pmu",                  "guests have a PMU",                         "KE-041"),
    ("ignore_msrs",                 "unknown MSRs are ignored",                  "KE-042"),
    ("halt_poll_ns",                "polling before a halted guest sleeps",      "KE-043"),
    ("enable_virt_at_load",         "virtualization is turned on at module load", "KE-044"),
    ("eager_page_split",            "huge pages are split ahead of time",        "KE-045"),
    ("mitigate_smt_rsb",            "return predictions across SMT",             "KE-046"),
    ("enable_vmware_backdoor",      "VMware's backdoor port",                    "KE-047"),
    ("force_emulation_prefix",      "a prefix forces emulation",                 "KE-048"),
))
# fmt: on

FACTS = (*NODES, *INTEL, *AMD, *COMMON)
