"""The snapshot: everything the sources said about one host, raw, as one JSON document (docs/snapshot.md).

A snapshot may come from a hostile host: ``load`` checks every name, length and number before anything reads it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from virtproof.probes import shape
from virtproof.probes.cpus import join, parse
from virtproof.probes.snapshot_schema import DOCUMENT, MAX_BYTES
from virtproof.spec.fault import Fault

SCHEMA = "virtproof.snapshot/2"
READABLE = ("virtproof.snapshot/1", SCHEMA)  # the first has fewer sections

Leaf = tuple[int, int, int, int]
T = TypeVar("T")


class Snapshot(dict[str, Any]):
    """A checked snapshot document.  It is the JSON document itself, with readers for the parts that facts ask for.

    Per-CPU values are pairs (value, CPU list); a reader that finds nothing says why in ``obstacle``.
    """

    def __init__(self, *arguments: Any, **sections: Any) -> None:
        super().__init__(*arguments, **sections)
        self._known: dict[object, Any] = {}

    def once(self, question: object, work: Callable[[], T]) -> T:
        """What ``work`` gives for a question, worked out the first time it is asked.

        Only for a snapshot that does not change any more: that is the copy which ``ask`` makes.
        """
        if question not in self._known:
            self._known[question] = work()
        answer: T = self._known[question]
        return answer

    def cpuid(self, leaf: int, sub: int = 0) -> list[tuple[Leaf, str]]:
        """What CPUID gave for a leaf: (EAX, EBX, ECX, EDX) and the CPUs; empty where no CPU has it or was read."""
        values = self._section("cpuid").get("values", {}).get(f"{leaf:08x}.{sub:02x}", {})
        return [(registers(text), cpus) for text, cpus in values.items()]

    def register(self, leaf: int, sub: int, column: int) -> list[tuple[int, str]]:
        """One register of a CPUID leaf (0 EAX .. 3 EDX): each distinct value and the CPUs.

        Other registers of the leaf may hold an APIC id, so that every CPU has a leaf of its own.
        """
        pairs = self.cpuid(leaf, sub)
        if len(pairs) <= 1:
            return [(values[column], cpus) for values, cpus in pairs]
        merged: dict[int, list[str]] = {}
        for values, cpus in pairs:
            merged.setdefault(values[column], []).append(cpus)
        return [(value, join(lists)) for value, lists in merged.items()]

    def msr(self, index: int) -> list[tuple[int, str]]:
        """What RDMSR gave, and the CPUs; empty where the MSR was not read."""
        values = self._section("msr").get("values", {}).get(f"{index:#x}", {})
        return [(int(text, 16), cpus) for text, cpus in values.items()]

    def msr_absent(self, index: int) -> list[tuple[str, str]]:
        """Why the processor does not have an MSR, and the CPUs; empty where it may have it."""
        return list(self._section("msr").get("absent", {}).get(f"{index:#x}", {}).items())

    def cpuinfo(self, name: str) -> list[tuple[str, str]]:
        """A line of /proc/cpuinfo, and the CPUs that have it."""
        return list(self._section("cpuinfo").get("values", {}).get(name, {}).items())

    def text(self, path: str) -> str | None:
        """The content of a file, ``None`` where it was not read."""
        value: str | None = self._section("files").get("values", {}).get(path)
        return value

    def paths(self) -> dict[str, str]:
        """All files that were read."""
        values: dict[str, str] = self._section("files").get("values", {})
        return values

    def names(self, path: str) -> list[str] | None:
        """The entries of a directory, ``None`` where it was not listed."""
        value: list[str] | None = self._section("files").get("names", {}).get(path)
        return value

    def absent(self, section: str, what: str) -> bool:
        """Was it looked for and not there?  (Not the same as: it could not be read.)"""
        return what in self._section(section).get("absent", ())

    def kvm(self, name: str) -> Any:
        """One answer of /dev/kvm, ``None`` where there is none."""
        return self._section("kvm").get(name)

    def node(self, path: str) -> dict[str, Any] | None:
        """A device node."""
        value: dict[str, Any] | None = self._section("nodes").get("values", {}).get(path)
        return value

    def tables(self) -> dict[str, dict[str, Any]]:
        """The ACPI tables that were read."""
        value: dict[str, dict[str, Any]] = self._section("acpi").get("tables", {})
        return value

    def kernel(self) -> tuple[int, int]:
        """The kernel's version, (0, 0) where it is unknown."""
        release = re.match(r"(\d{1,4})\.(\d{1,4})", self.text("/proc/sys/kernel/osrelease") or "", re.ASCII)
        return (int(release[1]), int(release[2])) if release else (0, 0)

    def percpu(self, name: str) -> list[tuple[str, str]]:
        """A file that sysfs has for each CPU, and the CPUs that have that text."""
        return list(self._section("percpu").get("values", {}).get(name, {}).items())

    def structures(self) -> list[dict[str, Any]]:
        """The SMBIOS structures."""
        value: list[dict[str, Any]] = self._section("smbios").get("structures", [])
        return value

    def efi(self, name: str) -> bytes | None:
        """An EFI variable: four bytes of attributes, then its value; ``None`` where it was not read."""
        value: str | None = self._section("efi").get("values", {}).get(name)
        return None if value is None else bytes.fromhex(value)

    def kconfig(self, symbol: str) -> str | None:
        """A symbol of the kernel's configuration: ``y``, ``m``, ``n`` or a value; ``None`` where it is missing."""
        value: str | None = self._section("kconfig").get("values", {}).get(symbol)
        return value

    def pci(self) -> dict[str, dict[str, Any]]:
        """The PCI functions by address."""
        value: dict[str, dict[str, Any]] = self._section("pci").get("devices", {})
        return value

    def network(self, part: str) -> dict[str, Any] | None:
        """``links``, ``vfs`` or ``eswitch``; ``None`` where it was not read."""
        value: dict[str, Any] | None = self._section("network").get(part)
        return value

    def redfish(self, part: str) -> Any:
        """A part of what the Redfish service said, ``None`` where it said nothing."""
        return self._section("redfish").get(part)

    def log(self) -> list[str]:
        """The kernel log lines that were kept."""
        value: list[str] = self._section("log").get("lines", [])
        return value

    def obstacle(self, section: str, what: str = "*", cpu: int | None = None) -> str | None:
        """Why something could not be read (on that CPU), ``None`` if nothing stood in the way."""
        if section not in self:
            return f"the snapshot has no section {section!r}{self._origin()}"
        for entry in self._section(section).get("unread", ()):
            if entry["what"] in {"*", what} and (cpu is None or not entry["cpus"] or cpu in parse(entry["cpus"])):
                reason: str = entry["reason"]
                return reason
        return None

    def _origin(self) -> str:
        dumps = self._section("imported").get("dumps", ())
        names = ", ".join(dict.fromkeys(dump["format"] for dump in dumps))
        return f": it was imported from other tools' dumps ({names}), which do not hold this" if names else ""

    def _section(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = self.get(name, {})
        return value


@lru_cache(maxsize=4096)  # a leaf is asked for by each fact in it
def registers(text: str) -> Leaf:
    """``"0000000d 756e6547 6c65746e 49656e69"`` as four numbers."""
    a, b, c, d = (int(word, 16) for word in text.split(" "))
    return a, b, c, d


def load(path: str) -> Snapshot:
    """Read a snapshot file.  Raises ``Fault`` for whatever is wrong with it."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Fault(f"read the snapshot {path}", error.strerror or str(error)) from error
    return loads(data)


def loads(data: bytes | str) -> Snapshot:
    """A snapshot from its JSON text.  Raises ``Fault``, and nothing else, for text that is not one."""
    if len(data) > MAX_BYTES:
        raise Fault("read a snapshot", f"more than {MAX_BYTES >> 20} MiB")
    try:
        document = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise Fault(
            "read a snapshot", f"not a JSON document: {error}", "collect it again: virtproof collect"
        ) from error
    return checked(document)


def checked(document: object) -> Snapshot:
    """The document as a snapshot, if it is one."""
    if not isinstance(document, dict):
        raise Fault("read a snapshot", f"{shape.kind(document)} where a table belongs")
    if document.get("schema") not in READABLE:
        saw = document.get("schema")
        raise Fault(
            "read a snapshot",
            f"its schema is {saw[:80]!r}" if isinstance(saw, str) else "it names no schema",
            f"this version reads {' and '.join(READABLE)}",
        )
    DOCUMENT(document, "snapshot")
    return Snapshot(document)


def dumps(snapshot: Snapshot) -> str:
    """The JSON text of a snapshot."""
    return json.dumps(snapshot, ensure_ascii=True, indent=1, sort_keys=False) + "\n"


def save(snapshot: Snapshot, path: str) -> None:
    """Write a snapshot, whole or not at all.  Raises ``Fault``."""
    import tempfile  # noqa: PLC0415 -- costs 10 ms, and most commands save nothing

    folder = os.path.dirname(os.path.abspath(path))
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".snapshot-", delete=False) as file:
            temporary = file.name
            file.write(dumps(snapshot))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise Fault(f"write the snapshot {path}", error.strerror or str(error)) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice in one table")
    return table
