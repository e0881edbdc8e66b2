"""Boots the guest of a row: for the executor, and for host scripts that want to act while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Literal, NamedTuple

from virtproof.conformance.case import (
    Act,
    Answers,
    Case,
    Contents,
    Elapse,
    HostScript,
    Program,
    Receive,
    Row,
    SendMsi,
    SendNmi,
    SetLine,
)
from virtproof.conformance.compare import compare, completed, mnemonic
from virtproof.conformance.encode import encode, resolve
from virtproof.guest_payloads import images, program
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.program import Ran
from virtproof.guest_payloads.table import Observation, Phase
from virtproof.guest_payloads.trampoline import Access, Answer, walk
from virtproof.results import Check
from virtproof.spec import guest_protocol
from virtproof.vmm.devices.serial import Serial
from virtproof.vmm.engine import Engine
from virtproof.vmm.events import ManualClock
from virtproof.vmm.exits import Timeout
from virtproof.vmm.machine import Machine

HOST_PORT = guest_protocol.HOST_PORT


class GuestStopped(Exception):
    """A host script's guest gave no answer; the text says how it ended."""


class Inapplicable(Exception):
    """A host script's rule is about another kind of host; the text says why."""


class Booted(NamedTuple):
    """What came of a row's guest; ``sent`` is its serial output."""

    image: Image
    answer: Answer
    sent: bytes


Calls = Mapping[int, Callable[[Machine], None]]


def boot(
    row: Row,
    engine: Engine,
    *,
    furnish: Callable[[Machine], None] = lambda machine: None,
    calls: Calls | None = None,
) -> Booted:
    """Run the row's guest once.

    ``furnish`` adds to the machine before it runs.  ``calls`` maps a byte to what the host does when the guest writes
    it to ``HOST_PORT``, while the guest waits; they go before the row's own acts.
    """
    image = images.load(row.mode.value)
    sent = bytearray()
    clock = ManualClock()

    def prepare(machine: Machine) -> None:
        for ram in row.ram:
            machine.memory.add(ram.address, ram.length)
        for answers in row.answers:
            add = machine.bus.add_ports if answers.kind == "pio" else machine.bus.add_mmio
            if isinstance(answers, Contents):
                add(answers.address, len(answers.data), _Filled(answers), "contents")
            else:
                add(answers.address, answers.length, _Scripted(answers), "answers")
        serial = machine.add_serial(transmit=sent.append) if row.serial else None
        acts = {n: _perform(act, serial, clock) for n, act in enumerate(row.acts)}
        machine.bus.add_ports(HOST_PORT, 1, _HostCalls(machine, acts | dict(calls or {})), "host calls")
        furnish(machine)
        for address, value in row.fill.items():
            machine.memory.load(resolve(address, image), value.to_bytes(8, "little"))

    answer = walk(
        engine, row.mode, [encode(row, image)], seconds=row.seconds, irqchip=row.irqchip, clock=clock, furnish=prepare
    )[0]
    return Booted(image, answer, bytes(sent))


def boot_together(rows: Sequence[Row], engine: Engine, *, seconds: float) -> Iterator[Booted]:
    """Run rows of one mode that ask for nothing of their machine, in as few guests as they leave alive.

    A row that has not ended after ``seconds``, or twice as many, counts as hanging.
    """
    mode = rows[0].mode
    image = images.load(mode.value)

    def prepare(machine: Machine) -> None:
        machine.bus.add_ports(HOST_PORT, 1, _HostCalls(machine, {}), "host calls")

    entries = [encode(row, image) for row in rows]
    for answer in walk(engine, mode, entries, seconds=seconds, clock=ManualClock(), furnish=prepare):
        yield Booted(image, answer, b"")


def needs_vcpus(engine: Engine, number: int) -> None:
    """Raise ``Inapplicable`` where a guest of the engine has fewer processors."""
    if number > engine.max_vcpus:
        raise Inapplicable(
            f"the case needs {number} processors, and a guest of the {engine.name} engine has {engine.max_vcpus}"
        )


def run_program(
    case: Program,
    engine: Engine,
    *,
    furnish: Callable[[Machine], None] = lambda machine: None,
    calls: Calls | None = None,
) -> Ran:
    """Run a program once.

    ``furnish`` adds to the machine before it runs.  ``calls`` maps a byte to what the host does when the program writes
    it to ``HOST_PORT``, while that vCPU waits.  Raises ``Inapplicable`` where the engine has not so many vCPUs.
    """
    needs_vcpus(engine, case.vcpus)
    image = images.load(case.image)
    clock = ManualClock()
    acts = {n: _perform(act, None, clock) for n, act in enumerate(case.acts)}

    def prepare(machine: Machine) -> None:
        furnish(machine)
        machine.bus.add_ports(HOST_PORT, 1, _HostCalls(machine, acts | dict(calls or {})), "host calls")

    return program.run(
        engine,
        case.image,
        memory=case.memory,
        seconds=case.seconds,
        vcpus=case.vcpus,
        irqchip=case.irqchip,
        pit=case.pit,
        arguments=[resolve(value, image) for value in case.arguments],
        furnish=prepare,
    )


def observe(
    row: Row,
    engine: Engine,
    *,
    furnish: Callable[[Machine], None] = lambda machine: None,
    calls: Calls | None = None,
) -> tuple[Observation, list[Access]]:
    """Run a host script's guest, which must complete; return what it observed and the accesses that came out.

    Raises ``GuestStopped`` where it did not complete.
    """
    image, answer, _ = boot(row, engine, furnish=furnish, calls=calls)
    seen = answer.observation
    if seen is None:
        raise GuestStopped(how_it_ended(answer))
    if not completed(row, image, seen):
        raise GuestStopped(f"the guest took {mnemonic(seen.vector)} at {seen.rip:#x}, CR2 {seen.cr2:#x}")
    return seen, answer.accesses


def check(
    row: Row,
    engine: Engine,
    *,
    furnish: Callable[[Machine], None] = lambda machine: None,
    calls: Calls | None = None,
) -> tuple[Check, ...]:
    """Run a host script's guest and compare what it observed with what the row expects.

    Raises ``GuestStopped`` where it gave no answer.
    """
    image, answer, _ = boot(row, engine, furnish=furnish, calls=calls)
    seen = answer.observation
    if seen is None:
        raise GuestStopped(how_it_ended(answer))
    if seen.phase != Phase.RUN:
        raise GuestStopped(f"the set-up was refused: {mnemonic(seen.vector)} at {seen.rip:#x}")
    return compare(row, image, seen, answer.accesses)


def hosted(row: Row, *, furnish: Callable[[Machine], None] = lambda machine: None, calls: Calls | None = None) -> Case:
    """The case whose guest is ``row``, and in which the host acts by ``furnish`` and ``calls``."""
    script = partial(check, row, furnish=furnish, calls=calls)
    said = {field.name: getattr(row, field.name) for field in fields(Case)}
    return HostScript(script=script, **said)


def check_program(
    case: Program,
    engine: Engine,
    *,
    furnish: Callable[[Machine], None] = lambda machine: None,
    calls: Calls | None = None,
) -> Iterator[Check]:
    """Run a host script's program and compare what it observed.  Raises ``GuestStopped`` where it did not end."""
    ran = run_program(case, engine, furnish=furnish, calls=calls)
    if not ran.done:
        raise GuestStopped(str(ran.end) if ran.fault is None else f"{mnemonic(ran.fault)} that nobody expected")
    want, saw = (" ".join(f"{v:#x}" for v in values) or "none" for values in (case.observations, ran.observations))
    yield Check("observations", want, saw, want == saw)


def kick_at_every_access(machine: Machine) -> None:
    """Interrupt the guest after each of its accesses; ``furnish`` of a host script about what KVM does then."""
    record = machine.bus.trace

    def trace(kind: Literal["pio", "mmio"], address: int, size: int, is_write: bool, value: int) -> None:
        if record is not None:
            record(kind, address, size, is_write, value)
        machine.vcpu.kick()

    machine.bus.trace = trace


def how_it_ended(answer: Answer) -> str:
    """Why there is no observation, in words."""
    if answer.fault is not None:
        return f"{mnemonic(answer.fault)} outside the stimulus"
    match answer.end:
        case None:
            return "the guest walked on without an observation"
        case Timeout(seconds=limit):
            return f"the guest gave no answer within {limit:g} s"
        case end:
            return str(end)


def _perform(act: Act, serial: Serial | None, clock: ManualClock) -> Callable[[Machine], None]:
    """What the host does for an act.  Raises ValueError where the case has not what it needs."""

    def elapse(machine: Machine, ns: int) -> None:
        clock.advance(ns)
        machine.events.poll()

    match act:
        case Receive(data) if serial is not None:
            return lambda machine: serial.receive(data)
        case Elapse(ns):
            return lambda machine: elapse(machine, ns)
        case SetLine(gsi, level):
            return lambda machine: machine.interrupts.set_line(gsi, level)
        case SendMsi(address, message):
            return lambda machine: machine.interrupts.send_msi(address, message)
        case SendNmi(vcpu):
            return lambda machine: machine.nmi(vcpu)
    raise ValueError(f"{act} in a row without a serial port")


class _Scripted:
    """A device that answers reads with given values and takes any write."""

    def __init__(self, answers: Answers) -> None:
        self._values: Iterator[int] = iter(answers.values)
        self._value = 0

    def read(self, offset: int, size: int) -> int:
        self._value = next(self._values, self._value)
        return self._value & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        pass


class _Filled:
    """A device that shows its bytes and takes any write."""

    def __init__(self, contents: Contents) -> None:
        self._data = contents.data

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._data[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        pass


class _HostCalls:
    """A port by which a guest asks its host script to act."""

    def __init__(self, machine: Machine, calls: Calls) -> None:
        self._machine, self._calls = machine, calls

    def read(self, offset: int, size: int) -> int:
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        call = self._calls.get(value)
        if call is not None:
            call(self._machine)
