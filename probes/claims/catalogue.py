"""All claims, in the order people read them."""

from __future__ import annotations

from virtproof.probes.ask import Answers
from virtproof.probes.claims import access, confidential, extensions, host, interrupts, iommu, processor
from virtproof.probes.claims.claim import Claim, Inquiry, Steps, evaluate
from virtproof.results import ClaimResult
from virtproof.spec.cite import Cite, apm, linux, sdm

VMX = (sdm("3C", "Discovering Support for VMX"), sdm("3C", "Enabling and Entering VMX Operation"))
SVM = (apm(2, "Secure Virtual Machine, 'Enabling SVM'"),)
EPT = (sdm("3C", "The Extended Page Table Mechanism (EPT)"),)
NPT = (apm(2, "Secure Virtual Machine, 'Nested Paging'"),)
UNRESTRICTED = (sdm("3C", "Unrestricted Guests"),)
VPID = (sdm("3C", "Virtual Processor Identifiers (VPIDs)"),)
NESTED = (linux("virt/kvm/x86/running-nested-guests.rst", "Running nested guests with KVM"),)
KVM = (linux("virt/kvm/api.rst", "General description"),)
PAGING = (sdm("3A", "Access Rights"), apm(2, "Page Translation and Protection"))
UMIP = (sdm("3A", "Protection of Sequential and System Instructions"), apm(2, "System-Control Registers, 'CR4'"))
PAGE1G = (sdm("3A", "4-Level Paging and 5-Level Paging"), apm(2, "1-Gbyte Page Translation"))
X2APIC = (sdm("3A", "Extended XAPIC (x2APIC)"), apm(2, "x2APIC Support"))
DEADLINE = (sdm("3A", "TSC-Deadline Mode"),)
PCID = (sdm("3A", "Process-Context Identifiers (PCIDs)"), apm(2, "Process Context Identifiers"))
PKU = (sdm("3A", "Protection Keys"), apm(2, "Memory Protection Keys (MPK) Bit"))
XSAVE = (sdm("1", "Managing State Using the XSAVE Feature Set"), apm(2, "XSAVE/XRSTOR Instructions"))
TSC = (sdm("3B", "Invariant TSC"),)
IOMMU = (
    Cite("Intel VT-d specification (D51397-017)", "DMA Remapping"),
    Cite("AMD I/O Virtualization Technology (IOMMU) Specification (48882)", "IOMMU Overview"),
)
REMAPPING = (
    Cite("Intel VT-d specification (D51397-017)", "Interrupt Remapping"),
    Cite("AMD I/O Virtualization Technology (IOMMU) Specification (48882)", "Interrupt Remapping"),
)
ASID = (apm(2, "Secure Virtual Machine, 'TLB Control'"),)
PML = (sdm("3C", "Page-Modification Logging"),)
APICV = (sdm("3C", "APIC Virtualization and Virtual Interrupts"),)
POSTED = (sdm("3C", "Posted-Interrupt Processing"),)
AVIC = (apm(2, "Secure Virtual Machine, 'Advanced Virtual Interrupt Controller'"),)
SCALING = (sdm("3C", "Use TSC Scaling"), apm(2, "Secure Virtual Machine, 'TSC Ratio MSR'"))
SRIOV = (Cite("PCI Express Base Specification 6.0", "Single Root I/O Virtualization and Sharing"),)
SEV = (
    apm(2, "Secure Virtual Machine, 'Secure Encrypted Virtualization'"),
    linux("virt/kvm/x86/amd-memory-encryption.rst", "Overview"),
)
SNP = (apm(2, "Secure Virtual Machine, 'Secure Nested Paging (SEV-SNP)'"),)
TDX = (linux("arch/x86/tdx.rst", "TDX Host Kernel Support"),)
UNIFORM = (sdm("3D", "App. A 'VMX Capability Reporting Facility'"),)
MICROCODE = (sdm("3A", "Microcode Update Facilities"),)
FLAWS = (linux("admin-guide/hw-vuln/index.rst", "Hardware vulnerabilities"),)
HUGE = (linux("admin-guide/mm/hugetlbpage.rst", "HugeTLB Pages"),)
NODES = (linux("networking/tuntap.rst", "Universal TUN/TAP device driver"),)


def kvm(inquiry: Inquiry) -> Steps:
    return access.kvm(inquiry, (extensions.vmx(inquiry), extensions.svm(inquiry)))


def page1g(inquiry: Inquiry) -> Steps:
    return processor.feature("cpu.page1g", "1 GiB pages", "kvm.offers.page1g", ("nogbpages",))(inquiry)


# fmt: off
ALL_CLAIMS = (
    #     name                  title                                            steps                                                                            cite
    Claim("kvm",                "/dev/kvm is there and usable",                  kvm,                                                                             KVM, hardware=False),
    Claim("vmx",                "VMX (Intel VT-x)",                              extensions.vmx,                                                                  VMX),
    Claim("svm",                "SVM (AMD-V)",                                   extensions.svm,                                                                  SVM),
    Claim("ept",                "EPT: second-level address translation (Intel)", extensions.ept,                                                                  EPT),
    Claim("npt",                "NPT: second-level address translation (AMD)",   extensions.npt,                                                                  NPT),
    Claim("unrestricted_guest", "unrestricted guest (Intel)",                    extensions.unrestricted_guest,                                                   UNRESTRICTED),
    Claim("vpid",               "VPID (Intel)",                                  extensions.vpid,                                                                 VPID),
    Claim("asid",               "ASIDs (AMD)",                                   extensions.asid,                                                                 ASID),
    Claim("pml",                "page-modification logging (Intel)",             extensions.pml,                                                                  PML),
    Claim("nested",             "nested virtualization",                         extensions.nested,                                                               NESTED),
    Claim("apicv",              "APIC virtualization (Intel)",                   interrupts.apicv,                                                                APICV),
    Claim("posted_interrupts",  "posted interrupts (Intel)",                     interrupts.posted_interrupts,                                                    POSTED),
    Claim("avic",               "AVIC: virtual interrupt controller (AMD)",      interrupts.avic,                                                                 AVIC),
    Claim("x2avic",             "x2AVIC (AMD)",                                  interrupts.x2avic,                                                               AVIC),
    Claim("nx",                 "NX: no-execute pages",                          processor.nx,                                                                    PAGING),
    Claim("smep",               "SMEP",                                          processor.feature("cpu.smep", "SMEP", "kvm.offers.smep", ("nosmep",)),           PAGING),
    Claim("smap",               "SMAP",                                          processor.feature("cpu.smap", "SMAP", "kvm.offers.smap", ("nosmap",)),           PAGING),
    Claim("umip",               "UMIP",                                          processor.feature("cpu.umip", "UMIP", "kvm.offers.umip"),                        UMIP),
    Claim("page1g",             "1 GiB pages",                                   page1g,                                                                          PAGE1G),
    Claim("la57",               "5-level paging",                                processor.feature("cpu.la57", "5-level paging", "kvm.offers.la57", ("no5lvl",)), PAGE1G),
    Claim("x2apic",             "x2APIC",                                        processor.feature("cpu.x2apic", "x2APIC", "kvm.offers.x2apic", ("nox2apic",)),   X2APIC),
    Claim("tsc_deadline",       "TSC deadline timer",                            processor.feature("cpu.tsc_deadline", "the TSC deadline timer", "kvm.cap.tsc_deadline_timer"), DEADLINE),
    Claim("pcid",               "PCIDs: process-context identifiers",            processor.feature("cpu.pcid", "PCIDs", "kvm.offers.pcid", ("nopcid",)),            PCID),
    Claim("invpcid",            "INVPCID",                                       processor.feature("cpu.invpcid", "INVPCID", "kvm.offers.invpcid", ("noinvpcid",)), PCID),
    Claim("pku",                "protection keys for user pages",                processor.feature("cpu.pku", "protection keys", "kvm.offers.pku", ("nopku",)),    PKU),
    Claim("xsave",              "XSAVE: extended state",                         processor.feature("cpu.xsave", "XSAVE", "kvm.offers.xsave", ("noxsave",)),         XSAVE),
    Claim("tsc_invariant",      "invariant TSC",                                 processor.tsc_invariant,                                                         TSC),
    Claim("tsc_scaling",        "TSC scaling",                                   host.tsc_scaling,                                                                SCALING),
    Claim("iommu",              "an IOMMU that the kernel uses",                 iommu.iommu,                                                                     IOMMU),
    Claim("vt_d",               "VT-d (Intel)",                                  iommu.vt_d,                                                                      IOMMU[:1]),
    Claim("amd_vi",             "AMD-Vi",                                        iommu.amd_vi,                                                                    IOMMU[1:]),
    Claim("interrupt_remapping", "interrupt remapping",                          interrupts.interrupt_remapping,                                                  REMAPPING),
    Claim("sr_iov",             "SR-IOV: devices with virtual functions",        host.sr_iov,                                                                     SRIOV),
    Claim("sev",                "SEV: guests with encrypted memory (AMD)",       confidential.sev,                                                                SEV),
    Claim("sev_es",             "SEV-ES: encrypted register state (AMD)",        confidential.sev_es,                                                             SEV),
    Claim("sev_snp",            "SEV-SNP: memory with integrity (AMD)",          confidential.sev_snp,                                                            SNP),
    Claim("tdx",                "TDX: trust domains (Intel)",                    confidential.tdx,                                                                TDX),
    Claim("uniformity",         "all CPUs have the same features",               host.uniformity,                                                                 UNIFORM, hardware=False),
    Claim("microcode",          "all CPUs run the same microcode",               host.microcode,                                                                  MICROCODE, hardware=False),
    Claim("mitigations",        "flaws of the processor are mitigated",          host.mitigations,                                                                FLAWS, hardware=False),
    Claim("memory_backing",     "huge pages for guests",                         host.memory_backing,                                                             HUGE, hardware=False),
    Claim("device_nodes",       "device nodes for guests' networks",             host.device_nodes,                                                               NODES, hardware=False),
)
# fmt: on


def claims(answers: Answers) -> tuple[ClaimResult, ...]:
    """Every claim, before any guest is heard."""
    return tuple(evaluate(claim, answers) for claim in ALL_CLAIMS)
