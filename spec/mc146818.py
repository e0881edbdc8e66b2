"""MC146818A real-time clock: Motorola MC146818A data sheet, "Address Map" and "Registers", and how a PC uses its RAM.

The cells from 10H on are SeaBIOS's and QEMU's names for what Bochs wrote down first (SeaBIOS src/hw/rtc.h).
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

INDEX, DATA = 0x70, 0x71
PORTS = 2
IRQ = 8
CELLS = 128
INDEX_MASK = 0x7F  # bit 7 masks NMI

CRYSTAL_HZ = 32_768
UPDATE_NS = 1_984_000  # "Update Cycle": how long one takes with this crystal ...
WARNING_NS = 244_000  # ... and how long before it UIP rises
FIRST_UPDATE_NS = 500_000_000  # "Divider Control": after the divider is let go
RUNNING = 0b010  # Register A, DV: the divider runs from a crystal of 32768 Hz
DIVIDER_RESET = 0b110  # and 0b111

WILDCARD = 0xC0  # an alarm byte with both bits set matches anything
PM = 0x80  # of an hour in 12-hour mode


class Cell(IntEnum):
    """Indices of registers and of the RAM behind them."""

    SECONDS = 0x00
    SECONDS_ALARM = 0x01
    MINUTES = 0x02
    MINUTES_ALARM = 0x03
    HOURS = 0x04
    HOURS_ALARM = 0x05
    DAY_OF_WEEK = 0x06  # 1: Sunday
    DAY = 0x07
    MONTH = 0x08
    YEAR = 0x09
    A = 0x0A
    B = 0x0B
    C = 0x0C
    D = 0x0D
    SHUTDOWN = 0x0F  # 0: what follows a reset is a cold start
    FLOPPIES = 0x10
    EQUIPMENT = 0x14
    BASE_MEMORY = 0x15  # 16 bits, KiB
    EXTENDED_MEMORY = 0x17  # 16 bits, KiB above 1 MiB
    EXTENDED_MEMORY_2 = 0x30  # the same again
    CENTURY = 0x32
    MEMORY_16M = 0x34  # 16 bits, 64 KiB units above 16 MiB, below 4 GiB
    HIGH_MEMORY = 0x5B  # 24 bits, 64 KiB units above 4 GiB
    OTHER_PROCESSORS = 0x5F  # processors but the first


# fmt: off
class A(Bits, width=8):
    """Register A."""

    rs  = bits(3, 0, "rate of the periodic interrupt")
    dv  = bits(6, 4, "divider")
    uip = bit(7, "update in progress; read-only")


class B(Bits, width=8):
    """Register B."""

    dse  = bit(0, "daylight saving")
    h24  = bit(1, "24-hour mode")
    dm   = bit(2, "binary, not BCD")
    sqwe = bit(3)
    uie  = bit(4, "interrupt after each update")
    aie  = bit(5, "interrupt upon the alarm")
    pie  = bit(6, "periodic interrupt")
    set  = bit(7, "no updates")


class C(Bits, width=8):
    """Register C: reading clears it."""

    uf   = bit(4, "an update has ended")
    af   = bit(5, "the time was that of the alarm")
    pf   = bit(6, "a period has passed")
    irqf = bit(7, "one of them is enabled: the line is active")
# fmt: on

INTERRUPTS = 0x70  # bits that B and C share: enable and flag
VALID_RAM = 0x80  # Register D
RESET_A, RESET_B = A(0x26), B(0x02)  # 1024 Hz; 24 hours, BCD
