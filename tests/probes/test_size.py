"""How large a snapshot gets: what equal CPUs say is stored once."""

from __future__ import annotations

import json

from virtproof.probes.snapshot import dumps, loads
from virtproof.probes.sources import cpuid

CPUS = 256
TOPOLOGY = ((0xB, 4), (0x1F, 4), (0x8000_0026, 5))  # leaves that differ on every CPU, with their subleaves


def test_a_host_with_256_cpus_stays_below_a_mebibyte(intel):
    """Every leaf there is, and every CPU with leaves, MSRs and lines of its own."""
    leaves = {(leaf, 0): (leaf, 1, 2, 3) for leaf in range(1, 0x25)}
    leaves |= {(0x8000_0000 + leaf, 0): (leaf, 1, 2, 3) for leaf in range(1, 0x29)}
    leaves |= {(leaf, sub): (1, 2, 0x100 + sub, 0) for leaf, subs in TOPOLOGY for sub in range(subs)}
    leaves |= {(0, 0): (0x24, 1, 2, 3), (0x8000_0000, 0): (0x8000_0028, 1, 2, 3), (4, 0): (1, 0, 0, 0)}
    intel.cpus = CPUS
    for cpu in range(CPUS):
        own = {key: (a, b, c, cpu) for key, (a, b, c, _) in leaves.items() if key[0] in dict(TOPOLOGY)}
        own[0x8000_001E, 0] = (cpu, cpu, cpu, 0)
        intel.odd[cpu] = ({**leaves, **own}, {**intel.msrs, 0x1B: cpu << 12, 0x8B: cpu << 32})
    intel.cpuinfo("flag " * 200, "vmx_flag " * 60, tuple(f"{0xD0003A5 + cpu:#x}" for cpu in range(CPUS)))
    text = dumps(intel.collect())
    assert loads(text)["cpus"] == f"0-{CPUS - 1}"
    assert len(json.loads(text)["cpuid"]["values"]["0000000b.00"]) == CPUS
    assert cpuid.MAX_LEAVES > 0x28
    assert len(text) < 1 << 20
