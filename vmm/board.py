"""The board of a PC with an Intel 440FX and a PIIX3 around a machine: PCI, its interrupt lines, and a BIOS in ROM.

with Machine(engine, ram=64 << 20, cpuid=..., irqchip="kernel", pit=True) as machine:
    board = Board(machine)
    board.add(VirtioRng(...))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from virtproof.spec import i440fx
from virtproof.spec.i440fx import Attributes, Segment
from virtproof.spec.pci import CONFIG_ADDRESS, CONFIG_PORTS
from virtproof.vmm.bus import Bus
from virtproof.vmm.devices.i440fx import HostBridge
from virtproof.vmm.devices.piix3 import IsaBridge
from virtproof.vmm.events import EventLoop, Timer
from virtproof.vmm.interrupts import InterruptSink
from virtproof.vmm.memory import GuestMemory
from virtproof.vmm.pci.bus import ConfigPorts, PciBus, PciDevice
from virtproof.vmm.shadow import ShadowedMemory


class Wired(Protocol):
    """What the board wants of a machine: all of it but the processors."""

    memory: GuestMemory
    bus: Bus
    events: EventLoop

    @property
    def interrupts(self) -> InterruptSink: ...
    @property
    def vcpus(self) -> Sequence[object]: ...
    def after(self, ns: int, callback: Callable[[], None]) -> Timer: ...
    def wire_timer(self) -> None: ...


class Board:
    """Host bridge at 00:00.0, ISA bridge at 00:01.0, everything else where it is added.

    ``rom`` is a BIOS that lies below 4 GiB and behind the RAM from E0000H on; without one the area below 1 MiB is plain
    RAM whatever the host bridge's registers hold.
    """

    def __init__(self, machine: Wired, *, rom: bytes = b"") -> None:
        self.machine = machine
        shadow = ShadowedMemory(machine.memory, machine.bus, rom).shadow if rom else _plain
        machine.wire_timer()
        self.isa_bridge = IsaBridge(machine.interrupts.set_line)
        self.pci = PciBus(machine.bus, machine.memory, self.isa_bridge.set_pirq, machine.interrupts.send_msi)
        self.config_ports = ConfigPorts(self.pci)
        machine.bus.add_ports(CONFIG_ADDRESS, CONFIG_PORTS, self.config_ports, "PCI")
        self.add(HostBridge(shadow), slot=0)
        self.add(self.isa_bridge, slot=i440fx.ISA_SLOT)

    def add(self, device: PciDevice, *, slot: int | None = None, number: int = 0) -> int:
        """Plug a PCI device in, at the first free slot where none is named; return device << 3 | function.

        Raises ValueError where the place is taken or there is none.
        """
        return self.pci.add(device, slot, number)

    def reset(self) -> None:
        """Reset what is on the PCI bus."""
        self.config_ports.reset()
        self.pci.reset()


def _plain(segment: Segment, attributes: Attributes) -> None:
    """Plain RAM stays where it is."""
