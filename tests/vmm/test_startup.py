"""INIT and SIPI as the monitor carries them out, with no vCPU behind them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import cast

import pytest

from virtproof.vmm.engine import Vcpu
from virtproof.vmm.registers import SREGS_SIZE, Registers, SpecialRegisters
from virtproof.vmm.startup import Startup

CD, NW, PE = 1 << 30, 1 << 29, 1
RESET = replace(SpecialRegisters.unpack(bytes(SREGS_SIZE)), cr0=CD | NW | 0x10, apic_base=0xFEE0_0800)


class Processor:
    """The registers of a vCPU."""

    def __init__(self) -> None:
        self.general, self.special = Registers(rip=0xFFF0, rdx=0x600), RESET

    def registers(self) -> Registers:
        return self.general

    def set_registers(self, registers: Registers) -> None:
        self.general = registers

    def special_registers(self) -> SpecialRegisters:
        return self.special

    def set_special_registers(self, registers: SpecialRegisters) -> None:
        self.special = registers


class Board:
    def __init__(self) -> None:
        self.vcpu = Processor()
        self.resets = 0
        self.startup = Startup(cast(Vcpu, self.vcpu), threading.RLock(), self.reset)

    def reset(self) -> None:
        self.resets += 1

    def where(self) -> tuple[int, int, int]:
        code = self.vcpu.special.cs
        return code.selector, code.base, self.vcpu.general.rip


@pytest.fixture
def board() -> Board:
    return Board()


def test_a_further_processor_waits_for_sipi(board: Board) -> None:
    assert (board.startup.waits, board.startup.due, board.startup.carry_out()) == (True, False, False)
    board.startup.init()
    assert (board.startup.due, board.startup.carry_out(), board.startup.due) == (True, False, False)
    board.startup.startup(0x9A)
    assert (board.startup.due, board.startup.carry_out(), board.startup.due) == (True, True, False)
    assert board.where() == (0x9A00, 0x9A000, 0)
    assert board.resets == 1


@pytest.mark.parametrize("pages", [(8, 9), (8, 8)])
def test_the_first_sipi_counts(board: Board, pages: tuple[int, int]) -> None:
    board.startup.init()
    for page in pages:
        board.startup.startup(page)
    assert board.startup.carry_out()
    board.startup.startup(10)
    assert not board.startup.due
    assert board.where() == (0x800, 0x8000, 0)


def test_init_resets_and_waits_again(board: Board) -> None:
    board.startup.startup(8)
    assert board.startup.carry_out()
    board.vcpu.general = Registers(rip=0x1234, rax=5)
    board.vcpu.special = replace(RESET, cr0=PE | NW, cr4=0x20, apic_base=0x1000_0800)
    board.startup.init()
    assert not board.startup.carry_out()
    assert board.vcpu.general == Registers(rip=0xFFF0, rdx=0x600)
    assert (board.vcpu.special.cr0, board.vcpu.special.cr4) == (NW | 0x10, 0)
    assert board.vcpu.special.apic_base == 0x1000_0800
    assert (board.startup.waits, board.resets) == (True, 1)


def test_an_init_forgets_the_sipi_before_it(board: Board) -> None:
    board.startup.startup(8)
    board.startup.init()
    assert not board.startup.carry_out()
    assert not board.startup.due


def test_an_init_and_a_sipi_that_come_together(board: Board) -> None:
    board.startup.startup(8)
    board.startup.carry_out()
    board.startup.init()
    board.startup.startup(9)
    assert board.startup.carry_out()
    assert (board.where(), board.resets) == ((0x900, 0x9000, 0), 1)
