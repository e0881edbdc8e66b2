"""What can be read and set of a vCPU of KVM while it does not run: registers, CPUID, MSRs, debugging, MP state."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from ctypes import sizeof

from virtproof.kvm import CpuidEntry, KvmError, ioctl, pack_cpuid
from virtproof.spec.kvm import Ioctl
from virtproof.spec.kvm.exits import GuestDebugFlag, MpStateValue
from virtproof.spec.kvm.structures import GuestDebug, Xsave
from virtproof.spec.x86.debug import Dr7
from virtproof.spec.x86.fxsave import XSTATE_BV, Fxsave, XstateBv
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.debug import HardwareBreakpoint, control
from virtproof.vmm.engine import Translation
from virtproof.vmm.registers import REGS_SIZE, SREGS_SIZE, Registers, SpecialRegisters
from virtproof.vmm.stats import Stats

_WORD = struct.Struct("<I")
_TRANSLATION = struct.Struct("<QQBBB5x")
_MSR_HEADER, _MSR = struct.Struct("<I4x"), struct.Struct("<I4xQ")


class VcpuRegisters:
    """The ioctls of a vCPU descriptor that read and set its state; of the thread that runs it."""

    fd: int

    def registers(self) -> Registers:
        data = bytearray(REGS_SIZE)
        ioctl(self.fd, Ioctl.GET_REGS, data)
        return Registers.unpack(data)

    def set_registers(self, registers: Registers) -> None:
        ioctl(self.fd, Ioctl.SET_REGS, registers.pack())

    def special_registers(self) -> SpecialRegisters:
        data = bytearray(SREGS_SIZE)
        ioctl(self.fd, Ioctl.GET_SREGS, data)
        return SpecialRegisters.unpack(data)

    def set_special_registers(self, registers: SpecialRegisters) -> None:
        ioctl(self.fd, Ioctl.SET_SREGS, registers.pack())

    def set_cpuid(self, entries: Iterable[CpuidEntry]) -> None:
        ioctl(self.fd, Ioctl.SET_CPUID2, pack_cpuid(entries))

    def fpu(self) -> Fxsave:
        """Read the x87 and SSE registers."""
        return Fxsave.from_buffer_copy(self.get(Ioctl.GET_XSAVE, sizeof(Xsave)))  # KVM_GET_FPU has no MXCSR

    def set_fpu(self, fpu: Fxsave) -> None:
        """Set the x87 and SSE registers.  Raises KvmError for an MXCSR with reserved bits."""
        area = bytearray(self.get(Ioctl.GET_XSAVE, sizeof(Xsave)))
        area[: sizeof(fpu)] = bytes(fpu)
        area[XSTATE_BV] |= XstateBv.X87 | XstateBv.SSE
        ioctl(self.fd, Ioctl.SET_XSAVE, bytes(area))

    def translate(self, address: int) -> Translation:
        data = bytearray(_TRANSLATION.pack(address, 0, 0, 0, 0))
        ioctl(self.fd, Ioctl.TRANSLATE, data)
        _, physical, valid, writeable, user = _TRANSLATION.unpack(data)
        return Translation(bool(valid), physical, bool(writeable), bool(user))

    def mp_state(self) -> MpStateValue:
        """Say whether the vCPU runs, is halted, or waits for INIT or SIPI; RUNNABLE without local APICs in KVM."""
        data = bytearray(_WORD.size)
        ioctl(self.fd, Ioctl.GET_MP_STATE, data)
        return MpStateValue(_WORD.unpack(data)[0])

    def set_mp_state(self, state: MpStateValue) -> None:
        ioctl(self.fd, Ioctl.SET_MP_STATE, _WORD.pack(state))

    def tsc(self) -> int:
        """Return what RDTSC reads now."""
        return self.get_msrs([Msr.IA32_TIME_STAMP_COUNTER])[Msr.IA32_TIME_STAMP_COUNTER]

    def tsc_khz(self) -> int:
        """Return the frequency of the guest's time stamp counter; 0 where the kernel does not tell it."""
        try:
            return ioctl(self.fd, Ioctl.GET_TSC_KHZ)
        except KvmError:
            return 0

    def set_tsc_khz(self, frequency: int) -> None:
        ioctl(self.fd, Ioctl.SET_TSC_KHZ, frequency)

    def interrupt(self, vector: int) -> None:
        """Queue an external interrupt, which the guest must be ready for; without a controller in the kernel."""
        ioctl(self.fd, Ioctl.INTERRUPT, _WORD.pack(vector))

    def nmi(self) -> None:
        """Queue a non-maskable interrupt.  It ends a halt when the vCPU runs the next time."""
        ioctl(self.fd, Ioctl.NMI)

    def get_msrs(self, indices: Iterable[int]) -> dict[int, int]:
        """Read MSRs; those that KVM refuses are absent from the answer."""
        values: dict[int, int] = {}
        todo = list(indices)
        while todo:
            table = bytearray(_MSR_HEADER.pack(len(todo)) + b"".join(_MSR.pack(index, 0) for index in todo))
            done = ioctl(self.fd, Ioctl.GET_MSRS, table)
            rows = memoryview(table)[_MSR_HEADER.size :][: done * _MSR.size]
            values.update(dict(_MSR.iter_unpack(rows)))
            del todo[: done + 1]  # KVM stops at the first that it refuses
        return values

    def set_msrs(self, values: Mapping[int, int]) -> tuple[int, ...]:
        """Set MSRs in the order given; return the indices of those that KVM refused."""
        refused: list[int] = []
        todo = list(values.items())
        while todo:
            done = ioctl(self.fd, Ioctl.SET_MSRS, _MSR_HEADER.pack(len(todo)) + b"".join(_MSR.pack(*r) for r in todo))
            refused += [index for index, _ in todo[done : done + 1]]
            del todo[: done + 1]
        return tuple(refused)

    def debug(
        self,
        *,
        single_step: bool = False,
        software: bool = False,
        hardware: Iterable[HardwareBreakpoint] = (),
        block_interrupts: bool = False,
        inject_breakpoint: bool = False,
    ) -> None:
        """Have debug exceptions end the run with ``exits.Debug``; no argument: the guest's own debugging again.

        ``software`` catches INT3, ``hardware`` takes the four debug registers away from the guest.
        ``block_interrupts`` keeps a single step out of interrupt handlers.  ``inject_breakpoint`` gives the guest the
        #BP that has just ended a run: the INT3 was its own.
        """
        hardware = tuple(hardware)
        flags = (
            (GuestDebugFlag.SINGLESTEP if single_step else 0)
            | (GuestDebugFlag.USE_SW_BP if software else 0)
            | (GuestDebugFlag.USE_HW_BP if hardware else 0)
            | (GuestDebugFlag.BLOCKIRQ if block_interrupts else 0)
            | (GuestDebugFlag.INJECT_BP if inject_breakpoint else 0)
        )
        asked = GuestDebug(control=int(flags | GuestDebugFlag.ENABLE) if flags else 0)
        for at, point in enumerate(hardware[:4]):
            asked.arch.debugreg[at] = point.address
        asked.arch.debugreg[7] = control(hardware) if hardware else Dr7(0)
        ioctl(self.fd, Ioctl.SET_GUEST_DEBUG, bytes(asked))

    def statistics(self) -> dict[str, int | list[int]]:
        """Read KVM's counters of this vCPU, by name.  Raises KvmError where the kernel has none (before Linux 5.14)."""
        with Stats(ioctl(self.fd, Ioctl.GET_STATS_FD)) as stats:
            return stats.read()

    def get(self, number: Ioctl, size: int) -> bytes:
        """Read a structure of ``size`` bytes as the kernel lays it out."""
        data = bytearray(size)
        ioctl(self.fd, number, data)
        return bytes(data)

    def set(self, number: Ioctl, data: bytes) -> None:
        """Set a structure that ``get`` has read."""
        ioctl(self.fd, number, data)

    def cpuid(self) -> tuple[CpuidEntry, ...]:
        """Return the CPUID table that the vCPU was given."""
        count = 256
        entry = struct.Struct("<7I12x")
        table = bytearray(_MSR_HEADER.pack(count) + bytes(count * entry.size))
        ioctl(self.fd, Ioctl.GET_CPUID2, table)
        (count,) = _MSR_HEADER.unpack_from(table)
        rows = memoryview(table)[_MSR_HEADER.size :][: count * entry.size]
        # Linux 6.1 leaves the count as it was asked for; the highest leaf is never 0 in a table that has any.
        return tuple(CpuidEntry(*row) for row in entry.iter_unpack(rows) if any(row))
