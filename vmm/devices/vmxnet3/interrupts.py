"""The adapter's 25 interrupts: a mask and a pending bit each; they leave as messages, or together by the pin."""

from collections.abc import Callable
from typing import Any

from virtproof.spec.vmxnet3 import INTERRUPTS
from virtproof.vmm.pci.function import Function

ALL = (1 << INTERRUPTS) - 1


class Interrupts:
    """``allowed`` says whether the driver wants any at all: it is asked each time, for that bit is in guest memory."""

    def __init__(self, function: Function, allowed: Callable[[], bool]) -> None:
        self._function, self._allowed = function, allowed
        self.auto_mask = False
        self._masked, self._pending = ALL, 0

    def request(self, number: int) -> None:
        self._pending |= 1 << number
        if not self._masked >> number & 1:
            self._deliver()

    def masked(self, number: int) -> bool:
        return bool(self._masked >> number & 1)

    def mask(self, number: int, masked: bool) -> None:
        if masked:
            self._masked |= 1 << number
        else:
            self._masked &= ~(1 << number)
        self._deliver()

    def cause(self) -> int:
        """Read ICR: whether the pin was high; it is low now."""
        if self._function.message_mode:
            return 0
        waiting = self._pending & ~self._masked
        if not waiting or not self._allowed():
            return 0
        self._sent(waiting)
        self._function.set_intx(False)
        return 1

    def clear(self) -> None:
        """Forget what is pending."""
        self._pending = 0
        self._function.set_intx(False)

    def reset(self) -> None:
        self.clear()
        self._masked, self.auto_mask = ALL, False

    def state(self) -> dict[str, Any]:
        return {"masked": self._masked, "pending": self._pending, "auto_mask": self.auto_mask}

    def restore(self, state: dict[str, Any]) -> None:
        self._masked, self._pending = int(state["masked"]) & ALL, int(state["pending"]) & ALL
        self.auto_mask = bool(state["auto_mask"])

    def _deliver(self) -> None:
        waiting = self._pending & ~self._masked
        if waiting and not self._allowed():
            waiting = 0
        if not self._function.message_mode:
            self._function.set_intx(bool(waiting))
            return
        while waiting:
            lowest = waiting & -waiting
            waiting ^= lowest
            self._sent(lowest)
            self._function.send_message(lowest.bit_length() - 1)

    def _sent(self, which: int) -> None:
        self._pending &= ~which
        if self.auto_mask:
            self._masked |= which
