"""virtio-net: VIRTIO 1.2, "Network Device".

A frame may lie in its buffers as the driver likes, and its header too.  Checksums and TCP segments that the driver
leaves to the device are made before the frame goes to the port; of what arrives the device says, where the driver has
taken GUEST_CSUM, that the checksum of TCP or UDP is right.

Omitted: several queue pairs, announcements, segments put together on reception (GUEST_TSO), UDP fragmentation.
"""

from __future__ import annotations

import struct
from typing import Any

from virtproof.spec import virtio_net as spec
from virtproof.spec.virtio import DeviceId
from virtproof.spec.virtio import Feature as Basic
from virtproof.spec.virtio_net import Ack, ControlClass, Feature, HeaderFlag, MacCommand
from virtproof.vmm.devices.virtio.net_filter import ReceiveFilter
from virtproof.vmm.devices.virtio.net_offload import is_checksummed, outgoing
from virtproof.vmm.devices.virtio.queue import Chain, Queue, QueueBroken
from virtproof.vmm.devices.virtio.transport import PciPersonality
from virtproof.vmm.events import After
from virtproof.vmm.network.port import LONGEST, SHORTEST, Port

QUEUE_SIZE, CONTROL_SIZE = 256, 64
_RECEIVED = struct.Struct("<B9xH")  # flags, and the number of buffers
LONGEST_COMMAND = 64 << 10  # bytes on the control queue


class VirtioNet(PciPersonality):
    """One adapter with the address ``mac``, on ``port``.

    ``dropped`` counts frames that did not go out, or not come in, because of how they were.
    """

    kind = DeviceId.NET
    features = int(
        Feature.CSUM | Feature.GUEST_CSUM | Feature.MAC | Feature.HOST_TSO4 | Feature.HOST_TSO6 | Feature.MRG_RXBUF
        | Feature.STATUS | Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_VLAN | Feature.CTRL_RX_EXTRA
        | Feature.CTRL_MAC_ADDR
    )  # fmt: skip
    requirements = spec.REQUIREMENTS
    queue_sizes = QUEUE_SIZE, QUEUE_SIZE, CONTROL_SIZE
    inputs = frozenset({spec.RECEIVE})

    def __init__(self, mac: bytes, port: Port, after: After, *, legacy: bool = True) -> None:
        if len(mac) != 6:
            raise ValueError(f"a MAC address of {len(mac)} bytes")
        self._permanent, self._port = bytes(mac), port
        self._link = True
        self.dropped = 0
        self._mac = self._permanent
        self._filter = ReceiveFilter()
        super().__init__(after, legacy=legacy)
        port.connect(self.receive)

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it: then nothing passes."""
        if up != self._link:
            self._link = up
            self.virtio.config_changed()

    def receive(self, frame: bytes) -> bool:
        """A frame arrives; False where the driver has no room for it now."""
        if not self._link or not self._filter.accepts(frame, self._mac):
            return True

        def put(queue: Queue) -> bool:
            return self._put(queue, frame)

        return self.virtio.give(spec.RECEIVE, put)

    def config(self) -> bytes:
        return self._mac + (spec.LINK_UP * self._link).to_bytes(2, "little")

    def configure(self, offset: int, data: bytes) -> None:
        """The address, and that only for legacy drivers: others have the control queue."""
        if self.virtio.legacy and offset + len(data) <= len(self._mac):
            self._mac = self._mac[:offset] + data + self._mac[offset + len(data) :]

    def serve(self, queue: int, chain: Chain) -> int:
        if queue == spec.CONTROL:
            return self._control(chain)
        self._transmit(chain)
        return 0

    def refilled(self, queue: int) -> None:
        self._port.ready()

    def forget(self) -> None:
        self._mac = self._permanent
        self._filter = ReceiveFilter()

    def state(self) -> dict[str, Any]:
        more = {"mac": self._mac.hex(), "link": self._link, "filter": self._filter.state()}
        return super().state() | more

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        mac = bytes.fromhex(state["mac"])
        if len(mac) != 6:
            raise ValueError(f"a MAC address of {len(mac)} bytes")
        self._filter.restore(state["filter"])
        self._mac, self._link = mac, bool(state["link"])
        super().restore(state)

    @property
    def _header(self) -> int:
        """Bytes before each frame."""
        return spec.HEADER if self.virtio.has(Basic.VERSION_1 | Feature.MRG_RXBUF) else spec.LEGACY_HEADER

    def _transmit(self, chain: Chain) -> None:
        header, length = self._header, chain.to_read
        if not self._link:
            return
        if not header + SHORTEST <= length <= header + LONGEST:
            self.dropped += 1
            return
        data = chain.read(0, length)
        if not data[0] | data[1]:  # neither flags nor segmentation
            self._port.send(data[header:])
            return
        try:
            for frame in outgoing(data[: spec.LEGACY_HEADER], data[header:]):
                self._port.send(frame)
        except ValueError:
            self.dropped += 1

    def _put(self, queue: Queue, frame: bytes) -> bool:
        """Write a frame to one chain, or with MRG_RXBUF to as many as it takes; False where there are not enough."""
        chain = queue.pop()
        if chain is None:
            return False
        size = self._header + len(frame)
        if chain.to_write >= size:
            queue.push(chain, chain.write(self._received(frame, 1)))
            return True
        queue.unpop(chain)
        if self.virtio.has(Feature.MRG_RXBUF):
            return self._spread(queue, frame, size)
        self.dropped += 1
        return True

    def _spread(self, queue: Queue, frame: bytes, size: int) -> bool:
        chains: list[tuple[Chain, int]] = []  # with the bytes that each has room for
        room = 0
        while room < size:
            chain = queue.pop() if len(chains) < queue.size else None
            if chain is None:
                for taken, _ in reversed(chains):
                    queue.unpop(taken)
                hopeless = len(chains) == queue.size  # it will not fit later either
                self.dropped += hopeless
                return hopeless
            chains.append((chain, chain.to_write))
            room += chains[-1][1]
        data = self._received(frame, len(chains))
        for chain, capacity in chains:
            queue.push(chain, chain.write(data[:capacity]))
            data = data[capacity:]
        return True

    def _received(self, frame: bytes, buffers: int) -> bytes:
        """A frame behind its header."""
        valid = self.virtio.has(Feature.GUEST_CSUM) and is_checksummed(frame)
        return _RECEIVED.pack(HeaderFlag.DATA_VALID if valid else 0, buffers)[: self._header] + frame

    def _control(self, chain: Chain) -> int:
        if not chain.to_write:
            raise QueueBroken("a command with no room for its answer")
        length = chain.to_read
        ack = Ack.ERR
        if 2 <= length <= LONGEST_COMMAND:
            data = chain.read(0, length)
            ack = Ack.OK if self._command(data[0], data[1], data[2:]) else Ack.ERR
        return chain.write(bytes([ack]))

    def _command(self, kind: int, command: int, data: bytes) -> bool:
        """Obey; False where the command is unknown or its data are no good."""
        has = self.virtio.has
        match kind:
            case ControlClass.RX if has(Feature.CTRL_RX if command < 2 else Feature.CTRL_RX_EXTRA):
                return self._filter.set_mode(command, data)
            case ControlClass.MAC if command == MacCommand.ADDR_SET and has(Feature.CTRL_MAC_ADDR):
                self._mac = data if len(data) == 6 else self._mac
                return len(data) == 6
            case ControlClass.MAC if command == MacCommand.TABLE_SET and has(Feature.CTRL_RX):
                return self._filter.set_table(data)
            case ControlClass.VLAN if has(Feature.CTRL_VLAN):
                return self._filter.set_vlan(command, data)
        return False
