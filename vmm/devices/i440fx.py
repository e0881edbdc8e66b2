"""Host bridge of the Intel 440FX: its PAM registers say where the BIOS area's reads and writes go.

Omitted: everything about DRAM timing, the AGP-less PCI arbitration, SMRAM (its register holds what is written), and
errors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from virtproof.spec import i440fx
from virtproof.spec.i440fx import Attributes, Segment
from virtproof.vmm.pci.function import Function, Identity

Shadow = Callable[[Segment, Attributes], None]


class HostBridge:
    """``shadow`` is told of each segment that a write to a PAM register may have changed."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow
        self.function = Function(Identity(i440fx.VENDOR, i440fx.HOST_BRIDGE, i440fx.HOST_CLASS, i440fx.HOST_REVISION))
        for register in range(i440fx.PAMS):
            writable = i440fx.PAM_WRITABLE if register else i440fx.PAM_WRITABLE & 0xF0
            self.function.add_register(
                i440fx.PAM + register, 1, writable=writable, written=partial(self._written, register)
            )
        self.function.add_register(i440fx.SMRAM, 1, i440fx.SMRAM_RESET, writable=i440fx.SMRAM_WRITABLE)

    def reset(self) -> None:
        self._all()

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        self._all()

    def _all(self) -> None:
        for register in range(i440fx.PAMS):
            self._written(register, self.function.read_config(i440fx.PAM + register, 1))

    def _written(self, register: int, value: int) -> None:
        for segment in i440fx.SEGMENTS:
            if segment.register == register:
                self._shadow(segment, Attributes(value >> segment.shift & 0x3))
