"""Confidential guests: AMD's SEV family and Intel's TDX, from silicon to the kernel's modules."""

from __future__ import annotations

from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, logged, node_exists, parameter
from virtproof.probes.source_registers import cpuid, msr
from virtproof.spec.bits import bits
from virtproof.spec.cite import Cite, apm, linux
from virtproof.spec.x86.cpuid import Leaf7Ecx
from virtproof.spec.x86.msr import Msr
from virtproof.spec.x86.msr_amd import AmdMsr

RMP = apm(2, "Secure Nested Paging, 'Initializing the RMP'")
TME = Cite("Intel SDM vol. 2A", "CPUID")
TDX = linux("arch/x86/tdx.rst", "TDX Host Kernel Support")
RMP_ADDRESS = bits(51, 13)
HOST = linux("virt/kvm/x86/amd-memory-encryption.rst", "Overview")


def rmp_reserved(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Did firmware set memory aside for the reverse map table?  RMP_BASE has no address where it did not.

    RMP_END says nothing: it is 0 where the table is segmented.
    """
    base = msr(AmdMsr.RMP_BASE, RMP_ADDRESS).read(snapshot)
    if isinstance(base, Unknown):
        return base
    return (Seen(all(one.value for one in base), f"RMP_BASE = {base[0].raw}"),)


# fmt: off
FACTS = (
    #    id                    source                                                                meaning                                            cite      refs
    Fact("snp.rmp_reserved",   derived("MSR 0xc0010132", rmp_reserved),                              "firmware reserved the reverse map table",         RMP,      ("SE-037",)),
    Fact("snp.log_no_rmp",     logged(r"Memory for the RMP table has not been reserved by BIOS", "no RMP table"),
                                                                                                     "the kernel logged that firmware reserved no RMP table", RMP),
    Fact("sev.node",           node_exists("/dev/sev"),                                              "/dev/sev exists",                                 HOST,     ("SE-038",)),
    Fact("kvm_amd.sev",        parameter("kvm_amd", "sev"),                                          "kvm_amd.sev: SEV guests",                         HOST,     ("SE-039",)),
    Fact("kvm_amd.sev_es",     parameter("kvm_amd", "sev_es"),                                       "kvm_amd.sev_es: SEV-ES guests",                   HOST,     ("SE-039",)),
    Fact("kvm_amd.sev_snp",    parameter("kvm_amd", "sev_snp"),                                      "kvm_amd.sev_snp: SEV-SNP guests",                 HOST,     ("SE-039",)),
    Fact("tme.cpuid",          cpuid(0x7, "ecx", Leaf7Ecx.tme_en),                                   "total memory encryption, which TDX builds on",    TME),
    Fact("tdx.keys",           msr(Msr.IA32_MKTME_KEYID_PARTITIONING, bits(63, 32)),                 "memory keys that firmware gives to TDX",          TDX,      ("SE-042",)),
    Fact("tdx.log_bios",       logged(r"virt/tdx: BIOS enabled", "TDX enabled by BIOS"),             "the kernel logged TDX as on in firmware",         TDX,      ("SE-041",)),
    Fact("tdx.log_module",     logged(r"virt/tdx: (TDX )?module initialized", "TDX module initialised"), "the kernel initialised the TDX module",        TDX,      ("SE-043",)),
    Fact("kvm_intel.tdx",      parameter("kvm_intel", "tdx"),                                        "kvm_intel.tdx: TDX guests",                       TDX,      ("SE-044",)),
)
# fmt: on
