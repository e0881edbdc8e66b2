"""The processor itself: who made it, what it has, and what lies below it."""

from virtproof.probes.fact import Fact
from virtproof.probes.facts.identity import hypervisor_name, processor_name, signature_text, vendor_string
from virtproof.probes.source import cpuinfo, derived, flag
from virtproof.probes.source_registers import cpuid, msr
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.cpuid import Leaf1Ecx, Leaf7Ebx, Leaf7Ecx, Leaf7Edx
from virtproof.spec.x86.cpuid_extended import (
    Leaf80000001Ecx,
    Leaf80000001Edx,
    Leaf80000007Edx,
    Leaf80000008Eax,
    Leaf80000008Ebx,
)
from virtproof.spec.x86.msr import ApicBase, MiscEnable, Msr

CPUID = sdm("2A", "CPUID")
APM_CPUID = apm(3, "App. E 'Obtaining Processor Information Via the CPUID Instruction'")
MSRS = sdm("4", "Architectural MSRs")
CPUINFO = linux("arch/x86/cpuinfo.rst", "x86 Feature Flags")

# fmt: off
FACTS = (
    #    id                    source                                                    meaning                                  cite       refs
    Fact("cpu.vendor",         derived("CPUID 0x0 EBX:EDX:ECX", vendor_string),          "processor vendor",                      CPUID,     ("PL-001",)),
    Fact("cpu.signature",      derived("CPUID 0x1 EAX", signature_text),                 "family/model/stepping",                 CPUID,     ("PL-002",)),
    Fact("cpu.name",           derived("CPUID 0x80000002-4", processor_name),            "processor name",                        CPUID),
    Fact("cpu.microcode",      cpuinfo("microcode"),                                     "microcode revision",                    CPUINFO,   ("PL-026",)),
    Fact("hypervisor.present", cpuid(0x1, "ecx", Leaf1Ecx.hypervisor),                   "runs under a hypervisor",               CPUID,     ("PL-003",)),
    Fact("hypervisor.name",    derived("CPUID 0x40000000, kernel log, DMI", hypervisor_name), "name of the hypervisor below",     CPUINFO,   ("PL-004",)),
    Fact("cpu.long_mode",      cpuid(0x8000_0001, "edx", Leaf80000001Edx.lm),            "long mode",                             CPUID,     ("PL-005",)),
    Fact("cpu.nx",             cpuid(0x8000_0001, "edx", Leaf80000001Edx.nx),            "no-execute pages",                      CPUID,     ("PL-007",)),
    Fact("cpu.xd_disable",     msr(Msr.IA32_MISC_ENABLE, MiscEnable.xd_disable),         "firmware hides no-execute",             MSRS,      ("BI-001",)),
    Fact("cpu.limit_cpuid",    msr(Msr.IA32_MISC_ENABLE, MiscEnable.limit_cpuid_maxval), "firmware limits CPUID to leaf 2",       MSRS,      ("BI-002",)),
    Fact("cpu.lahf_lm",        cpuid(0x8000_0001, "ecx", Leaf80000001Ecx.lahf_lm),       "LAHF and SAHF in long mode",            CPUID,     ("PL-008",)),
    Fact("cpu.cmpxchg16b",     cpuid(0x1, "ecx", Leaf1Ecx.cmpxchg16b),                   "CMPXCHG16B",                            CPUID,     ("PL-009",)),
    Fact("cpu.xsave",          cpuid(0x1, "ecx", Leaf1Ecx.xsave),                        "XSAVE",                                 CPUID,     ("PL-010",)),
    Fact("cpu.page1g",         cpuid(0x8000_0001, "edx", Leaf80000001Edx.page1gb),       "1 GiB pages",                           CPUID,     ("PL-011",)),
    Fact("cpu.la57",           cpuid(0x7, "ecx", Leaf7Ecx.la57),                         "5-level paging",                        CPUID,     ("PL-012",)),
    Fact("cpu.phys_bits",      cpuid(0x8000_0008, "eax", Leaf80000008Eax.phys_addr_size), "physical address width in bits",       CPUID,     ("PL-013",)),
    Fact("cpu.guest_phys_bits", cpuid(0x8000_0008, "eax", Leaf80000008Eax.guest_phys_addr_size), "guest physical address width, 0 if the same", APM_CPUID, ("PL-014",)),
    Fact("cpu.tsc_invariant",  cpuid(0x8000_0007, "edx", Leaf80000007Edx.tsc_invariant), "invariant TSC",                         CPUID,     ("PL-015",)),
    Fact("cpu.x2apic",         cpuid(0x1, "ecx", Leaf1Ecx.x2apic),                       "x2APIC",                                CPUID,     ("PL-016",)),
    Fact("cpu.x2apic_active",  msr(Msr.IA32_APIC_BASE, ApicBase.extd),                   "the local APICs are in x2APIC mode",    MSRS,      ("PL-017",)),
    Fact("cpu.tsc_deadline",   cpuid(0x1, "ecx", Leaf1Ecx.tsc_deadline),                 "TSC deadline timer",                    CPUID,     ("PL-018",)),
    Fact("cpu.pcid",           cpuid(0x1, "ecx", Leaf1Ecx.pcid),                         "process-context identifiers",           CPUID,     ("PL-019",)),
    Fact("cpu.invpcid",        cpuid(0x7, "ebx", Leaf7Ebx.invpcid),                      "INVPCID",                               CPUID,     ("PL-020",)),
    Fact("cpu.smep",           cpuid(0x7, "ebx", Leaf7Ebx.smep),                         "SMEP",                                  CPUID,     ("SE-001",)),
    Fact("cpu.smap",           cpuid(0x7, "ebx", Leaf7Ebx.smap),                         "SMAP",                                  CPUID,     ("SE-002",)),
    Fact("cpu.umip",           cpuid(0x7, "ecx", Leaf7Ecx.umip),                         "UMIP",                                  CPUID,     ("SE-003",)),
    Fact("cpu.pku",            cpuid(0x7, "ecx", Leaf7Ecx.pku),                          "protection keys for user pages",        CPUID),
    Fact("cpu.rdrand",         cpuid(0x1, "ecx", Leaf1Ecx.rdrand),                       "RDRAND",                                CPUID,     ("SE-004",)),
    Fact("cpu.rdseed",         cpuid(0x7, "ebx", Leaf7Ebx.rdseed),                       "RDSEED",                                CPUID,     ("SE-004",)),
    Fact("cpu.topology_leaves", cpuid(0x8000_0001, "ecx", Leaf80000001Ecx.topoext),      "topology leaves (AMD)",                 APM_CPUID, ("PL-025",)),
    Fact("cpu.invlpgb",        cpuid(0x8000_0008, "ebx", Leaf80000008Ebx.invlpgb),       "INVLPGB and TLBSYNC",                   APM_CPUID, ("MV-031",)),
    Fact("cpu.invlpgb_nested", cpuid(0x8000_0008, "ebx", Leaf80000008Ebx.invlpgb_nested_pages), "INVLPGB reaches nested translations", APM_CPUID, ("MV-031",)),
    Fact("cpu.hybrid",         cpuid(0x7, "edx", Leaf7Edx.hybrid),                       "cores of more than one kind",           CPUID),
    Fact("linux.nonstop_tsc",  flag("nonstop_tsc"),                                      "Linux lists nonstop_tsc",               CPUINFO),
)
# fmt: on
