"""RFLAGS: Intel SDM vol. 1, "EFLAGS Register"; AMD APM vol. 2, "System Resources", "RFLAGS Register"."""

from virtproof.spec.bits import Bits, bit, bits


# fmt: off
class Rflags(Bits, width=64):
    """RFLAGS.  Field names are the manuals' names in lower case."""

    cf   = bit(0,       "carry")
    one  = bit(1,       "always 1")
    pf   = bit(2,       "parity of the low byte")
    af   = bit(4,       "carry out of bit 3")
    zf   = bit(6,       "zero")
    sf   = bit(7,       "sign")
    tf   = bit(8,       "single step")
    if_  = bit(9,       "maskable interrupts are taken; spelt like this because if is a word of Python")
    df   = bit(10,      "string instructions count downwards")
    of   = bit(11,      "overflow")
    iopl = bits(13, 12, "lowest privilege that may do I/O and change IF")
    nt   = bit(14,      "nested task")
    rf   = bit(16,      "resume: no instruction breakpoint on the next instruction")
    vm   = bit(17,      "virtual-8086 mode")
    ac   = bit(18,      "alignment check; with SMAP: supervisor may touch user pages")
    vif  = bit(19,      "virtual interrupt flag")
    vip  = bit(20,      "virtual interrupt pending")
    id   = bit(21,      "can be changed where CPUID exists")
# fmt: on


ARITHMETIC = Rflags.cf.mask | Rflags.pf.mask | Rflags.af.mask | Rflags.zf.mask | Rflags.sf.mask | Rflags.of.mask
RESET = Rflags(0x0000_0002)
