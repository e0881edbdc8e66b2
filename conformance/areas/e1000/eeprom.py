"""The EEPROM: 64 words, by EERD and bit by bit.

Its words sum to BABA.  EERD takes an address and says DONE; through EECD software drives the pins of a Microwire chip
itself, which Linux does for every word: a start bit, 10, six bits of address, then sixteen of data, the highest first.
"""

from collections.abc import Iterator

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Step
from virtproof.conformance.e1000 import cases, read, write
from virtproof.spec.e1000 import EECD, EERD

by_eerd = cases("'EEPROM Read Register (EERD)'")
words = cases("'EEPROM Address Map', 'Checksum Word Calculation (Word 3Fh)'")
by_pins = cases("'EEPROM/Flash Control & Data Register (EECD)', 'Microwire Interface'")

SK, CS, DI, DO, REQ = 0x01, 0x02, 0x04, 0x08, 0x40
IDENTITY = (0x5452, 0x1200, 0x5634)  # of 52:54:00:12:34:56


def word(address: int, value: int) -> tuple[Step, ...]:
    return write(EERD, address << 8 | 1), read(EERD, value << 16 | address << 8 | 0x10)


def shifts(bits: str) -> Iterator[Step]:
    """A clock for each bit of DI."""
    for bit in bits:
        for clock in (0, SK, 0):
            yield write(EECD, REQ | CS | DI * int(bit) | clock)


def brings(value: int) -> Iterator[Step]:
    """Sixteen clocks, with a look at DO behind each edge."""
    for bit in f"{value:016b}":
        yield write(EECD, REQ | CS | SK)
        yield read(EECD, DO * int(bit), DO)
        yield write(EECD, REQ | CS)


def asked(address: int) -> tuple[Step, ...]:
    return write(EECD, REQ | CS), *shifts(f"110{address:06b}")


DESELECTED = write(EECD, REQ)


# fmt: off
CASES: tuple[Case, ...] = (
    words("e1000.eeprom.mac_words", "Words 0 to 2 are the address",  *(word(n, value) for n, value in enumerate(IDENTITY))),
    by_eerd("e1000.eeprom.eerd_done", "EERD says DONE in bit 4",     write(EERD, 0x0201), read(EERD, 0x5634_0210), write(EERD, 0x0100), read(EERD, 0x10, 0x10)),
    by_eerd("e1000.eeprom.eerd_range", "EERD brings 0 from beyond the end", write(EERD, 0x4001), read(EERD, 0x4010), priority=2),
    by_pins("e1000.eeprom.microwire", "A word comes bit by bit",     *(((*asked(n), *brings(IDENTITY[n]), DESELECTED)) for n in range(3))),
    by_pins("e1000.eeprom.gnt",       "Whoever asks for the pins has them", write(EECD, REQ), read(EECD, 0x1C0, 0x1C0)),
    by_pins("e1000.eeprom.cs_reset",  "Dropping CS ends a command",
            asked(1), *shifts("00000"), DESELECTED, asked(2), brings(IDENTITY[2]), DESELECTED,
            write(EECD, REQ | CS), *shifts("1100"), DESELECTED, asked(0), brings(IDENTITY[0]), priority=2),
)
# fmt: on
