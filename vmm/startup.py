"""INIT and SIPI of a further processor, carried out by the monitor where it models the local APICs.

Intel SDM vol. 3A, "Multiple-Processor (MP) Initialization" and "Processor State After Reset".  Omitted: what INIT does
to debug registers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from virtproof.spec.x86.control import Cr0
from virtproof.vmm.engine import Vcpu

_KEPT = Cr0.cd.mask | Cr0.nw.mask  # INIT leaves the caches as they are


class Startup:
    """One processor, which waits for SIPI at first.

    ``reset`` resets its local APIC.  The vCPU must be new: the registers that it has are those of a reset.
    """

    def __init__(self, vcpu: Vcpu, lock: AbstractContextManager[object], reset: Callable[[], None]) -> None:
        self._vcpu, self._lock, self._reset = vcpu, lock, reset
        self._registers, self._special = vcpu.registers(), vcpu.special_registers()
        self.waits = True
        self._init = False
        self._page: int | None = None

    def init(self) -> None:
        """INIT has come.  Any thread may call it; whoever does kicks the vCPU."""
        with self._lock:
            self._init, self._page = True, None

    def startup(self, page: int) -> None:
        """SIPI has come; only the first after INIT counts."""
        with self._lock:
            if (self.waits or self._init) and self._page is None:
                self._page = page

    @property
    def due(self) -> bool:
        """Is there something to carry out?"""
        return self._init or (self.waits and self._page is not None)

    def carry_out(self) -> bool:
        """Do what has come, on the vCPU's own thread while it does not run; say whether it may run now."""
        with self._lock:
            init, self._init = self._init, False
            if init:
                self._reset()
                self.waits = True
            page, starts = self._page, self.waits and self._page is not None
            if starts:
                self.waits, self._page = False, None
        if init:
            kept = self._vcpu.special_registers()
            cr0 = self._special.cr0 & ~_KEPT | kept.cr0 & _KEPT
            self._vcpu.set_special_registers(replace(self._special, cr0=cr0, apic_base=kept.apic_base))
            self._vcpu.set_registers(self._registers)
        if starts and page is not None:
            special = self._vcpu.special_registers()
            code = special.cs._replace(selector=page << 8, base=page << 12)
            self._vcpu.set_special_registers(replace(special, cs=code))
            self._vcpu.set_registers(replace(self._vcpu.registers(), rip=0))
        return not self.waits
