"""What the processor says of its speculation: the controls it has, and the flaws it does not have."""

from virtproof.probes.fact import Fact
from virtproof.probes.register import MsrPlace, Register, Row, facts
from virtproof.probes.source_registers import cpuid
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.cpuid import Leaf7Ecx, Leaf7Edx
from virtproof.spec.x86.cpuid_extended import Leaf80000008Ebx
from virtproof.spec.x86.msr import ArchCapabilities, CoreCapabilities, Msr, TestCtrl

CPUID = sdm("2A", "CPUID")
APM_CPUID = apm(3, "App. E 'Extended Feature Identifiers'")
MSRS = sdm("4", "Architectural MSRs")

# fmt: off
IMMUNITIES = Register(MsrPlace(Msr.IA32_ARCH_CAPABILITIES, capabilities=True), "architectural capabilities", MSRS, (
    #   id                          field                                  term                                                  ref
    Row("arch.rdcl_no",             ArchCapabilities.rdcl_no,              "RDCL_NO: no Meltdown, no L1TF",                      "SE-070"),
    Row("arch.ibrs_all",            ArchCapabilities.ibrs_all,             "IBRS_ALL: enhanced IBRS",                            "SE-071"),
    Row("arch.rsba",                ArchCapabilities.rsba,                 "RSBA: returns may use other predictors"),
    Row("arch.skip_l1dfl_vmentry",  ArchCapabilities.skip_l1dfl_vmentry,   "SKIP_L1DFL_VMENTRY: no L1D flush on VM entry needed", "SE-072"),
    Row("arch.ssb_no",              ArchCapabilities.ssb_no,               "SSB_NO: no speculative store bypass",                "SE-073"),
    Row("arch.mds_no",              ArchCapabilities.mds_no,               "MDS_NO: no microarchitectural data sampling",        "SE-074"),
    Row("arch.pschange_mc_no",      ArchCapabilities.if_pschange_mc_no,    "IF_PSCHANGE_MC_NO: no machine check on page size change", "SE-075"),
    Row("arch.tsx_ctrl",            ArchCapabilities.tsx_ctrl,             "TSX_CTRL: TSX can be turned off",                    "SE-076"),
    Row("arch.taa_no",              ArchCapabilities.taa_no,               "TAA_NO: no TSX asynchronous abort",                  "SE-077"),
    Row("arch.sbdr_ssdp_no",        ArchCapabilities.sbdr_ssdp_no,         "SBDR_SSDP_NO: no shared buffer reads of MMIO data",  "SE-078"),
    Row("arch.fbsdp_no",            ArchCapabilities.fbsdp_no,             "FBSDP_NO: no fill buffer stale data",                "SE-079"),
    Row("arch.psdp_no",             ArchCapabilities.psdp_no,              "PSDP_NO: no primary stale data",                     "SE-080"),
    Row("arch.fb_clear",            ArchCapabilities.fb_clear,             "FB_CLEAR: VERW clears fill buffers",                 "SE-081"),
    Row("arch.rrsba",               ArchCapabilities.rrsba,                "RRSBA: returns use other predictors, restricted",    "SE-082"),
    Row("arch.bhi_no",              ArchCapabilities.bhi_no,               "BHI_NO: no branch history injection",                "SE-083"),
    Row("arch.xapic_disable_status", ArchCapabilities.xapic_disable_status, "XAPIC_DISABLE_STATUS: x2APIC can be locked on",     "SE-084"),
    Row("arch.pbrsb_no",            ArchCapabilities.pbrsb_no,             "PBRSB_NO: no post-barrier return predictions",       "SE-085"),
    Row("arch.gds_no",              ArchCapabilities.gds_no,               "GDS_NO: no gather data sampling",                    "SE-086"),
    Row("arch.rfds_no",             ArchCapabilities.rfds_no,              "RFDS_NO: no register file data sampling",            "SE-087"),
    Row("arch.rfds_clear",          ArchCapabilities.rfds_clear,           "RFDS_CLEAR: VERW clears register files"),
    Row("arch.its_no",              ArchCapabilities.its_no,               "ITS_NO: no indirect target selection; set by hypervisors", "SE-088"),
), whole=False)

LOCKS = (
    Register(MsrPlace(Msr.IA32_CORE_CAPABILITIES, capabilities=True), "core capabilities", MSRS, (
        Row("core.split_lock",      CoreCapabilities.split_lock_disable,   "split locks can raise #AC",                          "SE-091"),), whole=False),
    Register(MsrPlace(Msr.MSR_TEST_CTRL), "test control", sdm("4", "MSRs of Intel's processors"), (
        Row("core.split_lock_on",   TestCtrl.split_lock_detect,            "split locks raise #AC now",                          "SE-091"),), whole=False),
)

FACTS = (
    #    id                    source                                                          meaning                                               cite       refs
    Fact("spec.ibrs",          cpuid(0x7, "edx", Leaf7Edx.ibrs_ibpb),                          "IBRS and IBPB (Intel)",                              CPUID,     ("SE-089",)),
    Fact("spec.stibp",         cpuid(0x7, "edx", Leaf7Edx.stibp),                              "STIBP (Intel)",                                      CPUID,     ("SE-089",)),
    Fact("spec.ssbd",          cpuid(0x7, "edx", Leaf7Edx.ssbd),                               "speculative store bypass disable (Intel)",           CPUID,     ("SE-089",)),
    Fact("spec.amd_ibpb",      cpuid(0x8000_0008, "ebx", Leaf80000008Ebx.ibpb),                "IBPB (AMD)",                                         APM_CPUID, ("SE-089",)),
    Fact("spec.amd_ibrs",      cpuid(0x8000_0008, "ebx", Leaf80000008Ebx.ibrs),                "IBRS (AMD)",                                         APM_CPUID, ("SE-089",)),
    Fact("spec.amd_stibp",     cpuid(0x8000_0008, "ebx", Leaf80000008Ebx.stibp),               "STIBP (AMD)",                                        APM_CPUID, ("SE-089",)),
    Fact("spec.amd_ssbd",      cpuid(0x8000_0008, "ebx", Leaf80000008Ebx.ssbd),                "speculative store bypass disable (AMD)",             APM_CPUID, ("SE-089",)),
    Fact("spec.l1d_flush",     cpuid(0x7, "edx", Leaf7Edx.l1d_flush),                          "the L1 data cache can be flushed",                   CPUID,     ("SE-090",)),
    Fact("cpu.bus_lock_detect", cpuid(0x7, "ecx", Leaf7Ecx.bus_lock_detect),                   "bus locks can raise #DB",                            CPUID,     ("SE-092",)),
    *facts((IMMUNITIES, *LOCKS)),
)
# fmt: on
