"""16550A register file: National Semiconductor PC16550D data sheet, "Registers".

Names are the data sheet's in lower case.
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

# Offset when DLAB is clear; DLL and DLM replace DATA and IER when it is set.  DATA is RBR read and THR written.
DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)

PORTS = 8
COM1, COM1_IRQ = 0x3F8, 4
CLOCK_HZ = 1_843_200  # a bit lasts 16 * divisor of these
FIFO_DEPTH = 16
TIMEOUT_CHARACTERS = 4
TRIGGER_LEVELS = (1, 4, 8, 14)  # by FCR.TRIGGER


class InterruptId(IntEnum):
    """IIR bits 3:0, first the most urgent."""

    LINE_STATUS = 0x6  # until LSR is read
    DATA_AVAILABLE = 0x4  # until the FIFO is below the trigger level
    CHARACTER_TIMEOUT = 0xC  # until RBR is read
    THR_EMPTY = 0x2  # until IIR is read or THR written
    MODEM_STATUS = 0x0  # until MSR is read
    NONE = 0x1


# fmt: off
class Ier(Bits, width=8):
    """Interrupt enable."""

    erbfi = bit(0, "received data available, and character timeout")
    etbei = bit(1, "transmitter holding register empty")
    elsi  = bit(2, "receiver line status")
    edssi = bit(3, "modem status")


class Iir(Bits, width=8):
    """Interrupt identification."""

    id    = bits(3, 0, "InterruptId")
    fifos = bits(7, 6, "11: the FIFOs are on")


class Fcr(Bits, width=8):
    """FIFO control; with ENABLE clear the other bits are not taken."""

    enable   = bit(0, "a change empties both FIFOs")
    rx_reset = bit(1, "clears itself")
    tx_reset = bit(2, "clears itself")
    dma_mode = bit(3)
    trigger  = bits(7, 6, "index into TRIGGER_LEVELS")


class Lcr(Bits, width=8):
    """Line control."""

    wls          = bits(1, 0, "5 + n data bits")
    stb          = bit(2, "2 stop bits; 1.5 with 5 data bits")
    pen          = bit(3, "parity")
    eps          = bit(4)
    stick_parity = bit(5)
    set_break    = bit(6)
    dlab         = bit(7, "offsets 0 and 1 are the divisor latch")


class Mcr(Bits, width=8):
    """Modem control."""

    dtr  = bit(0)
    rts  = bit(1)
    out1 = bit(2)
    out2 = bit(3, "in a PC: the interrupt reaches the controller")
    loop = bit(4)


class Lsr(Bits, width=8):
    """Line status."""

    dr   = bit(0, "data ready")
    oe   = bit(1, "overrun; cleared by reading, as the next three")
    pe   = bit(2)
    fe   = bit(3)
    bi   = bit(4)
    thre = bit(5, "transmitter holding register empty")
    temt = bit(6, "transmitter empty")
    fifo_error = bit(7)


class Msr(Bits, width=8):
    """Modem status.  The low half tells changes since the last read."""

    dcts = bit(0)
    ddsr = bit(1)
    teri = bit(2, "RI went from active to inactive")
    ddcd = bit(3)
    cts  = bit(4)
    dsr  = bit(5)
    ri   = bit(6)
    dcd  = bit(7)
# fmt: on
