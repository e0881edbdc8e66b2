"""Small files that sysfs has for each CPU, stored as value -> CPUs."""

from __future__ import annotations

from collections.abc import Sequence

from virtproof.probes.cpus import group
from virtproof.probes.sources import read_bounded, under, unread, why

FOLDER = "/sys/devices/system/cpu/cpu{cpu}/{name}"
NAMES = (
    "topology/thread_siblings_list",
    "topology/physical_package_id",
    "cpufreq/scaling_driver",
    "cpufreq/scaling_governor",
)
LIMIT = 256


def read(root: str, cpus: Sequence[int]) -> dict[str, object]:
    """The snapshot's section ``percpu``."""
    values: dict[str, dict[str, str]] = {}
    missing: list[dict[str, str]] = []
    for name in NAMES:
        pairs: list[tuple[int, str]] = []
        failed: dict[str, list[int]] = {}
        for cpu in cpus:
            try:
                raw = read_bounded(under(root, FOLDER.format(cpu=cpu, name=name)), LIMIT)
                pairs.append((cpu, raw.decode("ascii", "replace").strip()))
            except OSError as error:
                failed.setdefault(why(error), []).append(cpu)
        if pairs:
            values[name] = group(pairs)
        missing += [unread(name, reason, on) for reason, on in failed.items()]
    return {"values": values, "unread": missing}
