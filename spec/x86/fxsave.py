"""The legacy region of the XSAVE area, and what follows it: Intel SDM vol. 1, "Layout of an FXSAVE Area in 64-bit Mode"
and "XSAVE Area"; AMD APM vol. 2, "Saving Media and x87 Execution Unit State".
"""

from enum import IntFlag

from virtproof.spec.kvm.layout import Struct, each, u8, u16, u32, u64


class Fxsave(Struct):
    """x87 and SSE registers.  Of each of ``st`` ten bytes count; ``ftw`` has one bit a register: in use."""

    _fields_ = (
        *each(u16, "fcw fsw"),
        *each(u8, "ftw reserved"),
        ("fop", u16),
        *each(u64, "fip fdp"),
        *each(u32, "mxcsr mxcsr_mask"),
        ("st", u8 * 16 * 8),
        ("xmm", u8 * 16 * 16),
        ("rest", u8 * 96),
    )


class XstateBv(IntFlag):
    """The first word of the XSAVE header, at 512: which components are not in their initial state."""

    X87 = 1 << 0
    SSE = 1 << 1


XSTATE_BV = 512
