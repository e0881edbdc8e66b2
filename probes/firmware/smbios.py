"""SMBIOS: the entry point, the walk over the structures, and structures without what names one machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from virtproof.spec import smbios
from virtproof.spec.fault import Fault

LEAST_2 = 0x1E  # version 2.1 of the specification wrote this length for the 31 bytes
MAX_STRUCTURES, MAX_STRINGS, MAX_STRING = 4096, 64, 128
REMOVED = "(removed)"
# What makers write where they were to write a serial number: it names nobody, and tells that the number is missing.
PLACEHOLDERS = frozenset(
    {
        "", "0", "00000000", "0123456789", "123456789", "1234567890", "base board serial number",
        "chassis asset tag", "chassis serial number", "default string", "empty", "n/a", "na", "no asset tag", "none",
        "not available", "not provided", "not specified", "oem", "system serial number",
        "to be filled by o.e.m.", "unknown", "unspecified",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure: its formatted area (header included) and its strings, the first of which has the number 1."""

    kind: int
    handle: int
    data: bytes
    strings: tuple[str, ...]

    def number(self, offset: int, size: int) -> int | None:
        """A field, ``None`` where this version of the structure does not reach so far."""
        if offset + size > len(self.data):
            return None
        return int.from_bytes(self.data[offset : offset + size], "little")

    def string(self, offset: int) -> str | None:
        """The string whose number is at ``offset``; ``None`` where there is none."""
        number = self.number(offset, 1)
        return self.strings[number - 1] if number and number <= len(self.strings) else None

    def anonymous(self) -> Structure:
        """The structure without serial numbers, asset tags and UUID."""
        offsets = smbios.IDENTITY.get(smbios.Type(self.kind), ()) if self.kind in set(smbios.Type) else ()
        numbers = {self.number(offset, 1) for offset in offsets}
        strings = tuple(
            REMOVED if number in numbers and not placeholder(text) else text
            for number, text in enumerate(self.strings, 1)
        )
        data = self.data
        if self.kind == smbios.Type.SYSTEM:
            kept = data[smbios.UUID + smbios.UUID_BYTES :]
            data = data[: smbios.UUID] + bytes(len(data[smbios.UUID : smbios.UUID + smbios.UUID_BYTES])) + kept
        return replace(self, data=data, strings=strings)


def placeholder(text: str) -> bool:
    """Is this what a maker writes who did not fill in a name or number?"""
    return text.strip().casefold() in PLACEHOLDERS


def version(entry: bytes) -> str:
    """The version that an entry point states: "3.4".  Raises ``Fault`` for what is none, or has a wrong checksum."""
    if entry.startswith(smbios.ANCHOR_3) and len(entry) >= smbios.ENTRY_3.size:
        least = smbios.ENTRY_3.size
        _, _, length, major, minor, *_ = smbios.ENTRY_3.unpack_from(entry)
    elif entry.startswith(smbios.ANCHOR_2) and len(entry) >= smbios.ENTRY_2.size:
        least = LEAST_2
        _, _, length, major, minor, *_ = smbios.ENTRY_2.unpack_from(entry)
    else:
        raise Fault("read the SMBIOS entry point", f"{entry[:8]!r} begins no entry point")
    if not least <= length <= len(entry) or sum(entry[:length]) & 0xFF:
        raise Fault("read the SMBIOS entry point", "its length or checksum is wrong")
    return f"{major}.{minor}"


def structures(table: bytes) -> Iterator[Structure]:
    """The structures of a table, up to the end-of-table structure or the end of the bytes.

    Raises ``Fault`` where a structure goes beyond them; those before it have been given.
    """
    offset = 0
    for _ in range(MAX_STRUCTURES):
        if offset >= len(table):
            return
        if offset + smbios.HEADER.size > len(table):
            raise Fault("read SMBIOS", f"{len(table) - offset} bytes at the end are no structure")
        kind, length, handle = smbios.HEADER.unpack_from(table, offset)
        area = offset + length
        if length < smbios.HEADER.size or area > len(table):
            raise Fault("read SMBIOS", f"the structure at byte {offset} says it has {length} bytes")
        end = table.find(b"\0\0", area)
        if end < 0:
            raise Fault("read SMBIOS", f"the strings of the structure at byte {offset} do not end")
        texts = table[area:end].split(b"\0")[:MAX_STRINGS] if end > area else []
        strings = tuple(text.decode("utf-8", "replace").strip()[:MAX_STRING] for text in texts)
        yield Structure(kind, handle, table[offset:area], strings)
        if kind == smbios.END_OF_TABLE:
            return
        offset = end + 2
    raise Fault("read SMBIOS", f"more than {MAX_STRUCTURES} structures")
