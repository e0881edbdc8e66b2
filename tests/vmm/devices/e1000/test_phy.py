"""The PHY behind MDIC."""

from __future__ import annotations

import pytest

from tests.vmm.devices.e1000.rig import Rig
from virtproof.spec import e1000
from virtproof.spec.e1000 import Cause, Status
from virtproof.spec.e1000_phy import RESET, WRITABLE, Phy

READY, ERROR = 1 << 28, 1 << 30


@pytest.fixture
def rig() -> Rig:
    return Rig()


def mdi_read(rig: Rig, register: int, phy: int = 1) -> int:
    rig.write(e1000.MDIC, 2 << 26 | phy << 21 | register << 16)
    return rig.read(e1000.MDIC)


def mdi_write(rig: Rig, register: int, value: int, phy: int = 1) -> int:
    rig.write(e1000.MDIC, 1 << 26 | phy << 21 | register << 16 | value)
    return rig.read(e1000.MDIC)


def test_identity(rig: Rig) -> None:
    assert mdi_read(rig, 2) == 0x1822_0141
    assert mdi_read(rig, 3) == 0x1823_0C20


def test_first_values(rig: Rig) -> None:
    live = {Phy.STATUS: 0x796D, Phy.SPECIFIC_STATUS: 0xAC00}
    assert {register: mdi_read(rig, register) & 0xFFFF for register in RESET} == RESET | live


@pytest.mark.parametrize("register", RESET)
def test_what_can_be_written(rig: Rig, register: Phy) -> None:
    before = mdi_read(rig, register) & 0xFFFF
    assert mdi_write(rig, register, 0x0155) == READY | 1 << 26 | 1 << 21 | register << 16 | 0x0155
    assert mdi_read(rig, register) & 0xFFFF == (0x0155 if register in WRITABLE else before)


@pytest.mark.parametrize("register", sorted(set(range(32)) - set(RESET)))
def test_registers_that_are_not_there(rig: Rig, register: int) -> None:
    assert mdi_read(rig, register) & (READY | ERROR) == READY | ERROR
    assert mdi_write(rig, register, 1) & (READY | ERROR) == READY | ERROR


def test_error_does_not_stay(rig: Rig) -> None:
    rig.write(e1000.MDIC, mdi_read(rig, 7) & ~(0x1F << 16) | 2 << 16)
    assert rig.read(e1000.MDIC) == 0x1822_0141


@pytest.mark.parametrize("phy", [0, 2, 31])
def test_other_addresses(rig: Rig, phy: int) -> None:
    assert mdi_read(rig, 2, phy) & (READY | ERROR) == READY | ERROR


@pytest.mark.parametrize("operation", [0, 3])
def test_no_operation(rig: Rig, operation: int) -> None:
    rig.write(e1000.MDIC, operation << 26 | 1 << 21 | 4 << 16 | 0x1234)
    assert rig.read(e1000.MDIC) & (READY | ERROR) == READY | ERROR
    assert mdi_read(rig, 4) & 0xFFFF == 0x0DE1


def test_interrupt_on_request(rig: Rig) -> None:
    mdi_read(rig, 2)
    assert rig.read(e1000.ICR) == 0
    rig.write(e1000.MDIC, 1 << 29 | 2 << 26 | 1 << 21 | 2 << 16)
    assert rig.read(e1000.ICR) == Cause.mdac.mask


def test_negotiating_anew(rig: Rig) -> None:
    mdi_write(rig, 0, 0x1200)
    assert mdi_read(rig, 0) & 0xFFFF == 0x1000
    assert mdi_read(rig, 1) & 0x24 == 0
    assert not rig.read(e1000.STATUS) & Status.lu.mask
    assert [mdi_read(rig, n) & 0xFFFF for n in (5, 10, 17)] == [0, 0, 0]
    rig.read(e1000.ICR)
    rig.elapse(500_000_000)
    assert rig.read(e1000.ICR) == Cause.lsc.mask
    assert mdi_read(rig, 1) & 0x24 == 0x24
    assert rig.read(e1000.STATUS) & Status.lu.mask


def test_reset(rig: Rig) -> None:
    mdi_write(rig, 4, 0x0001)
    assert mdi_write(rig, 0, 0x9140) & 0xFFFF == 0x9140
    assert mdi_read(rig, 0) & 0xFFFF == 0x1140
    assert mdi_read(rig, 4) & 0xFFFF == 0x0DE1
    assert mdi_read(rig, 1) & 0x24 == 0
    rig.elapse(500_000_000)
    assert mdi_read(rig, 1) & 0x24 == 0x24


def test_a_lost_link_shows_until_it_is_read(rig: Rig) -> None:
    rig.nic.set_link(False)
    rig.nic.set_link(True)
    rig.elapse(10**9)
    assert [mdi_read(rig, 1) & 4 for _ in range(2)] == [0, 4]


def test_without_negotiation_the_link_is_there_at_once(rig: Rig) -> None:
    mdi_write(rig, 0, 0x0140)
    assert rig.read(e1000.STATUS) & Status.lu.mask
    assert mdi_read(rig, 1) & 0x20 == 0
    mdi_write(rig, 0, 0x0940)
    assert not rig.read(e1000.STATUS) & Status.lu.mask


def test_negotiations_do_not_pile_up(rig: Rig) -> None:
    for _ in range(1000):
        mdi_write(rig, 0, 0x1200)
    assert len(rig.loop._heap) < 200
    rig.read(e1000.ICR)
    rig.elapse(10**9)
    assert rig.read(e1000.ICR) == Cause.lsc.mask
