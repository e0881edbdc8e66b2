"""Scripts that drive virtio devices: what a driver writes to their registers, and lays out in memory.

Rings and buffers have fixed places, so a script names them by number.  Time stands still but for ``elapse``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from virtproof.conformance.cable import Cable
from virtproof.conformance.case import HostScript
from virtproof.conformance.device_script import Expected, Host, Load, Poll, Put, Step, Steps, Store, script
from virtproof.guest_payloads.accesses import FREE
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.spec.virtio import Common, DescriptorFlag, Feature, Place, Status, legacy_rings
from virtproof.vmm.board import Board
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.console import VirtioConsole
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.rng import VirtioRng
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.devices.virtio.transport import COMMON_AT, DEVICE_AT, ISR_AT, NOTIFY_AT, PciPersonality
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.events import After, EventLoop, ManualClock
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.scsi.block import DiskUnit

FUNCTION = 2 << 3  # device << 3 | function
PORTS, MSIX, BAR = 0xC000, 0xE001_0000, 0xE000_0000
COMMON, ISR, CONFIG, NOTIFY = BAR + COMMON_AT, BAR + ISR_AT, BAR + DEVICE_AT, BAR + NOTIFY_AT
RINGS, RING_STEP = FREE, 0x4000
OUT, IN = FREE + 0x2_0000, FREE + 0x4_0000  # buffers to read from and to write to, BUFFER bytes each
BUFFER = 0x2000
SIZE = 16  # of a queue, where a script does not say

NEXT, WRITE, INDIRECT = (int(flag) for flag in DescriptorFlag)
VERSION_1 = int(Feature.VERSION_1)
READY = int(Status(0).but(acknowledge=1, driver=1, features_ok=1, driver_ok=1))
BROKEN = READY | Status.needs_reset.mask

MAC = bytes.fromhex("525400112233")
SECTORS = 64
CONTENT = b"".join(bytes([n]) * 512 for n in range(SECTORS))
SERIAL = "virtproof 1"


class Medium:
    """A disk in memory that may be slow or read-only; ``log`` says what was asked of it."""

    def __init__(self, *, read_only: bool = False, delay: int = 0) -> None:
        self._disk = FileDisk.in_memory(content=CONTENT)
        self.sectors, self.read_only, self._delay = SECTORS, read_only, delay
        self.log: list[str] = []
        self.close = self._disk.close

    def delay(self, length: int) -> int:
        return self._delay

    def read(self, sector: int, count: int) -> bytes:
        self.log.append(f"read {sector}")
        return self._disk.read(sector, count)

    def write(self, sector: int, data: bytes) -> None:
        self.log.append(f"write {sector}")
        self._disk.write(sector, data)

    def flush(self) -> None:
        self.log.append("flush")

    def discard(self, sector: int, count: int) -> None:
        self._disk.discard(sector, count)


class Rig:
    """A board with one virtio device, placed; ``end`` is what is behind it."""

    def __init__(self, machine: Machine, make: Callable[[After], tuple[PciPersonality, Any]]) -> None:
        self.clock = ManualClock()
        self._loop = EventLoop(self.clock)
        self.device: Any
        self.device, self.end = make(self._loop.after)
        self.board = Board(machine)
        self.board.add(self.device, slot=FUNCTION >> 3)
        addresses = {0: PORTS, 1: MSIX, 4: BAR}
        self.device.function.place([addresses[bar.index] for bar in self.device.function.bars])

    def elapse(self, ns: int) -> None:
        self.clock.advance(ns)
        self._loop.poll()


Build = Callable[[Machine], Rig]


def net(machine: Machine) -> Rig:
    def make(after: After) -> tuple[PciPersonality, Any]:
        cable = Cable()
        return VirtioNet(MAC, cable, after), cable

    return Rig(machine, make)


def looped_net(machine: Machine) -> Rig:
    """What it sends comes back."""

    def make(after: After) -> tuple[PciPersonality, Any]:
        plug = Loopback(after)
        return VirtioNet(MAC, plug, after), plug

    return Rig(machine, make)


def blk(machine: Machine, *, read_only: bool = False, delay: int = 0) -> Rig:
    def make(after: After) -> tuple[PciPersonality, Any]:
        medium = Medium(read_only=read_only, delay=delay)
        return VirtioBlk(medium, after, serial=SERIAL), medium

    return Rig(machine, make)


slow_blk = partial(blk, delay=1000)


def scsi(machine: Machine) -> Rig:
    def make(after: After) -> tuple[PciPersonality, Any]:
        unit = DiskUnit(FileDisk.in_memory(content=CONTENT))
        return VirtioScsi({0: {0: unit}}, after), unit

    return Rig(machine, make)


def rng(machine: Machine) -> Rig:
    return Rig(machine, lambda after: (VirtioRng(after), None))


def console(machine: Machine) -> Rig:
    def make(after: After) -> tuple[PciPersonality, Any]:
        sent = bytearray()
        return VirtioConsole(sent.extend, after), sent

    return Rig(machine, make)


def virtio(where: str) -> Cite:
    """A section of the specification."""
    return Cite("OASIS VIRTIO 1.2", where)


def family(area: str, where: str) -> Callable[..., HostScript]:
    """A maker of scripts that share area and section: id, title, build, steps; further fields by keyword."""

    def of(id: str, title: str, build: Build, *steps: Step | Steps, **more: Any) -> HostScript:  # noqa: A002
        return script(id, title, area, (virtio(where),), build, *steps, **more)

    return of


# Registers.


def put(place: Place, value: int) -> tuple[Step, ...]:
    """Write a field of the common configuration, 64 bits as two halves."""
    if place.size == 8:
        return Store(COMMON + place.offset, 4, value & 0xFFFF_FFFF), Store(COMMON + place.offset + 4, 4, value >> 32)
    return (Store(COMMON + place.offset, place.size, value),)


def get(place: Place, expect: Expected, mask: int = (1 << 64) - 1) -> Load:
    return Load(COMMON + place.offset, place.size, expect, mask)


def status(expect: int) -> Load:
    return get(Common.STATUS, expect)


def isr(expect: int) -> Load:
    return Load(ISR, 1, expect)


def accept(features: int) -> tuple[Step, ...]:
    """Write the driver's features, both halves."""
    return tuple(
        step
        for half in (0, 1)
        for step in (
            *put(Common.DRIVER_FEATURE_SELECT, half),
            *put(Common.DRIVER_FEATURE, features >> 32 * half & 0xFFFF_FFFF),
        )
    )


def negotiate(features: int) -> tuple[Step, ...]:
    """From reset to FEATURES_OK."""
    begin = (put(Common.STATUS, value) for value in (0, 1, 3))
    return (*(step for steps in begin for step in steps), *accept(features), *put(Common.STATUS, 0xB))


def rings(number: int, size: int = SIZE) -> tuple[int, int, int]:
    """Where descriptors, available and used ring of a queue are."""
    base = RINGS + RING_STEP * number
    return (base, *legacy_rings(base, size))


def set_up(number: int, size: int = SIZE) -> tuple[Step, ...]:
    descriptors, available, used = rings(number, size)
    return (
        *put(Common.QUEUE_SELECT, number), *put(Common.QUEUE_SIZE, size), *put(Common.QUEUE_DESC, descriptors),
        *put(Common.QUEUE_DRIVER, available), *put(Common.QUEUE_DEVICE, used), *put(Common.QUEUE_ENABLE, 1),
    )  # fmt: skip


def start(features: int = 0, *, queues: int = 1, size: int = SIZE) -> tuple[Step, ...]:
    """All that a driver does before it uses queues 0 to ``queues`` - 1."""
    ready = (step for number in range(queues) for step in set_up(number, size))
    return (*negotiate(features | VERSION_1), *ready, *put(Common.STATUS, READY))


# Queues.

Element = tuple[int, int, int]  # address, length, flags


def out(number: int, length: int) -> Element:
    """Buffer ``number`` of those that the device reads."""
    return OUT + BUFFER * number, length, 0


def into(number: int, length: int) -> Element:
    """Buffer ``number`` of those that the device writes."""
    return IN + BUFFER * number, length, WRITE


def chain(queue: int, first: int, *elements: Element, size: int = SIZE) -> Put:
    """Descriptors side by side, from ``first`` on."""
    last = len(elements) - 1
    entries = (
        (address, length, flags | NEXT * (n < last), (first + n + 1) * (n < last))
        for n, (address, length, flags) in enumerate(elements)
    )
    return descriptors(queue, first, *entries, size=size)


def descriptors(queue: int, first: int, *entries: tuple[int, int, int, int], size: int = SIZE) -> Put:
    """Raw descriptors: address, length, flags, next."""
    return Put(rings(queue, size)[0] + 16 * first, table(*entries))


def table(*entries: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<QIHH", *entry) for entry in entries)


def data(number: int, content: bytes) -> Put:
    """What is in a buffer that the device reads."""
    return Put(OUT + BUFFER * number, content)


def offer(queue: int, *heads: int, at: int = 0, size: int = SIZE) -> tuple[Step, ...]:
    """Put heads into the available ring from entry ``at`` on, and show them."""
    available = rings(queue, size)[1]
    entries = (Store(available + 4 + 2 * ((at + n) % size), 2, head) for n, head in enumerate(heads))
    return (*entries, Store(available + 2, 2, at + len(heads)))


def notify(queue: int) -> Store:
    return Store(NOTIFY + 4 * queue, 2, queue)


def send(queue: int, *heads: int, at: int = 0, size: int = SIZE) -> tuple[Step, ...]:
    """Offer, notify and wait until all were used."""
    return (*offer(queue, *heads, at=at, size=size), notify(queue), done(queue, at + len(heads), size=size))


def done(queue: int, count: int, *, size: int = SIZE) -> Poll:
    """Wait until the used index is ``count``."""
    return Poll(rings(queue, size)[2] + 2, 2, 0xFFFF, count)


def shown(queue: int, count: int, *, size: int = SIZE) -> Load:
    """The used index is ``count`` now."""
    return Load(rings(queue, size)[2] + 2, 2, count)


def used(queue: int, at: int, head: Expected, length: Expected, *, size: int = SIZE) -> tuple[Step, ...]:
    """An entry of the used ring."""
    entry = rings(queue, size)[2] + 4 + 8 * (at % size)
    return Load(entry, 4, head), Load(entry + 4, 4, length)


def avail_flags(queue: int, value: int) -> Store:
    return Store(rings(queue)[1], 2, value)


def used_event(queue: int, value: int) -> Store:
    return Store(rings(queue)[1] + 4 + 2 * SIZE, 2, value)


def avail_event(queue: int, expect: int) -> Load:
    return Load(rings(queue)[2] + 4 + 8 * SIZE, 2, expect)


def content(number: int, expect: bytes, offset: int = 0) -> tuple[Step, ...]:
    """What is in a buffer that the device writes."""
    at = IN + BUFFER * number + offset
    pieces = [expect[n : n + 8] for n in range(0, len(expect), 8)]
    return tuple(
        Load(at + 8 * n + m, size, int.from_bytes(piece[m : m + size], "little"))
        for n, piece in enumerate(pieces)
        for m, size in _aligned(len(piece))
    )


def _aligned(length: int) -> list[tuple[int, int]]:
    """Offsets and sizes of the loads that make up to 8 bytes."""
    found, at = [], 0
    for size in (8, 4, 2, 1):
        if length - at >= size:
            found.append((at, size))
            at += size
    return found


# The host's side.


def act(what: Callable[[Rig], object]) -> Host:
    """The host does something."""

    def do(rig: Rig) -> Iterable[Check]:
        what(rig)
        return ()

    return Host(do)


def elapse(ns: int) -> Host:
    """So much time passes for the device."""
    return act(lambda rig: rig.elapse(ns))


def seen(name: str, what: Callable[[Rig], object], want: object) -> Host:
    """What the host sees is this."""

    def look(rig: Rig) -> Iterable[Check]:
        got = what(rig)
        yield Check(name, str(want), str(got), got == want)

    return Host(look)


def arrives(frame: bytes, *, taken: bool = True) -> Host:
    """A frame comes over the cable; the adapter has room for it, or not."""
    return seen("room for the frame", lambda rig: rig.end.receive(frame), taken)


def sent(*frames: bytes) -> Host:
    """The frames that went out so far."""
    return seen("frames sent", lambda rig: rig.end.sent, list(frames))
