"""Measure what probing costs: processor time, so that a busy machine does not count.

    python benchmarks/snapshots.py [FILE...]

Collecting, asking and judging this host in a fresh interpreter, less what the interpreter itself takes to start; and
judging snapshots one after the other in one process, each read from its text: the ones in FILE, or that of this host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from statistics import median
from time import process_time

from virtproof.probes.collect import collect
from virtproof.probes.judge import judge
from virtproof.probes.profile import load_profile
from virtproof.probes.snapshot import dumps, loads

ROUNDS = 9
JUDGED = 100
MILLISECONDS_OF_A_PROBE, MILLISECONDS_OF_A_JUDGEMENT = 300, 20
PROBE = """
from datetime import date
from virtproof.probes.collect import collect
from virtproof.probes.judge import judge
from virtproof.probes.profile import load_profile
judge(collect(), (), load_profile("kvm-host"), today=date(2026, 1, 1))
"""
CLOCK = "\nfrom time import process_time; print(process_time())"


def started(program: str, compiled: str) -> float:
    """Return the processor time in milliseconds of an interpreter that runs ``program``."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", program + CLOCK]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout) * 1000


def probe() -> float:
    """Return the milliseconds of collecting and judging this host, beyond those of the interpreter."""
    with tempfile.TemporaryDirectory() as compiled:
        started(PROBE, compiled)  # the first time Python compiles, as an installation does
        return median(started(PROBE, compiled) - started("", compiled) for _ in range(ROUNDS))


def judgement(text: str) -> tuple[float, float]:
    """Return the milliseconds of one snapshot, read and judged, and how many times that is of reading its JSON."""
    profile, today = load_profile("kvm-host"), date(2026, 1, 1)
    judge(loads(text), (), profile, today=today)
    start = process_time()
    for _ in range(JUDGED):
        judge(loads(text), (), profile, today=today)
    judged = process_time()
    for _ in range(JUDGED):
        json.loads(text)
    read = process_time()
    return (judged - start) * 1000 / JUDGED, (judged - start) / (read - judged)


def main() -> int:
    texts = {name: Path(name).read_text() for name in sys.argv[1:]} or {"this host": dumps(collect())}
    once = probe()
    met = [once <= MILLISECONDS_OF_A_PROBE]
    print(f"{'collect and judge this host':40} {once:7.1f} ms  limit {MILLISECONDS_OF_A_PROBE} ms")
    for name, text in texts.items():
        one, times = judgement(text)
        met.append(one <= MILLISECONDS_OF_A_JUDGEMENT)
        what = f"judge {name}, {len(text) / 1024:.0f} KiB"
        print(f"{what:40} {one:7.1f} ms  limit {MILLISECONDS_OF_A_JUDGEMENT} ms, {times:.0f} times its JSON")
    print("met" if all(met) else "NOT MET")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
