"""Damaged firmware tables: an answer comes out of the parsers, or ``Fault``; the facts of them are known or unknown."""

from __future__ import annotations

import base64
import os
import random
import re
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.probes.firmware import samples
from virtproof.probes.ask import answer
from virtproof.probes.facts import firmware, iommu
from virtproof.probes.firmware import acpi, dmar, ivrs, smbios
from virtproof.probes.snapshot import SCHEMA, checked
from virtproof.probes.sources.acpi import table as entry
from virtproof.probes.sources.smbios import section
from virtproof.spec.fault import Fault

EXAMPLES = int(os.environ.get("VIRTPROOF_FUZZ", "60"))  # of each test

MEAN = (
    b"", b"\0", b"\xff" * 4, b"\0\0\0\0", b"\xff\xff", b"\x01\0", b"\x7f\x04\0\0\0\0", b"\0" * 40, b"\x80", b"\xf0",
    b"\x04\0\0\0", b"DMAR", b"\x24\0\0\0", b"\x02\0", b"\xfe\xff\xff\xff", b"\x00\x00\x08\x00", b"\x40" * 24,
)  # fmt: skip
edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from((0, 1, 2, 4, 8, 40)), st.sampled_from(MEAN) | st.binary(max_size=8)),
    min_size=1,
    max_size=5,
)
quick = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TABLES = sorted(samples.TABLES)
PARSERS = {
    "DMAR": lambda data: dmar.parse(data).mistakes(),
    "IVRS": lambda data: ivrs.parse(data).mistakes(),
    "APIC": lambda data: acpi.madt_cpus(acpi.table("APIC", data)),
    "SRAT": lambda data: acpi.srat_affinity(acpi.table("SRAT", data)),
    "WSMT": lambda data: acpi.table("WSMT", data),
    "FACP": lambda data: firmware.hypervisor(acpi.table("FACP", data)),
}


def anonymous(data: bytes) -> None:
    for one in smbios.structures(data):
        one.anonymous()


def damaged(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """``data`` with pieces overwritten, cut out or put in, at fractions of its length."""
    for where, cut, put in changes:
        at = int(where * len(data))
        data = data[:at] + put + data[at + cut :]
    return data


def sized(data: bytes) -> bytes:
    """A table whose header is right about its length, so that the parsers get to the rest."""
    return data[:4] + len(data).to_bytes(4, "little") + data[8:] if len(data) >= 8 else data


@quick
@given(st.sampled_from(TABLES), edits, st.booleans())
def test_a_damaged_acpi_table(name: str, changes: list[tuple[float, int, bytes]], resize: bool) -> None:
    data = damaged(samples.TABLES[name], changes)
    with suppress(Fault):
        PARSERS[name](sized(data) if resize else data)


@quick
@given(edits)
def test_a_damaged_smbios_table(changes: list[tuple[float, int, bytes]]) -> None:
    with suppress(Fault):
        anonymous(damaged(samples.SMBIOS, changes))


@quick
@given(st.binary(max_size=64) | edits.map(lambda changes: damaged(samples.entry_3(), changes)))
def test_a_damaged_entry_point(data: bytes) -> None:
    with suppress(Fault):
        smbios.version(data)


def real_tables() -> list[tuple[str, bytes]]:
    """Tables of real machines, where their dumps are."""
    folder = Path(os.environ.get("VIRTPROOF_DATA", Path(__file__).parents[3] / "shared" / "data")) / "acpi"
    found = []
    for path in sorted(folder.glob("*.acpidump")):
        for part in re.split(r"^(?=\S{4} @ 0x)", path.read_text("latin-1"), flags=re.MULTILINE):
            if part[:4] in {"DMAR", "IVRS", "SRAT"}:
                digits = re.findall(r"^ +[0-9A-F]+: ((?:[0-9A-F]{2} )+)", part, re.MULTILINE)
                found.append((part[:4], bytes.fromhex("".join(digits))))
    return found


def test_a_stream_of_damaged_tables() -> None:
    """Many more than hypothesis makes, without its care: lengths and types are what is hit most."""
    dice = random.Random(EXAMPLES)
    seeds = [*samples.TABLES.items(), ("SMBIOS", samples.SMBIOS), ("SMBIOS", samples.SMBIOS), *real_tables()]
    refused = 0
    for _ in range(EXAMPLES * 100):
        name, seed = dice.choice(seeds)
        data = bytearray(seed)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(36 if name != "SMBIOS" and dice.random() < 0.9 else 0, len(data))
            match dice.randrange(4):
                case 0:
                    data[at] = dice.randrange(256)
                case 1:
                    data[at : at + 2] = dice.choice((b"\0\0", b"\x01\0", b"\xff\xff", b"\x04\0"))
                case 2:
                    data[at] = (data[at] + dice.choice((-1, 1, 4, 16))) & 0xFF
                case 3:
                    del data[at : at + dice.randint(1, 8)]
                    if len(data) < 40:
                        break
        try:
            if name == "SMBIOS":
                anonymous(bytes(data))
            else:
                PARSERS[name](sized(bytes(data)))
        except Fault:
            refused += 1
    assert 0 < refused < EXAMPLES * 100, "all or none refused: nothing was tested"


@settings(quick, max_examples=max(EXAMPLES // 20, 5))
@given(st.sampled_from(TABLES), edits, edits)
def test_facts_of_damaged_tables(
    name: str, changes: list[tuple[float, int, bytes]], others: list[tuple[float, int, bytes]]
) -> None:
    data = damaged(samples.TABLES[name], changes)
    tables = {name: entry(data)} if len(data) >= 36 else {}
    smbios_section = section(samples.entry_3(), damaged(samples.SMBIOS, others))
    snapshot = checked(
        {
            "schema": SCHEMA, "tool": "x", "taken": "2026-01-01T00:00:00Z", "cpus": "0",
            "acpi": {"names": list(tables), "tables": tables, "unread": []}, "smbios": smbios_section,
        }
    )  # fmt: skip
    for fact in (*iommu.FACTS, *firmware.FACTS):
        answer(snapshot, fact)


@settings(quick, max_examples=max(EXAMPLES // 20, 5))
@given(st.sampled_from(TABLES), st.binary(max_size=300))
def test_facts_of_any_bytes(name: str, data: bytes) -> None:
    shown = {"signature": name, "length": 1, "revision": 0, "oem": "", "checksum": "wrong"}
    tables = {name: {**shown, "data": base64.b64encode(data).decode()}}
    document = {"schema": SCHEMA, "tool": "x", "taken": "2026-01-01T00:00:00Z", "cpus": "0"}
    snapshot = checked({**document, "acpi": {"names": [name], "tables": tables, "unread": []}})
    for fact in (*iommu.FIRMWARE, *firmware.ACPI):
        answer(snapshot, fact)
