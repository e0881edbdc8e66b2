"""The state of a vCPU in the structures of KVM, in which ``vmm.state`` saves machines, whatever ran them."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import sizeof
from dataclasses import dataclass

from virtproof.spec.kvm import Ioctl
from virtproof.spec.kvm.exits import VcpuEventFlag
from virtproof.spec.kvm.structures import Debugregs, VcpuEvents, Xcr, Xcrs, Xsave
from virtproof.spec.x86.control import Xcr0
from virtproof.spec.x86.debug import DR6_RESET, DR7_RESET
from virtproof.spec.x86.fxsave import XSTATE_BV, Fxsave, XstateBv
from virtproof.vmm.engines.software import fpu
from virtproof.vmm.engines.software.breakpoints import Breakpoints
from virtproof.vmm.engines.software.cpu import INHIBIT, Cpu
from virtproof.vmm.engines.software.cpuid import XCR0
from virtproof.vmm.registers import Registers, SpecialRegisters


@dataclass(slots=True)
class NmiState:
    """A non-maskable interrupt: one waits; and none is taken before IRET."""

    pending: bool = False
    blocked: bool = False

    @property
    def due(self) -> bool:
        return self.pending and not self.blocked


class SavedParts:
    """What ``get`` and ``set`` of a vCPU read and write: by the ioctl that KVM would be asked with."""

    def __init__(self, cpu: Cpu, breakpoints: Breakpoints, nmi: NmiState) -> None:
        self._cpu, self._breakpoints, self._nmi = cpu, breakpoints, nmi
        self.get: dict[Ioctl, Callable[[], bytes]] = {
            Ioctl.GET_REGS: lambda: cpu.registers().pack(),
            Ioctl.GET_SREGS: lambda: cpu.special_registers().pack(),
            Ioctl.GET_XCRS: self._xcrs,
            Ioctl.GET_XSAVE: self._xsave,
            Ioctl.GET_DEBUGREGS: self._debugregs,
            Ioctl.GET_VCPU_EVENTS: self._events,
        }
        self.set: dict[Ioctl, Callable[[bytes], None]] = {
            Ioctl.SET_REGS: lambda data: cpu.set_registers(Registers.unpack(data)),
            Ioctl.SET_SREGS: lambda data: cpu.set_special_registers(SpecialRegisters.unpack(data)),
            Ioctl.SET_XCRS: self._set_xcrs,
            Ioctl.SET_XSAVE: lambda data: fpu.write(cpu.uc, Fxsave.from_buffer_copy(data)),
            Ioctl.SET_DEBUGREGS: self._set_debugregs,
            Ioctl.SET_VCPU_EVENTS: self._set_events,
        }

    def _xcrs(self) -> bytes:
        return bytes(Xcrs(nr_xcrs=1, xcrs=(Xcr(xcr=0, value=self._cpu.later.xcr0),)))

    def _set_xcrs(self, data: bytes) -> None:
        for xcr in Xcrs.from_buffer_copy(data).xcrs[:1]:
            self._cpu.later.xcr0 = xcr.value & XCR0 | Xcr0.x87.mask

    def _xsave(self) -> bytes:
        area = bytearray(sizeof(Xsave))
        legacy = bytes(fpu.read(self._cpu.uc))
        area[: len(legacy)] = legacy
        area[XSTATE_BV] = XstateBv.X87 | XstateBv.SSE
        return bytes(area)

    def _debugregs(self) -> bytes:
        dr = self._cpu.events.dr
        return bytes(Debugregs(db=tuple(dr[:4]), dr6=dr[6], dr7=dr[7]))

    def _set_debugregs(self, data: bytes) -> None:
        saved, dr = Debugregs.from_buffer_copy(data), self._cpu.events.dr
        for n in range(4):
            dr[n] = saved.db[n]
        dr[6], dr[7] = saved.dr6 & 0xFFFF_FFFF | DR6_RESET, saved.dr7 & 0xFFFF_FFFF | DR7_RESET
        self._breakpoints.changed()

    def _events(self) -> bytes:
        shadow = bool(self._cpu.state.hflags & INHIBIT)
        return bytes(
            VcpuEvents(
                interrupt=VcpuEvents.Interrupt(shadow=shadow),
                nmi=VcpuEvents.Nmi(pending=self._nmi.pending, masked=self._nmi.blocked),
                flags=VcpuEventFlag.NMI_PENDING | VcpuEventFlag.SHADOW,
            )
        )

    def _set_events(self, data: bytes) -> None:
        saved = VcpuEvents.from_buffer_copy(data)
        self._nmi.pending, self._nmi.blocked = bool(saved.nmi.pending), bool(saved.nmi.masked)
        self._cpu.state.hflags = self._cpu.state.hflags & ~INHIBIT | (INHIBIT if saved.interrupt.shadow else 0)
