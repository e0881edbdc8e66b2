"""``virtproof bench``: what exits, page walks, packets and reads of disks cost on this host."""

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
from virtproof.results import CostResult, DiskResult, NicResult

if TYPE_CHECKING:
    from virtproof.guest_payloads.adapters import Carried
    from virtproof.guest_payloads.bench import Cost, Operation
    from virtproof.guest_payloads.controllers import Served
    from virtproof.vmm.engine import Engine

SCHEMA = "virtproof.bench/1"
ROUNDS = 1000
STEPS = 4  # buckets of a histogram to a doubling
BARS, WIDTH = " ▁▂▃▄▅▆▇█", 16


@click.command("bench")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--rounds", type=click.IntRange(10, 4096), default=ROUNDS, show_default=True, help="Samples of each.")
@execution.engine_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
def command(names: tuple[str, ...], rounds: int, engine: str, as_json: bool) -> int:
    """Measure what exits, page walks, booting, packets and reads of disks cost.  Nothing is judged.

    NAMES limit it to some operations, network adapters or disk controllers.  Figures of operations are minimum, median
    and 99th percentile of a guest's own readings of its time stamp counter; the histogram goes from the minimum to the
    99th percentile, on a logarithmic scale.

    \b
    Examples:
      virtproof bench
      virtproof bench cpuid pio_out --rounds 4000
      virtproof bench e1000 vmxnet3 virtio-net
      virtproof bench 53c1030 pvscsi virtio-blk
      virtproof bench --json | jq '.costs[] | {name, median}'

    Exit code 0, whatever the figures.
    """
    from virtproof.guest_payloads.adapters import ADAPTERS
    from virtproof.guest_payloads.bench import OPERATIONS
    from virtproof.guest_payloads.controllers import CONTROLLERS
    from virtproof.vmm.engines.opening import open_engine

    models = (*ADAPTERS, *CONTROLLERS)
    known = [*(operation.name for operation in OPERATIONS), "boot", *(model.name for model in models)]
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"no operation {unknown[0]!r}; there are: {', '.join(known)}")
    chosen = [operation for operation in OPERATIONS if not names or operation.name in names]
    with open_engine(engine) as opened, StopRequest() as stop:
        backend = opened.backend
        costs = measured(opened, chosen, rounds, stop, booting=not names or "boot" in names)
        packets = carried(opened, stop, names)
        reads = served(opened, stop, names)
    if as_json:
        document = {
            "schema": SCHEMA,
            "complete": not stop.asked,
            "backend": asdict(backend),
            "costs": [figures(cost) for cost in costs],
            "nics": [asdict(nic_result(one)) for one in packets],
            "disks": [asdict(disk_result(one)) for one in reads],
        }
        click.echo(json.dumps(document, indent=1))
    else:
        if backend.software is not False:
            say(f"note: guests run on {backend.name}: these are the costs of an emulator")
        for line in (*lines(costs), *nic_lines(packets), *disk_lines(reads)):
            say(line)
    return 130 if stop.asked else 0


def measured(
    engine: Engine, operations: Sequence[Operation], rounds: int, stop: StopRequest, *, booting: bool = True
) -> list[Cost]:
    """Measure ``operations`` and what booting costs; fewer when asked to stop."""
    from virtproof.guest_payloads.bench import boot, measure

    costs: list[Cost] = []
    with progress("bench", len(operations)) as step:
        for operation in operations:
            if stop.asked:
                return costs
            costs.append(measure(engine, operation, rounds))
            step(operation.name)
        if booting and not stop.asked:
            costs.append(boot(engine))
    return costs


def carried(engine: Engine, stop: StopRequest, names: Sequence[str] = ()) -> list[Carried]:
    """Let each adapter, or those in ``names``, carry packets; fewer when asked to stop."""
    from virtproof.guest_payloads.adapters import ADAPTERS, WAYS, carry

    rows = [(adapter, way) for way in WAYS for adapter in ADAPTERS if not names or adapter.name in names]
    found: list[Carried] = []
    with progress("packets", len(rows)) as step:
        for adapter, way in rows:
            if stop.asked:
                break
            found.append(carry(engine, adapter, way))
            step(found[-1].name)
    return found


def served(engine: Engine, stop: StopRequest, names: Sequence[str] = ()) -> list[Served]:
    """Read with each controller, or those in ``names``; fewer when asked to stop."""
    from virtproof.guest_payloads.controllers import CONTROLLERS, LOADS, serve

    rows = [(one, load) for load in LOADS for one in CONTROLLERS if not names or one.name in names]
    found: list[Served] = []
    with progress("reads", len(rows)) as step:
        for controller, load in rows:
            if stop.asked:
                break
            found.append(serve(engine, controller, load))
            step(found[-1].name)
    return found


def nic_result(one: Carried) -> NicResult:
    """Return what an adapter has carried as the evidence of a run keeps it."""
    return NicResult(
        name=one.name, title=one.title, reason=one.reason, packets=one.packets, exits=one.exits, seconds=one.seconds
    )


def disk_result(one: Served) -> DiskResult:
    """Return what a controller has read as the evidence of a run keeps it."""
    return DiskResult(
        name=one.name, title=one.title, reason=one.reason,
        requests=one.requests, size=one.load.size, exits=one.exits, seconds=one.seconds,
    )  # fmt: skip


def cost_result(cost: Cost) -> CostResult:
    """Return a cost as the evidence of a run keeps it; each bucket of its histogram is a quarter of a doubling wide."""
    if not cost.samples:
        return CostResult(name=cost.name, title=cost.title, reason=cost.reason)
    minimum, median, p99 = summary(cost.samples)
    return CostResult(
        name=cost.name,
        title=cost.title,
        unit="ns" if cost.ns else "cycles",
        samples=len(cost.samples),
        minimum=minimum,
        median=median,
        p99=p99,
        tsc_khz=cost.khz or None,
        histogram=tuple((round(2 ** (step / STEPS)), count) for step, count in sorted(buckets(cost.samples).items())),
    )


def costs_of(engine: Engine, stop: StopRequest) -> tuple[CostResult, ...]:
    """Measure everything once, for a run's evidence."""
    from virtproof.guest_payloads.bench import OPERATIONS

    return tuple(map(cost_result, measured(engine, OPERATIONS, ROUNDS, stop)))


def nics_of(engine: Engine, stop: StopRequest) -> tuple[NicResult, ...]:
    """Let every adapter carry packets once, for a run's evidence."""
    return tuple(map(nic_result, carried(engine, stop)))


def disks_of(engine: Engine, stop: StopRequest) -> tuple[DiskResult, ...]:
    """Let every controller read once, for a run's evidence."""
    return tuple(map(disk_result, served(engine, stop)))


def figures(cost: Cost) -> Mapping[str, object]:
    """Return a cost as JSON has it: ``unit`` is "cycles" or "ns", ``ns`` the figures once more in nanoseconds.

    ``histogram`` lists buckets as [lower bound, samples]; each is a quarter of a doubling wide.
    """
    one = cost_result(cost)
    if not one.samples:
        return {"name": one.name, "title": one.title, "reason": one.reason}
    named = {"minimum": one.minimum, "median": one.median, "p99": one.p99}
    ns = {name: one.ns(value) for name, value in named.items()}
    said = {name: value for name, value in asdict(one).items() if name not in {*named, "reason", "histogram"}}
    return said | named | {
        "ns": None if None in ns.values() else ns,
        "histogram": [list(bucket) for bucket in one.histogram],
    }  # fmt: skip


def summary(samples: Sequence[int]) -> tuple[int, int, int]:
    """Return minimum, median and 99th percentile of sorted samples: each is one of them."""
    return samples[0], samples[(len(samples) - 1) // 2], samples[ceil(0.99 * len(samples)) - 1]


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
    usual = max((len(cost.samples) for cost in costs if not cost.ns), default=0)
    for cost in costs:
        if not cost.samples:
            rows.append((cost.name, "", "", "", "", "", cost.title + f": not measured, {cost.reason}"))
            continue
        low, middle, high = summary(cost.samples)
        cycles = ("", "", "") if cost.ns else (f"{low}", f"{middle}", f"{high}")
        ns = cost_result(cost).ns(middle)
        fewer = f" ({len(cost.samples)} times)" if not cost.ns and len(cost.samples) < usual else ""
        what = cost.title + fewer
        rows.append((cost.name, *cycles, "?" if ns is None else f"{ns}", histogram(cost.samples), what))
    return list(table(("operation", "min", "median", "p99", "median ns", "min..p99, log", "what"), rows))


def nic_lines(found: Sequence[Carried]) -> list[str]:
    """Return the table of network adapters for people; none without any."""
    rows = []
    for one in found:
        if one.reason:
            rows.append((one.name, "", "", f"{one.title}: not measured, {one.reason}"))
        else:
            rate = f"{one.packets / one.seconds:.0f}"
            rows.append((one.name, f"{one.exits / one.packets:.3f}", rate, one.title))
    return ["", *table(("adapter", "exits/packet", "packets/s", "what"), rows)] if rows else []


def disk_lines(found: Sequence[Served]) -> list[str]:
    """Return the table of disk controllers for people; none without any."""
    rows = []
    for one in found:
        if one.reason:
            rows.append((one.name, "", "", "", f"{one.title}: not measured, {one.reason}"))
        else:
            rate = one.requests / one.seconds
            megabytes = rate * one.load.size / 1e6
            rows.append((one.name, f"{one.exits / one.requests:.3f}", f"{rate:.0f}", f"{megabytes:.1f}", one.title))
    return ["", *table(("controller", "exits/request", "requests/s", "MB/s", "what"), rows)] if rows else []
