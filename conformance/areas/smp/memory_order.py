"""What processors see of each other's memory and tables.

A locked instruction is one step for everybody.  Aligned stores of 8 bytes are seen whole.  Stores of one processor are
seen in their order, loads too, and one place never goes back; a store may be passed by a later load of another place,
unless MFENCE is between.  A translation that another processor has used is gone when that one has done its INVLPG; each
processor uses the tables of its own CR3.  Each has an APIC id of its own, which CPUID tells too.

The numbers are what the test of that name in guest_payloads/litmus.c or atomics.c observes.
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
atomic = programs_of(
    "smp",
    "atomics",
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
    atomic("smp.lock_inc",     "LOCK INC on three processors loses nothing",          "lock_inc",        (6000,),   3, 2000, vcpus=3),
    atomic("smp.xchg_lock",    "A lock of XCHG lets one in at a time",                "xchg_lock",       (2000,),   2, 1000, vcpus=2),
    atomic("smp.cmpxchg",      "LOCK CMPXCHG loses nothing",                          "cmpxchg",         (4000,),   2, 2000, vcpus=2),
    atomic("smp.inc_race",    "INC without LOCK on two processors adds no more than both", "inc",        (0, 0),    2, 2000, vcpus=2, priority=2),
    atomic("smp.cmpxchg16b",  "LOCK CMPXCHG16B changes 16 bytes in one step",        "cmpxchg16b",      (2000, 2000, 0), 2, 1000, vcpus=2, priority=2, requires=("cmpxchg16b",)),
    atomic("smp.xadd",        "LOCK XADD gives each number once",                    "xadd",            (4000, 4000), 2, 2000, vcpus=2, priority=2),
    atomic("smp.bts",         "LOCK BTS: one finds the bit clear",                   "bts",             (2000,),   3, 2000, vcpus=3, priority=2),
    atomic("smp.split_lock",  "LOCK INC over two cache lines loses nothing",         "split",           (2000, 0), 2, 1000, vcpus=2, priority=2),

    order("smp.qword_atomic", "An aligned store of 8 bytes is never seen in part",   "qword",           (0,),      2, 5000, vcpus=2),
    order("smp.sb_mfence",    "With MFENCE one of two sees the other's store",       "store_buffer",    (0,),      2, 500,  vcpus=2),
    order("smp.sb_lock",      "With a locked store one of two sees the other's",     "locked_store",    (0,),      2, 200,  vcpus=2, priority=2),
    order("smp.lb",           "Two loads never both see the store behind the other", "load_buffer",     (0,),      2, 200,  vcpus=2, priority=2),
    order("smp.iriw",         "All see the stores of two processors in one order",   "independent",     (0,),      4, 50,  vcpus=4, priority=2),
    order("smp.mp_litmus",    "Who sees the flag sees the data",                     "message_passing", (0,),      2, 5000, vcpus=2),
    order("smp.coherence",    "One place never goes back",                           "coherence",       (0,),      2, 5000, vcpus=2),

    tables("smp.tlb_shoot",   "After INVLPG by IPI no stale translation is used",    "shootdown",       (0,),      2, 200,  vcpus=2),
    tables("smp.tlb_remote_hlt", "The same where the other has halted",              "shootdown_halted", (0,),     2, 200,  vcpus=2, priority=2),
    tables("smp.cr3_shared",  "Edits of the tables of one CR3 are seen by both",     "shared_tables",   (0,),      2, 200,  vcpus=2, priority=2),

    identity("smp.apicid",    "Each of four processors has an APIC id of its own",   "apic_ids",        (1, 1, 1, 1), 4, 0, vcpus=4),
)
# fmt: on
