"""The x87 and SSE registers as FXSAVE lays them out: Intel SDM vol. 1, "FXSAVE Area"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtproof.spec.fault import Fault
from virtproof.spec.x86.fxsave import Fxsave

if TYPE_CHECKING:
    from unicorn import Uc

FCW_RESET, MXCSR_RESET = 0x37F, 0x1F80
MXCSR_MASK = 0xFFFF
_TOP = 11  # of FSW: the number of the register that is ST(0)


def read(uc: Uc) -> Fxsave:
    from unicorn import x86_const as names  # noqa: PLC0415

    fpu = Fxsave()
    fpu.fcw, fpu.fsw = uc.reg_read(names.UC_X86_REG_FPCW), uc.reg_read(names.UC_X86_REG_FPSW)
    tags = uc.reg_read(names.UC_X86_REG_FPTAG)
    fpu.ftw = sum(1 << n for n in range(8) if tags >> 2 * n & 3 != 3)
    fpu.mxcsr, fpu.mxcsr_mask = uc.reg_read(names.UC_X86_REG_MXCSR), MXCSR_MASK
    for n in range(8):
        mantissa, exponent = uc.reg_read(names.UC_X86_REG_FP0 + ((fpu.fsw >> _TOP) + n) % 8)
        fpu.st[n][:10] = mantissa.to_bytes(8, "little") + exponent.to_bytes(2, "little")
    for n in range(16):
        fpu.xmm[n][:] = uc.reg_read(names.UC_X86_REG_XMM0 + n).to_bytes(16, "little")
    return fpu


def write(uc: Uc, fpu: Fxsave) -> None:
    """Set them all.  Raises Fault for an MXCSR with reserved bits."""
    from unicorn import x86_const as names  # noqa: PLC0415

    if fpu.mxcsr & ~MXCSR_MASK:
        raise Fault("set the floating-point registers", f"MXCSR {fpu.mxcsr:#x} has reserved bits", "clear bits 31:16")
    uc.reg_write(names.UC_X86_REG_FPCW, fpu.fcw)
    uc.reg_write(names.UC_X86_REG_FPSW, fpu.fsw)
    uc.reg_write(names.UC_X86_REG_FPTAG, sum(0 if fpu.ftw >> n & 1 else 3 << 2 * n for n in range(8)))
    uc.reg_write(names.UC_X86_REG_MXCSR, fpu.mxcsr)
    for n in range(8):
        data = bytes(fpu.st[n])
        value = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:10], "little")
        uc.reg_write(names.UC_X86_REG_FP0 + ((fpu.fsw >> _TOP) + n) % 8, value)
    for n in range(16):
        uc.reg_write(names.UC_X86_REG_XMM0 + n, int.from_bytes(bytes(fpu.xmm[n]), "little"))


def reset(uc: Uc) -> None:
    """As FNINIT and power-on leave them."""
    write(uc, Fxsave(fcw=FCW_RESET, mxcsr=MXCSR_RESET))
