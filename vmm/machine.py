"""A whole virtual machine: the one place where VM, vCPU, memory, bus and devices are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import monotonic
from types import TracebackType
from typing import Self

from virtproof.kvm import CpuidEntry
from virtproof.vmm.bus import Bus, Trace
from virtproof.vmm.devices.serial import Serial
from virtproof.vmm.engine import Engine
from virtproof.vmm.events import Clock, EventLoop, Timer
from virtproof.vmm.exits import Exit, Halt, Interrupted, Timeout
from virtproof.vmm.interrupts import InterruptSink, KernelIrqchip, NoInterrupts
from virtproof.vmm.memory import GuestMemory
from virtproof.vmm.watchdog import guard

MIB = 1 << 20
SLICE = 0.001  # seconds that a guest runs at a stretch while descriptors are waited for

COM1, COM1_PORTS, COM1_IRQ = 0x3F8, 8, 4


class Machine:
    """One VM with one vCPU.  What is not asked for is not created.  Use it as a context manager.

    ``ram`` is the size in bytes of the memory at guest-physical 0; 0: none, slots are the caller's.  ``cpuid`` is what
    the guest's CPUID instruction answers; None leaves KVM's default: nothing.  ``irqchip`` asks for PICs, I/O APIC and
    local APIC in the kernel.  ``trace`` sees every access on the bus.  ``clock`` is the time of timers of devices.

    Devices run on the guest's own thread: between exits, and where a timer or a descriptor is waited for, when the
    guest has been kicked out of its slice.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        ram: int = MIB,
        cpuid: Iterable[CpuidEntry] | None = None,
        irqchip: bool = False,
        trace: Trace | None = None,
        clock: Clock | None = None,
    ) -> None:
        with ExitStack() as stack:
            self.vm = engine.create_vm()
            self.memory = GuestMemory(self.vm)
            stack.callback(self.memory.close)
            stack.callback(self.vm.close)  # closed first: memory outlives the VM that runs in it
            if ram:
                self.memory.add(0, ram)
            self.events = EventLoop(clock)
            stack.callback(self.events.close)
            self.interrupts: InterruptSink = NoInterrupts()
            if irqchip:
                self.vm.create_irqchip()
                self.interrupts = KernelIrqchip(self.vm)
            self.vcpu = self.vm.create_vcpu(0)
            if cpuid is not None:
                self.vcpu.set_cpuid(cpuid)
            self.bus = Bus(trace)
            self._stopping = False
            self._resources = stack.pop_all()

    def run(self, seconds: float) -> Exit | Timeout:
        """Run the guest until it stops, ``stop`` is called, or ``seconds`` have passed.

        A guest that halts goes on where a timer or a descriptor of a device is still to come.
        """
        self._stopping = False
        end = monotonic() + seconds
        with guard(self.vcpu, seconds) as whole:
            while True:
                stopped = self._slice()
                if self._stopping or not isinstance(stopped, Interrupted | Halt):
                    return stopped
                if whole.expired or monotonic() >= end:
                    return Timeout(seconds)
                if isinstance(stopped, Halt):
                    if not self.events.waiting:
                        return stopped
                    self.events.poll(int(SLICE * 1e9))
                else:
                    self.events.poll()

    def _slice(self) -> Exit:
        """Run the guest until something happens, or it is time to look after timers and descriptors."""
        if not self.events.waiting:
            return self.vcpu.run(self.bus)
        due = self.events.next_deadline()
        seconds = SLICE if due is None else max(0.0, (due - self.events.clock.now()) / 1e9)
        with guard(self.vcpu, min(SLICE, seconds) if self.events.reading else seconds):
            return self.vcpu.run(self.bus)

    def stop(self) -> None:
        """Make ``run`` return, the access at hand completed.  For devices; any thread may call it."""
        self._stopping = True
        self.vcpu.kick()

    def after(self, ns: int, callback: Callable[[], None]) -> Timer:
        """Start a timer of a device, and see to it that the guest does not run past it."""
        timer = self.events.after(ns, callback)
        self.vcpu.kick()
        return timer

    def add_serial(self, transmit: Callable[[int], None]) -> Serial:
        """Add COM1: a 16550A whose output goes to ``transmit``, byte by byte."""
        serial = Serial(transmit, lambda level: self.interrupts.set_line(COM1_IRQ, level), self.after)
        self.bus.add_ports(COM1, COM1_PORTS, serial, "COM1", width=1)
        return serial

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
