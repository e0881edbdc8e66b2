"""Sources of facts that Linux's files answer together: many files of one kind, parts of a line, PCI functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from virtproof.probes.fact import Seen, Source, Unknown, Value
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import why_no_file
from virtproof.probes.sources.files import CMDLINE
from virtproof.spec.bits import Field

Read = tuple[Seen, ...] | Unknown
SHOWN = 4  # names in a raw text; there may be hundreds


def number(path: str) -> Source:
    """A file with one decimal number."""

    def read(snapshot: Snapshot) -> Read:
        text = snapshot.text(path)
        if text is None:
            return Unknown(why_no_file(snapshot, path))
        return (Seen(int(text), text),) if _decimal(text) else Unknown(f"{path}: {text[:60]!r} is no number")

    return Source(path, read)


def total(start: str, end: str, unit: str = "") -> Source:
    """The sum of the numbers in all files whose paths begin and end so; raw, what each has."""

    def read(snapshot: Snapshot) -> Read:
        found = [(name, int(text)) for name, text in matching(snapshot, start, end) if _decimal(text)]
        if not found:
            return Unknown(snapshot.obstacle("files") or f"no file {start}*{end}")
        parts = " ".join(f"{name}:{value}" for name, value in found[:64])
        return (Seen(sum(value for _, value in found), parts + unit),)

    return Source(f"{start}*{end}", read)


def chosen(path: str) -> Source:
    """The word in brackets of a file that lists what can be chosen: "always [madvise] never"."""

    def read(snapshot: Snapshot) -> Read:
        text = snapshot.text(path)
        if text is None:
            return Unknown(why_no_file(snapshot, path))
        word = text.partition("[")[2].partition("]")[0]
        return (Seen(word, text[:120]),) if word else Unknown(f"{path}: nothing of {text[:60]!r} is chosen")

    return Source(path, read)


def boot(*names: str) -> Source:
    """The words of the kernel command line that set these parameters, in their order; empty where there are none.

    The kernel takes ``-`` and ``_`` in names as equal.
    """
    wanted = {name.replace("-", "_") for name in names}

    def read(snapshot: Snapshot) -> Read:
        line = snapshot.text(CMDLINE)
        if line is None:
            return Unknown(why_no_file(snapshot, CMDLINE))
        found = " ".join(word for word in line.split() if word.partition("=")[0].replace("-", "_") in wanted)
        return (Seen(found, found or "not given"),)

    return Source(f"{CMDLINE} {' '.join(names)}", read)


def kconfig(symbol: str) -> Source:
    """Is the kernel built with a feature (y or m)?  A symbol that is not mentioned is unknown."""

    def read(snapshot: Snapshot) -> Read:
        value = snapshot.kconfig(symbol)
        if value is None:
            return Unknown(snapshot.obstacle("kconfig") or f"this kernel's configuration does not mention {symbol}")
        return (Seen(value in {"y", "m"}, f"CONFIG_{symbol}={value}"),)

    return Source(f"CONFIG_{symbol}", read)


def per_cpu(name: str) -> Source:
    """A file that sysfs has for each CPU."""

    def read(snapshot: Snapshot) -> Read:
        pairs = snapshot.percpu(name)
        if not pairs:
            return Unknown(f"{name}: {snapshot.obstacle('percpu', name) or 'not read'}")
        return tuple(Seen(value, value, cpus) for value, cpus in pairs)

    return Source(f"/sys/devices/system/cpu/cpu*/{name}", read)


def register_bit(start: str, end: str, which: Field[Any], none: str) -> Source:
    """A flag in a register that several units show: on where all of them have it; ``none`` says why there is none."""

    def read(snapshot: Snapshot) -> Read:
        units = [(name, int(text, 16)) for name, text in matching(snapshot, start, end) if is_hex(text)]
        if not units:
            return Unknown(snapshot.obstacle("files") or none)
        without = [name for name, value in units if not which.of(value)]
        raw = " ".join(f"{name}:{value:#x}" for name, value in units[:SHOWN])
        return (Seen(not without, raw + (f"; not on {' '.join(without[:SHOWN])}" if without else "")),)

    return Source(f"{start}*{end}", read)


def functions(take: Callable[[dict[str, dict[str, Any]]], Value], what: str, capabilities: bool = False) -> Source:
    """A value of all PCI functions together; ``capabilities``: it needs their lists, which root alone can read."""

    def read(snapshot: Snapshot) -> Read:
        if reason := snapshot.obstacle("pci"):
            return Unknown(reason)
        devices = snapshot.pci()
        if capabilities and not any("extended" in one for one in devices.values()):
            return Unknown(snapshot.obstacle("pci", "capabilities") or "no PCI function was read")
        return (Seen(take(devices), f"{len(devices)} functions"),)

    return Source(f"/sys/bus/pci/devices: {what}", read)


def matching(snapshot: Snapshot, start: str, end: str) -> Iterator[tuple[str, str]]:
    """Files whose paths begin and end so: what is between, and the content."""
    for path, text in snapshot.paths().items():
        if path.startswith(start) and path.endswith(end) and len(path) >= len(start) + len(end):
            yield path[len(start) : len(path) - len(end)], text


def is_hex(text: str) -> bool:
    """Is this a number of at most 64 bits, in hexadecimal digits?"""
    return 0 < len(text) <= 16 and all(char in "0123456789abcdef" for char in text)


def _decimal(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
