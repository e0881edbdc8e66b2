"""The receiver of the 16550A, with its FIFO and without.

A byte that has arrived sets LSR.DR until RBR is read.  FCR bit 0 turns the FIFOs on: IIR shows it in bits 7:6, and 16
bytes are kept.  One more sets LSR.OE until LSR is read, and is lost; the 16 are not.  FCR bit 1 empties the receive
FIFO and clears itself, a change of bit 0 empties it too.

FCR bits 7:6 choose at how many bytes (1, 4, 8, 14) the interrupt comes.  Fewer bytes raise it as well, as a character
timeout (IIR = C), once nothing has come and nothing was read for four character times; reading RBR takes it back.
"""

from virtproof.conformance.case import Elapse, Receive
from virtproof.conformance.com1 import DLL, DLM, FCR, IER, IIR, LCR, LSR, RBR, data_sheet, uart_family
from virtproof.conformance.steps import inb, outb

row = uart_family(
    data_sheet("'Registers', 'FIFO Control Register' and 'Line Status Register'"),
    data_sheet("'Registers', 'FIFO Interrupt Mode Operation'"),
)

SIXTEEN = b"0123456789abcdef"
READ_SIXTEEN = tuple(inb(RBR, byte) for byte in SIXTEEN)
CHARACTER = 10 * 1_000_000_000 // 115_200  # ns: start, 8 data bits and stop at the highest rate
FASTEST = (outb(LCR, 0x83), outb(DLL, 0x01), outb(DLM, 0x00), outb(LCR, 0x03))

# fmt: off
CASES = (
    row("serial.rbr.input",          "A byte received sets LSR.DR until it is read",
        inb(LSR, 0x60), Receive(b"\x5A"), inb(LSR, 0x61), inb(RBR, 0x5A), inb(LSR, 0x60)),
    row("serial.fifo.enable_bits",   "IIR bits 7:6 show whether the FIFOs are on",
        inb(IIR, 0x01), outb(FCR, 0x01), inb(IIR, 0xC1), outb(FCR, 0x00), inb(IIR, 0x01)),
    row("serial.fifo.depth16",       "The receive FIFO holds 16 bytes",
        outb(FCR, 0x01), Receive(SIXTEEN), inb(LSR, 0x61), *READ_SIXTEEN, inb(LSR, 0x60)),
    row("serial.fifo.overrun",       "The 17th byte is lost and sets OE once",
        outb(FCR, 0x01), Receive(SIXTEEN + b"X"), inb(LSR, 0x63), inb(LSR, 0x61), *READ_SIXTEEN, inb(LSR, 0x60), priority=2),
    row("serial.fifo.trigger",       "At trigger level 14 the interrupt waits for the 14th byte",
        outb(FCR, 0xC1), outb(IER, 0x01), Receive(SIXTEEN[:13]), inb(IIR, 0xC1), Receive(b"d"), inb(IIR, 0xC4),
        inb(RBR, 0x30), inb(IIR, 0xC1), priority=2),
    row("serial.fifo.timeout",       "A byte below the trigger level raises an interrupt after four character times",
        *FASTEST, outb(FCR, 0xC1), outb(IER, 0x01), Receive(b"x"), inb(IIR, 0xC1),
        Elapse(3 * CHARACTER), inb(IIR, 0xC1), Elapse(2 * CHARACTER), inb(IIR, 0xCC), inb(RBR, 0x78), inb(IIR, 0xC1)),
    row("serial.fifo.rx_clear",      "FCR bit 1 empties the receive FIFO and clears itself",
        outb(FCR, 0x01), Receive(b"abc"), inb(LSR, 0x61), outb(FCR, 0x03), inb(LSR, 0x60),
        Receive(b"d"), inb(LSR, 0x61), inb(RBR, 0x64), inb(LSR, 0x60)),
    row("serial.fifo.toggle_clears", "Turning the FIFOs off or on empties them",
        outb(FCR, 0x01), Receive(b"abc"), outb(FCR, 0x00), inb(LSR, 0x60),
        Receive(b"d"), inb(LSR, 0x61), outb(FCR, 0x01), inb(LSR, 0x60), priority=2),
)
# fmt: on
