"""Breakpoints of the debug registers: the guest's own, or the monitor's in their place.

Intel SDM vol. 3B, "Debug Registers" and "Debug Exceptions".  An instruction breakpoint is looked for before each
instruction that the gate watches; breakpoints on data slow all of memory down while there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.debug import BreakLength, BreakOn, Dr7
from virtproof.vmm.engines.software.cpu import Cpu
from virtproof.vmm.engines.software.hooks import ACCESS, Hooks
from virtproof.vmm.engines.software.linear import LinearMemory, Raised
from virtproof.vmm.engines.software.native import Gate

if TYPE_CHECKING:
    from unicorn import Uc

_BYTES = {BreakLength.ONE: 1, BreakLength.TWO: 2, BreakLength.FOUR: 4, BreakLength.EIGHT: 8}


class _Point(NamedTuple):
    """One enabled breakpoint: ``bit`` is its own in DR6."""

    bit: int
    address: int
    length: int
    on: BreakOn


class Breakpoints:
    """What DR0 to DR3 and DR7 enable; ``hits`` are bits of DR6 for accesses since they were taken."""

    def __init__(
        self, uc: Uc, hooks: Hooks, cpu: Cpu, memory: LinearMemory, gate: Gate, stop_soon: Callable[[], None]
    ) -> None:
        self._uc, self._hooks = uc, hooks
        self._cpu, self._memory, self._gate = cpu, memory, gate
        self._stop_soon = stop_soon
        self._of_monitor: tuple[Sequence[int], Dr7] | None = None
        self._points: tuple[_Point, ...] = ()
        self._data: tuple[_Point, ...] = ()
        self._hook: int | None = None
        self.hits = 0

    @property
    def of_monitor(self) -> bool:
        """Are they the monitor's?"""
        return self._of_monitor is not None

    @property
    def control(self) -> int:
        """DR7 as it is in force."""
        return int(self._of_monitor[1] if self._of_monitor is not None else self._cpu.events.dr[7])

    def set_monitor(self, addresses: Sequence[int], control: Dr7) -> None:
        """Take the registers away from the guest; no ``addresses``: give them back."""
        self._of_monitor = (addresses, control) if addresses else None
        self.changed()

    def changed(self) -> None:
        """The registers have new values; Unicorn does not run."""
        from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE  # noqa: PLC0415

        addresses = self._of_monitor[0] if self._of_monitor is not None else self._cpu.events.dr
        control = self.control
        points = []
        for n in range(4):
            if control >> 2 * n & 0b11:
                length = _BYTES[BreakLength(control >> 18 + 4 * n & 0b11)]
                points.append(_Point(1 << n, addresses[n] & -length, length, BreakOn(control >> 16 + 4 * n & 0b11)))
        self._points = tuple(points)
        self._data = tuple(point for point in points if point.on in (BreakOn.WRITE, BreakOn.ACCESS))
        for point in points:
            if point.on is BreakOn.EXECUTE:
                self._gate.watch(point.address)
        if bool(self._data) != (self._hook is not None):
            if self._hook is None:
                self._hook = self._hooks.add(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, ACCESS, self._accessed)
            else:
                self._hooks.delete(self._hook)
                self._hook = None
            self._uc.ctl_flush_tb()  # translated code does not know of the hook

    def at_instruction(self, address: int) -> int:
        """The bits of DR6 for the instruction at a linear address."""
        return sum(point.bit for point in self._points if point.on is BreakOn.EXECUTE and point.address == address)

    def at_port(self, port: int, size: int) -> None:
        """A port is accessed."""
        if self._points and self._cpu.state.cr[4] & Cr4.de.mask:
            for point in self._points:
                if point.on is BreakOn.IO and port < point.address + point.length and point.address < port + size:
                    self._hit(point)

    def take(self) -> int:
        """The hits, which are forgotten."""
        hits, self.hits = self.hits, 0
        return hits

    def _hit(self, point: _Point) -> None:
        self.hits |= point.bit
        self._stop_soon()

    def _accessed(self, access: int, address: int, size: int, value: int, data: object) -> None:
        """An instruction accesses ``size`` bytes of guest-physical memory."""
        from unicorn import UC_MEM_WRITE  # noqa: PLC0415

        for point in self._data:
            if access != UC_MEM_WRITE and point.on is BreakOn.WRITE:
                continue
            if (address & 0xFFF) < (point.address & 0xFFF) + point.length and (point.address & 0xFFF) < (
                address & 0xFFF
            ) + size:
                try:
                    page = self._memory.find(point.address).physical & -0x1000
                except Raised:
                    continue
                if page == address & -0x1000:
                    self._hit(point)
