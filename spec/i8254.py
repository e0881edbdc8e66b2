"""8254 register file: Intel 8254 data sheet, "Control Word Format", "Mode Definitions", "Read-Back Command".

Port 61H of a PC: Intel 82371SB (PIIX3) data sheet, "NMI Status and Control Register".
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

BASE, PORTS, CHANNELS = 0x40, 4, 3
CONTROL = 3  # offset; 0 to 2 are the counters
GATES = 0x61
CLOCK_HZ = 1_193_182
IRQ = 0  # of channel 0
REFRESH_NS = 15_085  # between two refreshes of memory, each of which turns a bit of port 61H


class ReadWrite(IntEnum):
    """RW of a control word."""

    LATCH, LOW, HIGH, LOW_HIGH = range(4)


class Mode(IntEnum):
    """Bit 2 is not looked at in modes 2 and 3."""

    TERMINAL_COUNT, ONE_SHOT, RATE, SQUARE_WAVE, SOFTWARE_STROBE, HARDWARE_STROBE = range(6)


# fmt: off
class Control(Bits, width=8):
    """Control word."""

    bcd  = bit(0)
    mode = bits(3, 1, "Mode")
    rw   = bits(5, 4, "ReadWrite")
    sc   = bits(7, 6, "channel; 3: read-back command")


class ReadBack(Bits, width=8):
    """Read-back command."""

    channels  = bits(3, 1, "a bit each")
    no_status = bit(4)
    no_count  = bit(5)
    sc        = bits(7, 6)


class Status(Bits, width=8):
    """Status byte: the control word without SC, and two bits."""

    bcd        = bit(0)
    mode       = bits(3, 1)
    rw         = bits(5, 4)
    null_count = bit(6, "what was written is not in the counter yet")
    output     = bit(7)


class Gates(Bits, width=8):
    """Port 61H."""

    gate2   = bit(0)
    speaker = bit(1)
    parity_off  = bit(2)
    channel_off = bit(3)
    refresh = bit(4, "turns with each refresh; read-only")
    out2    = bit(5, "read-only")
# fmt: on
