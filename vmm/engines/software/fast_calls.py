"""SYSCALL and SYSENTER, which Unicorn leaves to its user, with the rules of the vendor that CPUID names.

Intel SDM vol. 2, "SYSCALL", "SYSENTER"; AMD APM vol. 3, "SYSCALL", "SYSENTER".  Both are called with RIP behind the
instruction, which is two bytes long.
"""

from __future__ import annotations

from virtproof.spec.x86.control import Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr, Star
from virtproof.vmm.engines.software.cpu import CS, RCX, RSP, SS, Cpu
from virtproof.vmm.engines.software.linear import Raised

R11 = 11
_FLAT = 0xFFFF_FFFF
_CODE64, _CODE32, _DATA = 0x00A0_9B00, 0x00C0_9B00, 0x00C0_9300
_RF, _IF, _VM = Rflags.rf.mask, Rflags.if_.mask, Rflags.vm.mask


def syscall(cpu: Cpu, *, amd: bool) -> None:
    """Raises Raised (#UD), RIP at the instruction then."""
    state = cpu.state
    after = state.rip
    if not state.efer & Efer.sce.mask or not cpu.protected or (not amd and not cpu.code64):
        state.rip = after - 2
        raise Raised(Vector.UD)
    star = Star(cpu.msr(Msr.IA32_STAR))
    selector = star.syscall_cs & 0xFFFC
    state.regs[RCX] = after
    if cpu.long_mode:
        state.regs[R11] = state.rflags & ~_RF | 2
        target = cpu.msr(Msr.IA32_LSTAR if cpu.code64 else Msr.IA32_CSTAR)
        state.rflags = state.rflags & ~(cpu.msr(Msr.IA32_FMASK) | _RF) | 2
        cpu.load(CS, selector, 0, _FLAT, _CODE64)
    else:
        target = star.eip
        state.rflags &= ~(_VM | _IF | _RF)
        cpu.load(CS, selector, 0, _FLAT, _CODE32)
    cpu.load(SS, selector + 8, 0, _FLAT, _DATA)
    state.rip = target
    cpu.refresh(cpl=0)


def sysenter(cpu: Cpu, *, amd: bool) -> None:
    """Raises Raised (#GP, #UD), RIP at the instruction then."""
    state = cpu.state
    selector = cpu.msr(Msr.IA32_SYSENTER_CS) & 0xFFFC
    if amd and cpu.long_mode:
        state.rip -= 2
        raise Raised(Vector.UD)
    if not selector or not cpu.protected:
        state.rip -= 2
        raise Raised(Vector.GP)
    state.rflags &= ~(_VM | _IF | _RF)
    cpu.load(CS, selector, 0, _FLAT, _CODE64 if cpu.long_mode else _CODE32)
    cpu.load(SS, selector + 8, 0, _FLAT, _DATA)
    mask = (1 << 64) - 1 if cpu.long_mode else 0xFFFF_FFFF
    state.regs[RSP] = cpu.msr(Msr.IA32_SYSENTER_ESP) & mask
    state.rip = cpu.msr(Msr.IA32_SYSENTER_EIP) & mask
    cpu.refresh(cpl=0)
