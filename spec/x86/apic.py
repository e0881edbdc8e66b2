"""Local APIC: Intel SDM vol. 3A, "Advanced Programmable Interrupt Controller (APIC)".

Names are those of the manual in lower case.
"""

from enum import IntEnum
from typing import ClassVar

from virtproof.spec.bits import Bits, bit, bits

BASE, SIZE = 0xFEE0_0000, 0x1000
X2APIC = 0x800  # MSR of the register at offset 0; each is 16 bytes of the page, and one MSR
VERSION_NUMBER = 0x14  # integrated
BROADCAST, X2APIC_BROADCAST = 0xFF, 0xFFFF_FFFF
LOWEST_VECTOR = 16  # those below are illegal
FLAT, CLUSTER = 0xF, 0x0  # models of DFR


class Register(IntEnum):
    """Number of a register: bits 11:4 of its offset, and of the MSR."""

    ID = 0x02
    VERSION = 0x03
    TPR = 0x08
    APR = 0x09
    PPR = 0x0A
    EOI = 0x0B
    RRD = 0x0C
    LDR = 0x0D
    DFR = 0x0E
    SVR = 0x0F
    ISR = 0x10  # eight words, as the next two
    TMR = 0x18
    IRR = 0x20
    ESR = 0x28
    ICR = 0x30
    ICR_HIGH = 0x31  # not in x2APIC mode
    LVT_TIMER = 0x32
    LVT_THERMAL = 0x33
    LVT_PERFORMANCE = 0x34
    LVT_LINT0 = 0x35
    LVT_LINT1 = 0x36
    LVT_ERROR = 0x37
    INITIAL_COUNT = 0x38
    CURRENT_COUNT = 0x39
    DIVIDE = 0x3E
    SELF_IPI = 0x3F  # x2APIC mode only


class Delivery(IntEnum):
    """Delivery mode of ICR, LVT, messages and the I/O APIC."""

    FIXED, LOWEST, SMI, RESERVED, NMI, INIT, STARTUP, EXTINT = range(8)


class Shorthand(IntEnum):
    """Destination shorthand of ICR."""

    NONE, SELF, ALL, OTHERS = range(4)


class TimerMode(IntEnum):
    """Of LVT timer."""

    ONE_SHOT, PERIODIC, TSC_DEADLINE = range(3)


# fmt: off
class Version(Bits, width=32):
    """Version register."""

    version   = bits(7, 0)
    max_lvt   = bits(23, 16, "number of LVT entries minus 1")
    directed  = bit(24, "SVR can suppress the broadcast of EOIs")


class Svr(Bits, width=32):
    """Spurious-interrupt vector register."""

    vector   = bits(7, 0)
    enabled  = bit(8)
    focus_off = bit(9)
    directed = bit(12, "EOIs are not broadcast to I/O APICs")


class Lvt(Bits, width=32):
    """An entry of the local vector table; not every one has every field."""

    vector     = bits(7, 0)
    delivery   = bits(10, 8, "Delivery")
    busy       = bit(12, "delivery status; read-only")
    active_low = bit(13)
    remote_irr = bit(14, "read-only")
    level      = bit(15)
    masked     = bit(16)
    mode       = bits(18, 17, "TimerMode")


class Icr(Bits, width=64):
    """Interrupt command register; the destination is bits 63:56 in xAPIC mode."""

    vector      = bits(7, 0)
    delivery    = bits(10, 8, "Delivery")
    logical     = bit(11)
    busy        = bit(12, "delivery status; read-only")
    asserted    = bit(14)
    level       = bit(15)
    shorthand   = bits(19, 18, "Shorthand")
    destination = bits(63, 32)


class Esr(Bits, width=32):
    """Error status."""

    send_checksum    = bit(0)
    receive_checksum = bit(1)
    send_accept      = bit(2)
    receive_accept   = bit(3)
    redirectable     = bit(4)
    send_vector      = bit(5, "illegal vector sent")
    receive_vector   = bit(6, "illegal vector received")
    register         = bit(7, "illegal register address")


class Divide(Bits, width=32):
    """Divide configuration."""

    low  = bits(1, 0)
    high = bit(3)

    @property
    def shift(self) -> int:
        """The timer counts once in 2**shift clocks."""
        return (self.low | self.high << 2) + 1 & 7


class MsiAddress(Bits, width=64):
    """Address of a message: "Message Signalled Interrupts"."""

    BASE: ClassVar[int] = 0xFEE0_0000

    logical     = bit(2)
    redirection = bit(3, "to the one with the lowest priority")
    destination = bits(19, 12)
    base        = bits(31, 20, "FEEH")


class MsiData(Bits, width=32):
    """Data of a message."""

    vector   = bits(7, 0)
    delivery = bits(10, 8, "Delivery")
    asserted = bit(14)
    level    = bit(15)
# fmt: on

# The bits of LVT entries that exist, by register.
LVT_FIELDS = {
    Register.LVT_TIMER: 0x0007_10FF,
    Register.LVT_THERMAL: 0x0001_17FF,
    Register.LVT_PERFORMANCE: 0x0001_17FF,
    Register.LVT_LINT0: 0x0001_F7FF,
    Register.LVT_LINT1: 0x0001_F7FF,
    Register.LVT_ERROR: 0x0001_10FF,
}

# What a write may hold, by register: other bits raise #GP in x2APIC mode ("x2APIC Register Address Space") and are lost
# in xAPIC mode.
_ALL = 0xFFFF_FFFF
# fmt: off
_BOTH = {
    Register.TPR:           0xFF,
    Register.SVR:           Svr.KNOWN,
    Register.INITIAL_COUNT: _ALL,
    Register.DIVIDE:        Divide.KNOWN,
    **LVT_FIELDS,
}
XAPIC_WRITABLE = _BOTH | {
    Register.ID:            0xFF << 24,
    Register.EOI:           _ALL,
    Register.LDR:           0xFF << 24,
    Register.DFR:           _ALL,
    Register.ESR:           _ALL,
    Register.ICR:           Icr.KNOWN & _ALL,
    Register.ICR_HIGH:      0xFF << 24,
}
X2APIC_WRITABLE = _BOTH | {
    Register.EOI:           0,
    Register.ESR:           0,
    Register.ICR:           Icr.KNOWN,
    Register.SELF_IPI:      0xFF,
}
# fmt: on
_READ_ONLY = (
    Register.ID,
    Register.VERSION,
    Register.PPR,
    Register.LDR,
    Register.ESR,
    Register.ICR,
    Register.CURRENT_COUNT,
)
READABLE = frozenset((*_BOTH, *_READ_ONLY, *(Register.ISR + n for n in range(24))))
XAPIC_READABLE = READABLE | {Register.APR, Register.EOI, Register.RRD, Register.DFR, Register.ICR_HIGH}
