"""Processors of one guest that use different page tables never use each other's translations.

The numbers are what the test of that name in guest_payloads/litmus.c observes.
"""

from virtproof.conformance.case import Case, programs_of
from virtproof.spec.cite import apm, sdm

isolation = programs_of(
    "isolation",
    "litmus",
    sdm("3A", "Paging, 'Caching Translation Information'"),
    apm(2, "Page Translation and Protection, 'TLB Management'"),
    seconds=20.0,
)

# fmt: off
CASES: tuple[Case, ...] = (
    isolation("iso.tlb_vcpu", "Each processor reads by its own tables", "own_tables_each", (0,), 2, 2000, vcpus=2),
)
# fmt: on
