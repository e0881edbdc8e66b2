"""Bits that follow the processor's state at once: CPUID.1:ECX.OSXSAVE, CPUID.7:ECX.OSPKE, CPUID.1:EDX.APIC.

They are those of CR4.OSXSAVE, CR4.PKE and IA32_APIC_BASE.EN at the moment of the instruction.  The numbers are what the
test of that name in guest_payloads/cpuid.c observes: off, on, off; of the local APIC on, off, on.
"""

from virtproof.conformance.case import programs_of
from virtproof.spec.cite import apm, sdm

of = programs_of(
    "cpuid",
    "cpuid",
    sdm("2A", "Instruction Set Reference, 'CPUID-CPU Identification'"),
    apm(3, "Obtaining Processor Information Via the CPUID Instruction, 'Standard Feature Function Numbers'"),
)

# fmt: off
CASES = (
    of("cpuid.osxsave_dyn", "Leaf 1 ECX bit 27 follows CR4.OSXSAVE",        "osxsave", (0, 1, 0), requires=("xsave",)),
    of("cpuid.ospke_dyn",   "Leaf 7 ECX bit 4 follows CR4.PKE",             "ospke",   (0, 1, 0), requires=("pku",), priority=2),
    of("cpuid.apic_dyn",    "Leaf 1 EDX bit 9 follows IA32_APIC_BASE.EN",   "apic",    (1, 0, 1)),
    of("cpuid.apicid",      "Leaf 1 EBX bits 31:24 are the local APIC's id", "initial_apic_id", (0,)),
    of("cpuid.x2apicid",    "EDX of leaf 0BH is the x2APIC id, whatever the subleaf", "x2apic_id", (0, 0, 0), requires=("x2apic",), priority=2),
)
# fmt: on
