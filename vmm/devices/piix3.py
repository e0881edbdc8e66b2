"""ISA bridge of the PIIX3: it routes the four PCI interrupt lines to those of the interrupt controllers.

Intel 82371SB data sheet, "PIRQRCx# - PIRQx Route Control Registers".  A line routed to a reserved number goes nowhere.

Omitted: DMA, IDE (it would be another function) and the decoders of ISA ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtproof.spec import i440fx
from virtproof.spec.i440fx import PirqRoute
from virtproof.vmm.pci.function import Function, Identity


class IsaBridge:
    """``set_line(irq, level)`` drives a line of the interrupt controllers; PCI lines that share one are ORed."""

    def __init__(self, set_line: Callable[[int, bool], None]) -> None:
        self._set_line = set_line
        self._levels = [False] * i440fx.PIRQS
        self._driven: set[int] = set()  # lines that are high because of us
        self.function = Function(Identity(i440fx.VENDOR, i440fx.ISA_BRIDGE, i440fx.ISA_CLASS))
        for pirq in range(i440fx.PIRQS):
            self.function.add_register(
                i440fx.PIRQ_ROUTE + pirq,
                1,
                i440fx.PIRQ_RESET,
                writable=i440fx.PIRQ_WRITABLE,
                written=lambda value: self._drive(),
            )

    def set_pirq(self, pirq: int, level: bool) -> None:
        """Drive one of the lines A to D (0 to 3)."""
        self._levels[pirq] = level
        self._drive()

    def reset(self) -> None:
        self._drive()

    def state(self) -> dict[str, Any]:
        return {"levels": list(self._levels)}

    def restore(self, state: dict[str, Any]) -> None:
        levels = [bool(level) for level in state["levels"]]
        if len(levels) != i440fx.PIRQS:
            raise ValueError(f"{len(levels)} PCI interrupt lines")
        self._levels = levels
        self._drive()

    def _drive(self) -> None:
        wanted = set()
        for pirq, level in enumerate(self._levels):
            route = PirqRoute(self.function.read_config(i440fx.PIRQ_ROUTE + pirq, 1))
            if level and not route.disabled and route.irq in i440fx.ROUTABLE:
                wanted.add(route.irq)
        before, self._driven = self._driven, wanted
        for irq in sorted(before - wanted):
            self._set_line(irq, False)
        for irq in sorted(wanted - before):
            self._set_line(irq, True)
