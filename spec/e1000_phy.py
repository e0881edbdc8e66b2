"""The PHY and the EEPROM of an Intel 82540EM or 82545EM.

"PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453), "PHY Functionality and
Features", "PHY Registers" and "EEPROM Interface"; registers below 16 are those of IEEE 802.3, "Management functions".
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

ADDRESS = 1  # of the PHY on its bus
AUTO_NEGOTIATION_NS = 500_000_000


# fmt: off
class Control(Bits, width=16):
    """ "Control register"."""

    speed_high = bit(6, "10 with SPEED_LOW: 1000 Mb/s")
    duplex     = bit(8)
    restart    = bit(9, "clears itself")
    isolate    = bit(10)
    power_down = bit(11)
    negotiate  = bit(12)
    speed_low  = bit(13)
    loopback   = bit(14)
    reset      = bit(15, "clears itself")


class Status(Bits, width=16):
    """ "Status register"."""

    extended   = bit(0)
    link       = bit(2, "once 0, 0 until it is read")
    can_negotiate = bit(3)
    negotiated = bit(5)


class SpecificStatus(Bits, width=16):
    """ "PHY Specific Status Register"."""

    link     = bit(10)
    resolved = bit(11)
    duplex   = bit(13)
    speed    = bits(15, 14)


class Phy(IntEnum):
    """Addresses of the registers that are there."""

    CONTROL = 0
    STATUS = 1
    ID1 = 2
    ID2 = 3
    ADVERTISEMENT = 4
    PARTNER_ABILITY = 5
    EXPANSION = 6
    GIGABIT_CONTROL = 9
    GIGABIT_STATUS = 10
    SPECIFIC_CONTROL = 16
    SPECIFIC_STATUS = 17
    INTERRUPT_ENABLE = 18
    INTERRUPT_STATUS = 19
    EXTENDED_CONTROL = 20
    RECEIVE_ERRORS = 21
# fmt: on


RESET: dict[Phy, int] = {
    Phy.CONTROL: 0x1140,
    Phy.STATUS: 0x7949,
    Phy.ID1: 0x0141,
    Phy.ID2: 0x0C20,
    Phy.ADVERTISEMENT: 0x0DE1,
    Phy.PARTNER_ABILITY: 0x01E0,
    Phy.EXPANSION: 0x0000,
    Phy.GIGABIT_CONTROL: 0x0E00,
    Phy.GIGABIT_STATUS: 0x3C00,
    Phy.SPECIFIC_CONTROL: 0x0360,
    Phy.SPECIFIC_STATUS: 0x0000,
    Phy.INTERRUPT_ENABLE: 0x0000,
    Phy.INTERRUPT_STATUS: 0x0000,
    Phy.EXTENDED_CONTROL: 0x0D60,
    Phy.RECEIVE_ERRORS: 0x0000,
}
WRITABLE = frozenset(
    {
        Phy.CONTROL,
        Phy.ADVERTISEMENT,
        Phy.GIGABIT_CONTROL,
        Phy.SPECIFIC_CONTROL,
        Phy.INTERRUPT_ENABLE,
        Phy.EXTENDED_CONTROL,
    }
)

# EEPROM: "Microwire Interface", "EEPROM Address Map".
WORDS = 64
ADDRESS_BITS = 6
OPCODE_READ = 0b10  # behind a start bit of 1


class Word(IntEnum):
    """Where drivers look."""

    MAC = 0x00  # three words
    COMPATIBILITY = 0x03
    PBA_NUMBER = 0x08
    CONTROL_1 = 0x0A
    SUBSYSTEM = 0x0B
    SUBSYSTEM_VENDOR = 0x0C
    DEVICE = 0x0D
    VENDOR = 0x0E
    CONTROL_2 = 0x0F
    CHECKSUM = 0x3F


CHECKSUM = 0xBABA  # the sum of all words
CONTROL_1, CONTROL_2 = 0x6403, 0x3040  # signature, link, power: what drivers accept
NOT_PROGRAMMED = 0xFFFF
