"""Port CF9H of an 82371AB: the reset control register, one byte wide (spec/piix4.py)."""

from collections.abc import Callable
from typing import Any

from virtproof.spec.piix4 import ResetControl


class ResetPort:
    """One byte-wide port; a rise of RST_CPU calls ``reset_machine``.

    >>> port = ResetPort(reset_machine=lambda: print("reset"))
    >>> port.write(0, 1, 2); port.write(0, 1, 6)
    reset
    """

    def __init__(self, reset_machine: Callable[[], None]) -> None:
        self._reset_machine = reset_machine
        self._value = ResetControl(0)

    def read(self, offset: int, size: int) -> int:
        return self._value

    def write(self, offset: int, size: int, value: int) -> None:
        before, self._value = self._value, ResetControl(value & ResetControl.KNOWN)
        if self._value.rst_cpu and not before.rst_cpu:
            self._reset_machine()

    def reset(self) -> None:
        self._value = ResetControl(0)

    def state(self) -> dict[str, Any]:
        return {"value": int(self._value)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        self._value = ResetControl(bytes([state["value"]])[0] & ResetControl.KNOWN)
