"""Registers of each CPU, as dumps of CPUID and MSRs list them, made into the sections that ``collect`` would write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from virtproof.probes.cpus import group
from virtproof.probes.snapshot import Leaf
from virtproof.probes.sources import unread
from virtproof.spec.fault import Fault

MAX_LEAVES = 2048  # of one CPU, subleaves counted; the largest dumps known have some 200
MAX_MSRS = 4096  # of all CPUs together; AIDA64 lists some 800
MAX_LISTED = 0x60  # of one range: leaves that are named when the dump leaves them out

# A processor with no more basic leaves may have no extended ones: a dump that lists all of the former and none of the
# latter says so.  Every later processor has them.
LAST_OF_OLD = 3

HYPERVISOR_BIT = 1 << 31  # of leaf 1 ECX
HYPERVISOR = 0x4000_0000
# A serial number of the processor each: PPIN of Intel and of AMD.  A snapshot holds none.
SERIAL_NUMBERS = frozenset({0x4F, 0xC001_02F1})

Leaves = dict[tuple[int, int], Leaf]


@dataclass
class Registers:
    """What was listed for each CPU; ``None`` is an MSR that the dump names and could not read."""

    tool: str
    leaves: dict[int, Leaves] = field(default_factory=dict)
    msrs: dict[int, dict[int, int | None]] = field(default_factory=dict)

    def leaf(self, cpu: int, leaf: int, sub: int, value: Leaf) -> None:
        """Raises ``Fault`` where a CPU has more leaves than any processor."""
        leaves = self.leaves.setdefault(cpu, {})
        leaves.setdefault((leaf, sub), value)
        if len(leaves) > MAX_LEAVES:
            raise Fault(f"read the {self.tool}", f"more than {MAX_LEAVES} CPUID leaves of CPU {cpu}")

    def msr(self, cpu: int, index: int, value: int | None) -> None:
        msrs = self.msrs.setdefault(cpu, {})
        msrs.setdefault(index, value)
        if len(msrs) > MAX_MSRS:
            raise Fault(f"read the {self.tool}", f"more than {MAX_MSRS} MSRs of CPU {cpu}")

    def sections(self, how_msr: str = "") -> dict[str, dict[str, Any]]:
        """The sections ``cpuid`` and ``msr``; the latter only where the dump has MSRs.  ``how_msr``: a remark."""
        sections = {"cpuid": self._cpuid()}
        if self.msrs:
            sections["msr"] = self._msr(how_msr)
        return sections

    def _cpuid(self) -> dict[str, Any]:
        values: dict[tuple[int, int], list[tuple[int, str]]] = {}
        missing: dict[tuple[str, str], list[int]] = {}
        for cpu, leaves in sorted(self.leaves.items()):
            for key, value in leaves.items():
                if _has(leaves, key[0]):
                    values.setdefault(key, []).append((cpu, " ".join(f"{register:08x}" for register in value)))
            for what in _left_out(leaves):
                missing.setdefault((what, f"the {self.tool} does not list it"), []).append(cpu)
        return {
            "how": group((cpu, self.tool) for cpu in sorted(self.leaves)),
            "values": {f"{leaf:08x}.{sub:02x}": group(pairs) for (leaf, sub), pairs in sorted(values.items())},
            "unread": [unread(what, reason, on) for (what, reason), on in missing.items()],
        }

    def _msr(self, how: str) -> dict[str, Any]:
        values: dict[int, list[tuple[int, str]]] = {}
        missing: dict[tuple[str, str], list[int]] = {}
        for cpu, msrs in sorted(self.msrs.items()):
            for index, value in msrs.items():
                if index in SERIAL_NUMBERS:
                    missing.setdefault((f"{index:#x}", "left out: it identifies the processor"), []).append(cpu)
                elif value is None:
                    missing.setdefault((f"{index:#x}", f"the {self.tool} could not read it"), []).append(cpu)
                else:
                    values.setdefault(index, []).append((cpu, f"{value:#x}"))
        if len(values) > MAX_MSRS or len(missing) >= MAX_MSRS:
            raise Fault(f"read the {self.tool}", f"more than {MAX_MSRS} MSRs")
        rest = unread("*", f"the {self.tool} does not list it")
        return {
            "how": group((cpu, how or self.tool) for cpu in sorted(self.msrs)),
            "values": {f"{index:#x}": group(pairs) for index, pairs in sorted(values.items())},
            "unread": [*(unread(what, reason, on) for (what, reason), on in missing.items()), rest],
        }


def _has(leaves: Mapping[tuple[int, int], Leaf], leaf: int) -> bool:
    """Does the processor have a leaf that the dump lists?  Tools also print what lies beyond, where old processors
    repeat the highest basic leaf."""
    base = leaf & 0xFFFF_0000
    if base == HYPERVISOR:  # several hypervisors may sit here side by side, at every 0x100
        return bool(leaves.get((1, 0), (0, 0, 0, 0))[2] & HYPERVISOR_BIT)
    first = leaves.get((base, 0))
    return first is None or leaf <= first[0] < base + 0x1_0000


def _left_out(leaves: Mapping[tuple[int, int], Leaf]) -> list[str]:
    """Leaves that the processor has and the dump does not list: not the same as a leaf of zeros."""
    listed = {leaf for leaf, _ in leaves}
    found: list[str] = []
    for base in (0, 0x8000_0000):
        first = leaves.get((base, 0))
        if first is not None:
            last = min(first[0], base + MAX_LISTED) if base <= first[0] < base + 0x1_0000 else base
            found += [f"{leaf:08x}" for leaf in range(base, last + 1) if leaf not in listed]
        elif found or base == 0 or leaves[0, 0][0] > LAST_OF_OLD:
            found.append(f"{base:08x}")
    highest = leaves.get((7, 0), (0, 0, 0, 0))[0]
    return found + [f"00000007.{sub:02x}" for sub in range(1, min(highest, 8) + 1) if (7, sub) not in leaves]
