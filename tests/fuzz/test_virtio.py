"""Virtio devices of each kind and a driver that does anything: no exception, no access outside memory, bounded work.

Half of the operations are those of a good driver, else no queue would ever be looked at.
"""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.vmm.pci.wires import Wires
from tests.vmm.virtio.driver import BUFFERS, RINGS, Driver
from virtproof.spec.pci import COMMAND
from virtproof.spec.virtio import Common, DeviceId, Feature
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.console import VirtioConsole
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.rng import VirtioRng
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.devices.virtio.transport import BAR_SIZE, LEGACY_BAR, NOTIFY_AT, PciPersonality
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.rate import RateLimit
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.scsi.block import DiskUnit

OPERATIONS = 100 * int(os.environ.get("VIRTPROOF_FUZZ", "60"))
SEED = int(os.environ.get("VIRTPROOF_FUZZ_SEED", "1"))
MOST_TRANSFERS = 100_000  # of one operation: descriptors, and what they lead to
MOST_BYTES = 64 << 20  # of one operation
QUEUES, SIZES = 4, (1, 2, 8, 16, 256)
EDGES = (0, 1, 0xFFF, 0xF_FFF0, 0x10_0000, 0xFEE0_0000, 0xFFFF_FFFF_FFFF_FFF0, (1 << 64) - 1)
LENGTHS = (0, 1, 4, 12, 16, 19, 51, 60, 108, 512, 1024, 4096, 0xFFFF, 1 << 20, 0xFFFF_FFFF)
LUN = bytes((1, 0, 0x40, 0)) + bytes(15)
COMMANDS = (
    *(struct.pack("<IIQ", kind, 0, 1) for kind in (0, 1, 4, 8)),
    struct.pack("<IIQQII", 11, 0, 0, 1, 1, 0),
    bytes(12),
    bytes([1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0]),
    bytes([1, 0, 0, 0, 0, 0, 14, 0, 6, 0, 0, 0]),
    b"\0\0\0",
    b"\1\0" + bytes(8),
    b"\1\1" + bytes(6),
    b"\2\0\1\0",
    LUN + bytes((0x12, 0, 0, 0, 36)),
    LUN + bytes((0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0)),
    struct.pack("<II8sQ", 0, 5, LUN[:8], 0),
)


GOOD: dict[DeviceId, tuple[tuple[int, tuple[bytes, ...], tuple[int, ...]], ...]] = {
    DeviceId.NET: ((1, (bytes(72),), ()), (1, (bytes(12), bytes(60)), ()), (0, (), (2000,)), (0, (), (12, 300))),
    DeviceId.BLOCK: ((0, (COMMANDS[0],), (512, 1)), (0, (COMMANDS[1], bytes(512)), (1,)), (0, (COMMANDS[2],), (1,))),
    DeviceId.SCSI: ((2, (COMMANDS[12].ljust(51, b"\0"),), (108, 36)), (0, (COMMANDS[14],), (1,)), (1, (), (16,))),
    DeviceId.CONSOLE: ((1, (b"text",), ()), (0, (), (64,))),
    DeviceId.ENTROPY: ((0, (), (64,)),),
}


class CountedWires(Wires):
    """Memory that counts what is done to it."""

    transfers = moved = 0

    def read(self, gpa: int, length: int) -> bytes:
        self.transfers += 1
        self.moved += length
        return super().read(gpa, length)

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        self.transfers += 1
        self.moved += len(data)
        super().write(gpa, data)


class Fuzzer:
    def __init__(self, make: Callable[[EventLoop, ManualClock], PciPersonality], seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        self.loop = EventLoop(self.clock)
        self.make = make
        self.wires = CountedWires()
        self.driver = Driver(make(self.loop, self.clock), self.wires)
        self.legacy: Any = next(bar for bar in self.driver.device.function.bars if bar.index == LEGACY_BAR).device
        self.broken = self.served = 0
        self.shown: list[int] = []
        self.start()

    def number(self) -> int:
        return self.chance.choice((self.chance.getrandbits(8), self.chance.getrandbits(32), 0, 1, 2, 4, 8, 0xF, 0xFFFF))

    def address(self) -> int:
        if self.chance.randrange(12):
            return BUFFERS + 64 * self.chance.randrange(0x2000)
        return self.chance.choice((*EDGES, self.chance.getrandbits(64), RINGS))

    def start(self) -> None:
        """What a driver does first, now and then with other features."""
        driver, chance = self.driver, self.chance
        offered = driver.device.virtio.offered
        wanted = offered & (chance.getrandbits(64) | Feature.VERSION_1) if chance.randrange(4) else offered
        driver.device.function.write_config(COMMAND, 2, 7)
        status = driver.negotiate(wanted)
        for queue in range(driver.get(Common.NUM_QUEUES)):
            driver.set_up(queue, chance.choice(SIZES))
        driver.put_status(status | 4)

    def offer(self) -> None:
        """A chain that may be good, and a notification."""
        driver, chance = self.driver, self.chance
        queue = chance.randrange(len(driver.rings))
        ring = driver.rings[queue]
        if chance.randrange(8) == 0:
            self.wires.ram[ring.available : ring.available + 2] = self.number().to_bytes(4, "little")[:2]
        elements = []
        readable = chance.choice((0, 1, 1, 1, 1, 2))
        for n in range(readable + chance.choice((0, 1, 1, 2, 2, 3))):
            address = self.address()
            if n == 0 and address < len(self.wires.ram) - 128:
                command = chance.choice(COMMANDS)
                self.wires.ram[address : address + len(command)] = command
            length = chance.choice((16, 16, 51, 512) if n == 0 and chance.randrange(4) else LENGTHS)
            elements.append((address, length, 2 * (n >= readable)))
        if chance.randrange(6) == 0:
            at = self.address()
            if at < len(self.wires.ram) - 256:
                entries = ((a, n, f | (i < len(elements) - 1), i + 1) for i, (a, n, f) in enumerate(elements))
                table = b"".join(struct.pack("<QIHH", *entry) for entry in entries)
                self.wires.ram[at : at + len(table)] = table
            elements = [(at, 16 * len(elements), 4)]
        if chance.randrange(20) == 0 and elements:
            elements[-1] = (self.address(), self.number(), chance.randrange(8))
        if elements:
            head = driver.describe(queue, *elements)
            for _ in range(chance.choice((1, 1, 1, 3, ring.size))):
                driver.offer(queue, head if chance.randrange(30) else chance.getrandbits(16))
            if chance.randrange(40) == 0:
                driver.set_index(queue, chance.getrandbits(16))
        driver.kick(queue)

    def ask(self) -> None:
        """What a good driver asks for, where there is room in the ring."""
        driver = self.driver
        queue, read, write = self.chance.choice(GOOD[driver.device.kind])
        ring = driver.rings[queue]
        if ring.filled - driver.device.virtio.queues[queue]._shown & 0xFFFF < ring.size >= len(read) + len(write):
            driver.free = BUFFERS + 0x1000 * self.chance.randrange(64)
            driver.add(queue, read, write)
            driver.kick(queue)

    def misuse(self) -> None:
        """Registers, in any way."""
        chance, function = self.chance, self.driver.device.function
        size = chance.choice((1, 2, 4))
        value = self.number() & (1 << 8 * size) - 1
        match chance.randrange(8):
            case 0:
                self.driver.structures.write(chance.randrange(0, BAR_SIZE, size), size, value)
            case 1:
                self.driver.structures.write(chance.randrange(0, 64, size), size, value)
            case 2:
                self.driver.structures.write(NOTIFY_AT + 4 * chance.randrange(QUEUES), 2, value & 0xFFFF)
            case 3:
                self.legacy.write(chance.randrange(0, 32, size), size, value)
            case 4:
                function.write_config(chance.randrange(0x40, 0x100, size), size, value)
            case 5 if chance.randrange(4) == 0:
                function.write_config(COMMAND, 2, value & 0xFFFF)
            case 6:
                assert self.driver.structures.read(chance.randrange(0, BAR_SIZE, size), size) >= 0
                assert self.legacy.read(chance.randrange(0, 32, size), size) >= 0
            case _:
                assert function.read_config(chance.randrange(0, 0x100, size), size) >= 0

    def host(self) -> None:
        """The other side acts."""
        device: Any = self.driver.device
        match self.chance.randrange(6):
            case 0 if isinstance(device, VirtioNet):
                device.receive(bytes(self.chance.choice((14, 60, 1514, 9000))))
            case 1 if isinstance(device, VirtioNet):
                device.set_link(bool(self.chance.randrange(4)))
            case 2 if isinstance(device, VirtioScsi):
                device.plug(3, {})
            case 2 if isinstance(device, VirtioConsole):
                device.receive(bytes(self.chance.randrange(5000)))
            case 3 if self.chance.randrange(20) == 0:
                device.reset()
            case 4 if self.chance.randrange(20) == 0:
                self.save()
            case _:
                self.clock.advance(self.chance.choice((0, 1000, 10**7)))
                self.loop.poll()

    def save(self) -> None:
        """The device goes on as another."""
        saved = json.loads(json.dumps([self.driver.device.function.state(), self.driver.device.state()]))
        rings, free = self.driver.rings, self.driver.free
        self.driver.device.reset()  # what it waits for is not this one's any more
        self.driver = Driver(self.make(self.loop, self.clock), self.wires, rings, free)
        self.legacy = next(bar for bar in self.driver.device.function.bars if bar.index == LEGACY_BAR).device
        self.driver.device.function.restore(saved[0])
        self.driver.device.restore(saved[1])
        assert json.loads(json.dumps(self.driver.device.state())) == saved[1]

    def step(self) -> None:
        self.wires.transfers = self.wires.moved = 0
        device = self.driver.device
        match self.chance.randrange(8):
            case 0:
                self.misuse()
            case 1 | 2:
                self.host()
            case _ if not device.virtio.live:
                self.broken += bool(device.virtio.broken)
                self.start()
            case 3 | 4:
                self.offer()
            case _:
                self.ask()
        shown = [queue._shown for queue in self.driver.device.virtio.queues]
        self.served += any(shown) and shown != self.shown
        self.shown = shown
        assert self.wires.transfers < MOST_TRANSFERS
        assert self.wires.moved < MOST_BYTES
        assert len(self.loop._heap) < 2000
        self.wires.lines.clear()
        self.wires.messages.clear()


def slow(clock: ManualClock) -> RateLimit:
    return RateLimit(FileDisk.in_memory(sectors=64), 1 << 30, 1 << 16, clock)


MAKERS: dict[str, Callable[[EventLoop, ManualClock], PciPersonality]] = {
    "net": lambda loop, clock: VirtioNet(bytes(6), Loopback(loop.after), loop.after),
    "blk": lambda loop, clock: VirtioBlk(slow(clock), loop.after),
    "scsi": lambda loop, clock: VirtioScsi({0: {0: DiskUnit(slow(clock))}}, loop.after),
    "console": lambda loop, clock: VirtioConsole(lambda data: None, loop.after),
    "rng": lambda loop, clock: VirtioRng(loop.after),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_driver_that_does_anything(kind: str) -> None:
    fuzzer = Fuzzer(MAKERS[kind], SEED)
    for _ in range(OPERATIONS):
        fuzzer.step()
    assert fuzzer.broken > OPERATIONS // 300  # it meets both
    assert fuzzer.served > OPERATIONS // 50
