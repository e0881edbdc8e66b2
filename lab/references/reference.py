"""What a reference is: a whole other machine that runs a table of stimuli in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from virtproof.guest_payloads.table import Entry
from virtproof.guest_payloads.trampoline import Answer, Mode
from virtproof.kvm import CpuidEntry
from virtproof.spec.fault import Fault


class ReferenceMissing(Fault):
    """The emulator is not installed."""


@dataclass(slots=True)
class Walked:
    """What came of a table: an answer for each entry, and what CPUID says there."""

    answers: list[Answer] = field(default_factory=list)
    cpuid: tuple[CpuidEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """The processor model, and MiB of RAM."""

    cpu: str
    memory: int


class Reference(Protocol):
    """A machine without a monitor of ours: nobody answers its accesses, and nobody sees them."""

    @property
    def name(self) -> str:
        """With its version, as the table of differences names it: "bochs 3.0"."""

    @property
    def cpus(self) -> tuple[str, ...]:
        """Processor models, the one to be preferred first."""

    def walk(
        self,
        machine: Machine,
        mode: Mode,
        entries: Sequence[Entry],
        *,
        seconds: float,
        fill: Mapping[int, bytes] | None = None,
    ) -> Walked:
        """Run the table on a machine of that kind.

        An entry counts as hanging after ``seconds``.  ``fill`` is put into memory at physical addresses before.
        Raises Fault where the machine does not start.
        """
