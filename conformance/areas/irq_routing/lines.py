"""PCI interrupt lines: pin and slot choose one of four, the ISA bridge's registers say where each goes.

INTA of slot n is line (n - 1) mod 4; lines are level-triggered and shared: they stay high as long as one device wants it,
and interrupt again when the handler ends the interrupt without quieting all of them.
"""

from virtproof.conformance.bus_rig import CARD, MEMORY, PLAIN_MEMORY, SECOND_MEMORY, BusRig, placed
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import (
    IOAPIC_SELECT,
    IOAPIC_WINDOW,
    ConfigRead,
    ConfigWrite,
    Handle,
    Host,
    In,
    Interrupts,
    Out,
    Pic,
    Step,
    Store,
    io_apic,
    script,
)
from virtproof.spec.bus_card import Register
from virtproof.spec.cite import Cite

ROUTES = (Cite("Intel 82371SB (PIIX3) data sheet", "'PIRQRCx# - PIRQx Route Control Registers'"),)
SHARED = (Cite("PCI Local Bus Specification 3.0", "'Interrupt Pins'"),)
CONTROL = (Cite("PCI Local Bus Specification 3.0", "'Device Control', Interrupt Disable"),)
ELCR = (Cite("Intel 82371SB (PIIX3) data sheet", "'ELCR1 - Edge/Level Control Register'"),)
PIN0 = (Cite("MultiProcessor Specification 1.4", "'I/O Interrupt Assignment Entries'"),)
REDIRECTION = (Cite("Intel 82093AA (I/O APIC) data sheet", "'I/O Redirection Table Registers'"),)
BRIDGE = 1 << 3
LINE_B, LINE_C = 0x61, 0x62  # of slots 2 and 3
IRQ10, IRQ11 = 0x2A, 0x2B
RAISE, LOWER = Store(MEMORY + Register.PIN, 4, 1), Store(MEMORY + Register.PIN, 4, 0)
RAISE_SECOND, LOWER_SECOND = Store(SECOND_MEMORY + Register.PIN, 4, 1), Store(SECOND_MEMORY + Register.PIN, 4, 0)
OPEN = Pic(1 << 10 | 1 << 11, level=1 << 10 | 1 << 11)
PIT_MODE, PIT_COUNTER = 0x43, 0x40


RESERVED = (0, 1, 2, 8, 13)


def through(irq: int, requests: int) -> tuple[Step, ...]:
    """Line B goes there; just these interrupts are requested at the 8259s."""
    return (
        *(ConfigWrite(BRIDGE, LINE_B, 1, irq), Out(0x20, 1, 0x0A), Out(0xA0, 1, 0x0A)),
        *(In(0x20, 1, requests & 0xFF), In(0xA0, 1, requests >> 8)),
    )


def reset(rig: BusRig) -> None:
    """The board's reset, as the chipset does it."""
    rig.reset()


def quiet(rig: BusRig) -> None:
    """One card after the other is quieted."""
    for card in rig.cards:
        if card.read(Register.PIN, 4):
            card.write(Register.PIN, 4, 0)
            return


# fmt: off
CASES: tuple[Case, ...] = (
    script("irq.pirq.reset", "The route registers begin as 80H", "irq_routing", ROUTES, BusRig, ConfigRead(BRIDGE, 0x60, 4, 0x8080_8080)),
    script("irq.pirq.route", "INTA of slot 3 interrupts where line C goes", "irq_routing", ROUTES, placed,
        OPEN, Handle(IRQ10), Handle(IRQ11, (LOWER_SECOND,)), ConfigWrite(BRIDGE, LINE_C, 1, 11), RAISE_SECOND,
        Interrupts(IRQ11, 1), Interrupts(IRQ10, 0)),
    script("irq.pirq.disable", "Bit 7 disconnects a line", "irq_routing", ROUTES, placed,
        OPEN, Handle(IRQ11, (LOWER,)), ConfigWrite(BRIDGE, LINE_B, 1, 0x8B), RAISE, Interrupts(IRQ11, 0),
        ConfigWrite(BRIDGE, LINE_B, 1, 0x0B), Interrupts(IRQ11, 1), priority=2),
    script("irq.pirq.reroute_live", "A route that changes takes the level along", "irq_routing", ROUTES, placed,
        Pic(0, level=1 << 10 | 1 << 11), ConfigWrite(BRIDGE, LINE_B, 1, 10), RAISE, Out(0xA0, 1, 0x0A), In(0xA0, 1, 0x04, mask=0x0C),
        ConfigWrite(BRIDGE, LINE_B, 1, 11), Out(0xA0, 1, 0x0A), In(0xA0, 1, 0x08, mask=0x0C), LOWER, Out(0xA0, 1, 0x0A),
        In(0xA0, 1, 0, mask=0x0C), priority=2),
    script("irq.pirq.reserved", "A route to a reserved number goes nowhere", "irq_routing", ROUTES, placed,
        Pic(0, level=1 << 11), RAISE, *(through(irq, 0) for irq in RESERVED), through(11, 1 << 11), through(13, 0), LOWER, priority=2),
    script("irq.intx.shared_or", "A shared line is high until nobody wants it", "irq_routing", SHARED, placed,
        Pic(0, level=1 << 11), ConfigWrite(BRIDGE, LINE_B, 2, 0x0B0B), RAISE, RAISE_SECOND, LOWER, Out(0xA0, 1, 0x0A),
        In(0xA0, 1, 0x08, mask=0x08), LOWER_SECOND, Out(0xA0, 1, 0x0A), In(0xA0, 1, 0, mask=0x08)),
    script("irq.intx.shared_or.line", "So is a line that two slots share", "irq_routing", SHARED, placed,
        Pic(0, level=1 << 11), ConfigWrite(BRIDGE, LINE_B, 1, 0x0B), RAISE, Store(PLAIN_MEMORY + Register.PIN, 4, 1), LOWER,
        Out(0xA0, 1, 0x0A), In(0xA0, 1, 0x08, mask=0x08), Store(PLAIN_MEMORY + Register.PIN, 4, 0), Out(0xA0, 1, 0x0A),
        In(0xA0, 1, 0, mask=0x08), refs=("irq.intx.shared_or",)),
    script("irq.intx.level_resample", "A level that stays interrupts again after its EOI", "irq_routing", SHARED, placed,
        OPEN, ConfigWrite(BRIDGE, LINE_B, 2, 0x0B0B), Handle(IRQ11, (Host(quiet),)), RAISE, RAISE_SECOND, Interrupts(IRQ11, 2)),
    script("irq.intx.disable_bit", "Command bit 10 lowers the pin", "irq_routing", CONTROL, placed,
        Pic(0, level=1 << 11), ConfigWrite(BRIDGE, LINE_B, 1, 11), RAISE, Out(0xA0, 1, 0x0A), In(0xA0, 1, 0x08, mask=0x08),
        ConfigWrite(CARD, 4, 2, 0x407), Out(0xA0, 1, 0x0A), In(0xA0, 1, 0, mask=0x08)),
    script("irq.elcr.readback", "ELCR keeps all but the lines that are edges", "irq_routing", ELCR, BusRig,
        Out(0x4D0, 1, 0xFF), Out(0x4D1, 1, 0xFF), In(0x4D0, 1, 0xF8), In(0x4D1, 1, 0xDE), irqchip=True, priority=2),
    script("irq.ioapic.gsi0_pin2", "The 8254 is at pin 2 of the I/O APIC", "irq_routing", PIN0, BusRig,
        Pic(0), Handle(0x40), Store(IOAPIC_SELECT, 4, 0x14), Store(IOAPIC_WINDOW, 4, 0x40), Store(IOAPIC_SELECT, 4, 0x15), Store(IOAPIC_WINDOW, 4, 0),
        Out(PIT_MODE, 1, 0x30), Out(PIT_COUNTER, 1, 0x00), Out(PIT_COUNTER, 1, 0x01), Interrupts(0x40, 1), pit=True),
    script("irq.ioapic.intx", "A PCI pin comes through the I/O APIC, once for each time it is raised", "irq_routing", REDIRECTION, placed,
        io_apic(11, 0x40), Handle(0x40, (LOWER,)), ConfigWrite(BRIDGE, LINE_B, 1, 11), Interrupts(0x40, 0), RAISE, Interrupts(0x40, 1), RAISE, Interrupts(0x40, 2),
        ConfigWrite(BRIDGE, LINE_B, 1, 10), RAISE, Interrupts(0x40, 2), priority=2),
    script("irq.ioapic.intx_shared", "... and again after its EOI while somebody still wants it", "irq_routing", REDIRECTION, placed,
        io_apic(11, 0x40), ConfigWrite(BRIDGE, LINE_B, 2, 0x0B0B), Handle(0x40, (Host(quiet),)), RAISE, RAISE_SECOND, Interrupts(0x40, 2), priority=2),
    script("irq.reset.lines_low", "After a reset lines are low and routes 80H", "irq_routing", ROUTES, placed,
        Pic(0, level=1 << 11), ConfigWrite(BRIDGE, LINE_B, 1, 11), RAISE, Out(0xA0, 1, 0x0A), In(0xA0, 1, 0x08, mask=0x08), Host(reset),
        Out(0xA0, 1, 0x0A), In(0xA0, 1, 0, mask=0x08), ConfigRead(BRIDGE, 0x60, 4, 0x8080_8080), ConfigWrite(BRIDGE, LINE_B, 1, 11),
        Out(0xA0, 1, 0x0A), In(0xA0, 1, 0, mask=0x08)),
)
# fmt: on
