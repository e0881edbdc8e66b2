"""Ports B2H and B3H of an 82371AB, by which software calls a BIOS in SMM (spec/piix4.py).

There is no SMM.  What a BIOS would do there upon ACPI_ENABLE and ACPI_DISABLE is done here; after any other command the
status reads 0, which is how such a BIOS says that it has been there.
"""

from collections.abc import Callable
from typing import Any

from virtproof.spec import piix4


class Apm:
    """Two byte-wide ports, control and status; ``own`` is told whether ACPI shall own the power management.

    >>> apm = Apm(own=print)
    >>> apm.write(0, 1, piix4.ACPI_ENABLE)
    True
    """

    def __init__(self, own: Callable[[bool], None]) -> None:
        self._own = own
        self._control = self._status = 0

    def read(self, offset: int, size: int) -> int:
        return self._status if offset else self._control

    def write(self, offset: int, size: int, value: int) -> None:
        if offset:
            self._status = value
            return
        self._control = value
        if value in (piix4.ACPI_ENABLE, piix4.ACPI_DISABLE):
            self._own(value == piix4.ACPI_ENABLE)
        else:
            self._status = 0

    def reset(self) -> None:
        self._control = self._status = 0

    def state(self) -> dict[str, Any]:
        return {"control": self._control, "status": self._status}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        self._control, self._status = bytes((state["control"], state["status"]))
