"""Causes and their mask.

A cause stays in ICR until it is read or written with 1.  The pin is asserted while a cause is pending that IMS lets
through, whichever came first; ITR is the least time between two assertions, in units of 256 ns.
"""

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, Handle, Interrupts, Pic, io_apic
from virtproof.conformance.e1000 import AT, IRQ, ROUTED, VECTOR, cases, elapses, read, write
from virtproof.spec.e1000 import CTRL, ICR, ICS, IMC, IMS, ITR, Ctrl
from virtproof.spec.pci import STATUS

mask = cases("'Interrupt Mask Set/Read Register (IMS)', 'Interrupt Mask Clear Register (IMC)'")
cause = cases("'Interrupt Cause Read Register (ICR)', 'Interrupt Cause Set Register (ICS)'")
throttle = cases("'Interrupt Throttling Register (ITR)'")

TAKEN = (ROUTED, Pic(1 << IRQ, level=1 << IRQ), Handle(VECTOR, (read(ICR),)))
MASKED = (ROUTED, Pic(1 << IRQ, level=1 << IRQ), Handle(VECTOR, (write(IMC, 0xFFFF_FFFF),)))


def pin(level: bool) -> ConfigRead:
    return ConfigRead(AT, STATUS, 2, level << 3, 1 << 3)


# fmt: off
CASES: tuple[Case, ...] = (
    mask("e1000.reg.ims_set_imc_clear", "IMS sets bits of the mask, IMC clears them",
         write(IMS, 0x9D), write(IMC, 0x0D), read(IMS, 0x90)),
    cause("e1000.reg.icr_read_clear", "Reading ICR clears it",     write(ICS, 0x04), read(ICR, 0x04), read(ICR, 0)),
    cause("e1000.reg.icr_w1c",        "Ones written to ICR clear", write(ICS, 0x84), write(ICR, 0x04), read(ICR, 0x80), priority=2),
    cause("e1000.reg.ics_raises",     "ICS interrupts",            TAKEN, write(IMS, 0x04), write(ICS, 0x04), Interrupts(VECTOR, 1)),
    cause("e1000.irq.level",          "The pin is ICR and IMS",
          pin(False), write(ICS, 0x84), pin(False), write(IMS, 0x10), pin(False), write(IMS, 0x80), pin(True),
          write(IMC, 0x80), pin(False), write(IMS, 0x04), pin(True)),
    cause("e1000.irq.level_twice",    "The pin stays asserted until the cause is gone",
          MASKED, write(IMS, 0x04), write(ICS, 0x04), Interrupts(VECTOR, 1), write(IMS, 0x04), Interrupts(VECTOR, 2), read(ICR, 0x04),
          write(IMS, 0x04), Interrupts(VECTOR, 2)),
    cause("e1000.irq.icr_read_drops", "Reading ICR drops the pin",
          write(IMS, 0x04), write(ICS, 0x04), pin(True), read(ICR, 0x04), pin(False)),
    cause("e1000.irq.ioapic",         "Through the I/O APIC, too, the pin interrupts until the cause is gone",
          ROUTED, io_apic(IRQ, 0x40), Handle(0x40, (write(IMC, 0xFFFF_FFFF),)), write(IMS, 0x04), write(ICS, 0x04), Interrupts(0x40, 1),
          write(IMS, 0x04), Interrupts(0x40, 2), read(ICR, 0x04), write(IMS, 0x04), Interrupts(0x40, 2), priority=2),
    mask("e1000.irq.masked_pending",  "A cause that was masked interrupts when the mask lets it through",
         TAKEN, write(ICS, 0x80), Interrupts(VECTOR, 0), write(IMS, 0x80), Interrupts(VECTOR, 1)),
    throttle("e1000.irq.throttle",    "ITR keeps interrupts apart",
             write(ITR, 1000), write(IMS, 0x04), write(ICS, 0x04), pin(True), read(ICR, 0x04), write(ICS, 0x04), pin(False),
             elapses(255_999), pin(False), elapses(1), pin(True), priority=2),
    throttle("e1000.irq.throttle_reset", "... not beyond a reset",
             write(ITR, 1000), write(IMS, 0x04), write(ICS, 0x04), pin(True), write(CTRL, Ctrl.rst.mask), pin(False),
             write(IMS, 0x04), write(ICS, 0x04), pin(True), priority=3),
)
# fmt: on
