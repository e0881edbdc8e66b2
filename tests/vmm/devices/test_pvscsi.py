"""PVSCSI against a driver of a few lines: commands, rings, every way in which a request can end, interrupts."""

from __future__ import annotations

import json
import struct

import pytest

from tests.vmm.pci.wires import Wires
from virtproof.spec import pvscsi
from virtproof.spec.pvscsi import Command, Completion, Flags, Request, SetupRings
from virtproof.vmm.devices.pvscsi.adapter import BYTES_AT_ONCE, PvScsi
from virtproof.vmm.devices.pvscsi.execution import LARGEST_LIST
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.rate import RateLimit
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.scsi.block import DiskUnit

STATE, REQUESTS, COMPLETIONS, SENSE, LIST, BUFFER = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x10000
RAM = 1 << 20
READ, WRITE = bytes.fromhex("28 00 00000002 00 0002 00"), bytes.fromhex("2a 00 00000002 00 0002 00")
READY, BAD_LBA = bytes(6), bytes.fromhex("28 00 ffffffff 00 0001 00")
IN, OUT, SG = Flags.TO_HOST, Flags.TO_DEVICE, Flags.SG_LIST
KICK = pvscsi.KICK_RW_IO


class Driver:
    """Rings of one page each, and a disk at target 0; target 1 has a disk of one block a second."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = EventLoop(self.clock)
        self.disk = FileDisk.in_memory(1024, bytes(range(256)) * 32)
        slow = RateLimit(FileDisk.in_memory(1024), 4096, 1, self.clock, smallest=1)
        self.targets = {0: {0: DiskUnit(self.disk)}, 1: {0: DiskUnit(slow)}}
        self.device = PvScsi(self.targets, self.loop.after)
        self.wires = Wires(RAM)
        self.wires.connect(self.device.function)
        self.produced = self.read = 0

    def command(self, command: int, data: bytes = b"") -> int:
        self.device.write(pvscsi.COMMAND, 4, command)
        for (dword,) in struct.iter_unpack("<I", data):
            self.device.write(pvscsi.COMMAND_DATA, 4, dword)
        return self.status

    @property
    def status(self) -> int:
        return self.device.read(pvscsi.COMMAND_STATUS, 4)

    @property
    def pending(self) -> int:
        return self.device.read(pvscsi.INTR_STATUS, 4)

    def set_up(
        self, requests: tuple[int, ...] = (REQUESTS >> 12,), completions: tuple[int, ...] = (COMPLETIONS >> 12,)
    ) -> int:
        self.produced = self.read = 0
        setup = SetupRings(len(requests), len(completions), STATE >> 12, requests, completions)
        return self.command(Command.SETUP_RINGS, setup.pack())

    def ring(self) -> tuple[int, ...]:
        return pvscsi.RINGS_STATE.unpack_from(self.wires.ram, STATE)

    def put(self, cdb: bytes, length: int = 0, flags: int = 0, **more: int | bytes) -> None:
        fields = {
            "context": 7,
            "data": BUFFER,
            "sense": SENSE,
            "sense_length": 18,
            "cdb_length": len(cdb),
            "lun": bytes(8),
        }
        request = Request(**(fields | {"length": length, "flags": flags, "cdb": cdb} | more))  # type: ignore[arg-type]
        at = REQUESTS + self.produced % 32 * 128
        self.wires.ram[at : at + 128] = request.pack()
        self.produced += 1
        struct.pack_into("<I", self.wires.ram, STATE + pvscsi.REQ_PROD, self.produced & 0xFFFFFFFF)

    def kick(self) -> None:
        self.device.write(KICK, 4, 0)

    def completions(self) -> list[Completion]:
        """Those that were not read yet."""
        found = []
        while self.read != self.ring()[3]:
            found.append(Completion.unpack(self.wires.ram[COMPLETIONS + self.read % 128 * 32 :][:32]))
            self.read += 1
            struct.pack_into("<I", self.wires.ram, STATE + pvscsi.CMP_CONS, self.read)
        return found

    def do(self, cdb: bytes, length: int = 0, flags: int = 0, **more: int | bytes) -> tuple[int, int, int]:
        """Host status, SCSI status and length of the one completion."""
        self.put(cdb, length, flags, **more)
        self.kick()
        self.loop.poll()
        (done,) = self.completions()
        return done.host_status, done.scsi_status, done.length


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    assert driver.set_up() == 0
    return driver


def test_identity() -> None:
    config = PvScsi({}, EventLoop().after).function.read_config
    assert (config(0, 4), config(8, 4), config(0x2C, 4), config(0x3D, 1)) == (0x07C015AD, 0x01000002, 0x07C015AD, 1)


def test_commands_tell_what_they_wait_for() -> None:
    driver = Driver()
    assert driver.status == 0
    assert driver.command(Command.SETUP_RINGS) == pvscsi.NOT_ENOUGH_DATA
    for unknown in (0, 2, 7, 8, 9, 10, 15, 0xFFFFFFFF):
        assert driver.command(unknown) == pvscsi.FAILED
    assert driver.command(Command.ADAPTER_RESET) == 0


def test_a_new_command_discards_the_data_of_the_last() -> None:
    driver = Driver()
    assert driver.command(Command.SETUP_RINGS, bytes(20)) == pvscsi.NOT_ENOUGH_DATA
    assert driver.command(Command.RESET_DEVICE, b"\0" * 8) == pvscsi.NOT_ENOUGH_DATA
    assert driver.command(Command.RESET_DEVICE, b"\0" * 12) == 0
    driver.device.write(pvscsi.COMMAND_DATA, 4, 5)  # no command wants it
    assert driver.status == 0


@pytest.mark.parametrize(("pages", "logs"), [((1, 1), (5, 7)), ((8, 8), (8, 10)), ((32, 1), (10, 7))])
def test_setup_writes_the_ring_state(pages: tuple[int, int], logs: tuple[int, int]) -> None:
    driver = Driver()
    driver.wires.ram[STATE : STATE + 64] = b"\xaa" * 64
    assert driver.set_up(tuple(range(16, 16 + pages[0])), tuple(range(64, 64 + pages[1]))) == 0
    assert driver.ring() == (0, 0, logs[0], 0, 0, logs[1])
    assert driver.wires.ram[STATE + 24 : STATE + 64] == b"\xaa" * 40


@pytest.mark.parametrize("counts", [(0, 1), (1, 0), (33, 1), (1, 0xFFFFFFFF), (3, 1), (1, 3)])
def test_setup_with_impossible_pages_fails(driver: Driver, counts: tuple[int, int]) -> None:
    setup = SetupRings(*counts, STATE >> 12, (2,), (3,))
    assert driver.command(Command.SETUP_RINGS, setup.pack()) == pvscsi.FAILED
    driver.put(READY)
    driver.kick()
    assert driver.ring()[1] == 0


@pytest.mark.parametrize("page", [RAM >> 12, 1 << 40, 1 << 52, (1 << 64) - 1])
def test_setup_outside_memory_fails_or_does_nothing(driver: Driver, page: int) -> None:
    before = bytes(driver.wires.ram)
    assert driver.command(Command.SETUP_RINGS, SetupRings(1, 1, page, (2,), (3,)).pack()) == pvscsi.FAILED
    assert driver.wires.ram == before
    driver.command(Command.SETUP_RINGS, SetupRings(1, 1, 1, (page,), (3,)).pack())
    driver.put(READY)
    driver.kick()
    assert driver.ring()[1] == driver.ring()[3] == 0


def test_pages_need_not_follow_each_other() -> None:
    driver = Driver()
    assert driver.set_up((9, 7)) == 0
    driver.produced = 32
    for n in range(32):
        at = 9 * 4096 + n * 128
        driver.wires.ram[at : at + 128] = Request(n, 0, 0, 0, 0, 0, READY, 6, bytes(8)).pack()
    driver.wires.ram[7 * 4096 : 7 * 4096 + 128] = Request(99, 0, 0, 0, 0, 0, READY, 6, bytes(8)).pack()
    struct.pack_into("<I", driver.wires.ram, STATE, 33)
    driver.kick()
    assert [done.context for done in driver.completions()] == [*range(32), 99]


def test_read_and_write(driver: Driver) -> None:
    assert driver.do(READ, 1024, IN) == (0, 0, 1024)
    assert driver.wires.ram[BUFFER : BUFFER + 1024] == driver.disk.read(2, 2)
    driver.wires.ram[BUFFER : BUFFER + 1024] = b"w" * 1024
    assert driver.do(WRITE, 1024, OUT) == (0, 0, 1024)
    assert driver.disk.read(1, 4) == bytes(range(256)) * 2 + b"w" * 1024 + bytes(range(256)) * 2


def test_several_requests_are_one_batch(driver: Driver) -> None:
    driver.device.write(pvscsi.INTR_MASK, 4, 0xF)
    for context in (0x1122334455667788, 2, 3):
        driver.put(READY, context=context)
    driver.kick()
    assert driver.ring()[:2] == (3, 3)
    assert [done.context for done in driver.completions()] == [0x1122334455667788, 2, 3]
    assert driver.wires.lines == [True]
    driver.kick()
    assert driver.completions() == []


def test_indices_are_free_running(driver: Driver) -> None:
    for n in range(100):
        assert driver.do(READY, context=n) == (0, 0, 0)
    assert driver.ring()[:2] == (100, 100)
    rings = driver.device._rings
    assert rings is not None
    rings.consumed = rings.produced = driver.produced = 0xFFFFFFF0
    driver.read = 0xFFFFFFF0
    struct.pack_into("<I", driver.wires.ram, STATE + pvscsi.CMP_CONS, 0xFFFFFFF0)
    for n in range(32):
        driver.put(READY, context=n)
    driver.kick()
    assert (rings.consumed, rings.produced) == (16, 16)


def test_sense(driver: Driver) -> None:
    assert driver.do(BAD_LBA, 512, IN) == (0, 2, 0)
    assert driver.wires.ram[SENSE : SENSE + 18] == bytes.fromhex(
        "70 00 05 00 00 00 00 0a 00 00 00 00 21 00 00 00 00 00"
    )
    driver.wires.ram[SENSE : SENSE + 18] = bytes(18)
    assert driver.do(BAD_LBA, 512, IN, sense_length=0) == (0, 2, 0)
    assert driver.do(BAD_LBA, 512, IN, sense=RAM, sense_length=0xFFFFFFFF) == (0, 2, 0)
    assert driver.wires.ram[SENSE : SENSE + 18] == bytes(18)
    assert driver.do(BAD_LBA, 512, IN, sense_length=4) == (0, 2, 0)
    assert driver.wires.ram[SENSE : SENSE + 18] == bytes.fromhex("70000500") + bytes(14)


def test_sense_length_is_what_was_written(driver: Driver) -> None:
    for length, written in ((0, 0), (4, 4), (96, 18)):
        driver.put(BAD_LBA, 512, IN, sense_length=length)
        driver.kick()
        assert driver.completions()[0].sense_length == written


@pytest.mark.parametrize(
    "where", [{"target": 9}, {"target": 64}, {"bus": 1}, {"lun": b"\1" + bytes(7)}, {"lun": b"\0\0\0\0\0\0\0\1"}]
)
def test_nobody_there(driver: Driver, where: dict[str, int | bytes]) -> None:
    assert driver.do(READY, **where)[0] == pvscsi.HostStatus.SELECTION_TIMEOUT


def test_a_lun_that_the_target_does_not_have(driver: Driver) -> None:
    assert driver.do(bytes.fromhex("12 00 00 00 24 00"), 36, IN, lun=b"\0\3" + bytes(6)) == (0, 0, 36)
    assert driver.wires.ram[BUFFER] == 0x7F


def test_less_and_more_data_than_there_is_room(driver: Driver) -> None:
    inquiry = bytes.fromhex("12 00 00 00 ff 00")
    assert driver.do(inquiry, 255, IN) == (0x0C, 0, 36)
    assert driver.wires.ram[BUFFER + 8 : BUFFER + 14] == b"VPROOF"
    driver.wires.ram[BUFFER : BUFFER + 1024] = b"\xee" * 1024
    assert driver.do(READ, 512, IN) == (0x12, 0, 512)
    assert driver.wires.ram[BUFFER + 512 : BUFFER + 1024] == b"\xee" * 512
    before = driver.disk.read(0, 16)
    assert driver.do(WRITE, 512, OUT) == (0x12, 0, 0)
    assert driver.disk.read(0, 16) == before


@pytest.mark.parametrize("flags", [0, Flags.NO_DATA, IN, OUT])
def test_no_data_in_any_direction(driver: Driver, flags: int) -> None:
    assert driver.do(READY, 0, flags) == (0, 0, 0)


@pytest.mark.parametrize(("cdb", "flags"), [(READ, OUT), (WRITE, IN), (READ, IN | OUT), (READY, IN | OUT)])
def test_directions_that_conflict(driver: Driver, cdb: bytes, flags: int) -> None:
    before = driver.disk.read(0, 16)
    assert driver.do(cdb, 1024, flags)[0] == pvscsi.HostStatus.BAD_MESSAGE
    assert driver.disk.read(0, 16) == before


@pytest.mark.parametrize(
    "more", [{"length": 1 << 63}, {"length": (16 << 20) + 1}, {"flags": IN | 2}, {"cdb_length": 17}]
)
def test_requests_that_are_refused(driver: Driver, more: dict[str, int]) -> None:
    fields = {"length": 1024, "flags": int(IN)} | more
    assert driver.do(READ, **fields)[0] == pvscsi.HostStatus.SOFTWARE


@pytest.mark.parametrize("flags", [IN, OUT, IN | SG])
def test_data_outside_memory(driver: Driver, flags: int) -> None:
    cdb = WRITE if flags & OUT else READ
    at = RAM if flags & SG else RAM - 512
    assert driver.do(cdb, 1024, flags, data=at)[0] == pvscsi.HostStatus.HARDWARE


def elements(driver: Driver, at: int, *rows: tuple[int, int, int]) -> None:
    raw = b"".join(pvscsi.ELEMENT.pack(*row) for row in rows)
    driver.wires.ram[at : at + len(raw)] = raw


def test_scatter_and_gather(driver: Driver) -> None:
    elements(driver, LIST, (BUFFER, 512, 0), (BUFFER + 0x1000, 100, 0), (LIST + 0x800, 0, 1))
    elements(driver, LIST + 0x800, (BUFFER + 0x2000, 0x10000, 0))
    assert driver.do(READ, 1024, IN | SG, data=LIST) == (0, 0, 1024)
    got = [driver.wires.ram[at : at + n] for at, n in ((BUFFER, 512), (BUFFER + 0x1000, 100), (BUFFER + 0x2000, 412))]
    assert b"".join(got) == driver.disk.read(2, 2)
    assert driver.wires.ram[BUFFER + 0x2000 + 412] == 0
    assert driver.do(WRITE, 1024, OUT | SG, data=LIST) == (0, 0, 1024)


def test_a_list_at_the_end_of_memory(driver: Driver) -> None:
    elements(driver, RAM - 16, (BUFFER, 1024, 0))
    assert driver.do(READ, 1024, IN | SG, data=RAM - 16) == (0, 0, 1024)


def test_a_list_with_too_little(driver: Driver) -> None:
    elements(driver, LIST, (BUFFER, 512, 0), (0, 0, 0))
    assert driver.do(READ, 1024, IN | SG, data=LIST) == (0x12, 0, 512)
    assert driver.do(READY, 1024, IN | SG, data=LIST) == (0x0C, 0, 0)


def test_lists_without_an_end(driver: Driver) -> None:
    elements(driver, LIST, (LIST, 0, 1))
    assert driver.do(READ, 1024, IN | SG, data=LIST)[0] == pvscsi.HostStatus.SOFTWARE
    elements(driver, LIST, (BUFFER, 1, 0), (LIST, 0, 1))
    assert driver.do(READ, LARGEST_LIST, IN | SG, data=LIST)[0] == pvscsi.HostStatus.SOFTWARE
    elements(driver, LIST, (0, 0, 0))
    assert driver.do(READ, 1024, IN | SG, data=LIST)[0] == pvscsi.HostStatus.SOFTWARE


def test_interrupts_by_the_pin(driver: Driver) -> None:
    driver.do(READY)
    assert (driver.pending, driver.wires.line) == (1, False)
    driver.device.write(pvscsi.INTR_MASK, 4, 0xFFFFFFFF)
    assert (driver.device.read(pvscsi.INTR_MASK, 4), driver.wires.line) == (0xF, True)
    driver.device.write(pvscsi.INTR_STATUS, 4, 2)
    assert (driver.pending, driver.wires.line) == (1, True)
    driver.device.write(pvscsi.INTR_STATUS, 4, 3)
    assert (driver.pending, driver.wires.line) == (0, False)


def test_a_message_for_each_batch(driver: Driver) -> None:
    config = driver.device.function.write_config
    config(0x7C + 4, 4, 0xFEE00000)
    config(0x7C + 0xC, 2, 0x41)
    config(0x7C + 2, 2, 1)
    driver.do(READY)
    assert driver.wires.messages == []
    driver.device.write(pvscsi.INTR_MASK, 4, 1)
    driver.device.write(pvscsi.INTR_STATUS, 4, 1)
    driver.wires.messages.clear()
    for _ in range(2):  # the driver of Linux leaves INTR_STATUS alone then
        driver.put(READY)
        driver.put(READY)
        driver.kick()
    assert driver.wires.messages == [(0xFEE00000, 0x41)] * 2
    assert not driver.wires.line


def test_a_kick_does_a_bounded_amount(driver: Driver) -> None:
    most = BYTES_AT_ONCE // 65536
    cdb = bytes.fromhex("28 00 00000000 00 0080 00")
    for n in range(32):
        driver.put(cdb, BYTES_AT_ONCE // 4, IN, context=n)
    driver.kick()
    assert driver.ring()[1] == 4 < most
    for _ in range(8):
        driver.loop.poll()
    assert driver.ring()[1] == 32


def test_the_producer_jumps(driver: Driver) -> None:
    struct.pack_into("<I", driver.wires.ram, STATE, 1 << 31)
    driver.kick()
    driver.loop.poll()
    assert driver.ring()[1] == driver.ring()[3] == 0


def test_the_guest_changes_what_is_the_device_s(driver: Driver) -> None:
    driver.do(READY)
    struct.pack_into("<I", driver.wires.ram, STATE + pvscsi.REQ_CONS, 0x1234)
    struct.pack_into("<I", driver.wires.ram, STATE + pvscsi.CMP_PROD, 0x1234)
    for at in (pvscsi.REQ_LOG2, pvscsi.CMP_LOG2):
        struct.pack_into("<I", driver.wires.ram, STATE + at, 31)
    driver.put(READY, context=5)
    driver.kick()
    assert (driver.ring()[1], driver.ring()[3]) == (2, 2)
    assert [done.context for done in driver.completions()] == [5]


def test_a_full_completion_ring_holds_requests_back(driver: Driver) -> None:
    for n in range(160):
        driver.put(READY, context=n)
        driver.kick()
    assert (driver.ring()[1], driver.ring()[3]) == (128, 128)
    assert [done.context for done in driver.completions()] == list(range(128))
    driver.kick()
    assert [done.context for done in driver.completions()] == list(range(128, 160))


def test_a_request_waits_for_its_disk(driver: Driver) -> None:
    for n in range(3):
        driver.put(READ, 4096, IN, target=1, context=n)
    driver.put(READY, context=9)
    driver.kick()
    assert [done.context for done in driver.completions()] == [9]
    for n in range(3):
        driver.clock.advance(1_000_000_000)
        driver.loop.poll()
        assert [done.context for done in driver.completions()] == [n]


@pytest.fixture
def waiting(driver: Driver) -> Driver:
    """Requests 1 and 2 wait for target 1."""
    for n in (1, 2):
        driver.put(READ, 4096, IN, target=1, context=n)
    driver.kick()
    assert driver.completions() == []
    return driver


def later(driver: Driver) -> list[tuple[int, int]]:
    driver.clock.advance(10_000_000_000)
    driver.loop.poll()
    return [(done.context, done.host_status) for done in driver.completions()]


def test_abort(waiting: Driver) -> None:
    assert waiting.command(Command.ABORT_CMD, struct.pack("<QII", 2, 1, 0)) == 0
    assert [(done.context, done.host_status) for done in waiting.completions()] == [(2, 0x26)]
    assert waiting.command(Command.ABORT_CMD, struct.pack("<QII", 77, 1, 0)) == 0
    assert later(waiting) == [(1, 0x0C)]


def test_reset_bus(waiting: Driver) -> None:
    assert waiting.command(Command.RESET_BUS) == 0
    assert [(done.context, done.host_status) for done in waiting.completions()] == [(1, 0x25), (2, 0x25)]
    assert later(waiting) == []


def test_reset_device(waiting: Driver) -> None:
    assert waiting.command(Command.RESET_DEVICE, struct.pack("<I8x", 5)) == pvscsi.FAILED
    assert waiting.command(Command.RESET_DEVICE, struct.pack("<I8x", 0)) == 0
    assert waiting.completions() == []
    assert waiting.command(Command.RESET_DEVICE, struct.pack("<I8x", 1)) == 0
    assert [(done.context, done.host_status) for done in waiting.completions()] == [(1, 0x25), (2, 0x25)]


@pytest.mark.parametrize("how", ["adapter", "bus", "setup"])
def test_nothing_comes_after_a_reset(waiting: Driver, how: str) -> None:
    match how:
        case "adapter":
            assert waiting.command(Command.ADAPTER_RESET) == 0
        case "bus":
            waiting.device.function.reset()
            waiting.device.reset()
        case "setup":
            waiting.set_up()
    before = bytes(waiting.wires.ram)
    waiting.clock.advance(10_000_000_000)
    waiting.loop.poll()
    if how != "setup":
        waiting.kick()
    assert waiting.wires.ram == before
    assert not waiting.loop.waiting


def test_kick_without_rings() -> None:
    driver = Driver()
    driver.put(READY)
    driver.kick()
    assert driver.ring()[1:] == (0, 0, 0, 0, 0)


def test_without_bus_mastering_nothing_happens(driver: Driver) -> None:
    driver.put(READY)
    driver.device.function.write_config(4, 2, 2)
    before = bytes(driver.wires.ram)
    driver.kick()
    assert driver.wires.ram == before


def test_state_goes_to_another_adapter(waiting: Driver) -> None:
    waiting.device.write(pvscsi.INTR_MASK, 4, 1)
    waiting.command(Command.RESET_DEVICE, b"\1\0\0\0")
    state = json.loads(json.dumps(waiting.device.state()))
    other = Driver()
    other.wires.ram[:] = waiting.wires.ram
    other.device.restore(state)
    assert other.device.state() == waiting.device.state()
    other.produced = waiting.produced
    for _ in range(2):
        other.device.write(pvscsi.COMMAND_DATA, 4, 0)
    assert other.status == 0
    assert [done.context for done in other.completions()] == [1, 2]
    assert other.wires.line
    assert other.do(READ, 1024, IN) == (0, 0, 1024)


def test_a_state_that_cannot_be_is_refused(driver: Driver) -> None:
    good = driver.device.state()
    rings = good["rings"]
    bad: list[dict[str, object]] = [
        {"rings": rings | {"requests": [1, 2, 3]}},
        {"rings": rings | {"completions": []}},
        {"waiting": ["00"]},
        {"waiting": ["00" * 128] * 129},
        {"rings": None, "waiting": ["00" * 128]},
        {"command": [3]},
        {"interrupts": ["x", 0]},
    ]
    for change in bad:
        with pytest.raises((ValueError, TypeError, KeyError)):
            driver.device.restore(good | change)
    assert driver.do(READY) == (0, 0, 0)


def test_registers_of_other_sizes_and_places(driver: Driver) -> None:
    driver.device.write(pvscsi.INTR_MASK, 4, 5)
    assert [driver.device.read(pvscsi.INTR_MASK + n, 1) for n in range(4)] == [5, 0, 0, 0]
    driver.device.write(pvscsi.INTR_MASK, 1, 0xF)
    assert driver.device.read(pvscsi.INTR_MASK, 2) == 5
    assert driver.device.read(0x7FFC, 4) == driver.device.read(pvscsi.COMMAND, 4) == 0
