"""The software engine: makes VMs that Unicorn runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from virtproof.kvm import CpuidEntry
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.vmm.engine import Memory
from virtproof.vmm.engines.software import cpuid, layout, msrs
from virtproof.vmm.engines.software.slots import Slots
from virtproof.vmm.engines.software.vcpu import SoftwareVcpu
from virtproof.vmm.routing import Route

if TYPE_CHECKING:
    from virtproof.results import Backend

CODE_BUFFER = 32 << 20  # bytes of translated code that a VM may have


class SoftwareEngine:
    """Makes VMs of one processor each.  Raises SoftwareUnavailable where Unicorn is missing or not known."""

    name = "software"
    patience = 1.0
    max_vcpus = 1
    kernel_irqchip = False  # interrupt controllers are the monitor's own

    def __init__(self) -> None:
        layout.check()

    @cached_property
    def backend(self) -> Backend:
        from virtproof.results import Backend  # noqa: PLC0415

        return Backend(engine=self.name, name="unicorn", software=True, detail=f"Unicorn {layout.version()}")

    def supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        return cpuid.supported()

    def saved_msrs(self) -> tuple[int, ...]:
        """The MSRs that belong to the state of a vCPU."""
        return msrs.INDICES

    def create_vm(self) -> SoftwareVm:
        return SoftwareVm()

    def close(self) -> None:
        """Nothing: the engine holds nothing of its own."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class SoftwareVm:
    """One VM: an instance of Unicorn, its memory and its processor."""

    def __init__(self) -> None:
        from unicorn import UC_ARCH_X86, UC_MODE_64, Uc  # noqa: PLC0415
        from unicorn.x86_const import UC_CPU_X86_SKYLAKE_CLIENT  # noqa: PLC0415

        uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(UC_CPU_X86_SKYLAKE_CLIENT)
        uc.ctl_set_tcg_buffer_size(CODE_BUFFER)
        self._vcpu = SoftwareVcpu(uc)
        self._taken = False
        self.attached_fds = 0

    @property
    def _slots(self) -> Slots:
        return self._vcpu.slots

    def set_slot(
        self, slot: int, gpa: int, memory: Memory, *, read_only: bool = False, log_dirty: bool = False
    ) -> None:
        self._slots.set_slot(slot, gpa, memory, read_only=read_only, log_dirty=log_dirty)

    def delete_slot(self, slot: int) -> None:
        self._slots.delete_slot(slot)

    def memory_written(self, gpa: int, length: int) -> None:
        self._slots.written(gpa, length)

    def dirty_log(self, slot: int) -> bytes:
        return self._slots.dirty_log(slot)

    def create_vcpu(self, index: int) -> SoftwareVcpu:
        """Return the processor.  Raises Fault for a second one."""
        if index or self._taken:
            raise Fault(f"create vCPU {index}", "a VM of the software engine has one vCPU", "ask for one")
        self._taken = True
        return self._vcpu

    def check_extension(self, cap: Cap) -> int:
        """Ask as of KVM for the parts of a state that ``vmm.state`` saves."""
        return int(cap in (Cap.XCRS, Cap.XSAVE, Cap.DEBUGREGS, Cap.VCPU_EVENTS))

    def get(self, number: Ioctl, size: int, data: bytes = b"") -> bytes:
        """Raises KeyError: nothing of a VM is kept but its memory and its vCPU."""
        raise KeyError(number)

    def set(self, number: Ioctl, data: bytes) -> None:
        """Raises KeyError, as ``get``."""
        raise KeyError(number)

    def close(self) -> None:
        self._vcpu.close()

    def leave_apics_to_monitor(self) -> None:
        """Nothing: there are no others."""

    # ---- what only KVM has

    def enable_dirty_rings(self, entries: int) -> None:
        raise _no("make dirty rings", "use the dirty log")

    def create_irqchip(self) -> None:
        raise _no("create interrupt controllers in the engine", "use the monitor's own")

    def create_split_irqchip(self) -> None:
        raise _no("create local APICs in the engine", "use the monitor's own")

    def create_pit(self) -> None:
        raise _no("create a timer in the engine", "use the monitor's own")

    def set_irq_line(self, gsi: int, level: bool) -> None:
        raise _no("raise a line of the engine", "use the monitor's controllers")

    def signal_msi(self, address: int, data: int) -> None:
        raise _no("send a message to the engine", "use the monitor's controllers")

    def set_routes(self, routes: Sequence[Route]) -> None:
        raise _no("route lines in the engine", "use the monitor's controllers")

    def attach_irqfd(self, fd: int, gsi: int, *, resample: int = -1) -> None:
        raise _no("attach an eventfd to a line of the engine", "use the monitor's controllers")


def _no(tried: str, remedy: str) -> Fault:
    return Fault(tried, "the software engine has none", remedy)
