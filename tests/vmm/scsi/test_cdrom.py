"""CD-ROM drives: MMC-6."""

from __future__ import annotations

import pytest

from tests.vmm.scsi.test_target import ask, good, sense
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.scsi.cdrom import CdRomUnit


@pytest.fixture
def unit() -> CdRomUnit:
    content = b"".join(bytes([n]) * 2048 for n in range(200))
    return CdRomUnit(FileDisk.in_memory(content=content))


def test_inquiry_says_removable_cd_rom(unit: CdRomUnit) -> None:
    assert good(unit, "12 00 00 00 24 00")[:2] == b"\x05\x80"


def test_blocks_have_2048_bytes(unit: CdRomUnit) -> None:
    assert good(unit, "25" + " 00" * 9) == bytes.fromhex("000000c7 00000800")
    assert good(unit, "28 00 00 00 00 03 00 00 02 00") == b"\3" * 2048 + b"\4" * 2048
    assert good(unit, "a8 00 00 00 00 c7 00 00 00 01 00 00") == b"\xc7" * 2048
    assert sense(ask(unit, "28 00 00 00 00 c8 00 00 01 00")) == (5, 0x21, 0)


@pytest.mark.parametrize("opcode", [0x0A, 0x2A, 0xAA, 0x8A, 0x42, 0x35])
def test_there_is_no_writing(unit: CdRomUnit, opcode: int) -> None:
    assert sense(unit.execute(bytes((opcode,)).ljust(16, b"\0"), bytes(4096))) == (5, 0x20, 0)


def test_an_empty_tray(unit: CdRomUnit) -> None:
    empty = CdRomUnit()
    for cdb in ("00 00 00 00 00 00", "25" + " 00" * 9, "28" + " 00" * 9, "43" + " 00" * 9):
        assert sense(ask(empty, cdb)) == (2, 0x3A, 0)
    assert good(empty, "46 02 00 00 00 00 00 00 ff 00")[6:8] == b"\0\0"


def test_table_of_contents(unit: CdRomUnit) -> None:
    track, out = bytes.fromhex("00 14 01 00 00000000"), bytes.fromhex("00 14 aa 00 000000c8")
    assert good(unit, "43 00 00 00 00 00 00 00 ff 00") == bytes.fromhex("0012 0101") + track + out
    assert good(unit, "43 00 00 00 00 00 aa 00 ff 00") == bytes.fromhex("000a 0101") + out
    assert good(unit, "43 00 01 00 00 00 00 00 ff 00") == bytes.fromhex("000a 0101") + track
    assert good(unit, "43 02 00 00 00 00 00 00 ff 00")[4:] == bytes.fromhex("00140100 00000200 0014aa00 00000432")
    for cdb in ("43 00 02 00 00 00 00 00 ff 00", "43 00 00 00 00 00 02 00 ff 00"):
        assert sense(ask(unit, cdb)) == (5, 0x24, 0)


def test_configuration(unit: CdRomUnit) -> None:
    data = good(unit, "46 00 00 00 00 00 00 00 ff 00")
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert data[6:8] == b"\0\x08"
    one = good(unit, "46 02 00 10 00 00 00 00 ff 00")
    assert one[8:] == bytes.fromhex("0010 01 08 00000800 0001 0000")
    assert len(good(unit, "46 00 00 1e 00 00 00 00 ff 00")) == 8 + 8
    assert sense(ask(unit, "46 03 00 00 00 00 00 00 ff 00")) == (5, 0x24, 0)


def test_a_new_disc_is_announced(unit: CdRomUnit) -> None:
    status = "4a 01 00 00 10 00 00 00 ff 00"
    assert good(unit, status) == bytes.fromhex("0006 04 10 00 02 0000")
    assert unit.eject() is not None
    assert good(unit, status) == bytes.fromhex("0006 04 10 03 00 0000")
    unit.insert(FileDisk.in_memory(8))
    assert sense(ask(unit, status)) == (6, 0x28, 0)
    assert good(unit, status) == bytes.fromhex("0006 04 10 02 02 0000")
    assert good(unit, status)[4] == 0
    assert good(unit, "4a 01 00 00 02 00 00 00 ff 00") == bytes.fromhex("0002 80 10")
    assert sense(ask(unit, "4a 00 00 00 10 00 00 00 ff 00")) == (5, 0x24, 0)


def test_the_guest_locks_and_ejects(unit: CdRomUnit) -> None:
    good(unit, "1e 00 00 00 01 00")
    assert sense(ask(unit, "1b 00 00 00 02 00")) == (5, 0x53, 2)
    good(unit, "1e 00 00 00 00 00")
    good(unit, "1b 00 00 00 02 00")
    assert sense(ask(unit, "00 00 00 00 00 00")) == (2, 0x3A, 0)
    good(unit, "1b 00 00 00 03 00")  # nothing to load
    assert sense(ask(unit, "00 00 00 00 00 00")) == (2, 0x3A, 0)


def test_a_reset_unlocks(unit: CdRomUnit) -> None:
    good(unit, "1e 00 00 00 01 00")
    unit.reset()
    good(unit, "1b 00 00 00 02 00")


def test_mode_sense(unit: CdRomUnit) -> None:
    page = good(unit, "5a 08 2a 00 00 00 00 00 ff 00")
    assert page[8:10] == bytes.fromhex("2a14")
    assert page[14] == 0x29


def test_a_disc_has_a_block() -> None:
    with pytest.raises(ValueError, match="without a block"):
        CdRomUnit(FileDisk.in_memory(3))
