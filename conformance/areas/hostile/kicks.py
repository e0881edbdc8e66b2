"""Processors that drive a controller each at the same time: two disks, two networks.

Sectors and frames have numbers, so that none is another's.
"""

from collections.abc import Iterator

from virtproof.conformance.cable import Cable
from virtproof.conformance.case import At, Case, HostScript, Program
from virtproof.conformance.guest import check_program
from virtproof.conformance.scsi_rig import sector
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.vmm.board import Board
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.devices.pvscsi import PvScsi
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.scsi.block import DiskUnit

VCPUS, ROUNDS, SECTORS = 4, 500, 0x1000
HBAS, NICS, PORTS = (0xE000_0000, 0xE001_0000), (0xE010_0000, 0xE012_0000), (0xC000, 0xC040)
CITE = (Cite("PCI Local Bus Specification 3.0", "'Bus Operation', 'Arbitration'"),)
ID, TITLE, SECONDS = "hostile.multi.parallel_kick", "Four processors keep two disks and two networks busy", 60.0

KICKS = Program(
    id=ID, title=TITLE, area="hostile", mode=Mode.LONG64, cite=CITE, image="races", vcpus=VCPUS, irqchip=True,
    memory=4 << 20, arguments=(At("a_controller_each"), VCPUS, ROUNDS), observations=(ROUNDS,) * VCPUS, seconds=SECONDS,
)  # fmt: skip


def kicks(engine: Engine) -> Iterator[Check]:
    cables = [Cable() for _ in NICS]

    def furnish(machine: Machine) -> None:
        board = Board(machine)
        for at in HBAS:
            disk = FileDisk.in_memory(SECTORS, b"".join(map(sector, range(SECTORS))))
            hba = PvScsi({0: {0: DiskUnit(disk)}}, machine.after)
            board.add(hba)
            hba.function.place([at])
        for number, (at, ports) in enumerate(zip(NICS, PORTS, strict=True)):
            nic = E1000(bytes((2, 0, 0, 0, 0, number)), cables[number], machine.after)
            board.add(nic)
            nic.function.place([at, ports])

    yield from check_program(KICKS, engine, furnish=furnish)
    for number, cable in enumerate(cables):
        sent = [int.from_bytes(frame[16:20], "little") for frame in cable.sent]
        in_order = sent == list(range(ROUNDS))
        yield Check(f"frames of network {number}", f"{ROUNDS}, in their order", f"{len(sent)}, {sent[:3]}...", in_order)


CASES: tuple[Case, ...] = (
    HostScript(id=ID, title=TITLE, area="hostile", mode=Mode.LONG64, cite=CITE, script=kicks, seconds=SECONDS),
)
