"""A queue that transmits: descriptors become frames, with the offloads that the first of a packet asks for."""

from collections.abc import Iterator
from typing import Any

from virtproof.spec import vmxnet3 as spec
from virtproof.spec.vmxnet3 import OffloadMode, QueueError, TxQueueConf, TxStatistics, TxWord2, TxWord3
from virtproof.vmm.devices.vmxnet3.headers import TCP, layers, tagged
from virtproof.vmm.devices.vmxnet3.rings import CompletionRing, Descriptor, DescriptorRing
from virtproof.vmm.network.port import LONGEST, SHORTEST, Port
from virtproof.vmm.network.segment import insert_checksum, segments
from virtproof.vmm.pci.function import DmaError, Function

# A Bits of each descriptor would cost more than all the rest.
_LENGTH, _DTYPE, _GEN = TxWord2.len.mask, TxWord2.dtype.mask, TxWord2.gen.mask
_EOP, _CQ, _TI, _OM = TxWord3.eop.mask, TxWord3.cq.mask, TxWord3.ti.mask, TxWord3.om.mask


class TxQueue:
    """``link`` says whether frames leave; without it they are discarded."""

    def __init__(self, function: Function, port: Port, conf: TxQueueConf, address: int) -> None:
        self._dma_read, self._port = function.dma_read, port
        self.conf, self.address = conf, address  # of its descriptor in the table of queues
        self.ring = DescriptorRing(function.dma_read, conf.ring, conf.size, _GEN)
        self.completions = CompletionRing(function.dma_write, conf.completion, conf.completion_size)
        self.error = 0  # why it has stopped
        self.link = True
        self.statistics = [0] * 10
        self._chain: list[Descriptor] = []  # a packet whose end has not come
        self._completed = False

    def run(self, budget: int) -> tuple[bool, bool]:
        """Send what there is; return whether there were completions, and whether ``budget`` was too little.

        A descriptor and a frame that leaves count one each.  An error stops the queue.
        """
        self._completed = False
        ring = self.ring
        try:
            while budget > 0 and not self.error:
                descriptor = ring.peek()
                if descriptor is None:
                    break
                index = ring.index
                ring.take()
                budget -= 1 + self._add(descriptor, index)
            self.completions.flush()
        except DmaError:
            self.error = QueueError.INVALID_DESCRIPTOR
        return self._completed, budget <= 0 and not self.error

    def state(self) -> dict[str, Any]:
        return {
            "ring": self.ring.state(),
            "completions": self.completions.state(),
            "error": int(self.error),
            "statistics": list(self.statistics),
            "chain": [list(descriptor) for descriptor in self._chain],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.ring.restore(state["ring"])
        self.completions.restore(state["completions"])
        self.error = int(state["error"]) & 0xFFFF_FFFF
        self.statistics = [int(n) & (1 << 64) - 1 for n in state["statistics"]]
        self._chain = [(int(address), int(word2), int(word3)) for address, word2, word3 in state["chain"]]
        if len(self.statistics) != len(TxStatistics) or len(self._chain) >= self.ring.size:
            raise ValueError("no state of a queue that transmits")

    def _add(self, descriptor: Descriptor, index: int) -> int:
        """Take one descriptor; return how many frames have left."""
        address, word2, word3 = descriptor
        chain = self._chain
        if word2 & _DTYPE:
            self.error = QueueError.DESCRIPTOR_NOT_SUPPORTED
            return 0
        if not word3 & _EOP:
            chain.append(descriptor)
            if len(chain) == self.ring.size:
                self.error = QueueError.NO_EOP
            return 0
        if chain:
            chain.append(descriptor)
            sent = self._send_chain()
            chain.clear()
        else:
            data = self._dma_read(address, word2 & _LENGTH or spec.TX_LONGEST)
            sent = self._send(data, descriptor)
        if word3 & _CQ and not self.error:
            self.completions.push(index, 0, 0, 0)
            self._completed = True
        return sent

    def _send_chain(self) -> int:
        chain = self._chain
        segmented = TxWord3(chain[0][2]).om == OffloadMode.SEGMENTATION
        length = sum(word2 & _LENGTH or spec.TX_LONGEST for _, word2, _ in chain)
        if length > LONGEST or (len(chain) > spec.TX_DESCRIPTORS and not segmented):
            self.error = QueueError.BIG_PACKET
            return 0
        data = b"".join(self._dma_read(address, word2 & _LENGTH or spec.TX_LONGEST) for address, word2, _ in chain)
        return self._send(data, chain[0])

    def _send(self, data: bytes, first: Descriptor) -> int:
        statistics = self.statistics
        if not self.link:
            statistics[TxStatistics.DISCARDED] += 1
            return 0
        if not first[2] & (_OM | _TI) and len(data) >= SHORTEST:
            self._count(data)
            self._port.send(data)
            return 1
        sent = 0
        try:
            for frame in self._offloaded(data, TxWord2(first[1]), TxWord3(first[2])):
                self._count(frame)
                self._port.send(frame)
                sent += 1
        except ValueError:  # what it asks for does not fit the packet
            statistics[TxStatistics.ERRORS] += 1
        return sent

    def _offloaded(self, data: bytes, word2: TxWord2, word3: TxWord3) -> Iterator[bytes]:
        """The frames that a packet becomes.  Raises ValueError, before the first, where it asks for the impossible."""
        if len(data) < SHORTEST:
            raise ValueError(f"a frame of {len(data)} bytes")
        frames: Iterator[bytes]
        match word3.om:
            case OffloadMode.NONE:
                frames = iter((data,))
            case OffloadMode.CHECKSUM:
                whole = bytearray(data)
                insert_checksum(whole, word3.hlen, word2.msscof)
                frames = iter((bytes(whole),))
            case OffloadMode.SEGMENTATION:
                found = layers(data)
                if found is None or found.protocol != TCP:
                    raise ValueError("no TCP")
                frames = self._counted(segments(data, word3.hlen, word2.msscof, found.ip, found.transport))
            case _:
                raise ValueError("no such offload")
        for frame in frames:
            yield tagged(frame, word3.tci) if word3.ti else frame

    def _counted(self, frames: Iterator[bytes]) -> Iterator[bytes]:
        for frame in frames:
            self.statistics[TxStatistics.TSO_FRAMES] += 1
            self.statistics[TxStatistics.TSO_BYTES] += len(frame)
            yield frame

    def _count(self, frame: bytes) -> None:
        at = TxStatistics.UNICAST_FRAMES
        if frame[0] & 1:
            at = TxStatistics.BROADCAST_FRAMES if frame[:6] == b"\xff" * 6 else TxStatistics.MULTICAST_FRAMES
        self.statistics[at] += 1
        self.statistics[at + 1] += len(frame)
