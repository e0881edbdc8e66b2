"""What an Intel processor has by its generation: EPT and unrestricted guests, where no MSR could be read.

CPUID announces VMX alone; the rest is in MSRs that only root reads, and that most dumps lack.  But which
microarchitecture brought what is known: Nehalem EPT and VPID, Westmere the unrestricted guest; of the small cores,
Silvermont all of them.  A model that is not in the tables is unknown.
"""

from __future__ import annotations

from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.facts.identity import vendor_string
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import Read, derived
from virtproof.spec.cite import sdm
from virtproof.spec.x86.cpuid import Leaf1Eax, Leaf1Ecx

SIGNATURES = sdm("4", "CPUID Signature Values of DisplayFamily_DisplayModel")
# DisplayModel of family 6, by what their VMX has.
WITHOUT_EPT = frozenset({
    0x0E,                                # Yonah
    0x0F, 0x16,                          # Merom, Conroe
    0x17, 0x1D,                          # Penryn, Dunnington
    0x1C, 0x26, 0x27, 0x35, 0x36,        # Bonnell, Saltwell
})  # fmt: skip
WITH_EPT_ONLY = frozenset({0x1A, 0x1E, 0x1F, 0x2E})  # Nehalem
WITH_BOTH = frozenset({
    0x25, 0x2C, 0x2F, 0x2A, 0x2D,        # Westmere, Sandy Bridge
    0x3A, 0x3E, 0x3C, 0x3F, 0x45, 0x46,  # Ivy Bridge, Haswell
    0x3D, 0x47, 0x4F, 0x56,              # Broadwell
    0x4E, 0x5E, 0x55, 0x8E, 0x9E,        # Skylake, Cascade Lake, Kaby Lake, Coffee Lake
    0xA5, 0xA6, 0x66, 0x7D, 0x7E, 0x6A, 0x6C, 0x8C, 0x8D, 0xA7,  # Comet, Cannon, Ice, Tiger, Rocket Lake
    0x97, 0x9A, 0xBE, 0xB7, 0xBA, 0xBF,  # Alder Lake, Raptor Lake
    0x8F, 0xCF, 0xAD, 0xAF,              # Sapphire Rapids, Emerald Rapids, Granite Rapids, Sierra Forest
    0xAA, 0xAC, 0xBD, 0xC5, 0xC6,        # Meteor Lake, Lunar Lake, Arrow Lake
    0x37, 0x4A, 0x4D, 0x5A, 0x5D, 0x4C,  # Silvermont, Airmont
    0x5C, 0x5F, 0x7A, 0x86, 0x96, 0x9C,  # Goldmont, Goldmont Plus, Tremont
    0x57, 0x85,                          # Knights Landing, Knights Mill
})  # fmt: skip


def _by_generation(snapshot: Snapshot, having: frozenset[int]) -> Read:
    vendor = vendor_string(snapshot)
    if isinstance(vendor, Unknown):
        return vendor
    if {one.value for one in vendor} != {"GenuineIntel"}:
        return Unknown("the generations of this maker are not listed")
    features = snapshot.register(1, 0, 2)
    if any(Leaf1Ecx(value).hypervisor for value, _ in features):
        return Unknown("under a hypervisor the model says nothing about what it offers")
    if not features or not all(Leaf1Ecx(value).vmx for value, _ in features):
        return Unknown("CPUID does not announce VMX")
    seen: list[Seen] = []
    for value, cpus in snapshot.register(1, 0, 0):
        one = Leaf1Eax(value)
        old = one.display_family == 0xF or one.display_model in WITHOUT_EPT | WITH_EPT_ONLY
        if one.display_family not in {6, 0xF} or not (old or one.display_model in WITH_BOTH):
            return Unknown(f"model {one.display_family}/{one.display_model} is not listed")
        there = one.display_family == 6 and one.display_model in having
        seen.append(Seen(there, f"model {one.display_family}/{one.display_model}", cpus))
    return tuple(seen)


def ept(snapshot: Snapshot) -> Read:
    """Does this generation have EPT, and VPID with it?"""
    return _by_generation(snapshot, WITH_EPT_ONLY | WITH_BOTH)


def unrestricted_guest(snapshot: Snapshot) -> Read:
    """Does this generation have the unrestricted guest?"""
    return _by_generation(snapshot, WITH_BOTH)


# fmt: off
FACTS = (
    #    id                                source                                          meaning                                          cite
    Fact("vmx.generation.ept",             derived("CPUID 0x1 EAX", ept),                  "this generation of processors has EPT",         SIGNATURES),
    Fact("vmx.generation.unrestricted_guest", derived("CPUID 0x1 EAX", unrestricted_guest), "this generation of processors has the unrestricted guest", SIGNATURES),
)
# fmt: on
