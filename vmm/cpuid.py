"""What the CPUID instruction tells a guest: KVM's table, made each vCPU's own, masked and overridden.

Intel SDM vol. 2A, "CPUID"; AMD APM vol. 3, "Obtaining Processor Information Via the CPUID Instruction".  Bits that KVM
keeps live itself (OSXSAVE, OSPKE, APIC) are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from virtproof.kvm import CpuidEntry
from virtproof.spec.bits import Bits
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import CpuidFlag
from virtproof.spec.x86.cpuid import (
    Leaf1Ebx,
    Leaf1Ecx,
    Leaf1Edx,
    Leaf4Eax,
    Leaf7Ebx,
    Leaf7Ecx,
    Leaf7Edx,
    Leaf7Sub1Eax,
    Leaf7Sub1Edx,
)
from virtproof.spec.x86.cpuid_extended import Leaf80000001Ecx, Leaf80000001Edx

RegisterName = Literal["eax", "ebx", "ecx", "edx"]

_TOPOLOGY = frozenset((0x1, 0x4, 0xB, 0x1F, 0x8000_0008, 0x8000_001E))
_INDEXED = int(CpuidFlag.SIGNIFCANT_INDEX)
_THREADS, _CORES = 1 << 8, 2 << 8  # level types of leaves 0BH and 1FH


class Override(NamedTuple):
    """``bits`` of one register of one leaf become those of ``value``; a leaf that is not there is added."""

    leaf: int
    subleaf: int
    register: RegisterName
    value: int
    bits: int = 0xFFFF_FFFF

    def __str__(self) -> str:
        where = f"leaf {self.leaf:#x}.{self.subleaf} {self.register.upper()}"
        return f"{where} = {self.value:#x}" + ("" if self.bits == 0xFFFF_FFFF else f" in bits {self.bits:#x}")


class Clear(NamedTuple):
    """The fields of one register of one leaf that a mask takes away; no fields: the whole register."""

    leaf: int
    subleaf: int | None  # None: all
    register: RegisterName
    layout: type[Bits] = Bits
    fields: str = ""

    @property
    def bits(self) -> int:
        found = [field.mask for field in self.layout.FIELDS if field.name in self.fields.split()]
        return sum(found) if self.fields else 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Mask:
    """Features that are taken away together."""

    name: str
    what: str
    clears: tuple[Clear, ...]


_AVX512 = "avx512f avx512dq avx512_ifma avx512pf avx512er avx512cd avx512bw avx512vl"

# fmt: off
MASKS = {mask.name: mask for mask in (
    Mask("x87", "floating point, MMX and 3DNow!", (
        Clear(0x1,         None, "edx", Leaf1Edx,        "fpu mmx"),
        Clear(0x8000_0001, None, "edx", Leaf80000001Edx, "fpu mmxext mmx threednowext threednow"),
    )),
    Mask("sse", "SSE, AVX, AMX and what else computes in their registers", (
        Clear(0x1,         None, "ecx", Leaf1Ecx,        "sse3 pclmulqdq ssse3 fma sse4_1 sse4_2 aesni avx f16c"),
        Clear(0x1,         None, "edx", Leaf1Edx,        "sse sse2"),
        Clear(0x7,         0,    "ebx", Leaf7Ebx,        f"avx2 sha {_AVX512}"),
        Clear(0x7,         0,    "ecx", Leaf7Ecx,        "avx512_vbmi avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni "
                                                         "avx512_bitalg avx512_vpopcntdq"),
        Clear(0x7,         0,    "edx", Leaf7Edx,        "avx512_4vnniw avx512_4fmaps avx512_vp2intersect amx_bf16 "
                                                         "avx512_fp16 amx_tile amx_int8"),
        Clear(0x7,         1,    "eax", Leaf7Sub1Eax,    "sha512 sm3 sm4 avx_vnni avx512_bf16 amx_fp16 avx_ifma"),
        Clear(0x7,         1,    "edx", Leaf7Sub1Edx,    "avx_vnni_int8 avx_ne_convert amx_complex avx_vnni_int16 "
                                                         "avx10"),
        Clear(0x8000_0001, None, "ecx", Leaf80000001Ecx, "sse4a misalign_sse xop fma4"),
    )),
    Mask("xsave", "FXSAVE, XSAVE and the state that only XSAVE keeps", (
        Clear(0x1,         None, "ecx", Leaf1Ecx,        "xsave avx fma f16c"),
        Clear(0x1,         None, "edx", Leaf1Edx,        "fxsr"),
        Clear(0x7,         0,    "ebx", Leaf7Ebx,        f"avx2 {_AVX512}"),
        Clear(0x7,         0,    "ecx", Leaf7Ecx,        "pku"),
        Clear(0x7,         0,    "edx", Leaf7Edx,        "amx_bf16 amx_tile amx_int8"),
        Clear(0xD,         None, "eax"),
        Clear(0xD,         None, "ebx"),
        Clear(0xD,         None, "ecx"),
        Clear(0xD,         None, "edx"),
        Clear(0x8000_0001, None, "ecx", Leaf80000001Ecx, "xop fma4"),
        Clear(0x8000_0001, None, "edx", Leaf80000001Edx, "fxsr ffxsr"),
    )),
)}
# fmt: on


def masked(entries: Iterable[CpuidEntry], names: Sequence[str]) -> tuple[CpuidEntry, ...]:
    """Take the features of the named masks away.  Raises Fault for a name that is not in ``MASKS``."""
    rows: list[Clear] = []
    for name in names:
        if name not in MASKS:
            raise Fault(f"mask {name} in CPUID", "there is no such mask", f"there are: {', '.join(MASKS)}")
        rows += MASKS[name].clears
    if not rows:
        return tuple(entries)
    found = []
    for entry in entries:
        changed: dict[RegisterName, int] = {}
        for row in rows:
            if entry.function == row.leaf and row.subleaf in (None, entry.index):
                changed[row.register] = changed.get(row.register, getattr(entry, row.register)) & ~row.bits
        found.append(replace(entry, **changed) if changed else entry)
    return tuple(found)


def overridden(entries: Iterable[CpuidEntry], overrides: Iterable[Override]) -> tuple[CpuidEntry, ...]:
    """Apply ``overrides`` in order."""
    overrides = tuple(overrides)
    if not overrides:
        return tuple(entries)
    table = {(entry.function, entry.index): entry for entry in entries}
    for leaf, subleaf, register, value, bits in overrides:
        entry = table.get((leaf, subleaf))
        if entry is None:
            others = [known.flags for known in table.values() if known.function == leaf]
            entry = CpuidEntry(leaf, subleaf, _INDEXED if subleaf or any(others) else 0, 0, 0, 0, 0)
        before = getattr(entry, register)
        table[leaf, subleaf] = replace(entry, **{register: before & ~bits | value & bits})
    return tuple(table.values())


def tsc_deadline(entries: Iterable[CpuidEntry], offered: bool) -> tuple[CpuidEntry, ...]:
    """Say whether the APIC timer has its TSC-deadline mode.

    KVM's own table leaves it out where nobody knows yet of local APICs in the kernel: Linux
    Documentation/virt/kvm/api.rst, "KVM_GET_SUPPORTED_CPUID".
    """
    return tuple(
        replace(entry, ecx=int(Leaf1Ecx(entry.ecx).but(tsc_deadline=offered))) if entry.function == 1 else entry
        for entry in entries
    )


def local_apic(entries: Iterable[CpuidEntry], *, deadline: bool) -> tuple[CpuidEntry, ...]:
    """Say that there is a local APIC with x2APIC mode, and whether its timer has the TSC-deadline mode."""
    return tuple(
        replace(
            entry,
            ecx=int(Leaf1Ecx(entry.ecx).but(x2apic=1, tsc_deadline=deadline)),
            edx=int(Leaf1Edx(entry.edx).but(apic=1)),
        )
        if entry.function == 1
        else entry
        for entry in entries
    )


class ApicFeatures(NamedTuple):
    """What a CPUID table says of the local APIC; ``physical_bits`` is MAXPHYADDR."""

    x2apic: bool = False
    tsc_deadline: bool = False
    physical_bits: int = 36


def apic_features(entries: Iterable[CpuidEntry]) -> ApicFeatures:
    """Read what the local APIC is to offer."""
    found = ApicFeatures()
    for entry in entries:
        if entry.function == 1:
            ecx = Leaf1Ecx(entry.ecx)
            found = found._replace(x2apic=ecx.x2apic, tsc_deadline=ecx.tsc_deadline)
        elif entry.function == 0x8000_0008:
            found = found._replace(physical_bits=min(entry.eax & 0xFF, 52))
    return found


def not_taken(table: Iterable[CpuidEntry], names: Sequence[str], overrides: Sequence[Override]) -> tuple[str, ...]:
    """Say what of the masks and overrides is not so in ``table``, which is what the kernel answers the guest with.

    KVM keeps some bits itself, and kvm_pvm shows its guests the host's features whatever it was given.
    """
    found = []
    for entry in table:
        where = f"leaf {entry.function:#x}.{entry.index}"
        for clear in (clear for name in names for clear in MASKS[name].clears):
            left = getattr(entry, clear.register) & clear.bits
            if left and clear.leaf == entry.function and clear.subleaf in (None, entry.index):
                shown = " ".join(field.name for field in clear.layout(left).shown()) or f"{left:#x}"
                found.append(f"{where} {clear.register.upper()} still has {shown}")
        for override in overrides:
            value = getattr(entry, override.register)
            if override[:2] == (entry.function, entry.index) and (value ^ override.value) & override.bits:
                found.append(f"{where} {override.register.upper()} is {value:#x}")
    return tuple(dict.fromkeys(found))


def for_vcpu(entries: Iterable[CpuidEntry], index: int, count: int) -> tuple[CpuidEntry, ...]:
    """Make the leaves of topology those of vCPU ``index`` of ``count``: one package, a core each, one thread a core.

    KVM gives those of the host's processor that happened to answer.
    """
    entries = tuple(entries)
    width = (count - 1).bit_length()  # of the APIC id inside the package
    most = max((entry.eax for entry in entries if entry.function == 0), default=0)
    found = [
        row if row.function not in _TOPOLOGY else _own(row, index, count, width)
        for row in entries
        if row.function not in (0xB, 0x1F)
    ]
    for leaf in (0xB, 0x1F):
        if most >= leaf:
            found.append(CpuidEntry(leaf, 0, _INDEXED, 0, 1, _THREADS | 0, index))
            found.append(CpuidEntry(leaf, 1, _INDEXED, width, count, _CORES | 1, index))
    return tuple(found)


def _own(row: CpuidEntry, index: int, count: int, width: int) -> CpuidEntry:
    match row.function:
        case 0x1:
            ebx = Leaf1Ebx(row.ebx).but(initial_apic_id=index & 0xFF, logical_count=min(1 << width, 0xFF))
            return replace(row, ebx=int(ebx), edx=int(Leaf1Edx(row.edx).but(htt=count > 1)))
        case 0x4 if Leaf4Eax(row.eax).type:
            return replace(row, eax=int(Leaf4Eax(row.eax).but(core_ids_minus_1=min((1 << width) - 1, 0x3F))))
        case 0x8000_0008:
            # ECX: NC, the number of cores minus 1, and ApicIdSize
            return replace(row, ecx=row.ecx & ~0xF0FF | min(count - 1, 0xFF) | width << 12)
        case 0x8000_001E:
            return replace(row, eax=index, ebx=index & 0xFF, ecx=0)
        case _:
            return row
