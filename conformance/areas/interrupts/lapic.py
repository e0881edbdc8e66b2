"""The local APIC alone: an interrupt waits in IRR, is in service in ISR, and makes room at its EOI.

A vector's class is its upper half.  Of those that wait the highest vector is taken, if its class is above PPR's: that is
TPR, or the class in service where that is higher.  An EOI ends the highest in service.  An NMI passes TPR and IF.  An
APIC that SVR disables takes no fixed interrupt and keeps none.  x2APIC mode changes how registers are reached, and
nothing else of this; it adds a register for interrupts to oneself.

The numbers are what the test of that name in guest_payloads/lapic.c observes.
"""

from virtproof.conformance.case import Case, SendMsi, SendNmi, programs_of
from virtproof.spec.cite import apm, linux, sdm

APIC = (
    sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Handling Interrupts'"),
    apm(2, "Advanced Programmable Interrupt Controller (APIC), 'Interrupt Servicing'"),
)
X, X2 = 0, 1
LEAVE = 0x100  # a handler's end, beside its vector
HOST_MSI = SendMsi(0xFEE0_0000, 0x41)

lapic = programs_of("interrupts", "lapic", *APIC)
x2apic = programs_of("interrupts", "lapic", *APIC, sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Extended XAPIC (x2APIC)'"), requires=("x2apic",))  # fmt: skip
msi = programs_of("interrupts", "lapic", linux("virt/kvm/api.rst", "KVM_SIGNAL_MSI"), acts=(HOST_MSI,))

# fmt: off
SELF      = (1, 0,  0, 1, 0,  0x40, 0)
ORDER     = (0x72, 0x71, 0x41, 0)
NEST      = (0x31, 0x51, LEAVE + 0x31, 0)
NO_NEST   = (0x51, LEAVE + 0x51, 0x55, 0x31, 0)
EOI_ORDER = (1, 1,  1, 0,  0, 0)
TPR_BLOCK = (0x50, 0,  0x4F, 0)
TPR_F     = (2, 0,  1,  0xF5, 0)
PPR       = (15 * 16, 0)
SVR       = (0,  0x40, 0)

CASES: tuple[Case, ...] = (
    lapic("int.lapic.self_fixed", "An interrupt to oneself is in IRR, then in ISR, until EOI",          "self_fixed",    SELF,      X),
    lapic("int.lapic.order",      "Of several that wait the highest vector is taken first",             "order",         ORDER,     X),
    lapic("int.lapic.nest",       "A higher class interrupts a handler",                                "nest",          NEST,      X),
    lapic("int.lapic.nonest",     "The same or a lower class waits for EOI",                            "nonest",        NO_NEST,   X),
    lapic("int.lapic.eoi_order",  "EOI ends the highest vector in service",                             "eoi_order",     EOI_ORDER, X),
    lapic("int.lapic.tpr_block",  "TPR holds back its own class and those below",                       "tpr_block",     TPR_BLOCK, X),
    lapic("int.lapic.tpr_f",      "TPR = FFH holds back every fixed interrupt, and no NMI",             "tpr_f",         TPR_F,     X, acts=(SendNmi(),)),
    lapic("int.lapic.ppr",        "PPR is the higher of TPR and the class in service",                  "ppr",           PPR,       X),
    lapic("int.lapic.tpr_low",    "TPR keeps its lower half, and PPR shows it",                         "tpr_low",       (0x45, 0x45), X, priority=2),
    lapic("int.lapic.svr_off",    "Disabled by SVR it takes nothing, enabled again it does",            "masked_by_svr", SVR,       X),

    x2apic("int.lapic.self_x2",          "SELF IPI interrupts oneself",                                        "self_x2",       SELF,      X2),
    x2apic("int.lapic.self_fixed.x2",    "x2APIC: an interrupt to oneself is in IRR, then in ISR, until EOI",  "self_fixed",    SELF,      X2),
    x2apic("int.lapic.order.x2",         "x2APIC: of several that wait the highest vector is taken first",     "order",         ORDER,     X2, priority=2),
    x2apic("int.lapic.nest.x2",          "x2APIC: a higher class interrupts a handler",                        "nest",          NEST,      X2, priority=2),
    x2apic("int.lapic.nonest.x2",        "x2APIC: the same or a lower class waits for EOI",                    "nonest",        NO_NEST,   X2, priority=2),
    x2apic("int.lapic.eoi_order.x2",     "x2APIC: EOI ends the highest vector in service",                     "eoi_order",     EOI_ORDER, X2, priority=2),
    x2apic("int.lapic.tpr_block.x2",     "x2APIC: TPR holds back its own class and those below",               "tpr_block",     TPR_BLOCK, X2),
    x2apic("int.lapic.tpr_f.x2",         "x2APIC: TPR = FFH holds back every fixed interrupt, and no NMI",     "tpr_f",         TPR_F,     X2, acts=(SendNmi(),), priority=2),
    x2apic("int.lapic.ppr.x2",           "x2APIC: PPR is the higher of TPR and the class in service",          "ppr",           PPR,       X2, priority=2),
    x2apic("int.lapic.svr_off.x2",       "x2APIC: disabled by SVR it takes nothing, enabled again it does",    "masked_by_svr", SVR,       X2, priority=2),

    msi("int.lapic.msi_fixed",    "A message of the host's waits in IRR and is taken once",              "host_message",        (1, 0, 0x41, 0, 0),      X, refs=("irq.msi.signal",)),
    msi("int.lapic.msi_again",    "Each of three messages is taken",                                     "three_messages", (0x41, 0x41, 0x41, 0),   X, priority=2),
    msi("int.lapic.msi_split",    "A split irqchip takes messages the same way",                         "host_message",        (1, 0, 0x41, 0, 0),      X, irqchip="split", priority=2),
)
# fmt: on
