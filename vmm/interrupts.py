"""The one way a device interrupts its guest, whatever controls interrupts behind it.

A line is what a wire is: it has a level, and devices change the level.  Numbers are global system interrupts: 0 to 15
reach both PICs and the I/O APIC, 16 to 23 the I/O APIC only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from virtproof.vmm.events import EventLoop
from virtproof.vmm.routing import MsiRoute, Route

MAX_LINES = 4096  # KVM's own limit of routes


class InterruptSink(Protocol):
    """What devices know of interrupts."""

    def set_line(self, gsi: int, level: bool) -> None:
        """Drive the line ``gsi``."""
        ...

    def send_msi(self, address: int, data: int) -> None:
        """Send one message-signalled interrupt."""
        ...

    def on_eoi(self, gsi: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` each time the guest ends an interrupt of the level-triggered line ``gsi``."""
        ...

    def state(self) -> dict[str, Any]:
        """What the sink itself knows, as JSON values, to be saved with a machine."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Know it again, in a new machine.  Raises ValueError, TypeError or KeyError for what no ``state`` gives."""
        ...


class NoInterrupts:
    """No interrupt controller: interrupts go nowhere.  For guests that poll."""

    def set_line(self, gsi: int, level: bool) -> None: ...

    def send_msi(self, address: int, data: int) -> None: ...

    def on_eoi(self, gsi: int, callback: Callable[[], None]) -> None: ...

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


def _lines(numbers: list[int]) -> set[int]:
    if not all(type(number) is int and 0 <= number < MAX_LINES for number in numbers):
        raise ValueError(f"lines {numbers!r}")
    return set(numbers)


class IrqchipVm(Protocol):
    """What ``KernelIrqchip`` needs of a virtual machine."""

    def set_irq_line(self, gsi: int, level: bool) -> None: ...
    def signal_msi(self, address: int, data: int) -> None: ...


class IrqfdVm(Protocol):
    """What ``ResampleFds`` needs of a virtual machine."""

    def attach_irqfd(self, fd: int, gsi: int, *, resample: int = -1) -> None: ...


class EndsOfInterrupts:
    """Who wants to know of the end of an interrupt, by line."""

    def __init__(self) -> None:
        self._eoi: dict[int, list[Callable[[], None]]] = {}

    def on_eoi(self, gsi: int, callback: Callable[[], None]) -> None:
        self._eoi.setdefault(gsi, []).append(callback)

    def eoi(self, gsi: int) -> None:
        """The guest ended an interrupt of ``gsi``."""
        for callback in self._eoi.get(gsi, ()):
            callback()


class ResampleFds:
    """Has KVM tell of the end of interrupts, by resample eventfds that ``events`` reads.

    A vCPU that runs on the loop's thread then runs in slices: the word of the end comes up to a slice late.
    """

    def __init__(self, vm: IrqfdVm, events: EventLoop) -> None:
        self._vm, self._events = vm, events
        self._fds: list[int] = []

    def watch(self, gsi: int, ended: Callable[[], None]) -> None:
        """Call ``ended`` when the guest ends an interrupt of line ``gsi``, whoever raised it."""
        raises, resample = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
        self._fds += raises, resample
        self._vm.attach_irqfd(raises, gsi, resample=resample)

        def read() -> None:
            os.eventfd_read(resample)
            ended()

        self._events.add_reader(resample, read)

    def close(self) -> None:
        for fd in self._fds:
            self._events.remove_reader(fd)
            os.close(fd)
        self._fds.clear()


class KernelIrqchip(EndsOfInterrupts):
    """PIC, I/O APIC and local APICs inside KVM.

    KVM delivers a level-triggered interrupt again when the guest ends it with the line still high, so a device whose
    line follows its state needs no word of the EOI.  For one that does, ``resample`` has KVM tell of it; without,
    callbacks of ``on_eoi`` stay silent.
    """

    def __init__(self, vm: IrqchipVm, resample: ResampleFds | None = None) -> None:
        super().__init__()
        self._vm, self._resample = vm, resample
        self._levels: dict[int, bool] = {}

    def set_line(self, gsi: int, level: bool) -> None:
        if self._levels.get(gsi, False) != level:  # an ioctl costs more than all of a device's work
            self._levels[gsi] = level
            self._vm.set_irq_line(gsi, level)

    def send_msi(self, address: int, data: int) -> None:
        self._vm.signal_msi(address, data)

    def on_eoi(self, gsi: int, callback: Callable[[], None]) -> None:
        if gsi not in self._eoi and self._resample is not None:
            self._resample.watch(gsi, lambda: self.eoi(gsi))
        super().on_eoi(gsi, callback)

    def state(self) -> dict[str, Any]:
        return {"high": [gsi for gsi, level in self._levels.items() if level]}

    def restore(self, state: dict[str, Any]) -> None:
        for gsi in _lines(state["high"]):
            self.set_line(gsi, True)


class RoutedVm(Protocol):
    """What ``SplitIrqchip`` needs of a virtual machine."""

    def set_routes(self, routes: Sequence[Route]) -> None: ...
    def signal_msi(self, address: int, data: int) -> object: ...


class SplitIrqchip(EndsOfInterrupts):
    """Local APICs inside KVM, nothing else: a line is a message by the routing table.

    An edge-triggered line sends its message when it rises.  A level-triggered one sends it when it is high and no
    interrupt of it is in service; it is in service until the guest's EOI, which an exit tells of: ``ended``.
    """

    def __init__(self, vm: RoutedVm) -> None:
        super().__init__()
        self._vm = vm
        self._routes: dict[int, MsiRoute] = {}
        self._high: set[int] = set()
        self._in_service: set[int] = set()

    def route(self, routes: Iterable[MsiRoute]) -> None:
        """Replace the routing table.  What is in service stays so, and its vector should stay in the table."""
        self._routes = {route.gsi: route for route in routes}
        self._vm.set_routes(tuple(self._routes.values()))

    def set_line(self, gsi: int, level: bool) -> None:
        rose = level and gsi not in self._high
        (self._high.add if level else self._high.discard)(gsi)
        if rose:
            self._send(gsi)

    def send_msi(self, address: int, data: int) -> None:
        self._vm.signal_msi(address, data)

    def ended(self, vector: int) -> None:
        """The guest ended an interrupt of ``vector``: the exit IOAPIC_EOI."""
        for route in tuple(self._routes.values()):
            if route.level and route.vector == vector and route.gsi in self._in_service:
                self._in_service.discard(route.gsi)
                self.eoi(route.gsi)
                if route.gsi in self._high:
                    self._send(route.gsi)

    def state(self) -> dict[str, Any]:
        return {
            "routes": [list(route) for route in self._routes.values()],
            "high": sorted(self._high),
            "in_service": sorted(self._in_service),
        }

    def restore(self, state: dict[str, Any]) -> None:
        routes = [MsiRoute(*row) for row in state["routes"]]
        for route in routes:
            _lines([route.gsi])
            if not (0 <= route.address < 1 << 64 and 0 <= route.data < 1 << 32):
                raise ValueError(f"{route}")
        self.route(routes)
        self._high, self._in_service = _lines(state["high"]), _lines(state["in_service"])

    def _send(self, gsi: int) -> None:
        route = self._routes.get(gsi)
        if route is None or gsi in self._in_service:
            return
        if route.level:
            self._in_service.add(gsi)
        self._vm.signal_msi(route.address, route.data)


class InjectedInterrupts(EndsOfInterrupts):
    """No interrupt controller in the kernel: vectors are handed to one vCPU as it can take them.

    As an 8259 with automatic EOI: the acknowledge is the end.  A rising edge is remembered until it is acknowledged; a
    line in ``level`` asks as long as it is high, and again at once if it is still high when it was acknowledged.  The
    lowest line is the most urgent; messages go before lines and carry their vector themselves.  ``vectors`` maps lines
    to vectors (20H onwards, as long as nobody changes it); ``ask`` tells the vCPU that something waits.
    """

    def __init__(self, ask: Callable[[], None], lock: AbstractContextManager[object] | None = None) -> None:
        super().__init__()
        self.vectors = {gsi: 0x20 + gsi for gsi in range(24)}
        self.level: set[int] = set()
        self._ask = ask
        self._lock = lock or threading.RLock()
        self._high: set[int] = set()
        self._asking: set[int] = set()
        self._messages: list[int] = []  # vectors; one that waits already is not added twice

    @property
    def pending(self) -> bool:
        return bool(self._messages or self._asking)

    def set_line(self, gsi: int, level: bool) -> None:
        with self._lock:
            rose = level and gsi not in self._high
            (self._high.add if level else self._high.discard)(gsi)
            if rose and gsi in self.vectors:
                self._asking.add(gsi)
            elif not level and gsi in self.level:
                self._asking.discard(gsi)
        if rose:
            self._ask()

    def send_msi(self, address: int, data: int) -> None:
        with self._lock:
            if data & 0xFF not in self._messages:
                self._messages.append(data & 0xFF)
        self._ask()

    def acknowledge(self) -> int | None:
        """Take the most urgent vector; None where nothing waits any more."""
        with self._lock:
            if self._messages:
                return self._messages.pop(0)
            if not self._asking:
                return None
            gsi = min(self._asking)
            vector = self.vectors[gsi]
            self._asking.discard(gsi)
            self.eoi(gsi)
            if gsi in self.level and gsi in self._high:
                self._asking.add(gsi)
            return vector

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "vectors": [list(row) for row in self.vectors.items()],
                "level": sorted(self.level),
                "high": sorted(self._high),
                "asking": sorted(self._asking),
                "messages": list(self._messages),
            }

    def restore(self, state: dict[str, Any]) -> None:
        vectors, messages = dict(state["vectors"]), list(state["messages"])
        _lines(list(vectors))
        if not all(type(vector) is int and 0 <= vector <= 0xFF for vector in (*vectors.values(), *messages)):
            raise ValueError("a vector above 255")
        with self._lock:
            self.vectors, self._messages = vectors, messages
            self.level, self._high = _lines(state["level"]), _lines(state["high"])
            self._asking = _lines(state["asking"]) & set(vectors)
        if self.pending:
            self._ask()
