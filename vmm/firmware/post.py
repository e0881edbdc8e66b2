"""What a BIOS does to the board before it starts anything: addresses, ports and interrupt lines of PCI functions.

Where SeaBIOS puts them, which our ACPI tables name too: ports from C000H up, memory from FEC00000H down, the PIRQs at
lines 10, 10, 11 and 11, power management at 600H.
"""

from __future__ import annotations

from virtproof.spec import i440fx, pci, piix4
from virtproof.vmm.board import Board
from virtproof.vmm.firmware.acpi import LINES, PCI_IO, PCI_TOP, PM_BASE
from virtproof.vmm.pci.function import Bar, Function
from virtproof.vmm.platform import Platform


def configure(board: Board, platform: Platform, low_end: int) -> None:
    """Place everything; memory stays above ``low_end``.  Raises ValueError where there is no room."""
    for pirq, line in enumerate(LINES):
        board.isa_bridge.function.write_config(i440fx.PIRQ_ROUTE + pirq, 1, line)
    platform.pm.function.write_config(piix4.PMBASE, 4, PM_BASE)
    platform.pm.function.write_config(piix4.PMREGMISC, 1, piix4.PMIOSE)
    functions = dict(sorted(board.pci.devices.items()))
    places = _places([bar for device in functions.values() for bar in device.function.bars], low_end)
    for at, device in functions.items():
        function = device.function
        if function.bars:
            function.place([places[id(bar)] for bar in function.bars])
        if function.identity.interrupt_pin:
            _route(function, at >> 3)


def interrupts(board: Board) -> tuple[tuple[int, int], ...]:
    """Slots and pins (from 0) of the functions that interrupt."""
    return tuple(
        (at >> 3, device.function.identity.interrupt_pin - 1)
        for at, device in sorted(board.pci.devices.items())
        if device.function.identity.interrupt_pin
    )


def _route(function: Function, slot: int) -> None:
    line = LINES[(slot - 1 + function.identity.interrupt_pin - 1) % len(LINES)]
    is_power_management = (function.identity.vendor, function.identity.device) == (piix4.VENDOR, piix4.DEVICE)
    function.write_config(pci.INTERRUPT_LINE, 1, piix4.SCI_IRQ if is_power_management else line)


def _places(bars: list[Bar], low_end: int) -> dict[int, int]:
    """An address for each BAR, the largest first so that all are aligned."""
    found: dict[int, int] = {}
    port, top = PCI_IO[0], PCI_TOP
    for bar in sorted(bars, key=lambda bar: -bar.size):
        if bar.kind == "io":
            found[id(bar)] = port
            port += bar.size
        else:
            top = (top - bar.size) & -bar.size
            found[id(bar)] = top
    if port > PCI_IO[1] + 1 or top < low_end:
        raise ValueError(f"BARs up to port {port:#x} and down to {top:#x}")
    return found
