"""The virtual BIOS's tables as others read them: iasl, dmidecode, and the parsers of the probes."""

from __future__ import annotations

import doctest
import itertools
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from virtproof.probes.firmware import acpi as acpi_reader
from virtproof.probes.firmware import smbios as smbios_reader
from virtproof.spec import acpi as spec
from virtproof.spec.e820 import RangeType
from virtproof.vmm.firmware import acpi, aml, e820, mp, smbios, tables
from virtproof.vmm.firmware.tables import Description

MIB, GIB = 1 << 20, 1 << 30
SMALL = Description(64 * MIB, (0,))
LARGE = Description(5 * GIB, tuple(range(16)), 0x000806A0, 0x078BFBFF, ((2, 0), (3, 1)))
BOTH = pytest.mark.parametrize("of", [SMALL, LARGE], ids=["small", "large"])


def found(of: Description) -> tuple[bytes, dict[str, bytes]]:
    """The area below 1 MiB, and the ACPI tables that are found from the RSDP in it, by signature."""
    laid = tables.laid_out(of)
    area = laid.data

    def at(address: int) -> bytes:
        data = area[address - laid.address :]
        return data[: struct.unpack_from("<I", data, 4)[0]]

    rsdp = area[laid.rsdp - laid.address :][:36]
    xsdt = at(struct.unpack_from("<Q", rsdp, 24)[0])
    seen = {"RSDP": rsdp, "XSDT": xsdt}
    for (pointer,) in struct.iter_unpack("<Q", xsdt[36:]):
        seen[at(pointer)[:4].decode()] = at(pointer)
    fadt = seen["FACP"]
    seen["DSDT"], seen["FACS"] = at(struct.unpack_from("<Q", fadt, 140)[0]), at(struct.unpack_from("<I", fadt, 36)[0])
    assert struct.unpack_from("<I", fadt, 40)[0] == struct.unpack_from("<Q", fadt, 140)[0]
    assert struct.unpack_from("<I", fadt, 36)[0] % 64 == 0
    return area, seen


@BOTH
def test_everything_is_found_from_the_rsdp_and_adds_up_to_0(of: Description) -> None:
    area, seen = found(of)
    assert set(seen) == {"RSDP", "XSDT", "FACP", "APIC", "DSDT", "FACS"}
    assert tables.laid_out(of).rsdp % 16 == 0
    assert seen["RSDP"][:8] == b"RSD PTR "
    assert sum(seen["RSDP"][:20]) & 0xFF == sum(seen["RSDP"]) & 0xFF == 0
    for name in ("XSDT", "FACP", "APIC", "DSDT"):
        assert acpi_reader.table(name, seen[name]).checksum_ok
    assert len(seen["FACS"]) == 64
    assert len(area) <= 0x10000


@BOTH
def test_the_madt_lists_the_processors_and_the_io_apic(of: Description) -> None:
    madt = acpi_reader.table("APIC", found(of)[1]["APIC"])
    listed = list(acpi_reader.structures(madt, spec.MADT_STRUCTURES, struct.Struct("<BB")))
    cpus = [spec.MADT_LOCAL_APIC.unpack_from(data) for kind, data in listed if kind == spec.LOCAL_APIC]
    assert [(apic_id, flags) for _, apic_id, flags in cpus] == [(apic_id, 1) for apic_id in of.apic_ids]
    assert [struct.unpack_from("<xxBxII", data) for kind, data in listed if kind == 1] == [(0, 0xFEC0_0000, 0)]
    overrides = [struct.unpack_from("<xxBBIH", data) for kind, data in listed if kind == 2]
    assert overrides == [(0, 0, 2, 0), (0, 9, 9, 0xD)]


def test_the_fadt_names_the_ports_of_the_power_management() -> None:
    fadt = acpi_reader.table("FACP", found(SMALL)[1]["FACP"])
    assert len(fadt.data) == 244
    for offset, size, value in (
        (46, 2, 9), (48, 4, 0xB2), (52, 1, 0xF1), (53, 1, 0xF0), (56, 4, 0x600), (64, 4, 0x604), (76, 4, 0x608),
        (88, 1, 4), (89, 1, 2), (91, 1, 4), (108, 1, 0x32), (128, 1, 6), (120, 8, 0xCF9), (148 + 4, 8, 0x600),
        (172 + 4, 8, 0x604), (208 + 4, 8, 0x608),
    ):  # fmt: skip
        assert fadt.number(offset, size) == value, offset


@BOTH
def test_iasl_takes_every_table_back_and_forth(of: Description, tmp_path: Path) -> None:
    if shutil.which("iasl") is None:
        pytest.skip("no iasl (Debian: acpica-tools)")
    for name, data in found(of)[1].items():
        if name in ("RSDP", "FACS"):
            continue
        (tmp_path / f"{name}.dat").write_bytes(data)
        subprocess.run(["iasl", "-d", f"{name}.dat"], cwd=tmp_path, check=True, capture_output=True)
        made = subprocess.run(
            ["iasl", "-tc", "-oa", f"{name}.dsl"], cwd=tmp_path, check=False, capture_output=True, text=True
        )
        assert "0 Errors, 0 Warnings" in made.stdout + made.stderr, made.stdout + made.stderr
        again = (tmp_path / f"{name}.aml").read_bytes()
        assert again[36:] == data[36:], name  # the header names the compiler


@BOTH
def test_dmidecode_reads_the_smbios_tables(of: Description, tmp_path: Path) -> None:
    if shutil.which("dmidecode") is None:
        pytest.skip("no dmidecode")
    structures = smbios.structures(len(of.apic_ids), of.ram)
    for number, entry in enumerate((smbios.entry_3(32, len(structures)), smbios.entry_2(32, structures))):
        dump = tmp_path / str(number)
        dump.write_bytes(entry.ljust(32, b"\0") + structures)
        said = subprocess.run(["dmidecode", "--from-dump", str(dump)], check=True, capture_output=True, text=True)
        text = said.stdout + said.stderr
        assert not [word for word in ("broken", "Wrong", "OUT OF SPEC", "<BAD", "Invalid", "Bad") if word in text], text
        assert text.count("Processor Information") == len(of.apic_ids)
        assert ("Size: 5 GB" if of is LARGE else "Size: 64 MB") in text


@BOTH
def test_the_probes_read_the_smbios_tables(of: Description) -> None:
    area, _ = found(of)
    at = area.index(b"_SM3_")
    assert at % 16 == 0
    entry = area[at : at + 24]
    assert sum(entry) & 0xFF == 0
    length, address = struct.unpack_from("<IQ", entry, 12)
    listed = list(smbios_reader.structures(area[address - tables.START :][:length]))
    assert [row.kind for row in listed].count(4) == len(of.apic_ids)
    assert listed[-1].kind == 127


@BOTH
def test_the_mp_table_adds_up(of: Description) -> None:
    area, _ = found(of)
    at = area.index(b"_MP_")
    pointer = area[at : at + 16]
    assert at % 16 == 0
    assert sum(pointer) & 0xFF == 0
    table = area[struct.unpack_from("<I", pointer, 4)[0] - tables.START :]
    length, revision = struct.unpack_from("<HB", table, 4)
    table = table[:length]
    assert table[:4] == b"PCMP"
    assert revision == 4
    assert sum(table) & 0xFF == 0
    kinds, offset = [], 44
    while offset < length:
        kinds.append(table[offset])
        offset += 20 if table[offset] == 0 else 8
    assert offset == length
    assert len(kinds) == struct.unpack_from("<H", table, 34)[0]
    assert kinds.count(0) == len(of.apic_ids)
    assert kinds.count(2) == 1


@BOTH
def test_a_loader_makes_the_same_of_the_files(of: Description) -> None:
    """What SeaBIOS does with the script, at an address of ours."""
    files = tables.files(of)
    memory = {name: bytearray(data) for name, data in files.items()}
    where = {"etc/acpi/tables": 0x3FF_0000, "etc/acpi/rsdp": 0xF_5A00}
    script = files["etc/table-loader"]
    assert len(script) % 128 == 0

    def text(field: bytes) -> str:
        return field.rstrip(b"\0").decode()

    for at in range(0, len(script), 128):
        match struct.unpack_from("<I", script, at)[0]:
            case 1:
                name, alignment, _ = struct.unpack_from("<56sIB", script, at + 4)
                assert where[text(name)] % alignment == 0
            case 2:
                into, to, offset, size = struct.unpack_from("<56s56sIB", script, at + 4)
                data = memory[text(into)]
                value = int.from_bytes(data[offset : offset + size], "little") + where[text(to)]
                data[offset : offset + size] = value.to_bytes(size, "little")
            case 3:
                name, offset, start, length = struct.unpack_from("<56sIII", script, at + 4)
                data = memory[text(name)]
                data[offset] = (data[offset] - sum(data[start : start + length])) & 0xFF
    blob, xsdt = acpi.tables(of.acpi)
    assert memory["etc/acpi/tables"] == blob.at(where["etc/acpi/tables"])
    assert memory["etc/acpi/rsdp"] == acpi.rsdp(where["etc/acpi/tables"] + xsdt)


@pytest.mark.parametrize("ram", [64 * MIB, 3 * GIB, 5 * GIB])
def test_the_memory_map_is_sorted_disjoint_and_covers_the_ram(ram: int) -> None:
    rows = e820.memory_map(ram)
    assert all(a.end <= b.start for a, b in itertools.pairwise(rows))
    usable = sum(row.end - row.start for row in rows if row.type is RangeType.RAM)
    assert ram - usable == (640 << 10) - e820.EBDA + (384 << 10)
    assert len(e820.packed(rows)) == 20 * len(rows)


def test_more_processors_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match="APIC id 999"):
        tables.laid_out(Description(64 * MIB, tuple(range(1000))))


def test_lengths_of_packages() -> None:
    for size in (10, 58, 59, 60, 1000, 4090, 4100, 70_000):
        encoded = aml.package(bytes(size))
        more = encoded[1] >> 6
        length = (
            encoded[1] & 0x3F if not more else encoded[1] & 0xF | int.from_bytes(encoded[2 : 2 + more], "little") << 4
        )
        assert length == len(encoded) - 1


def test_examples() -> None:
    assert doctest.testmod(aml).failed == 0


def test_the_mp_table_without_functions_has_the_isa_interrupts() -> None:
    assert mp.table((0,), 0, 0)[34:36] == (1 + 2 + 1 + 13 + 2).to_bytes(2, "little")
