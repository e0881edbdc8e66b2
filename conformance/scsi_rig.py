"""A board with one SCSI controller and its disks, for device scripts.

Target 0 has a disk of ``SECTORS`` sectors, each filled with its number, as LUN 0, and a write-protected one of the same
content as LUN 1; target 1 has a disk whose rate limit lets one request through in ``SLOW`` ns; target 2 has one
of 3 TiB; target 3 a CD-ROM.  Time stands still but for ``elapse``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from virtproof.conformance.case import Case, HostScript, programs_of
from virtproof.conformance.device_script import Host, Load
from virtproof.conformance.guest import check_program
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.spec.scsi import CD_BLOCK
from virtproof.vmm.board import Board
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.rate import RateLimit
from virtproof.vmm.events import After, EventLoop, ManualClock
from virtproof.vmm.machine import Machine
from virtproof.vmm.pci.bus import PciDevice
from virtproof.vmm.scsi.block import DiskUnit
from virtproof.vmm.scsi.cdrom import CdRomUnit
from virtproof.vmm.scsi.target import LogicalUnit

SLOT = 3
FUNCTION = SLOT << 3
SECTORS = 8192
BIG = 6 << 30  # sectors
SLOW = 1_000_000_000
CD_BLOCKS = 16

Targets = Mapping[int, Mapping[int, LogicalUnit]]
Make = Callable[[Targets, After], PciDevice]


class Flushed(FileDisk):
    """A disk that counts flushes."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1
        super().flush()


class ReadOnly(FileDisk):
    """A disk with its tab set."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.read_only = True


def sector(number: int) -> bytes:
    """What the disks hold at first."""
    return number.to_bytes(2, "little") * 256


class Rig(Board):
    """``controller`` is placed at ``addresses``; ``disk`` is that of target 0."""

    def __init__(self, machine: Machine, make: Make, *addresses: int) -> None:
        super().__init__(machine)
        self.loop = EventLoop(ManualClock())
        content = b"".join(map(sector, range(64)))
        self.disk = Flushed.in_memory(SECTORS, content)
        protected = ReadOnly.in_memory(SECTORS, content)
        slow = RateLimit(FileDisk.in_memory(SECTORS), 1_000_000, 1, self.loop.clock, smallest=1000 * SLOW // 1_000_000)
        disc = FileDisk.in_memory(content=b"".join(bytes([n]) * CD_BLOCK for n in range(CD_BLOCKS)))
        self.units: dict[int, dict[int, LogicalUnit]] = {
            0: {0: DiskUnit(self.disk, "disk-0"), 1: DiskUnit(protected, "disk-1")},
            1: {0: DiskUnit(slow, "disk-2")},
            2: {0: DiskUnit(FileDisk.in_memory(BIG), "disk-3")},
            3: {0: CdRomUnit(disc)},
        }
        self.controller = make(self.units, self.loop.after)
        self.add(self.controller, slot=SLOT)
        self.controller.function.place(addresses)

    def elapse(self, nanoseconds: int) -> None:
        """Let time pass, and do what is due."""
        clock = self.loop.clock
        assert isinstance(clock, ManualClock)
        clock.advance(nanoseconds)
        self.loop.poll()


def rig(make: Make, *addresses: int) -> Callable[[Machine], Rig]:
    return partial(_made, make, addresses)


def _made(make: Make, addresses: tuple[int, ...], machine: Machine) -> Rig:
    return Rig(machine, make, *addresses)


def elapse(nanoseconds: int = 0) -> Host:
    """Let time pass."""
    return Host(lambda rig: rig.elapse(nanoseconds))


def on_disk(first: int, content: bytes) -> Host:
    """The disk of target 0 holds ``content`` from sector ``first`` on."""

    def look(rig: Rig) -> Iterable[Check]:
        found = rig.disk.read(first, len(content) // 512)
        yield Check(f"sectors from {first} on", content[:16].hex(), found[:16].hex(), found == content)

    return Host(look)


def unchanged() -> Host:
    """Nothing was written to the disk of target 0."""
    return on_disk(0, b"".join(map(sector, range(64))))


def read10(first: int, count: int) -> bytes:
    return struct.pack(">BxIxHx", 0x28, first, count)


def write10(first: int, count: int) -> bytes:
    return struct.pack(">BxIxHx", 0x2A, first, count)


def holds(address: int, content: bytes) -> tuple[Load, ...]:
    """Guest memory holds these bytes; whole qwords."""
    return tuple(
        Load(address + at, 8, int.from_bytes(content[at : at + 8], "little")) for at in range(0, len(content), 8)
    )


def big_endian(value: int, size: int) -> int:
    """What a little-endian load of ``size`` bytes finds of a big-endian number."""
    return int.from_bytes(value.to_bytes(size, "big"), "little")


def bounded(limit: int = 1_000_000) -> Host:
    """The controller has nothing left to do, and did it in a bounded number of turns."""

    def look(rig: Rig) -> Iterable[Check]:
        turns = 0
        while rig.loop.waiting and turns < limit:
            rig.elapse(SLOW)
            turns += 1
        yield Check("turns of the event loop until the controller rests", f"below {limit}", str(turns), turns < limit)

    return Host(look)


def driver_of(area: str, image: str, *cite: Cite) -> Callable[..., HostScript]:
    """A maker of cases that run a test of a payload driver: controller, id, title, test, what it observes."""
    program = programs_of(area, image, *cite, memory=4 << 20, seconds=20.0)

    def case(make: Make, *row: Any, **more: Any) -> HostScript:
        made = program(*row, **more)
        script = partial(check_program, made, furnish=partial(_plugged, make))
        return HostScript(script=script, **{field.name: getattr(made, field.name) for field in fields(Case)})

    return case


def _plugged(make: Make, machine: Machine) -> None:
    board = Board(machine)
    board.add(make({0: {0: DiskUnit(FileDisk.in_memory(SECTORS))}}, machine.after), slot=SLOT)
