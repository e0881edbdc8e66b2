"""A VMXNET3 on wires, and the least of a driver."""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.vmm.pci.wires import Wires
from virtproof.conformance import vmxnet3_layout as layout
from virtproof.conformance.cable import Cable
from virtproof.spec.vmxnet3 import Cmd, Register
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.events import EventLoop, ManualClock

MAC = bytes.fromhex("525400123456")
RAM = 4 << 20
TXPROD, RXPROD, RXPROD2 = 0x600, 0x800, 0xA00


class Completion(NamedTuple):
    word0: int
    word1: int
    word2: int
    word3: int

    @property
    def gen(self) -> int:
        return self.word3 >> 31

    @property
    def index(self) -> int:
        return self.word0 & 0xFFF

    @property
    def length(self) -> int:
        return self.word2 & 0x3FFF


class Bench:
    def __init__(self) -> None:
        self.loop = EventLoop(ManualClock())
        self.cable = Cable()
        self.nic = Vmxnet3(MAC, self.cable, self.loop.after)
        self.wires = Wires(RAM)
        self.wires.connect(self.nic.function)
        self._pt, self._vd = (bar.device for bar in self.nic.function.bars[:2])
        self._next_tx = 0

    def put(self, address: int, data: bytes) -> None:
        self.wires.ram[address : address + len(data)] = data

    def get(self, address: int, length: int) -> bytes:
        return bytes(self.wires.ram[address : address + length])

    def word(self, address: int) -> int:
        return int(struct.unpack_from("<I", self.wires.ram, address)[0])

    def pt(self, offset: int) -> int:
        return self._pt.read(offset, 4)

    def set_pt(self, offset: int, value: int) -> None:
        self._pt.write(offset, 4, value)

    def vd(self, offset: int) -> int:
        return self._vd.read(offset, 4)

    def set_vd(self, offset: int, value: int) -> None:
        self._vd.write(offset, 4, value)

    def command(self, command: int) -> int:
        self.set_vd(Register.CMD, command)
        return self.vd(Register.CMD)

    def lay_out(self, shared: bytes, *queues: bytes) -> None:
        self.put(layout.SHARED, shared)
        self.put(layout.QUEUES, b"".join(queues))
        self.set_vd(Register.DSAL, layout.SHARED)
        self.set_vd(Register.DSAH, 0)

    def activate(self, shared: bytes | None = None, *queues: bytes) -> int:
        self.lay_out(shared or layout.shared(), *(queues or (layout.tx_queue(), layout.rx_queue())))
        return self.command(Cmd.ACTIVATE)

    def unmask(self, *vectors: int) -> None:
        for vector in vectors:
            self.set_pt(8 * vector, 0)

    def tx(self, *descriptors: bytes, queue: int = 0, ring: int = layout.TX_RING, at: int = 0) -> None:
        """Put descriptors into the ring and ring the bell."""
        self.put(ring + 16 * at, b"".join(descriptors))
        self.set_pt(TXPROD + 8 * queue, at + len(descriptors))

    def fill_rx(self, descriptors: bytes, ring: int = layout.RX_RING) -> None:
        self.put(ring, descriptors)
        self.set_pt(RXPROD, len(descriptors) // 16)

    def completion(self, index: int, ring: int = layout.RX_COMPLETIONS) -> Completion:
        return Completion(*struct.unpack_from("<IIII", self.wires.ram, ring + 16 * index))

    def tx_completion(self, index: int) -> Completion:
        return self.completion(index, layout.TX_COMPLETIONS)


def frame(size: int = 60, to: bytes = MAC, seed: int = 0) -> bytes:
    return (to + b"\x02\0\0\0\0\1\x88\xb5" + bytes((seed + n) & 0xFF for n in range(size)))[:size]
