"""What processors see of each other's memory and tables.

A locked instruction is one step for everybody.  Aligned stores of 8 bytes are seen whole.  Stores of one processor are
seen in their order, loads too, and one place never goes back; a store may be passed by a later load of another place,
unless MFENCE is between.  A translation that another processor has used is gone when that one has done its INVLPG; each
processor uses the tables of its own CR3.  Each has an APIC id of its own, which CPUID tells too.

The numbers are what the test of that name in guest_payloads/litmus.c observes.
"""

from virtproof.conformance.case import Case, programs_of
from virtproof.spec.cite import apm, sdm

order = programs_of(
    "smp",
    "litmus",
    sdm("3A", "Multiple-Processor Management, 'Memory Ordering in P6 and More Recent Processor Families'"),
    sdm("3A", "Multiple-Processor Management, 'Locked Atomic Operations'"),
    apm(2, "Memory System, 'Multiprocessor Memory Access Ordering'"),
    seconds=20.0,
)
tables = programs_of(
    "smp",
    "litmus",
    sdm("3A", "Multiple-Processor Management, 'Propagation of Page Table and Page Directory Entry Changes to Multiple Processors'"),
    apm(2, "Page Translation and Protection, 'TLB Management'"),
    seconds=20.0,
)  # fmt: skip
identity = programs_of("smp", "litmus", sdm("3A", "Multiple-Processor Management, 'Identifying Logical Processors in an MP System'"))  # fmt: skip

# fmt: off
CASES: tuple[Case, ...] = (
    order("smp.lock_inc",     "LOCK INC on three processors loses nothing",          "lock_inc",        (6000,),   3, 2000, vcpus=3),
    order("smp.xchg_lock",    "A lock of XCHG lets one in at a time",                "xchg_lock",       (2000,),   2, 1000, vcpus=2),
    order("smp.cmpxchg",      "LOCK CMPXCHG loses nothing",                          "cmpxchg",         (4000,),   2, 2000, vcpus=2),
    order("smp.qword_atomic", "An aligned store of 8 bytes is never seen in part",   "qword",           (0,),      2, 5000, vcpus=2),
    order("smp.sb_mfence",    "With MFENCE one of two sees the other's store",       "store_buffer",    (0,),      2, 500,  vcpus=2),
    order("smp.mp_litmus",    "Who sees the flag sees the data",                     "message_passing", (0,),      2, 5000, vcpus=2),
    order("smp.coherence",    "One place never goes back",                           "coherence",       (0,),      2, 5000, vcpus=2),

    tables("smp.tlb_shoot",   "After INVLPG by IPI no stale translation is used",    "shootdown",       (0,),      2, 200,  vcpus=2),

    identity("smp.apicid",    "Each of four processors has an APIC id of its own",   "apic_ids",        (1, 1, 1, 1), 4, 0, vcpus=4),
)
# fmt: on
