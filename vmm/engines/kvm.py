"""The KVM engine: guests run by /dev/kvm.

A kick is ``kvm_run.immediate_exit`` plus a signal to the thread inside KVM_RUN.  The flag closes the race: a signal
that comes before the thread has entered the kernel is lost, the flag is not (Linux Documentation/virt/kvm/api.rst,
"The kvm_run structure", immediate_exit).  The signal is SIGUSR1; its handler does nothing and is installed once per
process, by the main thread, when the first engine is made.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import threading
from collections.abc import Iterable
from functools import cached_property
from types import FrameType, TracebackType
from typing import Self

from virtproof.kvm import CpuidEntry, Kvm, KvmError, identify_backend, ioctl, pack_cpuid
from virtproof.results import Backend
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import ExitReason, InternalError, Ioctl, IoDirection, MemoryFlag
from virtproof.spec.kvm.exits import EmulationFlag
from virtproof.spec.kvm.run import INSN_BYTES, INTERNAL_ERROR_DATA, Run
from virtproof.vmm import exits
from virtproof.vmm.engine import Accesses, Memory, Translation
from virtproof.vmm.registers import REGS_SIZE, SREGS_SIZE, Registers, SpecialRegisters

KICK_SIGNAL = signal.SIGUSR1

PAGE = mmap.PAGESIZE
TSS_PAGES = 0xFFFB_D000  # three pages that VT-x needs below 4 GiB for real mode; out of the way of a BIOS image

_RUN, _IO, _MMIO = int(Ioctl.RUN), int(ExitReason.IO), int(ExitReason.MMIO)
_OUT = int(IoDirection.OUT)
_SLOT = struct.Struct("<IIQQQ")  # struct kvm_userspace_memory_region
_DIRTY_LOG = struct.Struct("<I4xQ")
_IRQ_LEVEL = struct.Struct("<II")
_MSI = struct.Struct("<IIIII12x")
_TRANSLATION = struct.Struct("<QQBBB5x")

# Where things are in kvm_run, in units of the view that reads them.
_EXIT_REASON_32 = Run.exit_reason.offset // 4
_IMMEDIATE_EXIT = Run.immediate_exit.offset
_UNION = Run.exit.offset
_UNION_16, _UNION_32, _UNION_64 = _UNION // 2, _UNION // 4, _UNION // 8


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: a signal that is handled interrupts KVM_RUN, one that is ignored does not."""


def install_kick_signal() -> None:
    """Make KICK_SIGNAL interrupt KVM_RUN.  Raises Fault outside the main thread if it is not installed yet."""
    if signal.getsignal(KICK_SIGNAL) is _ignore:
        return
    if threading.current_thread() is not threading.main_thread():
        raise Fault(
            f"install the handler of {KICK_SIGNAL.name}",
            "only the main thread may do so",
            "create the first KvmEngine in the main thread",
        )
    signal.signal(KICK_SIGNAL, _ignore)


class KvmEngine:
    """Makes VMs on an open /dev/kvm, which stays the caller's."""

    name = "kvm"

    def __init__(self, kvm: Kvm) -> None:
        install_kick_signal()
        self.kvm = kvm

    @cached_property
    def backend(self) -> Backend:
        return identify_backend()

    def supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        return self._supported_cpuid

    @cached_property
    def _supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        return self.kvm.supported_cpuid()

    def create_vm(self) -> KvmVm:
        return KvmVm(self.kvm.create_vm(), self.kvm.vcpu_mmap_size)

    def close(self) -> None:
        """Nothing: the engine holds nothing of its own."""


class KvmVm:
    """One VM descriptor, its slots and vCPUs.  Use it as a context manager."""

    def __init__(self, fd: int, vcpu_mmap_size: int) -> None:
        self.fd = fd
        self._vcpu_mmap_size = vcpu_mmap_size
        self._slots: dict[int, tuple[int, Memory]] = {}  # keeps what KVM points at alive
        self._vcpus: list[KvmVcpu] = []

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

    def set_slot(
        self, slot: int, gpa: int, memory: Memory, *, read_only: bool = False, log_dirty: bool = False
    ) -> None:
        """Create a slot over all of ``memory``, move it to another ``gpa``, or switch its dirty log."""
        flags = (MemoryFlag.READONLY.value if read_only else 0) | (MemoryFlag.LOG_DIRTY_PAGES.value if log_dirty else 0)
        ioctl(self.fd, Ioctl.SET_USER_MEMORY_REGION, _SLOT.pack(slot, flags, gpa, memory.size, memory.address))
        self._slots[slot] = gpa, memory

    def delete_slot(self, slot: int) -> None:
        ioctl(self.fd, Ioctl.SET_USER_MEMORY_REGION, _SLOT.pack(slot, 0, 0, 0, 0))
        self._slots.pop(slot, None)

    def dirty_log(self, slot: int) -> bytes:
        if slot not in self._slots:
            raise KvmError(Ioctl.GET_DIRTY_LOG, errno.ENOENT)
        pages = self._slots[slot][1].size // PAGE
        bitmap = ctypes.create_string_buffer((pages + 63) // 64 * 8)
        ioctl(self.fd, Ioctl.GET_DIRTY_LOG, _DIRTY_LOG.pack(slot, ctypes.addressof(bitmap)))
        return bitmap.raw[: (pages + 7) // 8]

    def create_irqchip(self) -> None:
        """Create both PICs and the I/O APIC in the kernel; vCPUs made later get a local APIC there."""
        ioctl(self.fd, Ioctl.SET_TSS_ADDR, TSS_PAGES)
        ioctl(self.fd, Ioctl.CREATE_IRQCHIP)

    def set_irq_line(self, gsi: int, level: bool) -> None:
        ioctl(self.fd, Ioctl.IRQ_LINE, _IRQ_LEVEL.pack(gsi, level))

    def signal_msi(self, address: int, data: int) -> None:
        ioctl(self.fd, Ioctl.SIGNAL_MSI, _MSI.pack(address & 0xFFFF_FFFF, address >> 32, data, 0, 0))

    def create_vcpu(self, index: int) -> KvmVcpu:
        vcpu = KvmVcpu(ioctl(self.fd, Ioctl.CREATE_VCPU, index), self._vcpu_mmap_size)
        self._vcpus.append(vcpu)
        return vcpu


class KvmVcpu:
    """One vCPU descriptor and its ``kvm_run`` page."""

    def __init__(self, fd: int, mmap_size: int) -> None:
        self.fd = fd
        try:
            self._shared = mmap.mmap(fd, mmap_size)
        except BaseException:
            os.close(fd)
            raise
        self._bytes = memoryview(self._shared)
        halves = self._bytes.cast("H")
        self._words = self._bytes.cast("I")
        self._quads = self._bytes.cast("Q")
        self._views = {1: self._bytes, 2: halves, 4: self._words}  # by size of a port access
        self._thread = 0  # that is in ``run``; 0: none
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self.fd < 0:
                return
            for view in (*self._views.values(), self._quads):
                view.release()
            self._shared.close()
            os.close(self.fd)
            self.fd = -1

    def kick(self) -> None:
        with self._lock:
            if self.fd < 0:
                return
            self._bytes[_IMMEDIATE_EXIT] = 1
            if self._thread and self._thread != threading.get_ident():
                signal.pthread_kill(self._thread, KICK_SIGNAL)

    def run(self, bus: Accesses) -> exits.Exit:
        with self._lock:
            self._thread = threading.get_ident()
        try:
            return self._run(bus)
        finally:
            with self._lock:
                self._thread = 0

    def _run(self, bus: Accesses) -> exits.Exit:
        fd, words, quads = self.fd, self._words, self._quads
        enter, pio_in, pio_out = fcntl.ioctl, bus.pio_in, bus.pio_out
        last_shape, out, size, port, count, view, first = 0, False, 0, 0, 0, self._bytes, 0
        while True:
            try:
                enter(fd, _RUN)  # without the 0: fcntl.ioctl tries two other types before it takes a number
            except InterruptedError:
                if not self._bytes[_IMMEDIATE_EXIT]:
                    continue  # another signal than ours; Python has run its handler
                self._bytes[_IMMEDIATE_EXIT] = 0
                return exits.Interrupted()
            except OSError as err:
                raise KvmError(Ioctl.RUN, err.errno or 0) from err
            reason = words[_EXIT_REASON_32]
            if reason == _IO:
                shape = quads[_UNION_64]
                if shape != last_shape:
                    # struct kvm_run.io: direction, size, port, count; most guests repeat one access many times.
                    # KVM puts the data at the same place every time.
                    last_shape = shape
                    out, size = shape & 0xFF == _OUT, shape >> 8 & 0xFF
                    port, count = shape >> 16 & 0xFFFF, shape >> 32
                    view, first = self._views[size], quads[_UNION_64 + 1] // size
                if out:
                    if count == 1:
                        pio_out(port, size, view[first])
                    else:
                        for index in range(first, first + count):
                            pio_out(port, size, view[index])
                else:
                    for index in range(first, first + count):
                        view[index] = pio_in(port, size)
            elif reason == _MMIO:
                # struct kvm_run.mmio: phys_addr, data, len, is_write
                address, length = quads[_UNION_64], words[_UNION_32 + 4]
                if self._bytes[_UNION + 20]:
                    bus.mmio_write(address, length, quads[_UNION_64 + 1] & (1 << 8 * length) - 1)
                else:
                    quads[_UNION_64 + 1] = bus.mmio_read(address, length)
            else:
                return self._exit(reason)

    def _exit(self, reason: int) -> exits.Exit:
        words, quads = self._words, self._quads
        match reason:
            case ExitReason.HLT:
                return exits.Halt()
            case ExitReason.SHUTDOWN:
                return exits.Shutdown()
            case ExitReason.INTERNAL_ERROR:
                return self._internal_error()
            case ExitReason.FAIL_ENTRY:
                return exits.FailEntry(quads[_UNION_64], words[_UNION_32 + 2])
            case ExitReason.DEBUG:
                return exits.Debug(words[_UNION_32], *quads[_UNION_64 + 1 : _UNION_64 + 4])
            case ExitReason.SYSTEM_EVENT:
                count = min(words[_UNION_32 + 1], 16)
                return exits.SystemEvent(words[_UNION_32], tuple(quads[_UNION_64 + 1 : _UNION_64 + 1 + count]))
            case _:
                return exits.Unhandled(reason)

    def _internal_error(self) -> exits.InternalError:
        suberror = self._words[_UNION_32]
        count = min(self._words[_UNION_32 + 1], INTERNAL_ERROR_DATA)
        data = tuple(self._quads[_UNION_64 + 1 : _UNION_64 + 1 + count])
        insn = b""
        if suberror == InternalError.EMULATION and count >= 3 and data[0] & EmulationFlag.INSTRUCTION_BYTES:
            start = _UNION + 17  # after suberror, ndata, flags and insn_size
            insn = bytes(self._bytes[start : start + min(self._bytes[start - 1], INSN_BYTES)])
        special = self.special_registers()
        bits = 64 if special.cs.l else 32 if special.cs.db else 16
        return exits.InternalError(suberror, data, insn, self.registers().rip, bits)

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

    def translate(self, address: int) -> Translation:
        data = bytearray(_TRANSLATION.pack(address, 0, 0, 0, 0))
        ioctl(self.fd, Ioctl.TRANSLATE, data)
        _, physical, valid, writeable, user = _TRANSLATION.unpack(data)
        return Translation(bool(valid), physical, bool(writeable), bool(user))
