"""Configuration space and how it is reached.

Mechanism #1: a dword to port CF8H, with bit 31, names a dword of a function's configuration space, which then is at
CFCH; accesses of other sizes to CF8H are no configuration accesses and pass by.  A function that is not there ends in a
master abort: all ones, and writes are lost.
"""

from virtproof.conformance.bus_rig import (
    CARD,
    MEMORY,
    MSI,
    MSIX_CAPABILITY,
    PLAIN,
    PORTS,
    BusRig,
    identity,
    placed,
)
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, In, Load, Out, OutString, Put, Store, script
from virtproof.guest_payloads.accesses import FREE
from virtproof.spec.bus_card import Register
from virtproof.spec.cite import Cite

SPECIFICATION = "PCI Local Bus Specification 3.0"
MECHANISM = (Cite(SPECIFICATION, "'Software Generation of Configuration Transactions'"),)
HEADER = (Cite(SPECIFICATION, "'Type 00h Configuration Space Header'"),)
CONTROL = (Cite(SPECIFICATION, "'Device Control' and 'Device Status'"),)
LIST = (Cite(SPECIFICATION, "'Capabilities List'"),)
HOST = (Cite("Intel 440FX PCIset data sheet", "'PCI Configuration Space Mapped Registers'"),)
ABORT = (Cite(SPECIFICATION, "'Master Initiated Termination', 'Master-Abort'"),)
STRING = (Cite("Intel SDM vol. 1", "'Input/Output', 'Block I/O Instructions'"),)
LANES = (Cite(SPECIFICATION, "'Byte Enables' of 'Bus Commands'"),)
ONES = 0xFFFF_FFFF
HOST_BRIDGE = 0x1237_8086
ADDRESS, DATA = 0xCF8, 0xCFC
WORDS = 0x0102_0304, 0x1112_1314, 0x2122_2324, 0x3132_3334, 0x4142_4344, 0x5152_5354

# fmt: off
CASES: tuple[Case, ...] = (
    script("bus.cf8.dword_latch", "A dword to CF8H latches; bits 1:0 read 0", "bus", MECHANISM, BusRig,
        Out(ADDRESS, 4, 0x8000_0803), In(ADDRESS, 4, 0x8000_0800)),
    script("bus.cf8.byte_write_not_latch", "A byte to CF8H..CFBH changes nothing", "bus", MECHANISM, BusRig,
        Out(ADDRESS, 4, 0x8000_0000), Out(ADDRESS + 3, 1, 0x01), In(ADDRESS, 4, 0x8000_0000)),
    script("bus.cf8.word_write_not_latch", "A word to CF8H changes nothing", "bus", MECHANISM, BusRig,
        Out(ADDRESS, 4, 0x8000_0004), Out(ADDRESS, 2, 0xFFFF), In(ADDRESS, 4, 0x8000_0004), priority=2),
    script("bus.cfc.disabled_all_ones", "Without bit 31 nobody answers at CFCH", "bus", MECHANISM, BusRig,
        Out(ADDRESS, 4, 0x0000_1004), Out(DATA, 4, 7), In(DATA, 4, ONES), ConfigRead(CARD, 4, 2, 0)),
    script("bus.cfc.subword_offsets", "Bytes and words at CFCH + n are those of the dword", "bus", MECHANISM, BusRig,
        Out(ADDRESS, 4, 0x8000_0000), In(DATA, 1, 0x86), In(DATA + 1, 1, 0x80), In(DATA + 2, 1, 0x37),
        In(DATA + 3, 1, 0x12), In(DATA + 2, 2, 0x1237), In(DATA, 4, HOST_BRIDGE)),
    script("bus.cfc.word_read_at_cfd", "A word at CFDH is bytes 1 and 2", "bus", MECHANISM, BusRig,
        Out(ADDRESS, 4, 0x8000_0000), In(DATA + 1, 2, 0x3780), priority=3),
    script("bus.absent.device_all_ones", "A device that is not there reads all ones", "bus", ABORT, BusRig,
        ConfigRead(31 << 3, 0, 4, ONES), ConfigWrite(31 << 3, 0, 4, 0), ConfigRead(31 << 3, 0, 4, ONES),
        ConfigRead(31 << 3, 0x3C, 1, 0xFF)),
    script("bus.absent.bus1_all_ones", "Without a bridge there is no bus 1", "bus", ABORT, BusRig,
        Out(ADDRESS, 4, 0x8001_0000), In(DATA, 4, ONES), Out(ADDRESS, 4, 0x80FF_0000), In(DATA, 4, ONES)),
    script("bus.absent.function_of_single", "A device with one function has no others", "bus", HEADER, BusRig,
        ConfigRead(CARD, 0x0E, 1, 0x00), *(ConfigRead(CARD + n, 0, 4, ONES) for n in range(1, 8))),
    script("bus.host.identity", "00:00.0 is the host bridge", "bus", HOST, BusRig,
        ConfigRead(0, 0x00, 4, HOST_BRIDGE), ConfigRead(0, 0x08, 4, 0x0600_0002), ConfigRead(0, 0x0E, 1, 0x00)),
    script("bus.host.smram_reset", "SMRAM begins as 02H", "bus", HOST, BusRig, ConfigRead(0, 0x72, 1, 0x02), priority=2),
    script("bus.host.ids_readonly", "Identity and class cannot be written", "bus", HEADER, BusRig,
        *(step for at, value in ((0, HOST_BRIDGE), (8, 0x0600_0002)) for step in (
            ConfigWrite(0, at, 4, ONES), ConfigRead(0, at, 4, value), ConfigWrite(0, at, 4, 0), ConfigRead(0, at, 4, value)))),
    script("bus.cmd.mask", "The command register keeps what is implemented", "bus", CONTROL, BusRig,
        ConfigWrite(PLAIN, 0x04, 2, 0xFFFF), ConfigRead(PLAIN, 0x04, 2, 0x0507), ConfigWrite(PLAIN, 0x04, 2, 0),
        ConfigRead(PLAIN, 0x04, 2, 0)),
    script("bus.status.caplist", "Status bit 4 says whether there is a list", "bus", LIST, BusRig,
        ConfigRead(CARD, 0x06, 2, 0x0010), ConfigRead(CARD, 0x34, 1, MSI), ConfigRead(PLAIN, 0x06, 2, 0),
        ConfigRead(PLAIN, 0x34, 1, 0)),
    script("bus.status.w1c", "Errors are cleared by ones, the rest of status is kept", "bus", CONTROL, placed,
        Store(MEMORY + Register.SOURCE, 8, 0xF000_0000), Store(MEMORY + Register.LENGTH, 4, 4),
        Store(MEMORY + Register.COMMAND, 4, 1), ConfigRead(CARD, 0x06, 2, 0x2010), ConfigWrite(CARD, 0x06, 2, 0),
        ConfigRead(CARD, 0x06, 2, 0x2010), ConfigWrite(CARD, 0x06, 2, 0xFFFF), ConfigRead(CARD, 0x06, 2, 0x0010), priority=2),
    script("bus.status.intx_pending", "Status bit 3 shows an interrupt that command bit 10 holds back", "bus", CONTROL, placed,
        Store(MEMORY + Register.PIN, 4, 1), ConfigRead(CARD, 0x06, 2, 8, mask=8), ConfigWrite(CARD, 0x04, 2, 0x407),
        ConfigRead(CARD, 0x06, 2, 8, mask=8), Store(MEMORY + Register.PIN, 4, 0), ConfigRead(CARD, 0x06, 2, 0, mask=8), priority=2),
    script("bus.intpin.fixed", "The pin is fixed, the line is a scratch byte", "bus", HEADER, BusRig,
        ConfigWrite(CARD, 0x3C, 2, 0x000B), ConfigRead(CARD, 0x3C, 2, 0x010B)),
    script("bus.caps.walk", "The list is in dwords and ends", "bus", LIST, BusRig,
        ConfigRead(CARD, 0x34, 1, MSI), ConfigRead(CARD, MSI, 2, MSIX_CAPABILITY << 8 | 0x05), ConfigRead(CARD, MSIX_CAPABILITY, 2, 0x0011)),
    script("bus.unclaimed.io", "A port without a device reads all ones", "bus", ABORT, BusRig,
        Out(0x2F0, 1, 0), In(0x2F0, 1, 0xFF), Out(0x600, 4, 0), In(0x600, 4, ONES)),
    script("bus.unclaimed.mmio", "An address without a device reads all ones", "bus", ABORT, placed,
        Store(0xE800_0000, 4, 0), Load(0xE800_0000, 4, ONES), identity()),
    script("bus.string_io.count", "Each item of REP OUTS arrives, in order", "bus", STRING, placed,
        Put(FREE, b"".join(word.to_bytes(4, "little") for word in WORDS)), OutString(PORTS + Register.FIFO, 4, FREE, 6),
        *(In(PORTS + Register.FIFO, 4, word) for word in (*WORDS, 0))),
    script("bus.mmio.width8_16", "Bytes and words of a register are its lanes", "bus", LANES, placed,
        Store(MEMORY + Register.SCRATCH, 4, 0x4433_2211), *(Load(MEMORY + Register.SCRATCH + n, 1, 0x11 * (n + 1)) for n in range(4)),
        Load(MEMORY + Register.SCRATCH, 2, 0x2211), Load(MEMORY + Register.SCRATCH + 2, 2, 0x4433)),
)
# fmt: on
