"""Page tables and code that two processors share: what one changes while the other uses it.

The processor marks an entry (A, D) by a locked update, so that software's own locked changes of the entry are never
lost.  Code that another processor has written is run as written after a serializing instruction.

The numbers are what the test of that name in guest_payloads/litmus.c observes.
"""

from virtproof.conformance.case import Case, programs_of
from virtproof.spec.cite import apm, sdm

marks = programs_of(
    "paging",
    "litmus",
    sdm("3A", "Paging, 'Accessed and Dirty Flags'"),
    sdm("3A", "Multiple-Processor Management, 'Automatic Locking'"),
    apm(2, "Page Translation and Protection, 'Accessed (A) Bit' and 'Dirty (D) Bit'"),
    seconds=20.0,
)
code = programs_of(
    "second_level",
    "litmus",
    sdm("3A", "Multiple-Processor Management, 'Handling Self- and Cross-Modifying Code'"),
    apm(2, "Memory System, 'Cross-Modifying Code'"),
    seconds=20.0,
)

# fmt: off
CASES: tuple[Case, ...] = (
    marks("pg.ad.lock",         "A and D are set without losing what another processor changes", "marks",        (0, 1), 2, 5000, vcpus=2, priority=2),
    code("slat.cross_modify",   "Code that another processor has written runs as written",       "cross_modify", (0,),   2, 500,  vcpus=2, priority=2),
)
# fmt: on
