"""Do the processors of the machine agree with one another?"""

from __future__ import annotations

from virtproof.probes.cpus import parse
from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived
from virtproof.probes.source_registers import REGISTERS
from virtproof.spec.cite import linux, sdm

CPU = linux("ABI/testing/sysfs-devices-system-cpu", "/sys/devices/system/cpu")
UNIFORM = sdm("3D", "App. A 'VMX Capability Reporting Facility'")

# Registers that software relies on being equal on all processors, without bits that mirror the state of one of them.
OSXSAVE, OSPKE, ALL = 1 << 27, 1 << 4, 0xFFFF_FFFF
LEAVES = (
    (0x1, 0, "ecx", ALL & ~OSXSAVE), (0x1, 0, "edx", ALL),
    (0x7, 0, "ebx", ALL), (0x7, 0, "ecx", ALL & ~OSPKE), (0x7, 0, "edx", ALL), (0x7, 1, "eax", ALL),
    (0x8000_0001, 0, "ecx", ALL), (0x8000_0001, 0, "edx", ALL), (0x8000_0008, 0, "eax", ALL),
    (0x8000_000A, 0, "ebx", ALL), (0x8000_000A, 0, "edx", ALL), (0x8000_001F, 0, "eax", ALL),
)  # fmt: skip
MSRS = (0x3A, *range(0x480, 0x492), 0xC001_0114)


def uniform_features(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Do all CPUs give the same feature flags and VMX capabilities?  The raw text names those that differ."""
    online = len(parse(snapshot["cpus"]))
    read = sum(len(parse(cpus)) for _, cpus in snapshot.cpuid(0))
    if not read:
        return Unknown(snapshot.obstacle("cpuid") or "CPUID was not read")
    differ = [
        f"CPUID {leaf:#x} {name.upper()}"
        for leaf, sub, name, mask in LEAVES
        if not _same(snapshot, leaf, sub, name, mask)
    ]
    differ += [f"MSR {index:#x}" for index in MSRS if len(snapshot.msr(index)) > 1]
    if differ:
        return (Seen(False, ", ".join(differ)),)
    return (Seen(True, f"{read} CPUs"),) if read == online else Unknown(f"CPUID was read on {read} of {online} CPUs")


def _same(snapshot: Snapshot, leaf: int, sub: int, register: str, mask: int) -> bool:
    """Is a register equal on all CPUs that were read, including that all or none of them have the leaf?"""
    pairs = snapshot.register(leaf, sub, REGISTERS.index(register))
    have = sum(len(parse(cpus)) for _, cpus in pairs)
    read = sum(len(parse(cpus)) for _, cpus in snapshot.register(0, 0, 0))
    return have in {0, read} and len({value & mask for value, _ in pairs}) <= 1


def uniform_microcode(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Do all CPUs run the same microcode?"""
    revisions = snapshot.cpuinfo("microcode")
    if not revisions:
        return Unknown(snapshot.obstacle("cpuinfo") or "/proc/cpuinfo names no microcode revision")
    return (Seen(len(revisions) == 1, "; ".join(f"{revision} on CPUs {cpus}" for revision, cpus in revisions[:8])),)


# fmt: off
FACTS = (
    #    id                  source                                                         meaning                                           cite     refs
    Fact("uniform.features", derived("CPUID and MSRs of every CPU", uniform_features),      "all CPUs have the same features",                UNIFORM, ("PL-023",)),
    Fact("uniform.microcode", derived("/proc/cpuinfo microcode", uniform_microcode),        "all CPUs run the same microcode",                CPU,     ("PL-026",)),
)
# fmt: on
