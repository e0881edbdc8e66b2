"""What executes guest instructions: the protocols that the machine is written against."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from virtproof.kvm import CpuidEntry
from virtproof.results import Backend
from virtproof.vmm.exits import Exit
from virtproof.vmm.registers import Registers, SpecialRegisters


class Accesses(Protocol):
    """Who answers port and memory accesses that no slot backs: ``vmm.bus.Bus``.  Sizes in bytes, values unsigned."""

    def pio_in(self, port: int, size: int) -> int: ...
    def pio_out(self, port: int, size: int, value: int) -> None: ...
    def mmio_read(self, address: int, length: int) -> int: ...
    def mmio_write(self, address: int, length: int, value: int) -> None: ...


class Memory(Protocol):
    """A page-aligned mapping of the monitor that can back a slot."""

    @property
    def address(self) -> int: ...
    @property
    def size(self) -> int: ...


class Translation(NamedTuple):
    """Where a guest-virtual address leads by the guest's own page tables."""

    valid: bool
    physical: int
    writeable: bool
    user: bool


class Vcpu(Protocol):
    """One virtual processor.  All methods but ``kick`` belong to the thread that runs it."""

    def run(self, bus: Accesses) -> Exit:
        """Run until something happens that the bus cannot answer.  Raises Fault where the engine fails."""

    def kick(self) -> None:
        """Make ``run`` return Interrupted soon, the current access completed; a kick before ``run`` is not lost."""

    def registers(self) -> Registers: ...
    def set_registers(self, registers: Registers) -> None: ...
    def special_registers(self) -> SpecialRegisters: ...
    def set_special_registers(self, registers: SpecialRegisters) -> None: ...
    def set_cpuid(self, entries: Iterable[CpuidEntry]) -> None: ...
    def translate(self, address: int) -> Translation: ...
    def close(self) -> None: ...


class Vm(Protocol):
    """One virtual machine: memory slots, interrupts, vCPUs.  ``close`` closes its vCPUs too."""

    def set_slot(
        self, slot: int, gpa: int, memory: Memory, *, read_only: bool = False, log_dirty: bool = False
    ) -> None: ...
    def delete_slot(self, slot: int) -> None: ...
    def dirty_log(self, slot: int) -> bytes:
        """Return and clear the slot's dirty bitmap: bit ``n % 8`` of byte ``n // 8`` is page ``n`` of the slot."""

    def create_irqchip(self) -> None: ...
    def set_irq_line(self, gsi: int, level: bool) -> None: ...
    def signal_msi(self, address: int, data: int) -> None: ...
    def create_vcpu(self, index: int) -> Vcpu: ...
    def close(self) -> None: ...


class Engine(Protocol):
    """Something that makes virtual machines."""

    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> Backend: ...
    def supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        """Return what the engine can offer to guests: what they are given unless a machine says otherwise."""

    def create_vm(self) -> Vm: ...
    def close(self) -> None: ...
