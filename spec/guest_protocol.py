"""How a payload guest talks to the host: docs/guest-protocol.md.

A 32-bit OUT to ``REPORT_PORT`` is one event: the event number in bits 31:24, its argument in bits 23:0.
A 32-bit IN from it gives ``VERSION``.
"""

from enum import IntEnum

VERSION = 1
REPORT_PORT = 0x5650


class Event(IntEnum):
    """What a guest may say."""

    START = 1  # argument: index of the stimulus that begins
    END = 2  # argument: index of the stimulus that ended
    DONE = 3  # argument: how many stimuli (of a program: observations) are complete
    FAULT = 4  # argument: vector of an exception that no stimulus caused
    MESSAGE = 5  # argument: length in bytes; the text is in the shared page
