"""How a payload speaks to virtproof: its ports, and a version.  Everything larger lies in the shared page.

A doubleword written to ``REPORT_PORT`` is one event: its number in bits 31:24, its argument in bits 23:0.  A read of
any size gives the bytes of ``VERSION`` there.
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bits

REPORT_PORT = 0x5650  # "VP"
REPORT_PORTS = 4
HOST_PORT = 0x5660  # a byte written here asks the host to act, as the case says
VERSION = 1


class Event(IntEnum):
    """What a guest reports; the comment says what the argument is."""

    START = 1  # number of the stimulus that begins
    END = 2  # number of the stimulus that ended
    DONE = 3  # how many stimuli were carried out
    FAULT = 4  # vector that nobody expected
    MESSAGE = 5  # length of the text in the shared page, in bytes


# fmt: off
class Report(Bits, width=32):
    """The doubleword of one event."""

    argument = bits(23, 0)
    event    = bits(31, 24)
# fmt: on
