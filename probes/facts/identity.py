"""Who the host is: names taken from CPUID first, from what the kernel says second."""

from __future__ import annotations

import re
import struct

from virtproof.probes.fact import Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.spec.x86.cpuid import Leaf1Eax
from virtproof.spec.x86.cpuid_hypervisor import LEAF, POSING, SIGNATURES

Read = tuple[Seen, ...] | Unknown

HYPERVISOR_LOG = re.compile(r"Hypervisor detected: (.+)")
# Makers of virtual machines, as DMI names them.
VIRTUAL_SYSTEMS = {
    "QEMU": "QEMU or KVM",
    "VMware, Inc.": "VMware",
    "Xen": "Xen",
    "innotek GmbH": "VirtualBox",
    "Amazon EC2": "Amazon EC2",
    "Google": "Google Compute Engine",
}


def vendor_string(snapshot: Snapshot) -> Read:
    """The twelve characters of leaf 0, blanks stripped ("GenuineIntel", "Shanghai")."""
    seen = tuple(
        Seen(_ascii(struct.pack("<3I", b, d, c)), f"{b:#010x} {d:#010x} {c:#010x}", cpus)
        for (_, b, c, d), cpus in snapshot.cpuid(0)
    )
    if not seen:
        seen = tuple(Seen(name, "/proc/cpuinfo", cpus) for name, cpus in snapshot.cpuinfo("vendor_id"))
    return seen or Unknown(snapshot.obstacle("cpuid") or "CPUID leaf 0 was not read")


def signature_text(snapshot: Snapshot) -> Read:
    """Family, model and stepping as people write them: 25/17/1."""
    seen = tuple(
        Seen(f"{one.display_family}/{one.display_model}/{one.stepping}", f"{a:#010x}", cpus)
        for a, cpus in snapshot.register(1, 0, 0)
        for one in (Leaf1Eax(a),)
    )
    return seen or Unknown(snapshot.obstacle("cpuid") or "CPUID leaf 1 was not read")


def processor_name(snapshot: Snapshot) -> Read:
    """The brand string, which also the kernel repeats."""
    leaves = [snapshot.cpuid(0x8000_0002 + n) for n in range(3)]
    if all(len(leaf) == 1 for leaf in leaves):
        text = _ascii(b"".join(struct.pack("<4I", *leaf[0][0]) for leaf in leaves))
        return (Seen(text, text, leaves[0][0][1]),)
    seen = tuple(Seen(name, "/proc/cpuinfo", cpus) for name, cpus in snapshot.cpuinfo("model name"))
    return seen or Unknown(snapshot.obstacle("cpuid") or "the processor has no brand string")


def hypervisor_name(snapshot: Snapshot) -> Read:
    """The hypervisor below us, by its signature; else by what the kernel and the virtual firmware call it."""
    for (_, b, c, d), cpus in snapshot.cpuid(POSING) or snapshot.cpuid(LEAF):
        text = struct.pack("<3I", b, c, d).rstrip(b"\0").decode("ascii", "replace")
        return (Seen(SIGNATURES.get(text, text.strip() or "nameless"), text, cpus),)
    for line in snapshot.log():
        if found := HYPERVISOR_LOG.search(line):
            return (Seen(found[1][:60], line),)
    if name := snapshot.text("/sys/hypervisor/type"):
        return (Seen(name[:60], name),)
    maker = snapshot.text("/sys/class/dmi/id/sys_vendor") or ""
    if maker in VIRTUAL_SYSTEMS:
        return (Seen(VIRTUAL_SYSTEMS[maker], maker),)
    return Unknown("nothing names a hypervisor")


def _ascii(raw: bytes) -> str:
    return " ".join(raw.rstrip(b"\0").decode("ascii", "replace").replace("\0", " ").split())
