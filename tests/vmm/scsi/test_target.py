"""What every logical unit answers, and a target with several: SPC-4."""

from __future__ import annotations

import pytest

from virtproof.spec import scsi
from virtproof.spec.scsi import Status
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.scsi.block import DiskUnit
from virtproof.vmm.scsi.cdrom import CdRomUnit
from virtproof.vmm.scsi.target import Completion, LogicalUnit, execute

ROOM = 4096


@pytest.fixture
def unit() -> DiskUnit:
    return DiskUnit(FileDisk.in_memory(8192), serial="disk-1")


def sense(completion: Completion) -> tuple[int, int, int]:
    assert completion.status is Status.CHECK_CONDITION
    assert len(completion.sense) == 18
    assert completion.sense[0] == 0x70
    return completion.sense[2], completion.sense[12], completion.sense[13]


def ask(unit: LogicalUnit, text: str, room: int = ROOM, data: bytes = b"") -> Completion:
    return unit.execute(bytes.fromhex(text), data, room)


def good(unit: LogicalUnit, text: str, room: int = ROOM, data: bytes = b"") -> bytes:
    completion = ask(unit, text, room, data)
    assert completion.status is Status.GOOD
    assert completion.sense == b""
    return completion.data_in


def test_inquiry(unit: DiskUnit) -> None:
    data = good(unit, "12 00 00 00 24 00")
    assert len(data) == 36
    assert (data[0], data[1], data[2], data[3] & 0xF, data[4]) == (0, 0, 6, 2, 31)
    assert data[8:16] == b"VPROOF  "
    assert data[16:32] == b"virtproof disk  "


@pytest.mark.parametrize(
    ("allocation", "room", "given", "length"), [(5, 36, 5, 5), (255, 36, 36, 36), (36, 10, 10, 36), (0, 36, 0, 0)]
)
def test_allocation_cuts_without_an_error(unit: DiskUnit, allocation: int, room: int, given: int, length: int) -> None:
    completion = unit.execute(bytes((0x12, 0, 0, 0, allocation, 0)), b"", room)
    assert (completion.status, len(completion.data_in), completion.length) == (0, given, length)


def test_vital_product_data(unit: DiskUnit) -> None:
    assert good(unit, "12 01 00 00 ff 00") == bytes.fromhex("00 00 00 06 00 80 83 b0 b1 b2")
    assert good(unit, "12 01 80 00 ff 00") == b"\0\x80\0\6disk-1"
    name = good(unit, "12 01 83 00 ff 00")
    assert name[4:8] == bytes((2, 1, 0, 14))
    assert name[8:] == b"VPROOF  disk-1"
    limits = good(unit, "12 01 b0 00 ff 00")
    assert len(limits) == 64
    assert int.from_bytes(limits[8:12], "big") == 32768
    assert good(unit, "12 01 b1 00 ff 00")[4:6] == b"\0\1"
    assert good(unit, "12 01 b2 00 ff 00")[5] == 0x80


@pytest.mark.parametrize("cdb", ["12 00 80 00 ff 00", "12 01 c0 00 ff 00", "12 02 00 00 ff 00", "03 01 00 00 12 00"])
def test_fields_that_are_wrong(unit: DiskUnit, cdb: str) -> None:
    assert sense(ask(unit, cdb)) == (5, 0x24, 0)


@pytest.mark.parametrize("opcode", [0x01, 0x3F, 0x41, 0x7F, 0x93, 0xC0, 0xFF])
def test_commands_that_are_unknown(unit: DiskUnit, opcode: int) -> None:
    assert sense(unit.execute(bytes((opcode,)).ljust(16, b"\0"))) == (5, 0x20, 0)


def test_a_cdb_that_ends_too_early(unit: DiskUnit) -> None:
    assert sense(unit.execute(b"")) == (5, 0x20, 0)
    for opcode in DiskUnit.COMMANDS:
        length = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}[opcode >> 5]
        assert sense(unit.execute(bytes((opcode,)).ljust(length - 1, b"\0"))) == (5, 0x24, 0)


def test_request_sense_has_nothing_to_tell_after_an_error(unit: DiskUnit) -> None:
    ask(unit, "c0 00 00 00 00 00")
    assert good(unit, "03 00 00 00 ff 00") == bytes.fromhex("70 00 00 00 00 00 00 0a") + bytes(10)


def test_a_unit_attention_is_told_once() -> None:
    unit = CdRomUnit()
    unit.insert(FileDisk.in_memory(8))
    assert len(good(unit, "12 00 00 00 24 00")) == 36
    assert sense(ask(unit, "00 00 00 00 00 00")) == (6, 0x28, 0)
    assert good(unit, "00 00 00 00 00 00") == b""
    unit.insert(FileDisk.in_memory(8))
    assert good(unit, "03 00 00 00 12 00")[2] == 6
    assert good(unit, "03 00 00 00 12 00")[2] == 0


def test_mode_sense_of_a_disk(unit: DiskUnit) -> None:
    block = bytes.fromhex("00002000 00000200")
    page = bytes.fromhex("08 12 04") + bytes(17)
    assert good(unit, "1a 00 08 00 ff 00") == bytes((31, 0, 0x10, 8)) + block + page
    assert good(unit, "1a 08 3f 00 ff 00") == bytes((23, 0, 0x10, 0)) + page
    assert good(unit, "5a 00 3f 00 00 00 00 00 ff 00") == bytes((0, 34, 0, 0x10, 0, 0, 0, 8)) + block + page
    assert good(unit, "1a 08 48 00 ff 00")[4:] == bytes.fromhex("08 12") + bytes(18)
    assert sense(ask(unit, "1a 00 c8 00 ff 00")) == (5, 0x39, 0)
    assert sense(ask(unit, "1a 00 05 00 ff 00")) == (5, 0x24, 0)


def test_mode_select_takes_what_is_and_nothing_else(unit: DiskUnit) -> None:
    page = bytes.fromhex("08 12 04") + bytes(17)
    for data in (b"", bytes(4), bytes(4) + page):
        assert good(unit, f"15 10 00 00 {len(data):02x} 00", data=data) == b""
    assert good(unit, "55 10 00 00 00 00 00 00 1c 00", data=bytes(8) + page) == b""
    wrong = page.replace(b"\4", b"\0")
    assert sense(ask(unit, "15 10 00 00 18 00", data=bytes(4) + wrong)) == (5, 0x26, 0)
    assert sense(ask(unit, "15 10 00 00 06 00", data=bytes(4) + b"\x05\0")) == (5, 0x26, 0)
    for short in (bytes(3), bytes(4) + page[:10], bytes(4) + b"\x08", bytes((0, 0, 0, 8, 1))):
        assert sense(ask(unit, f"15 10 00 00 {len(short):02x} 00", data=short)) == (5, 0x1A, 0)
    for cdb in ("15 00 00 00 00 00", "15 11 00 00 00 00"):
        assert sense(ask(unit, cdb)) == (5, 0x24, 0)
    assert ask(unit, "15 10 00 00 ff 00", data=bytes(4)).length == 255


def test_report_luns(unit: DiskUnit) -> None:
    report = bytes.fromhex("a0 00 00 00 00 00 00 00 00 10 00 00")
    assert execute({0: unit}, 0, report, b"", ROOM).data_in == bytes.fromhex("00000008 00000000") + bytes(8)
    several = execute({1: unit, 300: unit}, 7, report[:9] + b"\xff\0\0", b"", ROOM).data_in
    assert several == (24).to_bytes(4, "big") + bytes(4) + bytes(8) + b"\0\1" + bytes(6) + b"\x41\x2c" + bytes(6)
    huge = bytes.fromhex("a0 00 00 00 00 00 ff ff ff ff 00 00")
    assert len(execute({0: unit}, 0, huge, b"", 1 << 32).data_in) == 16
    assert execute({0: unit}, 0, b"\xa0\0\1" + huge[3:], b"", ROOM).data_in == bytes(8)
    for bad in (report[:9] + b"\x0f\0\0", b"\xa0\0\3" + report[3:]):
        assert sense(execute({0: unit}, 0, bad, b"", ROOM)) == (5, 0x24, 0)


@pytest.mark.parametrize("lun", [3, None])
def test_a_lun_that_is_not_there(unit: DiskUnit, lun: int | None) -> None:
    data = execute({0: unit}, lun, bytes.fromhex("12 00 00 00 24 00"), b"", ROOM).data_in
    assert (data[0], len(data)) == (0x7F, 36)
    told = execute({0: unit}, lun, bytes.fromhex("03 00 00 00 12 00"), b"", ROOM).data_in
    assert (told[2], told[12]) == (5, 0x25)
    for cdb in ("00 00 00 00 00 00", "28 00 00 00 00 00 00 00 01 00", "12 01 00 00 24 00", ""):
        assert sense(execute({0: unit}, lun, bytes.fromhex(cdb), b"", ROOM)) == (5, 0x25, 0)


@pytest.mark.parametrize(
    ("address", "lun"),
    [
        ("0000000000000000", 0),
        ("0005000000000000", 5),
        ("412c000000000000", 300),
        ("0100000000000000", None),
        ("0005000100000000", None),
        ("c101000000000000", None),
    ],
)
def test_lun_addresses(address: str, lun: int | None) -> None:
    assert scsi.lun_of(bytes.fromhex(address)) == lun
    if lun is not None:
        assert scsi.lun_address(lun).hex() == address
