"""Causes, mask, throttle and delays."""

from __future__ import annotations

import pytest

from tests.vmm.devices.e1000.rig import BROADCAST, Rig, frame
from virtproof.spec import e1000
from virtproof.spec.e1000 import Cause

TXDW, TXQE, RXT0 = Cause.txdw.mask, Cause.txqe.mask, Cause.rxt0.mask


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_mask(rig: Rig) -> None:
    rig.write(e1000.IMS, 0x9D)
    rig.write(e1000.IMC, 0x0D)
    assert rig.read(e1000.IMS) == 0x90
    assert rig.read(e1000.IMC) == 0


def test_reading_clears(rig: Rig) -> None:
    rig.write(e1000.ICS, 0x04)
    assert [rig.read(e1000.ICR) for _ in range(2)] == [4, 0]
    assert rig.read(e1000.ICS) == 0


def test_writing_ones_clears(rig: Rig) -> None:
    rig.write(e1000.ICS, 0x84)
    rig.write(e1000.ICR, 0x04)
    assert rig.read(e1000.ICR) == 0x80


def test_level_is_cause_and_mask(rig: Rig) -> None:
    rig.write(e1000.ICS, 0x80)
    assert not rig.wires.line
    rig.write(e1000.IMS, 0x04)
    assert not rig.wires.line
    rig.write(e1000.IMS, 0x80)
    assert rig.wires.line
    rig.write(e1000.IMC, 0x80)
    assert not rig.wires.line
    rig.write(e1000.IMS, 0x80)
    rig.read(e1000.ICR)
    assert rig.wires.lines == [True, False, True, False]


def test_bits_that_are_no_cause(rig: Rig) -> None:
    rig.write(e1000.IMS, 0xFFFF_FFFF)
    rig.write(e1000.ICS, 0xFFFF_FFFF)
    assert rig.read(e1000.IMS) == rig.read(e1000.ICR) == Cause.KNOWN


def test_throttle(rig: Rig) -> None:
    rig.write(e1000.ITR, 100)
    rig.write(e1000.IMS, 0x04)
    rig.write(e1000.ICS, 0x04)
    assert rig.wires.line
    rig.read(e1000.ICR)
    rig.write(e1000.ICS, 0x04)
    assert not rig.wires.line
    rig.elapse(25_599)
    assert not rig.wires.line
    rig.elapse(1)
    assert rig.wires.line


def test_a_cause_that_is_gone_before_the_throttle_ends(rig: Rig) -> None:
    rig.write(e1000.ITR, 100)
    rig.write(e1000.IMS, 0x04)
    for _ in range(2):
        rig.write(e1000.ICS, 0x04)
        rig.read(e1000.ICR)
    rig.elapse(25_600)
    assert rig.wires.lines == [True, False]
    rig.write(e1000.ICS, 0x04)
    assert rig.wires.line


def test_reset_ends_the_throttle(rig: Rig) -> None:
    rig.write(e1000.ITR, 100)
    rig.write(e1000.IMS, 0x04)
    rig.write(e1000.ICS, 0x04)
    rig.nic.reset()
    assert not rig.wires.line
    rig.write(e1000.IMS, 0x04)
    rig.write(e1000.ICS, 0x04)
    assert rig.wires.line


def test_receive_delay(rig: Rig) -> None:
    rig.start_rx()
    rig.write(e1000.RDTR, 10)
    for _ in range(2):
        rig.cable.receive(frame(to=BROADCAST))
        rig.elapse(10_239)
        assert rig.read(e1000.ICR) == 0
    rig.elapse(1)
    assert rig.read(e1000.ICR) == RXT0
    rig.elapse(10**6)
    assert rig.read(e1000.ICR) == 0


def test_absolute_delay(rig: Rig) -> None:
    rig.start_rx()
    rig.write(e1000.RDTR, 10)
    rig.write(e1000.RADV, 15)
    rig.cable.receive(frame(to=BROADCAST))
    rig.elapse(10_000)
    rig.cable.receive(frame(to=BROADCAST))
    rig.elapse(5_359)
    assert rig.read(e1000.ICR) == 0
    rig.elapse(1)
    assert rig.read(e1000.ICR) == RXT0


def test_flush(rig: Rig) -> None:
    rig.start_rx()
    rig.write(e1000.RDTR, 10)
    rig.write(e1000.RDTR, e1000.FLUSH | 10)
    assert rig.read(e1000.ICR) == 0
    rig.cable.receive(frame(to=BROADCAST))
    rig.write(e1000.RDTR, e1000.FLUSH | 10)
    assert rig.read(e1000.ICR) == RXT0


def test_transmit_delay(rig: Rig) -> None:
    rig.start_tx()
    rig.write(e1000.TIDV, 10)
    rig.send(frame(), rs=1, ide=1)
    assert rig.read(e1000.ICR) == TXQE
    rig.elapse(10_240)
    assert rig.read(e1000.ICR) == TXDW


def test_transmit_delay_needs_ide(rig: Rig) -> None:
    rig.start_tx()
    rig.write(e1000.TIDV, 10)
    rig.send(frame(), rs=1)
    assert rig.read(e1000.ICR) == TXDW | TXQE


def test_reset_cancels_delays(rig: Rig) -> None:
    rig.start_rx()
    rig.write(e1000.RDTR, 10)
    rig.write(e1000.RADV, 10)
    rig.cable.receive(frame(to=BROADCAST))
    rig.nic.reset()
    rig.elapse(10**6)
    assert rig.read(e1000.ICR) == 0
