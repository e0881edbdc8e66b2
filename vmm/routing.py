"""Where the lines of a machine lead: the rows of KVM_SET_GSI_ROUTING.

The routing table is the whole truth: setting it replaces what was there.  With both PICs and the I/O APIC in the
kernel KVM makes ``DEFAULT`` itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from virtproof.spec.kvm.devices import IrqRouting, IrqRoutingEntry
from virtproof.spec.kvm.exits import IrqchipId, IrqRoutingType

MSI_ADDRESS = 0xFEE0_0000
LEVEL_TRIGGERED, ASSERTED = 1 << 15, 1 << 14
PINS = 24


class PinRoute(NamedTuple):
    """A line that leads to a pin of an interrupt controller in the kernel."""

    gsi: int
    chip: IrqchipId
    pin: int


class MsiRoute(NamedTuple):
    """A line that becomes a message: Intel SDM vol. 3A, "Message Signalled Interrupts"."""

    gsi: int
    address: int
    data: int

    @property
    def vector(self) -> int:
        return self.data & 0xFF

    @property
    def level(self) -> bool:
        """Level-triggered: the local APIC tells of its end."""
        return bool(self.data & LEVEL_TRIGGERED)


Route = PinRoute | MsiRoute


def to_vector(gsi: int, vector: int, *, apic_id: int = 0, level: bool = False) -> MsiRoute:
    """A line that interrupts one processor (xAPIC id, fixed delivery) at ``vector``."""
    return MsiRoute(gsi, MSI_ADDRESS | apic_id << 12, vector | (LEVEL_TRIGGERED | ASSERTED if level else 0))


# Lines 0 to 15 reach a PIC and the I/O APIC, 16 to 23 the I/O APIC only.
DEFAULT: tuple[Route, ...] = tuple(
    PinRoute(gsi, chip, pin)
    for gsi in range(PINS)
    for chip, pin in (
        (IrqchipId.IOAPIC, gsi),
        *(((IrqchipId.PIC_SLAVE if gsi >= 8 else IrqchipId.PIC_MASTER, gsi % 8),) if gsi < 16 else ()),
    )
)

# As PCs are wired: the 8254 on line 0 is at pin 2 of the I/O APIC, where the cascade of the 8259s cannot be.
TIMER_PIN = 2
PC: tuple[Route, ...] = tuple(
    route._replace(pin=TIMER_PIN) if route.gsi == 0 else route
    for route in DEFAULT
    if isinstance(route, PinRoute) and route.chip is IrqchipId.IOAPIC and route.gsi != TIMER_PIN
) + tuple(route for route in DEFAULT if isinstance(route, PinRoute) and route.chip is not IrqchipId.IOAPIC)


def packed(routes: Sequence[Route]) -> bytes:
    """Return a ``struct kvm_irq_routing`` with its entries."""
    return bytes(IrqRouting(nr=len(routes))) + b"".join(bytes(_entry(route)) for route in routes)


def _entry(route: Route) -> IrqRoutingEntry:
    match route:
        case PinRoute(gsi, chip, pin):
            entry = IrqRoutingEntry(gsi=gsi, type=IrqRoutingType.IRQCHIP)
            entry.u.irqchip.irqchip, entry.u.irqchip.pin = chip, pin
        case MsiRoute(gsi, address, data):
            entry = IrqRoutingEntry(gsi=gsi, type=IrqRoutingType.MSI)
            message = entry.u.msi
            message.address_lo, message.address_hi, message.data = address & 0xFFFF_FFFF, address >> 32, data
    return entry
