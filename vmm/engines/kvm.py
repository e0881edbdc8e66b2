"""The KVM engine: guests run by /dev/kvm."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from virtproof.kvm import CpuidEntry, Kvm, KvmError, enable_cap, identify_backend, ioctl
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.exits import MsrExitReason, MsrFilterDefault
from virtproof.spec.kvm.structures import MSR_FILTER_MAX_RANGES, MsrFilter
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.cpuid import tsc_deadline
from virtproof.vmm.dirty_ring import DirtyRing
from virtproof.vmm.engines.kvm_interrupts import VmInterrupts
from virtproof.vmm.engines.kvm_slots import VmSlots
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu, install_kick_signal
from virtproof.vmm.msr_filter import MsrRange, deny
from virtproof.vmm.stats import Stats

if TYPE_CHECKING:
    from virtproof.results import Backend


class KvmEngine:
    """Makes VMs on an open /dev/kvm, which stays the caller's.

    Without ``kernel_irqchip`` the monitor's own interrupt controllers are used where a machine asks for KVM's.
    """

    name = "kvm"
    patience = 1.0

    def __init__(self, kvm: Kvm, *, kernel_irqchip: bool = True) -> None:
        install_kick_signal()
        self.kvm, self.kernel_irqchip = kvm, kernel_irqchip

    @cached_property
    def backend(self) -> Backend:
        return identify_backend()

    @cached_property
    def max_vcpus(self) -> int:
        return self.kvm.check_extension(Cap.MAX_VCPUS) or self.kvm.check_extension(Cap.NR_VCPUS) or 4

    def supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        return self._supported_cpuid

    @cached_property
    def _supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        return tsc_deadline(self.kvm.supported_cpuid(), bool(self.kvm.check_extension(Cap.TSC_DEADLINE_TIMER)))

    def saved_msrs(self) -> tuple[int, ...]:
        """The MSRs that belong to the state of a vCPU: those that KVM lists."""
        return self.kvm.msr_index_list()

    def create_vm(self) -> KvmVm:
        return KvmVm(self.kvm.create_vm(), self.kvm.vcpu_mmap_size)

    def close(self) -> None:
        """Nothing: the engine holds nothing of its own."""


class KvmVm(VmSlots, VmInterrupts):
    """One VM descriptor, its slots and vCPUs.  Use it as a context manager."""

    def __init__(self, fd: int, vcpu_mmap_size: int) -> None:
        super().__init__()
        self.fd = fd
        self._vcpu_mmap_size = vcpu_mmap_size
        self._vcpus: list[KvmVcpu] = []
        self._apic_msrs: tuple[MsrRange, ...] = ()  # that the monitor answers whatever the filter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for vcpu in self._vcpus:
            vcpu.close()
        self._vcpus.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self._slots.clear()

    def check_extension(self, cap: Cap) -> int:
        """Ask for a capability of this VM, which may be more or less than what the system has."""
        return ioctl(self.fd, Ioctl.CHECK_EXTENSION, cap)

    def create_vcpu(self, index: int) -> KvmVcpu:
        try:
            fd = ioctl(self.fd, Ioctl.CREATE_VCPU, index)
        except KvmError as err:
            if err.errno != errno.EINVAL:
                raise
            most, ids = self.check_extension(Cap.MAX_VCPUS), self.check_extension(Cap.MAX_VCPU_ID)
            saw = f"this kernel allows {most} vCPUs in a VM, with indices below {ids}; {len(self._vcpus)} are there"
            raise Fault(f"create vCPU {index}", saw, "give the guest fewer vCPUs") from err
        vcpu = KvmVcpu(fd, self._vcpu_mmap_size, index)
        self._vcpus.append(vcpu)
        if self.ring_bytes:
            vcpu.dirty_ring = DirtyRing(fd, self.ring_bytes)
        return vcpu

    def set_msr_filter(self, ranges: Iterable[MsrRange], *, default_allow: bool = True) -> None:
        """Say which MSRs the guest may access in KVM; the others give #GP, or an exit (``send_msrs_to_monitor``).

        x2APIC registers are never filtered.  Raises Fault where the kernel does not offer it.
        """
        ranges = (*self._apic_msrs, *ranges)
        tried = "filter MSRs"
        if not self.check_extension(Cap.X86_MSR_FILTER):
            raise Fault(tried, "this kernel does not offer KVM_CAP_X86_MSR_FILTER", "use Linux 5.10 or newer")
        if len(ranges) > MSR_FILTER_MAX_RANGES:
            raise Fault(tried, f"{len(ranges)} ranges are asked for", f"KVM takes {MSR_FILTER_MAX_RANGES}")
        asked = MsrFilter(flags=MsrFilterDefault.ALLOW if default_allow else MsrFilterDefault.DENY)
        bitmaps = [ctypes.create_string_buffer(row.bitmap, (len(row.bitmap) + 7) // 8 * 8) for row in ranges]
        for place, row, bitmap in zip(asked.ranges, ranges, bitmaps, strict=False):
            place.flags, place.nmsrs, place.base = row.access, row.count, row.base
            place.bitmap = ctypes.addressof(bitmap)
        ioctl(self.fd, Ioctl.X86_SET_MSR_FILTER, bytes(asked))

    def send_msrs_to_monitor(
        self, why: MsrExitReason = MsrExitReason.INVAL | MsrExitReason.UNKNOWN | MsrExitReason.FILTER
    ) -> None:
        """Have MSR accesses that KVM would answer with #GP end the run instead: see ``KvmVcpu.on_msr``.

        Raises Fault where the kernel does not offer it.
        """
        enable_cap(self.fd, Cap.X86_USER_SPACE_MSR, "answer MSR accesses in the monitor", int(why))

    def leave_apics_to_monitor(self) -> None:
        """Have vCPUs ask ``msrs`` and ``task_priority``.  Raises Fault where the kernel does not offer it.

        What KVM cannot answer itself, the x2APIC's registers without an APIC, needs no filter; what it would answer
        wrongly does.
        """
        self._apic_msrs = (deny([Msr.IA32_APIC_BASE]), deny([Msr.IA32_TSC_DEADLINE]))
        self.send_msrs_to_monitor()
        self.set_msr_filter(())

    def statistics(self) -> dict[str, int | list[int]]:
        """Read KVM's counters of this VM, by name.  Raises KvmError where the kernel has none (before Linux 5.14)."""
        with Stats(ioctl(self.fd, Ioctl.GET_STATS_FD)) as stats:
            return stats.read()

    def get(self, number: Ioctl, size: int, data: bytes = b"") -> bytes:
        """Read a structure of ``size`` bytes as the kernel lays it out; ``data`` is what it starts with."""
        buffer = bytearray(data.ljust(size, b"\0"))
        ioctl(self.fd, number, buffer)
        return bytes(buffer)

    def set(self, number: Ioctl, data: bytes) -> None:
        """Set a structure that ``get`` has read."""
        ioctl(self.fd, number, data)
