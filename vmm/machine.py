"""A whole virtual machine: the one place where VM, vCPU, memory, bus and devices are put together."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from virtproof.kvm import CpuidEntry
from virtproof.vmm.bus import Bus, Trace
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Exit, Interrupted, Timeout
from virtproof.vmm.memory import GuestMemory
from virtproof.vmm.watchdog import guard

MIB = 1 << 20


class Machine:
    """One VM with one vCPU.  What is not asked for is not created.  Use it as a context manager.

    ``ram`` is the size in bytes of the memory at guest-physical 0; 0: none, slots are the caller's.  ``cpuid`` is what
    the guest's CPUID instruction answers; None leaves KVM's default: nothing.  ``irqchip`` asks for PICs, I/O APIC and
    local APIC in the kernel.  ``trace`` sees every access on the bus.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        ram: int = MIB,
        cpuid: Iterable[CpuidEntry] | None = None,
        irqchip: bool = False,
        trace: Trace | None = None,
    ) -> None:
        with ExitStack() as stack:
            self.vm = engine.create_vm()
            self.memory = GuestMemory(self.vm)
            stack.callback(self.memory.close)
            stack.callback(self.vm.close)  # closed first: memory outlives the VM that runs in it
            if ram:
                self.memory.add(0, ram)
            if irqchip:
                self.vm.create_irqchip()
            self.vcpu = self.vm.create_vcpu(0)
            if cpuid is not None:
                self.vcpu.set_cpuid(cpuid)
            self.bus = Bus(trace)
            self._resources = stack.pop_all()

    def run(self, seconds: float) -> Exit | Timeout:
        """Run the guest until it stops, a device kicks it, or ``seconds`` have passed."""
        with guard(self.vcpu, seconds) as guarded:
            stopped = self.vcpu.run(self.bus)
        return Timeout(seconds) if guarded.expired and isinstance(stopped, Interrupted) else stopped

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
