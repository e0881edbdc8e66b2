"""The two 8259s: eight lines each, the slave's behind line 2 of the master.

ICW2 names the first vector.  A masked line waits.  The lowest number is the most urgent, and while it is in service the
others wait; a non-specific EOI ends it, and what came through the slave needs an EOI there too.  A line is
edge-triggered unless the ELCR says level: an edge is one interrupt, a level one after another until it falls.  The
processor sees the master at LINT0 of its local APIC, if that is ExtINT and not masked.

The numbers are what the test of that name in guest_payloads/lines.c observes.
"""

from virtproof.conformance.case import Case, SetLine, programs_of
from virtproof.spec.cite import Cite, linux, sdm

pic = programs_of(
    "interrupts",
    "lines",
    Cite("Intel 8259A data sheet", "'Programming the 8259A' and 'Operation Command Words (OCWs)'"),
    linux("virt/kvm/api.rst", "KVM_IRQ_LINE"),
)
lint0 = programs_of("interrupts", "lines", sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Local Vector Table'"))  # fmt: skip


def line(gsi: int) -> tuple[SetLine, SetLine]:
    return SetLine(gsi, True), SetLine(gsi, False)


# fmt: off
CASES: tuple[Case, ...] = (
    pic("int.pic.init",         "ICW2 sets the first vector",                              "pic_base",    (0x24, 0, 0x64, 0),           acts=line(4)),
    pic("int.pic.imr",          "A masked line waits until it is unmasked",                "pic_mask",    (0, 0x24, 0),                 acts=line(4)),
    pic("int.pic.imr_read",     "IMR reads what was written",                              "pic_imr",     (0xA5, 0x5A, 0x5A, 0xA5)),
    pic("int.pic.eoi_ns",       "A line waits for the EOI of a more urgent one",           "pic_eoi",     (0x23, 0, 1 << 3, 0x25, 0, 1 << 5, 0), acts=(SetLine(3, True), SetLine(3, False), SetLine(5, True)), refs=("int.pic.read_isr",)),
    pic("int.pic.prio",         "Line 0 goes before line 1",                               "pic_two",     (0x20, 0x21, 0),              acts=(SetLine(1, True), SetLine(1, False), SetLine(0, True))),
    pic("int.pic.cascade",      "Line 8 comes through line 2 and needs two EOIs",          "pic_cascade", (0x28, 0, 1 << 2, 1 << 0, 0), acts=line(8)),
    pic("int.pic.edge",         "An edge is one interrupt",                                "pic_edge",    (0x25, 0, 0, 0x25, 0),        acts=line(5), refs=("int.pic.kvm_irq_line",)),
    pic("int.pic.eoi_sp",       "A specific EOI ends the line that it names",              "pic_specific", (0x25, 0x23, 0, 0x28, 0x08, 0), acts=(SetLine(5, True), SetLine(5, False), SetLine(3, True)), priority=2),
    pic("int.pic.read_irr",     "IRR has what waits, and not what is in service",          "pic_waiting", (0, 1 << 4, 0, 0x24, 0),      acts=line(4), priority=2),
    pic("int.pic.level",        "A level interrupts until it falls",                       "pic_level",   (0x25, 0x25, 0x25, 0),        acts=line(5), refs=("int.pic.kvm_irq_line",)),
    lint0("int.pic.lint0",      "The 8259 reaches the processor by LINT0 as ExtINT only",  "pic_lint0",   (0, 0x24, 0),                 acts=line(4), refs=("irq.lapic.ext_int",)),
)
# fmt: on
