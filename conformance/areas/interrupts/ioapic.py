"""The I/O APIC: each line has an entry that says which interrupt it is.

Delivery status and remote IRR are the chip's to write.  An edge is one interrupt.  A level sets remote IRR when its
interrupt is accepted; the EOI clears it, and the level interrupts again if it is still there.  A level that came while
the entry was masked interrupts when it is unmasked.  Destinations are in ipi.py.

The numbers are what the test of that name in guest_payloads/lines.c observes.
"""

from virtproof.conformance.case import Case, SetLine, programs_of
from virtproof.spec.cite import Cite

ioapic = programs_of(
    "interrupts", "lines", Cite("Intel 82093AA data sheet", "'I/O Redirection Table Registers'"), acts=(SetLine(20, True), SetLine(20, False))
)  # fmt: skip

# fmt: off
CASES: tuple[Case, ...] = (
    ioapic("int.ioapic.rte_rw",               "Entries keep what was written, but delivery status and remote IRR", "ioapic_bits",   (0,)),
    ioapic("int.ioapic.edge",                 "An edge is one interrupt",                                          "ioapic_edge",   (0x60, 0, 0, 0x60, 0)),
    ioapic("int.ioapic.level",                "A level sets remote IRR until EOI",                                 "ioapic_level",  (1, 0, 0x60, 0, 0)),
    ioapic("int.ioapic.level_held",           "A level interrupts until it falls",                                 "ioapic_held",   (0x60, 0x60, 0x60, 0)),
    ioapic("int.ioapic.level_retrigger_mask", "A level that came while masked interrupts when unmasked",           "ioapic_masked", (0, 0x60, 0)),
)
# fmt: on
