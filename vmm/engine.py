"""What executes guest instructions: the protocols that the machine is written against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from virtproof.kvm import CpuidEntry
from virtproof.spec.kvm.exits import MpStateValue
from virtproof.spec.x86.fxsave import Fxsave
from virtproof.vmm.debug import HardwareBreakpoint
from virtproof.vmm.exits import Exit
from virtproof.vmm.registers import Registers, SpecialRegisters
from virtproof.vmm.routing import Route

if TYPE_CHECKING:
    from virtproof.results import Backend


class Accesses(Protocol):
    """Who answers port and memory accesses that no slot backs: ``vmm.bus.Bus``.  Sizes in bytes, values unsigned."""

    def pio_in(self, port: int, size: int) -> int: ...
    def pio_out(self, port: int, size: int, value: int) -> None: ...
    def mmio_read(self, address: int, length: int) -> int: ...
    def mmio_write(self, address: int, length: int, value: int) -> None: ...


class Acknowledges(Protocol):
    """An interrupt controller of the monitor, as the vCPU sees it."""

    @property
    def pending(self) -> bool:
        """Does an interrupt wait?"""

    def acknowledge(self) -> int | None:
        """Take the vector of the most urgent interrupt that waits."""


class AnswersMsrs(Protocol):
    """Who holds the MSRs of a local APIC that the monitor models.

    They are IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC's, 800H to 8FFH; the engine never answers one of these
    itself where a vCPU has been given somebody who does.
    """

    def read_msr(self, index: int) -> int | None:
        """Return what RDMSR reads; None: it raises #GP(0)."""

    def write_msr(self, index: int, value: int) -> bool:
        """Take what WRMSR writes, 64 bits unsigned; False: it raises #GP(0)."""


class HasTaskPriority(Protocol):
    """The task priority of a local APIC that the monitor models: bits 7:4 of its TPR, as CR8 shows them."""

    cr8: int
    """0 to 15: what MOV from CR8 reads and MOV to CR8 writes."""


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
    def cpuid(self) -> tuple[CpuidEntry, ...]:
        """Return what the guest's CPUID instruction answers, the engine's own changes included."""

    def fpu(self) -> Fxsave: ...
    def set_fpu(self, fpu: Fxsave) -> None: ...
    def translate(self, address: int) -> Translation: ...
    def debug(
        self,
        *,
        single_step: bool = False,
        software: bool = False,
        hardware: Iterable[HardwareBreakpoint] = (),
        block_interrupts: bool = False,
        inject_breakpoint: bool = False,
    ) -> None:
        """Have debug exceptions end the run with ``exits.Debug``; no argument: the guest's own debugging again."""

    def statistics(self) -> dict[str, int | list[int]]:
        """Return what the engine counts of this vCPU, by name."""

    def mp_state(self) -> MpStateValue: ...
    def set_mp_state(self, state: MpStateValue) -> None: ...
    def tsc(self) -> int:
        """Return what RDTSC reads now."""

    def tsc_khz(self) -> int:
        """Return the frequency of the guest's time stamp counter; 0 where nobody knows it."""

    def nmi(self) -> None: ...

    controller: Acknowledges | None
    msrs: AnswersMsrs | None
    task_priority: HasTaskPriority | None
    on_eoi: Callable[[int], None] | None

    @property
    def wakeful(self) -> bool:
        """After ``exits.Halt``: does an interrupt or NMI wait that ends the halt?"""

    def request_interrupt_window(self) -> None:
        """Ask ``controller`` as soon as the guest can take an interrupt.  Any thread may call it."""

    def close(self) -> None: ...


class Vm(Protocol):
    """One virtual machine: memory slots, interrupts, vCPUs.  ``close`` closes its vCPUs too."""

    def set_slot(
        self, slot: int, gpa: int, memory: Memory, *, read_only: bool = False, log_dirty: bool = False
    ) -> None: ...
    def delete_slot(self, slot: int) -> None: ...
    def dirty_log(self, slot: int) -> bytes:
        """Return and clear the slot's dirty bitmap: bit ``n % 8`` of byte ``n // 8`` is page ``n`` of the slot."""

    def memory_written(self, gpa: int, length: int) -> None:
        """The monitor has written guest memory behind the slots."""

    def enable_dirty_rings(self, entries: int) -> None: ...
    def create_irqchip(self) -> None: ...
    def create_split_irqchip(self) -> None: ...
    def create_pit(self) -> None: ...
    def leave_apics_to_monitor(self) -> None:
        """Have vCPUs ask ``msrs`` and ``task_priority``: the monitor models their local APICs.

        Raises Fault where the engine cannot.
        """

    def set_irq_line(self, gsi: int, level: bool) -> None: ...
    def signal_msi(self, address: int, data: int) -> None: ...
    def set_routes(self, routes: Sequence[Route]) -> None: ...
    def attach_irqfd(self, fd: int, gsi: int, *, resample: int = -1) -> None: ...
    def create_vcpu(self, index: int) -> Vcpu: ...
    def close(self) -> None: ...


class Engine(Protocol):
    """Something that makes virtual machines."""

    patience: float
    """How many times as long as they are given its guests may take: 1, and more on a slow host."""

    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def kernel_irqchip(self) -> bool:
        """Has it interrupt controllers of its own, for ``create_irqchip``, ``create_split_irqchip``, ``create_pit``?"""

    @property
    def max_vcpus(self) -> int:
        """How many vCPUs one VM may have."""

    def supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        """Return what the engine can offer to guests with local APICs: theirs unless a machine says otherwise."""

    def create_vm(self) -> Vm: ...
    def close(self) -> None: ...
