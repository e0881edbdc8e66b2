"""What carrying packets costs with each network adapter: a driver in a guest sends frames and gets them back.

Emulated and paravirtual adapters have the same work to do here: frames of one size go out, come back through a loopback
at the other end of the cable, and are looked at.  What differs is how often the driver has to touch a register for it,
each time with a way out of the guest and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from virtproof.guest_payloads.metered import drive
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.pci.bus import PciDevice

MAC = bytes.fromhex("525400123456")
BATCH = 64  # packets with one doorbell; buffers that a driver gives back with one
PACKETS = 512  # a multiple of BATCH


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


def carry(engine: Engine, adapter: Adapter, way: Way, packets: int = PACKETS) -> Carried:
    """Carry ``packets`` (a multiple of ``BATCH``) in a guest of their own.  Raises Fault where the engine fails."""
    test = adapter.polled if way.kind == "batch" else adapter.by_interrupt
    found = drive(engine, adapter.image, test, adapter.make, (packets, BATCH, way.size), (packets, "packets"))
    if found.reason:
        return Carried(adapter, way, reason=found.reason)
    return Carried(adapter, way, packets, found.exits, found.seconds)
