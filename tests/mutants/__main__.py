"""``make mutants``: runs the whole table and says who caught what."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict

from tests.mutants.running import Judged, catchers, run_against
from tests.mutants.table import MUTANTS
from virtproof.vmm.engines.opening import EngineUnavailable, open_engine

COARSE = 0.5  # of the cases that were run: a mutant that more of them notice says nothing about any one of them
SHOWN = 6


def main(patterns: list[str]) -> int:
    started, workers = time.monotonic(), len(os.sched_getaffinity(0))
    mutants = [one for one in MUTANTS if not patterns or any(pattern in one.id for pattern in patterns)]
    try:
        with open_engine("software") as engine:
            judged = Judged.by(engine, workers)
            print(f"{len(judged.cases)} cases that the software engine passes, {len(mutants)} mutants", flush=True)
            killers: dict[str, list[str]] = defaultdict(list)
            survived: list[str] = []
            for mutant in mutants:
                cases = [case for case in judged.cases if mutant.concerns(case)]
                caught = catchers(run_against(mutant, cases, engine, workers))
                coarse = len(caught) > COARSE * len(cases) and len(cases) > 2 * SHOWN
                if not caught:
                    survived.append(mutant.id)
                if not coarse:
                    for name in caught:
                        killers[name].append(mutant.id)
                shown = " ".join(caught[:SHOWN]) + (f" and {len(caught) - SHOWN} more" if len(caught) > SHOWN else "")
                missed = [name for name in mutant.caught if name not in caught]
                print(
                    f"{mutant.id}: {mutant.wrong}: {len(caught)} of {len(cases)}{' (coarse)' if coarse else ''}: {shown}"
                )
                if missed:
                    print(f"    not caught by {' '.join(missed)}, as the table says", flush=True)
    except EngineUnavailable as fault:
        print(fault)
        return 4
    print(f"\nsurvived: {' '.join(survived) or 'none'}")
    if not patterns:
        core = [case for case in judged.cases if case.priority == 1]
        unfailed = [case.id for case in core if case.id not in killers]
        print(f"cases of priority 1 that no mutant fails: {len(unfailed)} of {len(core)}")
        for name in unfailed:
            print(f"    {name}")
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
