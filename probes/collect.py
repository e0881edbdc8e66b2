"""Collect: everything the sources say about one host, as one snapshot.

Changes nothing on the host and judges nothing.  Uses the standard library, and ``cpuid_native`` where
``/dev/cpu/N/cpuid`` cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from virtproof import __version__
from virtproof.kvm import Kvm
from virtproof.probes.cpus import MAX_CPUS, parse, render
from virtproof.probes.snapshot import SCHEMA, Snapshot
from virtproof.probes.sources import (
    acpi,
    cpuid,
    cpuinfo,
    efi,
    files,
    kconfig,
    kvm,
    log,
    msr,
    network,
    nodes,
    pci,
    percpu,
    read_bounded,
    smbios,
    under,
)
from virtproof.spec.fault import Fault

ONLINE = "/sys/devices/system/cpu/online"


def collect(
    root: str = "/",
    *,
    cpuid_ways: Sequence[cpuid.Way] | None = None,
    msr_opener: msr.OpenCpu | None = None,
    open_kvm: Callable[[], Kvm] | None = None,
    netlink: network.Netlink | None = None,
    identity: bool = False,
) -> Snapshot:
    """Read the host whose file tree is at ``root``.

    For a tree other than ``/`` the registers and KVM of the running machine are not asked; whoever has them for that
    host passes the means.  ``netlink`` are the questions of ``sources.netlink``, asked on request only.  ``identity``
    keeps serial numbers, UUIDs, hardware addresses and the host's name.
    """
    cpus = online_cpus(root)
    own = root == "/"
    leaves = cpuid.read(cpus, cpuid.ways(root) if cpuid_ways is None else cpuid_ways)
    return Snapshot(
        schema=SCHEMA,
        tool=__version__,
        taken=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        cpus=render(cpus),
        cpuid=leaves,
        msr=msr.read(cpus, msr.device(root) if msr_opener is None else msr_opener, leaves["values"]),
        cpuinfo=cpuinfo.read(root),
        percpu=percpu.read(root, cpus),
        files=files.read(root, identity=identity),
        kconfig=kconfig.read(root),
        pci=pci.read(root),
        network=network.read(root, netlink=netlink, identity=identity),
        acpi=acpi.read(root),
        smbios=smbios.read(root, identity=identity),
        efi=efi.read(root),
        kvm=kvm.read(root, Kvm.open if own and open_kvm is None else open_kvm),
        log=log.read(root),
        nodes=nodes.read(root),
    )


def online_cpus(root: str) -> tuple[int, ...]:
    """The CPUs that run; those this process may run on where the kernel does not list them."""
    try:
        return parse(read_bounded(under(root, ONLINE), 4096).decode("ascii", "replace"))
    except (OSError, Fault):
        return tuple(sorted(os.sched_getaffinity(0)))[:MAX_CPUS] if root == "/" else (0,)
