"""SMBIOS taken apart, and made anonymous."""

from __future__ import annotations

import pytest

from tests.probes.firmware import samples
from virtproof.probes.firmware import smbios
from virtproof.probes.sources.smbios import section
from virtproof.spec.fault import Fault

SECRETS = ("SN-4711", "BS-99", "ASSET-7", "CH-55", "CPUSERIAL", "DIMMSERIAL", "OEM-SECRET", samples.UUID.hex())


def test_structures_are_read_as_written():
    found = list(smbios.structures(samples.SMBIOS))
    assert [one.kind for one in found] == [0, 1, 2, 3, 4, 4, 4, 16, 17, 17, 17, 11, 127]
    system = found[1]
    assert (system.string(4), system.string(5), system.string(7)) == ("Contoso", "R1", "SN-4711")
    assert (system.data[8:24], system.number(0xFF, 1), system.string(0x1A)) == (samples.UUID, None, None)
    assert (found[7].strings, found[4].handle) == ((), 40)


def test_the_walk_ends_with_the_table():
    assert len(list(smbios.structures(samples.SMBIOS + samples.BIOS))) == 13
    assert len(list(smbios.structures(samples.BIOS))) == 1


def test_what_names_one_machine_is_left_out_unless_asked_for():
    kept = section(samples.entry_3(), samples.SMBIOS)
    assert kept["version"] == "3.4"
    assert kept["unread"] == []
    text = repr(kept)
    assert not [secret for secret in SECRETS if secret in text]
    assert "Contoso" in text
    assert "To be filled by O.E.M." in text  # names nobody
    assert text.count(smbios.REMOVED) == 10
    whole = repr(section(samples.entry_3(), samples.SMBIOS, identity=True))
    assert [secret for secret in SECRETS if secret not in whole] == ["OEM-SECRET"]


def test_a_short_system_structure_loses_its_part_of_the_uuid():
    (one,) = smbios.structures(samples.structure(1, 1, bytes((1, 2, 3, 4)) + samples.UUID[:8], ("a", "b", "c", "d")))
    assert one.anonymous().data[8:] == bytes(8)
    assert one.anonymous().strings == ("a", "b", "c", smbios.REMOVED)


@pytest.mark.parametrize(
    "data",
    [
        samples.BIOS[:3],
        b"\0\x03\0\0\0\0",
        samples.BIOS[:10],
        samples.BIOS[:-1],
        samples.SMBIOS[:-6] + b"\x04\xff\0\0",
    ],
)
def test_a_table_that_lies_is_refused_where_it_does(data):
    with pytest.raises(Fault):
        list(smbios.structures(data))


def test_what_came_before_the_lie_is_kept():
    kept = section(samples.entry_3(), samples.BIOS + samples.SYSTEM + b"\x01\x02\0\0")
    assert [one["type"] for one in kept["structures"]] == [0, 1]
    assert kept["unread"][0]["what"] == "structures"


def test_a_table_without_end_ends():
    with pytest.raises(Fault, match="more than"):
        list(smbios.structures(samples.structure(9, 9, b"") * (smbios.MAX_STRUCTURES + 1)))


@pytest.mark.parametrize(
    "entry", [b"", b"_SM3_", b"_SM_" + bytes(27), samples.entry_3()[:-1], b"_DMI_" + bytes(10), samples.entry_3(1)[:8]]
)
def test_entry_points_that_are_none(entry):
    with pytest.raises(Fault):
        smbios.version(entry)


def test_entry_points():
    old = bytearray(b"_SM_\0\x1f\x02\x08" + bytes(2) + b"\0" + bytes(5) + b"_DMI_" + bytes(10))
    old[4] = -sum(old) & 0xFF
    assert smbios.version(bytes(old)) == "2.8"
    assert smbios.version(samples.entry_3()) == "3.4"
    wrong = bytearray(samples.entry_3())
    wrong[5] ^= 1
    with pytest.raises(Fault, match="checksum is wrong"):
        smbios.version(bytes(wrong))
