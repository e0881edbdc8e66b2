"""Runs a payload driver on a board with one device, and counts and times what it does between two marks.

By ``host(BEGIN)`` a driver says that it is set up, by ``host(END)`` that all is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from virtproof.guest_payloads import images, program
from virtproof.guest_payloads.program import Ran
from virtproof.spec.guest_protocol import HOST_PORT
from virtproof.vmm.board import Board
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Timeout
from virtproof.vmm.machine import Machine
from virtproof.vmm.pci.bus import PciDevice

SLOT = 3
MEMORY = 4 << 20
SECONDS = 20.0  # for one run
BEGIN, END = 0, 1


@dataclass(frozen=True, slots=True)
class Metered:
    """``exits`` are accesses to devices that came to the monitor, ``seconds`` the time between the marks.

    Where there is no figure ``reason`` says why.
    """

    exits: int = 0
    seconds: float = 0.0
    reason: str = ""


class _Meter:
    """The port by which the driver says when to count, and the count."""

    def __init__(self) -> None:
        self.exits = 0
        self.seconds = 0.0
        self._began = 0.0
        self._counting = False

    def trace(self, kind: Literal["pio", "mmio"], address: int, size: int, is_write: bool, value: int) -> None:
        self.exits += self._counting and (kind, address) != ("pio", HOST_PORT)

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if value == BEGIN:
            self._counting, self._began = True, perf_counter()
        elif value == END and self._counting:
            self._counting, self.seconds = False, perf_counter() - self._began


def drive(
    engine: Engine,
    image: str,
    test: str,
    make: Callable[[Machine], PciDevice],
    arguments: Sequence[int],
    wanted: tuple[int, str],
) -> Metered:
    """Run ``test`` of a driver in a guest of its own; its first observation shall be ``wanted``, a number of something.

    Raises Fault where the engine fails.
    """
    meter = _Meter()

    def furnish(machine: Machine) -> None:
        Board(machine).add(make(machine), slot=SLOT)
        machine.bus.add_ports(HOST_PORT, 1, meter, "meter")
        machine.bus.trace = meter.trace

    ran = program.run(
        engine, image, memory=MEMORY, seconds=SECONDS, irqchip=True,
        arguments=(images.load(image)[test], *arguments), furnish=furnish,
    )  # fmt: skip
    if reason := _failure(ran, *wanted):
        return Metered(reason=reason)
    return Metered(meter.exits, meter.seconds)


def _failure(ran: Ran, count: int, what: str) -> str:
    """Why there is no figure; empty where there is one."""
    if ran.fault is not None:
        return f"the driver ended with fault {ran.fault:#x}"
    if isinstance(ran.end, Timeout):
        return f"the {what} were not back within {SECONDS:g} s"
    if not ran.done:
        return str(ran.end)
    if ran.observations[0] != count:
        return f"{ran.observations[0]} of {count} {what} came back as they should"
    return ""
