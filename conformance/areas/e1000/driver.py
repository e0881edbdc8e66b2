"""A driver, polled and interrupt-driven, whose frames come back through the PHY.

The numbers are what the test of that name in guest_payloads/devices/e1000.c observes.  The driver places the adapter
itself where nobody has, and asks nothing of the host: it runs on any machine that has one.
"""

from functools import partial

from virtproof.conformance.case import Case
from virtproof.conformance.e1000 import AT, MAC, MANUAL, programs, with_loopback
from virtproof.conformance.slices import Slice, sliced
from virtproof.spec.cite import Cite
from virtproof.vmm.board import Board
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.port import Port

AN_545 = partial(with_loopback, model="82545em")
VP = 8 << 32
DONE, LAST = 1 << 32, 3 << 32


driver = programs("e1000", "'General Initialization and Reset Operation'")
eeprom = programs("e1000", "'EEPROM Address Map', 'Checksum Word Calculation (Word 3Fh)'")


def plug(machine: Machine, port: Port) -> None:
    Board(machine).add(E1000(MAC, port, machine.after), slot=AT >> 3)


# fmt: off
CASES: tuple[Case, ...] = (
    driver("e1000.drv.identity",     "The driver finds the adapter",                             "identity", (0x100E_8086, 0x02_0000, 1, 128 << 10, 64)),
    driver("e1000.drv.identity_545", "The driver finds an 82545EM",                              "identity", (0x100F_8086, 0x02_0000, 1, 128 << 10, 64), furnish=AN_545),
    eeprom("e1000.eeprom.checksum",  "The sum of the EEPROM's words is BABA",                    "eeprom_words", (0xBABA, 0xBABA, 0x5452, 0x1200, 0x5634)),
    driver("e1000.drv.phy",          "The PHY is there, with a link",                            "phy", (0x0141, 0x0C20, 1, 1)),
    driver("e1000.drv.polled",       "Frames come back one by one",                              "polled", (40, 40)),
    driver("e1000.drv.polled_545",   "Frames come back one by one on an 82545EM",                "polled", (40, 40), furnish=AN_545),
    driver("e1000.drv.batches",      "Ten frames with each doorbell come back",                  "batches", (40, 40)),
    driver("e1000.drv.interrupts",   "Frames come back with an interrupt",                       "interrupt_driven", (40, 40, 0)),
    driver("e1000.drv.checksums",    "Checksums left to the adapter are right",                  "checksums", (5,)),
    driver("e1000.drv.segments",     "Segments have headers of their own and all of the data",   "segments", (3, 18)),
    driver("e1000.drv.tags",         "Tags are inserted, filtered and removed",                  "tags", (VP | 5 << 16 | 60, 0, VP | 5 << 16 | 60), priority=2),
    driver("e1000.drv.filters",      "Only frames that the filters let in come back",            "filters", (1, 0, 0, 1, 1, 0)),
    driver("e1000.drv.small_buffers", "A frame comes back in three buffers",                     "small_buffers", (DONE | 256, DONE | 256, LAST | 88, 0)),
    driver("e1000.drv.reset",        "A reset clears the rings and loads the address",           "reset", (0, 0, 0, 0, 0, 0, 0, 1)),
    *sliced(Slice("e1000", "e1000", (Cite(MANUAL, "'Packet Transmission', 'Packet Reception'"),), plug), "e1000.rx.segments", "e1000.tx.rate_limit"),
)
# fmt: on
