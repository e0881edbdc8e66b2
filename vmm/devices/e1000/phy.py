"""The PHY, a Marvell 88E1011 with a gigabit partner at the other end of the cable: "PHY Registers".

Omitted: power management, test registers and pages.  A negotiation that nothing disturbs ends after half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtproof.spec import e1000_phy as spec
from virtproof.spec.e1000_phy import RESET, WRITABLE, Control, Phy, SpecificStatus, Status
from virtproof.vmm.events import Timer

_LOOPBACK = Control.loopback.mask
ONCE = Control.reset.mask | Control.restart.mask  # clear themselves


class CopperPhy:
    """The registers behind MDIC.  ``changed`` is called when the link may have gone up or down.

    It comes up with a cable and a link.
    """

    def __init__(self, after: Callable[[int, Callable[[], None]], Timer], changed: Callable[[], None]) -> None:
        self._after, self._changed = after, changed
        self.registers = dict(RESET)
        self._cable = self._negotiated = True
        self._held = False
        self._failed = False  # the link was down since the status register was read
        self._timer: Timer | None = None

    @property
    def link(self) -> bool:
        control = self.registers[Phy.CONTROL]
        ready = self._negotiated or not control & Control.negotiate.mask
        return self._cable and ready and not self._held and not control & Control.power_down.mask

    @property
    def loopback(self) -> bool:
        return bool(self.registers[Phy.CONTROL] & _LOOPBACK)

    def read(self, register: int) -> int | None:
        """The value of a register; None: there is none at that address."""
        match register:
            case Phy.STATUS:
                up, self._failed = self.link and not self._failed, False
                return int(Status(RESET[Phy.STATUS]).but(link=up, negotiated=self._negotiated))
            case Phy.PARTNER_ABILITY | Phy.GIGABIT_STATUS:
                return self.registers[Phy(register)] if self._negotiated else 0
            case Phy.SPECIFIC_STATUS:
                return int(SpecificStatus(0).but(link=1, resolved=1, duplex=1, speed=2)) if self.link else 0
        return self.registers.get(register)  # type: ignore[call-overload, no-any-return]

    def write(self, register: int, value: int) -> bool:
        """Set a register; False: there is none at that address.  What cannot be written stays as it is."""
        if register not in RESET:
            return False
        if register == Phy.CONTROL:
            self._control(value)
        elif register in WRITABLE:
            self.registers[Phy(register)] = value
        return True

    def set_cable(self, plugged: bool) -> None:
        """Connect or disconnect the partner."""
        if plugged != self._cable:
            self._cable = plugged
            self._begin()

    def hold_reset(self, held: bool) -> None:
        """Give the reset pin a level; registers have their first values then."""
        if held != self._held:
            self._held = held
            self.registers = dict(RESET)
            self._begin()

    def reset(self) -> None:
        """As after power-on: registers have their first values, and the link is up where there is a cable."""
        self._cancel()
        self.registers = dict(RESET)
        self._held = self._failed = False
        self._negotiated = self._cable

    def state(self) -> dict[str, Any]:
        flags = [self._cable, self._negotiated, self._held, self._failed]
        return {"registers": list(self.registers.values()), "flags": flags}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave; a negotiation begins anew.  Raises ValueError, TypeError or KeyError otherwise."""
        values = list(state["registers"])
        if not all(type(value) is int and 0 <= value <= 0xFFFF for value in values):
            raise ValueError(f"PHY registers {values!r}")
        registers = dict(zip(RESET, values, strict=True))
        cable, negotiated, held, failed = map(bool, state["flags"])
        self.registers, self._cable, self._held, self._failed = registers, cable, held, failed
        self._negotiated = negotiated
        self._cancel()
        if not negotiated:
            self._wait()

    def _control(self, value: int) -> None:
        if value & Control.reset.mask:
            self.registers = dict(RESET)
            self._begin()
            return
        before = self.registers[Phy.CONTROL]
        self.registers[Phy.CONTROL] = value & ~ONCE
        if value & Control.restart.mask or (before ^ value) & (Control.negotiate.mask | Control.power_down.mask):
            self._begin()

    def _begin(self) -> None:
        """Negotiate anew: without a link until that is done."""
        self._negotiated = False
        self._failed = True
        self._cancel()
        self._wait()
        self._changed()

    def _wait(self) -> None:
        if self._cable and not self._held and self.registers[Phy.CONTROL] & Control.negotiate.mask:
            self._timer = self._after(spec.AUTO_NEGOTIATION_NS, self._end)

    def _end(self) -> None:
        self._timer = None
        self._negotiated = True
        self._changed()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
