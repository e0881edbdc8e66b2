"""How firmware left memory: its types, SMM's share of it, its encryption, enclaves, the debug interface."""

from __future__ import annotations

from virtproof.probes.cpus import parse
from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived
from virtproof.probes.source_registers import cpuid, msr, msr_capability
from virtproof.spec.cite import Cite, apm, sdm
from virtproof.spec.x86.cpuid import Leaf7Ebx, Leaf7Ecx
from virtproof.spec.x86.msr import (
    DebugInterface,
    LtLockMemory,
    Msr,
    MtrrCap,
    MtrrDefType,
    SmmMonitorCtl,
    SmrrPhysBase,
    SmrrPhysMask,
    TmeActivate,
)
from virtproof.spec.x86.msr_amd import AmdMsr, SmmMask
from virtproof.spec.x86.msr_presence import VARIABLE_RANGES

MTRR = sdm("3A", "Memory Type Range Registers (MTRRs)")
SMRR = sdm("3A", "System-Management Range Register Interface")
DUAL_MONITOR = sdm("3C", "Dual-Monitor Treatment of SMIs and SMM")
MSRS = sdm("4", "Architectural MSRs")
MEMLOCK = Cite("coreboot", "src/cpu/intel/model_206ax/finalize.c: MSR_LT_LOCK_MEMORY")
SMM = apm(2, "System-Management Mode, 'SMM_MASK Register'")
SGX = sdm("3D", "Introduction to Intel Software Guard Extensions, 'Discovering Support for Intel SGX'")
TDX = Cite("Intel TDX Module Base Architecture Specification (348549)", "CPUID leaf 21H")

SGX_LEAF, EPC_SECTION, LAST_SECTION = 0x12, 1, 63
TD_LEAF, TD_SIGNATURE = 0x21, b"IntelTDX    "


def uniform_mtrrs(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Do all CPUs agree on the types of memory?  The raw text names the registers in which they differ."""
    online = snapshot["cpus"]
    kinds = snapshot.msr(Msr.IA32_MTRR_DEF_TYPE)
    if not kinds:
        return Unknown(snapshot.obstacle("msr", f"{Msr.IA32_MTRR_DEF_TYPE:#x}") or "the MTRRs were not read")
    first = Msr.IA32_MTRR_PHYSBASE0
    ranges = {index: snapshot.msr(index) for index in range(first, first + 2 * VARIABLE_RANGES)}
    differ = [f"{index:#x}" for index, pairs in ({Msr.IA32_MTRR_DEF_TYPE: kinds} | ranges).items() if len(pairs) > 1]
    if differ:
        return (Seen(False, "MSR " + ", ".join(differ)),)
    if kinds[0][1] != online:
        return Unknown(f"the MTRRs were read on CPUs {kinds[0][1]} of {online}")
    return (Seen(True, f"{sum(map(bool, ranges.values())) // 2} variable ranges", online),)


def enclave_memory(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """MiB of the enclave page cache: the sections that CPUID lists, on the CPUs that list most."""
    if not snapshot.cpuid(0):
        return Unknown(snapshot.obstacle("cpuid") or "CPUID was not read")
    sections = []
    for sub in range(2, LAST_SECTION + 1):
        pairs = [value for value, _ in snapshot.cpuid(SGX_LEAF, sub) if value[0] & 0xF == EPC_SECTION]
        if not pairs:
            break
        _, _, low, high = pairs[0]
        sections.append((high & 0xF_FFFF) << 32 | low & 0xFFFF_F000)
    return (Seen(sum(sections) >> 20, f"{len(sections)} sections"),)


def td_guest(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Is this a TDX guest?  Its leaf 21H spells the name of the TDX module."""
    pairs = snapshot.cpuid(TD_LEAF)
    if not pairs:
        read = snapshot.cpuid(0)
        return (Seen(False, "no leaf 0x21", read[0][1]),) if read else Unknown("CPUID was not read")
    return tuple(
        Seen(b"".join(word.to_bytes(4, "little") for word in (b, d, c)) == TD_SIGNATURE, f"{b:#x} {d:#x} {c:#x}", cpus)
        for (_, b, c, d), cpus in pairs
    )


def microcode(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """The microcode revision that the processor gives: the high half of the MSR on Intel's, the low half on AMD's."""
    pairs = snapshot.msr(Msr.IA32_BIOS_SIGN_ID)
    missing = set(parse(snapshot["cpus"])) - {cpu for _, cpus in pairs for cpu in parse(cpus)}
    vendor = snapshot.cpuid(0)
    if missing or not vendor:
        return Unknown(snapshot.obstacle("msr", f"{Msr.IA32_BIOS_SIGN_ID:#x}") or "the MSR or CPUID was not read")
    amd = vendor[0][0][1] in {0x6874_7541, 0x6F67_7948}  # "Auth", "Hygo"
    return tuple(
        Seen(f"{value & 0xFFFF_FFFF if amd else value >> 32:#x}", f"{value:#x}", cpus) for value, cpus in pairs
    )


# fmt: off
FACTS = (
    #    id                       source                                                             meaning                                             cite     refs
    Fact("cpu.microcode_msr",     derived("MSR 0x8b", microcode),                                    "microcode revision, from the processor",           MSRS,    ("PL-027",)),
    Fact("mtrr.enabled",          msr(Msr.IA32_MTRR_DEF_TYPE, MtrrDefType.e),                        "MTRRs are on; off: all memory is uncacheable",     MTRR,    ("PL-031",)),
    Fact("mtrr.fixed_enabled",    msr(Msr.IA32_MTRR_DEF_TYPE, MtrrDefType.fe),                       "fixed-range MTRRs are on",                         MTRR,    ("PL-031",)),
    Fact("mtrr.default_type",     msr(Msr.IA32_MTRR_DEF_TYPE, MtrrDefType.type),                     "memory type outside all ranges (0 UC, 6 WB)",      MTRR),
    Fact("mtrr.uniform",          derived("MSR 0x2ff, 0x200-", uniform_mtrrs),                       "all CPUs have the same MTRRs",                     MTRR,    ("PL-031",)),
    Fact("smrr.capable",          msr_capability(Msr.IA32_MTRRCAP, MtrrCap.smrr),                    "SMM can have a range of its own",                  SMRR,    ("SE-096",)),
    Fact("smrr.type",             msr(Msr.IA32_SMRR_PHYSBASE, SmrrPhysBase.type),                    "memory type of SMM's range (6 WB)",                SMRR,    ("SE-096",)),
    Fact("smrr.valid",            msr(Msr.IA32_SMRR_PHYSMASK, SmrrPhysMask.v),                       "SMM's range is in force",                          SMRR,    ("SE-096",)),
    Fact("smm.monitor_valid",     msr(Msr.IA32_SMM_MONITOR_CTL, SmmMonitorCtl.valid),                "an SMM-transfer monitor may be activated",         DUAL_MONITOR, ("SE-098",)),
    Fact("debug.enabled",         msr(Msr.IA32_DEBUG_INTERFACE, DebugInterface.enable),              "silicon debug is on",                              MSRS,    ("SE-099",)),
    Fact("debug.locked",          msr(Msr.IA32_DEBUG_INTERFACE, DebugInterface.lock),                "silicon debug is locked",                          MSRS,    ("SE-099",)),
    Fact("debug.occurred",        msr(Msr.IA32_DEBUG_INTERFACE, DebugInterface.occurred),            "silicon debug was used since reset",               MSRS,    ("SE-099",)),
    Fact("memory.config_locked",  msr(Msr.MSR_LT_LOCK_MEMORY, LtLockMemory.lock),                    "the memory configuration is locked",               MEMLOCK, ("SE-100",)),
    Fact("smm.aseg_valid",        msr(AmdMsr.SMM_MASK, SmmMask.a_valid),                             "SMM's A segment is protected",                     SMM,     ("SE-103",)),
    Fact("smm.tseg_valid",        msr(AmdMsr.SMM_MASK, SmmMask.t_valid),                             "SMM's T segment is protected",                     SMM,     ("SE-103",)),
    Fact("tme.locked",            msr(Msr.IA32_TME_ACTIVATE, TmeActivate.lock),                      "total memory encryption is locked",                MSRS,    ("SE-047",)),
    Fact("tme.enabled",           msr(Msr.IA32_TME_ACTIVATE, TmeActivate.enable),                    "total memory encryption is on",                    MSRS,    ("SE-047",)),
    Fact("tme.keyid_bits",        msr(Msr.IA32_TME_ACTIVATE, TmeActivate.keyid_bits),                "physical address bits that select a key",          MSRS,    ("SE-047",)),
    Fact("sgx.cpuid",             cpuid(0x7, "ebx", Leaf7Ebx.sgx),                                   "SGX",                                              SGX,     ("SE-048",)),
    Fact("sgx.launch_control",    cpuid(0x7, "ecx", Leaf7Ecx.sgx_lc),                                "SGX launch control",                               SGX,     ("SE-049",)),
    Fact("sgx.epc_mib",           derived("CPUID 0x12.2-", enclave_memory),                          "MiB of enclave memory",                            SGX,     ("SE-048",)),
    Fact("tdx.guest",             derived("CPUID 0x21 EBX:EDX:ECX", td_guest),                       "this is a TDX guest",                              TDX,     ("SE-046",)),
)
# fmt: on
