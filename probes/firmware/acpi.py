"""ACPI tables: the header, the lists of structures that many of them are, and those with little in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from virtproof.spec import acpi
from virtproof.spec.fault import Fault

MAX_STRUCTURES = 16384


@dataclass(frozen=True, slots=True)
class Table:
    """A whole table; ``data`` has as many bytes as its header says."""

    signature: str
    data: bytes

    @property
    def checksum_ok(self) -> bool:
        return sum(self.data) & 0xFF == 0

    def number(self, offset: int, size: int) -> int:
        """A field.  Raises ``Fault`` where the table ends before it."""
        if offset + size > len(self.data):
            raise Fault(f"read byte {offset} of {self.signature}", f"the table has {len(self.data)} bytes")
        return int.from_bytes(self.data[offset : offset + size], "little")


def table(signature: str, data: bytes) -> Table:
    """Check the header of a table.  Raises ``Fault`` for a wrong signature or a length that is not there."""
    if len(data) < acpi.HEADER.size:
        raise Fault(f"read the table {signature}", f"{len(data)} bytes are less than a header")
    if data[:4] != signature.encode("ascii", "replace"):
        raise Fault(f"read the table {signature}", f"its signature is {data[:4]!r}")
    length = int.from_bytes(data[acpi.LENGTH : acpi.LENGTH + 4], "little")
    if not acpi.HEADER.size <= length <= len(data):
        raise Fault(f"read the table {signature}", f"its header says {length} bytes, there are {len(data)}")
    return Table(signature, data[:length])


def structures(whole: Table, start: int, head: Struct) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) of each structure from ``start`` to the end; ``head`` is the layout of type and length.

    Raises ``Fault`` where a structure is shorter than its head or goes beyond the table.
    """
    offset = start
    for _ in range(MAX_STRUCTURES):
        if offset >= len(whole.data):
            return
        kind, length = _head(whole, offset, head)
        yield kind, whole.data[offset : offset + length]
        offset += length
    raise Fault(f"read {whole.signature}", f"more than {MAX_STRUCTURES} structures")


def fields(whole: Table, kind: int, layout: Struct, data: bytes) -> tuple[int, ...]:
    """The fields of one structure.  Raises ``Fault`` where it is shorter than its layout."""
    if len(data) < layout.size:
        raise Fault(
            f"read {whole.signature}", f"a structure of type {kind} has {len(data)} bytes, its layout {layout.size}"
        )
    return layout.unpack_from(data)


def _head(whole: Table, offset: int, head: Struct) -> tuple[int, int]:
    if offset + head.size > len(whole.data):
        raise Fault(f"read {whole.signature}", f"it ends inside the structure at byte {offset}")
    kind, length = head.unpack_from(whole.data, offset)
    if length < head.size or offset + length > len(whole.data):
        raise Fault(f"read {whole.signature}", f"the structure at byte {offset} says it has {length} bytes")
    return kind, length


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor that the MADT lists."""

    uid: int
    apic_id: int
    flags: acpi.MadtCpuFlags


BYTE_HEAD = Struct("<BB")
NO_APIC_ID = {0: 0xFF, 9: 0xFFFF_FFFF}  # broadcast: no processor


def madt_cpus(whole: Table) -> tuple[Cpu, ...]:
    """The processors of the MADT, each APIC id once.  Raises ``Fault``."""
    found: dict[int, Cpu] = {}
    for kind, data in structures(whole, acpi.MADT_STRUCTURES, BYTE_HEAD):
        match kind:
            case acpi.LOCAL_APIC:
                uid, apic_id, flags = fields(whole, kind, acpi.MADT_LOCAL_APIC, data)
            case acpi.X2APIC:
                apic_id, flags, uid = fields(whole, kind, acpi.MADT_X2APIC, data)
            case _:
                continue
        one = Cpu(uid, apic_id, acpi.MadtCpuFlags(flags))
        if apic_id != NO_APIC_ID[kind] and (apic_id not in found or one.flags.enabled):
            found[apic_id] = one
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Affinity:
    """What the SRAT puts into proximity domains: how many processors, how many bytes of memory."""

    cpus: dict[int, int]
    memory: dict[int, int]


def srat_affinity(whole: Table) -> Affinity:
    """The enabled entries of the SRAT by proximity domain.  Raises ``Fault``."""
    cpus: dict[int, int] = {}
    memory: dict[int, int] = {}
    for kind, data in structures(whole, acpi.SRAT_STRUCTURES, BYTE_HEAD):
        match kind:
            case 0:
                if len(data) < acpi.SRAT_CPU.size:
                    raise Fault("read SRAT", f"a structure of type 0 has {len(data)} bytes")
                low, _, flags, high = acpi.SRAT_CPU.unpack_from(data)
                domain = low | int.from_bytes(high, "little") << 8
                if flags & acpi.SRAT_ENABLED:
                    cpus[domain] = cpus.get(domain, 0) + 1
            case 1:
                domain, _, length, flags = fields(whole, kind, acpi.SRAT_MEMORY, data)
                if flags & acpi.SRAT_ENABLED:
                    memory[domain] = memory.get(domain, 0) + length
            case 2:
                domain, _, flags = fields(whole, kind, acpi.SRAT_X2APIC, data)
                if flags & acpi.SRAT_ENABLED:
                    cpus[domain] = cpus.get(domain, 0) + 1
    return Affinity(cpus, memory)
