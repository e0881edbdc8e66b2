"""What carrying packets costs with each network adapter: a driver in a guest sends frames and gets them back.

Emulated and paravirtual adapters have the same work to do here: frames of one size go out, come back through a loopback
at the other end of the cable, and are looked at.  What differs is how often the driver has to touch a register for it,
each time with a way out of the guest and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from virtproof.guest_payloads import images, program
from virtproof.guest_payloads.program import Ran
from virtproof.spec.guest_protocol import HOST_PORT
from virtproof.vmm.board import Board
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Timeout
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.pci.bus import PciDevice

SLOT = 3
MAC = bytes.fromhex("525400123456")
MEMORY = 4 << 20
SECONDS = 20.0  # for one row
BATCH = 16  # packets with one doorbell; buffers that a driver gives back with one
PACKETS = 512  # a multiple of BATCH
BEGIN, END = 0, 1  # acts by which the driver says that its rings are set up, and that all is back


@dataclass(frozen=True, slots=True)
class Adapter:
    """A model, and the payload that drives it; its tests take packets, how many at a time, and bytes of one."""

    name: str
    title: str
    image: str
    make: Callable[[Machine], PciDevice]
    polled: str = "polled"
    by_interrupt: str = "by_interrupt"


# fmt: off
ADAPTERS = (
    Adapter("e1000",      "Intel 82540EM (emulated)", "e1000",
            lambda machine: E1000(MAC, Loopback(machine.after), machine.after), "carried", "carried_by_interrupt"),
    Adapter("vmxnet3",    "VMXNET3 (paravirtual)",    "vmxnet3",
            lambda machine: Vmxnet3(MAC, Loopback(machine.after), machine.after)),
    Adapter("virtio-net", "virtio-net (paravirtual)", "virtio_net",
            lambda machine: VirtioNet(MAC, Loopback(machine.after), machine.after)),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Way:
    """How the packets go: their size in bytes, and how the driver learns that they have come."""

    size: int
    kind: Literal["single", "batch"]

    @property
    def title(self) -> str:
        how = "one by one, by interrupt" if self.kind == "single" else f"{BATCH} at a time, polled"
        return f"{self.size} bytes, {how}"


WAYS = tuple(Way(size, kind) for kind in ("single", "batch") for size in (64, 1500))


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of one adapter and one way.

    ``exits`` are accesses to devices that came to the monitor, ``seconds`` the time between the first and the last.
    Without packets ``reason`` says why.
    """

    adapter: Adapter
    way: Way
    packets: int = 0
    exits: int = 0
    seconds: float = 0.0
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.adapter.name}-{self.way.size}-{self.way.kind}"

    @property
    def title(self) -> str:
        return f"{self.adapter.title}: {self.way.title}"


class _Meter:
    """The port by which the driver says when to count, and the count."""

    def __init__(self) -> None:
        self.exits = 0
        self.seconds = 0.0
        self._began = 0.0
        self._counting = False

    def trace(self, kind: Literal["pio", "mmio"], address: int, size: int, is_write: bool, value: int) -> None:
        self.exits += self._counting and (kind, address) != ("pio", HOST_PORT)

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if value == BEGIN:
            self._counting, self._began = True, perf_counter()
        elif value == END and self._counting:
            self._counting, self.seconds = False, perf_counter() - self._began


def carry(engine: Engine, adapter: Adapter, way: Way, packets: int = PACKETS) -> Carried:
    """Carry ``packets`` (a multiple of ``BATCH``) in a guest of their own.  Raises Fault where the engine fails."""
    meter = _Meter()

    def furnish(machine: Machine) -> None:
        Board(machine).add(adapter.make(machine), slot=SLOT)
        machine.bus.add_ports(HOST_PORT, 1, meter, "meter")
        machine.bus.trace = meter.trace

    test = adapter.polled if way.kind == "batch" else adapter.by_interrupt
    ran = program.run(
        engine, adapter.image, memory=MEMORY, seconds=SECONDS, irqchip=True,
        arguments=(images.load(adapter.image)[test], packets, BATCH, way.size), furnish=furnish,
    )  # fmt: skip
    if reason := _failure(ran, packets):
        return Carried(adapter, way, reason=reason)
    return Carried(adapter, way, packets, meter.exits, meter.seconds)


def _failure(ran: Ran, packets: int) -> str:
    """Why there is no figure; empty where there is one."""
    if ran.fault is not None:
        return f"the driver ended with fault {ran.fault:#x}"
    if isinstance(ran.end, Timeout):
        return f"the packets were not back within {SECONDS:g} s"
    if not ran.done:
        return str(ran.end)
    if ran.observations[0] != packets:
        return f"{ran.observations[0]} of {packets} packets came back as they were sent"
    return ""
