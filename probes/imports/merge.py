"""Several dumps of one host as one snapshot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from virtproof import __version__
from virtproof.probes.cpus import render
from virtproof.probes.fact import Unknown
from virtproof.probes.facts.identity import vendor_string
from virtproof.probes.imports.formats import FORMATS, Format, recognise
from virtproof.probes.imports.part import Part
from virtproof.probes.snapshot import SCHEMA, Snapshot, checked
from virtproof.spec.fault import Fault
from virtproof.spec.x86.cpuid import Leaf1Eax

MAX_BYTES = 32 << 20  # of one dump; 8192 CPUs in /proc/cpuinfo have half of that
MAX_DUMPS = 256  # acpidump -b makes some 40 files of a host
ONE_HOST = "import dumps of one host only"


class Dump(NamedTuple):
    """``name`` is for messages only: file names tend to hold a host's name, and the snapshot shall not."""

    name: str
    data: bytes


def import_dumps(dumps: Sequence[Dump], format_name: str | None = None) -> Snapshot:
    """Read dumps of one host, all in the format of that name or each in the one that its content shows.

    Raises ``Fault`` for a dump that cannot be read, and for dumps that contradict one another.
    """
    if len(dumps) > MAX_DUMPS:
        raise Fault("import dumps", f"{len(dumps)} files, at most {MAX_DUMPS} are read")
    forms = [_format(dump, format_name) for dump in dumps]
    sections: dict[str, Any] = {}
    parts: list[Part] = []
    for form, dump in _joined(forms, dumps):
        part = _read(form, dump)
        parts.append(part)
        _merge(sections, part.sections, "")
    snapshot = checked(
        {
            "schema": SCHEMA,
            "tool": __version__,
            "taken": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "cpus": render({cpu for part in parts for cpu in part.cpus} or {0}),
            "imported": {
                "dumps": [
                    {"format": form.name, "bytes": len(dump.data), "sha256": hashlib.sha256(dump.data).hexdigest()}
                    for form, dump in zip(forms, dumps, strict=True)
                ],
                "all_cpus": any(part.all_cpus for part in parts),
            },
            **sections,
        }
    )
    _is_one_host(snapshot, parts)
    return snapshot


def _format(dump: Dump, name: str | None) -> Format:
    if len(dump.data) > MAX_BYTES:
        raise Fault(f"import {dump.name}", f"more than {MAX_BYTES >> 20} MiB")
    if name:
        return FORMATS[name]
    try:
        return recognise(dump.data)
    except Fault as error:
        raise Fault(f"import {dump.name}: {error.tried}", error.saw, error.remedy) from error


def _joined(forms: Sequence[Format], dumps: Sequence[Dump]) -> list[tuple[Format, Dump]]:
    """Files that belong together, as one: what is complete can only be told from all of them."""
    found = [(form, dump) for form, dump in zip(forms, dumps, strict=True) if not form.joinable]
    for form in dict.fromkeys(form for form in forms if form.joinable):
        group = [dump for one, dump in zip(forms, dumps, strict=True) if one is form]
        found.append((form, Dump(", ".join(dump.name for dump in group), b"".join(dump.data for dump in group))))
    return found


def _read(form: Format, dump: Dump) -> Part:
    try:
        part = form.parse(dump.data)
    except Fault as error:
        raise Fault(f"import {dump.name}: {error.tried}", error.saw, error.remedy) from error
    if not any(section.get(name) for section in part.sections.values() for name in ("values", "tables", "names")):
        raise Fault(f"import {dump.name}", f"nothing in it that was to be expected of {form.title}")
    return part


def _merge(into: dict[str, Any], new: dict[str, Any], place: str) -> None:
    """Tables are united, lists appended; what two dumps say of the same thing must be the same."""
    for name, value in new.items():
        where = f"{place}.{name}".lstrip(".")
        if name not in into:
            into[name] = value
        elif isinstance(value, list):
            into[name] = into[name] + [entry for entry in value if entry not in into[name]]
        elif isinstance(value, dict) and where.count(".") < 2:  # a section, or its table of names
            _merge(into[name], value, where)
        elif into[name] != value:
            raise Fault("unite the dumps", f"they do not agree on {where}", ONE_HOST)


def _is_one_host(snapshot: Snapshot, parts: Sequence[Part]) -> None:
    """Raises ``Fault`` where the dumps cannot be of one host: other CPUs, or another processor."""
    whole = {part.cpus for part in parts if part.all_cpus}
    if len(whole) > 1 or any(not set(part.cpus) <= set(one) for one in whole for part in parts):
        lists = " and ".join(dict.fromkeys(render(part.cpus) for part in parts if part.cpus))
        raise Fault("unite the dumps", f"they name different CPUs: {lists}", ONE_HOST)
    vendor, signature = vendor_string(snapshot), snapshot.register(1, 0, 0)
    if isinstance(vendor, Unknown) or not signature:
        return
    one = Leaf1Eax(signature[0][0])
    said = {"vendor_id": vendor[0].value, "cpu family": one.display_family, "model": one.display_model}
    for line, value in said.items():
        for text, _ in snapshot.cpuinfo(line):
            if text != str(value):
                raise Fault("unite the dumps", f"{line} is {text[:40]} in one, {value} in another", ONE_HOST)
