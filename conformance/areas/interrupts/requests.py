"""The local APIC alone: which requests are kept, which become one, and which are lost.

IRR has a bit for each vector: requests of a vector that waits are one, and one more waits behind one in service.  A
command with a vector below 16 interrupts nobody.  An EOI with nothing in service ends nothing.  SVR's disable masks every
entry of the LVT, which stay masked until they are written again.  TMR has the trigger mode of what was accepted: edge for
interrupts to oneself.  An interrupt that the task priority holds back is taken right behind the MOV to CR8 that lowers it.

The numbers are what the test of that name in guest_payloads/requests.c observes.
"""

from virtproof.conformance.case import Case, SendMsi, programs_of
from virtproof.spec.cite import apm, linux, sdm

X, X2 = 0, 1
apic = programs_of(
    "interrupts",
    "requests",
    sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Handling Interrupts'"),
    sdm(
        "3A",
        "Advanced Programmable Interrupt Controller (APIC), 'Local APIC State After It Has Been Software Disabled'",
    ),
    apm(2, "Advanced Programmable Interrupt Controller (APIC), 'Interrupt Servicing'"),
    priority=2,
)
x2apic = programs_of("interrupts", "requests", sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Extended XAPIC (x2APIC)'"), requires=("x2apic",), priority=2)  # fmt: skip
msi = programs_of("interrupts", "requests", linux("virt/kvm/api.rst", "KVM_SIGNAL_MSI"), priority=2)

# fmt: off
CASES: tuple[Case, ...] = (
    apic("int.lapic.vec_lt16",         "A command with a vector below 16 interrupts nobody",       "illegal_vector",  (0, 0x41, 0),           X),
    apic("int.lapic.pend_bit",         "Delivery status of ICR becomes idle",                      "delivery_status", (0x41, 0),              X),
    apic("int.lapic.sw_enable_masks",  "SVR's disable masks the LVT for good",                     "disabled_masks",  (0, 6, 6, 6),           X),
    apic("int.lapic.irr_collapse",     "Two requests of a vector that waits are one",              "collapse",        (0x51, 0x41, 0),        X),
    apic("int.lapic.isr_plus_irr",     "A vector in service can wait once more",                   "in_service_and_waiting", (0x41, 0x41, 0), X),
    apic("int.lapic.eoi_empty",        "EOI with nothing in service ends nothing",                 "empty_eoi",       (0, 1, 0x41, 0),        X),
    apic("int.lapic.tmr_edge",         "An interrupt to oneself is an edge in TMR",                "edge",            (0, 0, 0x41, 0),        X),
    apic("int.lapic.cr8_pending",      "What CR8 holds back comes right behind the MOV that lowers it", "cr8_lowered", (0, 1, 0x41, 0),       X),

    x2apic("int.lapic.sw_enable_masks.x2", "x2APIC: SVR's disable masks the LVT for good",         "disabled_masks",  (0, 6, 6, 6),           X2),
    x2apic("int.lapic.irr_collapse.x2", "x2APIC: two requests of a vector that waits are one",     "collapse",        (0x51, 0x41, 0),        X2),
    x2apic("int.lapic.isr_plus_irr.x2", "x2APIC: a vector in service can wait once more",          "in_service_and_waiting", (0x41, 0x41, 0), X2),
    x2apic("int.lapic.cr8_pending.x2", "x2APIC: what CR8 holds back comes right behind the MOV",   "cr8_lowered",     (0, 1, 0x41, 0),        X2),

    msi("int.lapic.msi_nmi",           "A message with NMI delivery is an NMI",                    "nmi_message",     (2, 0, 0),              X, acts=(SendMsi(0xFEE0_0000, 0x400),)),
)
# fmt: on
