"""What debug exits mean, told by a machine that only says what a processor would: also where none has watchpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from virtproof.vmm import exits
from virtproof.vmm.engine import Translation
from virtproof.vmm.gdb.debuggee import GdbSignal, Kind, Point, Resume, Stop
from virtproof.vmm.gdb.guest import INT3, Guest
from virtproof.vmm.registers import Registers, SpecialRegisters

RUN, STEP = Resume(runs=frozenset({0})), Resume(steps=frozenset({0}))
CODE = 0x1000
SOFTWARE, HARDWARE = Point(Kind.SOFTWARE, CODE), Point(Kind.EXECUTE, CODE + 1)
WORD, ODD = Point(Kind.WRITE, 0x2000, 4), Point(Kind.ACCESS, 0x3001, 3)  # ODD takes two debug registers
BS = 1 << 14


class Vcpu:
    def __init__(self, cr0: int) -> None:
        self.special, self.general = SpecialRegisters(cr0=cr0), Registers(rip=CODE)
        self.asked: list[dict[str, Any]] = []
        self.set: list[Registers] = []

    def debug(self, **asked: Any) -> None:
        self.asked.append(asked)

    def special_registers(self) -> SpecialRegisters:
        return self.special

    def registers(self) -> Registers:
        return self.general

    def set_registers(self, registers: Registers) -> None:
        self.set.append(registers)

    def translate(self, address: int) -> Translation:
        return Translation(True, address, True, True)


class Memory:
    def __init__(self) -> None:
        self.bytes = {CODE: b"\x90"}

    def read(self, address: int, length: int) -> bytes:
        return self.bytes[address]

    def load(self, address: int, data: bytes) -> None:
        self.bytes[address] = data


class Machine:
    def __init__(self, *ends: exits.Exit, cr0: int = 1) -> None:
        self.vcpus, self.memory, self.stopped_by = [Vcpu(cr0)], Memory(), 0
        self.seen: list[bytes] = []  # at CODE while the guest runs
        self._ends: Iterator[exits.Exit] = iter(ends)

    def run(self, seconds: float, *, only: object) -> exits.Exit:
        self.seen.append(self.memory.read(CODE, 1))
        return next(self._ends)


def guest(machine: Machine, *points: Point) -> Guest:
    made = Guest(machine)  # type: ignore[arg-type]
    made.__dict__["watches"] = True  # what cached_property would have found out
    for point in points:
        assert made.insert(0, point)
    return made


def debug(dr6: int) -> exits.Debug:
    return exits.Debug(1, CODE, dr6, 0)


# fmt: off
MET = (
    (0b0001,      HARDWARE),
    (0b0010,      WORD),
    (0b0100,      ODD),
    (0b1000,      ODD),
    (0b0011,      WORD),        # the debugger must know that memory has changed; it meets the breakpoint again
    (BS,          None),
    (BS | 0b0001, None),
    (BS | 0b0010, WORD),
)
# fmt: on


@pytest.mark.parametrize(("dr6", "point"), MET)
def test_dr6_names_what_was_met(dr6: int, point: Point | None) -> None:
    it = guest(Machine(debug(dr6)), HARDWARE, WORD, ODD)
    assert it.run(STEP if dr6 & BS else RUN, 1) == Stop(GdbSignal.TRAP, 0, point)


def test_int3_is_there_while_the_guest_runs_and_only_then() -> None:
    machine = Machine(exits.Debug(3, CODE, 0, 0))
    assert guest(machine, SOFTWARE).run(RUN, 1) == Stop(GdbSignal.TRAP, 0, SOFTWARE)
    assert (machine.seen, machine.memory.bytes) == ([INT3], {CODE: b"\x90"})
    assert machine.vcpus[0].asked[0]["software"]


def test_an_int3_of_the_guest_is_given_to_it() -> None:
    machine = Machine(exits.Debug(3, CODE + 5, 0, 0))
    assert guest(machine, SOFTWARE).run(RUN, 1) is None
    assert machine.vcpus[0].asked[-1] == {"inject_breakpoint": True}


def test_an_instruction_that_cannot_be_emulated_is_a_breakpoint_only_where_there_is_one() -> None:
    failed = exits.InternalError(1, rip=CODE)
    machine = Machine(failed, failed)
    it = guest(machine, SOFTWARE)
    assert it.run(RUN, 1) == Stop(GdbSignal.TRAP, 0, SOFTWARE)
    assert machine.vcpus[0].set == [machine.vcpus[0].general]
    it.remove(SOFTWARE)
    assert it.run(RUN, 1) == failed


def test_in_real_mode_debug_registers_help_as_far_as_they_go() -> None:
    machine = Machine(debug(0b1000), cr0=0)
    assert guest(machine, SOFTWARE, HARDWARE, ODD).run(RUN, 1) == Stop(GdbSignal.TRAP, 0, SOFTWARE)
    (asked,) = machine.vcpus[0].asked
    assert [point.address for point in asked["hardware"]] == [CODE + 1, 0x3001, 0x3002, CODE]


def test_released_the_guest_has_its_debug_registers_back() -> None:
    machine = Machine()
    it = guest(machine, SOFTWARE, HARDWARE, WORD)
    it.release()
    (asked,) = machine.vcpus[0].asked
    assert (asked["software"], asked["hardware"], asked["single_step"]) == (False, [], False)
