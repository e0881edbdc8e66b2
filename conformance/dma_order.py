"""In which order a device writes guest memory and interrupts, as a processor that looks at the same time would see it.

A guest cannot tell by itself: until the access that set the device to work has come back, it does not look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from virtproof.conformance.device_script import Host, Step, Steps
from virtproof.results import Check
from virtproof.vmm.pci.function import Function, Interrupts, Memory


class Place(NamedTuple):
    """Bytes of guest memory, and what a driver takes them for."""

    name: str
    address: int
    length: int

    def has(self, address: int, length: int) -> bool:
        return address < self.address + self.length and self.address < address + length


INTERRUPT = Place("the interrupt", 0, 0)  # the pin that rises, or a message


def in_order(function: Callable[[Any], Function], places: tuple[Place, ...], *steps: Step | Steps) -> Steps:
    """``steps``, in which the device writes all of each place before it begins with the next.

    ``function`` finds it in what the case has built.  A place may be written in several pieces, but must be written.
    """
    seen: list[Place] = []
    return (
        Host(lambda built: _watch(function(built), places, seen)),
        steps,
        Host(lambda built: _judge(places, seen)),
    )


def _watch(function: Function, places: tuple[Place, ...], seen: list[Place]) -> None:
    seen.clear()
    memory, interrupts = function._memory, function._interrupts  # what its board has connected it to
    assert memory is not None
    assert interrupts is not None
    function.connect(_Memory(memory, places, seen), _Interrupts(interrupts, seen))


class _Memory:
    """Guest memory, with a list of what is written."""

    def __init__(self, memory: Memory, places: tuple[Place, ...], seen: list[Place]) -> None:
        self.read = memory.read
        self._write, self._places, self._seen = memory.write, places, seen

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        self._seen += [place for place in self._places if place.has(gpa, len(data))]
        self._write(gpa, data)


class _Interrupts:
    """Where interrupts go, with a list of them."""

    def __init__(self, interrupts: Interrupts, seen: list[Place]) -> None:
        self._interrupts, self._seen = interrupts, seen

    def set_intx(self, level: bool) -> None:
        self._seen += [INTERRUPT] * level
        self._interrupts.set_intx(level)

    def send_msi(self, address: int, data: int) -> None:
        self._seen.append(INTERRUPT)
        self._interrupts.send_msi(address, data)


def _judge(places: tuple[Place, ...], seen: list[Place]) -> Iterator[Check]:
    came = ", ".join(_without_repeats(place.name for place in seen)) or "nothing"
    for place in places:
        yield Check(f"{place.name} came", "True", str(place in seen), place in seen)
    for first, then in pairwise(places):
        right = first in seen and then in seen and _last(seen, first) < seen.index(then)
        yield Check(f"{first.name} before {then.name}", "True", "True" if right else came, right)


def _last(seen: list[Place], place: Place) -> int:
    return len(seen) - 1 - seen[::-1].index(place)


def _without_repeats(names: Iterable[str]) -> Iterator[str]:
    before = ""
    for name in names:
        if name != before:
            yield name
        before = name
