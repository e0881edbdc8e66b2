"""virtio-blk on disks in memory, some of them slow or broken."""

from __future__ import annotations

import itertools
import json
import struct
from typing import Any

import pytest

from tests.vmm.virtio.driver import NEXT, READ, WRITE, Driver, loop
from virtproof.spec.virtio import Feature as Basic
from virtproof.spec.virtio_blk import Config, Feature
from virtproof.vmm.devices.virtio.blk import LARGEST, VirtioBlk
from virtproof.vmm.disks.disk import DiskError
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.events import EventLoop, ManualClock

OK, IOERR, UNSUPP = 0, 1, 2
SECTORS = 64
CONTENT = b"".join(bytes([n]) * 512 for n in range(SECTORS))


class Slow:
    """A disk whose requests take a microsecond; ``log`` says what was done."""

    def __init__(self, *, broken: bool = False, read_only: bool = False, delay: int = 0) -> None:
        self._disk = FileDisk.in_memory(content=CONTENT)
        self.sectors, self.read_only, self.wait, self._broken = SECTORS, read_only, delay, broken
        self.log: list[str] = []

    def delay(self, length: int) -> int:
        return self.wait

    def read(self, sector: int, count: int) -> bytes:
        self._do(f"read {sector}")
        return self._disk.read(sector, count)

    def write(self, sector: int, data: bytes) -> None:
        self._do(f"write {sector}")
        self._disk.write(sector, data)

    def flush(self) -> None:
        self._do("flush")

    def discard(self, sector: int, count: int) -> None:
        self._do(f"discard {sector} {count}")
        self._disk.discard(sector, count)

    def close(self) -> None: ...

    def _do(self, what: str) -> None:
        if self._broken or (self.read_only and not what.startswith(("read", "flush"))):
            raise DiskError(what)
        self.log.append(what)


def driver(**more: Any) -> tuple[Driver, Slow]:
    disk = Slow(**more)
    return Driver(VirtioBlk(disk, loop.after, serial="disk 1")).start(), disk


def header(kind: int, sector: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


def test_configuration() -> None:
    blk, _ = driver()
    assert blk.config(Config.CAPACITY, 4) == SECTORS
    assert blk.config(Config.BLK_SIZE, 4) == 512
    assert blk.config(Config.SEG_MAX, 4) == 254


@pytest.mark.parametrize("cuts", [(), (8,), (3, 9)])
def test_reading(cuts: tuple[int, ...]) -> None:
    blk, _ = driver()
    edges = (0, *cuts, 16)
    pieces = [header(0, 5)[a:b] for a, b in itertools.pairwise(edges)]
    assert blk.ask(0, pieces, (512, 512, 1)) == (CONTENT[5 * 512 : 7 * 512] + bytes([OK]), 1025)
    assert blk.ask(0, pieces, (100, 413)) == (CONTENT[5 * 512 : 6 * 512] + bytes([OK]), 513)


def test_writing() -> None:
    blk, disk = driver()
    assert blk.ask(0, (header(1, 9), b"x" * 300, b"y" * 724), (1,)) == (b"\0", 1)
    assert disk.read(9, 2) == b"x" * 300 + b"y" * 724
    assert blk.ask(0, (header(1, 9) + b"z" * 512,), (1,)) == (b"\0", 1)
    assert disk.read(9, 1) == b"z" * 512


def test_flushing_and_the_name() -> None:
    blk, disk = driver()
    assert blk.ask(0, (header(4),), (1,)) == (b"\0", 1)
    assert disk.log == ["flush"]
    assert blk.ask(0, (header(8),), (20, 1)) == (b"disk 1".ljust(20, b"\0") + b"\0", 21)


def test_flushes_are_work_that_leaves_room_for_others() -> None:
    blk, disk = driver()
    for _ in range(30):
        blk.add(0, (header(4),), (1,))
    blk.kick(0)
    assert len(disk.log) == 8
    while len(disk.log) < 30:
        loop.poll()
    assert len(blk.take(0)) == 30


def test_discarding() -> None:
    blk, disk = driver()
    two = struct.pack("<QIIQII", 4, 2, 0, 8, 1, 0)
    assert blk.ask(0, (header(11), two), (1,))[0] == b"\0"
    assert disk.log == ["discard 4 2", "discard 8 1"]
    for data, status in (
        (struct.pack("<QII", 4, 2, 1), UNSUPP),
        (two[:15], IOERR),
        (b"", IOERR),
        (two * 33, IOERR),
        (struct.pack("<QII", 0, 0xFFFF_FFFF, 0), IOERR),
        (struct.pack("<QII", SECTORS, 1, 0), IOERR),
    ):
        assert blk.ask(0, (header(11), data), (1,))[0] == bytes([status])


@pytest.mark.parametrize(
    ("request_", "room", "status"),
    [
        (header(0, SECTORS), 512, IOERR),
        (header(0, SECTORS - 1), 1024, IOERR),
        (header(0, (1 << 64) - 1), 512, IOERR),
        (header(0), 100, IOERR),
        (header(1) + b"x" * 100, 0, IOERR),
        (header(1, SECTORS) + b"x" * 512, 0, IOERR),
        (header(99), 0, UNSUPP),
        (header(99), 512, UNSUPP),
    ],
)
def test_what_cannot_be(request_: bytes, room: int, status: int) -> None:
    blk, _ = driver()
    written, length = blk.ask(0, (request_,), (room, 1))
    assert (written[-1], length) == (status, 0 if room else 1)
    assert not blk.status.needs_reset


def test_a_host_that_fails() -> None:
    blk, _ = driver(broken=True)
    for kind, data in ((0, b""), (1, bytes(512)), (4, b"")):
        assert blk.ask(0, (header(kind) + data,), (512 * (kind == 0), 1))[0][-1] == IOERR


def test_a_disk_that_is_read_only_says_so() -> None:
    blk, disk = driver(read_only=True)
    assert blk.device.features & Feature.RO
    assert not blk.device.features & Feature.DISCARD
    assert blk.ask(0, (header(1) + bytes(512),), (1,))[0] == bytes([IOERR])
    assert blk.ask(0, (header(11) + bytes(16),), (1,))[0] == bytes([IOERR])
    assert blk.ask(0, (header(0),), (512, 1))[0][-1] == OK
    assert disk.log == ["read 0"]


@pytest.mark.parametrize("length", [0xFFFF_FFFF, LARGEST + 512])
def test_lengths_that_no_memory_has(length: int) -> None:
    blk, disk = driver()
    status = blk.buffer(1)
    blk.wires.ram[status[0]] = 0xAA
    blk.offer(0, blk.describe(0, (*blk.buffer(header(0)), READ), (0, length, WRITE), (*status, WRITE)))
    blk.kick(0)
    assert blk.take(0) == [(0, 0)]
    assert (blk.wires.ram[status[0]], disk.log) == (IOERR, [])


@pytest.mark.parametrize("address", [0x10_0000, 0xFEE0_0000, 0xFFFF_FFFF_FFFF_FFF0])
@pytest.mark.parametrize("kind", [0, 1])
def test_data_where_no_memory_is(kind: int, address: int) -> None:
    blk, _ = driver()
    status = blk.buffer(1)
    data = (address, 512, WRITE if kind == 0 else READ)
    blk.offer(0, blk.describe(0, (*blk.buffer(header(kind)), READ), data, (*status, WRITE)))
    blk.kick(0)
    assert len(blk.take(0)) == 1
    assert blk.wires.ram[status[0]] == IOERR


@pytest.mark.parametrize(("read", "write"), [((b"\0" * 15,), (1,)), ((header(0),), ()), ((), (16,)), ((b"",), (1,))])
def test_a_request_that_is_none_breaks_the_device(read: tuple[bytes, ...], write: tuple[int, ...]) -> None:
    blk, _ = driver()
    blk.add(0, read, write)
    blk.kick(0)
    assert blk.status.needs_reset


def clocked(delay: int = 1000) -> tuple[Driver, Slow, ManualClock, EventLoop]:
    clock = ManualClock()
    events, disk = EventLoop(clock), Slow(delay=delay)
    return Driver(VirtioBlk(disk, events.after)).start(), disk, clock, events


def test_a_slow_disk_answers_later_and_in_its_own_order() -> None:
    blk, disk, clock, events = clocked()
    first = blk.add(0, (header(0, 1),), (512, 1))
    blk.kick(0)
    disk.wait = 10
    second = blk.add(0, (header(0, 2),), (512, 1))
    blk.kick(0)
    assert blk.take(0) == []
    clock.advance(10)
    events.poll()
    assert blk.take(0) == [(3, 513)]
    clock.advance(1000)
    events.poll()
    assert blk.take(0) == [(0, 513)]
    for n, into in ((1, first), (2, second)):
        assert blk.wires.ram[into[0][0]] == n


def test_a_reset_ends_what_is_under_way() -> None:
    blk, disk, clock, events = clocked()
    blk.add(0, (header(0, 1),), (512, 1))
    blk.kick(0)
    blk.put_status(0)
    before = bytes(blk.wires.ram)
    clock.advance(5000)
    events.poll()
    assert (bytes(blk.wires.ram), disk.log) == (before, [])


def test_a_legacy_queue_that_is_placed_anew_forgets_what_is_under_way() -> None:
    blk, disk, clock, events = clocked()
    blk.add(0, (header(0, 1),), (512, 1))
    blk.kick(0)
    blk.device._transport._write_legacy(8, 4, 0x10)
    clock.advance(5000)
    events.poll()
    assert (blk.take(0), disk.log, blk.device.virtio.broken) == ([], [], "")


def test_a_driver_cannot_have_more_under_way_than_the_queue_holds() -> None:
    blk, _, _, events = clocked()
    head = blk.describe(0, (*blk.buffer(header(0)), READ), (*blk.buffer(513), WRITE))
    for _ in range(256):
        blk.offer(0, head)
    blk.kick(0)
    events.poll()
    assert not blk.status.needs_reset
    blk.offer(0, head)
    blk.kick(0)
    assert blk.status.needs_reset


def test_what_is_under_way_is_saved() -> None:
    blk, _, _, _ = clocked()
    into = blk.add(0, (header(0, 7),), (512, 1))
    blk.kick(0)
    saved = json.loads(json.dumps([blk.device.function.state(), blk.device.state()]))
    events = EventLoop(ManualClock())
    other = VirtioBlk(Slow(), events.after)
    other.function.connect(blk.wires, blk.wires)
    other.function.restore(saved[0])
    other.restore(saved[1])
    events.poll()
    assert blk.take(0) == [(0, 513)]
    assert blk.wires.ram[into[0][0]] == 7


def test_a_chain_in_an_indirect_table() -> None:
    disk = Slow()
    blk = Driver(VirtioBlk(disk, loop.after)).start(Basic.INDIRECT_DESC)
    data, status, head = blk.buffer(512), blk.buffer(1), blk.buffer(header(0, 3))
    entries = ((*head, NEXT, 1), (*data, NEXT | WRITE, 2), (*status, WRITE, 0))
    inside = blk.buffer(b"".join(struct.pack("<QIHH", *entry) for entry in entries))
    blk.offer(0, blk.describe(0, (*inside, 4)))
    blk.kick(0)
    assert blk.take(0) == [(0, 513)]
    assert blk.wires.ram[data[0]] == 3
