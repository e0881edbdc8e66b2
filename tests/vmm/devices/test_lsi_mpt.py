"""Fusion-MPT against a driver of a few lines: handshake, FIFOs, every way in which a request can end, resets."""

from __future__ import annotations

import json
import struct

import pytest

from tests.vmm.pci.wires import Wires
from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import Function, IocState, IocStatus, PageType, ScsiIo, TaskMgmt, TaskType
from virtproof.vmm.devices.lsi_mpt import LsiMpt
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.rate import RateLimit
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.scsi.block import DiskUnit

FRAME, FREE, SENSE, CHAIN, PAGE, BUFFER = 0x1000, 0x2000, 0x4000, 0x5000, 0x6000, 0x10000
RAM = 1 << 20
READ, WRITE = bytes.fromhex("28 00 00000002 00 0002 00"), bytes.fromhex("2a 00 00000002 00 0002 00")
READY, BAD_LBA = bytes(6), bytes.fromhex("28 00 ffffffff 00 0001 00")
CONTEXT = 0x1234567
END = 0xD100_0000


def simple(address: int, length: int, flags: int = END) -> bytes:
    return struct.pack("<II", flags | length, address)


class Driver:
    """Target 0 has a disk, target 1 one of a block a second."""

    def __init__(self, model: str = "53c1030") -> None:
        self.clock = ManualClock()
        self.loop = EventLoop(self.clock)
        self.disk = FileDisk.in_memory(1024, bytes(range(256)) * 32)
        slow = RateLimit(FileDisk.in_memory(1024), 4096, 1, self.clock, smallest=1)
        self.targets = {0: {0: DiskUnit(self.disk)}, 1: {0: DiskUnit(slow)}}
        self.device = LsiMpt(self.targets, self.loop.after, model=model)
        self.wires = Wires(RAM)
        self.wires.connect(self.device.function)

    def get(self, offset: int) -> int:
        return self.device.read(offset, 4)

    def put(self, offset: int, value: int) -> None:
        self.device.write(offset, 4, value)

    @property
    def state(self) -> int:
        return self.get(mpt.DOORBELL) >> 28

    @property
    def fault(self) -> int:
        assert self.state == IocState.FAULT
        return self.get(mpt.DOORBELL) & 0xFFFF

    def begin(self, request: bytes) -> None:
        self.put(mpt.DOORBELL, Function.HANDSHAKE << 24 | len(request) // 4 << 16)
        self.put(mpt.HOST_INTERRUPT_STATUS, 0)
        for (dword,) in struct.iter_unpack("<I", request):
            self.put(mpt.DOORBELL, dword)

    def handshake(self, request: bytes) -> bytes:
        """As Linux does it: each halfword is waited for and acknowledged, and the end too."""
        self.begin(request)
        reply = b""
        while True:
            assert self.get(mpt.HOST_INTERRUPT_STATUS) & 1
            reply += (self.get(mpt.DOORBELL) & 0xFFFF).to_bytes(2, "little")
            self.put(mpt.HOST_INTERRUPT_STATUS, 0)
            if len(reply) > 2 and len(reply) == 4 * reply[2]:
                break
        assert self.get(mpt.HOST_INTERRUPT_STATUS) & 1
        self.put(mpt.HOST_INTERRUPT_STATUS, 0)
        assert self.get(mpt.HOST_INTERRUPT_STATUS) & 1 == 0
        return reply

    def start(self, reply_size: int = 128, frames: int = 8, mfa_high: int = 0, sense_high: int = 0) -> None:
        request = mpt._IOC_INIT.pack(2, 0, Function.IOC_INIT, 0, 16, 1, 0, CONTEXT, reply_size, mfa_high, sense_high)
        assert self.handshake(request)[14:16] == b"\0\0"
        for n in range(frames):
            self.put(mpt.REPLY_QUEUE, FREE + 128 * n)

    def post(self, frame: bytes, at: int = FRAME) -> None:
        self.wires.ram[at : at + 128] = frame.ljust(128, b"\0")
        self.put(mpt.REQUEST_QUEUE, at)

    def frame(self, cdb: bytes, length: int = 0, sgl: bytes = b"", **more: int | bytes) -> bytes:
        control = 0 if not length else mpt.WRITE_CONTROL if cdb[0] in (0x2A, 0x15) else mpt.READ_CONTROL
        fields: dict[str, int | bytes] = {
            "target": 0, "bus": 0, "chain_offset": 0, "function": 0, "cdb_length": len(cdb), "sense_length": 18,
            "msg_flags": 0, "context": CONTEXT, "lun": bytes(8), "control": control, "cdb": cdb.ljust(16, b"\0"),
            "length": length, "sense": SENSE,
        }  # fmt: skip
        return ScsiIo(**(fields | more)).pack() + (sgl or simple(BUFFER, length))  # type: ignore[arg-type]

    def replies(self) -> list[int | tuple[int, ...]]:
        """Contexts, and the fields of address replies."""
        found: list[int | tuple[int, ...]] = []
        while (reply := self.get(mpt.REPLY_QUEUE)) != mpt.EMPTY:
            if reply & mpt.ADDRESS_REPLY:
                at = (reply & 0x7FFFFFFF) << 1
                found.append(mpt.SCSI_IO_REPLY.unpack_from(self.wires.ram, at))
                self.put(mpt.REPLY_QUEUE, at)
            else:
                found.append(reply)
        return found

    def do(self, cdb: bytes, length: int = 0, sgl: bytes = b"", **more: int | bytes) -> tuple[int, int, int, int] | int:
        """The context, or IOC status, SCSI status, SCSI state and bytes transferred."""
        self.post(self.frame(cdb, length, sgl, **more))
        self.loop.poll()
        (reply,) = self.replies()
        return reply if isinstance(reply, int) else (reply[10], reply[8], reply[9], reply[12])


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    driver.start()
    return driver


def test_identities() -> None:
    for model, ids, revision, subsystem in (
        ("53c1030", 0x00301000, 0x01000001, 0x197615AD),
        ("sas1068", 0x00541000, 0x01000000, 0x80001000),
    ):
        config = LsiMpt({}, EventLoop().after, model=model).function.read_config
        assert (config(0, 4), config(8, 4), config(0x2C, 4), config(0x3D, 1)) == (ids, revision, subsystem, 1)


def test_reset_state() -> None:
    driver = Driver()
    assert driver.get(mpt.DOORBELL) == 0x10000000
    assert driver.get(mpt.HOST_INTERRUPT_MASK) == 9
    assert driver.get(mpt.REPLY_QUEUE) == mpt.EMPTY
    assert driver.get(mpt.HOST_INTERRUPT_STATUS) == driver.get(mpt.DIAGNOSTIC) == 0
    driver.put(mpt.HOST_INTERRUPT_MASK, 0xFFFFFFFF)
    assert driver.get(mpt.HOST_INTERRUPT_MASK) == 9


INIT = bytes.fromhex("02000002 00100100 78563412 80000000 00000000 00000000")


def test_handshake_as_seabios_does_it() -> None:
    """Back to back, one acknowledgement at the end."""
    driver = Driver()
    driver.put(mpt.DOORBELL, 0x42060000)
    assert driver.get(mpt.DOORBELL) == 0x18000000
    assert driver.get(mpt.HOST_INTERRUPT_STATUS) == 1
    driver.put(mpt.HOST_INTERRUPT_STATUS, 0)
    for (dword,) in struct.iter_unpack("<I", INIT):
        driver.put(mpt.DOORBELL, dword)
    words = [driver.get(mpt.DOORBELL) for _ in range(10)]
    assert {word >> 16 for word in words} == {0x2A00}
    assert [word & 0xFFFF for word in words[:4]] == [0x0002, 0x0205, 0x1000, 0x0001]
    assert (words[4] & 0xFFFF, words[5] & 0xFFFF) == (0x5678, 0x1234)
    assert driver.get(mpt.DOORBELL) == 0x2A000000  # beyond the reply
    driver.put(mpt.HOST_INTERRUPT_STATUS, 0)
    assert driver.get(mpt.DOORBELL) == 0x22000000


def test_handshake_as_linux_does_it() -> None:
    reply = Driver().handshake(INIT)
    assert reply == bytes.fromhex("02000502 00100100 78563412 00000000 00000000")


def test_facts() -> None:
    driver = Driver()
    facts = driver.handshake(bytes.fromhex("00000003 00000000 0d0c0b0a"))
    assert len(facts) == 80
    assert facts[:4] == bytes.fromhex("05011403")
    assert facts[8:12] == bytes.fromhex("0d0c0b0a")
    assert struct.unpack_from("<BBBBHH", facts, 20) == (34, 0, 13, 0, 128, 32)
    assert struct.unpack_from("<HBB", facts, 36) == (128, 1, 0)
    assert struct.unpack_from("<HBB", facts, 44) == (0, 16, 1)
    driver.start(reply_size=96)
    again = driver.handshake(bytes.fromhex("00000003 00000000 00000000"))
    assert (again[21], again[44]) == (2, 96)


@pytest.mark.parametrize(
    ("model", "kind", "scsi_id", "product"), [("53c1030", 1, 7, 0x0104), ("sas1068", 0x30, 16, 0x2102)]
)
def test_port_facts(model: str, kind: int, scsi_id: int, product: int) -> None:
    driver = Driver(model)
    port = driver.handshake(bytes.fromhex("00000005 00000000 00000000"))
    assert len(port) == 40
    assert struct.unpack_from("<BBHHH", port, 20) == (0, kind, 16, scsi_id, 8)
    assert driver.handshake(bytes.fromhex("00000005 00000100 00000000"))[14] == IocStatus.INVALID_FIELD
    facts = driver.handshake(bytes.fromhex("00000003 00000000 00000000"))
    assert struct.unpack_from("<H", facts, 30) == (product,)


def test_port_enable_and_other_functions(driver: Driver) -> None:
    assert driver.handshake(bytes.fromhex("00000006 00000000 78563412")) == bytes.fromhex(
        "00000506 00000000 78563412 00000000 00000000"
    )
    assert driver.handshake(bytes.fromhex("000000ff 00000000 00000000"))[14] == IocStatus.INVALID_FUNCTION
    assert driver.handshake(INIT)[14] == IocStatus.INVALID_STATE


def test_a_reply_frame_that_is_too_small() -> None:
    driver = Driver()
    assert driver.handshake(INIT[:12] + bytes(12))[14] == IocStatus.INVALID_FIELD
    assert driver.state == IocState.READY


def test_event_notification(driver: Driver) -> None:
    driver.post(bytes.fromhex("01000007 00000000 44332211"))
    at = (driver.get(mpt.REPLY_QUEUE) & 0x7FFFFFFF) << 1
    reply = mpt.EVENT_REPLY.unpack_from(driver.wires.ram, at)
    assert reply[:3] == (1, 8, 7)
    assert (reply[5], reply[6], reply[8], reply[10], reply[12]) == (0x80, 0x11223344, 0, 0x0A, 1)


def test_message_unit_reset_in_a_handshake() -> None:
    driver = Driver()
    driver.put(mpt.DOORBELL, 0x42060000)
    for dword in (2, 3, 4):
        driver.put(mpt.DOORBELL, dword)
    driver.put(mpt.DOORBELL, 0x40000000)
    assert driver.get(mpt.DOORBELL) == 0x10000000
    assert driver.get(mpt.HOST_INTERRUPT_STATUS) == 0
    assert driver.handshake(INIT)[14] == 0


def test_handshakes_that_are_none() -> None:
    driver = Driver()
    driver.put(mpt.DOORBELL, 0x42000000)
    assert driver.get(mpt.DOORBELL) == 0x10000000
    driver.begin(b"\xff" * 4 * 255)
    assert driver.get(mpt.DOORBELL) >> 24 == 0x18
    driver.put(mpt.DOORBELL, 0x40000000)
    assert driver.get(mpt.DOORBELL) == 0x10000000


def test_reply_interrupt_and_queue(driver: Driver) -> None:
    driver.put(mpt.HOST_INTERRUPT_MASK, 0)
    assert not driver.wires.line
    driver.post(driver.frame(READY, context=CONTEXT | 1 << 31))
    assert (driver.get(mpt.HOST_INTERRUPT_STATUS), driver.wires.line) == (8, True)
    assert driver.get(mpt.REPLY_QUEUE) == CONTEXT
    assert driver.get(mpt.REPLY_QUEUE) == mpt.EMPTY
    assert (driver.get(mpt.HOST_INTERRUPT_STATUS), driver.wires.line) == (0, False)


def test_messages_at_the_edge(driver: Driver) -> None:
    config = driver.device.function.write_config
    for offset, size, value in ((0x44, 4, 0xFEE00000), (0x4C, 2, 0x41), (0x42, 2, 1)):
        config(offset, size, value)
    driver.post(driver.frame(READY))
    assert driver.wires.messages == []
    driver.put(mpt.HOST_INTERRUPT_MASK, 1)
    driver.post(driver.frame(READY))
    assert driver.wires.messages == [(0xFEE00000, 0x41)]
    driver.replies()
    driver.post(driver.frame(READY))
    assert len(driver.wires.messages) == 2


def test_read_and_write(driver: Driver) -> None:
    assert driver.do(READ, 1024) == CONTEXT
    assert driver.wires.ram[BUFFER : BUFFER + 1024] == driver.disk.read(2, 2)
    driver.wires.ram[BUFFER : BUFFER + 1024] = b"w" * 1024
    assert driver.do(WRITE, 1024) == CONTEXT
    assert driver.disk.read(1, 4) == bytes(range(256)) * 2 + b"w" * 1024 + bytes(range(256)) * 2


def test_check_condition(driver: Driver) -> None:
    assert driver.do(BAD_LBA, 512) == (0, 2, 1, 0)
    assert driver.wires.ram[SENSE : SENSE + 18] == bytes.fromhex(
        "70 00 05 00 00 00 00 0a 00 00 00 00 21 00 00 00 00 00"
    )
    driver.wires.ram[SENSE : SENSE + 18] = bytes(18)
    assert driver.do(BAD_LBA, 512, sense_length=4) == (0, 2, 1, 0)
    assert driver.wires.ram[SENSE : SENSE + 18] == bytes.fromhex("70000500") + bytes(14)
    assert driver.do(BAD_LBA, 512, sense=RAM - 4, sense_length=255) == (0, 2, 2, 0)
    assert driver.do(BAD_LBA, 512, sense_length=0) == (0, 2, 2, 0)


@pytest.mark.parametrize(
    ("where", "status"),
    [({"bus": 1}, 0x41), ({"target": 16}, 0x42), ({"target": 255}, 0x42), ({"target": 5}, 0x43)],
)
def test_nobody_there(driver: Driver, where: dict[str, int], status: int) -> None:
    assert driver.do(READY, **where) == (status, 0, mpt.NO_SCSI_STATUS, 0)


def test_a_lun_that_the_target_does_not_have(driver: Driver) -> None:
    assert driver.do(bytes.fromhex("12 00 00 00 24 00"), 36, lun=b"\0\3" + bytes(6)) == CONTEXT
    assert driver.wires.ram[BUFFER] == 0x7F


def test_less_and_more_data(driver: Driver) -> None:
    assert driver.do(bytes.fromhex("12 00 00 00 ff 00"), 255) == (0x45, 0, 0, 36)
    assert driver.do(READ, 512) == (0x44, 0, 0, 512)
    before = driver.disk.read(0, 8)
    assert driver.do(WRITE, 512) == (0x44, 0, 0, 0)
    assert driver.disk.read(0, 8) == before


def test_a_direction_that_is_wrong(driver: Driver) -> None:
    before = driver.disk.read(0, 8)
    for cdb, control in ((READ, mpt.WRITE_CONTROL), (WRITE, mpt.READ_CONTROL)):
        assert driver.do(cdb, 1024, control=control) == (0x47, 0, 8, 0)
    assert driver.do(READ, 1024, control=0) == (0x44, 0, 0, 0)
    assert driver.disk.read(0, 8) == before


@pytest.mark.parametrize("length", [(16 << 20) + 1, 0xFFFFFFFF])
def test_too_much_data(driver: Driver, length: int) -> None:
    assert driver.do(READ, length, simple(BUFFER, 512)) == (7, 0, 8, 0)


def test_lengths_of_cdbs(driver: Driver) -> None:
    assert driver.do(READ, 1024, cdb_length=255) == CONTEXT
    assert driver.do(READ, 1024, cdb_length=0) == (0, 2, 1, 0)
    assert driver.do(READ, 1024, cdb_length=6) == (0, 2, 1, 0)


def test_data_outside_memory(driver: Driver) -> None:
    assert driver.do(READ, 1024, simple(RAM - 512, 1024)) == (0x46, 0, 8, 0)
    assert driver.do(WRITE, 1024, simple(0xFFFFFE00, 1024)) == (0x46, 0, 8, 0)


def test_several_elements_and_wide_ones(driver: Driver) -> None:
    more = 0x10000000
    wide = struct.pack("<IQ", 0xD3000000 | 0xFFFF, BUFFER + 0x2000)
    sgl = simple(BUFFER, 512, more) + simple(0, 0, more) + simple(BUFFER + 0x1000, 100, more) + wide
    assert driver.do(READ, 1024, sgl) == CONTEXT
    got = [driver.wires.ram[at : at + n] for at, n in ((BUFFER, 512), (BUFFER + 0x1000, 100), (BUFFER + 0x2000, 412))]
    assert b"".join(got) == driver.disk.read(2, 2)
    assert driver.wires.ram[BUFFER + 0x2000 + 412] == 0


def chain(address: int, length: int) -> bytes:
    return struct.pack("<II", 0x30000000 | length, address)


def test_chains(driver: Driver) -> None:
    for n in range(16):
        last = n == 15
        row = simple(BUFFER + 0x100 * n, 64, END if last else 0x10000000)
        row += b"" if last else chain(CHAIN + 0x40 * (n + 1), 16)
        driver.wires.ram[CHAIN + 0x40 * n : CHAIN + 0x40 * n + len(row)] = row
    assert driver.do(READ, 1024, chain(CHAIN, 16)) == CONTEXT
    got = b"".join(driver.wires.ram[BUFFER + 0x100 * n :][:64] for n in range(16))
    assert got == driver.disk.read(2, 2)


def test_lists_that_are_none(driver: Driver) -> None:
    more = 0x10000000
    driver.wires.ram[CHAIN : CHAIN + 16] = simple(0, 0, more) + chain(CHAIN, 16)
    for sgl in (
        chain(CHAIN, 16),  # to itself
        chain(CHAIN, 0),
        simple(0, 0, more) * 10,  # no end
        simple(BUFFER, 1023),  # too little
        struct.pack("<II", 0x00000400, BUFFER),  # a transaction element
        struct.pack("<II", 0x20000400, BUFFER),
    ):
        assert driver.do(READ, 1024, sgl.ljust(80, b"\0")) == (3, 0, 8, 0)
    assert driver.do(READ, 1024, chain(RAM, 16)) == (0x46, 0, 8, 0)


def test_replies_are_clipped_to_the_size_of_a_frame() -> None:
    driver = Driver()
    driver.start(reply_size=4, frames=1)
    driver.wires.ram[FREE : FREE + 32] = b"\xee" * 32
    driver.post(driver.frame(READY, target=5))
    assert driver.get(mpt.REPLY_QUEUE) == 0x80000000 | FREE >> 1
    assert driver.wires.ram[FREE : FREE + 8] == b"\5\0\x08\0" + b"\xee" * 4


def test_no_frame_for_a_reply(driver: Driver) -> None:
    driver = Driver()
    driver.start(frames=0)
    driver.post(driver.frame(READY, target=5))
    assert driver.fault == IocStatus.INSUFFICIENT_RESOURCES
    assert driver.get(mpt.REPLY_QUEUE) == mpt.EMPTY
    driver.post(driver.frame(READY))
    assert driver.get(mpt.REPLY_QUEUE) == mpt.EMPTY
    driver.put(mpt.DOORBELL, 0x42060000)
    assert driver.get(mpt.DOORBELL) >> 27 & 1 == 0
    driver.put(mpt.DOORBELL, 0x40000000)
    assert driver.get(mpt.DOORBELL) == 0x10000000


def test_a_frame_outside_memory(driver: Driver) -> None:
    driver = Driver()
    driver.start(frames=0)
    driver.put(mpt.REPLY_QUEUE, 0xFFFFFFFC)
    driver.post(driver.frame(READY, target=5))
    assert driver.get(mpt.REPLY_QUEUE) == mpt.EMPTY
    assert driver.state == IocState.OPERATIONAL


def test_requests_at_the_wrong_time_or_place(driver: Driver) -> None:
    other = Driver()
    other.post(other.frame(READY))
    assert other.fault == IocStatus.INVALID_STATE
    driver.put(mpt.REQUEST_QUEUE, 0xFFFFFFFC)
    assert driver.fault == IocStatus.INVALID_FIELD


def test_fifos_have_a_depth(driver: Driver) -> None:
    for _ in range(mpt.DEPTH):
        driver.post(driver.frame(READY))
    assert driver.state == IocState.OPERATIONAL
    driver.post(driver.frame(READY))
    assert driver.fault == IocStatus.INSUFFICIENT_RESOURCES
    driver.put(mpt.DOORBELL, 0x40000000)
    driver.start(frames=mpt.DEPTH)
    assert driver.state == IocState.OPERATIONAL
    driver.put(mpt.REPLY_QUEUE, 0)
    assert driver.fault == IocStatus.INSUFFICIENT_RESOURCES


def test_too_many_requests_that_wait(driver: Driver) -> None:
    for _ in range(mpt.DEPTH):
        driver.post(driver.frame(READ, 1024, target=1))
    assert driver.state == IocState.OPERATIONAL
    driver.post(driver.frame(READ, 1024, target=1))
    assert driver.fault == IocStatus.INSUFFICIENT_RESOURCES


@pytest.fixture
def waiting(driver: Driver) -> Driver:
    """Requests 1 and 2 wait for target 1."""
    for context in (1, 2):
        driver.post(driver.frame(READ, 1024, target=1, context=context))
    assert driver.replies() == []
    return driver


def manage(driver: Driver, kind: int, **more: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Contexts and statuses of what was terminated; status and count of the task management."""
    fields: dict[str, int | bytes] = {
        "target": 1, "bus": 0, "function": 1, "task_type": kind, "msg_flags": 0, "context": 9, "lun": bytes(8),
        "task_context": 0,
    }  # fmt: skip
    driver.post(TaskMgmt(**(fields | more)).pack())  # type: ignore[arg-type]
    *terminated, last = driver.replies()
    pairs = [(reply[7], reply[10]) for reply in terminated if not isinstance(reply, int)]
    assert not isinstance(last, int)
    assert (last[2], last[3], last[7]) == (6, 1, 9)
    return pairs, (last[10], last[12])


def later(driver: Driver) -> list[int]:
    driver.clock.advance(100_000_000_000)
    driver.loop.poll()
    return [reply for reply in driver.replies() if isinstance(reply, int)]


def test_abort(waiting: Driver) -> None:
    assert manage(waiting, TaskType.ABORT_TASK, task_context=2) == ([(2, 0x48)], (0, 1))
    assert manage(waiting, TaskType.ABORT_TASK, task_context=2) == ([], (0, 0))
    assert manage(waiting, TaskType.ABORT_TASK, task_context=1, target=0) == ([], (0, 0))
    assert later(waiting) == [1]


def test_resets_by_task_management(waiting: Driver) -> None:
    assert manage(waiting, TaskType.TARGET_RESET, target=5) == ([], (0x43, 0))
    assert manage(waiting, TaskType.TARGET_RESET, target=0) == ([], (0, 0))
    assert manage(waiting, TaskType.LOGICAL_UNIT_RESET) == ([(1, 0x48), (2, 0x48)], (0, 2))
    waiting.post(waiting.frame(READ, 1024, target=1, context=3))
    assert manage(waiting, TaskType.TARGET_RESET) == ([(3, 0x48)], (0, 1))
    waiting.post(waiting.frame(READ, 1024, target=1, context=4))
    assert manage(waiting, TaskType.RESET_BUS) == ([(4, 0x48)], (0, 1))
    assert manage(waiting, 99) == ([], (7, 0))
    assert later(waiting) == []


def test_task_management_by_handshake_answers_in_the_fifo(waiting: Driver) -> None:
    waiting.begin(TaskMgmt(1, 0, 1, TaskType.TARGET_RESET, 0, 9, bytes(8), 0).pack())
    assert waiting.get(mpt.HOST_INTERRUPT_STATUS) & 1, "Linux waits for it"
    waiting.put(mpt.HOST_INTERRUPT_STATUS, 0)
    assert waiting.get(mpt.HOST_INTERRUPT_STATUS) & 1 == 0
    assert waiting.get(mpt.DOORBELL) == 0x22000000
    assert len(waiting.replies()) == 3


@pytest.mark.parametrize("how", ["message unit", "io unit", "diagnostic", "bus"])
def test_nothing_comes_after_a_reset(waiting: Driver, how: str) -> None:
    match how:
        case "message unit":
            waiting.put(mpt.DOORBELL, 0x40000000)
        case "io unit":
            waiting.put(mpt.DOORBELL, 0x41000000)
        case "diagnostic":
            for key in (0xF, 4, 0xB, 2, 7, 0xD):
                waiting.put(mpt.WRITE_SEQUENCE, key)
            waiting.put(mpt.DIAGNOSTIC, 4)
        case "bus":
            waiting.device.function.reset()
            waiting.device.reset()
    assert not waiting.loop.waiting
    assert later(waiting) == []
    assert waiting.get(mpt.DOORBELL) == 0x10000000


def test_diagnostic_register_needs_its_keys(driver: Driver) -> None:
    driver.put(mpt.DIAGNOSTIC, 4)
    assert driver.state == IocState.OPERATIONAL
    for key in (4, 0xB, 2, 2, 7, 0xD):
        driver.put(mpt.WRITE_SEQUENCE, key)
    assert driver.get(mpt.DIAGNOSTIC) == 0
    for key in (0xFF, 4, 0xB, 2, 7, 0xD):
        driver.put(mpt.WRITE_SEQUENCE, key)
    assert driver.get(mpt.DIAGNOSTIC) == 0x80
    driver.put(mpt.DIAGNOSTIC, 0x12)
    assert driver.get(mpt.DIAGNOSTIC) == 0x92
    driver.put(mpt.HOST_INTERRUPT_MASK, 0)
    driver.put(mpt.DIAGNOSTIC, 0x16)
    assert (driver.get(mpt.DIAGNOSTIC), driver.get(mpt.DOORBELL), driver.get(mpt.HOST_INTERRUPT_MASK)) == (
        0x20,
        0x10000000,
        9,
    )
    for key in (0xFF, 4, 0xB, 2, 7, 0xD):
        driver.put(mpt.WRITE_SEQUENCE, key)
    driver.put(mpt.DIAGNOSTIC, 0x80)
    driver.put(mpt.WRITE_SEQUENCE, 0xFF)
    assert driver.get(mpt.DIAGNOSTIC) == 0


def config(
    driver: Driver, action: int, kind: int, number: int, address: int = 0, size: int = 0, ext: int = 0
) -> tuple[int, ...]:
    """Status, extended length, then the header of the reply."""
    head = mpt._CONFIG.pack(action, Function.CONFIG, 0, ext, 0, CONTEXT, 0, 0, number, kind, address)
    reply = mpt.CONFIG_REPLY.unpack(driver.handshake(head + simple(PAGE, size)))
    return (reply[7], reply[3], *reply[9:])


@pytest.mark.parametrize(
    ("kind", "number", "dwords"),
    [(3, 0, 3), (3, 1, 4), (3, 2, 19), (4, 0, 3), (4, 1, 4), (0, 0, 3), (0, 2, 8), (1, 2, 3), (9, 0, 19)],
)
def test_pages_of_parallel_scsi(driver: Driver, kind: int, number: int, dwords: int) -> None:
    status, _, _, length, found, of = config(driver, 0, kind, number)
    assert (status, length, found, of & 0xF) == (0, dwords, number, kind)
    driver.wires.ram[PAGE : PAGE + 512] = b"\xee" * 512
    assert config(driver, 1, kind, number, size=400)[0] == 0
    assert driver.wires.ram[PAGE + 1 : PAGE + 3] == bytes((dwords, number))
    assert driver.wires.ram[PAGE + 4 * dwords] == 0xEE


def test_page_reads_are_clipped_to_the_buffer(driver: Driver) -> None:
    driver.wires.ram[PAGE : PAGE + 16] = b"\xee" * 16
    assert config(driver, 1, 3, 0, size=5)[0] == 0
    assert driver.wires.ram[PAGE + 5 : PAGE + 16] == b"\xee" * 11
    assert config(driver, 1, 3, 0, size=0)[0] == 0


def test_the_port_is_lvd(driver: Driver) -> None:
    config(driver, 1, 3, 0, size=12)
    capabilities, interface = struct.unpack_from("<II", driver.wires.ram, PAGE + 4)
    assert capabilities & 0x20000000
    assert interface & 3 == 3


@pytest.mark.parametrize(
    ("action", "kind", "number", "address", "status"),
    [
        (0, 0xE, 0, 0, 0x21),
        (0, 0, 99, 0, 0x22),
        (9, 3, 0, 0, 0x20),
        (2, 3, 0, 0, 0x25),
        (0, 4, 0, 16, 0x22),
        (0, 0xF, 0, 0, 0x21),
    ],
)
def test_pages_that_are_refused(driver: Driver, action: int, kind: int, number: int, address: int, status: int) -> None:
    assert config(driver, action, kind, number, address, 64)[0] == status


def test_negotiation_is_taken_at_its_word(driver: Driver) -> None:
    struct.pack_into("<IIII", driver.wires.ram, PAGE, 0, 0xFFFFFFFF, 0, 4)
    assert config(driver, 2, 4, 1, address=3, size=8)[0] == IocStatus.CONFIG_INVALID_DATA
    assert config(driver, 2, 4, 1, address=3, size=16)[0] == 0
    for number in (0, 1):
        config(driver, 1, 4, number, address=3, size=16)
        assert struct.unpack_from("<I", driver.wires.ram, PAGE + 4) == (0x20FFFF07,)
    driver.device.reset()
    driver.device.function.write_config(4, 2, 7)
    driver.start()
    config(driver, 1, 4, 0, address=3, size=12)
    assert struct.unpack_from("<I", driver.wires.ram, PAGE + 4) == (0,)


def test_pages_of_sas() -> None:
    driver = Driver("sas1068")
    driver.start()
    assert config(driver, 0, 3, 0)[0] == IocStatus.CONFIG_INVALID_TYPE
    status, length, *_ = config(driver, 1, 0xF, 0, size=512, ext=PageType.SAS_IO_UNIT)
    assert (status, length) == (0, 36)
    assert driver.wires.ram[PAGE + 12] == 8
    phys = [struct.unpack_from("<BxxBIHHI", driver.wires.ram, PAGE + 16 + 16 * n) for n in range(8)]
    assert [phy[3] for phy in phys] == [9, 10, 0, 0, 0, 0, 0, 0]
    assert config(driver, 1, 0xF, 0, 9 | 2 << 28, 512, PageType.SAS_DEVICE)[0] == 0
    assert struct.unpack_from("<HBB", driver.wires.ram, PAGE + 8 + 16) == (9, 0, 0)
    handle = 0xFFFF
    seen = []
    while config(driver, 1, 0xF, 0, handle, 512, PageType.SAS_DEVICE)[0] == 0:
        (handle,) = struct.unpack_from("<H", driver.wires.ram, PAGE + 8 + 16)
        seen.append(handle)
    assert seen == [9, 10]
    for number, kind, address in (
        (0, PageType.SAS_PHY, 7),
        (1, PageType.SAS_PHY, 0),
        (1, PageType.SAS_DEVICE, 1 << 28),
    ):
        assert config(driver, 0, 0xF, number, address, 0, kind)[0] == 0
    for kind, address in ((PageType.SAS_PHY, 8), (PageType.SAS_DEVICE, 1 << 28 | 2), (PageType.SAS_DEVICE, 3 << 28)):
        assert config(driver, 0, 0xF, 0, address, 0, kind)[0] == IocStatus.CONFIG_INVALID_PAGE


def test_without_bus_mastering_nothing_happens(driver: Driver) -> None:
    driver.device.function.write_config(4, 2, 3)
    before = bytes(driver.wires.ram)
    driver.put(mpt.REQUEST_QUEUE, FRAME)
    assert driver.wires.ram == before


def test_addresses_have_a_high_part() -> None:
    driver = Driver()
    driver.start(mfa_high=1, sense_high=1)
    driver.put(mpt.REQUEST_QUEUE, FRAME)  # nothing is above 4 GiB here
    assert driver.fault == IocStatus.INVALID_FIELD


def test_state_goes_to_another_controller(waiting: Driver) -> None:
    waiting.put(mpt.HOST_INTERRUPT_MASK, 0)
    waiting.post(waiting.frame(READY))
    waiting.put(mpt.DOORBELL, 0x42030000)
    waiting.put(mpt.DOORBELL, 0x03000000)
    state = json.loads(json.dumps(waiting.device.state()))
    other = Driver()
    other.wires.ram[:] = waiting.wires.ram
    other.device.restore(state)
    assert other.device.state() == waiting.device.state()
    assert other.wires.line
    for _ in range(2):
        other.put(mpt.DOORBELL, 0)
    assert other.get(mpt.DOORBELL) & 0xFFFF == 0x0105
    assert len(other.replies()) == 1
    assert later(other) == [1, 2]
    assert other.get(mpt.REPLY_QUEUE) == mpt.EMPTY


def test_a_state_that_cannot_be_is_refused(driver: Driver) -> None:
    good = driver.device.state()
    bad: list[dict[str, object]] = [
        {"ioc": [9, 0, good["ioc"][2]]},
        {"ioc": [1, 0, [1]]},
        {"free": [0] * 129},
        {"replies": ["x"]},
        {"waiting": ["00"]},
        {"registers": [9, 0, 5]},
        {"handshake": [False, 4096, "", None, 0]},
        {"handshake": [False, 0, "", "00", 7]},
        {"pages": [[99, 0, 0]]},
        {"pages": [[1, -1, 0]]},
    ]
    for change in bad:
        with pytest.raises((ValueError, TypeError, KeyError)):
            driver.device.restore(good | change)
    assert driver.do(READY) == CONTEXT


def test_registers_of_other_sizes(driver: Driver) -> None:
    assert driver.device.read(mpt.HOST_INTERRUPT_MASK, 1) == 9
    assert driver.device.read(mpt.HOST_INTERRUPT_MASK + 1, 1) == 0
    assert driver.device.read(mpt.DOORBELL + 2, 2) == 0x2200
    driver.device.write(mpt.HOST_INTERRUPT_MASK, 1, 0)
    assert driver.get(mpt.HOST_INTERRUPT_MASK) == 9
    driver.post(driver.frame(READY))
    assert driver.device.read(mpt.REPLY_QUEUE + 2, 2) == 0
    assert driver.get(mpt.REPLY_QUEUE) == CONTEXT
    assert driver.get(0xFC) == driver.get(0x3FFC) == 0
