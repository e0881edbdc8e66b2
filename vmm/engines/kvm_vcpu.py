"""A vCPU of KVM: the hot path, and what ends a run.

A kick is ``kvm_run.immediate_exit`` plus a signal to the thread inside KVM_RUN.  The flag closes the race: a signal
that comes before the thread has entered the kernel is lost, the flag is not (Linux Documentation/virt/kvm/api.rst,
"The kvm_run structure", immediate_exit).  The signal is SIGUSR1; its handler does nothing and is installed once per
process, by the main thread, when the first engine is made.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import threading
from collections.abc import Callable
from ctypes import sizeof
from types import FrameType, TracebackType
from typing import Self

from virtproof.kvm import KvmError
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import ExitReason, InternalError, Ioctl, IoDirection
from virtproof.spec.kvm.exits import EmulationFlag
from virtproof.spec.kvm.run import INSN_BYTES, INTERNAL_ERROR_DATA, Run
from virtproof.spec.kvm.structures import VcpuEvents
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import APIC_MSRS, Msr
from virtproof.vmm import exits
from virtproof.vmm.dirty_ring import DirtyRing
from virtproof.vmm.engine import Accesses, Acknowledges, AnswersMsrs, HasTaskPriority
from virtproof.vmm.engines.kvm_registers import VcpuRegisters

KICK_SIGNAL = signal.SIGUSR1

_RUN, _IO, _MMIO = int(Ioctl.RUN), int(ExitReason.IO), int(ExitReason.MMIO)
RFLAGS_IF = Rflags.if_.mask
_OUT = int(IoDirection.OUT)

# Where things are in kvm_run, in units of the view that reads them.
_EXIT_REASON_32 = Run.exit_reason.offset // 4
_IMMEDIATE_EXIT = Run.immediate_exit.offset
_REQUEST_WINDOW = Run.request_interrupt_window.offset
_CR8 = Run.cr8.offset // 8
_READY = Run.ready_for_interrupt_injection.offset
_UNION = Run.exit.offset
_UNION_32, _UNION_64 = _UNION // 4, _UNION // 8


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


class KvmVcpu(VcpuRegisters):
    """One vCPU descriptor and its ``kvm_run`` page.

    Whoever has an answer to an exit hangs it in here: ``controller`` to the interrupt window, ``on_eoi`` to the end of
    an interrupt of a split irqchip (it is given the vector), ``on_msr`` to an MSR access, which it answers with the
    value read, anything but None for a write that is taken, or None for #GP.  They are called on the vCPU's thread.
    """

    def __init__(self, fd: int, mmap_size: int, index: int = 0) -> None:
        self.fd, self.index = fd, index
        self.dirty_ring: DirtyRing | None = None
        self._halted = self._nmi_sent = self._nmi_due = False
        self.controller: Acknowledges | None = None
        self.msrs: AnswersMsrs | None = None
        self.task_priority: HasTaskPriority | None = None
        self.on_eoi: Callable[[int], None] | None = None
        self.on_msr: Callable[[exits.RdMsr | exits.WrMsr], int | None] | None = None
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
            if self.dirty_ring is not None:
                self.dirty_ring.close()
                self.dirty_ring = None
            for view in (*self._views.values(), self._quads):
                view.release()
            self._shared.close()
            os.close(self.fd)
            self.fd = -1

    def kick(self) -> None:
        with self._lock:
            if self.fd < 0:
                return
            self._poke()

    def _poke(self) -> None:
        """Have KVM_RUN return, whoever is in it; under the lock."""
        self._bytes[_IMMEDIATE_EXIT] = 1
        if self._thread and self._thread != threading.get_ident():
            signal.pthread_kill(self._thread, KICK_SIGNAL)

    def run(self, bus: Accesses) -> exits.Exit:
        with self._lock:
            self._thread = threading.get_ident()
            if self._nmi_due:
                self._nmi_due = False
                super().nmi()
        if self.controller is not None:
            self._wake()
        try:
            return self._run(bus)
        finally:
            with self._lock:
                self._thread = 0

    def _run(self, bus: Accesses) -> exits.Exit:
        fd, words, quads = self.fd, self._words, self._quads
        enter = fcntl.ioctl if self.controller is None else self._enter_with_interrupts
        if self.task_priority is not None:
            enter = self._enter_with_priority
        pio_in, pio_out = bus.pio_in, bus.pio_out
        last_shape, out, size, port, count, view, first = 0, False, 0, 0, 0, self._bytes, 0
        while True:
            try:
                enter(fd, _RUN)  # without the 0: fcntl.ioctl tries two other types before it takes a number
            except InterruptedError:
                if not self._bytes[_IMMEDIATE_EXIT]:
                    continue  # another signal than ours; Python has run its handler
                self._bytes[_IMMEDIATE_EXIT] = 0
                return exits.Interrupted()
            except BlockingIOError:
                continue  # a vCPU that waited for start-up has got its SIPI
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
                stopped = self._exit(reason)
                if stopped is not None:
                    return stopped

    def _exit(self, reason: int) -> exits.Exit | None:
        """Answer an exit (None), or say what it was."""
        words, quads = self._words, self._quads
        match reason:
            case ExitReason.HLT:
                self._halted = True
                return exits.Halt()
            case ExitReason.IRQ_WINDOW_OPEN if self.controller is not None:
                self._bytes[_REQUEST_WINDOW] = 0
                return None
            case ExitReason.SET_TPR:
                return None  # the guest has lowered CR8: the controller is asked again
            case ExitReason.IOAPIC_EOI if self.on_eoi is not None:
                self.on_eoi(self._bytes[_UNION])
                return None
            case ExitReason.X86_RDMSR:
                return self._msr(exits.RdMsr(words[_UNION_32 + 3], words[_UNION_32 + 2]))
            case ExitReason.X86_WRMSR:
                return self._msr(exits.WrMsr(words[_UNION_32 + 3], quads[_UNION_64 + 2], words[_UNION_32 + 2]))
            case ExitReason.DIRTY_RING_FULL:
                return exits.DirtyRingFull()
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

    def _msr(self, access: exits.RdMsr | exits.WrMsr) -> exits.Exit | None:
        if self.msrs is not None and access.index in APIC_MSRS:
            self.answer_msr(self._apic_msr(self.msrs, access))
            return None
        if self.on_msr is None:
            self.answer_msr(None)
            return None if self.msrs is not None else access
        self.answer_msr(self.on_msr(access))
        return None

    def _apic_msr(self, apic: AnswersMsrs, access: exits.RdMsr | exits.WrMsr) -> int | None:
        if isinstance(access, exits.RdMsr):
            return apic.read_msr(access.index)
        if not apic.write_msr(access.index, access.value):
            return None
        if access.index == Msr.IA32_APIC_BASE:
            self.set_msrs({access.index: access.value})  # KVM keeps the APIC bit of CPUID by its own copy
        return 0

    def answer_msr(self, value: int | None) -> None:
        """Complete the MSR access that ended the run: with ``value``, or with #GP.  Without an answer it is #GP."""
        self._bytes[_UNION] = value is None
        if value is not None and self._words[_EXIT_REASON_32] == ExitReason.X86_RDMSR:
            self._quads[_UNION_64 + 2] = value

    # ---- interrupts without a controller in the kernel

    def request_interrupt_window(self) -> None:
        """Make KVM come back as soon as the guest can take an interrupt, which the controller is then asked for.

        Any thread may call it; a vCPU that another one runs leaves the guest for a moment.
        """
        with self._lock:
            if self.fd < 0:
                return
            self._bytes[_REQUEST_WINDOW] = 1
            if self._thread and self._thread != threading.get_ident():  # KVM reads the request when it enters the guest
                self._poke()

    @property
    def wakeful(self) -> bool:
        if self._nmi_due or (self._nmi_sent and self._nmi_waits()):
            return True
        return self.controller is not None and self.controller.pending and bool(self.registers().rflags & RFLAGS_IF)

    def nmi(self) -> None:
        """Queue a non-maskable interrupt.  Any thread may call it; it ends a halt when the vCPU runs the next time."""
        with self._lock:
            if self.fd < 0:
                return
            self._nmi_sent = True
            if not self._thread or self._thread == threading.get_ident():
                super().nmi()
            else:  # the ioctl would wait for the end of KVM_RUN
                self._nmi_due = True
                self._poke()

    def _nmi_waits(self) -> bool:
        with self._lock:  # not between the word of another thread that it sends one, and its sending
            data = self.get(Ioctl.GET_VCPU_EVENTS, sizeof(VcpuEvents))
            self._nmi_sent = bool(VcpuEvents.from_buffer_copy(data).nmi.pending)
            return self._nmi_sent

    def _wake(self) -> None:
        """At the start of a run: what ends a halt comes before the next instruction."""
        woken = self._halted and self.wakeful and not self._nmi_sent
        self._bytes[_READY] = woken  # what it said before may be out of date: registers may have been set
        self._halted = False

    def _enter_with_interrupts(self, fd: int, number: int) -> None:
        """KVM_RUN, and before it the interrupt that waits, or a request for the window."""
        if self.controller is not None and self.controller.pending:
            if self._bytes[_READY]:
                vector = self.controller.acknowledge()
                if vector is not None:
                    self.interrupt(vector)
            self._bytes[_REQUEST_WINDOW] = self.controller.pending
        fcntl.ioctl(fd, number)

    def _enter_with_priority(self, fd: int, number: int) -> None:
        """The same, and CR8 is the task priority of the monitor's local APIC: its word before, the guest's after."""
        task, quads = self.task_priority, self._quads
        assert task is not None
        quads[_CR8] = before = task.cr8
        try:
            self._enter_with_interrupts(fd, number)
        finally:
            if quads[_CR8] != before:
                task.cr8 = quads[_CR8]
