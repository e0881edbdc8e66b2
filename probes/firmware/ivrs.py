"""The ACPI table IVRS: AMD IOMMU specification (48882), "I/O Virtualization ACPI Table"."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from virtproof.probes.firmware.acpi import Table, fields, structures, table
from virtproof.spec.acpi import ivrs
from virtproof.spec.fault import Fault

HEAD = Struct("<BxH")


@dataclass(frozen=True, slots=True)
class Entry:
    """A device entry of an IVHD block: ``device`` is a bus, device and function in 16 bits, ``settings`` one byte."""

    kind: int
    device: int
    settings: int
    rest: bytes


@dataclass(frozen=True, slots=True)
class Unit:
    """IVHD: an IOMMU.  ``efr`` and ``efr2`` are its extended features, ``None`` in blocks of type 10h."""

    kind: int
    flags: ivrs.IvhdFlags
    device: int
    capability: int
    base: int
    segment: int
    info: int
    attributes: int
    efr: int | None
    efr2: int | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """IVMD: memory that devices use untranslated, or that no device may use."""

    kind: int
    flags: ivrs.IvmdFlags
    device: int
    aux: int
    segment: int
    start: int
    length: int


@dataclass(slots=True)
class Ivrs:
    """The table.  ``others`` are types of blocks without a name."""

    info: ivrs.IvInfo
    checksum_ok: bool
    ivhd: list[Unit] = field(default_factory=list)
    ivmd: list[Memory] = field(default_factory=list)
    others: list[int] = field(default_factory=list)

    @property
    def units(self) -> int:
        """How many IOMMUs: several types of block may describe the same one."""
        return len({(unit.segment, unit.device) for unit in self.ivhd})

    def mistakes(self) -> list[str]:
        """What is wrong with the table: sentences, none for one in order."""
        found = [] if self.checksum_ok else ["the checksum is wrong: Linux then leaves AMD-Vi off"]
        if not self.ivhd:
            found.append("it has no IOMMU (IVHD)")
        for unit in self.ivhd:
            if not unit.base or unit.base & 0x3FFF:
                found.append(f"an IVHD of type {unit.kind:#x} has its registers at {unit.base:#x}")
        return found


def parse(data: bytes) -> Ivrs:
    """Take the table apart.  Raises ``Fault`` where lengths do not fit."""
    whole = table("IVRS", data)
    found = Ivrs(info=ivrs.IvInfo(whole.number(ivrs.IVINFO, 4)), checksum_ok=whole.checksum_ok)
    for kind, raw in structures(whole, ivrs.BLOCKS, HEAD):
        if kind in ivrs.IVHD_TYPES:
            found.ivhd.append(_unit(whole, kind, raw))
        elif kind in ivrs.IVMD_TYPES:
            _, flags, _, device, aux, segment, start, length = fields(whole, kind, ivrs.IVMD, raw)
            found.ivmd.append(Memory(kind, ivrs.IvmdFlags(flags), device, aux, segment, start, length))
        else:
            found.others.append(kind)
    return found


def _unit(whole: Table, kind: int, raw: bytes) -> Unit:
    _, flags, _, device, capability, base, segment, info, attributes = fields(whole, kind, ivrs.IVHD, raw)
    efr = efr2 = None
    start = ivrs.IVHD.size
    if kind != ivrs.IVHD_TYPES[0]:
        efr, efr2 = fields(whole, kind, ivrs.IVHD_EFR, raw[start:])
        start += ivrs.IVHD_EFR.size
    return Unit(
        kind, ivrs.IvhdFlags(flags), device, capability, base, segment, info, attributes, efr, efr2,
        _entries(raw[start:]),
    )  # fmt: skip


def _entries(data: bytes) -> tuple[Entry, ...]:
    found: list[Entry] = []
    while data:
        kind = data[0]
        if kind < 0x80:
            length = 4 << (kind >> 6)
        elif kind == ivrs.EntryType.ACPI_HID and len(data) >= ivrs.ACPI_HID_BYTES:
            length = ivrs.ACPI_HID_BYTES + data[ivrs.ACPI_HID_UID_LENGTH]
        else:
            raise Fault("read IVRS", f"a device entry of type {kind:#x} has no length that is known")
        if length > len(data):
            raise Fault("read IVRS", f"a device entry of type {kind:#x} has {length} bytes, {len(data)} are left")
        found.append(Entry(kind, int.from_bytes(data[1:3], "little"), data[3], data[4:length]))
        data = data[length:]
    return tuple(found)
