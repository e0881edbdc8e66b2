"""The time stamp counter never goes back: on one processor, across exits, from one processor to the other.

The numbers are what the test of that name in guest_payloads/timers.c observes.
"""

from virtproof.conformance.case import Case, programs_of
from virtproof.spec.cite import apm, sdm

tsc = programs_of("timers", "timers", sdm("3B", "Debug, Branch Profile, TSC, and Intel RDT Features, 'Time-Stamp Counter'"), apm(2, "Debug and Performance Resources, 'Time-Stamp Counter'"))  # fmt: skip

# fmt: off
CASES: tuple[Case, ...] = (
    tsc("time.tsc.mono_one", "The TSC does not go back on one processor, and goes on across exits", "tsc_one", (0, 0), refs=("time.tsc.mono_exits",)),
    tsc("time.tsc.sync",     "The TSC of another processor is never behind what was seen",          "tsc_two", (0,), vcpus=2, seconds=20.0),
)
# fmt: on
