"""A machine as it was when it was switched on, for when it is reset.

A reset starts the processors, interrupt controllers and timers anew.  Memory stays, and so does what a device keeps
over a reset: one with a ``reset`` knows what that is.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from virtproof.vmm import state
from virtproof.vmm.machine import Machine
from virtproof.vmm.state import Stateful


@runtime_checkable
class Resettable(Protocol):
    """A device that can be reset."""

    def reset(self) -> None: ...


class PowerOn:
    """Takes the state of a machine that has not run yet; ``again`` brings it back while the machine is stopped."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._processors = state.save_processors(machine)
        self._devices: list[tuple[Stateful, dict[str, Any]]] = [
            (device, device.state())
            for _, device in machine.bus.devices()
            if isinstance(device, Stateful) and not isinstance(device, Resettable)
        ]
        self._interrupts = machine.interrupts.state()

    def again(self) -> None:
        """Reset the processors and the devices on the bus."""
        for device, before in self._devices:
            device.restore(before)
        for _, wired in self._machine.bus.devices():
            if isinstance(wired, Resettable):
                wired.reset()
        self._machine.interrupts.restore(self._interrupts)
        state.restore_processors(self._machine, self._processors)
