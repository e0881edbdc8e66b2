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
linux_relies = programs_of(
    "interrupts", "lines", Cite("Linux", "arch/x86/kernel/apic/io_apic.c, __eoi_ioapic_pin()"), acts=(SetLine(20, True), SetLine(20, False))
)  # fmt: skip

# fmt: off
CASES: tuple[Case, ...] = (
    ioapic("int.ioapic.rte_rw",               "Entries keep what was written, but delivery status and remote IRR", "ioapic_bits",   (0,)),
    ioapic("int.ioapic.edge",                 "An edge is one interrupt",                                          "ioapic_edge",   (0x60, 0, 0, 0x60, 0)),
    ioapic("int.ioapic.level",                "A level sets remote IRR until EOI",                                 "ioapic_level",  (1, 0, 0x60, 0, 0)),
    ioapic("int.ioapic.level_held",           "A level interrupts until it falls",                                 "ioapic_held",   (0x60, 0x60, 0x60, 0)),
    ioapic("int.ioapic.level_retrigger_mask", "A level that came while masked interrupts when unmasked",           "ioapic_masked", (0, 0x60, 0), refs=("irq.ioapic.mask_pending",)),
    ioapic("int.ioapic.seq_level",            "A level that falls and comes again interrupts again",               "ioapic_twice",     (0x60, 0, 0x60, 0), priority=2),
    ioapic("int.ioapic.coalesce",             "Two edges before the first is taken are one interrupt",             "ioapic_coalesced", (0x60, 0),          priority=2),
    ioapic("int.ioapic.nmi",                  "An entry with NMI delivery is an NMI",                              "ioapic_nmi",       (2, 0),             priority=2),
    ioapic("int.ioapic.tmr",                  "A level sets its TMR bit, an edge clears it",                       "ioapic_tmr",       (1, 0, 0x60, 0x60, 0), priority=2),
    ioapic("int.ioapic.id",                   "The ID register keeps bits 27:24",                                  "ioapic_id",        (0x0F00_0000, 0),   priority=2),
    ioapic("int.ioapic.ver",                  "The version register is read-only; there are 24 entries",           "ioapic_version",   (1, 23, 1),         priority=2, refs=("irq.ioapic.id_ver",)),
    ioapic("int.ioapic.reset",                "Every entry begins masked",                                         "ioapic_reset",     (24,),              priority=2),
    linux_relies("int.ioapic.self_reconf",    "An entry that becomes an edge has no remote IRR",                   "ioapic_to_edge",   (1, 0, 0x60, 0),    priority=2),
)
# fmt: on
