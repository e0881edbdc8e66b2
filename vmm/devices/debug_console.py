"""A port whose bytes are a log: 402H for firmware (SeaBIOS, OVMF), E9H since Bochs.  Reading tells that it is there."""

from typing import Any

LIMIT = 64 << 10  # bytes; of a longer log at least so much of the end is kept


class DebugConsole:
    """One byte-wide port that keeps what is written; reads give ``present``.

    >>> port = DebugConsole()
    >>> port.write(0, 1, ord("A")); port.text
    'A'
    """

    def __init__(self, present: int = 0xE9) -> None:
        self._present = present
        self._log = bytearray()

    @property
    def text(self) -> str:
        """What was written; hostile, as all that a guest says."""
        return self._log.decode("ascii", "replace")

    def read(self, offset: int, size: int) -> int:
        return self._present

    def write(self, offset: int, size: int, value: int) -> None:
        self._log.append(value & 0xFF)
        if len(self._log) > 2 * LIMIT:
            del self._log[:LIMIT]

    def reset(self) -> None:
        """A log goes on."""

    def state(self) -> dict[str, Any]:
        return {"log": self._log.hex()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        self._log = bytearray.fromhex(state["log"])[-LIMIT:]
