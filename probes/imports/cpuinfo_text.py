"""A copy of /proc/cpuinfo."""

from __future__ import annotations

import re

from virtproof.probes.cpus import parse as parse_cpus
from virtproof.probes.imports.part import Part, text_of
from virtproof.probes.sources import cpuinfo

LOOKS = re.compile(r"^processor\s*:\s*\d+\s*$", re.MULTILINE)


def looks_like(data: bytes) -> bool:
    return LOOKS.search(text_of(data)) is not None


def parse(data: bytes) -> Part:
    """The lines that do not change from one reading to the next, of every CPU."""
    section = cpuinfo.parse(text_of(data))
    cpus = {cpu for lines in section["values"].values() for on in lines.values() for cpu in parse_cpus(on)}
    return Part({"cpuinfo": section}, tuple(sorted(cpus)), all_cpus=True)
