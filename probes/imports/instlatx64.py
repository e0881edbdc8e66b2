"""Dumps in the form of the InstLatx64 collection: CPUID, and MSRs if any, as AIDA64 and EVEREST print them.

    ------[ CPUID Registers / Logical CPU #0 ]------
    CPUID 00000007: 00000001-F1BF97AB-19415FCE-10000110 [SL 00]
    MSR 0000003A: 0000-0000-0000-0005

Twenty years of versions differ in how they mark a CPU; many mark none, and then a CPU begins where leaf 0 comes again.
Old versions print several subleaves without saying which.
"""

from __future__ import annotations

import re

from virtproof.probes.imports.part import Part, cpu_number, text_of
from virtproof.probes.imports.registers import Registers

TOOL = "CPUID dump (InstLatx64 form)"
WORD = "([0-9A-Fa-f]{8})"
CPUID = re.compile(rf"CPUID {WORD}[ :\t]+{WORD}[- ]{WORD}[- ]{WORD}[- ]{WORD}(?: \[SL ([0-9A-Fa-f]{{2}})\])?")
MSR = re.compile(
    rf"MSR {WORD}:?\s+(?:([0-9A-Fa-f]{{4}})-([0-9A-Fa-f]{{4}})-([0-9A-Fa-f]{{4}})-([0-9A-Fa-f]{{4}})|< FAILED >)"
)
HEADING = re.compile(
    r"-+\[ (?P<kind>CPUID Registers / |MSR Registers / |)Logical CPU #(?P<logical>\d+) \]"
    r"|CPUID Registers \(CPU #(?P<counted>\d+)(?: Virtual)?\)"  # counted from 1
    r"|CPU#(?P<masked>\d+) AffMask"
    r"|Group: 0x(?P<group>[0-9A-Fa-f]{1,2}) Affinity mask: 0x(?P<mask>[0-9A-Fa-f]{1,16})"
)
IN_SEQUENCE = frozenset({0x4, 0xB, 0x18, 0x1F})  # subleaves that follow one another without a gap
LOOKS = re.compile(rf"^CPUID {WORD}[ :\t]+{WORD}[- ]{WORD}[- ]", re.MULTILINE)


def looks_like(data: bytes) -> bool:
    return LOOKS.search(text_of(data)) is not None


def parse(data: bytes) -> Part:
    """The dump.  Raises ``Fault`` where it lists a CPU or more registers than a host can have."""
    registers = Registers(TOOL)
    cpu, numbered, heading_for_msrs = 0, False, False
    unnamed: dict[int, int | None] = {}  # MSRs under no CPU's heading
    seen: dict[int, int] = {}  # how often a leaf came without its subleaf, on this CPU
    for line in text_of(data).split("\n"):
        if found := CPUID.match(line):
            leaf, *words = (int(found[n], 16) for n in range(1, 6))
            if leaf == 0 and found[6] in {None, "00"} and (0, 0) in registers.leaves.get(cpu, {}):
                cpu = _next(registers)
            if leaf == 0:
                seen = {}
            sub = int(found[6], 16) if found[6] else seen.get(leaf, 0)
            seen[leaf] = seen.get(leaf, 0) + 1
            if sub == 0 or found[6] or leaf in IN_SEQUENCE:
                registers.leaf(cpu, leaf, sub, (words[0], words[1], words[2], words[3]))
        elif found := MSR.match(line):
            value = int("".join(found.group(2, 3, 4, 5)), 16) if found[2] else None
            if heading_for_msrs:
                registers.msr(cpu, int(found[1], 16), value)
            else:
                unnamed.setdefault(int(found[1], 16), value)
        elif found := HEADING.match(line):
            cpu, numbered = _cpu(found), True
            heading_for_msrs = found["kind"] == "MSR Registers / "
            if not heading_for_msrs and (0, 0) in registers.leaves.get(cpu, {}):
                cpu = _next(registers)  # the second thread of a CPU that the tool counts once
    how = _assign(registers, unnamed)
    cpus = tuple(sorted(registers.leaves))
    return Part(registers.sections(how), cpus, all_cpus=numbered or len(cpus) > 1)


def _cpu(found: re.Match[str]) -> int:
    what = f"read the {TOOL}"
    if found["mask"]:
        bit = max(int(found["mask"], 16).bit_length() - 1, 0)
        return cpu_number(str(int(found["group"], 16) * 64 + bit), what)
    if found["counted"]:
        return max(cpu_number(found["counted"], what) - 1, 0)
    return cpu_number(found["logical"] or found["masked"], what)


def _next(registers: Registers) -> int:
    return cpu_number(str(max(registers.leaves) + 1), f"read the {TOOL}")


def _assign(registers: Registers, unnamed: dict[int, int | None]) -> str:
    """Give MSRs that were listed once, for no CPU, to the CPUs; returns how.

    Old versions read them on one CPU and mean the processor.  That holds for all CPUs only where these are alike.
    """
    if not unnamed or not registers.leaves:
        return ""
    cpus = sorted(registers.leaves)
    alike = len({leaves.get((1, 0), (0, 0, 0, 0))[0] for leaves in registers.leaves.values()}) == 1
    for cpu in cpus if alike else cpus[:1]:
        for index, value in unnamed.items():
            registers.msr(cpu, index, value)
    if len(cpus) == 1:
        return ""
    return f"{TOOL}, which lists MSRs once and names no CPU" + (": taken for all, which are alike" if alike else "")
