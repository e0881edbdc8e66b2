"""Measure disks behind SCSI controllers: processor time, so that a busy machine does not count.

    python benchmarks/scsi.py

A guest on the software engine reads with the payload drivers of PVSCSI and the 53C1030, from a disk in memory and from
an overlay; then what a request costs without a guest.  Exits with 1 where a bound is not met; where Unicorn is not
there it says so, and measures nothing.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import process_time

from unplugged import Unplugged, guest_memory

from virtproof.conformance.scsi_rig import SLOT
from virtproof.guest_payloads import images, program
from virtproof.spec import pvscsi
from virtproof.spec.pvscsi import Command, Flags, Request, SetupRings
from virtproof.vmm.board import Board
from virtproof.vmm.devices.lsi_mpt import LsiMpt
from virtproof.vmm.devices.pvscsi import PvScsi
from virtproof.vmm.disks.disk import Disk
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.overlay import Overlay
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.opening import EngineUnavailable, open_engine
from virtproof.vmm.events import EventLoop
from virtproof.vmm.machine import Machine
from virtproof.vmm.scsi.block import DiskUnit

SECTORS = 8192
LARGE, READS = 128, 4000  # sectors of a large read, and how many
SMALL, SMALL_READS = 1, 20_000
AT_ONCE = 16
ROUNDS = 3
WANTED = 100.0  # MB/s of large reads through PVSCSI


@dataclass(frozen=True, slots=True)
class Ended:
    """A measurement of a guest: requests and bytes a second."""

    requests: float
    bytes: float


def guest(
    engine: Engine, image: str, make: Callable[..., PvScsi | LsiMpt], disk: Disk, sectors: int, count: int
) -> Ended:
    """Have a payload driver read; the start of the guest is measured with no read, and does not count."""

    def furnish(machine: Machine) -> None:
        board = Board(machine)
        board.add(make({0: {0: DiskUnit(disk)}}, machine.after), slot=SLOT)

    def seconds(reads: int) -> float:
        arguments = [images.load(image).symbols["reads"], reads, sectors, AT_ONCE]
        start = process_time()
        ran = program.run(engine, image, memory=4 << 20, seconds=60, irqchip=True, arguments=arguments, furnish=furnish)
        if not ran.done or tuple(ran.observations) != (reads,):
            raise SystemExit(f"{image}: {ran.end}, {ran.observations} of {reads} reads")
        return process_time() - start

    took = min(seconds(count) for _ in range(ROUNDS)) - min(seconds(0) for _ in range(ROUNDS))
    return Ended(count / took, count * sectors * 512 / took)


def without_guest(count: int = 20_000) -> float:
    """Requests a second that the model of PVSCSI completes, 32 with each kick, 512 bytes each."""
    with guest_memory(1 << 20) as memory, EventLoop() as loop:
        adapter = PvScsi({0: {0: DiskUnit(FileDisk.in_memory(SECTORS))}}, loop.after)
        adapter.function.connect(memory, Unplugged())
        adapter.function.write_config(4, 2, 6)
        adapter.write(pvscsi.COMMAND, 4, Command.SETUP_RINGS)
        for (dword,) in struct.iter_unpack("<I", SetupRings(1, 1, 1, (2,), (3,)).pack()):
            adapter.write(pvscsi.COMMAND_DATA, 4, dword)
        cdb = struct.pack(">BxIxHx", 0x28, 0, 1)
        memory.write(0x2000, Request(7, 0x10000, 512, 0, 0, Flags.TO_HOST, cdb, len(cdb), bytes(8)).pack() * 32)
        start = process_time()
        for done in range(32, count + 32, 32):
            memory.write(0x1000, struct.pack("<I", done))
            memory.write(0x1010, struct.pack("<I", done - 32))
            adapter.write(pvscsi.KICK_RW_IO, 4, 0)
        took = process_time() - start
        (completed,) = struct.unpack("<I", memory.read(0x100C, 4))
        return float(completed / took)


def main() -> int:
    disk = FileDisk.in_memory(content=bytes(range(256)) * 2 * SECTORS)
    try:
        with open_engine("software") as engine:
            measure = partial(guest, engine)
            large = measure("pvscsi", PvScsi, disk, LARGE, READS)
            print(f"PVSCSI, {LARGE // 2} KiB reads:   {large.bytes / 1e6:8.0f} MB/s (wanted: {WANTED:.0f})")
            for name, image, make, of in (
                ("53C1030", "mpt", LsiMpt, disk),
                ("PVSCSI, overlay", "pvscsi", PvScsi, Overlay.in_memory(disk)),
            ):
                ended = measure(image, make, of, LARGE, READS)
                print(f"{name}, {LARGE // 2} KiB reads: {ended.bytes / 1e6:8.0f} MB/s")
            for name, image, make in (("PVSCSI", "pvscsi", PvScsi), ("53C1030", "mpt", LsiMpt)):
                ended = measure(image, make, disk, SMALL, SMALL_READS)
                print(f"{name}, {SMALL * 512} byte reads: {ended.requests:8.0f} a second")
    except EngineUnavailable as fault:
        print(fault)
        return 0
    print(f"PVSCSI without a guest:  {without_guest():8.0f} requests a second")
    return 0 if large.bytes / 1e6 >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
