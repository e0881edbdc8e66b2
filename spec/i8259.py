"""8259A register file: Intel 8259A data sheet, "Programming the 8259A" and "Operation Command Words (OCWs)".

ELCR, the edge/level control registers of a PC: Intel 82371SB (PIIX3) data sheet, "Interrupt Controller Registers".
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

MASTER, SLAVE, PORTS = 0x20, 0xA0, 2
ELCR, ELCR_PORTS = 0x4D0, 2  # of the master, of the slave
LINES = 8
CASCADE = 2  # the master's line that the slave is behind
SPURIOUS = 7  # the line that is named when the one that asked no longer does
ELCR_MASKS = 0xF8, 0xDE  # lines that can be level-triggered: not 0, 1, 2, 8 and 13

COMMAND, DATA = range(PORTS)  # offsets; ICW1, OCW2 and OCW3 are told apart by bits 4 and 3


class Operation(IntEnum):
    """OCW2: R, SL and EOI."""

    ROTATE_IN_AEOI_CLEAR = 0b000
    NON_SPECIFIC_EOI = 0b001
    NOTHING = 0b010
    SPECIFIC_EOI = 0b011
    ROTATE_IN_AEOI_SET = 0b100
    ROTATE_ON_NON_SPECIFIC_EOI = 0b101
    SET_PRIORITY = 0b110
    ROTATE_ON_SPECIFIC_EOI = 0b111


# fmt: off
class Icw1(Bits, width=8):
    """Begins the initialization."""

    ic4  = bit(0, "ICW4 follows")
    sngl = bit(1, "no cascade: ICW3 does not follow")
    adi  = bit(2, "call address interval; not in 8086 mode")
    ltim = bit(3, "level-triggered; a PC has ELCR instead")
    init = bit(4, "1: this is ICW1")


class Icw4(Bits, width=8):
    """Mode."""

    upm  = bit(0, "8086 mode")
    aeoi = bit(1, "the acknowledge ends the interrupt")
    m_s  = bit(2)
    buf  = bit(3)
    sfnm = bit(4, "special fully nested: a slave in service lets its own more urgent lines through")


class Ocw2(Bits, width=8):
    """End of interrupt and rotation."""

    level     = bits(2, 0)
    operation = bits(7, 5, "Operation")


class Ocw3(Bits, width=8):
    """What is read, and special mask mode."""

    ris  = bit(0, "with RR: 1 ISR, 0 IRR is read")
    rr   = bit(1)
    poll = bit(2, "the next read acknowledges")
    ocw3 = bit(3, "with bit 4 clear: this is OCW3")
    smm  = bit(5, "with ESMM: special mask mode")
    esmm = bit(6)


class PollWord(Bits, width=8):
    """What a poll reads."""

    level     = bits(2, 0)
    interrupt = bit(7)
# fmt: on
