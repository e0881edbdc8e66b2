"""Interrupts of a VM of KVM: controllers, lines, messages, routes, and eventfds that stand for them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

from virtproof.kvm import enable_cap, ioctl
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.devices import Ioeventfd, Irqfd, PitConfig
from virtproof.spec.kvm.exits import IoeventfdFlag, IrqfdFlag, PitFlag
from virtproof.vmm.routing import PINS, Route, packed

TSS_PAGES = 0xFFFB_D000  # three pages that VT-x needs below 4 GiB for real mode; out of the way of a BIOS image

_IRQ_LEVEL = struct.Struct("<II")
_MSI = struct.Struct("<IIIII12x")


class VmInterrupts:
    """The ioctls of a VM descriptor that concern interrupts."""

    fd: int
    attached_fds = 0  # irqfds and ioeventfds

    def create_irqchip(self) -> None:
        """Create both PICs and the I/O APIC in the kernel; vCPUs made later get a local APIC there."""
        ioctl(self.fd, Ioctl.SET_TSS_ADDR, TSS_PAGES)
        ioctl(self.fd, Ioctl.CREATE_IRQCHIP)

    def create_split_irqchip(self) -> None:
        """Create local APICs only, for vCPUs made later; the end of a level-triggered interrupt then is an exit.

        Raises Fault where the kernel does not offer it.
        """
        ioctl(self.fd, Ioctl.SET_TSS_ADDR, TSS_PAGES)
        enable_cap(self.fd, Cap.SPLIT_IRQCHIP, "keep the I/O APIC out of the kernel", PINS)

    def create_pit(self) -> None:
        """Create the 8254 timer in the kernel, which needs ``create_irqchip``; port 61H is there, without a sound."""
        ioctl(self.fd, Ioctl.CREATE_PIT2, bytes(PitConfig(flags=PitFlag.SPEAKER_DUMMY)))

    def set_irq_line(self, gsi: int, level: bool) -> None:
        ioctl(self.fd, Ioctl.IRQ_LINE, _IRQ_LEVEL.pack(gsi, level))

    def signal_msi(self, address: int, data: int) -> None:
        ioctl(self.fd, Ioctl.SIGNAL_MSI, _MSI.pack(address & 0xFFFF_FFFF, address >> 32, data, 0, 0))

    def set_routes(self, routes: Sequence[Route]) -> None:
        """Replace the routing table."""
        ioctl(self.fd, Ioctl.SET_GSI_ROUTING, packed(routes))

    def attach_irqfd(self, fd: int, gsi: int, *, resample: int = -1) -> None:
        """Raise line ``gsi`` whenever the eventfd ``fd`` is signalled.

        With ``resample``, another eventfd, the line is level-triggered: it stays high until the guest ends the
        interrupt; then KVM lowers it and signals ``resample``, and who still wants it signals ``fd`` again.
        """
        flags = IrqfdFlag.RESAMPLE.value if resample >= 0 else 0
        ioctl(self.fd, Ioctl.IRQFD, bytes(Irqfd(fd=fd, gsi=gsi, flags=flags, resamplefd=max(resample, 0))))
        self.attached_fds += 1

    def detach_irqfd(self, fd: int, gsi: int) -> None:
        ioctl(self.fd, Ioctl.IRQFD, bytes(Irqfd(fd=fd, gsi=gsi, flags=IrqfdFlag.DEASSIGN)))
        self.attached_fds -= 1

    def attach_ioeventfd(
        self, fd: int, kind: Literal["pio", "mmio"], address: int, length: int = 0, *, value: int | None = None
    ) -> None:
        """Signal the eventfd ``fd`` when the guest writes ``length`` bytes (0: any, mmio) at ``address``.

        With ``value``, when it writes just that.  Such a write does not come out of ``run``.
        """
        self._ioeventfd(fd, kind, address, length, value, 0)

    def detach_ioeventfd(
        self, fd: int, kind: Literal["pio", "mmio"], address: int, length: int = 0, *, value: int | None = None
    ) -> None:
        """Undo ``attach_ioeventfd`` with the same arguments."""
        self._ioeventfd(fd, kind, address, length, value, IoeventfdFlag.DEASSIGN.value)

    def _ioeventfd(self, fd: int, kind: str, address: int, length: int, value: int | None, flags: int) -> None:
        flags |= IoeventfdFlag.PIO.value if kind == "pio" else 0
        flags |= IoeventfdFlag.DATAMATCH.value if value is not None else 0
        row = Ioeventfd(datamatch=value or 0, addr=address, len=length, fd=fd, flags=flags)
        ioctl(self.fd, Ioctl.IOEVENTFD, bytes(row))
        self.attached_fds += -1 if flags & IoeventfdFlag.DEASSIGN else 1
