"""Registers, reset, the I/O window, and the link."""

from __future__ import annotations

import pytest

from tests.vmm.devices.e1000.rig import MAC, Rig
from virtproof.spec import e1000, pci
from virtproof.spec.e1000 import Cause, Ctrl, Rctl, Statistic, Status

RST = Ctrl.rst.mask


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(("model", "device"), [("82540em", 0x100E), ("82545em", 0x100F)])
def test_identity(model: str, device: int) -> None:
    function = Rig(model).nic.function  # type: ignore[arg-type]
    assert function.read_config(pci.VENDOR_ID, 4) == device << 16 | 0x8086
    assert function.read_config(pci.CLASS_CODE, 2) == 0
    assert function.read_config(pci.CLASS_CODE + 2, 1) == 2
    assert function.read_config(pci.INTERRUPT_PIN, 1) == 1
    sizes = []
    for at in (0x10, 0x14):
        function.write_config(at, 4, 0xFFFF_FFFF)
        sizes.append(function.read_config(at, 4))
    assert sizes == [0xFFFE_0000, 0xFFFF_FFC1]


def test_registers_after_power_on(rig: Rig) -> None:
    assert rig.read(e1000.CTRL) == 0x0014_0240
    assert rig.read(e1000.STATUS) & 0xFF == 0x83
    assert rig.read(e1000.RA) == 0x1200_5452
    assert rig.read(e1000.RA + 4) == 0x8000_5634
    assert rig.read(e1000.PBA) == 0x0010_0030


@pytest.mark.parametrize(
    ("register", "written", "read"),
    [
        (e1000.RDLEN, 0xFFFF_FFFF, 0x000F_FF80),
        (e1000.TDLEN, 0xFFFF_FFFF, 0x000F_FF80),
        (e1000.RDBAL, 0x1008, 0x1000),
        (e1000.TDBAL, 0x1008, 0x1000),
        (e1000.RDT, 0x1_2345, 0x2345),
        (e1000.TDH, 0x1_2345, 0x2345),
        (e1000.RCTL, 0xFFFF_FFFF, 0x06DF_B3FE),
        (e1000.RA + 8 * 3 + 4, 0xFFFF_FFFF, 0x8003_FFFF),
        (e1000.RA + 8 * 3, 0xFFFF_FFFF, 0xFFFF_FFFF),
        (e1000.MTA + 4 * 127, 0x1234_5678, 0x1234_5678),
        (e1000.VFTA + 4 * 127, 0x1234_5678, 0x1234_5678),
        (e1000.TXDCTL, 0x0200_0000, 0x0200_0000),
        (e1000.PBA, 0x0028, 0x0018_0028),
        (e1000.STATUS, 0, 0x0000_0283),
        (e1000.RDTR, 0xFFFF_FFFF, 0xFFFF),
        (0x1_FFFC, 0xFFFF_FFFF, 0),
        (0x0024, 0xFFFF_FFFF, 0),
    ],
)
def test_what_a_register_keeps(rig: Rig, register: int, written: int, read: int) -> None:
    rig.write(register, written)
    assert rig.read(register) == read


def test_narrow_accesses(rig: Rig) -> None:
    rig.write(e1000.FCAL, 0x1234_5678)
    rig.nic.write(e1000.FCAL, 2, 0xFFFF)
    rig.nic.write(e1000.FCAL, 1, 0xFF)
    assert [rig.nic.read(e1000.FCAL + n, 1) & 0xFF for n in range(4)] == [0x78, 0x56, 0x34, 0x12]
    assert rig.nic.read(e1000.FCAL + 2, 2) == 0x1234


def test_reset_clears_what_is_not_of_pci_or_the_phy(rig: Rig) -> None:
    rig.start_tx()
    rig.start_rx()
    rig.write(e1000.TDBAH, 7)
    rig.write(e1000.IMS, 0x9D)
    rig.write(e1000.ICS, 0x04)
    rig.write(e1000.RA, 0)
    rig.nic.statistics.count(Statistic.MPC)
    rig.nic.function.write_config(0x10, 4, 0xE000_0000)
    assert rig.wires.line
    rig.write(e1000.CTRL, rig.read(e1000.CTRL) | RST)
    cleared = (e1000.TDH, e1000.TDT, e1000.RDH, e1000.RDT, e1000.IMS, e1000.RCTL, e1000.TCTL, e1000.TDLEN, e1000.TDBAH)
    assert [rig.read(register) for register in (*cleared, e1000.ICR, Statistic.MPC)] == [0] * 11
    assert rig.read(e1000.CTRL) == 0x0014_0240
    assert not rig.wires.line
    assert (rig.read(e1000.RA), rig.read(e1000.RA + 4)) == (0x1200_5452, 0x8000_5634)
    assert rig.read(e1000.STATUS) & Status.lu.mask
    assert rig.nic.function.read_config(0x10, 4) == 0xE000_0000
    assert rig.nic.function.bus_master


def test_ee_rst_loads_the_address_anew(rig: Rig) -> None:
    rig.write(e1000.RA, 0)
    rig.write(e1000.CTRL_EXT, e1000.CtrlExt.ee_rst.mask)
    assert rig.read(e1000.RA) == 0x1200_5452
    assert rig.read(e1000.CTRL_EXT) == 0


class TestIoWindow:
    def test_reaches_registers(self, rig: Rig) -> None:
        io = rig.nic.function.bars[1].device
        assert io is not None
        io.write(0, 4, e1000.STATUS)
        assert io.read(0, 4) == e1000.STATUS
        assert io.read(4, 4) == rig.read(e1000.STATUS)
        rig.write(e1000.RCTL, Rctl.en.mask)
        io.write(0, 4, e1000.CTRL)
        io.write(4, 4, 0x0414_0240)
        assert rig.read(e1000.RCTL) == 0

    @pytest.mark.parametrize("address", [0xFFFF_FFFF, 0x2_0000, 0x29, 0x2A])
    def test_reaches_nothing_else(self, rig: Rig, address: int) -> None:
        io = rig.nic.function.bars[1].device
        assert io is not None
        io.write(0, 4, address)
        io.write(4, 4, 0x1234)
        assert io.read(4, 4) == 0
        assert rig.read(e1000.FCAL) == 0
        assert io.read(8, 4) == 0

    def test_takes_whole_registers_only(self, rig: Rig) -> None:
        io = rig.nic.function.bars[1].device
        assert io is not None
        io.write(0, 4, e1000.FCAL)
        io.write(4, 2, 0x1234)
        io.write(0, 1, 0)
        assert io.read(0, 4) == e1000.FCAL
        assert io.read(4, 4) == 0
        assert io.read(4, 2) == 0


class TestLink:
    def test_down_and_up(self, rig: Rig) -> None:
        rig.nic.set_link(False)
        assert not rig.read(e1000.STATUS) & Status.lu.mask
        assert rig.read(e1000.ICR) == Cause.lsc.mask
        rig.nic.set_link(False)
        assert rig.read(e1000.ICR) == 0
        rig.nic.set_link(True)
        rig.elapse(499_999_999)
        assert rig.read(e1000.ICR) == 0
        rig.elapse(1)
        assert rig.read(e1000.STATUS) & Status.lu.mask
        assert rig.read(e1000.ICR) == Cause.lsc.mask

    def test_needs_slu(self, rig: Rig) -> None:
        rig.write(e1000.CTRL, rig.read(e1000.CTRL) & ~Ctrl.slu.mask)
        assert not rig.read(e1000.STATUS) & Status.lu.mask
        assert rig.read(e1000.ICR) == Cause.lsc.mask

    def test_writing_ctrl_does_not_disturb_the_phy(self, rig: Rig) -> None:
        rig.write(e1000.CTRL, rig.read(e1000.CTRL))
        assert rig.read(e1000.STATUS) & Status.lu.mask
        assert rig.read(e1000.ICR) == 0

    def test_phy_reset_takes_the_link_down(self, rig: Rig) -> None:
        ctrl = rig.read(e1000.CTRL)
        rig.write(e1000.CTRL, ctrl | Ctrl.phy_rst.mask)
        rig.elapse(10**9)
        assert not rig.read(e1000.STATUS) & Status.lu.mask
        rig.write(e1000.CTRL, ctrl)
        rig.elapse(10**9)
        assert rig.read(e1000.STATUS) & Status.lu.mask

    def test_forced_speed_and_duplex(self, rig: Rig) -> None:
        rig.write(e1000.CTRL, Ctrl(0).but(slu=1, frcspd=1, frcdpx=1, speed=1))
        status = Status(rig.read(e1000.STATUS))
        assert (status.fd, status.lu, status.speed) == (False, True, 1)


def test_an_address_must_be_an_adapters() -> None:
    from virtproof.vmm.devices.e1000.nic import E1000

    rig = Rig()
    for mac in (MAC[:5], b"\x01" + MAC[1:]):
        with pytest.raises(ValueError, match="no address"):
            E1000(mac, rig.cable, rig.loop.after)


class TestState:
    def test_comes_back(self) -> None:
        before, after = Rig(), Rig()
        before.start_rx()
        before.write(e1000.IMS, 0x80)
        before.cable.receive(b"\xff" * 60)
        before.nic.function.bars[1].device.write(0, 4, 0x28)  # type: ignore[union-attr]
        after.nic.function.restore(before.nic.function.state())
        after.nic.restore(before.nic.state())
        assert after.nic.state() == before.nic.state()
        assert after.wires.line
        assert after.read(e1000.ICR) == Cause.rxt0.mask
        assert not after.wires.line
        assert after.read(Statistic.GPRC) == 1

    def test_transmitting_goes_on(self) -> None:
        before, after = Rig(), Rig()
        before.start_tx()
        before.legacy(0, b"\xff" * 30, eop=0)
        before.write(e1000.TDT, 1)
        after.wires.ram[:] = before.wires.ram
        after.filled = before.filled
        after.legacy(1, b"\xee" * 30)
        after.nic.restore(before.nic.state())
        after.write(e1000.TDT, 2)
        after.elapse(0)
        assert after.cable.sent == [b"\xff" * 30 + b"\xee" * 30]

    @pytest.mark.parametrize(
        "part", ["registers", "io_address", "statistics", "interrupts", "eeprom", "phy", "transmitter"]
    )
    def test_what_is_no_state_is_refused(self, rig: Rig, part: str) -> None:
        state = rig.nic.state()
        for wrong in (None, [], {}, [-1], "x", {"registers": [1]}):
            with pytest.raises((ValueError, TypeError, KeyError)):
                rig.nic.restore(state | {part: wrong})
