"""Boots a payload that is a program of its own, and collects what it reports.

A program starts in long mode with the identity mapping that ``program.inc`` brings, writes 64-bit observations to its
array ``observations`` and says DONE with their number, or FAULT with a vector.
"""

from __future__ import annotations

import struct
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


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended; ``done`` says that it ended by its own word."""

    observations: tuple[int, ...]
    done: bool
    end: Exit | Timeout


def run(engine: Engine, name: str, *, memory: int, seconds: float, furnish: Furnish = lambda machine: None) -> Ran:
    """Run the program ``name`` in a guest with ``memory`` bytes at address 0.  Raises Fault where the engine fails."""
    image = images.load(name)
    finished: list[int] = []

    def on_event(event: Event, argument: int) -> None:
        if event is Event.DONE:
            finished.append(min(argument, OBSERVATIONS))
        if event in (Event.DONE, Event.FAULT):
            machine.stop()

    with Machine(engine, ram=memory, cpuid=engine.supported_cpuid()) as machine:
        machine.bus.add_ports(REPORT_PORT, REPORT_PORTS, ReportPort(on_event), "guest protocol")
        furnish(machine)
        machine.memory.load(image["image"], image.data)
        machine.vcpu.set_special_registers(start_state(Mode.LONG64, image, machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=image["entry"], rsp=image["stack_top"]))
        end = machine.run(seconds)
        count = finished[0] if finished else 0
        words = struct.unpack(f"<{count}Q", machine.memory.read(image["observations"], 8 * count))
    return Ran(words, bool(finished), end)
