"""What the software processor has, as its CPUID table: the features that Unicorn carries out, and no others.

Intel SDM vol. 2A, "CPUID".
"""

from __future__ import annotations

import struct

from virtproof.kvm import CpuidEntry
from virtproof.spec.kvm import CpuidFlag
from virtproof.spec.x86.control import Cr4, Efer, Xcr0
from virtproof.spec.x86.cpuid import Leaf1Ecx, Leaf1Edx, Leaf7Ebx
from virtproof.spec.x86.cpuid_extended import Leaf80000001Ecx, Leaf80000001Edx
from virtproof.vmm.engines.software.linear import PHYSICAL_BITS

VENDOR, BRAND = b"GenuineIntel", b"virtproof software processor"
SIGNATURE = 0x0005_06E3  # family 6, model 5EH: the model that Unicorn is asked for
TSC_HZ = 1_000_000_000
XCR0 = Xcr0.x87.mask | Xcr0.sse.mask  # the states that XSAVE manages

# fmt: off
# Bits of CR4 and EFER that the translator has, and which feature has to be there for each.
_CR4 = (
    (Cr4.tsd,        0x1, "edx", Leaf1Edx.tsc.mask),
    (Cr4.de,         0x1, "edx", Leaf1Edx.de.mask),
    (Cr4.pse,        0x1, "edx", Leaf1Edx.pse.mask),
    (Cr4.pae,        0x1, "edx", Leaf1Edx.pae.mask),
    (Cr4.mce,        0x1, "edx", Leaf1Edx.mce.mask),
    (Cr4.pge,        0x1, "edx", Leaf1Edx.pge.mask),
    (Cr4.pce,        0x1, "edx", Leaf1Edx.msr.mask),
    (Cr4.osfxsr,     0x1, "edx", Leaf1Edx.fxsr.mask),
    (Cr4.osxmmexcpt, 0x1, "edx", Leaf1Edx.sse.mask),
    (Cr4.osxsave,    0x1, "ecx", Leaf1Ecx.xsave.mask),
    (Cr4.fsgsbase,   0x7, "ebx", Leaf7Ebx.fsgsbase.mask),
    (Cr4.smep,       0x7, "ebx", Leaf7Ebx.smep.mask),
    (Cr4.smap,       0x7, "ebx", Leaf7Ebx.smap.mask),
)
_EFER = (
    (Efer.sce.mask,                 0x8000_0001, "edx", Leaf80000001Edx.syscall.mask),
    (Efer.lme.mask | Efer.lma.mask, 0x8000_0001, "edx", Leaf80000001Edx.lm.mask),
    (Efer.nxe.mask,                 0x8000_0001, "edx", Leaf80000001Edx.nx.mask),
)
# fmt: on

_INDEXED = int(CpuidFlag.SIGNIFCANT_INDEX)


def _set(layout: type, names: str) -> int:
    return int(layout(0).but(**dict.fromkeys(names.split(), 1)))


def supported() -> tuple[CpuidEntry, ...]:
    """The table of a processor with a local APIC."""
    ebx, edx, ecx = struct.unpack("<3I", VENDOR)
    features = _set(
        Leaf1Edx, "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clfsh mmx fxsr sse sse2"
    )
    more = _set(
        Leaf1Ecx,
        "sse3 pclmulqdq ssse3 cmpxchg16b sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline aesni xsave rdrand hypervisor",
    )
    structured = _set(Leaf7Ebx, "fsgsbase tsc_adjust bmi1 smep bmi2 erms smap adx")
    extended = _set(Leaf80000001Edx, "syscall nx page1gb rdtscp lm")
    extended_more = _set(Leaf80000001Ecx, "lahf_lm lzcnt")
    brand = BRAND.ljust(48, b"\0")
    return (
        CpuidEntry(0x0, 0, 0, 0xD, ebx, ecx, edx),
        CpuidEntry(0x1, 0, 0, SIGNATURE, 8 << 8 | 1 << 16, more, features),
        CpuidEntry(0x7, 0, _INDEXED, 0, structured, 0, 0),
        CpuidEntry(0xB, 0, _INDEXED, 0, 1, 1 << 8, 0),
        CpuidEntry(0xD, 0, _INDEXED, XCR0, 576, 576, 0),
        CpuidEntry(0xD, 1, _INDEXED, 1, 0, 0, 0),
        CpuidEntry(0x8000_0000, 0, 0, 0x8000_0008, 0, 0, 0),
        CpuidEntry(0x8000_0001, 0, 0, 0, 0, extended_more, extended),
        *(CpuidEntry(0x8000_0002 + n, 0, 0, *struct.unpack_from("<4I", brand, 16 * n)) for n in range(3)),
        CpuidEntry(0x8000_0008, 0, 0, PHYSICAL_BITS | 48 << 8, 0, 0, 0),
    )


class CpuidTable:
    """What the CPUID instruction of one guest answers: Intel SDM vol. 2A, "CPUID", for leaves that are not there."""

    def __init__(self) -> None:
        self.entries: tuple[CpuidEntry, ...] = ()
        self._rows: dict[tuple[int, int], CpuidEntry] = {}
        self._indexed: set[int] = set()

    def set(self, entries: tuple[CpuidEntry, ...]) -> None:
        self.entries = entries
        self._indexed = {row.function for row in entries if row.flags & _INDEXED}
        self._rows = {(row.function, row.index if row.function in self._indexed else 0): row for row in entries}

    @property
    def amd(self) -> bool:
        """Do the rules of AMD's processors hold?"""
        row = self._rows.get((0, 0))
        return row is not None and struct.pack("<3I", row.ebx, row.edx, row.ecx) in (b"AuthenticAMD", b"HygonGenuine")

    def _has(self, leaf: int, register: str, mask: int) -> bool:
        """Is a feature there?  All are for a guest whose CPUID answers nothing."""
        row = self._rows.get((leaf, 0))
        return not self.entries or (row is not None and bool(getattr(row, register) & mask))

    @property
    def cr4(self) -> int:
        """The bits of CR4 that may be set."""
        return sum(field.mask for field, leaf, register, mask in _CR4 if self._has(leaf, register, mask))

    @property
    def efer(self) -> int:
        """The bits of EFER that may be set; LMA among them, which is not written."""
        return sum(bits for bits, leaf, register, mask in _EFER if self._has(leaf, register, mask))

    @property
    def tsc_deadline(self) -> bool:
        return self._has(0x1, "ecx", Leaf1Ecx.tsc_deadline.mask)

    def answer(self, leaf: int, subleaf: int, *, osxsave: bool, apic: bool) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX; a leaf beyond the last is answered as the last basic one."""
        first = leaf & 0x4FFF_FF00 if leaf >> 28 == 4 else leaf & 0x8000_0000  # of the hypervisor's leaves, or a range
        highest = self._rows.get((first, 0))
        if highest is None or leaf > highest.eax:
            basic = self._rows.get((0, 0))
            leaf = basic.eax if basic is not None and not self.amd else leaf
        row = self._rows.get((leaf, subleaf if leaf in self._indexed else 0))
        if row is None:
            return 0, 0, 0, 0
        ecx, edx = row.ecx, row.edx
        if leaf == 1:
            ecx = ecx & ~Leaf1Ecx.osxsave.mask | (Leaf1Ecx.osxsave.mask if osxsave else 0)
            edx = edx if apic else edx & ~Leaf1Edx.apic.mask
        return row.eax, row.ebx, ecx, edx
