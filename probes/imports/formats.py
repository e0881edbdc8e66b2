"""The formats that can be imported, in one table, and how a file is told to be in one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from virtproof.probes.imports import acpi_tables, cpuid_raw, cpuinfo_text, dmidecode_bin, instlatx64, lscpu_text
from virtproof.probes.imports.part import Part
from virtproof.spec.fault import Fault


@dataclass(frozen=True, slots=True)
class Format:
    """``title`` says how such a file is made.  Several files of a ``joinable`` format are read as one."""

    name: str
    title: str
    looks_like: Callable[[bytes], bool]
    parse: Callable[[bytes], Part]  # raises Fault
    joinable: bool = False


# fmt: off
FORMATS = {one.name: one for one in (
    #      name          title                          recognised                   read by            joinable
    Format("instlatx64", "CPUID dump, InstLatx64 form", instlatx64.looks_like,      instlatx64.parse),
    Format("cpuid",      "cpuid -r",                    cpuid_raw.looks_like,       cpuid_raw.parse),
    Format("acpidump",   "acpidump",                    acpi_tables.looks_like_text, acpi_tables.parse_text, True),
    Format("acpi",       "acpidump -b",                 acpi_tables.looks_binary,    acpi_tables.parse_binary, True),
    Format("dmidecode",  "dmidecode --dump-bin",        dmidecode_bin.looks_like,    dmidecode_bin.parse),
    Format("cpuinfo",    "cat /proc/cpuinfo",           cpuinfo_text.looks_like,     cpuinfo_text.parse),
    Format("lscpu",      "lscpu",                       lscpu_text.looks_like,       lscpu_text.parse),
)}
# fmt: on


def recognise(data: bytes) -> Format:
    """The one format that ``data`` is in.  Raises ``Fault`` where it is none, or could be several."""
    found = [one for one in FORMATS.values() if one.looks_like(data)]
    if len(found) == 1:
        return found[0]
    saw = "it looks like " + " and like ".join(one.title for one in found) if found else "none of the known formats"
    remedy = (
        f"name the format; known: {', '.join(FORMATS)}"
        if found
        else "known: " + "; ".join(one.title for one in FORMATS.values())
    )
    raise Fault("recognise a dump", saw, remedy)
