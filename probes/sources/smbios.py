"""SMBIOS structures, raw, from /sys/firmware/dmi/tables (root), without what names one machine unless asked for."""

from __future__ import annotations

from virtproof.probes.firmware import smbios
from virtproof.probes.sources import read_bounded, under, unread, why
from virtproof.spec.fault import Fault
from virtproof.spec.smbios import Type

ENTRY_POINT = "/sys/firmware/dmi/tables/smbios_entry_point"
TABLE = "/sys/firmware/dmi/tables/DMI"
LIMIT = 256 << 10
MAX_KEPT = 512  # structures: a server with 8 sockets has some 150 of the kept types
KEPT = frozenset(Type)


def read(root: str, *, identity: bool = False) -> dict[str, object]:
    """The snapshot's section ``smbios``."""
    try:
        entry = read_bounded(under(root, ENTRY_POINT), 64)
        table = read_bounded(under(root, TABLE), LIMIT)
    except OSError as error:
        return {"version": "", "structures": [], "unread": [unread("*", f"{TABLE}: {why(error)}")]}
    return section(entry, table, identity=identity)


def section(entry: bytes, table: bytes, *, identity: bool = False) -> dict[str, object]:
    """The same from an entry point and a table that came in another way."""
    version = ""
    missing: list[dict[str, str]] = []
    kept: list[dict[str, object]] = []
    try:
        version = smbios.version(entry)
    except Fault as fault:
        missing.append(unread("version", fault.saw))
    try:
        for one in smbios.structures(table):
            if one.kind in KEPT and len(kept) < MAX_KEPT:
                shown = one if identity else one.anonymous()
                kept.append(
                    {
                        "type": shown.kind,
                        "handle": shown.handle,
                        "data": shown.data.hex(),
                        "strings": list(shown.strings),
                    }
                )
    except Fault as fault:
        missing.append(unread("structures", fault.saw))
    return {"version": version, "structures": kept, "unread": missing}
