"""The geometry of the report's drawings: what exits cost, and network adapters and disk controllers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from virtproof.results import CostResult, DiskResult, NicResult

WIDTH, HEIGHT = 480, 30  # of one row, in units of its view box
BUCKET = 2**0.25  # upper bound of a histogram's bucket, by its lower bound
MAX_BARS = 400  # of one histogram
SHORTEST = 1e-9  # seconds: what says less measured nothing


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle; the origin is the upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class CostRow:
    """One operation's histogram, up to its 99th percentile; ``median`` is the place of a mark."""

    cost: CostResult
    bars: tuple[Bar, ...]
    median: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A power of ten on the axis."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class CostChart:
    """Histograms over one logarithmic axis, so that operations can be compared."""

    unit: str  # "ns", or "cycles" where a frequency is not known
    ticks: tuple[Tick, ...]
    rows: tuple[CostRow, ...]
    missing: tuple[CostResult, ...]  # those that were not measured


@dataclass(frozen=True, slots=True)
class NicRow:
    """Bars of one adapter: packets a second, and exits for each packet, both by the largest."""

    nic: NicResult
    rate: float
    exits: float
    rate_bar: Bar
    exits_bar: Bar


@dataclass(frozen=True, slots=True)
class DiskRow:
    """Bars of one controller: bytes a second by the largest of the same requests, exits for each by the largest."""

    disk: DiskResult
    rate: float  # requests a second
    exits: float
    rate_bar: Bar
    exits_bar: Bar

    @property
    def megabytes(self) -> float:
        return self.rate * self.disk.size / 1e6


def cost_chart(costs: Sequence[CostResult]) -> CostChart | None:
    """The chart; None where nothing was measured.  Figures of a hostile file may be anything."""
    measured = [cost for cost in costs if cost.samples > 0]
    if not measured:
        return None
    # Booting takes a thousand times as long as an exit: on one axis nothing else would have a width.
    drawn = [cost for cost in measured if cost.unit != "ns"] or measured
    in_ns = all(cost.ns(1) is not None for cost in drawn)
    low = min(_place(cost, cost.minimum, in_ns) for cost in drawn)
    high = max(_place(cost, cost.p99, in_ns) for cost in drawn)
    first, last = floor(low), max(ceil(high), floor(low) + 1)

    def x(place: float) -> float:
        return round(min(max((place - first) / (last - first), 0), 1) * WIDTH, 1)

    rows = []
    for cost in measured:
        buckets = [bucket for bucket in cost.histogram if len(bucket) == 2 and bucket[0] <= cost.p99][:MAX_BARS]
        if cost not in drawn:
            buckets = []
        top = max((count for _, count in buckets), default=1)
        bars = []
        for bound, count in buckets:
            left, right = x(_place(cost, bound, in_ns)), x(_place(cost, bound * BUCKET, in_ns))
            height = round(max(count / top, 0) * HEIGHT, 1) if top > 0 else 0.0
            bars.append(Bar(left, round(HEIGHT - height, 1), round(max(right - left, 1), 1), height))
        rows.append(CostRow(cost, tuple(bars), x(_place(cost, cost.median, in_ns))))
    ticks = tuple(Tick(x(power), _power(power, in_ns)) for power in range(first, last + 1))
    return CostChart("ns" if in_ns else "cycles", ticks, tuple(rows), tuple(c for c in costs if c.samples <= 0))


def nic_rows(nics: Sequence[NicResult]) -> tuple[NicRow, ...]:
    """The adapters that carried packets, in their order."""
    carried = [nic for nic in nics if nic.packets > 0 and nic.seconds >= SHORTEST]
    rates = [nic.packets / nic.seconds for nic in carried]
    exits = [max(nic.exits, 0) / nic.packets for nic in carried]
    return tuple(
        NicRow(nic, rate, each, _across(rate, max(rates)), _across(each, max(exits)))
        for nic, rate, each in zip(carried, rates, exits, strict=True)
    )


def disk_rows(disks: Sequence[DiskResult]) -> tuple[DiskRow, ...]:
    """The controllers that have read, in their order.  Large requests are compared with large ones only."""
    measured = [disk for disk in disks if disk.requests > 0 and disk.seconds >= SHORTEST]
    rates = [disk.requests / disk.seconds for disk in measured]
    exits = [max(disk.exits, 0) / disk.requests for disk in measured]
    largest = {
        size: max(rate for disk, rate in zip(measured, rates, strict=True) if disk.size == size)
        for size in {disk.size for disk in measured}
    }
    return tuple(
        DiskRow(disk, rate, each, _across(rate, largest[disk.size]), _across(each, max(exits)))
        for disk, rate, each in zip(measured, rates, exits, strict=True)
    )


def _across(value: float, largest: float) -> Bar:
    return Bar(0, 4, round(value / largest * WIDTH, 1) if largest > 0 else 0, HEIGHT - 8)


def _place(cost: CostResult, value: float, in_ns: bool) -> float:
    """The place of a figure on the logarithmic axis; what is below 1 counts as 1."""
    scale = 1e6 / cost.tsc_khz if in_ns and cost.unit != "ns" and cost.tsc_khz else 1.0
    return log10(max(value * scale, 1))


def _power(power: int, in_ns: bool) -> str:
    if not in_ns:
        return f"{10**power:,}"
    unit, scale = next((unit, scale) for unit, scale in (("s", 9), ("ms", 6), ("µs", 3), ("ns", 0)) if power >= scale)
    return f"{10 ** (power - scale):,} {unit}"
