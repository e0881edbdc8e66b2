"""A machine with a board full of devices, saved in the middle of a driver's work, goes on in another machine."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode, start_state
from virtproof.spec.guest_protocol import REPORT_PORT, REPORT_PORTS, Event
from virtproof.vmm.board import Board
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt
from virtproof.vmm.devices.pvscsi import PvScsi
from virtproof.vmm.devices.report import ReportPort
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.disks.file import FileDisk, HostFile
from virtproof.vmm.engines.software import SoftwareEngine
from virtproof.vmm.events import After
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.inbox import Inbox
from virtproof.vmm.registers import Registers
from virtproof.vmm.scsi.block import DiskUnit
from virtproof.vmm.state import restore, save
from virtproof.vmm.state_file import read_state, write_state

MAC = bytes.fromhex("525400123456")
SECTORS, SECONDS = 8192, 20.0
DRIVERS = (
    ("e1000", "carried", (64, 16, 64), (64,)),
    ("vmxnet3", "polled", (64, 16, 64), (64, 8)),
    ("virtio_net", "polled", (64, 16, 64), (64, 4)),
    ("virtio_blk", "written", (64, 16), (129, 64, 9)),
    ("pvscsi", "batches", (), (64,)),
    ("mpt", "batches", (), (64,)),
)


class Wire:
    """A loopback that outlives machines: what is under way arrives at the one that goes on."""

    def __init__(self) -> None:
        self.under_way: list[bytes] = []
        self._inbox: Inbox

    def plug(self, after: After) -> Wire:
        self._inbox = Inbox(after)
        return self

    def send(self, frame: bytes) -> None:
        self.under_way.append(frame)
        self._inbox.put(frame)

    def connect(self, receive: Callable[[bytes], bool]) -> None:
        def deliver(frame: bytes) -> bool:
            taken = receive(frame)
            if taken:
                self.under_way.remove(frame)
            return taken

        self._inbox.connect(deliver)

    def ready(self) -> None:
        self._inbox.ready()

    def resume(self) -> None:
        for frame in self.under_way:
            self._inbox.put(frame)


class World:
    """What is outside the machines: cables and disks, and what the guest reports."""

    def __init__(self) -> None:
        self.wires = [Wire(), Wire(), Wire()]
        self.disks = [FileDisk(HostFile.anonymous(SECTORS * 512)) for _ in range(3)]
        self.reported: list[tuple[Event, int]] = []

    def furnish(self, machine: Machine) -> None:
        def reports(event: Event, argument: int) -> None:
            self.reported.append((event, argument))
            machine.stop()

        after, board = machine.after, Board(machine)
        wires = [wire.plug(after) for wire in self.wires]
        board.add(E1000(MAC, wires[0], after))
        board.add(Vmxnet3(MAC, wires[1], after))
        board.add(VirtioNet(MAC, wires[2], after))
        board.add(PvScsi({0: {0: DiskUnit(self.disks[0])}}, after))
        board.add(LsiMpt({0: {0: DiskUnit(self.disks[1])}}, after))
        board.add(VirtioBlk(self.disks[2], after))
        machine.bus.add_ports(REPORT_PORT, REPORT_PORTS, ReportPort(reports), "guest protocol")

    def resume(self) -> None:
        for wire in self.wires:
            wire.resume()


def stop_after(machine: Machine, accesses: int) -> None:
    """Stop the machine at its access of that number."""
    left = accesses

    def trace(kind: str, address: int, size: int, is_write: bool, value: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            machine.stop()

    machine.bus.trace = trace


@pytest.mark.parametrize(("name", "test", "arguments", "wanted"), DRIVERS, ids=[row[0] for row in DRIVERS])
def test_a_driver_goes_on(
    software: SoftwareEngine, tmp_path: Path, name: str, test: str, arguments: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    """Its machine is saved and made anew every few accesses: between a doorbell and what comes of it, too."""
    image, world = images.load(name), World()
    words = (image[test], *arguments)
    machine = Machine(software, ram=4 << 20, cpuid=software.supported_cpuid(), irqchip="user", pit=True)
    world.furnish(machine)
    machine.memory.load(image["image"], image.data)
    machine.memory.load(image["arguments"], struct.pack(f"<{len(words)}Q", *words))
    machine.vcpu.set_special_registers(start_state(Mode.LONG64, image, machine.vcpu.special_registers()))
    machine.vcpu.set_registers(Registers(rip=image["entry"], rsp=image["stack_top"]))
    moves = 0
    while not world.reported:
        with machine:
            stop_after(machine, 29 if name == "mpt" else 7)
            machine.run(SECONDS)
            if world.reported:
                seen = machine.memory.read(image["observations"], 8 * len(wanted))
                break
            moves += 1
            write_state(tmp_path / "state", save(machine))
        machine, missing = restore(software, read_state(tmp_path / "state"), world.furnish)
        world.resume()
        assert [text for text in missing if "PCI" in text] == []
    assert moves > 10
    assert world.reported == [(Event.DONE, len(wanted))]
    assert struct.unpack(f"<{len(wanted)}Q", seen) == wanted
