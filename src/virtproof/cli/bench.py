"""``virtproof bench``: what exits and page walks cost on this host."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import ceil, log2
from typing import TYPE_CHECKING

import click

from virtproof.cli import execution
from virtproof.cli.screen import progress, say, table
from virtproof.cli.stop import StopRequest

if TYPE_CHECKING:
    from virtproof.guest_payloads.bench import Cost

SCHEMA = "virtproof.bench/1"
STEPS = 4  # buckets of a histogram to a doubling
BARS, WIDTH = " ▁▂▃▄▅▆▇█", 16


@click.command("bench")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--rounds", type=click.IntRange(10, 4096), default=1000, show_default=True, help="Samples of each.")
@execution.engine_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
def command(names: tuple[str, ...], rounds: int, engine: str, as_json: bool) -> int:
    """Measure what exits, page walks and booting cost.  Nothing is judged.

    NAMES limit it to some operations.  Figures are minimum, median and 99th percentile of a guest's own readings
    of its time stamp counter; the histogram goes from the minimum to the 99th percentile, on a logarithmic scale.

    \b
    Examples:
      virtproof bench
      virtproof bench cpuid pio_out --rounds 4000
      virtproof bench --json | jq '.costs[] | {name, median}'

    Exit code 0, whatever the figures.
    """
    from virtproof.guest_payloads.bench import OPERATIONS, boot, measure
    from virtproof.vmm.engines.opening import open_engine

    known = [operation.name for operation in OPERATIONS] + ["boot"]
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"no operation {unknown[0]!r}; there are: {', '.join(known)}")
    chosen = [operation for operation in OPERATIONS if not names or operation.name in names]
    costs: list[Cost] = []
    with open_engine(engine) as opened, StopRequest() as stop, progress("bench", len(chosen)) as step:
        backend = opened.backend
        for operation in chosen:
            if stop.asked:
                break
            costs.append(measure(opened, operation, rounds))
            step(operation.name)
        if not stop.asked and (not names or "boot" in names):
            costs.append(boot(opened))
    if as_json:
        document = {
            "schema": SCHEMA,
            "complete": not stop.asked,
            "backend": asdict(backend),
            "costs": [figures(cost) for cost in costs],
        }
        click.echo(json.dumps(document, indent=1))
    else:
        if backend.software is not False:
            say(f"note: guests run on {backend.name}: these are the costs of an emulator")
        for line in lines(costs):
            say(line)
    return 130 if stop.asked else 0


def figures(cost: Cost) -> Mapping[str, object]:
    """Return a cost as JSON has it: ``unit`` is "cycles" or "ns", ``ns`` the figures once more in nanoseconds.

    ``histogram`` lists buckets as [lower bound, samples]; each is a quarter of a doubling wide.
    """
    said: dict[str, object] = {"name": cost.name, "title": cost.title}
    if not cost.samples:
        return said | {"reason": cost.reason}
    named = dict(zip(("minimum", "median", "p99"), summary(cost.samples), strict=True))
    ns = {name: to_ns(cost, value) for name, value in named.items()}
    return said | named | {
        "unit": "ns" if cost.ns else "cycles",
        "samples": len(cost.samples),
        "tsc_khz": cost.khz or None,
        "ns": None if None in ns.values() else ns,
        "histogram": [[round(2 ** (step / STEPS)), count] for step, count in sorted(buckets(cost.samples).items())],
    }  # fmt: skip


def summary(samples: Sequence[int]) -> tuple[int, int, int]:
    """Return minimum, median and 99th percentile of sorted samples: each is one of them."""
    return samples[0], samples[(len(samples) - 1) // 2], samples[ceil(0.99 * len(samples)) - 1]


def to_ns(cost: Cost, value: int) -> int | None:
    """Return a figure in nanoseconds; None where the frequency of the counter is unknown."""
    if cost.ns:
        return value
    return round(value * 1e6 / cost.khz) if cost.khz else None


def buckets(samples: Sequence[int]) -> Counter[int]:
    """Return how many samples are in each quarter of a doubling, by its number; what is below 1 counts as 1.

    A guest's counter may be anything, so a sample may be a 64-bit number without a meaning.
    """
    return Counter(int(STEPS * log2(max(sample, 1))) for sample in samples)


def histogram(samples: Sequence[int]) -> str:
    """Return bars from the minimum to the 99th percentile: ``WIDTH`` columns, equally wide on a logarithmic scale."""
    low, _, high = summary(samples)
    first, span = log2(max(low, 1)), log2(max(high, 1)) - log2(max(low, 1))
    columns = [0] * WIDTH
    for sample in samples:
        if sample <= high:
            at = (log2(max(sample, 1)) - first) / span if span else 0.0
            columns[min(int(at * WIDTH), WIDTH - 1)] += 1
    top = max(columns)
    return "".join(BARS[ceil(count / top * (len(BARS) - 1))] for count in columns)


def lines(costs: Sequence[Cost]) -> list[str]:
    """Return the table for people."""
    rows = []
    for cost in costs:
        if not cost.samples:
            rows.append((cost.name, "", "", "", "", "", cost.title + f": not measured, {cost.reason}"))
            continue
        low, middle, high = summary(cost.samples)
        cycles = ("", "", "") if cost.ns else (f"{low}", f"{middle}", f"{high}")
        ns = to_ns(cost, middle)
        rows.append((cost.name, *cycles, "?" if ns is None else f"{ns}", histogram(cost.samples), cost.title))
    return list(table(("operation", "min", "median", "p99", "median ns", "min..p99, log", "what"), rows))
