"""An adapter with a piece of memory, a clock that stands still, and a cable whose other end is a list."""

from __future__ import annotations

from collections.abc import Callable

from tests.vmm.pci.wires import Wires
from virtproof.conformance.cable import Cable
from virtproof.spec import e1000
from virtproof.spec.e1000 import Ctrl, Rctl, Tctl
from virtproof.spec.e1000_descriptors import Context, ContextOffsets, Data, Legacy, Receive
from virtproof.vmm.devices.e1000.nic import E1000, Model
from virtproof.vmm.events import EventLoop, ManualClock

MAC = bytes.fromhex("525400123456")
OTHER = bytes.fromhex("525400aaaaaa")
BROADCAST = b"\xff" * 6
TX_RING, RX_RING, BUFFERS = 0x1000, 0x2000, 0x10000
BUFFER = 0x4000  # bytes between receive buffers


class Watched(Cable):
    """A cable whose other end sees each frame before it is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.on_send: Callable[[bytes], None] = lambda frame: None

    def send(self, frame: bytes) -> None:
        self.on_send(frame)
        super().send(frame)


class Rig:
    def __init__(self, model: Model = "82540em", ram: int = 4 << 20) -> None:
        self.clock = ManualClock()
        self.loop = EventLoop(self.clock)
        self.cable = Watched()
        self.wires = Wires(ram)
        self.nic = E1000(MAC, self.cable, self.loop.after, model=model)
        self.wires.connect(self.nic.function)
        self.filled = 0x8_0000  # where the next transmit buffer lies

    def read(self, register: int) -> int:
        return self.nic.read(register, 4)

    def write(self, register: int, value: int) -> None:
        self.nic.write(register, 4, value)

    def elapse(self, ns: int) -> None:
        self.clock.advance(ns)
        self.loop.poll()

    def settle(self) -> None:
        while self.loop.next_deadline() is not None:
            self.clock.advance(0)
            self.loop.poll()

    # transmitting

    def start_tx(self, count: int = 16, tctl: int = 0) -> None:
        self.write(e1000.TDBAL, TX_RING)
        self.write(e1000.TDLEN, 16 * count)
        self.write(e1000.TCTL, Tctl(tctl).but(en=1))

    def descriptor(self, index: int, address: int, word: int, ring: int = TX_RING) -> None:
        at = ring + 16 * index
        self.wires.ram[at : at + 16] = address.to_bytes(8, "little") + int(word).to_bytes(8, "little")

    def legacy(self, index: int, data: bytes, **fields: int) -> None:
        self.descriptor(index, self.buffer(data), Legacy(0).but(length=len(data), **({"eop": 1} | fields)))

    def data(self, index: int, data: bytes, **fields: int) -> None:
        word = Data(0).but(length=len(data), dtyp=1, dext=1, **({"eop": 1} | fields))
        self.descriptor(index, self.buffer(data), word)

    def context(self, index: int, offsets: dict[str, int], **fields: int) -> None:
        word = Context(0).but(dext=1, **fields)
        self.descriptor(index, ContextOffsets(0).but(**offsets), word)

    def buffer(self, data: bytes) -> int:
        at, self.filled = self.filled, self.filled + len(data)
        self.wires.ram[at : at + len(data)] = data
        return at

    def done(self, index: int) -> int:
        return self.wires.ram[TX_RING + 16 * index + 12]

    def send(self, *frames: bytes, **fields: int) -> list[bytes]:
        """Send frames with a legacy descriptor each from the start of the ring; return what came out."""
        for index, frame in enumerate(frames):
            self.legacy(index, frame, **fields)
        self.write(e1000.TDT, len(frames))
        return self.cable.sent

    # receiving

    def start_rx(self, rctl: int = Rctl(0).but(bam=1, secrc=1), count: int = 16, tail: int | None = None) -> None:
        for index in range(count):
            self.descriptor(index, BUFFERS + BUFFER * index, 0, RX_RING)
        self.write(e1000.RDBAL, RX_RING)
        self.write(e1000.RDLEN, 16 * count)
        self.write(e1000.RDT, count - 1 if tail is None else tail)
        self.write(e1000.RCTL, Rctl(rctl).but(en=1))

    def received(self, index: int) -> Receive:
        at = RX_RING + 16 * index
        return Receive(int.from_bytes(self.wires.ram[at + 8 : at + 16], "little"))

    def stored(self, index: int) -> bytes:
        at = BUFFERS + BUFFER * index
        return bytes(self.wires.ram[at : at + self.received(index).length])

    def vlan_mode(self) -> None:
        self.write(e1000.CTRL, Ctrl(self.read(e1000.CTRL)).but(vme=1))


def frame(size: int = 60, to: bytes = MAC, kind: int = 0x88B5) -> bytes:
    """An Ethernet frame of so many bytes, with a pattern."""
    head = to + OTHER + kind.to_bytes(2, "big")
    return (head + bytes(n & 0xFF for n in range(size)))[:size]
