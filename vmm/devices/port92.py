"""Port 92H of an 82371AB: a second A20 gate and a fast reset (spec/piix4.py).

Omitted: the gate itself.  A20 is always open, as on every board that still has the bit; it reads as it was written.
"""

from collections.abc import Callable
from typing import Any

from virtproof.spec.piix4 import Port92


class FastA20:
    """One byte-wide port; ``reset_machine`` is called when the guest asks for it.

    >>> port = FastA20(reset_machine=lambda: print("reset"))
    >>> port.write(0, 1, 3); hex(port.read(0, 1))
    reset
    '0x2'
    """

    def __init__(self, reset_machine: Callable[[], None]) -> None:
        self._reset_machine = reset_machine
        self._value = Port92(0)

    def read(self, offset: int, size: int) -> int:
        return self._value

    def write(self, offset: int, size: int, value: int) -> None:
        self._value = Port92(value).but(init=0)
        if value & Port92.init.mask:
            self._reset_machine()

    def reset(self) -> None:
        self._value = Port92(0)

    def state(self) -> dict[str, Any]:
        return {"value": int(self._value)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        self._value = Port92(bytes([state["value"]])[0]).but(init=0)
