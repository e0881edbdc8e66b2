"""HLT with interrupts on ends by an interrupt; the saved instruction pointer is behind it.  Ends by NMI: ipi.py.

The numbers are what the test of that name in guest_payloads/timers.c observes.
"""

from virtproof.conformance.case import Case, programs_of
from virtproof.spec.cite import apm, sdm

halt = programs_of(
    "interrupts", "timers", sdm("2A", "Instruction Set Reference, 'HLT-Halt'"), apm(3, "System Instruction Reference, 'HLT'")
)  # fmt: skip

CASES: tuple[Case, ...] = (
    halt(
        "int.halt.hlt_int",
        "The APIC timer ends HLT, and RIP is behind it",
        "wakes",
        (1, 1),
        refs=("priv.hlt.cpl0.long64",),
    ),
)
