"""CPU lists in the kernel's notation ("0-3,8"), the way a snapshot names the CPUs that gave one value."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from virtproof.spec.fault import Fault

MAX_CPUS = 8192  # CONFIG_NR_CPUS of the largest distribution kernels


@lru_cache(maxsize=256)  # a snapshot repeats a few lists thousands of times
def parse(text: str) -> tuple[int, ...]:
    """The CPUs of a list, in order.  Raises ``Fault`` for anything but a bounded list of ascending ranges."""
    cpus: list[int] = []
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        if not (_number(first) and (not dash or _number(last))):
            raise Fault("read a CPU list", f"{text[:80]!r} is not of the form 0-3,8")
        low, high = int(first), int(last if dash else first)
        if high >= MAX_CPUS or high < low or (cpus and low <= cpus[-1]):
            raise Fault("read a CPU list", f"{text[:80]!r} is not ascending, or names a CPU above {MAX_CPUS - 1}")
        cpus.extend(range(low, high + 1))
    return tuple(cpus)


def render(cpus: Iterable[int]) -> str:
    """``(0, 1, 2, 8)`` becomes ``0-2,8``."""
    return _render(tuple(cpus))


@lru_cache(maxsize=256)
def _render(cpus: tuple[int, ...]) -> str:
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def join(lists: Iterable[str]) -> str:
    """Several CPU lists as one."""
    return render(cpu for text in lists for cpu in parse(text))


def group(values: Iterable[tuple[int, str]]) -> dict[str, str]:
    """Pairs (CPU, value) as value -> CPU list: what equal CPUs say is stored once."""
    by_value: dict[str, list[int]] = {}
    for cpu, value in values:
        by_value.setdefault(value, []).append(cpu)
    return {value: render(cpus) for value, cpus in by_value.items()}


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5
