"""Machines that are ready to run a few bytes of code, for the tests of the monitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers, SpecialRegisters

CODE = 0x1000
STACK = 0x8000
PML4, PDPT, PD = 0x2000, 0x3000, 0x4000  # 4 GiB, of which the first and last 2 MiB of each GiB are mapped to themselves
SECONDS = 60.0  # far more than any guest here needs

Enter = Callable[[SpecialRegisters], SpecialRegisters]


def machine(engine: Engine, enter: Enter, code: bytes, *, registers: Registers | None = None, **asked: Any) -> Machine:
    """Return a machine about to execute ``code`` at CODE in the mode that ``enter`` sets up."""
    made = Machine(engine, **asked)
    try:
        made.memory.load(CODE, code)
        made.memory.load(PML4, entry(PDPT | 3))
        for gib in range(4):
            directory = PD + gib * 0x1000
            made.memory.load(PDPT + 8 * gib, entry(directory | 3))
            for slot in (0, 511):
                made.memory.load(directory + 8 * slot, entry(gib << 30 | slot << 21 | 0x83))
        made.vcpu.set_special_registers(enter(made.vcpu.special_registers()))
        state = registers or Registers()
        state.rip, state.rsp = CODE, STACK
        made.vcpu.set_registers(state)
    except BaseException:
        made.close()
        raise
    return made


def entry(value: int) -> bytes:
    return value.to_bytes(8, "little")


def long64(reset: SpecialRegisters) -> SpecialRegisters:
    return modes.long64(reset, PML4)


class Recorder:
    """A device that answers reads from a list and remembers every access: (offset, size, value or None)."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.accesses: list[tuple[int, int, int | None]] = []

    def read(self, offset: int, size: int) -> int:
        self.accesses.append((offset, size, None))
        return self.answers.pop(0)

    def write(self, offset: int, size: int, value: int) -> None:
        self.accesses.append((offset, size, value))
