"""Disks: SBC-3."""

from __future__ import annotations

import pytest

from tests.vmm.scsi.test_target import ROOM, ask, good, sense
from virtproof.spec.scsi import Status
from virtproof.vmm.disks.disk import DiskError
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.rate import RateLimit
from virtproof.vmm.events import ManualClock
from virtproof.vmm.scsi.block import DiskUnit
from virtproof.vmm.scsi.target import LARGEST_TRANSFER

SECTORS = 8192


class Recorder(FileDisk):
    """A disk that counts flushes, and may be broken or write-protected."""

    flushes = 0
    broken = False

    def read(self, sector: int, count: int) -> bytes:
        self._check()
        return super().read(sector, count)

    def write(self, sector: int, data: bytes) -> None:
        self._check()
        super().write(sector, data)

    def flush(self) -> None:
        self._check()
        self.flushes += 1

    def discard(self, sector: int, count: int) -> None:
        self._check()
        super().discard(sector, count)

    def _check(self) -> None:
        if self.broken:
            raise DiskError("broken")


@pytest.fixture
def disk() -> Recorder:
    return Recorder.in_memory(SECTORS, b"".join(n.to_bytes(2, "big") * 256 for n in range(300)))


@pytest.fixture
def unit(disk: Recorder) -> DiskUnit:
    return DiskUnit(disk)


READS = {
    "08 00 00 02 02 00": 2,
    "28 00 00 00 00 02 00 00 02 00": 2,
    "a8 00 00 00 00 02 00 00 00 02 00 00": 2,
    "88 00 00 00 00 00 00 00 00 02 00 00 00 02 00 00": 2,
}
WRITES = {
    "0a 00 00 02 02 00": 2,
    "2a 00 00 00 00 02 00 00 02 00": 2,
    "aa 00 00 00 00 02 00 00 00 02 00 00": 2,
    "8a 00 00 00 00 00 00 00 00 02 00 00 00 02 00 00": 2,
}


@pytest.mark.parametrize("cdb", READS)
def test_every_read_gives_the_same(unit: DiskUnit, disk: Recorder, cdb: str) -> None:
    completion = ask(unit, cdb)
    assert completion.data_in == disk.read(2, 2)
    assert completion.length == 1024


@pytest.mark.parametrize("cdb", WRITES)
def test_every_write_stores_the_same(unit: DiskUnit, disk: Recorder, cdb: str) -> None:
    completion = ask(unit, cdb, data=b"w" * 1024 + b"behind")
    assert (completion.status, completion.length) == (Status.GOOD, 1024)
    assert disk.read(1, 4) == b"\0\1" * 256 + b"w" * 1024 + b"\0\4" * 256


def test_zero_blocks_are_256_in_the_short_commands_only(unit: DiskUnit, disk: Recorder) -> None:
    assert ask(unit, "08 00 00 00 00 00", 1 << 20).data_in == disk.read(0, 256)
    assert ask(unit, "0a 00 00 00 00 00", data=b"z" * (256 * 512)).length == 256 * 512
    assert disk.read(255, 1) == b"z" * 512
    for cdb in ("28" + " 00" * 9, "2a" + " 00" * 9, "88" + " 00" * 15):
        completion = ask(unit, cdb, data=b"x" * 512)
        assert (completion.status, completion.length, completion.data_in) == (Status.GOOD, 0, b"")
    assert disk.read(0, 1) == b"z" * 512


def test_the_high_bits_of_a_short_address_are_no_address(unit: DiskUnit, disk: Recorder) -> None:
    assert ask(unit, "08 e0 00 02 01 00").data_in == disk.read(2, 1)
    assert sense(ask(unit, "28 20 00 00 00 02 00 00 01 00")) == (5, 0x24, 0)


def test_less_room_than_blocks(unit: DiskUnit, disk: Recorder) -> None:
    completion = ask(unit, "28 00 00 00 00 02 00 00 04 00", 700)
    assert (completion.data_in, completion.length) == (disk.read(2, 4)[:700], 2048)


def test_less_data_than_blocks_writes_nothing(unit: DiskUnit, disk: Recorder) -> None:
    before = disk.read(0, 8)
    completion = ask(unit, "2a 00 00 00 00 02 00 00 04 00", data=b"w" * 2047)
    assert (completion.status, completion.length) == (Status.GOOD, 2048)
    assert disk.read(0, 8) == before


@pytest.mark.parametrize(
    "cdb",
    [
        "28 00 00 00 20 00 00 00 01 00",
        "28 00 00 00 1f ff 00 00 02 00",
        "28 00 00 00 20 00 00 00 00 00",
        "2a 00 00 00 20 00 00 00 01 00",
        "88 00 80 00 00 00 00 00 00 00 00 00 00 01 00 00",
        "88 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00",
        "35 00 00 00 20 00 00 00 00 00",
        "2f 00 00 00 1f ff 00 00 02 00",
    ],
)
def test_blocks_beyond_the_end(unit: DiskUnit, cdb: str) -> None:
    assert sense(ask(unit, cdb, data=bytes(1024))) == (5, 0x21, 0)


def test_the_largest_transfer() -> None:
    unit = DiskUnit(FileDisk.in_memory(1 << 20))
    assert len(ask(unit, "a8 00 00 00 00 00 00 00 80 00 00 00", LARGEST_TRANSFER).data_in) == LARGEST_TRANSFER
    assert sense(ask(unit, "a8 00 00 00 00 00 00 00 80 01 00 00", 1 << 30)) == (5, 0x24, 0)


def test_capacity(unit: DiskUnit) -> None:
    assert good(unit, "25" + " 00" * 9) == bytes.fromhex("00001fff 00000200")
    data = good(unit, "9e 10 00 00 00 00 00 00 00 00 00 00 00 ff 00 00")
    assert data == bytes.fromhex("0000000000001fff 00000200 0000 80") + bytes(17)
    assert sense(ask(unit, "25 00 00 00 00 01 00 00 00 00")) == (5, 0x24, 0)
    assert sense(ask(unit, "9e 11 00 00 00 00 00 00 00 00 00 00 00 20 00 00")) == (5, 0x24, 0)


def test_capacity_of_more_than_the_short_command_can_say() -> None:
    unit = DiskUnit(FileDisk.in_memory(6 << 30))
    assert good(unit, "25" + " 00" * 9) == bytes.fromhex("ffffffff 00000200")
    assert good(unit, "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00")[:8] == ((6 << 30) - 1).to_bytes(8, "big")
    assert good(unit, "1a 00 3f 00 ff 00")[4:8] == bytes.fromhex("00ffffff")
    assert good(unit, "88 00 00 00 00 01 7f ff ff ff 00 00 00 01 00 00") == bytes(512)


@pytest.mark.parametrize("cdb", ["35" + " 00" * 9, "91" + " 00" * 15])
def test_synchronize_cache_flushes(unit: DiskUnit, disk: Recorder, cdb: str) -> None:
    good(unit, cdb)
    assert disk.flushes == 1


def test_force_unit_access_flushes() -> None:
    disk = Recorder.in_memory(1 << 20)
    unit = DiskUnit(disk)
    good(unit, "2a 00 00 00 00 02 00 00 01 00", data=bytes(512))
    good(unit, "0a 08 00 02 01 00", data=bytes(512))  # no such flag there: it is a bit of the address
    assert disk.flushes == 0
    good(unit, "2a 08 00 00 00 02 00 00 01 00", data=bytes(512))
    assert disk.flushes == 1
    good(unit, "28 08 00 00 00 02 00 00 01 00")
    assert disk.flushes == 2


def test_host_errors_are_medium_errors(unit: DiskUnit, disk: Recorder) -> None:
    disk.broken = True
    assert sense(ask(unit, "28 00 00 00 00 02 00 00 01 00")) == (3, 0x11, 0)
    assert sense(ask(unit, "2a 00 00 00 00 02 00 00 01 00", data=bytes(512))) == (3, 0x0C, 0)
    assert sense(ask(unit, "35" + " 00" * 9)) == (3, 0x0C, 0)
    assert sense(ask(unit, "42 00 00 00 00 00 00 00 18 00", data=unmap((0, 8)))) == (3, 0x0C, 0)


def unmap(*ranges: tuple[int, int]) -> bytes:
    body = b"".join(lba.to_bytes(8, "big") + count.to_bytes(4, "big") + bytes(4) for lba, count in ranges)
    return (len(body) + 6).to_bytes(2, "big") + len(body).to_bytes(2, "big") + bytes(4) + body


def test_unmap(unit: DiskUnit, disk: Recorder) -> None:
    assert good(unit, "42 00 00 00 00 00 00 00 28 00", data=unmap((8, 8), (32, 16))) == b""
    assert disk.read(8, 8) == bytes(4096)
    assert disk.read(32, 16) == bytes(8192)
    assert disk.read(16, 1) == b"\0\x10" * 256
    assert good(unit, "42" + " 00" * 9) == b""


def test_unmap_is_bounded_and_all_or_nothing(unit: DiskUnit, disk: Recorder) -> None:
    before = disk.read(0, 64)
    for data, expected in (
        (unmap((8, 8), (SECTORS, 1)), (5, 0x21, 0)),
        (unmap((0, 0xFFFFFFFF)), (5, 0x26, 0)),
        (unmap(*[(0, 0)] * 257), (5, 0x26, 0)),
        (unmap((1 << 63, 1)), (5, 0x21, 0)),
    ):
        cdb = bytes((0x42, 0, 0, 0, 0, 0, 0)) + len(data).to_bytes(2, "big") + b"\0"
        assert sense(unit.execute(cdb, data, 0)) == expected
    assert sense(ask(unit, "42 00 00 00 00 00 00 00 07 00", data=bytes(7))) == (5, 0x1A, 0)
    assert sense(ask(unit, "42 01 00 00 00 00 00 00 08 00", data=bytes(8))) == (5, 0x24, 0)
    assert ask(unit, "42 00 00 00 00 00 00 00 18 00", data=b"").length == 24
    assert disk.read(0, 64) == before


def test_a_write_protected_disk() -> None:
    disk = Recorder.in_memory(64)
    disk.read_only = True
    unit = DiskUnit(disk)
    for cdb in WRITES:
        assert sense(ask(unit, cdb, data=bytes(1024))) == (7, 0x27, 0)
    assert sense(ask(unit, "42" + " 00" * 9)) == (7, 0x27, 0)
    assert good(unit, "1a 08 08 00 ff 00")[2] == 0x90
    assert good(unit, "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00")[14] == 0
    assert 0xB2 not in good(unit, "12 01 00 00 ff 00")[4:]


def test_a_stopped_disk_is_not_ready(unit: DiskUnit) -> None:
    good(unit, "1b 00 00 00 00 00")
    for cdb in ("00 00 00 00 00 00", *READS, "25" + " 00" * 9):
        assert sense(ask(unit, cdb)) == (2, 4, 2)
    assert len(good(unit, "12 00 00 00 24 00")) == 36
    good(unit, "1b 00 00 00 20 00")
    assert sense(ask(unit, "00 00 00 00 00 00")) == (2, 4, 2)
    good(unit, "1b 00 00 00 01 00")
    good(unit, "00 00 00 00 00 00")
    good(unit, "1b 00 00 00 00 00")
    unit.reset()
    good(unit, "00 00 00 00 00 00")


def test_verify(unit: DiskUnit) -> None:
    good(unit, "2f 00 00 00 00 02 00 00 02 00")
    assert sense(ask(unit, "2f 02 00 00 00 02 00 00 02 00")) == (5, 0x24, 0)


def test_a_disk_has_a_block() -> None:
    with pytest.raises(ValueError, match="without a block"):
        DiskUnit(FileDisk.in_memory(0))


def test_the_rate_limit_of_the_disk_is_the_unit_s() -> None:
    disk = RateLimit(FileDisk.in_memory(8), rate=4096, burst=4096, clock=ManualClock())
    unit = DiskUnit(disk)
    assert [unit.delay(ROOM), unit.delay(ROOM)] == [0, 1_000_000_000]
