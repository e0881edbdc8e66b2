"""Interrupts between processors reach those that the destination names, each once, and nobody else.

A physical destination is an APIC id; all ones is everybody.  A logical destination is a mask of bits that each processor
has in LDR (in x2APIC mode: of a cluster, and fixed).  Shorthands name all, or all but the sender.  An NMI has no vector in
IRR or ISR.  INIT stops a processor; it then waits for SIPI, which starts it in real mode at the page of its vector.
HLT with interrupts off ends by NMI, not by a fixed interrupt, which is kept until it can be taken; so does HLT with a
task priority that holds the interrupt back.  Lowest-priority delivery picks one of those that are named.  A destination
that names nobody is no error.  An APIC that SVR disables takes NMI, INIT and SIPI only.

The numbers are what the test of that name in guest_payloads/ipi.c observes, or in startup.c where INIT and SIPI are.
"""

from virtproof.conformance.case import Case, SendMsi, SetLine, programs_of
from virtproof.spec.cite import Cite, apm, linux, sdm

IPI = (
    sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Issuing Interprocessor Interrupts'"),
    apm(2, "Advanced Programmable Interrupt Controller (APIC), 'Interprocessor Interrupts (IPI)'"),
)
X, X2 = 0, 1
ET = 1 << 4  # of CR0

ipi = programs_of("interrupts", "ipi", *IPI)
smp = programs_of("smp", "ipi", *IPI, sdm("3A", "Multiple-Processor Management, 'Multiple-Processor (MP) Initialization'"))  # fmt: skip
start = programs_of("interrupts", "startup", *IPI)
begin = programs_of("smp", "startup", *IPI, sdm("3A", "Multiple-Processor Management, 'Multiple-Processor (MP) Initialization'"))  # fmt: skip
x2apic = programs_of("interrupts", "ipi", *IPI, sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'Extended XAPIC (x2APIC)'"), requires=("x2apic",))  # fmt: skip
msi = programs_of("interrupts", "ipi", linux("virt/kvm/api.rst", "KVM_SIGNAL_MSI"))
line = programs_of("interrupts", "ipi", Cite("Intel 82093AA data sheet", "'I/O Redirection Table Registers'"))
halt = programs_of("interrupts", "ipi", sdm("2A", "Instruction Set Reference, 'HLT-Halt'"), apm(3, "System Instruction Reference, 'HLT'"))  # fmt: skip


def started_at(page: int) -> tuple[int, ...]:
    """General registers but EDX, CS, the other segments, CR0 without CD and NW, CR4, CR3."""
    return (0, page << 8, 0, ET, 0, 0)


# fmt: off
CASES: tuple[Case, ...] = (
    ipi("int.lapic.phys",            "A physical destination is one processor",                 "physical",  (0, 1, 0),    X, 3, vcpus=3),
    ipi("int.lapic.logical_flat",    "A logical destination is every processor of the mask",    "logical",   (0, 1, 1, 0), X, 4, vcpus=4),
    ipi("int.lapic.bcast_xapic",     "Destination FFH is everybody, the sender too",            "broadcast", (1, 1, 1),    X, 3, vcpus=3),
    ipi("int.lapic.all_ex",          "The shorthand for all others is all but the sender",      "others",    (0, 1, 1),    X, 3, vcpus=3),
    ipi("int.lapic.all_inc",         "The shorthand for all is the sender too",                 "everybody", (1, 1, 1),    X, 3, vcpus=3),
    ipi("int.lapic.nmi",             "An NMI reaches its processor, and IRR and ISR stay 0",    "nmi",       (0, 1, 0, 0), X, 3, vcpus=3),
    ipi("int.lapic.phys_none",       "A physical destination that names nobody is no error",    "nobody",    (0, 0, 0, 0), X, 3, vcpus=3, priority=2),
    ipi("int.lapic.logical_cluster", "Cluster mode: a mask in one of several clusters",         "cluster",   (1, 1, 0, 1), X, 4, vcpus=4, priority=2),
    ipi("int.lapic.lowest",          "Lowest priority picks one of the mask each time",         "lowest",    (10, 0),      X, 3, vcpus=3, priority=2),
    ipi("int.lapic.disabled_target", "A disabled APIC takes an NMI, and keeps no fixed interrupt", "to_disabled", (0, 1, 0), X, 2, vcpus=2, priority=2),

    start("int.lapic.init",          "INIT stops a processor, SIPI starts it; memory stays",    "init",      (1, 1, 2, 0x1122_3344_5566_7788), X, 2, vcpus=2),
    start("int.lapic.sipi",          "SIPI starts at its page in real mode, registers reset",   "sipi",      started_at(9),    X, 2, 9, vcpus=2),
    start("int.lapic.init_deassert", "INIT with level 0 stops nobody",                          "init_deassert", (1, 1),       X, 2, vcpus=2, priority=2),

    x2apic("int.lapic.phys.x2",      "x2APIC: a physical destination is one processor",         "physical",  (0, 1, 0),    X2, 3, vcpus=3),
    x2apic("int.lapic.logical_x2",   "x2APIC: a logical destination is a mask in a cluster",    "logical",   (0, 1, 1, 0), X2, 4, vcpus=4),
    x2apic("int.lapic.bcast_x2",     "x2APIC: destination FFFFFFFFH is everybody",              "broadcast", (1, 1, 1),    X2, 3, vcpus=3),
    x2apic("int.lapic.all_ex.x2",    "x2APIC: the shorthand for all others",                    "others",    (0, 1, 1),    X2, 3, vcpus=3, priority=2),
    x2apic("int.lapic.all_inc.x2",   "x2APIC: the shorthand for all",                           "everybody", (1, 1, 1),    X2, 3, vcpus=3, priority=2),
    x2apic("int.lapic.nmi.x2",       "x2APIC: an NMI reaches its processor",                    "nmi",       (0, 1, 0, 0), X2, 3, vcpus=3, priority=2),

    x2apic("int.lapic.phys_none.x2", "x2APIC: a physical destination that names nobody",        "nobody",    (0, 0, 0, 0), X2, 3, vcpus=3, priority=2, refs=("int.lapic.x2_ff",)),
    x2apic("int.lapic.x2_cluster",   "x2APIC: a mask in another cluster names nobody here",     "x2_cluster", (0, 1, 1, 0), X2, 4, vcpus=4, priority=2),
    x2apic("int.lapic.lowest.x2",    "x2APIC: lowest priority picks one of the mask",           "lowest",    (10, 0),      X2, 3, vcpus=3, priority=2),
    x2apic("int.lapic.disabled_target.x2", "x2APIC: a disabled APIC takes an NMI only",         "to_disabled", (0, 1, 0),  X2, 2, vcpus=2, priority=2),

    msi("int.lapic.msi_phys",        "A message to one APIC id reaches that processor",         "host_message",   (0, 1, 0),    X, 3, vcpus=3, acts=(SendMsi(0xFEE0_1000, 0x40),), refs=("irq.msi.dest",)),
    msi("int.lapic.msi_logical",     "A message with a logical destination reaches its mask",   "host_message",   (0, 1, 1, 0), X, 4, vcpus=4, acts=(SendMsi(0xFEE0_6004, 0x40),), priority=2),

    line("int.ioapic.phys",          "A line of the I/O APIC reaches the APIC id of its entry", "line",      (0, 1, 0),    X, 3, 1, 0, vcpus=3, acts=(SetLine(20, True),)),
    line("int.ioapic.logical",       "A line with a logical destination reaches its mask",      "line",      (0, 1, 1, 0), X, 4, 6, 1, vcpus=4, acts=(SetLine(20, True),)),
    line("int.ioapic.lowest",        "A line with lowest priority reaches one of its mask",     "line_lowest", (1, 0),     X, 3, vcpus=3, acts=(SetLine(20, True),), priority=2),

    halt("int.halt.hlt_tpr",         "HLT is not ended by an interrupt that TPR holds back",    "halted_urgent", (0, 1),   X, 2, vcpus=2, priority=2),
    halt("int.lapic.halt_poll",      "Each of 100 IPIs wakes a halted processor",               "wakes",       (100,),       X, 2, vcpus=2),
    halt("int.halt.hlt_if0",         "HLT with IF = 0 ends by NMI only; the interrupt is kept", "halted_deaf", (0, 0, 1, 1), X, 2, vcpus=2, refs=("hostile.cpu.hlt_if0", "int.halt.hlt_nmi",)),
    halt("int.halt.sipi",            "A SIPI does not wake a halted processor",                 "sipi_to_halted", (0,),     X, 2, vcpus=2, priority=3),

    begin("smp.sipi_vec",            "The vector of a SIPI is the page where it starts",        "sipi",         started_at(0xAB), X, 2, 0xAB, vcpus=2),
    begin("smp.init_running",        "INIT resets the registers of a processor that runs",      "init_running", started_at(9),    X, 2, vcpus=2, refs=("smp.init_regs",)),
    begin("smp.sipi_running",        "A SIPI to a processor that runs is ignored",              "sipi_running", (1, 0),           X, 2, vcpus=2, priority=2),
    smp("smp.nmi_bcast",             "An NMI to all others reaches each once",                  "nmi_others",   (0, 1, 1, 1),     X, 4, vcpus=4, priority=2),
    smp("smp.ipi_storm",             "All to all: requests may become one, the last is never lost", "all_to_all", (0, 0),         X, 3, vcpus=3, priority=2),
    smp("smp.bsp_flag",              "One processor has IA32_APIC_BASE.BSP",                    "bsp_flags",    (1, 1),           X, 3, vcpus=3, priority=2),
    smp("smp.ipi_ring",              "An IPI goes round three processors 300 times",            "ring",         (300, 300, 300),  X, 3, vcpus=3),
)
# fmt: on
