"""The sources a fact can name: each turns one part of a snapshot into values, or says why it cannot.

The registers of the processor are in source_registers.py, /dev/kvm is in source_kvm.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from virtproof.probes.cpus import parse, render
from virtproof.probes.fact import Seen, Source, Unknown, Value
from virtproof.probes.snapshot import Snapshot

Read = tuple[Seen, ...] | Unknown


def cpuinfo(name: str) -> Source:
    """A line of /proc/cpuinfo."""

    def read(snapshot: Snapshot) -> Read:
        lines = snapshot.cpuinfo(name)
        if not lines:
            return Unknown(snapshot.obstacle("cpuinfo") or f"/proc/cpuinfo has no line {name!r} on this kernel")
        return tuple(Seen(value, value[:120], cpus) for value, cpus in lines)

    return Source(f"/proc/cpuinfo {name}", read)


def flag(token: str, line: str = "flags") -> Source:
    """Does Linux list a flag for each CPU?"""

    def read(snapshot: Snapshot) -> Read:
        lines = snapshot.cpuinfo(line)
        if not lines:
            return Unknown(snapshot.obstacle("cpuinfo") or f"/proc/cpuinfo has no line {line!r} on this kernel")
        groups: dict[bool, list[int]] = {}
        for value, cpus in lines:
            groups.setdefault(token in value.split(), []).extend(parse(cpus))
        return tuple(Seen(on, token if on else f"{token} absent", render(cpus)) for on, cpus in groups.items())

    return Source(f"/proc/cpuinfo {line}", read)


def text(path: str) -> Source:
    """The content of a file."""

    def read(snapshot: Snapshot) -> Read:
        value = snapshot.text(path)
        return Unknown(why_no_file(snapshot, path)) if value is None else (Seen(value, value[:120]),)

    return Source(path, read)


def parameter(module: str, name: str) -> Source:
    """A module parameter: on and off in any of the kernel's spellings, else a number or text."""
    path = f"/sys/module/{module}/parameters/{name}"
    spelled: dict[str, Value] = {"Y": True, "y": True, "N": False, "n": False, "1": True, "0": False}

    def read(snapshot: Snapshot) -> Read:
        value = snapshot.text(path)
        if value is None:
            if snapshot.absent("files", f"/sys/module/{module}"):
                return Unknown(f"the module {module} is not loaded")
            if snapshot.names(f"/sys/module/{module}") is not None:
                return Unknown(f"{module} has no parameter {name} on this kernel, or it cannot be read")
            return Unknown(why_no_file(snapshot, path))
        return (Seen(spelled.get(value, int(value) if _is_number(value) else value), value),)

    return Source(path, read)


def directory(path: str) -> Source:
    """Is a directory there?"""

    def read(snapshot: Snapshot) -> Read:
        if snapshot.names(path) is not None:
            return (Seen(True, "exists"),)
        return (Seen(False, "absent"),) if snapshot.absent("files", path) else Unknown(why_no_file(snapshot, path))

    return Source(path, read)


def entries(path: str, prefix: str = "") -> Source:
    """How many entries of a directory begin with ``prefix``; a directory that is not there has none."""

    def read(snapshot: Snapshot) -> Read:
        names = snapshot.names(path)
        if names is None:
            return (Seen(0, "absent"),) if snapshot.absent("files", path) else Unknown(why_no_file(snapshot, path))
        found = [name for name in names if name.startswith(prefix)]
        return (Seen(len(found), " ".join(found)[:120]),)

    return Source(f"{path}/{prefix}*", read)


def acpi_table(signature: str) -> Source:
    """Does the firmware hand over an ACPI table?"""

    def read(snapshot: Snapshot) -> Read:
        if any(name.startswith(signature) for name in snapshot.get("acpi", {}).get("names", ())):
            return (Seen(True, "present"),)
        reason = snapshot.obstacle("acpi")
        return Unknown(reason) if reason else (Seen(False, "absent"),)

    return Source(f"ACPI {signature}", read)


def node(path: str, attribute: str) -> Source:
    """An attribute of a device node: ``mode``, ``owner``, ``group``, ``access``."""

    def read(snapshot: Snapshot) -> Read:
        found = snapshot.node(path)
        if found is None:
            return Unknown(_why_no_node(snapshot, path))
        return (Seen(found[attribute], f"{found['mode']} {found['owner']}:{found['group']}"),)

    return Source(path, read)


def node_exists(path: str) -> Source:
    """Is a device node there?"""

    def read(snapshot: Snapshot) -> Read:
        if (found := snapshot.node(path)) is not None:
            return (Seen(True, f"{found['kind']} {found['number']}".strip()),)
        return (Seen(False, "absent"),) if snapshot.absent("nodes", path) else Unknown(_why_no_node(snapshot, path))

    return Source(path, read)


def logged(pattern: str, meaning: str, since: tuple[int, int] = (0, 0)) -> Source:
    """Did the kernel log such a line?  A log that lost its beginning can say yes, but not no; nor can a kernel before
    ``since``, which has no such line.
    """
    compiled = re.compile(pattern)

    def read(snapshot: Snapshot) -> Read:
        for line in snapshot.log():
            if compiled.search(line):
                return (Seen(True, line[:200]),)
        if reason := snapshot.obstacle("log"):
            return Unknown(reason)
        if snapshot.kernel() < since:
            return Unknown(f"only Linux {since[0]}.{since[1]} and later are sure to log it")
        if not snapshot["log"]["complete"]:
            return Unknown("the kernel log has lost its oldest lines, and none of the others says so")
        return (Seen(False, "no such line"),)

    return Source(f"kernel log: {meaning}", read)


def derived(where: str, function: Callable[[Snapshot], Read]) -> Source:
    """A value that several parts of the snapshot give together."""
    return Source(where, function)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _why_no_node(snapshot: Snapshot, path: str) -> str:
    if snapshot.absent("nodes", path):
        return f"{path} does not exist on this host"
    return f"{path}: {snapshot.obstacle('nodes', path) or 'not read'}"


def why_no_file(snapshot: Snapshot, path: str) -> str:
    """Why a file's content is not known."""
    if snapshot.absent("files", path):
        return f"{path} does not exist on this host"
    return f"{path}: {snapshot.obstacle('files', path) or 'not read'}"
