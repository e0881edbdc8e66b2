"""The one way a device interrupts its guest, whatever controls interrupts behind it.

A line is what a wire is: it has a level, and devices change the level.  Numbers are global system interrupts: 0 to 15
reach both PICs and the I/O APIC, 16 to 23 the I/O APIC only.
"""

from collections.abc import Callable
from typing import Protocol


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


class NoInterrupts:
    """No interrupt controller: interrupts go nowhere.  For guests that poll."""

    def set_line(self, gsi: int, level: bool) -> None: ...

    def send_msi(self, address: int, data: int) -> None: ...

    def on_eoi(self, gsi: int, callback: Callable[[], None]) -> None: ...


class IrqchipVm(Protocol):
    """What ``KernelIrqchip`` needs of a virtual machine."""

    def set_irq_line(self, gsi: int, level: bool) -> None: ...
    def signal_msi(self, address: int, data: int) -> None: ...


class KernelIrqchip:
    """PIC, I/O APIC and local APICs inside KVM.

    KVM delivers a level-triggered interrupt again when the guest ends it with the line still high, so a device whose
    line follows its state needs no word of the EOI.  For one that does: KVM tells nobody of an EOI but through a
    resample eventfd or, with a split irqchip, an exit.  ``eoi`` is where an engine that has either must call; with the
    plain KVM_IRQ_LINE interface used here nothing calls it, and callbacks of ``on_eoi`` stay silent.
    """

    def __init__(self, vm: IrqchipVm) -> None:
        self._vm = vm
        self._levels: dict[int, bool] = {}
        self._eoi: dict[int, list[Callable[[], None]]] = {}

    def set_line(self, gsi: int, level: bool) -> None:
        if self._levels.get(gsi, False) != level:  # an ioctl costs more than all of a device's work
            self._levels[gsi] = level
            self._vm.set_irq_line(gsi, level)

    def send_msi(self, address: int, data: int) -> None:
        self._vm.signal_msi(address, data)

    def on_eoi(self, gsi: int, callback: Callable[[], None]) -> None:
        self._eoi.setdefault(gsi, []).append(callback)

    def eoi(self, gsi: int) -> None:
        """The guest ended an interrupt of ``gsi``."""
        for callback in self._eoi.get(gsi, ()):
            callback()
