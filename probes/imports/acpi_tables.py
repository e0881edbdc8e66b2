"""ACPI tables as ``acpidump`` writes them: as text, or with ``-b`` as they lie in memory, one table a file or several.

    DMAR @ 0x0000000000000000
        0000: 44 4D 41 52 88 00 00 00 01 ...  DMAR....

A table that is not in a dump is absent only where the dump proves to be whole: where it has the table of tables
(XSDT, or RSDT) and as many tables as that names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from virtproof.probes.imports.part import Part, text_of
from virtproof.probes.sources import acpi, unread
from virtproof.spec import acpi as table_header
from virtproof.spec.fault import Fault

TOOL = "acpidump"
MAX_TABLES = 256
MAX_TABLE = 4 << 20  # bytes; DSDTs of large servers have 1 MiB
HEADING = re.compile(r"([A-Z0-9_!]{4}) @ 0x[0-9A-Fa-f]+\s*$")
LINE = re.compile(r"\s+([0-9A-Fa-f]{4,8}):((?: [0-9A-Fa-f]{2}){1,16})")
LOOKS = re.compile(r"^[A-Z0-9_!]{4} @ 0x[0-9A-Fa-f]+\s*$", re.MULTILINE)
SIGNATURE = re.compile(rb"[A-Z0-9_!]{4}")
HEADER = table_header.HEADER.size
# Tables that the table of tables does not name: itself, and what FADT and the RSDP point to.
UNNAMED = frozenset({"RSDT", "XSDT", "DSDT", "FACS"})


def looks_like_text(data: bytes) -> bool:
    return LOOKS.search(text_of(data)) is not None


def looks_binary(data: bytes) -> bool:
    return bool(data) and _length(data, 0) is not None


def parse_text(data: bytes) -> Part:
    """The text form.  Raises ``Fault`` for a line out of its place, and for more or larger tables than a host has."""
    tables: list[tuple[str, bytearray]] = []
    for number, line in enumerate(text_of(data).split("\n"), 1):
        if found := HEADING.match(line):
            tables.append((found[1], bytearray()))
            _bounded(len(tables))
        elif tables and (found := LINE.match(line)):
            content = tables[-1][1]
            if int(found[1], 16) != len(content):
                raise Fault(f"read the {TOOL} text", f"line {number}: byte {len(content):#x} should follow")
            content += bytes.fromhex(found[2])
            if len(content) > MAX_TABLE:
                raise Fault(f"read the {TOOL} text", f"{tables[-1][0]} is larger than {MAX_TABLE >> 20} MiB")
    return _part((name, bytes(content)) for name, content in tables)


def parse_binary(data: bytes) -> Part:
    """Tables one after another.  Raises ``Fault`` where something else lies between them."""
    tables: list[tuple[str, bytes]] = []
    offset = 0
    while offset < len(data):
        length = _length(data, offset)
        if length is None:
            raise Fault(f"read the binary {TOOL}", f"no ACPI table at byte {offset}")
        tables.append((data[offset : offset + 4].decode("ascii"), data[offset : offset + length]))
        _bounded(len(tables))
        offset += length
    return _part(tables)


def _length(data: bytes, offset: int) -> int | None:
    """The length of the table at ``offset``; ``None`` where none is, or it is cut off."""
    if not SIGNATURE.fullmatch(data[offset : offset + 4]):
        return None
    length = int.from_bytes(data[offset + 4 : offset + 8], "little")
    return length if HEADER <= length <= min(len(data) - offset, MAX_TABLE) else None


def _bounded(count: int) -> None:
    if count > MAX_TABLES:
        raise Fault(f"read the {TOOL}", f"more than {MAX_TABLES} tables")


def _part(listed: Iterable[tuple[str, bytes]]) -> Part:
    found = list(listed)
    signatures = [name for name, _ in found]
    seen: dict[str, int] = {}
    tables: dict[str, Any] = {}
    names: list[str] = []
    missing: list[dict[str, str]] = []
    for signature, content in found:
        seen[signature] = seen.get(signature, 0) + 1
        # As sysfs names them: the first of several is number 1, an only one has none.
        name = f"{signature}{seen[signature]}" if signatures.count(signature) > 1 else signature
        names.append(name)
        if signature not in acpi.WANTED:
            continue
        if len(content) < HEADER:
            missing.append(unread(name, f"{len(content)} bytes, shorter than a table header"))
        else:
            tables[name] = acpi.table(content[: acpi.LIMIT])
    if not _whole(found):
        missing.append(unread("*", f"not in the {TOOL}, and nothing shows that it holds all tables"))
    return Part({"acpi": {"names": sorted(names), "tables": tables, "unread": missing}})


def _whole(found: list[tuple[str, bytes]]) -> bool:
    """Does the dump hold as many tables as its table of tables names?"""
    named = sum(signature not in UNNAMED for signature, _ in found)
    widths = {"XSDT": 8, "RSDT": 4}
    return any(
        signature in widths and named >= (len(content) - 36) // widths[signature] > 0 for signature, content in found
    )
