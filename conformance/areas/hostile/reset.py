"""A reset of the machine while all of its devices are at work.

Drivers (guest_payloads/devices/) are cut off one after the other in the middle of their rings, the machine is reset through
port CF9H, and what a BIOS and drivers would do begins anew: nothing of before may still be under way.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterator
from datetime import datetime
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
RESET_CONTROL, SYSTEM_RESET, RESET_CPU = 0xCF9, 2, 6
COMMAND, INTERRUPT_STATUS = 0x04, 1 << 19
DRAINED = 64  # turns of the event loop, each of which does all that is due
SLOTS = range(2, 8)


class Driver(NamedTuple):
    """A test of a payload, what it observes, and how many accesses before its end it is cut off: at a doorbell."""

    image: str
    test: str
    arguments: tuple[int, ...]
    observations: tuple[int, ...]
    before_end: int


# fmt: off
DRIVERS = (
    Driver("virtio_blk", "written", (16, 16),     (33, 16, 3), 3),
    Driver("pvscsi",     "reads",   (16, 1, 16),  (16,), 2),
    Driver("mpt",        "reads",   (16, 1, 16),  (16,), 20),
    Driver("vmxnet3",    "polled",  (32, 16, 64), (32, 4), 3),
    Driver("virtio_net", "polled",  (32, 16, 64), (32, 2), 2),
    Driver("e1000",      "carried", (32, 16, 64), (32,), 3),
)
# fmt: on


class Busy:
    """A machine with every device, on which one driver after the other runs."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.resets = self.accesses = 0
        self._ended: list[tuple[Event, int]] = []
        self._special = machine.vcpu.special_registers()
        self.board = Board(machine)
        self.platform = Platform(
            self.board, ram=MEMORY, start=datetime(2026, 11, 22), reset_machine=self._reset, after=machine.after
        )
        after, disks = machine.after, [FileDisk(HostFile.anonymous(SECTORS * 512)) for _ in range(3)]
        devices: tuple[PciDevice, ...] = (
            VirtioBlk(disks[0], after),
            PvScsi({0: {0: DiskUnit(disks[1])}}, after),
            LsiMpt({0: {0: DiskUnit(disks[2])}}, after),
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
        """What a write of 2, then 6, to port CF9H does, and what the monitor does then."""
        self.machine.bus.pio_out(RESET_CONTROL, 1, SYSTEM_RESET)
        self.machine.bus.pio_out(RESET_CONTROL, 1, RESET_CPU)
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


def all_busy(engine: Engine) -> Iterator[Check]:
    """Each driver runs once to be counted, once until the middle of its work, and once more after the reset."""
    with Machine(engine, ram=MEMORY, cpuid=engine.supported_cpuid()) as machine:
        busy = Busy(machine)
        busy.post()
        for driver in DRIVERS:
            yield from whole(busy, driver, "at first")
            early = busy.run(driver, busy.accesses - driver.before_end)
            yield Check(f"{driver.image}: ended before it was cut off", "no", str(early or "no"), not early)
        busy.reset()
        yield Check("resets asked for", "1", str(busy.resets), busy.resets == 1)
        before = machine.memory.read(0, MEMORY)
        for _ in range(DRAINED):
            machine.events.poll()
        after = machine.memory.read(0, MEMORY)
        touched = sum(map(operator.ne, before, after)) if before != after else 0  # one by one only where they differ
        yield Check("bytes of memory that a device wrote after the reset", "0", str(touched), not touched)
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
        area="hostile", mode=Mode.LONG64, cite=CITE, script=all_busy, seconds=60.0,
    ),
)  # fmt: skip
