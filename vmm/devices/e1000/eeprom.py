"""The adapter's EEPROM, a 93C46 of 64 words, and what is in it: "EEPROM Interface".

Omitted: writing.  Its commands are taken and change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from virtproof.spec import e1000_phy as spec
from virtproof.spec.e1000_phy import ADDRESS_BITS, WORDS, Word


def contents(mac: bytes, device: int, vendor: int, subsystem: int, subsystem_vendor: int) -> list[int]:
    """The 64 words of an adapter with the address ``mac``."""
    words = [spec.NOT_PROGRAMMED] * WORDS
    words[Word.MAC : Word.MAC + 3] = (mac[n] | mac[n + 1] << 8 for n in (0, 2, 4))
    words[Word.COMPATIBILITY] = 0
    words[Word.CONTROL_1], words[Word.CONTROL_2] = spec.CONTROL_1, spec.CONTROL_2
    words[Word.SUBSYSTEM], words[Word.SUBSYSTEM_VENDOR] = subsystem, subsystem_vendor
    words[Word.DEVICE], words[Word.VENDOR] = device, vendor
    words[Word.CHECKSUM] = 0
    words[Word.CHECKSUM] = spec.CHECKSUM - sum(words) & 0xFFFF
    return words


class Eeprom:
    """Words, and the four pins by which they are read bit by bit.

    A command is a start bit, two bits of operation and six of address, each taken when the clock rises.  A zero comes
    out with the last of them, then with each rise one bit, the highest first, from word to word.
    """

    def __init__(self, words: Sequence[int]) -> None:
        self.words = tuple(words)
        self.output = 1  # DO; nobody drives it while the chip is not selected
        self._clock = False
        self._command = 0  # from the start bit on
        self._at: int | None = None  # the next bit to come out, counted from word 0

    def word(self, address: int) -> int:
        """What is at an address; 0 beyond the end."""
        return self.words[address] if address < WORDS else 0

    def drive(self, select: bool, clock: bool, data: bool) -> None:
        """Give the pins CS, SK and DI these levels."""
        rises, self._clock = clock and not self._clock, clock
        if not select:
            self.output, self._command, self._at = 1, 0, None
        elif rises:
            self._step(data)

    def state(self) -> dict[str, Any]:
        return {"output": self.output, "clock": self._clock, "command": self._command, "at": self._at}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        output, command, at = state["output"], state["command"], state["at"]
        if output not in (0, 1) or not 0 <= command < 1 << 3 + ADDRESS_BITS or not 0 <= (at or 0) < 16 * WORDS:
            raise ValueError(f"an EEPROM at bit {at} of its words, or {command} of a command")
        self.output, self._command, self._at, self._clock = output, command, at, bool(state["clock"])

    def _step(self, data: bool) -> None:
        if self._at is not None:
            word, bit = divmod(self._at, 16)
            self.output = self.words[word] >> 15 - bit & 1
            self._at = (self._at + 1) % (16 * WORDS)
        elif self._command.bit_length() < 3 + ADDRESS_BITS:
            self._command = self._command << 1 | data
            if self._command.bit_length() == 3 + ADDRESS_BITS:
                operation, address = self._command >> ADDRESS_BITS & 0b11, self._command & WORDS - 1
                if operation == spec.OPCODE_READ:
                    self.output, self._at = 0, 16 * address
