"""The output of ``lscpu``: the lines it took from /proc/cpuinfo, and the vulnerabilities.

``lscpu`` shows the lines of one CPU; they are taken for all of them.
"""

from __future__ import annotations

import re

from virtproof.probes.cpus import parse as parse_cpus
from virtproof.probes.cpus import render
from virtproof.probes.imports.part import Part, text_of
from virtproof.probes.sources import unread
from virtproof.spec.fault import Fault

TOOL = "output of lscpu"
LOOKS = re.compile(r"^Architecture:\s+\S", re.MULTILINE)
# What lscpu calls the lines of /proc/cpuinfo.
LINES = {
    "Vendor ID": "vendor_id",
    "CPU family": "cpu family",
    "Model": "model",
    "Model name": "model name",
    "Stepping": "stepping",
    "Flags": "flags",
    "Address sizes": "address sizes",
}
ONLINE = "On-line CPU(s) list"
VULNERABILITY = "Vulnerability "
VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities"
MAX_LINES = 1024


def looks_like(data: bytes) -> bool:
    return LOOKS.search(text_of(data)) is not None


def parse(data: bytes) -> Part:
    """The output.  Raises ``Fault`` where it has no list of CPUs: without a locale of C, its names are translated."""
    lines: dict[str, str] = {}
    for line in text_of(data).split("\n")[:MAX_LINES]:
        name, colon, value = line.partition(":")
        if colon:
            lines.setdefault(name.strip(), value.strip())
    cpus = parse_cpus(lines.get(ONLINE, ""))
    if not cpus:
        raise Fault(f"read the {TOOL}", f"no line {ONLINE!r}", "make it again: LC_ALL=C lscpu")
    on = render(cpus)
    rest = unread("*", f"the {TOOL} does not show it")
    files = {
        f"{VULNERABILITIES}/{name.removeprefix(VULNERABILITY).lower().replace(' ', '_')}": _as_in_sysfs(value)
        for name, value in lines.items()
        if name.startswith(VULNERABILITY)
    }
    values = {line: {lines[name]: on} for name, line in LINES.items() if lines.get(name)}
    return Part(
        {
            "cpuinfo": {"values": values, "unread": [rest]},
            "files": {"values": files, "names": {}, "absent": [], "unread": [rest]},
        },
        cpus,
        all_cpus=True,
    )


def _as_in_sysfs(vulnerability: str) -> str:
    """lscpu prints "Mitigation; PTI" for the kernel's "Mitigation: PTI"."""
    return vulnerability.replace("Mitigation;", "Mitigation:", 1)
