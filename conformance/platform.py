"""Scripts that drive the ISA side of a PC.  Its clock stands still but for ``elapse``; what the guest asked is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from virtproof.conformance.case import HostScript
from virtproof.conformance.device_script import Host, In, Out, Step, script
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.vmm.board import Board
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.machine import Machine
from virtproof.vmm.platform import Platform

START = datetime(2026, 11, 22, 16, 45, 10)  # a Sunday
RAM = 64 << 20  # what the machine says it has; its guest uses less


class Bench:
    """The platform of a case and what came of it."""

    def __init__(self, machine: Machine, *, start: datetime = START, ram: int = RAM, **more: Any) -> None:
        self.clock = ManualClock()
        self._loop = EventLoop(self.clock)
        self.machine = machine
        self.resets = 0
        self.slept: list[int] = []
        self.exits: list[int] = []
        self.platform = Platform(
            Board(machine), ram=ram, start=start, reset_machine=self._reset, sleep=self.slept.append,
            exit_machine=self.exits.append, after=self._loop.after, now=self.clock.now, **more,
        )  # fmt: skip

    def elapse(self, ns: int) -> None:
        self.clock.advance(ns)
        self._loop.poll()

    @property
    def timers(self) -> int:
        """How many timers wait."""
        return len([entry for entry in self._loop._heap if entry[2].pending])

    def _reset(self) -> None:
        self.resets += 1


# fmt: off
def outb(port: int, value: int) -> Out:                            return Out(port, 1, value)
def outw(port: int, value: int) -> Out:                            return Out(port, 2, value)
def outl(port: int, value: int) -> Out:                            return Out(port, 4, value)
def inb(port: int, expect: int | None = None, mask: int = 0xFF) -> In:           return In(port, 1, expect, mask)
def inw(port: int, expect: int | None = None, mask: int = 0xFFFF) -> In:         return In(port, 2, expect, mask)
def inl(port: int, expect: int | None = None, mask: int = 0xFFFF_FFFF) -> In:    return In(port, 4, expect, mask)
# fmt: on


def elapse(ns: int) -> Host:
    """So much time passes for the devices."""
    return Host(lambda bench: bench.elapse(ns))


def act(what: Callable[[Bench], object]) -> Host:
    """The host does something to the devices."""

    def do(bench: Bench) -> Iterable[Check]:
        what(bench)
        return ()

    return Host(do)


def seen(what: str, value: Callable[[Bench], object], expect: object) -> Host:
    """The host must see this."""

    def look(bench: Bench) -> Iterable[Check]:
        found = value(bench)
        yield Check(what, str(expect), str(found), found == expect)

    return Host(look)


def resets(count: int) -> Host:
    """The guest must have asked for so many resets so far."""
    return seen("resets", lambda bench: bench.resets, count)


def family(area: str, *cite: Cite, machine: dict[str, Any] | None = None, **defaults: Any) -> Callable[..., HostScript]:
    """A maker of cases: id, title, steps; ``machine`` is what the ``Bench`` is told."""
    usual = machine or {}

    def of(id: str, title: str, *steps: Step, machine: dict[str, Any] | None = None, **more: Any) -> HostScript:  # noqa: A002
        def build(made: Machine) -> Bench:
            return Bench(made, **(usual if machine is None else machine))

        return script(id, title, area, cite, build, *steps, **(defaults | more))

    return of
