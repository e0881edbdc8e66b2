"""A queue that receives: a frame goes into a head buffer, and on into bodies where that is too small."""

from typing import Any

from virtproof.spec.vmxnet3 import (
    RX_COMPLETION,
    Feature,
    QueueError,
    RxCompletion0,
    RxCompletion2,
    RxCompletion3,
    RxQueueConf,
    RxStatistics,
    RxWord2,
)
from virtproof.vmm.devices.vmxnet3.headers import NOT_CHECKED, untagged, verified
from virtproof.vmm.devices.vmxnet3.rings import CompletionRing, DescriptorRing
from virtproof.vmm.devices.vmxnet3.rss import UNHASHED, Steered
from virtproof.vmm.pci.function import DmaError, Function

LOOKS = 256  # descriptors that are looked at for one frame: the driver may have laid out bodies where heads belong

# Plain numbers: a Bits or a flag of each descriptor would cost more than all the rest.
_CHECKSUM, _VLAN = Feature.RX_CHECKSUM.value, Feature.RX_VLAN.value
_LENGTH, _BODY, _GEN = RxWord2.len.mask, RxWord2.btype.mask, RxWord2.gen.mask
_SOP, _EOP = RxCompletion0.sop.mask, RxCompletion0.eop.mask
_RSS = RxCompletion0.rss.lo
_RING, _ERR, _TS, _TCI = RxCompletion0.ring.lo, RxCompletion2.err.mask, RxCompletion2.ts.mask, RxCompletion2.tci.lo
_TYPE = RX_COMPLETION << RxCompletion3.type.lo | RxCompletion3.fcs.mask


class RxQueue:
    """``number`` of ``queues``; ``pieces`` is how many buffers a frame may take, 0: any number."""

    def __init__(
        self,
        function: Function,
        conf: RxQueueConf,
        address: int,
        *,
        number: int,
        queues: int,
        pieces: int,
        features: int,
    ) -> None:
        self._dma_write = function.dma_write
        self.conf, self.address = conf, address  # of its descriptor in the table of queues
        self.rings = (
            DescriptorRing(function.dma_read, conf.ring0, conf.size0, _GEN),
            DescriptorRing(function.dma_read, conf.ring1, conf.size1, _GEN),
        )
        self.completions = CompletionRing(function.dma_write, conf.completion, conf.completion_size)
        self._ids = number << _RING, number + queues << _RING
        self._pieces = pieces or LOOKS
        self.features = features
        self.error = 0
        self.statistics = [0] * 10

    def receive(self, frame: bytes, steered: Steered = UNHASHED) -> bool:
        """Take a frame, or drop it and count why; return whether there were completions."""
        if self.error:
            return False
        word0, word2, word3 = NOT_CHECKED, 0, _TYPE
        try:
            if self.features & _CHECKSUM:
                word0, known = verified(frame)
                word3 |= known
            stripped = untagged(frame) if self.features & _VLAN else None
            if stripped is not None:
                frame, tci = stripped
                word2 = _TS | tci << _TCI
            plan = self._plan(len(frame))
            if plan is None:
                return False
            self._fill(frame, plan, (word0 | steered.type << _RSS, steered.hash, word2, word3))
            self.completions.flush()
        except DmaError:
            self.error = QueueError.INVALID_DESCRIPTOR
        return not self.error

    def state(self) -> dict[str, Any]:
        return {
            "rings": [ring.state() for ring in self.rings],
            "completions": self.completions.state(),
            "error": int(self.error),
            "features": self.features,
            "statistics": list(self.statistics),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for ring, saved in zip(self.rings, state["rings"], strict=True):
            if ring.size:
                ring.restore(saved)
        self.completions.restore(state["completions"])
        self.error, self.features = int(state["error"]) & 0xFFFF_FFFF, int(state["features"])
        self.statistics = [int(n) & (1 << 64) - 1 for n in state["statistics"]]
        if len(self.statistics) != len(RxStatistics):
            raise ValueError("no state of a queue that receives")

    def _plan(self, length: int) -> list[tuple[int, int]] | None:
        """By ring and place: buffers for ``length`` bytes.  None, and counted, where they are not there.

        Bodies come from ring 0, behind the head, as long as there are any, and from ring 1.  What cannot be used in
        ring 0 is passed over, and goes back to the driver without a completion.
        """
        plan: list[tuple[int, int]] = []
        nexts = [0, 0]
        for _ in range(LOOKS):
            number = 0
            descriptor = self.rings[0].peek(nexts[0])
            if plan and (descriptor is None or not descriptor[1] & _BODY):
                number, descriptor = 1, self.rings[1].peek(nexts[1])
            if descriptor is None:
                self.statistics[RxStatistics.NO_BUFFER] += 1
                return None
            body, size = bool(descriptor[1] & _BODY), descriptor[1] & _LENGTH
            nexts[number] += 1
            if number == 1 and not body:
                break
            if body == bool(plan) and size:
                plan.append((number, nexts[number] - 1))
                length -= size
                if length <= 0:
                    return plan
                if len(plan) == self._pieces:
                    break
        self.statistics[RxStatistics.ERRORS] += 1
        return None

    def _fill(self, frame: bytes, plan: list[tuple[int, int]], known: tuple[int, int, int, int]) -> None:
        """Write the frame and its completions; ``known`` is what the last of them says beside where the frame is."""
        done, last = 0, len(plan) - 1
        taken = [0, 0]
        error = 0
        for piece, (number, place) in enumerate(plan):
            ring = self.rings[number]
            descriptor = ring.peek(place)
            assert descriptor is not None  # the plan has seen it
            data = frame[done : done + (descriptor[1] & _LENGTH)]
            done += len(data)
            try:
                self._dma_write(descriptor[0], data)
            except DmaError:  # the buffer is nowhere
                error = _ERR
            first = ring.place(place) | self._ids[number] | (0 if piece else _SOP)
            if piece == last:
                word0, word1, word2, word3 = known
                self.completions.push(first | _EOP | word0, word1, len(data) | word2 | error, word3)
            else:
                self.completions.push(first | NOT_CHECKED, 0, len(data), _TYPE)
            taken[number] = place + 1
        for ring, count in zip(self.rings, taken, strict=True):
            if count:
                ring.take(count)
        self._count(frame, error)

    def _count(self, frame: bytes, error: int) -> None:
        if error:
            self.statistics[RxStatistics.ERRORS] += 1
            return
        at = RxStatistics.UNICAST_FRAMES
        if frame[0] & 1:
            at = RxStatistics.BROADCAST_FRAMES if frame[:6] == b"\xff" * 6 else RxStatistics.MULTICAST_FRAMES
        self.statistics[at] += 1
        self.statistics[at + 1] += len(frame)
