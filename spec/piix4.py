"""Intel 82371AB (PIIX4) data sheet, "Power Management Register Descriptions", and the ACPI Specification 6.5, "Fixed
Hardware": function 3 of the chip, its ports, and ports of the ISA side that belong to power and reset.
"""

from virtproof.spec.bits import Bits, bit, bits

VENDOR, DEVICE, CLASS, REVISION = 0x8086, 0x7113, 0x068000, 3
SCI_IRQ = 9

# Configuration registers
PMBASE, PMBASE_MASK, PM_PORTS = 0x40, 0xFFC0, 64  # bit 0 says I/O space
DEVACTB, APMC_EN = 0x58, 1 << 25  # a write to APMC raises SMI: SeaBIOS takes it for SMM being set up already
PMREGMISC, PMIOSE = 0x80, 1 << 0  # the ports at PMBASE answer
SMBHSTBASE, SMBHSTCFG = 0x90, 0xD2

# Ports, from PMBASE
PM1_STS, PM1_EN, PM1_CNT, PM_TMR, GPE_STS, GPE_EN, GLBCTL = 0x00, 0x02, 0x04, 0x08, 0x0C, 0x0E, 0x28

TIMER_HZ = 3_579_545
TIMER_BITS = 24

SLEEP_OFF, SLEEP_TO_RAM = 0, 1  # SLP_TYP, as SeaBIOS's and our own DSDT name them for S5 and S3

APM_CONTROL, APM_STATUS = 0xB2, 0xB3
ACPI_ENABLE, ACPI_DISABLE = 0xF1, 0xF0  # written to APM_CONTROL: who owns the power management

FAST_A20 = 0x92  # "PORT92": bit 1 gates A20, a rising bit 0 resets the processor
RESET_CONTROL = 0xCF9  # "RC: Reset Control Register"


# fmt: off
class Pm1Status(Bits, width=16):
    """PM1_STS: writing 1 clears."""

    tmr    = bit(0, "the highest bit of the timer has changed")
    bm     = bit(4)
    gbl    = bit(5)
    pwrbtn = bit(8)
    slpbtn = bit(9)
    rtc    = bit(10)
    wak    = bit(15)


class Pm1Enable(Bits, width=16):
    """PM1_EN: which of them raise SCI."""

    tmr    = bit(0)
    gbl    = bit(5)
    pwrbtn = bit(8)
    slpbtn = bit(9)
    rtc    = bit(10)


class Pm1Control(Bits, width=16):
    """PM1_CNT."""

    sci_en  = bit(0, "ACPI owns the hardware")
    bm_rld  = bit(1)
    gbl_rls = bit(2, "write-only")
    slp_typ = bits(12, 10)
    slp_en  = bit(13, "write-only")


class Port92(Bits, width=8):
    """PORT92."""

    init = bit(0, "its rise resets the processor")
    a20  = bit(1)


class ResetControl(Bits, width=8):
    """RC."""

    sys_rst  = bit(1, "the whole machine, not the processor alone")
    rst_cpu  = bit(2, "its rise resets")
    full_rst = bit(3, "with a power cycle")
# fmt: on
