"""What requests cost with each controller of disks: a driver in a guest reads, halted until what it asked for is there.

Emulated and paravirtual controllers have the same work to do here: reads of one size from a disk in the host's memory.
What differs is how often the driver has to touch a register for it, each time with a way out of the guest and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from virtproof.guest_payloads.metered import drive
from virtproof.vmm.devices.lsi_mpt import LsiMpt
from virtproof.vmm.devices.pvscsi import PvScsi
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.pci.bus import PciDevice
from virtproof.vmm.scsi.block import DiskUnit
from virtproof.vmm.scsi.target import LogicalUnit

SECTOR = 512
SECTORS = 16384  # of the disk: 8 MiB
DEPTH = 16  # requests at a time


@dataclass(frozen=True, slots=True)
class Controller:
    """A model, and the payload that drives it by its test ``served``."""

    name: str
    title: str
    image: str
    make: Callable[[Machine], PciDevice]


def _targets() -> dict[int, dict[int, LogicalUnit]]:
    return {0: {0: DiskUnit(_disk())}}


def _disk() -> FileDisk:
    return FileDisk.in_memory(content=_content())


@cache
def _content() -> bytes:
    """Each sector begins with its number."""
    return b"".join(number.to_bytes(4, "little").ljust(SECTOR, b"\0") for number in range(SECTORS))


# fmt: off
CONTROLLERS = (
    Controller("53c1030",     "LSI 53C1030 (emulated)",      "mpt",
               lambda machine: LsiMpt(_targets(), machine.after)),
    Controller("sas1068",     "LSI SAS1068 (emulated)",      "mpt",
               lambda machine: LsiMpt(_targets(), machine.after, model="sas1068")),
    Controller("pvscsi",      "PVSCSI (paravirtual)",        "pvscsi",
               lambda machine: PvScsi(_targets(), machine.after)),
    Controller("virtio-blk",  "virtio-blk (paravirtual)",    "virtio_blk",
               lambda machine: VirtioBlk(_disk(), machine.after)),
    Controller("virtio-scsi", "virtio-scsi (paravirtual)",   "virtio_scsi",
               lambda machine: VirtioScsi(_targets(), machine.after)),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for: reads of ``size`` bytes, so many at a time (the queue depth), and where."""

    size: int
    where: Literal["random", "sequential"]
    depth: int
    requests: int  # a multiple of ``DEPTH``

    @property
    def name(self) -> str:
        return f"{self.size >> 10}k-{self.where}-qd{self.depth}"

    @property
    def title(self) -> str:
        how = "one by one" if self.depth == 1 else f"{self.depth} at a time"
        return f"{self.size >> 10} KiB, {self.where}, {how}"


LOADS = (
    Load(4 << 10, "random", 1, 256),
    Load(4 << 10, "random", DEPTH, 256),
    Load(64 << 10, "sequential", 1, 64),
    Load(64 << 10, "sequential", DEPTH, 64),
)


@dataclass(frozen=True, slots=True)
class Served:
    """What came of one controller and one load; without requests ``reason`` says why."""

    controller: Controller
    load: Load
    requests: int = 0
    exits: int = 0
    seconds: float = 0.0
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.controller.name}-{self.load.name}"

    @property
    def title(self) -> str:
        return f"{self.controller.title}: {self.load.title}"


def serve(engine: Engine, controller: Controller, load: Load) -> Served:
    """Do the requests of a load in a guest of their own.  Raises Fault where the engine fails."""
    arguments = load.requests, load.depth, load.size, SECTORS, load.where == "random"
    wanted = load.requests, "requests"
    found = drive(engine, controller.image, "served", controller.make, arguments, wanted)
    if found.reason:
        return Served(controller, load, reason=found.reason)
    return Served(controller, load, load.requests, found.exits, found.seconds)
