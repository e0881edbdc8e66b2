"""The PHY behind MDIC: a register and an operation go in, READY and the data come out, ERROR where there is none.

The PHY is at address 1.  It negotiates anew when its control register says so, without a link until that is done.
"""

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Load, Step
from virtproof.conformance.e1000 import cases, elapses, read, write
from virtproof.spec.e1000 import ICR, MDIC, STATUS

mdic = cases("'MDI Control Register (MDIC)'")
phy = cases("'PHY Identifier Register', 'PHY Registers'")

READY, ERROR, WANTS_INTERRUPT = 1 << 28, 1 << 30, 1 << 29
NEGOTIATED = 600_000_000  # ns: longer than it takes
CONTROL, BMSR = 0, 1


def asks(register: int, *, phy: int = 1, operation: int = 2, data: int = 0, more: int = 0) -> Step:
    return write(MDIC, operation << 26 | phy << 21 | register << 16 | data | more)


def brings(register: int, value: int, mask: int = 0xFFFF) -> tuple[Step, Load]:
    """A read of a register of the PHY; of the data ``mask`` is judged."""
    return asks(register), read(MDIC, READY | value, READY | ERROR | mask)


def sets(register: int, value: int) -> Step:
    return asks(register, operation=1, data=value)


# fmt: off
CASES: tuple[Case, ...] = (
    phy("e1000.phy.id",          "Registers 2 and 3 are those of an 88E1011", write(MDIC, 0x0822_0000), read(MDIC, 0x1822_0141), write(MDIC, 0x0823_0000), read(MDIC, 0x1823_0C20)),
    mdic("e1000.phy.ready",      "READY comes after reads and writes, MDAC if it was asked for",
         asks(2), read(MDIC, READY, READY | ERROR), read(ICR, 0), sets(4, 0x01E1), read(MDIC, READY, READY | ERROR), brings(4, 0x01E1),
         asks(2, more=WANTS_INTERRUPT), read(ICR, 1 << 9)),
    mdic("e1000.phy.bad_addr",   "Other addresses bring ERROR", *(step for n in (0, 2, 31) for step in (asks(2, phy=n), read(MDIC, READY | ERROR, READY | ERROR))), priority=2),
    mdic("e1000.phy.unimpl",     "A register that is not there brings ERROR", asks(7), read(MDIC, 0x5827_0000), priority=3),
    phy("e1000.phy.bmsr_link",   "The link comes with a negotiation that has ended",
        brings(BMSR, 0x24, 0x24), sets(CONTROL, 0x1200), brings(BMSR, 0, 0x24), read(STATUS, 0, 2), read(ICR), elapses(NEGOTIATED),
        read(ICR, 4), brings(BMSR, 0x24, 0x24), read(STATUS, 2, 2)),
    phy("e1000.phy.bmcr_selfclear", "Reset and restart clear themselves",
        sets(4, 0x0001), sets(CONTROL, 0x9140), brings(CONTROL, 0, 0x8200), brings(4, 0x0DE1), sets(CONTROL, 0x1340), brings(CONTROL, 0x1140)),
    phy("e1000.phy.power_down",  "A PHY without power has no link", sets(CONTROL, 0x1940), elapses(NEGOTIATED), read(STATUS, 0, 2), sets(CONTROL, 0x1140), elapses(NEGOTIATED), read(STATUS, 2, 2), priority=3),
)
# fmt: on
