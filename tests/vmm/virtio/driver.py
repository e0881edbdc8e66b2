"""A driver without a guest: it reaches a virtio device through its BARs, and its memory as DMA does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.vmm.pci.wires import Wires
from virtproof.spec.virtio import Common, Feature, Place, Status, available_size, legacy_rings
from virtproof.vmm.devices.virtio.transport import BAR, COMMON_AT, DEVICE_AT, ISR_AT, NOTIFY_AT, PciPersonality
from virtproof.vmm.events import EventLoop, ManualClock

READ, NEXT, WRITE, INDIRECT = 0, 1, 2, 4
READY = Status(0).but(acknowledge=1, driver=1, features_ok=1, driver_ok=1)
RINGS, RING_STEP, BUFFERS = 0x1_0000, 0x4000, 0x4_0000

loop = EventLoop(ManualClock())  # devices of a test ask it for their timers


@dataclass
class Ring:
    """The driver's end of a queue."""

    descriptors: int
    available: int
    used: int
    size: int
    filled: int = 0  # entries of the available ring
    emptied: int = 0  # entries of the used ring
    next: int = 0  # descriptor that is free


@dataclass
class Driver:
    """``start`` negotiates and sets up every queue; then ``add``, ``kick`` and ``take``."""

    device: PciPersonality
    wires: Wires = field(default_factory=Wires)
    rings: list[Ring] = field(default_factory=list)
    free: int = BUFFERS

    def __post_init__(self) -> None:
        self.wires.connect(self.device.function)
        self.structures = next(bar for bar in self.device.function.bars if bar.index == BAR).device
        assert self.structures is not None

    def get(self, place: Place) -> int:
        """Read a field of the common configuration; 64 bits in halves, as a bus gives them."""
        halves = [
            self.structures.read(COMMON_AT + place.offset + at, min(place.size, 4)) for at in range(0, place.size, 4)
        ]
        return sum(half << 32 * n for n, half in enumerate(halves))

    def put(self, place: Place, value: int) -> None:
        for at in range(0, place.size, 4):
            size = min(place.size, 4)
            self.structures.write(COMMON_AT + place.offset + at, size, value >> 8 * at & (1 << 8 * size) - 1)

    @property
    def status(self) -> Status:
        return Status(self.get(Common.STATUS))

    @property
    def isr(self) -> int:
        return self.structures.read(ISR_AT, 1)

    def config(self, offset: int, size: int) -> int:
        return self.structures.read(DEVICE_AT + offset, size)

    def negotiate(self, features: int) -> Status:
        """Up to FEATURES_OK; return the status that comes of it."""
        self.put(Common.STATUS, 0)
        self.put(Common.STATUS, 1)
        self.put(Common.STATUS, 3)
        for half in (0, 1):
            self.put(Common.DRIVER_FEATURE_SELECT, half)
            self.put(Common.DRIVER_FEATURE, features >> 32 * half & 0xFFFF_FFFF)
        self.put(Common.STATUS, 0xB)
        return self.status

    def put_status(self, value: int) -> None:
        self.put(Common.STATUS, value)

    def set_up(self, number: int, size: int | None = None) -> Ring:
        self.put(Common.QUEUE_SELECT, number)
        if size is not None:
            self.put(Common.QUEUE_SIZE, size)
        size = self.get(Common.QUEUE_SIZE)
        base = RINGS + RING_STEP * number
        available, used = legacy_rings(base, size)
        self.wires.ram[base : base + RING_STEP] = bytes(RING_STEP)
        self.put(Common.QUEUE_DESC, base)
        self.put(Common.QUEUE_DRIVER, available)
        self.put(Common.QUEUE_DEVICE, used)
        self.put(Common.QUEUE_ENABLE, 1)
        ring = Ring(base, available, used, size)
        self.rings = [*self.rings[:number], ring, *self.rings[number + 1 :]]
        return ring

    def start(self, features: int = 0, size: int | None = None) -> Driver:
        status = self.negotiate(features | Feature.VERSION_1)
        assert status.features_ok
        for number in range(self.get(Common.NUM_QUEUES)):
            self.set_up(number, size)
        self.put(Common.STATUS, READY)
        return self

    def buffer(self, content: bytes | int) -> tuple[int, int]:
        """Memory with this content, or so many bytes to write to; address and length."""
        data = bytes(content)
        address, self.free = self.free, self.free + len(data) + 15 & ~15
        self.wires.ram[address : address + len(data)] = data
        return address, len(data)

    def describe(self, number: int, *elements: tuple[int, int, int]) -> int:
        """Write a chain of (address, length, flags) to the descriptor table; return its head."""
        ring, head = self.rings[number], self.rings[number].next
        for n, (address, length, flags) in enumerate(elements):
            more = n < len(elements) - 1
            at = ring.next
            ring.next = (at + 1) % ring.size
            entry = struct.pack("<QIHH", address, length, flags | NEXT * more, ring.next * more)
            self.wires.ram[ring.descriptors + 16 * at : ring.descriptors + 16 * at + 16] = entry
        return head

    def offer(self, number: int, head: int) -> None:
        """Put a head into the available ring."""
        ring = self.rings[number]
        at = ring.available + 4 + 2 * (ring.filled % ring.size)
        self.wires.ram[at : at + 2] = struct.pack("<H", head)
        ring.filled += 1
        self.set_index(number, ring.filled)

    def set_index(self, number: int, index: int) -> None:
        at = self.rings[number].available + 2
        self.wires.ram[at : at + 2] = struct.pack("<H", index & 0xFFFF)

    def add(self, number: int, read: Sequence[bytes] = (), write: Sequence[int] = ()) -> list[tuple[int, int]]:
        """Offer a chain; return address and length of what the device may write to."""
        out = [(*self.buffer(data), READ) for data in read]
        into = [self.buffer(length) for length in write]
        self.offer(number, self.describe(number, *out, *((*place, WRITE) for place in into)))
        return into

    def kick(self, number: int) -> None:
        self.structures.write(NOTIFY_AT + 4 * number, 2, number)

    def take(self, number: int) -> list[tuple[int, int]]:
        """What is new in the used ring: heads and lengths."""
        ring = self.rings[number]
        (shown,) = struct.unpack_from("<H", self.wires.ram, ring.used + 2)
        found = []
        while ring.emptied & 0xFFFF != shown:
            found.append(struct.unpack_from("<II", self.wires.ram, ring.used + 4 + 8 * (ring.emptied % ring.size)))
            ring.emptied += 1
        return found

    def ask(self, number: int, read: Sequence[bytes] = (), write: Sequence[int] = ()) -> tuple[bytes, int]:
        """One request: what was written, and how many bytes the device says that it has written."""
        into = self.add(number, read, write)
        self.kick(number)
        loop.poll()
        ((_, length),) = self.take(number)
        return b"".join(bytes(self.wires.ram[at : at + size]) for at, size in into), length

    def word(self, address: int) -> int:
        return int.from_bytes(self.wires.ram[address : address + 2], "little")

    def set_word(self, address: int, value: int) -> None:
        self.wires.ram[address : address + 2] = value.to_bytes(2, "little")

    def used_event(self, number: int, value: int) -> None:
        ring = self.rings[number]
        self.set_word(ring.available + available_size(ring.size) - 2, value)

    def avail_event(self, number: int) -> int:
        ring = self.rings[number]
        return self.word(ring.used + 4 + 8 * ring.size)
