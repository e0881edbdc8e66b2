"""The output of ``dmidecode --dump-bin``: an SMBIOS entry point whose table follows in the same file.

It becomes the section ``smbios`` as ``collect`` would write it, without serial numbers and UUID, and those files of
/sys/class/dmi/id that Linux fills from it.
Formats: DMTF DSP0134, "SMBIOS Structure Table Entry Point", "Structure definitions".
"""

from __future__ import annotations

from typing import NamedTuple

from virtproof.probes.firmware.smbios import structures
from virtproof.probes.imports.part import Part
from virtproof.probes.sources import smbios, unread
from virtproof.spec.fault import Fault
from virtproof.spec.smbios import Type

TOOL = "dmidecode --dump-bin"
ENTRY_BYTES = 32  # what dmidecode leaves for the entry point before the table


class Anchor(NamedTuple):
    """Where an entry point keeps the table's place in the file and its size, each as (offset, width) in bytes."""

    address: tuple[int, int]
    size: tuple[int, int]


ANCHORS = {b"_SM3_": Anchor((16, 8), (12, 4)), b"_SM_": Anchor((24, 4), (22, 2)), b"_DMI_": Anchor((8, 4), (6, 2))}
# Structure type -> the byte that holds the number of a string -> the file of sysfs with that string.
STRINGS = {
    Type.BIOS: {0x04: "bios_vendor", 0x05: "bios_version", 0x08: "bios_date"},
    Type.SYSTEM: {0x04: "sys_vendor", 0x05: "product_name"},
    Type.BASEBOARD: {0x04: "board_vendor", 0x05: "board_name"},
}
FOLDER = "/sys/class/dmi/id"


def looks_like(data: bytes) -> bool:
    return data.startswith(tuple(ANCHORS))


def parse(data: bytes) -> Part:
    """The dump.  Raises ``Fault`` where it does not hold the table that its entry point names, or that is damaged."""
    table = _table(data)
    values: dict[str, str] = {}
    for one in structures(table):
        names = STRINGS[Type(one.kind)] if one.kind in STRINGS else {}
        for offset, name in names.items():  # the first structure of a kind is the one that sysfs shows
            if text := one.string(offset):
                values.setdefault(f"{FOLDER}/{name}", text)
    rest = unread("*", f"a dump by {TOOL} does not hold it")
    return Part(
        {
            "smbios": smbios.section(data[:ENTRY_BYTES], table),
            "files": {"values": values, "names": {}, "absent": [], "unread": [rest]},
        }
    )


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
