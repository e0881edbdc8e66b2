"""The ACPI table DMAR: Intel VT-d specification, "BIOS Considerations"."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from struct import Struct

from virtproof.probes.firmware.acpi import Table, fields, structures, table
from virtproof.spec.acpi import dmar
from virtproof.spec.fault import Fault

HEAD = Struct("<HH")
PAGE = 0xFFF


@dataclass(frozen=True, slots=True)
class Scope:
    """A device: how it is reached from ``bus``.  ``kind`` is a ``dmar.ScopeType`` where that has a name for it."""

    kind: int
    flags: int
    enumeration: int
    bus: int
    path: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        steps = "/".join(f"{device:02x}.{function:x}" for device, function in self.path)
        return f"{self.bus:02x}:{steps}"


@dataclass(frozen=True, slots=True)
class Unit:
    """DRHD: a remapping unit.  ``base`` is the address of its registers."""

    flags: dmar.DrhdFlags
    size: dmar.DrhdSize
    segment: int
    base: int
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class Reserved:
    """RMRR: memory that devices of the firmware use; ``limit`` is its last byte."""

    segment: int
    base: int
    limit: int
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class Translating:
    """ATSR: root ports that carry ATS.  SATC: devices of the SoC with translation caches.  SIDP: with properties."""

    flags: int
    segment: int
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """RHSA: the proximity domain of the unit whose registers are at ``base``."""

    base: int
    domain: int


@dataclass(frozen=True, slots=True)
class Named:
    """ANDD: a device of the ACPI name space."""

    number: int
    name: str


@dataclass(slots=True)
class Dmar:
    """The table.  ``width`` is the DMA address width in bits; ``others`` are types of structures without a name."""

    width: int
    flags: dmar.DmarFlags
    checksum_ok: bool
    drhd: list[Unit] = field(default_factory=list)
    rmrr: list[Reserved] = field(default_factory=list)
    atsr: list[Translating] = field(default_factory=list)
    rhsa: list[Near] = field(default_factory=list)
    andd: list[Named] = field(default_factory=list)
    satc: list[Translating] = field(default_factory=list)
    sidp: list[Translating] = field(default_factory=list)
    others: list[int] = field(default_factory=list)

    def mistakes(self) -> list[str]:
        """What is wrong with the table: sentences, none for one in order."""
        found = [] if self.checksum_ok else ["the checksum is wrong"]
        if not self.drhd:
            found.append("it has no remapping unit (DRHD)")
        for unit in self.drhd:
            if not unit.base or unit.base & PAGE or unit.base.bit_length() > self.width:
                found.append(f"a DRHD has its registers at {unit.base:#x}")
        found += [f"two DRHD have their registers at {base:#x}" for base, n in _bases(self.drhd).items() if n > 1]
        everything = Counter(unit.segment for unit in self.drhd if unit.flags.include_pci_all)
        found += [f"segment {segment} has {n} DRHD with INCLUDE_PCI_ALL" for segment, n in everything.items() if n > 1]
        for region in self.rmrr:
            if region.base & PAGE or (region.limit + 1) & PAGE or region.limit <= region.base:
                found.append(f"an RMRR goes from {region.base:#x} to {region.limit:#x}")
        return found


def parse(data: bytes) -> Dmar:
    """Take the table apart.  Raises ``Fault`` where lengths do not fit."""
    whole = table("DMAR", data)
    found = Dmar(
        width=whole.number(dmar.WIDTH, 1) + 1,
        flags=dmar.DmarFlags(whole.number(dmar.FLAGS, 1)),
        checksum_ok=whole.checksum_ok,
    )
    for kind, raw in structures(whole, dmar.STRUCTURES, HEAD):
        match kind:
            case dmar.Type.DRHD:
                flags, size, segment, base = fields(whole, kind, dmar.DRHD, raw)
                scopes = _scopes(whole, raw[dmar.DRHD.size :])
                found.drhd.append(Unit(dmar.DrhdFlags(flags), dmar.DrhdSize(size), segment, base, scopes))
            case dmar.Type.RMRR:
                segment, base, limit = fields(whole, kind, dmar.RMRR, raw)
                found.rmrr.append(Reserved(segment, base, limit, _scopes(whole, raw[dmar.RMRR.size :])))
            case dmar.Type.ATSR | dmar.Type.SATC:
                flags, segment = fields(whole, kind, dmar.ATSR, raw)
                kept = found.atsr if kind == dmar.Type.ATSR else found.satc
                kept.append(Translating(flags, segment, _scopes(whole, raw[dmar.ATSR.size :])))
            case dmar.Type.RHSA:
                base, domain = fields(whole, kind, dmar.RHSA, raw)
                found.rhsa.append(Near(base, domain))
            case dmar.Type.ANDD:
                (number,) = fields(whole, kind, dmar.ANDD, raw)
                name = raw[dmar.ANDD.size :].split(b"\0")[0].decode("ascii", "replace")
                found.andd.append(Named(number, name))
            case dmar.Type.SIDP:
                (segment,) = fields(whole, kind, dmar.SIDP, raw)
                found.sidp.append(Translating(0, segment, _scopes(whole, raw[dmar.SIDP.size :])))
            case _:
                found.others.append(kind)
    return found


def _scopes(whole: Table, data: bytes) -> tuple[Scope, ...]:
    scopes: list[Scope] = []
    while data:
        kind, length, flags, enumeration, bus = fields(whole, 0, dmar.SCOPE, data)
        if not dmar.SCOPE.size <= length <= len(data):
            raise Fault("read DMAR", f"a device scope says it has {length} bytes where {len(data)} are left")
        steps = data[dmar.SCOPE.size : length]
        path = tuple(zip(steps[0::2], steps[1::2], strict=False))
        scopes.append(Scope(kind, flags, enumeration, bus, path))
        data = data[length:]
    return tuple(scopes)


def _bases(units: list[Unit]) -> Counter[int]:
    return Counter(unit.base for unit in units)
