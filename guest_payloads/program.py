"""Boots a payload that is a program of its own, and collects what it reports.

A program starts in long mode with the identity mapping that ``program.inc`` or ``library/crt0.S`` brings, writes 64-bit
observations to its array ``observations`` and says DONE with their number, or FAULT with a vector.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Furnish, Mode, start_state
from virtproof.spec.guest_protocol import REPORT_PORT, REPORT_PORTS, Event
from virtproof.vmm.devices.report import ReportPort
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Exit, Timeout
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

OBSERVATIONS = 512  # 64-bit words in a program's array: one page
MESSAGES = 64  # of a program, each a page at most; what comes later is dropped
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended; ``done`` says that it ended by its own word, ``fault`` is the vector it named instead."""

    observations: tuple[int, ...]
    done: bool
    end: Exit | Timeout
    fault: int | None = None
    messages: tuple[str, ...] = ()


def run(
    engine: Engine,
    name: str,
    *,
    memory: int,
    seconds: float,
    vcpus: int = 1,
    irqchip: bool = False,
    arguments: Sequence[int] = (),
    furnish: Furnish = lambda machine: None,
) -> Ran:
    """Run the program ``name`` in a guest with ``memory`` bytes at address 0.

    ``arguments`` are 64-bit words for its array of that name.  Raises Fault where the engine fails.
    """
    image = images.load(name)
    finished: list[tuple[Event, int]] = []
    messages: list[str] = []

    def on_event(event: Event, argument: int) -> None:
        match event:
            case Event.DONE | Event.FAULT:
                finished.append((event, argument))
                machine.stop()
            case Event.MESSAGE if len(messages) < MESSAGES and "shared" in image.symbols:
                text = machine.memory.read(image["shared"], min(argument, PAGE))
                messages.append(text.decode("ascii", "backslashreplace"))

    cpuid = engine.supported_cpuid()
    with Machine(engine, vcpus=vcpus, ram=memory, cpuid=cpuid, irqchip=irqchip) as machine:
        machine.bus.add_ports(REPORT_PORT, REPORT_PORTS, ReportPort(on_event), "guest protocol")
        furnish(machine)
        machine.memory.load(image["image"], image.data)
        if arguments:
            machine.memory.load(image["arguments"], struct.pack(f"<{len(arguments)}Q", *arguments))
        machine.vcpu.set_special_registers(start_state(Mode.LONG64, image, machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=image["entry"], rsp=image["stack_top"]))
        end = machine.run(seconds)
        event, argument = finished[0] if finished else (None, 0)
        count = min(argument, OBSERVATIONS) if event is Event.DONE else 0
        words = struct.unpack(f"<{count}Q", machine.memory.read(image["observations"], 8 * count))
    fault = argument if event is Event.FAULT else None
    return Ran(words, event is Event.DONE, end, fault, tuple(messages))
