"""ACPI tables that bear on virtualization, raw, from /sys/firmware/acpi/tables (root only on most kernels)."""

from __future__ import annotations

import base64
import os
import re

from virtproof.probes.sources import read_bounded, under, unread, why
from virtproof.spec.acpi import HEADER

PATH = "/sys/firmware/acpi/tables"
WANTED = ("APIC", "DMAR", "FACP", "IVRS", "MCFG", "SLIT", "SRAT", "TPM2", "WSMT")
LIMIT = 64 << 10  # bytes kept of one table; the largest MADT of 2,048 CPUs has 33 KiB
NAME = re.compile(r"^([A-Z0-9]{4})\d{0,2}$")


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``acpi``: names of all tables, contents of the wanted ones."""
    folder = under(root, PATH)
    try:
        names = sorted(name for name in os.listdir(folder) if NAME.match(name))
    except OSError as error:
        return {"names": [], "tables": {}, "unread": [unread("*", f"{PATH}: {why(error)}")]}
    tables: dict[str, object] = {}
    missing: list[dict[str, str]] = []
    for name in names[:256]:
        if name[:4] not in WANTED:
            continue
        try:
            data = read_bounded(os.path.join(folder, name), LIMIT)
        except OSError as error:
            missing.append(unread(name, why(error)))
            continue
        if len(data) < HEADER.size:
            missing.append(unread(name, f"{len(data)} bytes, shorter than a table header"))
            continue
        tables[name] = table(data)
    return {"names": names[:256], "tables": tables, "unread": missing}


def table(data: bytes) -> dict[str, object]:
    """One table with its header taken apart; ``data`` has at least a header."""
    signature, length, revision, _, oem, oem_table, *_ = HEADER.unpack_from(data)
    complete = len(data) == length
    return {
        "signature": _text(signature),
        "length": length,
        "revision": revision,
        "oem": f"{_text(oem)} {_text(oem_table)}".strip(),
        "checksum": ("ok" if sum(data) & 0xFF == 0 else "wrong") if complete else "not checked: length differs",
        "data": base64.b64encode(data).decode("ascii"),
    }


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "replace").replace("\ufffd", "?").strip("\0 ")
