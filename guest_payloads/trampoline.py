"""Boots a trampoline image with a table on the monitor, and collects what the guest observed.

One guest walks the whole table.  When a stimulus takes the guest down (triple fault, KVM internal error, no answer in
time), the ones before it keep their observations, and a new guest goes on behind it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from virtproof.guest_payloads import images
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.table import CAPACITY, Entry, Observation
from virtproof.spec.guest_protocol import HOST_PORT, REPORT_PORT, REPORT_PORTS, Event
from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.vmm import modes
from virtproof.vmm.devices.report import ReportPort
from virtproof.vmm.engine import Engine
from virtproof.vmm.events import Clock
from virtproof.vmm.exits import Exit, Timeout
from virtproof.vmm.machine import Irqchip, Machine
from virtproof.vmm.registers import Registers, SpecialRegisters

LOW_MEMORY = 0xA0000  # bytes of RAM at 0; above it a PC has its hole for video memory and ROMs


class Mode(StrEnum):
    """The mode a guest runs in; the value is the trampoline's name."""

    REAL16 = "real16"
    VM86 = "vm86"
    PROT16 = "prot16"
    PROT32 = "prot32"
    PSE32 = "pse32"
    PAE32 = "pae32"
    COMPAT32 = "compat32"
    LONG64 = "long64"


class Initial(NamedTuple):
    """Control registers as a trampoline starts; what stimuli change is put back to these."""

    cr0: Cr0
    cr4: Cr4
    efer: Efer


_PROTECTED = Cr0(0).but(pe=1, et=1, ne=1, wp=1)
_LONG = Efer(0).but(nxe=1, lme=1, lma=1)
# fmt: off
INITIAL = {
    Mode.REAL16:   Initial(Cr0(0).but(et=1),     Cr4(0),            Efer(0)),
    Mode.VM86:     Initial(_PROTECTED,           Cr4(0),            Efer(0)),
    Mode.PROT16:   Initial(_PROTECTED,           Cr4(0),            Efer(0)),
    Mode.PROT32:   Initial(_PROTECTED,           Cr4(0),            Efer(0)),
    Mode.PSE32:    Initial(_PROTECTED.but(pg=1), Cr4(0).but(pse=1), Efer(0)),
    Mode.PAE32:    Initial(_PROTECTED.but(pg=1), Cr4(0).but(pae=1), Efer(0).but(nxe=1)),
    Mode.COMPAT32: Initial(_PROTECTED.but(pg=1), Cr4(0).but(pae=1), _LONG),
    Mode.LONG64:   Initial(_PROTECTED.but(pg=1), Cr4(0).but(pae=1), _LONG),
}
# fmt: on


class Access(NamedTuple):
    """One port or memory access that reached the monitor: ``kind`` is "pio" or "mmio", ``size`` in bytes."""

    kind: str
    address: int
    size: int
    is_write: bool
    value: int

    def __str__(self) -> str:
        arrow = "<-" if self.is_write else "->"
        return f"{self.kind} {self.address:#x} {arrow} {self.value:#0{2 + 2 * self.size}x}"


@dataclass(slots=True)
class Answer:
    """What became of one stimulus: an observation, or the exit that ended the guest instead."""

    observation: Observation | None = None
    end: Exit | Timeout | None = None
    registers: Registers | None = None  # of the vCPU where ``end`` is set
    fault: int | None = None  # vector of an exception in the walker itself
    accesses: list[Access] = field(default_factory=list)


Furnish = Callable[[Machine], None]


def start_state(mode: Mode, image: Image, reset: SpecialRegisters) -> SpecialRegisters:
    """The special registers with which ``image`` is entered."""
    match mode:
        case Mode.REAL16:
            state = modes.real16(reset)
        case Mode.VM86 | Mode.PROT16 | Mode.PROT32:
            state = modes.prot32(reset)
        case Mode.PSE32:
            state = replace(modes.prot32(reset), cr3=image["pd"])
        case Mode.PAE32:
            state = modes.pae32(reset, image["pdpt"])
        case Mode.COMPAT32 | Mode.LONG64:
            state = modes.long64(reset, image["pml4"])
    cr0, cr4, efer = INITIAL[mode]
    return replace(state, cr0=int(cr0), cr4=int(cr4), efer=int(efer))


def walk(
    engine: Engine,
    mode: Mode,
    entries: Sequence[Entry],
    *,
    seconds: float,
    irqchip: bool | Irqchip = False,
    clock: Clock | None = None,
    furnish: Furnish = lambda machine: None,
) -> list[Answer]:
    """Run every entry and return an answer for each.

    An entry counts as hanging after ``seconds`` at the least, and twice as many at the most.  ``clock`` is the time of
    the machine's devices; ``furnish`` adds memory and devices to each machine before it runs.
    Raises ``BuildError`` where the image is missing, and Fault where the engine fails.
    """
    answers: list[Answer] = []
    while len(answers) < len(entries):
        rest = entries[len(answers) : len(answers) + CAPACITY]
        answers += _walk_once(engine, mode, rest, seconds, irqchip, clock, furnish)
    return answers


def _walk_once(
    engine: Engine,
    mode: Mode,
    entries: Sequence[Entry],
    seconds: float,
    irqchip: bool | Irqchip,
    clock: Clock | None,
    furnish: Furnish,
) -> list[Answer]:
    """Run one guest; the answers end with the entry that took it down, if one did."""
    image = images.load(mode.value)
    answers: list[Answer] = []
    finished: list[tuple[Event, int]] = []

    def on_event(event: Event, argument: int) -> None:
        if event is Event.START:
            if argument == len(answers) < len(entries):
                answers.append(Answer())
            else:  # a stimulus has broken the walker, or says so itself
                machine.stop()
        elif event in (Event.DONE, Event.FAULT):
            finished.append((event, argument))
            machine.stop()

    def trace(kind: str, address: int, size: int, is_write: bool, value: int) -> None:
        if answers and not (kind == "pio" and address in (REPORT_PORT, HOST_PORT)):
            answers[-1].accesses.append(Access(kind, address, size, is_write, value))

    cpuid = engine.supported_cpuid()
    with Machine(engine, ram=LOW_MEMORY, cpuid=cpuid, irqchip=irqchip, trace=trace, clock=clock) as machine:
        machine.bus.add_ports(REPORT_PORT, REPORT_PORTS, ReportPort(on_event), "guest protocol")
        furnish(machine)
        memory = machine.memory
        memory.load(image["image"], image.data)
        memory.load(image["count"], len(entries).to_bytes(4, "little"))
        table = image["table"]
        memory.load(table, b"".join(map(bytes, entries)))
        machine.vcpu.set_special_registers(start_state(mode, image, machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=image["entry"], rsp=image["walker_stack_top"] & 0xFFFF))
        end = machine.run(seconds)
        reached = 1
        while isinstance(end, Timeout) and len(answers) > reached:  # slow, but it gets on
            reached = len(answers)
            end = machine.run(seconds)
        size = ctypes.sizeof(Entry)
        for n, answer in enumerate(answers):
            seen = Entry.from_buffer_copy(memory.read(table + n * size, size)).observation
            if seen.answered:
                answer.observation = seen
        if not finished or finished[-1][0] is Event.FAULT:
            answers = answers or [Answer()]
            last = answers[-1]
            last.end, last.registers = end, machine.vcpu.registers()
            last.fault = finished[-1][1] if finished else None
    return answers
