"""Interrupts of the 16550A: which source IIR names, what takes it back, and the line to the interrupt controller.

IIR names the most urgent enabled source: line status (6, until LSR is read), data (4, until RBR is read), transmitter
empty (2, until IIR is read or THR written), modem status (0).  Enabling the transmitter's interrupt while THR is empty
raises it at once, and a byte written raises it anew: drivers wait for both.

A PC wires the interrupt to IRQ 4 through the pin OUT2, which MCR sets, and which loop-back turns off.  The rows read
the line from the PIC: with IRQ 4 made level-triggered (port 4D0, bit 4) bit 4 of the interrupt request register follows
it.
"""

from virtproof.conformance.case import Receive
from virtproof.conformance.com1 import IER, IIR, LSR, MCR, RBR, THR, data_sheet, uart_family
from virtproof.conformance.steps import In, inb, outb
from virtproof.spec.cite import Cite

row = uart_family(
    data_sheet("'Registers', 'Interrupt Identification Register' and 'Interrupt Enable Register'"),
    Cite("Intel 8259A data sheet", "'Reading the 8259A Status'"),
)

OUT2, LOOP = 0x08, 0x10
PIC, ELCR = 0x20, 0x4D0
WATCH_IRQ4 = (outb(ELCR, 0x10), outb(PIC, 0x0A))  # level-triggered; reads of port 20 give the request register


def line(level: int) -> In:
    """IRQ 4 must have this level."""
    return inb(PIC, level << 4, mask=0x10)


# fmt: off
CASES = (
    row("serial.iir.none",          "IIR says 01 while nothing is pending",
        outb(IER, 0x00), inb(IIR, 0x01)),
    row("serial.iir.thre",          "Enabling its interrupt while THR is empty raises it, reading IIR takes it back",
        outb(IER, 0x02), inb(IIR, 0x02), inb(IIR, 0x01)),
    row("serial.iir.thre_reassert", "A byte written to THR raises the interrupt again",
        outb(IER, 0x02), inb(IIR, 0x02), inb(IIR, 0x01), outb(THR, 0x41), inb(IIR, 0x02), inb(IIR, 0x01), sends=b"A"),
    row("serial.iir.rda",           "A byte received raises IIR = 04 and IRQ 4 until it is read",
        *WATCH_IRQ4, outb(MCR, OUT2), outb(IER, 0x01), line(0), Receive(b"\x5A"), inb(IIR, 0x04), line(1),
        inb(RBR, 0x5A), inb(IIR, 0x01), line(0), irqchip=True),
    row("serial.irq.out2_gate",     "IRQ 4 needs the pin OUT2",
        *WATCH_IRQ4, outb(IER, 0x02), line(0), outb(MCR, OUT2), line(1), outb(MCR, 0x00), line(0),
        outb(MCR, OUT2), line(1), outb(MCR, OUT2 | LOOP), line(0), irqchip=True),
    row("serial.irq.level_drop",    "IRQ 4 falls when IIR has named the transmitter",
        *WATCH_IRQ4, outb(MCR, OUT2), outb(IER, 0x02), line(1), inb(IIR, 0x02), line(0), irqchip=True),
    row("serial.priority",          "Line status goes before data, data before the transmitter",
        outb(IER, 0x07), Receive(b"ab"), inb(IIR, 0x06), inb(LSR, 0x63), inb(IIR, 0x04), inb(RBR, 0x62),
        inb(IIR, 0x02), inb(IIR, 0x01), priority=3),
)
# fmt: on
