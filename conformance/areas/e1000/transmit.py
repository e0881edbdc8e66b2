"""Sending: the ring, and what a descriptor asks for.

The adapter owns the descriptors from TDH up to TDT.  It gathers data until one with EOP ends the frame.  RS asks for DD
to be written back, which raises TXDW; TXQE says that nothing is left.  PSP pads a frame to 60 bytes, to which the check
sequence comes; that is no part of what a back end sees.
"""

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Handle, Interrupts, Pic
from virtproof.conformance.e1000 import (
    IRQ,
    ROUTED,
    VECTOR,
    cases,
    done,
    elapses,
    frame,
    lay,
    leaves,
    legacy,
    link,
    read,
    receiver,
    sends,
    stored,
    transmitter,
    write,
)
from virtproof.spec.e1000 import ICR, IMS, TCTL, TDBAL, TDH, TDT, TIDV, Statistic, Tctl

ring = cases("'Transmit Descriptor Ring Structure'")
legacy_format = cases("'Legacy Transmit Descriptor Format'")
control = cases("'Transmit Control Register (TCTL)'")
interrupt = cases("'Transmit Interrupts'")
statistics = cases("'Statistics Registers'")

SHORT, THIRDS = frame(60), [frame(60)[n : n + 20] for n in (0, 20, 40)]
MANY = [frame(60 + n) for n in range(20)]

# fmt: off
CASES: tuple[Case, ...] = (
    legacy_format("e1000.tx.legacy_one_descriptor", "A descriptor with EOP and RS sends its buffer once and gets DD",
                  sends(legacy(SHORT, rs=1, ifcs=1)), done(0), read(TDH, 1), leaves(SHORT)),
    interrupt("e1000.tx.icr_txdw",  "A descriptor written back raises TXDW, an empty ring TXQE",
              sends(legacy(SHORT, rs=1)), read(ICR, 3), write(TDT, 1), read(ICR, 0)),
    interrupt("e1000.tx.interrupts", "A driver that waits for TXDW is interrupted for each doorbell",
              ROUTED, Pic(1 << IRQ, level=1 << IRQ), Handle(VECTOR, (read(ICR),)), write(IMS, 1),
              lay(*(legacy(each, rs=1) for each in MANY[:8])), transmitter(),
              *(step for n in range(1, 9) for step in (write(TDT, n), Interrupts(VECTOR, n))), leaves(*MANY[:8])),
    interrupt("e1000.tx.idle_delay", "IDE delays TXDW by TIDV",
              write(TIDV, 1000), sends(legacy(SHORT, rs=1, ide=1)), read(ICR, 2), elapses(1_023_999), read(ICR, 0), elapses(1), read(ICR, 1), priority=2),
    legacy_format("e1000.tx.no_rs_no_dd", "Without RS nothing is written back",
                  sends(legacy(SHORT)), read(TDH, 1), done(0, 0), read(ICR, 2), leaves(SHORT)),
    ring("e1000.tx.multi_desc",     "Descriptors up to EOP are one frame",
         lay(*(legacy(third, eop=n == 2) for n, third in enumerate(THIRDS))), transmitter(), write(TDT, 2), leaves(), write(TDT, 3), leaves(SHORT)),
    ring("e1000.tx.batch",          "A tail that jumps sends all up to it, in order",
         sends(*(legacy(each) for each in MANY[:5])), read(TDH, 5), leaves(*MANY[:5])),
    ring("e1000.tx.wrap",           "The head wraps at the end of the ring",
         lay(*(legacy(each) for each in MANY[:16])), transmitter(), write(TDT, 15), read(TDH, 15), write(TDT, 4), read(TDH, 4),
         leaves(*MANY[:16], *MANY[:4])),
    control("e1000.tx.disabled",    "A disabled ring waits until it is enabled",
            lay(legacy(SHORT)), transmitter(en=0, psp=1), write(TDT, 1), leaves(), read(TDH, 0), write(TCTL, Tctl.en.mask), leaves(SHORT), read(TDH, 1)),
    control("e1000.tx.pad_short",   "PSP pads short frames with zeros to 60 bytes",
            sends(legacy(frame(14)), psp=1), leaves(frame(14).ljust(60, b"\0"))),
    legacy_format("e1000.tx.ifcs",  "The check sequence is not part of the frame",
                  sends(legacy(SHORT, ifcs=1)), leaves(SHORT), read(Statistic.TOT, 64), priority=2),
    ring("e1000.reg.rdbal_align",   "The low bits of TDBAL do not count",
         lay(legacy(SHORT)), transmitter(), write(TDBAL, 0x20_0008), read(TDBAL, 0x20_0000), write(TDT, 1), leaves(SHORT), priority=2),
    statistics("e1000.stats.read_clear", "A statistic is cleared by reading it",
               sends(legacy(SHORT)), read(Statistic.GPTC, 1), read(Statistic.GPTC, 0), read(Statistic.TPT, 1), read(Statistic.PTC64, 1), read(Statistic.PTC127, 0), priority=2),
    statistics("e1000.stats.64bit_pair", "A statistic of 64 bits is cleared by reading its upper half",
               sends(legacy(frame(100))), read(Statistic.GOTC, 104), read(Statistic.GOTC, 104), read(Statistic.GOTC + 4, 0), read(Statistic.GOTC, 0), priority=2),
    statistics("e1000.stats.octets", "TOT counts the check sequence", sends(legacy(SHORT)), read(Statistic.TOT, 64), priority=3),
    control("e1000.tx.loopback",    "In loop-back frames come back and do not leave",
            receiver(lbm=3, secrc=1), sends(legacy(SHORT)), leaves(), stored(0, SHORT), priority=3),
    ring("e1000.tx.no_link",        "Without a link frames are lost, not kept", link(False), sends(legacy(SHORT, rs=1)), done(0), leaves(), priority=3),
)
# fmt: on
