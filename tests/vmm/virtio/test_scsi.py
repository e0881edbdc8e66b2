"""virtio-scsi with disks of the SCSI target core behind it, and virtio-console."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import pytest

from tests.vmm.virtio.driver import Driver, loop
from virtproof.spec.virtio_scsi import CONTROL, EVENT, REQUEST, Config, Feature
from virtproof.vmm.devices.virtio.console import LONGEST, VirtioConsole
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.rate import RateLimit
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.scsi.block import DiskUnit

CONTENT = b"".join(bytes([n]) * 512 for n in range(32))
INQUIRY = bytes((0x12, 0, 0, 0, 255, 0))
RESPONSE = 108


def unit() -> DiskUnit:
    return DiskUnit(FileDisk.in_memory(content=CONTENT))


@pytest.fixture
def hba() -> Driver:
    return Driver(VirtioScsi({0: {0: unit(), 3: unit()}, 5: {0: unit()}}, loop.after)).start(Feature.HOTPLUG)


def lun(target: int, lun: int = 0) -> bytes:
    return bytes((1, target, 0x40 | lun >> 8, lun & 0xFF)) + bytes(4)


def request(cdb: bytes, where: bytes, tag: int = 7) -> bytes:
    return struct.pack("<8sQBBB", where, tag, 0, 0, 0) + cdb.ljust(32, b"\0")


class Answer:
    def __init__(self, response: bytes) -> None:
        length, self.residual, _, self.status, self.response = struct.unpack_from("<IIHBB", response)
        self.sense = response[12 : 12 + length]
        self.data = response[RESPONSE:]


def ask(hba: Driver, cdb: bytes, where: bytes, data: Sequence[bytes] = (), room: int = 0) -> Answer:
    written, _ = hba.ask(REQUEST, (request(cdb, where), *data), (RESPONSE, room))
    return Answer(written)


def read_10(sector: int, count: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, sector, 0, count, 0)


def test_configuration(hba: Driver) -> None:
    fields = {"NUM_QUEUES": 1, "SEG_MAX": 254, "SENSE_SIZE": 96, "CDB_SIZE": 32, "EVENT_INFO_SIZE": 16}
    assert {name: hba.config(getattr(Config, name), 4) for name in fields} == fields
    assert [hba.config(at, 2) for at in (Config.MAX_CHANNEL, Config.MAX_TARGET)] == [0, 255]
    assert hba.config(Config.MAX_LUN, 4) == 16383


def test_inquiry_of_who_is_there_and_who_is_not(hba: Driver) -> None:
    for where in (lun(0), lun(0, 3), lun(5), bytes((1, 5)) + bytes(6)):
        answer = ask(hba, INQUIRY, where, room=255)
        assert (answer.response, answer.status, answer.data[0]) == (0, 0, 0)
        assert answer.residual == 255 - 36
    for where in (lun(1), lun(200), bytes((2, 0)) + bytes(6), bytes(8)):
        answer = ask(hba, INQUIRY, where, room=36)
        assert (answer.response, answer.residual) == (3, 36)
    assert ask(hba, INQUIRY, lun(0, 9), room=36).data[0] == 0x7F
    assert ask(hba, INQUIRY, lun(0)[:4] + b"\1\0\0\0", room=36).data[0] == 0x7F


def test_reading_and_writing(hba: Driver) -> None:
    assert ask(hba, read_10(4, 2), lun(0), room=1024).data == CONTENT[2048:3072]
    write = struct.pack(">BBIBHB", 0x2A, 0, 9, 0, 1, 0)
    answer = ask(hba, write, lun(5), (b"x" * 200, b"y" * 312))
    assert (answer.response, answer.status, answer.residual) == (0, 0, 0)
    assert ask(hba, read_10(9, 1), lun(5), room=512).data == b"x" * 200 + b"y" * 312
    assert ask(hba, read_10(9, 1), lun(0), room=512).data == CONTENT[9 * 512 : 10 * 512]


def test_lengths_that_differ(hba: Driver) -> None:
    more = ask(hba, read_10(0, 1), lun(0), room=1024)
    assert (more.response, more.residual) == (0, 512)
    less = ask(hba, read_10(0, 2), lun(0), room=512)
    assert (less.response, less.residual) == (1, 0)


def test_sense_data_come_along(hba: Driver) -> None:
    answer = ask(hba, read_10(99, 1), lun(0), room=512)
    assert (answer.response, answer.status, answer.residual) == (0, 2, 512)
    assert (answer.sense[0] & 0x7F, answer.sense[2] & 15, answer.sense[12]) == (0x70, 5, 0x21)


def test_sizes_that_the_driver_sets(hba: Driver) -> None:
    assert hba.structures is not None
    for offset, value in ((Config.SENSE_SIZE, 18), (Config.CDB_SIZE, 16), (Config.SENSE_SIZE, 253), (0, 9)):
        hba.structures.write(0x2000 + offset, 4, value)
    assert [hba.config(at, 4) for at in (0, Config.SENSE_SIZE, Config.CDB_SIZE)] == [1, 18, 16]
    written, length = hba.ask(REQUEST, (request(INQUIRY, lun(0))[: 19 + 16],), (30 + 36,))
    assert (length, written[30]) == (66, 0)
    hba.put_status(0)
    assert hba.config(Config.CDB_SIZE, 4) == 32


@pytest.mark.parametrize(("read", "write"), [(50, RESPONSE), (51, RESPONSE - 1), (51, 0)])
def test_a_request_that_is_too_short_breaks_the_device(hba: Driver, read: int, write: int) -> None:
    hba.add(REQUEST, (request(INQUIRY, lun(0))[:read],), (write,) if write else ())
    hba.kick(REQUEST)
    assert hba.status.needs_reset


def test_data_beyond_what_a_command_may_move(hba: Driver) -> None:
    head, into = hba.buffer(request(INQUIRY, lun(0))), hba.buffer(RESPONSE)
    hba.offer(REQUEST, hba.describe(REQUEST, (*head, 0), (*into, 2), (0, 0xFFFF_FFFF, 2)))
    hba.kick(REQUEST)
    assert len(hba.take(REQUEST)) == 1
    assert hba.wires.ram[into[0] + 11] == 9  # FAILURE


def manage(hba: Driver, function: int, where: bytes, tag: int = 7) -> int:
    return hba.ask(CONTROL, (struct.pack("<II8sQ", 0, function, where, tag),), (1,))[0][0]


@pytest.mark.parametrize("function", range(9))
def test_task_management_of_idle_units(hba: Driver, function: int) -> None:
    known = function not in (2, 8)
    assert manage(hba, function, lun(0)) == (0 if known else 11)
    assert manage(hba, function, lun(99)) == 3
    assert manage(hba, function, lun(0, 99)) == (0 if function == 4 else 12)


def test_other_control_requests(hba: Driver) -> None:
    subscribe = struct.pack("<I8sI", 2, lun(0), 2)
    assert hba.ask(CONTROL, (subscribe,), (5,))[0] == bytes(5)
    assert hba.ask(CONTROL, (subscribe[:15],), (5,))[0][4] == 3
    assert hba.ask(CONTROL, (struct.pack("<I", 77),), (1,))[0] == b"\x0b"
    assert hba.ask(CONTROL, (b"",), (1,))[0] == b"\x0b"
    hba.add(CONTROL, (subscribe,))
    hba.kick(CONTROL)
    assert hba.status.needs_reset


class Slow:
    """A target whose second and later commands have to wait."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.events = EventLoop(self.clock)
        disk = RateLimit(FileDisk.in_memory(content=CONTENT), 512, 512, self.clock, smallest=1)
        self.hba = Driver(VirtioScsi({0: {0: DiskUnit(disk)}, 1: {0: unit()}}, self.events.after)).start()
        ask(self.hba, read_10(0, 1), lun(0), room=512)
        self.into = self.hba.add(REQUEST, (request(read_10(1, 1), lun(0), tag=5),), (RESPONSE, 512))
        self.hba.kick(REQUEST)
        assert self.hba.take(REQUEST) == []

    def answer(self) -> Answer:
        assert len(self.hba.take(REQUEST)) == 1
        return Answer(b"".join(bytes(self.hba.wires.ram[at : at + size]) for at, size in self.into))

    def later(self) -> None:
        self.clock.advance(10**10)
        self.events.poll()


def test_a_command_that_waits() -> None:
    slow = Slow()
    assert [manage(slow.hba, 6, lun(0), tag) for tag in (5, 6)] == [10, 0]
    assert manage(slow.hba, 7, lun(0), 0) == 10
    assert manage(slow.hba, 7, lun(1), 0) == 0
    slow.later()
    assert slow.answer().data == CONTENT[512:1024]


@pytest.mark.parametrize(("function", "response"), [(0, 2), (1, 2), (3, 2), (4, 4), (5, 4)])
def test_a_command_that_is_ended(function: int, response: int) -> None:
    slow = Slow()
    assert manage(slow.hba, 0, lun(0), 6) == 0  # another
    assert slow.hba.take(REQUEST) == []
    assert manage(slow.hba, function, lun(0), 5) == 0
    assert slow.answer().response == response
    slow.later()
    assert slow.hba.take(REQUEST) == []


def test_a_reset_ends_what_waits() -> None:
    slow = Slow()
    slow.hba.put_status(0)
    before = bytes(slow.hba.wires.ram)
    slow.later()
    assert bytes(slow.hba.wires.ram) == before


def test_a_target_that_comes_and_goes(hba: Driver) -> None:
    device = hba.device
    assert isinstance(device, VirtioScsi)
    into = [hba.add(EVENT, (), (16,))[0][0] for _ in range(2)]
    device.plug(9, {0: unit()})
    device.unplug(9)
    assert len(hba.take(EVENT)) == 2
    seen = [struct.unpack_from("<I8sI", hba.wires.ram, at) for at in into]
    assert seen == [(1, bytes((1, 9)) + bytes(6), 1), (1, bytes((1, 9)) + bytes(6), 2)]
    assert ask(hba, INQUIRY, lun(9), room=36).response == 3


def test_events_that_were_missed(hba: Driver) -> None:
    device = hba.device
    assert isinstance(device, VirtioScsi)
    before = len(json.dumps(device.state()))
    for _ in range(1000):
        device.plug(9, {})
    assert len(json.dumps(device.state())) <= before
    ((at, _),) = hba.add(EVENT, (), (16,))
    hba.kick(EVENT)
    assert hba.take(EVENT) == [(0, 16)]
    assert struct.unpack_from("<I", hba.wires.ram, at) == (0x8000_0000,)
    ((at, _),) = hba.add(EVENT, (), (16,))
    hba.kick(EVENT)
    assert hba.take(EVENT) == []


def test_without_hotplug_there_are_no_events() -> None:
    device = VirtioScsi({}, loop.after)
    hba = Driver(device).start()
    hba.add(EVENT, (), (16,))
    device.plug(1, {})
    assert hba.take(EVENT) == []


def test_saved_and_restored(hba: Driver) -> None:
    saved = json.loads(json.dumps(hba.device.state()))
    other = VirtioScsi({}, loop.after)
    other.restore(saved)
    assert other.state() == saved
    for broken in ({"sizes": [1]}, {"sizes": [253, 32]}):
        with pytest.raises((ValueError, TypeError)):
            other.restore(saved | broken)


class TestConsole:
    @pytest.fixture
    def sent(self) -> bytearray:
        return bytearray()

    @pytest.fixture
    def console(self, sent: bytearray) -> Driver:
        return Driver(VirtioConsole(sent.extend, loop.after)).start(size=4)

    def test_bytes_go_out(self, console: Driver, sent: bytearray) -> None:
        assert console.ask(1, (b"hel", b"lo\n")) == (b"", 0)
        assert sent == b"hello\n"

    def test_bytes_come_in(self, console: Driver) -> None:
        device = console.device
        assert isinstance(device, VirtioConsole)
        into = console.add(0, (), (3,)) + console.add(0, (), (1, 5))
        device.receive(b"abcdefghijkl")
        assert console.take(0) == [(0, 3), (1, 6)]
        assert b"".join(bytes(console.wires.ram[at : at + size]) for at, size in into) == b"abcdefghi"
        ((at, _),) = console.add(0, (), (9,))
        console.kick(0)
        assert console.take(0) == [(3, 3)]
        assert console.wires.ram[at : at + 3] == b"jkl"

    def test_what_waits_is_bounded_and_saved(self, console: Driver) -> None:
        device = console.device
        assert isinstance(device, VirtioConsole)
        device.receive(bytes(LONGEST - 2))
        device.receive(b"abc")
        assert device.room == 0
        state = json.loads(json.dumps(device.state()))
        other = VirtioConsole(lambda data: None, loop.after)
        other.restore(state)
        assert other.state() == state
        with pytest.raises(ValueError, match="bytes wait"):
            other.restore(state | {"waiting": "00" * (LONGEST + 1)})
