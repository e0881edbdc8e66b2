"""A reset of the machine while all of its devices are at work.

Drivers (guest_payloads/devices/) leave adapters in the middle of their rings, and controllers with requests that wait for a
slow disk.  Then the guest resets the machine through port CF9H, and what a BIOS and drivers would do begins anew: nothing
of before may still be under way, however late.
"""

from __future__ import annotations

import operator
import struct
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import NamedTuple

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.packets import GUEST
from virtproof.guest_payloads import images
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.trampoline import Mode, start_state
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.spec.guest_protocol import REPORT_PORT, REPORT_PORTS, Event
from virtproof.spec.pci import CONFIG_ADDRESS, CONFIG_DATA
from virtproof.vmm.board import Board
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt
from virtproof.vmm.devices.pvscsi import PvScsi
from virtproof.vmm.devices.report import ReportPort
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.disks.file import FileDisk, HostFile
from virtproof.vmm.engine import Engine
from virtproof.vmm.firmware import post
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.pci.bus import PciDevice
from virtproof.vmm.platform import Platform
from virtproof.vmm.registers import Registers
from virtproof.vmm.scsi.block import DiskUnit

CITE = (Cite("Intel 82371AB (PIIX4) datasheet", "'Reset Control Register (RC)'"),)
MEMORY, RINGS = 4 << 20, 2 << 20  # of the guest; rings and buffers of most drivers are in its upper half
SECTORS, SECONDS = 8192, 20.0
HOUR = 3600 * 10**9
RESET = bytes.fromhex("66 ba f9 0c  b0 02 ee  b0 06 ee  f4")  # mov dx, CF9H; mov al, 2; out; mov al, 6; out; hlt
RESETS_AT = 0x9000  # below every program
COMMAND, INTERRUPT_STATUS = 0x04, 1 << 19
DRAINED = 64  # turns of the event loop, each of which does all that is due
SLOTS = range(2, 9)


class Driver(NamedTuple):
    """A test of a payload, what it observes, and how many accesses before its end it is cut off: at a doorbell.

    Without such a number it has a disk, and is cut off when a request has to wait.
    """

    image: str
    test: str
    arguments: tuple[int, ...]
    observations: tuple[int, ...]
    before_end: int = 0


# fmt: off
DRIVERS = (
    Driver("virtio_blk", "written", (16, 16),     (33, 16, 3)),
    Driver("virtio_scsi", "reads",  (16, 1, 16),  (16,)),
    Driver("pvscsi",     "reads",   (16, 1, 16),  (16,)),
    Driver("mpt",        "reads",   (16, 1, 16),  (16,)),
    Driver("vmxnet3",    "polled",  (32, 16, 64), (32, 4), 3),
    Driver("virtio_net", "polled",  (32, 16, 64), (32, 2), 2),
    Driver("e1000",      "carried", (32, 16, 64), (32,), 3),
)
# fmt: on


class Ahead:
    """Time that can be set forward."""

    def __init__(self) -> None:
        self.by = 0

    def now(self) -> int:
        return time.monotonic_ns() + self.by


class Slow(FileDisk):
    """A disk for which requests wait an hour once it is ``slow``; ``waiting`` is how many do."""

    slow = False
    waiting = 0
    stop: Callable[[], None]

    def delay(self, length: int) -> int:
        if not self.slow or not length:
            return 0
        self.waiting += 1
        self.stop()
        return HOUR

    def read(self, sector: int, count: int) -> bytes:
        self.waiting -= self.slow
        return super().read(sector, count)

    def write(self, sector: int, data: bytes) -> None:
        self.waiting -= self.slow
        super().write(sector, data)


class Busy:
    """A machine with every device, on which one driver after the other runs."""

    def __init__(self, machine: Machine, clock: Ahead, lsi: str) -> None:
        self.clock = clock
        self.machine = machine
        self.resets = self.accesses = 0
        self._ended: list[tuple[Event, int]] = []
        self._special = machine.vcpu.special_registers()
        self.board = Board(machine)
        self.platform = Platform(
            self.board, ram=MEMORY, start=datetime(2026, 11, 22), reset_machine=self._reset, after=machine.after
        )
        after = machine.after
        self.disks = disks = [Slow(HostFile.anonymous(SECTORS * 512)) for _ in range(4)]
        for disk in disks:
            disk.stop = machine.stop
        devices: tuple[PciDevice, ...] = (
            VirtioBlk(disks[0], after),
            VirtioScsi({0: {0: DiskUnit(disks[1])}}, after),
            PvScsi({0: {0: DiskUnit(disks[2])}}, after),
            LsiMpt({0: {0: DiskUnit(disks[3])}}, after, model=lsi),
            Vmxnet3(GUEST, Loopback(after), after),
            VirtioNet(GUEST, Loopback(after), after),
            E1000(GUEST, Loopback(after), after),
        )
        for slot, device in zip(SLOTS, devices, strict=True):
            self.board.add(device, slot=slot)
        machine.bus.add_ports(REPORT_PORT, REPORT_PORTS, ReportPort(self._report), "guest protocol")

    def post(self) -> None:
        """Give the devices their places, as a BIOS does."""
        post.configure(self.board, self.platform, MEMORY)

    def run(self, driver: Driver, accesses: int = 0) -> tuple[int, ...]:
        """What the driver observes; nothing where it is stopped at its access of that number."""
        image, machine = images.load(driver.image), self.machine
        words = (image[driver.test], *driver.arguments)
        self._ended.clear()
        self.accesses = 0

        def trace(kind: str, address: int, size: int, is_write: bool, value: int) -> None:
            self.accesses += 1
            if self.accesses == accesses:
                machine.stop()

        machine.bus.trace = trace
        machine.memory.load(0, bytes(RINGS))  # of the program before
        machine.memory.load(image["image"], image.data)
        machine.memory.load(image["arguments"], struct.pack(f"<{len(words)}Q", *words))
        machine.vcpu.set_special_registers(start_state(Mode.LONG64, image, self._special))
        machine.vcpu.set_registers(Registers(rip=image["entry"], rsp=image["stack_top"]))
        machine.run(SECONDS)
        return self._observed(image)

    def reset(self) -> None:
        """The guest writes 2, then 6, to port CF9H, and the monitor does what it does then."""
        self.machine.bus.trace = None
        self.machine.memory.load(RESETS_AT, RESET)
        self.machine.vcpu.set_registers(Registers(rip=RESETS_AT))
        self.machine.run(SECONDS)
        self.board.reset()
        self.platform.reset()

    def command(self, slot: int) -> int:
        """Command and status of a function."""
        self.machine.bus.pio_out(CONFIG_ADDRESS, 4, 1 << 31 | slot << 11 | COMMAND)
        return self.machine.bus.pio_in(CONFIG_DATA, 4)

    def _observed(self, image: Image) -> tuple[int, ...]:
        if not self._ended or self._ended[0][0] is not Event.DONE:
            return ()
        count = self._ended[0][1]
        return struct.unpack(f"<{count}Q", self.machine.memory.read(image["observations"], 8 * count))

    def _report(self, event: Event, argument: int) -> None:
        self._ended.append((event, argument))
        self.machine.stop()

    def _reset(self) -> None:
        self.resets += 1
        self.machine.stop()


def all_busy(engine: Engine, lsi: str) -> Iterator[Check]:
    """Each driver runs once to be counted, once until the middle of its work, and once more after the reset."""
    clock = Ahead()
    with Machine(engine, ram=MEMORY, cpuid=engine.supported_cpuid(), clock=clock) as machine:
        busy = Busy(machine, clock, lsi)
        busy.post()
        cut_off = []
        for driver in DRIVERS:
            yield from whole(busy, driver, "at first")
            cut_off.append(busy.accesses - driver.before_end if driver.before_end else 0)
        for disk in busy.disks:
            disk.slow = True
        for driver, accesses in zip(DRIVERS, cut_off, strict=True):
            early = busy.run(driver, accesses)
            yield Check(f"{driver.image}: ended before it was cut off", "no", str(early or "no"), not early)
        waiting = [disk.waiting for disk in busy.disks]
        yield Check("disks for which requests wait", str(len(waiting)), str(waiting), all(waiting))
        busy.reset()
        yield Check("resets asked for", "1", str(busy.resets), busy.resets == 1)
        before = machine.memory.read(0, MEMORY)
        clock.by += 2 * HOUR
        for _ in range(DRAINED):
            machine.events.poll()
        after = machine.memory.read(0, MEMORY)
        touched = sum(map(operator.ne, before, after)) if before != after else 0  # one by one only where they differ
        yield Check("bytes of memory that a device wrote after the reset", "0", str(touched), not touched)
        still = [disk.waiting for disk in busy.disks]
        yield Check("requests that went to no disk later", str(waiting), str(still), still == waiting)
        for disk in busy.disks:
            disk.slow = False
        for slot in SLOTS:
            seen = busy.command(slot) & (INTERRUPT_STATUS | 7)
            yield Check(f"slot {slot}: decoding, bus mastering or interrupting", "0", f"{seen:#x}", not seen)
        busy.post()
        for driver in DRIVERS:
            yield from whole(busy, driver, "after the reset")


def whole(busy: Busy, driver: Driver, when: str) -> Iterator[Check]:
    """The driver runs to its end, and all is right."""
    want, saw = str(driver.observations), str(busy.run(driver))
    yield Check(f"{driver.image}, {when}", want, saw, want == saw)


CASES: tuple[Case, ...] = (
    HostScript(
        id="hostile.multi.reset_all_busy", title="A reset while adapters and disks are at work leaves nothing under way",
        area="hostile", mode=Mode.LONG64, cite=CITE, script=partial(all_busy, lsi="53c1030"), seconds=60.0,
    ),
    HostScript(
        id="hostile.multi.reset_all_busy.sas", title="... with a SAS controller in place of a parallel one",
        area="hostile", mode=Mode.LONG64, cite=CITE, script=partial(all_busy, lsi="sas1068"), seconds=60.0,
    ),
)  # fmt: skip
