"""All claims, in the order people read them."""

from __future__ import annotations

from virtproof.probes.ask import Answers
from virtproof.probes.claims import access, extensions, iommu, processor
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
TSC = (sdm("3B", "Invariant TSC"),)
IOMMU = (
    Cite("Intel VT-d specification (D51397-017)", "DMA Remapping"),
    Cite("AMD I/O Virtualization Technology (IOMMU) Specification (48882)", "IOMMU Overview"),
)


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
    Claim("nested",             "nested virtualization",                         extensions.nested,                                                               NESTED),
    Claim("nx",                 "NX: no-execute pages",                          processor.nx,                                                                    PAGING),
    Claim("smep",               "SMEP",                                          processor.feature("cpu.smep", "SMEP", "kvm.offers.smep", ("nosmep",)),           PAGING),
    Claim("smap",               "SMAP",                                          processor.feature("cpu.smap", "SMAP", "kvm.offers.smap", ("nosmap",)),           PAGING),
    Claim("umip",               "UMIP",                                          processor.feature("cpu.umip", "UMIP", "kvm.offers.umip"),                        UMIP),
    Claim("page1g",             "1 GiB pages",                                   page1g,                                                                          PAGE1G),
    Claim("la57",               "5-level paging",                                processor.feature("cpu.la57", "5-level paging", "kvm.offers.la57", ("no5lvl",)), PAGE1G),
    Claim("x2apic",             "x2APIC",                                        processor.feature("cpu.x2apic", "x2APIC", "kvm.offers.x2apic", ("nox2apic",)),   X2APIC),
    Claim("tsc_invariant",      "invariant TSC",                                 processor.tsc_invariant,                                                         TSC),
    Claim("iommu",              "an IOMMU that the kernel uses",                 iommu.iommu,                                                                     IOMMU),
    Claim("vt_d",               "VT-d (Intel)",                                  iommu.vt_d,                                                                      IOMMU[:1]),
    Claim("amd_vi",             "AMD-Vi",                                        iommu.amd_vi,                                                                    IOMMU[1:]),
)
# fmt: on


def claims(answers: Answers) -> tuple[ClaimResult, ...]:
    """Every claim, before any guest is heard."""
    return tuple(evaluate(claim, answers) for claim in ALL_CLAIMS)
