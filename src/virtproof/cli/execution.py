"""Cases over the worker pool, with progress on a terminal and ctrl-C in the middle."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from virtproof.cli.screen import progress
from virtproof.cli.stop import StopRequest
from virtproof.results import CaseResult, Verdict

if TYPE_CHECKING:
    from virtproof.conformance.case import Case
    from virtproof.vmm.engine import Engine

# Each worker keeps one guest busy; more of them than CPUs only makes guests time out.
DEFAULT_WORKERS = min(2, os.cpu_count() or 1)

workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=DEFAULT_WORKERS,
    show_default=True,
    metavar="N",
    help="Guests that run at the same time.",
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["auto", "kvm", "software"]),
    default="auto",
    show_default=True,
    help="What executes the guests; auto: KVM where it can be used, else the software engine.",
)

patience_option = click.option(
    "--patience",
    type=click.FloatRange(1, 1000),
    default=1.0,
    metavar="N",
    help="Give guests N times as long before they count as hanging: for hosts that are slow, or busy.",
)


def run(cases: Sequence[Case], *, engine: Engine, workers: int, stop: StopRequest) -> tuple[CaseResult, ...]:
    """Run ``cases`` and return their results in the order given; fewer when asked to stop."""
    from virtproof.conformance.pool import run_cases

    done: dict[str, CaseResult] = {}
    with progress("guests", len(cases)) as step:
        for result in stop.until_asked(run_cases(cases, engine=engine, workers=workers)):
            done[result.id] = result
            step(f"{result.verdict} {result.id}")
    return tuple(done[case.id] for case in cases if case.id in done)


def count(results: Sequence[CaseResult]) -> dict[str, dict[str, int]]:
    """Return area -> verdict -> number, verdicts in their order of definition."""
    areas = sorted({result.area for result in results})
    numbers = Counter((result.area, result.verdict) for result in results)
    return {area: {v.value: numbers[area, v] for v in Verdict if numbers[area, v]} for area in areas}
