"""PCI bus 0: who is on it, configuration mechanism #1, and where the interrupt pins go.

PCI Local Bus Specification 3.0, "Software Generation of Configuration Transactions"; the swizzle of the pins is that of
boards with an Intel 440FX: pin A of device 1 is PIRQ A, and each further pin or device is one further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from virtproof.spec.pci import ConfigAddress
from virtproof.vmm.bus import Bus, Device
from virtproof.vmm.pci.function import Function, Memory

DEVICES, FUNCTIONS = 32, 8
PIRQS = 4


class PciDevice(Protocol):
    """A device model with one function."""

    function: Function

    def reset(self) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class PciBus:
    """``set_pirq(pirq, level)`` drives one of the four interrupt lines of the board, A to D as 0 to 3."""

    def __init__(
        self,
        bus: Bus,
        memory: Memory,
        set_pirq: Callable[[int, bool], None],
        send_msi: Callable[[int, int], None],
    ) -> None:
        self.devices: dict[int, PciDevice] = {}  # by device << 3 | function
        self._bus, self._memory = bus, memory
        self._set_pirq, self.send_msi = set_pirq, send_msi
        self._raised: tuple[set[int], ...] = tuple(set() for _ in range(PIRQS))

    def add(self, device: PciDevice, slot: int | None = None, number: int = 0) -> int:
        """Plug a device in, at the first free slot where none is named; return its device and function number.

        Raises ValueError where the place is taken or there is none.
        """
        if slot is None:
            slot = next((n for n in range(DEVICES) if n << 3 not in self.devices), DEVICES)
        at = slot << 3 | number
        if not 0 <= slot < DEVICES or not 0 <= number < FUNCTIONS or at in self.devices:
            raise ValueError(f"no free place for {slot:02x}.{number}")
        function = device.function
        self.devices[at] = device
        function.connect(self._memory, _Pins(self, at, function.identity.interrupt_pin))
        function.moved = self._map
        if number and slot << 3 in self.devices:
            self.devices[slot << 3].function.set_multi_function()
        self._map()
        return at

    def find(self, address: ConfigAddress) -> Function | None:
        device = None if address.bus else self.devices.get(address.device << 3 | address.function)
        return None if device is None else device.function

    def functions(self) -> Iterator[Function]:
        for _, device in sorted(self.devices.items()):
            yield device.function

    def reset(self) -> None:
        for _, device in sorted(self.devices.items()):
            device.function.reset()
            device.reset()

    def set_pin(self, at: int, pin: int, level: bool) -> None:
        """Drive the pin 1 to 4 of a function; the line stays high as long as one of them wants it."""
        pirq = (at // FUNCTIONS - 1 + pin - 1) % PIRQS
        raised = self._raised[pirq]
        before = bool(raised)
        (raised.add if level else raised.discard)(at)
        if bool(raised) != before:
            self._set_pirq(pirq, level)

    def _map(self) -> None:
        self._bus.set_windows(window for function in self.functions() for window in function.windows())


class _Pins:
    """What a function is connected to."""

    def __init__(self, bus: PciBus, at: int, pin: int) -> None:
        self._bus, self._at, self._pin = bus, at, pin
        self.send_msi = bus.send_msi

    def set_intx(self, level: bool) -> None:
        if self._pin:
            self._bus.set_pin(self._at, self._pin, level)


class ConfigPorts:
    """The ports 0xCF8 to 0xCFF.  ``beside`` are the byte-wide devices that live between the two registers' bytes."""

    def __init__(self, bus: PciBus) -> None:
        self.beside: dict[int, Device] = {}  # by offset from 0xCF8
        self._bus = bus
        self._address = ConfigAddress(0)

    def read(self, offset: int, size: int) -> int:
        if offset == 0 and size == 4:
            return self._address
        if offset < 4:
            device = self.beside.get(offset) if size == 1 else None
            return 0xFFFF_FFFF if device is None else device.read(0, 1)
        function = self._selected()
        if function is None:
            return 0xFFFF_FFFF
        try:
            return function.read_config(self._address & 0xFC | offset - 4, size)
        except Exception as error:
            self._tell(error, function, offset, "a read")
            raise

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 4:
            self._address = ConfigAddress(value & ConfigAddress.KNOWN)
        elif offset < 4:
            device = self.beside.get(offset) if size == 1 else None
            if device is not None:
                device.write(0, 1, value)
        elif (function := self._selected()) is not None:
            try:
                function.write_config(self._address & 0xFC | offset - 4, size, value)
            except Exception as error:
                self._tell(error, function, offset, "a write")
                raise

    def _tell(self, error: Exception, function: Function, offset: int, access: str) -> None:
        """Note at an exception which function's configuration space raised it."""
        at, register = self._address, self._address & 0xFC | offset - 4
        who = f"{function.identity.vendor:04x}:{function.identity.device:04x}"
        error.add_note(
            f"in {access} of register {register:#x} of PCI function 00:{at.device:02x}.{at.function} ({who})"
        )

    def reset(self) -> None:
        self._address = ConfigAddress(0)

    def state(self) -> dict[str, Any]:
        """The address latch, and every function with its device."""
        devices = {f"{at:02x}": [device.function.state(), device.state()] for at, device in self._bus.devices.items()}
        return {"address": int(self._address), "devices": devices}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        if set(state["devices"]) != {f"{at:02x}" for at in self._bus.devices}:
            raise ValueError("the state of a machine with other PCI functions")
        self._address = ConfigAddress(state["address"] & ConfigAddress.KNOWN)
        for at, device in self._bus.devices.items():
            function, own = state["devices"][f"{at:02x}"]
            device.function.restore(function)
            device.restore(own)

    def _selected(self) -> Function | None:
        return self._bus.find(self._address) if self._address.enable else None
