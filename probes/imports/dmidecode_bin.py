"""The output of ``dmidecode --dump-bin``: an SMBIOS entry point whose table follows in the same file.

Kept is what ``collect`` keeps from /sys/class/dmi/id: makers, models and versions; no serial number and no UUID.
Formats: DMTF DSP0134, "Structure Table Entry Point", "Structure standards".
"""

from __future__ import annotations

from typing import NamedTuple

from virtproof.probes.imports.part import Part
from virtproof.probes.sources import unread
from virtproof.spec.fault import Fault

TOOL = "dmidecode --dump-bin"
MAX_STRUCTURES = 16384
MAX_STRING = 256  # characters kept of one string
END_OF_TABLE = 127


class Anchor(NamedTuple):
    """Where an entry point keeps the table's offset in the file and its size, in bytes, as (offset, width)."""

    address: tuple[int, int]
    size: tuple[int, int]


ANCHORS = {b"_SM3_": Anchor((16, 8), (12, 4)), b"_SM_": Anchor((24, 4), (22, 2)), b"_DMI_": Anchor((8, 4), (6, 2))}
# Structure type -> the byte that holds the number of a string -> the file of sysfs with that string.
STRINGS = {
    0: {4: "bios_vendor", 5: "bios_version", 8: "bios_date"},
    1: {4: "sys_vendor", 5: "product_name"},
    2: {4: "board_vendor", 5: "board_name"},
}
FOLDER = "/sys/class/dmi/id"


def looks_like(data: bytes) -> bool:
    return data.startswith(tuple(ANCHORS))


def parse(data: bytes) -> Part:
    """The dump.  Raises ``Fault`` where it does not hold the table that its entry point names."""
    values: dict[str, str] = {}
    for kind, formatted, strings in _structures(_table(data)):
        for place, name in STRINGS.get(kind, {}).items():
            number = formatted[place] if place < len(formatted) else 0
            if 0 < number <= len(strings):  # the first structure of a kind is the one that sysfs shows
                values.setdefault(f"{FOLDER}/{name}", _printable(strings[number - 1]))
    rest = unread("*", f"a dump by {TOOL} does not hold it")
    return Part({"files": {"values": values, "names": {}, "absent": [], "unread": [rest]}})


def _table(data: bytes) -> bytes:
    anchor = next((place for signature, place in ANCHORS.items() if data.startswith(signature)), None)
    if anchor is None:
        raise Fault(f"read the {TOOL}", "it does not begin with an SMBIOS entry point")

    def number(place: tuple[int, int]) -> int:
        offset, width = place
        return int.from_bytes(data[offset : offset + width], "little")

    start, size = number(anchor.address), number(anchor.size)
    if start >= len(data):
        raise Fault(f"read the {TOOL}", f"its table is at byte {start}, the file has {len(data)}", "dump it again")
    return data[start : start + size]  # version 3 gives the most that the table may have


def _structures(table: bytes) -> list[tuple[int, bytes, list[bytes]]]:
    """Every structure: type, formatted part, strings."""
    found: list[tuple[int, bytes, list[bytes]]] = []
    offset = 0
    while offset + 4 <= len(table):
        kind, length = table[offset], table[offset + 1]
        end = table.find(b"\0\0", offset + length)
        if length < 4 or end < 0:
            raise Fault(f"read the {TOOL}", f"the structure at byte {offset} of its table is damaged")
        if len(found) == MAX_STRUCTURES:
            raise Fault(f"read the {TOOL}", f"more than {MAX_STRUCTURES} structures")
        text = table[offset + length : end]
        found.append((kind, table[offset : offset + length], text.split(b"\0") if text else []))
        if kind == END_OF_TABLE:
            break
        offset = end + 2
    return found


def _printable(raw: bytes) -> str:
    return raw[:MAX_STRING].decode("latin-1").strip()
