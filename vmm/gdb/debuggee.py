"""What a debugging session is about, as the session sees it: vCPUs, memory, breakpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from virtproof.vmm.engine import Translation
from virtproof.vmm.gdb.registers import State


class Kind(IntEnum):
    """The kinds of breakpoints and watchpoints, as numbered in Z and z packets."""

    SOFTWARE = 0
    EXECUTE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


class Point(NamedTuple):
    """A breakpoint, or a watchpoint of ``length`` bytes, at a linear address."""

    kind: Kind
    address: int
    length: int = 1


class GdbSignal(IntEnum):
    """Why a debugger is told that a vCPU stopped, in GDB's numbers of signals."""

    INT = 2
    ILL = 4
    TRAP = 5
    ABRT = 6
    SEGV = 11
    TERM = 15


class Stop(NamedTuple):
    """The machine stands still, because of ``vcpu``; ``point`` is what it ran into, if that is why."""

    signal: GdbSignal
    vcpu: int = 0
    point: Point | None = None


class Resume(NamedTuple):
    """Which vCPUs are to execute one instruction, and which are to run; the others stay where they are."""

    steps: frozenset[int] = frozenset()
    runs: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Killed:
    """The debugger ended the guest."""

    def __str__(self) -> str:
        return "killed by the debugger"


class Debuggee(Protocol):
    """A machine that stands still.  Every method may raise Fault."""

    @property
    def vcpus(self) -> int: ...

    def about(self, vcpu: int) -> str:
        """Return a few words for the list of threads."""

    def state(self, vcpu: int) -> State: ...
    def set_state(self, vcpu: int, state: State) -> None: ...

    def read(self, vcpu: int, address: int, length: int) -> bytes:
        """Read at a linear address, by the vCPU's page tables, what can be read of ``length`` bytes.

        Raises Fault where that is nothing.
        """

    def write(self, vcpu: int, address: int, data: bytes) -> None:
        """Write at a linear address; all of it or nothing."""

    def translate(self, vcpu: int, address: int) -> Translation: ...

    def insert(self, vcpu: int, point: Point) -> bool:
        """Set a breakpoint, on all vCPUs, by the page tables of one; False where there is none of its kind."""

    def remove(self, point: Point) -> None: ...
    def remove_all(self) -> None: ...
    def statistics(self, vcpu: int) -> Mapping[str, int | list[int]]: ...
