"""ACPI tables taken apart: what the specification says of each byte, and tables that lie."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.probes.firmware import samples
from virtproof.probes.firmware import acpi, dmar, ivrs
from virtproof.spec.fault import Fault

DATA = Path(os.environ.get("VIRTPROOF_DATA", Path(__file__).parents[4] / "shared" / "data")) / "acpi"


def test_dmar_is_read_as_written():
    table = dmar.parse(samples.DMAR)
    assert (table.width, table.checksum_ok, table.others) == (52, True, [99])
    assert (table.flags.intr_remap, table.flags.x2apic_opt_out, table.flags.dma_ctrl_platform_opt_in) == (True,) * 3
    gpu, rest = table.drhd
    assert (gpu.base, gpu.flags.include_pci_all, [str(one) for one in gpu.scopes]) == (0xD000_0000, False, ["00:02.0"])
    assert (rest.base, rest.flags.include_pci_all, rest.size.pages_log2) == (0xD100_0000, True, 1)
    assert [(one.kind, one.enumeration, one.bus) for one in rest.scopes] == [(3, 2, 0xF0), (4, 0, 0)]
    (region,) = table.rmrr
    assert (region.base, region.limit) == (0x7B80_0000, 0x7FFF_FFFF)
    assert [str(one) for one in region.scopes] == ["00:02.0", "00:1c.4/00.2"]
    assert (table.atsr[0].flags, table.satc[0].flags, table.rhsa[0].domain) == (1, 1, 1)
    assert (table.andd[0].number, table.andd[0].name) == (1, "\\_SB.PC00.UA00")
    assert str(table.sidp[0].scopes[0]) == "e7:00.0"
    assert table.mistakes() == []


# fmt: off
MISTAKES = [
    (samples.dmar(),                                                              "no remapping unit"),
    (samples.dmar(samples.drhd(0)),                                               "registers at 0x0"),
    (samples.dmar(samples.drhd(0xD000_0010)),                                     "registers at 0xd0000010"),
    (samples.dmar(samples.drhd(1 << 46)),                                         "registers at 0x400000000000"),
    (samples.dmar(samples.drhd(0x1000), samples.drhd(0x1000)),                    "two DRHD"),
    (samples.dmar(samples.drhd(0x1000, 1), samples.drhd(0x2000, 1)),              "INCLUDE_PCI_ALL"),
    (samples.dmar(samples.drhd(0x1000), samples.rmrr(0x2000, 0x1FFF)),            "RMRR goes from 0x2000"),
    (samples.dmar(samples.drhd(0x1000), samples.rmrr(0x2000, 0x2800)),            "RMRR goes from 0x2000"),
    (samples.dmar(samples.drhd(0x1000), checksum=False),                          "checksum"),
]
# fmt: on


@pytest.mark.parametrize(("data", "words"), MISTAKES)
def test_mistakes_of_a_dmar_are_named(data, words):
    (mistake,) = dmar.parse(data).mistakes()
    assert words in mistake


def test_each_segment_may_have_a_unit_for_all_its_devices():
    table = dmar.parse(samples.dmar(samples.drhd(0x1000, 1), samples.drhd(0x2000, 1, segment=1)))
    assert table.mistakes() == []


def test_ivrs_is_read_as_written():
    table = ivrs.parse(samples.IVRS)
    assert (table.info.efr_sup, table.info.dma_remap, table.info.gva_size, table.info.pa_size) == (True, True, 2, 48)
    assert ([unit.kind for unit in table.ivhd], table.units, table.others) == ([0x10, 0x11, 0x40], 1, [0x51])
    first, second, third = table.ivhd
    assert (first.efr, second.efr, third.efr2, second.base, second.device) == (None, samples.EFR, 0, 0xFEB8_0000, 2)
    assert [entry.kind for entry in first.entries] == [3, 4, 72, 0]
    assert (third.entries[-1].kind, third.entries[-1].device, third.entries[-1].rest[-4:]) == (240, 0x6000, b"UID1")
    assert first.entries[2].rest == bytes((33, 0xA0, 0, 1))
    (memory,) = table.ivmd
    assert (memory.kind, memory.start, memory.length, memory.flags.exclusion_range) == (
        0x22, 0x6000_0000, 0x10_0000, False,
    )  # fmt: skip
    assert table.mistakes() == []
    assert ivrs.parse(samples.acpi("IVRS", bytes(12))).mistakes() == ["it has no IOMMU (IVHD)"]


def test_the_others_are_read_as_written():
    cpus = acpi.madt_cpus(acpi.table("APIC", samples.MADT))
    assert {cpu.apic_id: bool(cpu.flags.enabled) for cpu in cpus} == {0: True, 2: True, 4: False, 300: True}
    affinity = acpi.srat_affinity(acpi.table("SRAT", samples.SRAT))
    assert (affinity.cpus, affinity.memory) == ({1: 1, 5: 1}, {1: 1 << 30})


@pytest.mark.parametrize("flags", [(0, 1), (1, 0), (1, 1)])
def test_a_processor_that_is_listed_twice_counts_once_and_enabled(flags):
    entries = b"".join(bytes((0, 8, 7, 5)) + samples.u32(one) for one in flags)
    (cpu,) = acpi.madt_cpus(acpi.table("APIC", samples.acpi("APIC", bytes(8) + entries)))
    assert (cpu.apic_id, cpu.flags.enabled) == (5, True)


def broken():
    """Tables whose lengths lie, by name."""
    yield "empty", "DMAR", b""
    yield "another signature", "DMAR", samples.IVRS
    yield "longer than its bytes", "DMAR", samples.DMAR[:-1]
    yield "shorter than a header", "DMAR", samples.DMAR[:4] + samples.u32(35) + samples.DMAR[8:]
    yield "no room for flags", "DMAR", samples.acpi("DMAR", b"")
    yield "a length of zero", "DMAR", samples.dmar(samples.u16(0) + samples.u16(0))
    hidden = samples.u16(77) + samples.u16(2) + samples.u16(8) + bytes(4)  # an ATSR, were two bytes enough
    yield "shorter than its head", "DMAR", samples.dmar(hidden)
    yield "half a structure", "DMAR", samples.dmar(b"\0\0\x10")
    yield "beyond the end", "DMAR", samples.dmar(samples.u16(0) + samples.u16(17) + bytes(12))
    yield "a short DRHD", "DMAR", samples.dmar(samples.remapping(0, bytes(11)))
    yield "a scope of no length", "DMAR", samples.dmar(samples.drhd(0x1000, scopes=bytes(8)))
    yield "a scope beyond its unit", "DMAR", samples.dmar(samples.drhd(0x1000, scopes=bytes((1, 9, 0, 0, 0, 0, 2, 0))))
    yield "half a scope", "DMAR", samples.dmar(samples.drhd(0x1000, scopes=bytes((1, 6, 0))))
    for name, entries in (("unknown", b"\x80\0\0\0"), ("half", b"\x48\0\0\0"), ("half a HID", samples.HID[:-1])):
        yield f"{name} entry", "IVRS", samples.acpi("IVRS", bytes(12) + samples.ivhd(0x11, entries))
    short = bytes((0x11, 0)) + samples.u16(30) + bytes(26)
    yield "an IVHD without features", "IVRS", samples.acpi("IVRS", bytes(12) + short)
    yield "a short IVMD", "IVRS", samples.acpi("IVRS", bytes(12) + bytes((0x20, 0)) + samples.u16(31) + bytes(27))


BROKEN = list(broken())


@pytest.mark.parametrize(("signature", "data"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_table_that_lies_is_refused(signature, data):
    with pytest.raises(Fault):
        (dmar if signature == "DMAR" else ivrs).parse(data)


@pytest.mark.parametrize(
    ("take", "table"),
    [
        (acpi.madt_cpus, samples.acpi("APIC", bytes(8) + bytes((0, 7)) + bytes(5))),
        (acpi.madt_cpus, samples.acpi("APIC", bytes(8) + bytes((9, 1)))),
        (acpi.srat_affinity, samples.acpi("SRAT", bytes(12) + bytes((0, 11)) + bytes(9))),
    ],
)
def test_the_others_are_refused_too(take, table):
    with pytest.raises(Fault):
        take(acpi.table(table[:4].decode(), table))


def test_a_table_of_tiny_structures_ends():
    data = samples.acpi("DMAR", bytes(12) + samples.remapping(77, b"") * (acpi.MAX_STRUCTURES + 1))
    with pytest.raises(Fault, match="more than"):
        dmar.parse(data)


def dumped(path: Path) -> dict[str, bytes]:
    """The tables of an acpidump text, by a reading of its own."""
    text = path.read_text("latin-1")
    return {
        part[:4]: bytes.fromhex("".join(re.findall(r"^ +[0-9A-F]+: ((?:[0-9A-F]{2} )+)", part, re.MULTILINE)))
        for part in re.split(r"^(?=\S{4} @ 0x)", text, flags=re.MULTILINE)
        if part.strip()
    }


@pytest.fixture(scope="module")
def machines() -> dict[str, dict[str, bytes]]:
    if not DATA.is_dir():
        pytest.skip(f"no real dumps in {DATA} (set VIRTPROOF_DATA)")
    return {path.name: dumped(path) for path in sorted(DATA.glob("*.acpidump"))}


def test_all_real_tables_are_in_order(machines):
    assert len(machines) == 50
    seen = {"DMAR": 0, "IVRS": 0, "APIC": 0, "SRAT": 0}
    for name, tables in machines.items():
        for signature in seen.keys() & tables.keys():
            data = tables[signature]
            match signature:
                case "DMAR":
                    assert dmar.parse(data).mistakes() == [], name
                case "IVRS":
                    assert ivrs.parse(data).mistakes() == [], name
                case "APIC":
                    assert acpi.madt_cpus(acpi.table("APIC", data)), name
                case "SRAT":
                    assert acpi.srat_affinity(acpi.table("SRAT", data)).cpus, name
            seen[signature] += 1
    assert seen == {"DMAR": 21, "IVRS": 13, "APIC": 50, "SRAT": 3}


def listed(signature: str, data: bytes, folder: Path) -> str:
    """What ACPICA makes of a table."""
    (folder / "table.dat").write_bytes(data)
    command = ["iasl", "-d", "-p", str(folder / "out"), str(folder / "table.dat")]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "out.dsl").read_text("latin-1")


def values(listing: str, label: str) -> list[int]:
    return [int(number, 16) for number in re.findall(rf"{re.escape(label)} : ([0-9A-F]+)\b", listing)]


@pytest.mark.skipif(shutil.which("iasl") is None, reason="iasl is not installed (package acpica-tools)")
def test_acpica_reads_the_same(machines, tmp_path):
    for name, tables in machines.items():
        if "DMAR" in tables:
            table, listing = dmar.parse(tables["DMAR"]), listed("DMAR", tables["DMAR"], tmp_path)
            assert values(listing, "Host Address Width") == [table.width - 1], name
            assert values(listing, "Flags")[0] == int(table.flags), name
            bases = [one.base for one in table.drhd] + [one.base for one in table.rhsa]
            assert sorted(values(listing, "Register Base Address")) == sorted(bases), name
            assert values(listing, "End Address (limit)") == [region.limit for region in table.rmrr], name
            units = [*table.drhd, *table.rmrr, *table.atsr, *table.satc, *table.sidp]
            paths = sorted(step for unit in units for one in unit.scopes for step in one.path)
            text = re.findall(r"PCI Path : ([0-9A-F]{2}),([0-9A-F]{2})", listing)
            assert sorted((int(a, 16), int(b, 16)) for a, b in text) == paths, name
        if "IVRS" in tables:
            table, listing = ivrs.parse(tables["IVRS"]), listed("IVRS", tables["IVRS"], tmp_path)
            kinds = [int(kind, 16) for kind in re.findall(r"Subtable Type : ([0-9A-F]{2})", listing)]
            assert {unit.kind for unit in table.ivhd} >= {kind for kind in kinds if kind in {0x10, 0x11}}, name
            assert set(values(listing, "Base Address")) <= {unit.base for unit in table.ivhd}, name
