"""The 8042 keyboard controller of a PC: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
Controller", and what the keyboard behind it answers.
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit

DATA, COMMAND = 0x60, 0x64  # COMMAND reads as the status
KEYBOARD_IRQ, AUX_IRQ = 1, 12

ACK, RESEND, SELF_TEST_PASSED, ECHO = 0xFA, 0xFE, 0xAA, 0xEE
KEYBOARD_ID = bytes((0xAB, 0x83))
CONTROLLER_TEST_PASSED, PORT_TEST_PASSED = 0x55, 0x00


class Command(IntEnum):
    """Written to the command port."""

    READ_CONTROL = 0x20
    WRITE_CONTROL = 0x60
    DISABLE_AUX = 0xA7
    ENABLE_AUX = 0xA8
    TEST_AUX = 0xA9
    TEST_CONTROLLER = 0xAA
    TEST_KEYBOARD = 0xAB
    DISABLE_KEYBOARD = 0xAD
    ENABLE_KEYBOARD = 0xAE
    READ_OUTPUT = 0xD0
    WRITE_OUTPUT = 0xD1
    WRITE_KEYBOARD_BUFFER = 0xD2
    WRITE_AUX_BUFFER = 0xD3
    WRITE_AUX = 0xD4
    A20_OFF = 0xDD
    A20_ON = 0xDF
    PULSE = 0xF0  # to 0xFF: the low bits that are 0 name lines of the output port; bit 0 is the reset


class Keyboard(IntEnum):
    """Written to the data port, for the keyboard."""

    SET_LEDS = 0xED
    ECHO = 0xEE
    SCAN_CODE_SET = 0xF0
    IDENTIFY = 0xF2
    SET_RATE = 0xF3
    ENABLE = 0xF4
    DISABLE = 0xF5
    DEFAULTS = 0xF6
    RESET = 0xFF


# fmt: off
class Status(Bits, width=8):
    """Status register."""

    output_full  = bit(0)
    input_full   = bit(1)
    system       = bit(2, "the self-test has passed")
    command      = bit(3, "the last write was a command")
    not_locked   = bit(4)
    aux_full     = bit(5, "what waits comes from the auxiliary device")
    timeout      = bit(6)
    parity_error = bit(7)


class Control(Bits, width=8):
    """The controller's command byte."""

    keyboard_interrupt = bit(0)
    aux_interrupt      = bit(1)
    system             = bit(2)
    keyboard_disabled  = bit(4)
    aux_disabled       = bit(5)
    translate          = bit(6)


class OutputPort(Bits, width=8):
    """Output port."""

    run           = bit(0, "0 resets the processor")
    a20           = bit(1)
    keyboard_full = bit(4)
    aux_full      = bit(5)
# fmt: on
