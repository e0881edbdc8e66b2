"""``check --repeat``: the same guests again, and which verdicts do not stay the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from virtproof.results import CaseResult, Verdict

# What stands for a case whose verdicts differ: a rule that is broken once is broken.
WEIGHT = (Verdict.PASS, Verdict.SKIP, Verdict.ERROR, Verdict.CRASH, Verdict.FAIL)
LISTED = 50


@dataclass(slots=True)
class Repetitions:
    """The worst result of each case so far, and how often each verdict came."""

    worst: dict[str, CaseResult] = field(default_factory=dict)
    seen: dict[str, Counter[Verdict]] = field(default_factory=dict)

    def add(self, results: Sequence[CaseResult]) -> None:
        """Take the results of one repetition."""
        for result in results:
            self.seen.setdefault(result.id, Counter())[result.verdict] += 1
            known = self.worst.get(result.id)
            if known is None or WEIGHT.index(result.verdict) > WEIGHT.index(known.verdict):
                self.worst[result.id] = result

    @property
    def changing(self) -> dict[str, str]:
        """The cases whose verdict was not always the same -> how often which came."""
        return {name: _tally(seen) for name, seen in self.seen.items() if len(seen) > 1}

    def results(self) -> tuple[CaseResult, ...]:
        """One result for each case; the reason of a changing one says so first."""
        changing = self.changing
        return tuple(
            replace(one, reason=f"changes from run to run: {changing[one.id]}; {one.reason}")
            if one.id in changing
            else one
            for one in self.worst.values()
        )

    def lines(self) -> Iterator[str]:
        """What a person reads on standard error."""
        changing = self.changing
        times = max((seen.total() for seen in self.seen.values()), default=0)
        yield f"{len(changing)} of {len(self.worst)} verdicts changed in {times} repetitions" + ":" * bool(changing)
        for name, tally in [*changing.items()][:LISTED]:
            yield f"  {name}: {tally}"
        if len(changing) > LISTED:
            yield f"  and {len(changing) - LISTED} more"


def _tally(seen: Counter[Verdict]) -> str:
    return ", ".join(f"{seen[verdict]} {verdict}" for verdict in Verdict if seen[verdict])
