"""Identity, registers, reset, and the I/O window.

A register has 32 bits; those without a meaning read 0.  CTRL.RST resets everything but the PHY and the configuration
space, and loads the address from the EEPROM.  On these adapters Linux resets through the I/O window only.
"""

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, In, Out
from virtproof.conformance.e1000 import AT, BAR, IO, cases, link, read, receiver, transmitter, write
from virtproof.spec import e1000
from virtproof.spec.e1000 import CTRL, FCAL, ICR, ICS, IMS, RA, RDT, STATUS, TDT, Ctrl, Statistic
from virtproof.spec.pci import BASE_ADDRESS, CLASS_CODE, COMMAND, INTERRUPT_PIN, VENDOR_ID

config = cases("'PCI Configuration'")
ctrl = cases("'Device Control Register (CTRL)'")
status = cases("'Device Status Register (STATUS)'")
reset = cases("'Software Reset'")
window = cases("'I/O-Mapped Internal Register, Internal Memory, and Flash'")
register = cases("'Register Descriptions'")

RESET = write(CTRL, 0x0414_0240)
ONES = 0xFFFF_FFFF


def identity(device: int) -> tuple[ConfigRead | ConfigWrite, ...]:
    return (
        ConfigRead(AT, VENDOR_ID, 4, device << 16 | 0x8086),
        ConfigRead(AT, CLASS_CODE - 1, 4, 0x0200_0000, 0xFFFF_FF00),
        ConfigRead(AT, INTERRUPT_PIN, 1, 1),
        ConfigWrite(AT, BASE_ADDRESS, 4, ONES),
        ConfigRead(AT, BASE_ADDRESS, 4, 0xFFFE_0000),
        ConfigWrite(AT, BASE_ADDRESS + 4, 4, ONES),
        ConfigRead(AT, BASE_ADDRESS + 4, 4, 0xFFFF_FFC1),
    )


# fmt: off
CASES: tuple[Case, ...] = (
    config("e1000.pci.identity",     "The 82540EM is 8086:100E, with 128 KiB of registers, 64 ports and INTA", identity(0x100E)),
    config("e1000.pci.identity_545", "The 82545EM is 8086:100F",                                   identity(0x100F), model="82545em"),
    ctrl("e1000.reg.ctrl_reset",     "CTRL is 00140240 after reset",                               read(CTRL, 0x0014_0240), priority=2),
    status("e1000.reg.status_reset", "STATUS says full duplex, link up, 1000 Mb/s",                read(STATUS, 0x83, 0xFF)),
    status("e1000.reg.status_link_down", "Without a cable STATUS.LU is 0 and ICR.LSC comes",
           read(STATUS, 2, 2), read(ICR, 0), link(False), read(STATUS, 0, 2), read(ICR, 4), read(ICR, 0)),
    reset("e1000.reg.ctrl_rst_selfclear", "CTRL.RST clears itself, the rings, the mask and the statistics",
          transmitter(), write(TDT, 1), receiver(), write(IMS, 0x9D), write(ICS, 0x04), write(FCAL, 0xC2_8001), RESET,
          read(CTRL, 0x0014_0240),
          *(read(at, 0) for at in (e1000.TDH, TDT, e1000.RDH, RDT, IMS, e1000.RCTL, e1000.TCTL, e1000.TDLEN, e1000.RDLEN,
                                   e1000.TDBAL, e1000.RDBAL, ICR, FCAL, Statistic.TPT))),
    reset("e1000.reg.rst_keeps_pci", "CTRL.RST leaves the configuration space",
          RESET, ConfigRead(AT, BASE_ADDRESS, 4, BAR), ConfigRead(AT, BASE_ADDRESS + 4, 4, IO | 1), ConfigRead(AT, COMMAND, 2, 7)),
    reset("e1000.reg.rst_keeps_mac", "After a reset the first receive address is that of the EEPROM",
          write(RA, 0), write(RA + 4, 0), RESET, read(RA, 0x1200_5452), read(RA + 4, 0x8000_5634)),
    window("e1000.reg.io_window",    "A write to IODATA reaches the register at IOADDR: a reset, say",
           write(FCAL, 0x1234_5678), Out(IO, 4, CTRL), Out(IO + 4, 4, 0x0414_0240), read(FCAL, 0),
           Out(IO, 4, FCAL), Out(IO + 4, 4, 0x8765_4321), read(FCAL, 0x8765_4321)),
    window("e1000.reg.io_read",      "IODATA reads the register at IOADDR",
           Out(IO, 4, STATUS), In(IO, 4, STATUS), In(IO + 4, 4, 0x83, 0xFF), Out(IO, 4, RA), In(IO + 4, 4, 0x1200_5452), priority=2),
    register("e1000.reg.unknown_zero", "What is no register reads 0",
             *(step for at in (0x1_FFFC, 0x0024, 0x6000) for step in (write(at, ONES), read(at, 0)))),
    register("e1000.reg.rdlen_mask", "RDLEN and TDLEN keep bits 19:7",
             write(e1000.RDLEN, ONES), read(e1000.RDLEN, 0x000F_FF80), write(e1000.TDLEN, ONES), read(e1000.TDLEN, 0x000F_FF80)),
    register("e1000.reg.rdt_16bit",  "Heads and tails keep 16 bits",
             *(step for at in (e1000.RDH, RDT, e1000.TDH, TDT) for step in (write(at, 0x1_2345), read(at, 0x2345))), priority=2),
    register("e1000.xdctl.enable",   "Bit 25 of TXDCTL and RXDCTL is kept, and goes at once",
             *(step for at in (e1000.TXDCTL, e1000.RXDCTL) for step in
               (write(at, 1 << 25), read(at, 1 << 25), write(at, 0), read(at, 0)))),
    register("e1000.reg.pba",        "What PBA does not give to receiving is for transmitting",
             read(e1000.PBA, 0x0010_0030), write(e1000.PBA, 0x28), read(e1000.PBA, 0x0018_0028), priority=3),
    reset("e1000.reg.ee_rst",        "CTRL_EXT.EE_RST loads the address anew, and clears itself",
          write(RA, 0), write(e1000.CTRL_EXT, 1 << 13), read(RA, 0x1200_5452), read(e1000.CTRL_EXT, 0, 1 << 13), priority=3),
    reset("e1000.reg.rst_phy",       "CTRL.RST leaves the PHY and its link",
          write(e1000.MDIC, 0x0424_0001), RESET, read(STATUS, 2, 2), write(e1000.MDIC, 0x0824_0000), read(e1000.MDIC, 1, 0xFFFF)),
    ctrl("e1000.reg.ctrl_phy_rst",   "CTRL.PHY_RST takes the link down", write(CTRL, Ctrl.phy_rst.mask | 0x0014_0240), read(STATUS, 0, 2)),
)
# fmt: on
