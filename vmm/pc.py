"""The PC that kernels made for testing expect: processors, RAM, interrupt controllers, COM1, and QEMU's test devices.

There is no firmware, no PCI, no disk and no ACPI table: a port that nobody answers reads all ones.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from virtproof.spec import fw_cfg
from virtproof.spec import pc_testdev as dev
from virtproof.spec.fault import Fault
from virtproof.spec.fw_cfg import Key
from virtproof.vmm.bus import Trace
from virtproof.vmm.devices.debug_exit import DebugExit
from virtproof.vmm.devices.fw_cfg import FwCfg
from virtproof.vmm.devices.testdev import Bytes, Flush, Lines
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Exit, Timeout
from virtproof.vmm.loaders.image import Image
from virtproof.vmm.machine import Machine
from virtproof.vmm.memory import GuestMemory

if TYPE_CHECKING:
    from virtproof.vmm.gdb.connection import Listener
    from virtproof.vmm.gdb.debuggee import Killed

_PROT_NONE = 0  # <sys/mman.h>; the mmap module has the others


class Pc:
    """A machine with ``ram`` bytes of memory; ``transmit`` gets what the guest sends through COM1, byte by byte.

    With several ``vcpus`` it is called on any of their threads, one at a time.  ``irqchip`` says whose the interrupt
    controllers and the 8254 are: KVM's or the monitor's own.  Use it as a context manager.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        ram: int,
        transmit: Callable[[int], None],
        vcpus: int = 1,
        irqchip: Literal["kernel", "user"] = "kernel",
        trace: Trace | None = None,
    ) -> None:
        self.status: int | None = None  # the exit status that the guest asked for
        self.machine = Machine(
            engine, vcpus=vcpus, ram=ram, cpuid=engine.supported_cpuid(), irqchip=irqchip, pit=True, trace=trace
        )
        try:
            self.serial = self.machine.add_serial(transmit)
            self._add_test_devices(ram, vcpus)
        except BaseException:
            self.machine.close()
            raise

    def boot(self, image: Image) -> None:
        """Put the kernel into memory and the first processor at its entry."""
        image.start(self.machine.memory, self.machine.vcpu)

    def run(self, seconds: float) -> int | Exit | Timeout:
        """Run until the guest asks for an exit status, and return that; else why it stopped."""
        stopped = self.machine.run(seconds)
        return stopped if self.status is None else self.status

    def debug(self, listener: Listener, seconds: float, *, bits: int = 64) -> int | Exit | Timeout | Killed:
        """``run`` under a debugger, which is waited for first."""
        from virtproof.vmm.gdb.debugger import Debugger  # noqa: PLC0415 -- few guests need it

        with Debugger(self.machine, listener, status=lambda: self.status, bits=bits) as debugger:
            stopped = debugger.run(seconds)
        return stopped if self.status is None else self.status

    def close(self) -> None:
        self.machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _add_test_devices(self, ram: int, vcpus: int) -> None:
        bus = self.machine.bus
        register = Bytes(4)
        lines = Lines(self.machine.interrupts.set_line)
        flush = Flush(lambda address: map_anew(self.machine.memory, address))
        numbers = FwCfg(
            {
                Key.SIGNATURE: b"QEMU",
                Key.ID: (1).to_bytes(4, "little"),
                Key.RAM_SIZE: ram.to_bytes(8, "little"),
                Key.NB_CPUS: vcpus.to_bytes(2, "little"),
                Key.MAX_CPUS: vcpus.to_bytes(2, "little"),
            }
        )
        # fmt: off
        bus.add_ports(dev.REGISTER,       dev.REGISTER_PORTS,   register,              "test register")
        bus.add_ports(dev.REGISTER_BYTES, dev.REGISTER_PORTS,   register,              "test register's bytes", width=1)
        bus.add_ports(dev.FLUSH,          dev.FLUSH_PORTS,      flush,                 "page flush")
        bus.add_ports(dev.LINES,          dev.LINES_COUNT,      lines,                 "interrupt lines", width=1)
        bus.add_ports(dev.DEBUG_EXIT,     dev.DEBUG_EXIT_PORTS, DebugExit(self._exit), "debug exit")
        bus.add_ports(fw_cfg.SELECTOR,    fw_cfg.PORTS,         numbers,               "fw_cfg", width=2)
        bus.add_mmio(dev.MEMORY, dev.MEMORY_SIZE, Bytes(dev.MEMORY_SIZE), "test memory")
        # fmt: on

    def _exit(self, status: int) -> None:
        self.status = status
        self.machine.stop()


def map_anew(memory: GuestMemory, address: int) -> None:
    """Take the guest's access to one page away and give it back: KVM must fault the page in again.

    An address without memory is ignored, as the page the guest speaks of is its own business.
    """
    for slot in memory.slots:
        if slot.gpa <= address < slot.end:
            page = slot.memory.address + address - slot.gpa
            for protection in (_PROT_NONE, mmap.PROT_READ | mmap.PROT_WRITE):
                if _mprotect(page, mmap.PAGESIZE, protection):
                    raise Fault("change the protection of a guest page", os.strerror(ctypes.get_errno()))


_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
