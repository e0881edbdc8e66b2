"""The adapter as a PCI function: registers, reset and link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from virtproof.spec import e1000
from virtproof.spec.e1000 import (
    REGISTERS,
    Cause,
    Ctrl,
    CtrlExt,
    Eecd,
    Eerd,
    Mdic,
    MdiOperation,
    Rctl,
    ReceiveAddressHigh,
    Speed,
    Status,
)
from virtproof.spec.e1000_phy import ADDRESS
from virtproof.vmm.devices.e1000 import statistics
from virtproof.vmm.devices.e1000.eeprom import Eeprom, contents
from virtproof.vmm.devices.e1000.interrupts import After, Delay, Interrupts
from virtproof.vmm.devices.e1000.phy import CopperPhy
from virtproof.vmm.devices.e1000.receive import Receiver
from virtproof.vmm.devices.e1000.transmit import Transmitter
from virtproof.vmm.network.port import Port
from virtproof.vmm.pci.function import Bar, Function, Identity

Model = Literal["82540em", "82545em"]

MODELS: dict[Model, Identity] = {  # the second as VMware's
    "82540em": Identity(e1000.VENDOR, e1000.DEVICE_82540EM, e1000.CLASS_CODE, 0x02, 0x8086, 0x001E, 1),
    "82545em": Identity(e1000.VENDOR, e1000.DEVICE_82545EM, e1000.CLASS_CODE, 0x01, 0x15AD, 0x0750, 1),
}
PACKET_BUFFER_KIB = 64  # shared by receiving and transmitting: PBA

_RESET = {register + 4 * n: register.reset for register in REGISTERS for n in range(register.count)}
_WRITABLE = {register + 4 * n: register.writable for register in REGISTERS for n in range(register.count)}
_RXT0, _TXDW, _LBM = Cause.rxt0.mask, Cause.txdw.mask, Rctl.lbm.mask
_ADDRESS_HIGH = int(ReceiveAddressHigh.KNOWN)
_ADDRESSES = range(e1000.RA, e1000.RA + 4 * e1000.RA.count, 4)
_WRITABLE |= dict.fromkeys(_ADDRESSES[1::2], _ADDRESS_HIGH)


class E1000:
    """One adapter; ``port`` is the other end of its cable, ``mac`` six bytes, ``rom`` an expansion ROM.

    ``read`` and ``write`` are the memory BAR: registers of 32 bits.  A narrower read brings a part of one; a narrower
    write is lost, for the manual defines none.
    """

    def __init__(self, mac: bytes, port: Port, after: After, *, model: Model = "82540em", rom: bytes = b"") -> None:
        if len(mac) != 6 or mac[0] & 1:
            raise ValueError(f"{mac.hex(':')} is no address of an adapter")
        identity = MODELS[model]
        self._window = IoWindow(self)
        bars = (
            Bar(0, e1000.MEMORY_SIZE, "memory32", self),
            Bar(1, e1000.IO_SIZE, "io", self._window),
        )
        self.function = Function(identity, bars, rom=rom)
        words = contents(mac, identity.device, identity.vendor, identity.subsystem, identity.subsystem_vendor)
        self._port = port
        self._registers = dict(_RESET)
        self.statistics = statistics.Statistics()
        self.interrupts = Interrupts(self.function.set_intx, after)
        self.eeprom = Eeprom(words)
        self.phy = CopperPhy(after, self._link_changed)
        received = Delay(after, lambda: self.interrupts.signal(_RXT0))
        sent = Delay(after, lambda: self.interrupts.signal(_TXDW))
        self._received, self._sent = received, sent
        parts = self.function, self._registers, self.statistics, self.interrupts
        self.receiver = Receiver(*parts, received)
        self.transmitter = Transmitter(*parts, sent, self._send, after)
        self._refused = False  # the port waits for room
        # fmt: off
        self._readers: dict[int, Callable[[], int]] = {
            e1000.ICR:    self.interrupts.take,
            e1000.STATUS: self._status,
            e1000.EECD:   self._eecd,
            e1000.PBA:    self._packet_buffer,
            e1000.IMS:    lambda: self.interrupts.mask,
        }
        self._written: dict[int, Callable[[int], None]] = {
            e1000.CTRL:     self._control,
            e1000.CTRL_EXT: self._extended_control,
            e1000.EECD:     self._drive_eeprom,
            e1000.EERD:     self._read_eeprom,
            e1000.MDIC:     self._access_phy,
            e1000.ICR:      self.interrupts.clear,
            e1000.ICS:      self.interrupts.signal,
            e1000.IMS:      lambda value: self.interrupts.set_mask(self.interrupts.mask | value),
            e1000.IMC:      lambda value: self.interrupts.set_mask(self.interrupts.mask & ~value),
            e1000.ITR:      self._throttle,
            e1000.RCTL:     self._ready,
            e1000.RDT:      self._ready,
            e1000.RDTR:     lambda value: received.flush() if value & e1000.FLUSH else None,
            e1000.TIDV:     lambda value: sent.flush() if value & e1000.FLUSH else None,
            e1000.TCTL:     lambda value: self.transmitter.kick(),
            e1000.TDT:      lambda value: self.transmitter.kick(),
        } | dict.fromkeys(_ADDRESSES, lambda value: self.receiver.filter.addresses_changed())
        # fmt: on
        self._load_address()
        self._link = self.link
        port.connect(self.receive)

    def read(self, offset: int, size: int) -> int:
        word = offset & ~3
        reader = self._readers.get(word)
        if reader is not None:
            value = reader()
        elif word in statistics.OFFSETS:
            value = self.statistics.read(word)
        else:
            value = self._registers.get(word, 0)
        return value >> 8 * (offset & 3)

    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4:
            return
        writable = _WRITABLE.get(offset)
        if writable is None:
            return
        old = self._registers[offset]
        self._registers[offset] = old & ~writable | value & writable
        written = self._written.get(offset)
        if written is not None:
            written(value)

    def receive(self, frame: bytes) -> bool:
        """A frame comes over the cable.  False: there is no room for it; the port is told when there is."""
        if not self._link:
            return True
        if self.receiver.receive(frame):
            return True
        self._refused = True
        return False

    @property
    def link(self) -> bool:
        """Whether the adapter has a link, as STATUS says."""
        return self.phy.link and bool(self._registers[e1000.CTRL] & Ctrl.slu.mask)

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it."""
        self.phy.set_cable(up)

    def reset(self) -> None:
        """As after power-on, but for the configuration space."""
        self.phy.reset()
        self.eeprom.drive(False, False, False)
        self._reset()

    def state(self) -> dict[str, Any]:
        """What is to be saved besides the PCI function; times that were being waited for begin anew."""
        return {
            "registers": list(self._registers.values()),
            "io_address": self._window.address,
            "statistics": self.statistics.state(),
            "interrupts": self.interrupts.state(),
            "eeprom": self.eeprom.state(),
            "phy": self.phy.state(),
            "transmitter": self.transmitter.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        values = list(state["registers"])
        if not all(type(value) is int and 0 <= value <= e1000.ALL for value in values):
            raise ValueError("registers that do not have 32 bits")
        if not 0 <= state["io_address"] <= e1000.IOADDR_BITS:
            raise ValueError(f"IOADDR {state['io_address']:#x}")
        registers = zip(_RESET, values, strict=True)
        self._registers.update({at: value & (_WRITABLE[at] or e1000.ALL) for at, value in registers})
        self._window.address = state["io_address"]
        self.statistics.restore(state["statistics"])
        self.interrupts.restore(state["interrupts"])
        self.interrupts.throttle = self._registers[e1000.ITR]
        self.eeprom.restore(state["eeprom"])
        self.phy.restore(state["phy"])
        self.transmitter.restore(state["transmitter"])
        self.receiver.filter.addresses_changed()
        self._link = self.link

    def _reset(self) -> None:
        """ "Software Reset": everything but the PHY and the configuration space."""
        self._received.cancel()
        self._sent.cancel()
        self.transmitter.reset()
        self._registers.update(_RESET)
        self.statistics.reset()
        self.interrupts.reset()
        self._load_address()
        self._link = self.link

    def _load_address(self) -> None:
        low, middle, high = self.eeprom.words[:3]
        self._registers[e1000.RA] = middle << 16 | low
        self._registers[e1000.RA + 4] = int(ReceiveAddressHigh(high).but(valid=1))
        self.receiver.filter.addresses_changed()

    def _send(self, frame: bytes) -> None:
        if self._registers[e1000.RCTL] & _LBM or self.phy.loopback:
            self.receiver.receive(frame)
        elif self._link:
            self._port.send(frame)

    def _ready(self, value: int) -> None:
        if self._refused:
            self._refused = False
            self._port.ready()

    def _link_changed(self) -> None:
        if self.link != self._link:
            self._link = self.link
            self.interrupts.signal(Cause.lsc.mask)

    def _status(self) -> int:
        ctrl = Ctrl(self._registers[e1000.CTRL])
        speed = ctrl.speed if ctrl.frcspd else Speed.MBPS_1000
        full = ctrl.fd if ctrl.frcdpx else True
        return int(Status(0).but(fd=full, lu=self.link, speed=speed, asdv=Speed.MBPS_1000))

    def _control(self, value: int) -> None:
        if value & Ctrl.rst.mask:
            self._reset()
            return
        self.phy.hold_reset(bool(value & Ctrl.phy_rst.mask))
        self._link_changed()

    def _extended_control(self, value: int) -> None:
        if value & CtrlExt.ee_rst.mask:
            self._load_address()

    def _eecd(self) -> int:
        kept = Eecd(self._registers[e1000.EECD])
        return int(kept.but(do=self.eeprom.output, gnt=kept.req, pres=1))

    def _drive_eeprom(self, value: int) -> None:
        pins = Eecd(value)
        if pins.req:  # the pins are granted to whoever asks
            self.eeprom.drive(pins.cs, pins.sk, pins.di)

    def _read_eeprom(self, value: int) -> None:
        asked = Eerd(value & Eerd.KNOWN)
        if asked.start:
            done = asked.but(start=0, done=1, data=self.eeprom.word(asked.addr))
            self._registers[e1000.EERD] = int(done)

    def _access_phy(self, value: int) -> None:
        asked = Mdic(value & Mdic.KNOWN & ~Mdic.error.mask)
        answer: int | None = None
        if asked.phyadd == ADDRESS:
            if asked.op == MdiOperation.READ:
                answer = self.phy.read(asked.regadd)
            elif asked.op == MdiOperation.WRITE and self.phy.write(asked.regadd, asked.data):
                answer = asked.data
        self._registers[e1000.MDIC] = int(asked.but(ready=1, error=answer is None, data=answer or 0))
        if asked.interrupt:
            self.interrupts.signal(Cause.mdac.mask)

    def _throttle(self, value: int) -> None:
        self.interrupts.throttle = value & e1000.ITR.writable

    def _packet_buffer(self) -> int:
        receive = self._registers[e1000.PBA]
        return max(0, PACKET_BUFFER_KIB - receive) << 16 | receive


class IoWindow:
    """The I/O BAR, by which each register can be reached: "I/O-Mapped Internal Register Memory"."""

    def __init__(self, nic: E1000) -> None:
        self._nic = nic
        self.address = 0

    def read(self, offset: int, size: int) -> int:
        if size != 4:
            return 0
        match offset:
            case e1000.IOADDR:
                return self.address
            case e1000.IODATA if self._reaches:
                return self._nic.read(self.address, 4)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4:
            return
        match offset:
            case e1000.IOADDR:
                self.address = value & e1000.IOADDR_BITS
            case e1000.IODATA if self._reaches:
                self._nic.write(self.address, 4, value)

    @property
    def _reaches(self) -> bool:
        return self.address < e1000.MEMORY_SIZE and not self.address & 3
