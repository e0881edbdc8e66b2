"""What Linux made of each CPU: the lines of /proc/cpuinfo that do not change from one reading to the next."""

from __future__ import annotations

from typing import Any

from virtproof.probes.cpus import MAX_CPUS, group
from virtproof.probes.sources import read_bounded, under, unread, why

PATH = "/proc/cpuinfo"
LIMIT = 16 << 20  # 8192 CPUs at 2 KiB each
KEPT = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags", "vmx flags", "bugs",
    "address sizes",
)  # fmt: skip


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``cpuinfo``."""
    try:
        text = read_bounded(under(root, PATH), LIMIT).decode("utf-8", "replace")
    except OSError as error:
        return {"values": {}, "unread": [unread("*", f"{PATH}: {why(error)}")]}
    return parse(text)


def parse(text: str) -> dict[str, Any]:
    """The section from the file's text."""
    found: dict[str, list[tuple[int, str]]] = {}
    cpu = -1
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if name == "processor" and value.isascii() and value.isdigit() and int(value) < MAX_CPUS:
            cpu = int(value)
        elif colon and cpu >= 0 and name in KEPT:
            found.setdefault(name, []).append((cpu, value))
    return {"values": {name: group(pairs) for name, pairs in found.items()}, "unread": []}
