"""Network adapter and disks under drivers: programs in C that keep the queues turning (devices/virtio_*.c).

What the adapter sends comes back through a loopback, or is counted.  What the driver of the SCSI host observes is in
devices/scsi.h, at the test of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from virtproof.conformance.case import At, Case, HostScript, Program, Script
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.guest import GuestStopped, check_program, run_program
from virtproof.conformance.scsi_rig import SECTORS as SCSI_SECTORS
from virtproof.conformance.scsi_rig import driver_of
from virtproof.conformance.slices import Slice, sliced
from virtproof.conformance.virtio import BAR, CONTENT, FUNCTION, MAC, MSIX, PORTS, SECTORS, Medium, virtio
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.vmm.board import Board
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.devices.virtio.transport import BAR_SIZE
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.network.port import Port

MEMORY = 4 << 20
PACKETS, BATCH, SIZE = 512, 128, 64
FRAMES, AT_ONCE = 70_000, 250  # more than an index counts
SETUP = 100  # accesses before the first packet, by far


class Counter:
    """A port that counts frames and remembers one."""

    def __init__(self) -> None:
        self.sent: dict[bytes, int] = {}

    def send(self, frame: bytes) -> None:
        self.sent[frame] = self.sent.get(frame, 0) + 1

    def connect(self, receive: Callable[[bytes], bool]) -> None: ...
    def ready(self) -> None: ...


def plug(machine: Machine, port: Port) -> None:
    device = VirtioNet(MAC, port, machine.after)
    Board(machine).add(device, slot=FUNCTION >> 3)
    device.function.place([PORTS, MSIX, BAR])


def looped(machine: Machine) -> None:
    plug(machine, Loopback(machine.after))


def disk(machine: Machine) -> None:
    device = VirtioBlk(Medium(), machine.after)
    Board(machine).add(device, slot=FUNCTION >> 3)
    device.function.place([PORTS, MSIX, BAR])


def unplaced(machine: Machine) -> None:
    """Nobody has given its windows addresses: the driver does."""
    Board(machine).add(VirtioNet(MAC, Loopback(machine.after), machine.after, legacy=False), slot=FUNCTION >> 3)


def program(
    image: str, test: str, *arguments: int, observations: tuple[int, ...] = (), irqchip: bool = False
) -> Program:
    return Program(
        id=test, title="", area="virtio", mode=Mode.LONG64, cite=(), image=image, memory=MEMORY, seconds=20.0, irqchip=irqchip,
        arguments=(At(test), *arguments), observations=observations,
    )  # fmt: skip


def counted(engine: Engine) -> Iterator[Check]:
    """The driver's own count of its notifications is one thing, what came out of the guest another."""
    exits = 0

    def furnish(machine: Machine) -> None:
        looped(machine)

        def trace(kind: str, address: int, size: int, is_write: bool, value: int) -> None:
            nonlocal exits
            exits += kind == "mmio" and address in range(BAR, BAR + BAR_SIZE)

        machine.bus.trace = trace

    ran = run_program(program("virtio_net", "polled", PACKETS, BATCH, SIZE), engine, furnish=furnish)
    if not ran.done:
        raise GuestStopped(str(ran.end) if ran.fault is None else f"{mnemonic(ran.fault)} that nobody expected")
    good, bells = ran.observations
    most = PACKETS // 16 + SETUP
    yield Check("packets", str(PACKETS), str(good), good == PACKETS)
    yield Check("accesses to registers", f"at most {most}", str(exits), exits <= most)
    yield Check("packets by notification", "16 or more", f"{PACKETS / bells:.1f}", bells * 16 <= PACKETS)


def wrapped(engine: Engine) -> Iterator[Check]:
    """Both indices pass 2^16, and every frame goes out."""
    counter = Counter()
    guest = program("virtio_net", "wrap", FRAMES, AT_ONCE, SIZE, observations=(FRAMES, FRAMES % (1 << 16)))
    yield from check_program(guest, engine, furnish=lambda machine: plug(machine, counter))
    yield Check(
        "frames sent",
        f"{FRAMES}, all the same",
        str(sorted(counter.sent.values())),
        list(counter.sent.values()) == [FRAMES],
    )


def script(name: str, title: str, run: Script, cite: Cite, priority: int = 1) -> HostScript:
    return HostScript(
        id=name, title=title, area="virtio", mode=Mode.LONG64, cite=(cite,), script=run, priority=priority, seconds=20.0
    )


def driven(
    name: str,
    title: str,
    where: str,
    furnish: Callable[[Machine], None],
    image: str,
    test: str,
    *arguments: int,
    observations: tuple[int, ...],
    irqchip: bool = False,
) -> HostScript:
    guest = program(image, test, *arguments, observations=observations, irqchip=irqchip)
    return script(name, title, partial(check_program, guest, furnish=furnish), virtio(where), 2)


on_host = partial(
    driver_of("virtio", "virtio_scsi", virtio("'SCSI Host Device', 'Device Operation: Request Queues'")), VirtioScsi
)
DISK = "'Block Device', 'Device Operation'"
# fmt: off
CASES: tuple[Case, ...] = (
    script("virtio.ring.idx_wrap", "Indices pass 65535 and go on", wrapped, virtio("'The Virtqueue Available Ring'")),
    script("virtio.net.bells", "64-byte frames take one access to a register for 16 packets or more", counted, virtio("'Available Buffer Notification Suppression'"), 2),
    driven("virtio.pci.walk", "A driver that walks the capabilities finds structures of all five types", "'Virtio Structure PCI Capabilities'", looped, "virtio_net", "structures", observations=(0b111110, 0x020000)),
    driven("virtio.net.polled", "A driver that polls gets back all that it sends, many times round its rings", "'Packet Transmission'", looped, "virtio_net", "polled", 600, 30, SIZE, observations=(600, 20)),
    driven("virtio.net.unplaced", "... and one that places the windows itself", "'PCI Device Layout'", unplaced, "virtio_net", "polled", 60, 30, SIZE, observations=(60, 2)),
    driven("virtio.net.by_interrupt", "A driver that halts is woken for each packet", "'MSI-X Vector Configuration'", looped, "virtio_net", "by_interrupt", 64, 1, SIZE, observations=(64, 64), irqchip=True),
    *sliced(Slice("virtio", "virtio_net", (virtio("'Network Device', 'Device Operation'"),), plug), "virtio.net.segments", "virtio.net.rate_limit"),
    driven("virtio.blk.capacity_driver", "A driver reads how large the disk is", "'Block Device', 'Device configuration layout'", disk, "virtio_blk", "capacity", observations=(SECTORS, 512)),
    driven("virtio.blk.written", "What a driver has written and flushed it reads again", DISK, disk, "virtio_blk", "written", SECTORS, 16, observations=(2 * SECTORS + 1, SECTORS, 2 * SECTORS // 16 + 1)),
    driven("virtio.blk.by_interrupt", "A driver that halts is woken for each request", DISK, disk, "virtio_blk", "by_interrupt", 32, observations=(32, sum(CONTENT[: 32 * 512 : 512]), 32), irqchip=True),
    on_host("virtio.scsi.drv.capacity",   "The disk of a SCSI host is ready, and so large",      "capacity", (1, 0, SCSI_SECTORS - 1, 512), priority=2),
    on_host("virtio.scsi.drv.batches",    "Sixteen requests with one notification",              "batches", (64,), priority=2),
    on_host("virtio.scsi.drv.scattered",  "Data from and into four pieces",                      "scattered", (1, 1, 0), priority=2),
    on_host("virtio.scsi.drv.errors",     "Errors are told, and what follows goes well",         "errors", (2, 5, 0x21, 1, 1), priority=2),
    on_host("virtio.scsi.drv.interrupts", "An interrupt for each completion, and none without",  "interrupt_driven", (21, 20, 0), priority=2),
)
# fmt: on
