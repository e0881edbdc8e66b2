"""What backs guests' memory and CPUs: nodes, huge pages, page merging, swap, control groups, CPU frequency."""

from __future__ import annotations

import re

from virtproof.probes.cpus import parse
from virtproof.probes.fact import Fact, Seen, Unknown, Value
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, text, why_no_file
from virtproof.probes.source_linux import matching, number, per_cpu, total
from virtproof.spec.cite import linux

CPU = linux("ABI/stable/sysfs-devices-system-cpu", "/sys/devices/system/cpu/cpuX/topology")
ISOLATED = linux("ABI/testing/sysfs-devices-system-cpu", "/sys/devices/system/cpu/isolated")
NODE = linux("ABI/stable/sysfs-devices-node", "/sys/devices/system/node")
HUGETLB = linux("admin-guide/mm/hugetlbpage.rst", "HugeTLB Pages")
KSM = linux("admin-guide/mm/ksm.rst", "KSM daemon sysfs interface")
MEMINFO = linux("filesystems/proc.rst", "meminfo")
CGROUP = linux("admin-guide/cgroup-v2.rst", "Controllers")
MISC = linux("admin-guide/cgroup-v2.rst", "Misc")
CPUFREQ = linux("admin-guide/pm/cpufreq.rst", "Policy Interface in sysfs")
EDAC = linux("driver-api/edac.rst", "EDAC")
CLOCK = linux("timers/timekeeping.rst", "Clock sources")

# What managers of guests set, per version of the interface.
CONTROLLERS = {
    2: ("cpu", "cpuset", "io", "memory", "pids"),
    1: ("cpu", "cpuacct", "cpuset", "memory", "devices", "blkio"),
}
NODES = "/sys/devices/system/node/node"
POOL = re.compile(r"(\d{1,5})/hugepages/hugepages-(\d{1,10})kB", re.ASCII)
Read = tuple[Seen, ...] | Unknown


def cores(snapshot: Snapshot) -> Read:
    """Cores with at least one CPU online: as many as there are sets of sibling threads."""
    siblings = snapshot.percpu("topology/thread_siblings_list")
    known = sum(len(parse(cpus)) for _, cpus in siblings)
    if known < len(parse(snapshot["cpus"])):
        return Unknown(snapshot.obstacle("percpu", "topology/thread_siblings_list") or "not read on every CPU")
    return (Seen(len(siblings), f"{known} CPUs"),)


def sockets(snapshot: Snapshot) -> Read:
    packages = snapshot.percpu("topology/physical_package_id")
    if not packages:
        return Unknown(snapshot.obstacle("percpu", "topology/physical_package_id") or "not read")
    return (Seen(len(packages), " ".join(f"{package}:{cpus}" for package, cpus in packages[:8])),)


def nodes(snapshot: Snapshot) -> Read:
    """NUMA nodes; the raw text has the CPUs of each."""
    lists = [(name, cpus) for name, cpus in matching(snapshot, NODES, "/cpulist") if name.isdigit()]
    if not lists:
        return Unknown(snapshot.obstacle("files") or "the kernel shows no NUMA nodes (CONFIG_NUMA)")
    return (Seen(len(lists), " ".join(f"{name}:{cpus or '-'}" for name, cpus in lists[:64])),)


def distances(snapshot: Snapshot) -> Read:
    rows = [(name, row) for name, row in matching(snapshot, NODES, "/distance") if name.isdigit()]
    if not rows:
        return Unknown(snapshot.obstacle("files") or "the kernel shows no NUMA nodes (CONFIG_NUMA)")
    return (Seen(" / ".join(row for _, row in sorted(rows, key=lambda one: int(one[0])))[:400], "distance"),)


def balanced(snapshot: Snapshot) -> Read:
    """Has each node that has CPUs as many reserved huge pages of every size as the others?"""
    pools: dict[str, dict[str, str]] = {}
    with_cpus = {name for name, cpus in matching(snapshot, NODES, "/cpulist") if cpus}
    for path, count in matching(snapshot, NODES, "/nr_hugepages"):
        if (found := POOL.fullmatch(path)) and found[1] in with_cpus:
            pools.setdefault(found[2], {})[found[1]] = count
    if not pools:
        return Unknown(snapshot.obstacle("files") or "no node shows a pool of huge pages")
    raw = "; ".join(
        f"{size} kB: {' '.join(f'{n}:{count}' for n, count in pool.items())}" for size, pool in pools.items()
    )
    return (Seen(all(len(set(pool.values())) == 1 for pool in pools.values()), raw[:200]),)


def meminfo(name: str, snapshot: Snapshot) -> int | None:
    """A line of /proc/meminfo, in KiB."""
    found = re.search(rf"^{name}: +(\d{{1,15}}) kB$", snapshot.text("/proc/meminfo") or "", re.MULTILINE | re.ASCII)
    return int(found[1]) if found else None


def memory_mib(snapshot: Snapshot) -> Read:
    kib = meminfo("MemTotal", snapshot)
    return Unknown(why_no_file(snapshot, "/proc/meminfo")) if kib is None else (Seen(kib >> 10, f"{kib} kB"),)


def swap_used(snapshot: Snapshot) -> Read:
    """MiB of swap in use; 0 where there is none."""
    size, free = meminfo("SwapTotal", snapshot), meminfo("SwapFree", snapshot)
    if size is None or free is None:
        return Unknown(why_no_file(snapshot, "/proc/meminfo"))
    return (Seen((size - free) >> 10, f"{free} of {size} kB free"),)


def controllers(snapshot: Snapshot) -> tuple[int, set[str]] | Unknown:
    """The version of control groups and its controllers; a hybrid host counts as version 1."""
    unified = (snapshot.text("/sys/fs/cgroup/cgroup.controllers") or "").split()
    if unified:
        return 2, set(unified)
    table = snapshot.text("/proc/cgroups")
    if table is None:
        return Unknown(why_no_file(snapshot, "/proc/cgroups"))
    rows = (line.split() for line in table.splitlines() if not line.startswith("#"))
    mounted = {row[0] for row in rows if len(row) == 4 and row[1] != "0" and row[3] == "1"}
    return (1, mounted) if mounted else Unknown("no control groups are mounted here")


def cgroup_version(snapshot: Snapshot) -> Read:
    found = controllers(snapshot)
    return found if isinstance(found, Unknown) else (Seen(found[0], " ".join(sorted(found[1]))),)


def cgroup_missing(snapshot: Snapshot) -> Read:
    """Controllers that managers of guests use and this host does not have; empty where all are there."""
    found = controllers(snapshot)
    if isinstance(found, Unknown):
        return found
    version, there = found
    return (Seen(" ".join(name for name in CONTROLLERS[version] if name not in there), " ".join(sorted(there))),)


def capacity(key: str, snapshot: Snapshot) -> Read:
    """A line of misc.capacity."""
    path = "/sys/fs/cgroup/misc.capacity"
    content = snapshot.text(path)
    if content is None:
        return Unknown(why_no_file(snapshot, path))
    found = re.search(rf"^{key} (\d{{1,9}})$", content, re.MULTILINE | re.ASCII)
    value: Value = int(found[1]) if found else 0
    return (Seen(value, found[0] if found else f"no line {key}"),)


# fmt: off
FACTS = (
    #    id                     source                                                                       meaning                                            cite      refs
    Fact("cpu.cores",           derived("/sys/devices/system/cpu/cpu*/topology/thread_siblings_list", cores), "cores online",                                   CPU,      ("PL-006",)),
    Fact("cpu.sockets",         derived("/sys/devices/system/cpu/cpu*/topology/physical_package_id", sockets), "sockets",                                       CPU),
    Fact("cpu.isolated",        text("/sys/devices/system/cpu/isolated"),                                    "CPUs that the scheduler leaves alone",            ISOLATED, ("PL-024",)),
    Fact("cpu.nohz_full",       text("/sys/devices/system/cpu/nohz_full"),                                   "CPUs without a periodic tick",                    ISOLATED, ("PL-024",)),
    Fact("cpufreq.driver",      per_cpu("cpufreq/scaling_driver"),                                           "driver of CPU frequency",                         CPUFREQ),
    Fact("cpufreq.governor",    per_cpu("cpufreq/scaling_governor"),                                         "governor of CPU frequency",                       CPUFREQ),
    Fact("clocksource.others",  text("/sys/devices/system/clocksource/clocksource0/available_clocksource"),  "clock sources that could be used",                CLOCK,    ("KE-104",)),
    Fact("numa.nodes",          derived("/sys/devices/system/node/node*/cpulist", nodes),                    "NUMA nodes",                                      NODE,     ("PL-022",)),
    Fact("numa.distances",      derived("/sys/devices/system/node/node*/distance", distances),               "distances of the NUMA nodes, a row each",         NODE,     ("PL-022",)),
    Fact("numa.huge_pages_even", derived("/sys/devices/system/node/node*/hugepages", balanced),              "nodes have the same number of huge pages",        HUGETLB,  ("KE-100",)),
    Fact("memory.mib",          derived("/proc/meminfo MemTotal", memory_mib),                               "MiB of memory",                                   MEMINFO),
    Fact("memory.swap_used_mib", derived("/proc/meminfo SwapTotal SwapFree", swap_used),                     "MiB of swap in use",                              MEMINFO,  ("KE-103",)),
    Fact("hugepages.2m",        number("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),            "huge pages of 2 MiB",                             HUGETLB,  ("KE-098",)),
    Fact("hugepages.2m_free",   number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"),          "huge pages of 2 MiB that are free",               HUGETLB,  ("KE-098",)),
    Fact("hugepages.1g_count",  number("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"),         "huge pages of 1 GiB",                             HUGETLB,  ("KE-099",)),
    Fact("ksm.run",             number("/sys/kernel/mm/ksm/run"),                                            "page merging: 0 off, 1 on, 2 undone",             KSM,      ("KE-102",)),
    Fact("ksm.across_nodes",    number("/sys/kernel/mm/ksm/merge_across_nodes"),                             "pages of different nodes are merged",             KSM,      ("KE-102",)),
    Fact("cgroup.version",      derived("/sys/fs/cgroup, /proc/cgroups", cgroup_version),                    "version of control groups",                       CGROUP,   ("KE-097",)),
    Fact("cgroup.missing",      derived("/sys/fs/cgroup, /proc/cgroups", cgroup_missing),                    "control group controllers that guests' managers lack", CGROUP, ("KE-097",)),
    Fact("cgroup.sev_asids",    derived("/sys/fs/cgroup/misc.capacity", lambda one: capacity("sev", one)),   "SEV guests that control groups hand out",         MISC,     ("SE-040",)),
    Fact("cgroup.sev_es_asids", derived("/sys/fs/cgroup/misc.capacity", lambda one: capacity("sev_es", one)), "SEV-ES and SEV-SNP guests that control groups hand out", MISC, ("SE-040",)),
    Fact("edac.corrected",      total("/sys/devices/system/edac/mc/mc", "/ce_count"),                        "memory errors that were corrected",               EDAC),
    Fact("edac.uncorrected",    total("/sys/devices/system/edac/mc/mc", "/ue_count"),                        "memory errors that could not be corrected",       EDAC),
)
# fmt: on
