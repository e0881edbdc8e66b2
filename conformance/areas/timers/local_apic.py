"""The timer of the local APIC: one-shot, periodic, or at a TSC deadline.

It counts down from its initial count and interrupts at 0: once, or each time round.  An initial count of 0 stops it, and
so does a change to deadline mode.  A deadline interrupts once, when the time stamp counter is there and not before, at
once if that is past; the MSR then reads 0, and writing 0 disarms it.  A masked timer interrupts nobody.  It ends HLT.

The numbers are what the test of that name in guest_payloads/timers.c observes.
"""

from virtproof.conformance.case import Case, programs_of
from virtproof.spec.cite import apm, sdm

timer = programs_of(
    "timers",
    "timers",
    sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'APIC Timer'"),
    apm(2, "Advanced Programmable Interrupt Controller (APIC), 'APIC Timer Interrupt'"),
)
deadline = programs_of(
    "timers", "timers", sdm("3A", "Advanced Programmable Interrupt Controller (APIC), 'TSC-Deadline Mode'"), requires=("tsc_deadline",), proves=("tsc_deadline",)
)  # fmt: skip

# fmt: off
CASES: tuple[Case, ...] = (
    timer("time.lapic.oneshot",       "One-shot comes once and stays at 0",                   "one_shot",       (1, 0)),
    timer("time.lapic.periodic",      "Periodic comes again and again",                       "periodic",       (1, 1)),
    timer("time.lapic.tmcct_dec",     "The current count goes down",                          "counts_down",    (0, 1)),
    timer("time.lapic.masked",        "A masked timer runs out and interrupts nobody",        "masked",         (0, 0), refs=("time.lapic.mask_oneshot", "int.lapic.lvt_selfmask")),
    timer("time.lapic.tmict0",        "An initial count of 0 stops it",                       "stopped",        (0, 0)),
    timer("time.lapic.unmask_late",   "Unmasked when it has run out it interrupts nobody",    "unmasked_late",  (0, 0), priority=2),
    timer("time.lapic.mode_one_per",  "One-shot becomes periodic while it runs",              "to_periodic",    (1,),   priority=2),
    timer("time.lapic.mode_per_one",  "Periodic becomes one-shot and ends at 0",              "to_one_shot",    (0, 0), priority=2),
    timer("time.lapic.div",           "Each divide value halves the rate",                    "divides",        (1,) * 7),

    deadline("time.lapic.mode_to_dl", "A change to deadline mode stops it",                   "to_deadline",    (0, 0)),
    deadline("time.lapic.dl_fire",    "A deadline comes once and not too early; the MSR is 0", "deadline_fires", (1, 1, 0), refs=("claim.tscdl",)),
    deadline("time.lapic.dl_past",    "A deadline in the past comes at once",                 "deadline_past",  (1, 0)),
    deadline("time.lapic.dl_zero",    "Writing 0 disarms",                                    "deadline_zero",  (1 << 62, 0, 0)),
    deadline("time.lapic.dl_to_one",  "A change from deadline mode disarms",                  "from_deadline",  (0, 0, 0, 0), priority=2),
    deadline("time.lapic.dl_ignored", "In one-shot mode a deadline is not taken",             "deadline_elsewhere", (0, 0), priority=2),
    deadline("time.lapic.hlt_dl",     "A deadline ends HLT",                                  "deadline_wakes", (1, 1)),
)
# fmt: on
