"""PCI functions and network devices that guests can be given: isolation, virtual functions, reset, locality."""

from __future__ import annotations

import re
from typing import Any

from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived
from virtproof.probes.source_linux import functions
from virtproof.spec import pci
from virtproof.spec.cite import Cite, linux

PCIE = "PCI Express Base Specification 6.0"
ACS = Cite(PCIE, "Access Control Services (ACS)")
ATS = Cite(PCIE, "Address Translation Services")
REBAR = Cite(PCIE, "Resizable BAR Capability")
SYSFS = linux("ABI/testing/sysfs-bus-pci", "/sys/bus/pci/devices/.../")
NET = linux("ABI/testing/sysfs-class-net", "/sys/class/net/<iface>/")
DEVLINK = linux("networking/devlink/devlink-eswitch-attr.rst", "Devlink E-Switch Attribute")
RTNETLINK = Cite("rtnetlink(7)", "RTM_GETLINK")
IOMEM = linux("filesystems/proc.rst", "Kernel data")

Devices = dict[str, dict[str, Any]]
Read = tuple[Seen, ...] | Unknown
PORTS = frozenset({pci.PortType.ROOT_PORT, pci.PortType.DOWNSTREAM})
ISOLATING = pci.Acs.source_validation.mask | pci.Acs.request_redirect.mask | pci.Acs.completion_redirect.mask
ISOLATING |= pci.Acs.upstream_forwarding.mask
SHOWN = 16
RANGE = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.*)")
FOUR_GIB = 1 << 32


def open_ports(devices: Devices) -> str:
    """Ports whose ACS is missing or does not keep what is below apart."""
    found = [
        address
        for address, one in devices.items()
        if one.get("port_type") in PORTS and (len(one.get("acs", [])) != 2 or one["acs"][1] & ISOLATING != ISOLATING)
    ]
    return " ".join(found[:SHOWN])


def having(capability: pci.Extended) -> Any:
    """How many functions have an extended capability."""

    def count(devices: Devices) -> int:
        return sum(capability in one.get("extended", ()) for one in devices.values())

    return count


def virtual_functions(devices: Devices) -> int:
    return sum(one.get("sriov_numvfs", 0) for one in devices.values())


def hidden_sriov(devices: Devices) -> str:
    """Functions with the SR-IOV capability of which the kernel offers no virtual function."""
    found = [
        address
        for address, one in devices.items()
        if pci.Extended.SR_IOV in one.get("extended", ()) and not one.get("sriov_totalvfs")
    ]
    return " ".join(found[:SHOWN])


def homeless(devices: Devices) -> int:
    """Functions whose NUMA node firmware does not name."""
    return sum(one.get("numa_node", -1) < 0 for one in devices.values())


def without_reset(devices: Devices) -> str:
    """Functions, bridges aside, that cannot be reset on their own."""
    found = [a for a, one in devices.items() if "reset" not in one and not _bridge(one)]
    return " ".join(found[:SHOWN])


def _bridge(device: dict[str, Any]) -> bool:
    return str(device["class"]).startswith(f"0x{pci.BRIDGE_CLASS:02x}")


def window_above_4g(snapshot: Snapshot) -> Read:
    """Has a PCI root bus addresses above 4 GiB, for large BARs?"""
    text = snapshot.text("/proc/iomem")
    if text is None:
        return Unknown(snapshot.obstacle("files", "/proc/iomem") or "/proc/iomem was not read")
    ranges = [
        (int(found[1], 16), int(found[2], 16), found[3]) for found in map(RANGE.fullmatch, text.splitlines()) if found
    ]
    if not any(end for _, end, _ in ranges):
        return Unknown("/proc/iomem shows addresses to root only")
    windows = [
        f"{start:#x}-{end:#x}" for start, end, what in ranges if what.startswith("PCI Bus") and start >= FOUR_GIB
    ]
    return (Seen(bool(windows), " ".join(windows[:4]) or "no window above 4 GiB"),)


def kinds(kind: str, snapshot: Snapshot) -> Read:
    links = snapshot.network("links")
    if links is None:
        return Unknown(snapshot.obstacle("network") or "network interfaces were not read")
    found = [name for name, one in links.items() if one.get("kind") == kind]
    return (Seen(len(found), " ".join(found[:SHOWN])),)


def netlink_vfs(snapshot: Snapshot) -> Read:
    vfs = snapshot.network("vfs")
    if vfs is None:
        return Unknown(snapshot.obstacle("network", "vfs") or "netlink was not asked")
    raw = " ".join(f"{name}:{one['vfs']}" for name, one in vfs.items() if one["vfs"])
    return (Seen(sum(one["vfs"] for one in vfs.values()), raw[:200]),)


def eswitch(snapshot: Snapshot) -> Read:
    """Modes of the devices that have a switch: "legacy", "switchdev"; empty where none has one."""
    modes = snapshot.network("eswitch")
    if modes is None:
        return Unknown(snapshot.obstacle("network", "eswitch") or "devlink was not asked")
    raw = " ".join(f"{name}:{mode}" for name, mode in modes.items() if mode)
    return (Seen(" ".join(sorted({mode for mode in modes.values() if mode})), raw[:200]),)


# fmt: off
FACTS = (
    #    id                     source                                                                              meaning                                                  cite       refs
    Fact("pci.ports_without_acs", functions(open_ports, "ACS of ports", capabilities=True),                         "ports that do not keep devices apart (the kernel knows exceptions: its groups decide)", ACS, ("IO-045",)),
    Fact("pci.ats",             functions(having(pci.Extended.ATS), "extended capability 0xf", capabilities=True),   "functions with ATS",                                    ATS,       ("IO-046",)),
    Fact("pci.pri",             functions(having(pci.Extended.PRI), "extended capability 0x13", capabilities=True),  "functions with page requests",                          ATS,       ("IO-046",)),
    Fact("pci.pasid",           functions(having(pci.Extended.PASID), "extended capability 0x1b", capabilities=True), "functions with PASIDs",                                ATS,       ("IO-046",)),
    Fact("sriov.blocked",       functions(hidden_sriov, "extended capability 0x10, sriov_totalvfs", capabilities=True), "functions with SR-IOV that firmware or kernel keeps off", SYSFS, ("IO-047",)),
    Fact("sriov.vfs",           functions(virtual_functions, "sriov_numvfs"),                                        "virtual functions that are on",                         SYSFS,     ("IO-048",)),
    Fact("sriov.netlink_vfs",   derived("netlink IFLA_NUM_VF", netlink_vfs),                                         "virtual functions that network drivers report",         RTNETLINK, ("IO-049",)),
    Fact("net.eswitch",         derived("netlink DEVLINK_CMD_ESWITCH_GET", eswitch),                                 "modes of the network devices' switches",                DEVLINK,   ("IO-050",)),
    Fact("net.bridges",         derived("/sys/class/net/*/bridge", lambda one: kinds("bridge", one)),                "network bridges",                                       NET),
    Fact("net.taps",            derived("/sys/class/net/*/tun_flags", lambda one: kinds("tap", one)),                "TAP interfaces",                                        NET),
    Fact("pci.without_node",    functions(homeless, "numa_node"),                                                    "functions whose NUMA node is not known",                SYSFS,     ("IO-052",)),
    Fact("pci.without_reset",   functions(without_reset, "reset_method, reset"),                                     "functions that cannot be reset on their own",           SYSFS,     ("IO-053",)),
    Fact("pci.resizable_bar",   functions(having(pci.Extended.RESIZABLE_BAR), "extended capability 0x15", capabilities=True), "functions with resizable BARs",                  REBAR,     ("IO-054",)),
    Fact("pci.window_above_4g", derived("/proc/iomem", window_above_4g),                                             "PCI has addresses above 4 GiB",                         IOMEM,     ("IO-054",)),
)
# fmt: on
