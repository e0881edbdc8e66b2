"""Intel 82540EM and 82545EM, the registers: "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
Manual" (317453), "Register Descriptions".

Offsets count from the base of the memory BAR.  The PHY and the EEPROM are in e1000_phy.py, descriptors and the rest of
what lies in memory in e1000_descriptors.py.
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits

VENDOR = 0x8086
DEVICE_82540EM, DEVICE_82545EM = 0x100E, 0x100F
CLASS_CODE = 0x02_0000  # "Class Code": Ethernet
REVISION = {DEVICE_82540EM: 0x02, DEVICE_82545EM: 0x01}  # "Mandatory PCI Registers", steppings that drivers know
MEMORY_SIZE, IO_SIZE = 128 << 10, 64  # of BAR 0 and BAR 1
IOADDR, IODATA = 0x0, 0x4  # "I/O-Mapped Internal Register Memory": offsets in BAR 1
IOADDR_BITS = 0xF_FFFF

ALL = 0xFFFF_FFFF


# fmt: off
class Ctrl(Bits, width=32):
    """ "Device Control Register"."""

    fd      = bit(0,  "full duplex, with FRCDPX")
    lrst    = bit(3,  "link reset, of the internal SerDes only")
    asde    = bit(5,  "auto-speed detection")
    slu     = bit(6,  "set link up: the MAC takes the PHY's word")
    ilos    = bit(7)
    speed   = bits(9, 8, "with FRCSPD")
    frcspd  = bit(11)
    frcdpx  = bit(12)
    swdpin0 = bit(18)
    swdpin1 = bit(19)
    advd3wuc = bit(20)
    en_phy_pwr_mgmt = bit(21)
    swdpio0 = bit(22)
    swdpio1 = bit(23)
    rst     = bit(26, "device reset; clears itself")
    rfce    = bit(27)
    tfce    = bit(28)
    vme     = bit(30, "VLAN mode: tags are inserted and removed")
    phy_rst = bit(31)


class Status(Bits, width=32):
    """ "Device Status Register"."""

    fd    = bit(0)
    lu    = bit(1)
    txoff = bit(4)
    tbimode = bit(5)
    speed = bits(7, 6, "Speed")
    asdv  = bits(9, 8, "Speed, as the MAC detects it")


class Speed(IntEnum):
    MBPS_10, MBPS_100, MBPS_1000 = 0, 1, 2


class Eecd(Bits, width=32):
    """ "EEPROM/Flash Control & Data Register"."""

    sk   = bit(0, "clock")
    cs   = bit(1, "chip select")
    di   = bit(2, "to the EEPROM")
    do   = bit(3, "from the EEPROM")
    fwe  = bits(5, 4, "flash writes; 01: disabled")
    req  = bit(6, "software wants the pins")
    gnt  = bit(7, "software has the pins")
    pres = bit(8)
    size = bit(9, "0: 64 words")


class Eerd(Bits, width=32):
    """ "EEPROM Read Register"."""

    start = bit(0)
    done  = bit(4)
    addr  = bits(15, 8)
    data  = bits(31, 16)


class CtrlExt(Bits, width=32):
    """ "Extended Device Control Register"."""

    ee_rst = bit(13, "load the EEPROM's words anew; clears itself")


class Mdic(Bits, width=32):
    """ "MDI Control Register"."""

    data   = bits(15, 0)
    regadd = bits(20, 16)
    phyadd = bits(25, 21)
    op     = bits(27, 26, "MdiOperation")
    ready  = bit(28)
    interrupt = bit(29, "MDAC when it is done")
    error  = bit(30)


class MdiOperation(IntEnum):
    WRITE, READ = 1, 2


class Cause(Bits, width=32):
    """ "Interrupt Cause Read Register"; ICS, IMS and IMC have the same bits."""

    txdw   = bit(0, "a transmit descriptor was written back")
    txqe   = bit(1, "no transmit descriptor is left")
    lsc    = bit(2, "the link went up or down")
    rxseq  = bit(3)
    rxdmt0 = bit(4, "few receive descriptors are left")
    rxo    = bit(6, "a frame was missed")
    rxt0   = bit(7, "a frame was received")
    mdac   = bit(9, "an access to the PHY is done")
    rxcfg  = bit(10)
    phyint = bit(12)
    gpi    = bits(14, 13)
    txd_low = bit(15)
    srpd   = bit(16)


class Rctl(Bits, width=32):
    """ "Receive Control Register"."""

    en    = bit(1)
    sbp   = bit(2)
    upe   = bit(3,  "every unicast address")
    mpe   = bit(4,  "every multicast address")
    lpe   = bit(5,  "frames above LONGEST")
    lbm   = bits(7, 6, "loop-back; 00: none")
    rdmts = bits(9, 8, "RXDMT0 at 1/2, 1/4, 1/8 of the ring")
    mo    = bits(13, 12, "which bits of an address MTA is indexed by")
    bam   = bit(15, "broadcasts")
    bsize = bits(17, 16, "size of a buffer")
    vfe   = bit(18, "VFTA counts")
    cfien = bit(19, "CFI of a tag must be that of CFI")
    cfi   = bit(20)
    dpf   = bit(22)
    pmcf  = bit(23)
    bsex  = bit(25, "BSIZE times 16")
    secrc = bit(26, "strip the CRC")


BUFFER_SIZES = {  # by BSEX and BSIZE
    (0, 0): 2048, (0, 1): 1024, (0, 2): 512, (0, 3): 256, (1, 1): 16384, (1, 2): 8192, (1, 3): 4096,
}
HASH_SHIFTS = (4, 3, 2, 0)  # by RCTL.MO: bits 47:36, 46:35, 45:34 and 43:32 of the address


class Tctl(Bits, width=32):
    """ "Transmit Control Register"."""

    en   = bit(1)
    psp  = bit(3, "pad short frames")
    ct   = bits(11, 4)
    cold = bits(21, 12)
    swxoff = bit(22)
    rtlc = bit(24)
    nrtu = bit(25)


class Rxcsum(Bits, width=32):
    """ "Receive Checksum Control"."""

    pcss  = bits(7, 0, "where the packet checksum starts")
    ipofl = bit(8, "check IP headers")
    tuofl = bit(9, "check TCP and UDP")


class ReceiveAddressHigh(Bits, width=32):
    """ "Receive Address High"."""

    high = bits(15, 0)
    select = bits(17, 16, "0: the destination")
    valid = bit(31)
# fmt: on

LONGEST = 1522  # bytes of a frame with its CRC, RCTL.LPE clear
LONGEST_WITH_LPE = 16384
SHORTEST = 64  # with the CRC: "Short frames" are padded to this
CRC = 4
THROTTLE_NS, DELAY_NS = 256, 1024  # units of ITR, and of RDTR, RADV, TIDV and TADV


class Register(int):
    """The offset of a register, of which there are ``count`` in a row; ``writable`` has the bits that it keeps."""

    reset: int
    writable: int
    count: int

    def __new__(cls, offset: int, reset: int = 0, *, writable: int = ALL, count: int = 1) -> "Register":
        self = super().__new__(cls, offset)
        self.reset, self.writable, self.count = reset, writable, count
        return self


# fmt: off
CTRL     = Register(0x0000, 0x0014_0240, writable=Ctrl.KNOWN & ~Ctrl.rst.mask)
STATUS   = Register(0x0008, writable=0)
EECD     = Register(0x0010, writable=0x77)
EERD     = Register(0x0014, writable=0)
CTRL_EXT = Register(0x0018, writable=0x06CC_F9CC & ~CtrlExt.ee_rst.mask)
FLA      = Register(0x001C, writable=0)
MDIC     = Register(0x0020, writable=0)
FCAL     = Register(0x0028)
FCAH     = Register(0x002C, writable=0xFFFF)
FCT      = Register(0x0030, writable=0xFFFF)
VET      = Register(0x0038, 0x8100, writable=0xFFFF)
ICR      = Register(0x00C0, writable=0)
ITR      = Register(0x00C4, writable=0xFFFF)
ICS      = Register(0x00C8, writable=0)
IMS      = Register(0x00D0, writable=0)
IMC      = Register(0x00D8, writable=0)
RCTL     = Register(0x0100, writable=0x06DF_B3FE)
FCTTV    = Register(0x0170, writable=0xFFFF)
TXCW     = Register(0x0178, writable=0xC000_FFFF)
RXCW     = Register(0x0180, writable=0)
TCTL     = Register(0x0400, writable=Tctl.KNOWN)
TIPG     = Register(0x0410, writable=0x3FFF_FFFF)
AIT      = Register(0x0458, writable=0xFFFF)
LEDCTL   = Register(0x0E00, 0x0706_8302, writable=0xCFCF_CFCF)
PBA      = Register(0x1000, 0x30, writable=0x7F)  # KiB; bits 31:16 are the rest, for transmitting
FCRTL    = Register(0x2160, writable=0x8000_FFF8)
FCRTH    = Register(0x2168, writable=0xFFF8)
RDBAL    = Register(0x2800, writable=0xFFFF_FFF0)
RDBAH    = Register(0x2804)
RDLEN    = Register(0x2808, writable=0x000F_FF80)
RDH      = Register(0x2810, writable=0xFFFF)
RDT      = Register(0x2818, writable=0xFFFF)
RDTR     = Register(0x2820, writable=0xFFFF)
RXDCTL   = Register(0x2828, 0x0001_0000, writable=0x013F_3F3F | 0xFE00_0000)
RADV     = Register(0x282C, writable=0xFFFF)
RSRPD    = Register(0x2C00, writable=0xFFF)
TXDMAC   = Register(0x3000, writable=1)
TDBAL    = Register(0x3800, writable=0xFFFF_FFF0)
TDBAH    = Register(0x3804)
TDLEN    = Register(0x3808, writable=0x000F_FF80)
TDH      = Register(0x3810, writable=0xFFFF)
TDT      = Register(0x3818, writable=0xFFFF)
TIDV     = Register(0x3820, writable=0xFFFF)
TXDCTL   = Register(0x3828, writable=0xFF3F_3F3F)
TADV     = Register(0x382C, writable=0xFFFF)
TSPMT    = Register(0x3830)
RXCSUM   = Register(0x5000, writable=0x7FF)
MTA      = Register(0x5200, count=128)
RA       = Register(0x5400, count=32)      # RAL and RAH in turn
VFTA     = Register(0x5600, count=128)
WUC      = Register(0x5800, writable=0xF)
WUFC     = Register(0x5808, writable=0x000F_80FF)
WUS      = Register(0x5810, writable=0)
IPAV     = Register(0x5838, writable=0x0001_000F)
IP4AT    = Register(0x5840, count=8)
MANC     = Register(0x5820, 0x0022_2300)
# fmt: on

REGISTERS: tuple[Register, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Register))
FLUSH = 1 << 31  # FPD of RDTR and TIDV: the timer ends now; reads as 0
ADDRESSES = RA.count // 2


class Statistic(IntEnum):
    """ "Statistics Registers": offsets; 32 bits wide, stay at all ones, cleared by a read.

    GORC, GOTC, TOR and TOT have 64 bits, of which these are the low ones; a read of the high ones clears both.
    """

    CRCERRS, ALGNERRC, SYMERRS, RXERRC, MPC, SCC, ECOL, MCC, LATECOL = range(0x4000, 0x4024, 4)
    COLC, DC, TNCRS, SEC, CEXTERR, RLEC = 0x4028, 0x4030, 0x4034, 0x4038, 0x403C, 0x4040
    XONRXC, XONTXC, XOFFRXC, XOFFTXC, FCRUC = range(0x4048, 0x405C, 4)
    PRC64, PRC127, PRC255, PRC511, PRC1023, PRC1522, GPRC, BPRC, MPRC, GPTC = range(0x405C, 0x4084, 4)
    GORC, GOTC = 0x4088, 0x4090
    RNBC, RUC, RFC, ROC, RJC, MGTPRC, MGTPDC, MGTPTC = range(0x40A0, 0x40C0, 4)
    TOR, TOT = 0x40C0, 0x40C8
    TPR, TPT, PTC64, PTC127, PTC255, PTC511, PTC1023, PTC1522, MPTC, BPTC, TSCTC, TSCTFC = range(0x40D0, 0x4100, 4)


WIDE = (Statistic.GORC, Statistic.GOTC, Statistic.TOR, Statistic.TOT)
SIZES = (64, 127, 255, 511, 1023)  # the longest frames, with CRC, that PRC64 ... PRC1023 count; PRC1522 the others
