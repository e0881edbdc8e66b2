"""What CPUID answers a guest, read by a guest: for host scripts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from virtproof.conformance.case import At, Program
from virtproof.conformance.guest import Calls, GuestStopped, run_program
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import CpuidEntry
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

Leaf = tuple[int, int]  # and subleaf
Change = Callable[[tuple[CpuidEntry, ...]], Iterable[CpuidEntry]]


class Answer(NamedTuple):
    """Four registers of 32 bits."""

    eax: int
    ebx: int
    ecx: int
    edx: int

    def __str__(self) -> str:
        return " ".join(f"{value:08x}" for value in self)


class Dump(NamedTuple):
    """``table`` is what the engine says it answers, ``answers`` what the guest read."""

    table: tuple[CpuidEntry, ...]
    answers: dict[Leaf, Answer]


def answer_of(entry: CpuidEntry) -> Answer:
    return Answer(entry.eax, entry.ebx, entry.ecx, entry.edx)


def dump(engine: Engine, leaves: Iterable[Leaf] | None = None, change: Change | None = None) -> Dump:
    """Read ``leaves`` in a guest, all of its table where that is None; ``change`` makes the table another before.

    Raises GuestStopped where the guest gave no answer.
    """
    tables: list[tuple[CpuidEntry, ...]] = []
    asked: list[Leaf] = list(leaves or ())

    def furnish(machine: Machine) -> None:
        if change is not None:
            machine.vcpu.set_cpuid(change(machine.vcpu.cpuid()))
        tables.append(machine.vcpu.cpuid())
        asked.extend((entry.function, entry.index) for entry in tables[0] if leaves is None)

    def requests(machine: Machine) -> None:
        write_requests(machine, [leaf | subleaf << 32 for leaf, subleaf in asked])
        machine.memory.load(images.load("cpuid")["arguments"] + 8, len(asked).to_bytes(8, "little"))

    words = run(engine, "dump", 0, furnish=furnish, calls={0: requests})
    answers = (Answer(*_halves(words[n]), *_halves(words[n + 1])) for n in range(0, len(words), 2))
    return Dump(tables[0], dict(zip(asked, answers, strict=False)))


def run(
    engine: Engine,
    test: str,
    *arguments: int,
    furnish: Callable[[Machine], None] = lambda machine: None,
    calls: Calls | None = None,
) -> tuple[int, ...]:
    """Run a test of the program and return what it observed.  Raises GuestStopped."""
    program = Program(
        id=test, title=test, area="cpuid", mode=Mode.LONG64, cite=(), image="cpuid", irqchip=True, seconds=10.0,
        arguments=(At(test), *arguments), observations=(),
    )  # fmt: skip
    ran = run_program(program, engine, furnish=furnish, calls=calls)
    if not ran.done:
        raise GuestStopped(str(ran.end) if ran.fault is None else f"vector {ran.fault} that nobody expected")
    return ran.observations


def write_requests(machine: Machine, words: Sequence[int]) -> None:
    """Answer act 0 of the program."""
    machine.memory.load(images.load("cpuid")["requests"], struct.pack(f"<{len(words)}Q", *words))


def _halves(word: int) -> tuple[int, int]:
    return word & 0xFFFF_FFFF, word >> 32
