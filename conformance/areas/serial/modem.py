"""Modem control and status, and the loop-back that connects them inside the UART.

MCR.LOOP joins the transmitter to the receiver, and MCR's outputs to MSR's inputs: DTR to DSR, RTS to CTS, OUT1 to RI,
OUT2 to DCD.  Nothing leaves.  The low half of MSR tells which inputs have changed since the last read: CTS, DSR, DCD
by any change, RI only by going off.

Without loop-back the other end of our line is always there: CTS, DSR and DCD are on.
"""

from virtproof.conformance.com1 import LSR, MCR, MSR, RBR, THR, data_sheet, uart_family
from virtproof.conformance.steps import inb, outb

row = uart_family(data_sheet("'Registers', 'Modem Control Register' and 'Modem Status Register'"))

LOOP = 0x10
DTR, RTS, OUT1, OUT2 = 1, 2, 4, 8

# fmt: off
CASES = (
    row("serial.loop.data",       "In loop-back a byte sent comes back and none leaves",
        outb(MCR, LOOP), outb(THR, 0x77), inb(LSR, 0x61), inb(RBR, 0x77), inb(LSR, 0x60),
        outb(MCR, 0x00), outb(THR, 0x41), inb(LSR, 0x60), sends=b"A"),
    row("serial.loop.modem",      "In loop-back MCR's outputs are MSR's inputs",
        outb(MCR, LOOP),               inb(MSR, 0x00, mask=0xF0),
        outb(MCR, LOOP | DTR),         inb(MSR, 0x20, mask=0xF0),
        outb(MCR, LOOP | RTS),         inb(MSR, 0x10, mask=0xF0),
        outb(MCR, LOOP | OUT1),        inb(MSR, 0x40, mask=0xF0),
        outb(MCR, LOOP | OUT2),        inb(MSR, 0x80, mask=0xF0),
        outb(MCR, LOOP | OUT2 | RTS),  inb(MSR, 0x90, mask=0xF0)),
    row("serial.msr.connected",   "Out of loop-back the other end is there",
        inb(MSR, 0xB0), priority=2),
    row("serial.msr.delta_clear", "MSR tells changes once",
        outb(MCR, LOOP | OUT1),        inb(MSR),
        outb(MCR, LOOP | OUT1 | RTS),  inb(MSR, 0x51), inb(MSR, 0x50),  # CTS went on
        outb(MCR, LOOP),               inb(MSR, 0x05), inb(MSR, 0x00),  # CTS and RI went off
        outb(MCR, LOOP | OUT1),        inb(MSR, 0x40), priority=2),     # RI going on is no event
)
# fmt: on
