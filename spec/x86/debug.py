"""Debug registers: Intel SDM vol. 3B, "Debug Registers"; AMD APM vol. 2, "Software-Debug Resources"."""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits


class BreakOn(IntEnum):
    """DR7.R/Wn: what triggers breakpoint n."""

    EXECUTE = 0
    WRITE = 1
    IO = 2  # only with CR4.DE
    ACCESS = 3  # data read or write, no fetch


class BreakLength(IntEnum):
    """DR7.LENn: how many bytes breakpoint n watches, aligned to as many; EXECUTE needs ONE."""

    ONE = 0
    TWO = 1
    EIGHT = 2
    FOUR = 3


# fmt: off
class Dr6(Bits, width=64):
    """DR6 -- debug status.  The processor sets bits and clears none, save BLD and RTM, which work inverted."""

    b0  = bit(0,  "condition of breakpoint 0 met; may be set while DR7 does not enable it")
    b1  = bit(1)
    b2  = bit(2)
    b3  = bit(3)
    bld = bit(11, "0: bus lock trapped; 1 otherwise and where not supported")
    bd  = bit(13, "the next instruction accesses a debug register while DR7.GD is set")
    bs  = bit(14, "single step")
    bt  = bit(15, "task switch to a TSS with T set")
    rtm = bit(16, "0: inside a transaction; 1 otherwise and where not supported")


class Dr7(Bits, width=64):
    """DR7 -- debug control."""

    l0   = bit(0, "breakpoint 0 for this task: cleared by a hardware task switch")
    g0   = bit(1, "breakpoint 0 for all tasks")
    l1   = bit(2)
    g1   = bit(3)
    l2   = bit(4)
    g2   = bit(5)
    l3   = bit(6)
    g3   = bit(7)
    le   = bit(8,  "exact data breakpoints; ignored since the P6")
    ge   = bit(9)
    one  = bit(10, "always 1")
    rtm  = bit(11, "advanced debugging of transactions; Intel only")
    gd   = bit(13, "general detect: MOV to or from a debug register raises #DB")
    rw0  = bits(17, 16, "BreakOn")
    len0 = bits(19, 18, "BreakLength")
    rw1  = bits(21, 20)
    len1 = bits(23, 22)
    rw2  = bits(25, 24)
    len2 = bits(27, 26)
    rw3  = bits(29, 28)
    len3 = bits(31, 30)
# fmt: on


DR6_RESET = Dr6(0xFFFF_0FF0)
DR7_RESET = Dr7(0x0000_0400)
