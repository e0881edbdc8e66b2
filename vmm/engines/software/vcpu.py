"""A vCPU of the software engine as the machine knows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtproof.kvm import CpuidEntry
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Ioctl
from virtproof.spec.kvm.exits import MpStateValue
from virtproof.spec.x86.fxsave import Fxsave
from virtproof.vmm.debug import HardwareBreakpoint, control
from virtproof.vmm.engine import AnswersMsrs, HasTaskPriority, Translation
from virtproof.vmm.engines.software import fpu as floating_point
from virtproof.vmm.engines.software.cpuid import TSC_HZ
from virtproof.vmm.engines.software.execution import Execution
from virtproof.vmm.engines.software.linear import Raised
from virtproof.vmm.engines.software.saved import SavedParts
from virtproof.vmm.registers import Registers, SpecialRegisters


class SoftwareVcpu(Execution):
    """The processor of a VM; ``controller``, ``msrs`` and ``task_priority`` are the monitor's interrupt hardware."""

    index = 0

    # ---- for any thread

    def kick(self) -> None:
        self._kicked = True
        self._words.kick = 1

    def request_interrupt_window(self) -> None:
        self._words.interrupt = 1

    def nmi(self) -> None:
        """Queue a non-maskable interrupt."""
        self._nmi.pending = True
        self._words.nmi = not self._nmi.blocked

    # ---- state

    def registers(self) -> Registers:
        return self._cpu.registers()

    def set_registers(self, registers: Registers) -> None:
        self._cpu.set_registers(registers)

    def special_registers(self) -> SpecialRegisters:
        return self._cpu.special_registers()

    def set_special_registers(self, registers: SpecialRegisters) -> None:
        self._cpu.set_special_registers(registers)

    def set_cpuid(self, entries: Iterable[CpuidEntry]) -> None:
        self._cpuid.set(tuple(entries))

    def cpuid(self) -> tuple[CpuidEntry, ...]:
        return self._cpuid.entries

    def fpu(self) -> Fxsave:
        """Read the x87 and SSE registers."""
        return floating_point.read(self._uc)

    def set_fpu(self, fpu: Fxsave) -> None:
        """Set the x87 and SSE registers.  Raises Fault for an MXCSR with reserved bits."""
        floating_point.write(self._uc, fpu)

    def translate(self, address: int) -> Translation:
        try:
            found = self._memory.find(address)
        except Raised:
            return Translation(False, 0, False, False)
        return Translation(True, found.physical, found.writeable, found.user)

    def tsc(self) -> int:
        return self._tsc.read()

    def tsc_khz(self) -> int:
        return TSC_HZ // 1000

    def mp_state(self) -> MpStateValue:
        return MpStateValue.RUNNABLE

    def set_mp_state(self, state: MpStateValue) -> None:
        """Raises Fault for any other than RUNNABLE."""
        if state is not MpStateValue.RUNNABLE:
            raise Fault(f"make a vCPU {state.name}", "the software engine has one, which runs", "leave it RUNNABLE")

    def statistics(self) -> dict[str, int | list[int]]:
        """Return how often each kind of thing was done for the guest outside translated code."""
        return dict(self._counts)

    def debug(
        self,
        *,
        single_step: bool = False,
        software: bool = False,
        hardware: Iterable[HardwareBreakpoint] = (),
        block_interrupts: bool = False,
        inject_breakpoint: bool = False,
    ) -> None:
        points = tuple(hardware)
        self._stepping, self._masked, self._catches_bp = single_step, block_interrupts, software
        self._injects = inject_breakpoint
        self._breakpoints.set_monitor([point.address for point in points], control(points))

    # ---- the monitor's interrupt hardware

    @property
    def msrs(self) -> AnswersMsrs | None:
        return self._msrs.others

    @msrs.setter
    def msrs(self, answers: AnswersMsrs | None) -> None:
        self._msrs.others = answers

    @property
    def task_priority(self) -> HasTaskPriority | None:
        return self._privileged.task_priority

    @task_priority.setter
    def task_priority(self, holder: HasTaskPriority | None) -> None:
        self._privileged.task_priority = holder

    # ---- to be saved: vmm.state

    def get(self, number: Ioctl, size: int) -> bytes:
        """Return a structure as KVM lays it out.  Raises KeyError for one that is not kept."""
        return SavedParts(self._cpu, self._breakpoints, self._nmi).get[number]()

    def set(self, number: Ioctl, data: bytes) -> None:
        """Set a structure that ``get`` has returned."""
        SavedParts(self._cpu, self._breakpoints, self._nmi).set[number](data)

    def get_msrs(self, indices: Iterable[int]) -> dict[int, int]:
        """Read MSRs; those that the processor has not are absent from the answer."""
        found = ((index, self._msrs.read(index)) for index in indices)
        return {index: value for index, value in found if value is not None}

    def set_msrs(self, values: Mapping[int, int]) -> tuple[int, ...]:
        """Set MSRs in the order given; return the indices of those that the processor refuses."""
        return tuple(index for index, value in values.items() if not self._msrs.restore(index, value))

    def close(self) -> None:
        """Let go of Unicorn now: its hooks refer to this object, and the collector of cycles comes late."""
        if vars(self):
            self._hooks.close()
            vars(self).clear()
