"""From memory onto the cable: "Packet Transmission"."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from struct import iter_unpack
from typing import Any

from virtproof.spec import e1000
from virtproof.spec.e1000 import CRC, LONGEST_WITH_LPE, Cause, Ctrl, Statistic, Tctl
from virtproof.spec.e1000_descriptors import CONTEXT, DATA, SIZE, STATUS_OFFSET, Context, ContextOffsets, Data, Legacy
from virtproof.vmm.devices.e1000.interrupts import After, Delay, Interrupts
from virtproof.vmm.devices.e1000.ring import Ring
from virtproof.vmm.devices.e1000.statistics import Statistics
from virtproof.vmm.events import Timer
from virtproof.vmm.network.port import SHORTEST
from virtproof.vmm.network.segment import insert_checksum, segments
from virtproof.vmm.pci.function import DmaError, Function

# A pass over the ring takes so many descriptors and bytes at most; what is left waits for the event loop.
PASS_DESCRIPTORS, PASS_BYTES, FRAME_COST = 256, 1 << 20, 1024
FETCH = 64  # descriptors read at once
LONGEST_FRAME = LONGEST_WITH_LPE - CRC
LONGEST_TO_CUT = (64 << 10) + 255  # what IP can say, behind any header that HDRLEN can name
UNPADDED = e1000.SHORTEST - CRC
TAG_AT = 12

# Of each descriptor: what a field is is not worked out again.
_DEXT, _EOP, _IC, _VLE, _IDE = (f.mask for f in (Legacy.dext, Legacy.eop, Legacy.ic, Legacy.vle, Legacy.ide))
_REPORT = Legacy.rs.mask | Legacy.rps.mask
_LENGTH, _LONG_LENGTH, _TSE = Legacy.length.mask, Data.length.mask, Data.tse.mask
_EN, _PSP, _VME, _TXDW = Tctl.en.mask, Tctl.psp.mask, Ctrl.vme.mask, Cause.txdw.mask
_DONE = bytes([1])


class Transmitter:
    """Sends what the transmit ring names to ``send``.

    ``dropped`` counts frames that cannot be sent: too long or too short, or not to be cut as asked.
    """

    def __init__(
        self,
        function: Function,
        registers: dict[int, int],
        statistics: Statistics,
        interrupts: Interrupts,
        delay: Delay,
        send: Callable[[bytes], None],
        after: After,
    ) -> None:
        self._function, self._registers, self._statistics = function, registers, statistics
        self._interrupts, self._delay, self._send, self._after = interrupts, delay, send, after
        self.ring = Ring(registers, e1000.TDBAL)
        self.dropped = 0
        self._timer: Timer | None = None
        self._running = False
        self._resets = 0
        self._cost = 0
        self._first: int | None = None  # word of the frame's first descriptor
        self._forget()

    def kick(self) -> None:
        """There may be descriptors: send what can be sent now."""
        if self._timer is None and not self._running:
            self._run()

    def reset(self) -> None:
        """Forget everything; a pass that is under way ends, and writes no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._resets += 1
        self._forget()

    def state(self) -> dict[str, Any]:
        contexts = [[int(offsets), int(context)] for offsets, context in self._contexts]
        return {"frame": self._frame.hex(), "too_long": self._too_long, "first": self._first, "contexts": contexts}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave; raises ValueError, TypeError or KeyError for anything else."""
        frame, first = bytearray.fromhex(state["frame"]), state["first"]
        contexts = [(ContextOffsets(offsets), Context(word)) for offsets, word in state["contexts"]]
        if len(contexts) != 2 or len(frame) > LONGEST_TO_CUT:
            raise ValueError(f"{len(contexts)} contexts, {len(frame)} bytes of a frame")
        self.reset()
        self._contexts, self._frame, self._too_long = contexts, frame, bool(state["too_long"])
        self._first = None if first is None else int(first)
        self._timer = self._after(0, self._run)  # there may be descriptors

    def _forget(self) -> None:
        self._contexts = [(ContextOffsets(0), Context(0))] * 2  # of frames to be sent as they are, and to be cut
        self._end_frame()

    def _end_frame(self) -> None:
        self._frame = bytearray()
        self._too_long = False
        self._first = None

    def _run(self) -> None:
        self._timer = None
        self._running = True
        causes, taken, resets = 0, 0, self._resets
        self._cost = 0
        try:
            while self._registers[e1000.TCTL] & _EN and taken < PASS_DESCRIPTORS and self._cost < PASS_BYTES:
                n, of = self._take(min(FETCH, PASS_DESCRIPTORS - taken))
                causes |= of
                taken += n
                if resets != self._resets:
                    return
                if not n:
                    break
        finally:
            self._running = False
        if taken and not self.ring.owned:
            causes |= Cause.txqe.mask
        if causes:
            self._interrupts.signal(causes)
        if taken and self.ring.owned:
            self._timer = self._after(0, self._run)

    def _take(self, most: int) -> tuple[int, int]:
        """Do what up to so many descriptors ask for; return their number, and causes of interrupts."""
        ring, function, resets = self.ring, self._function, self._resets
        base, count, index, owned = ring.now()
        n, causes = min(most, owned, count - index), 0
        if n <= 0:
            return 0, 0
        try:
            descriptors = function.dma_read(base + SIZE * index, SIZE * n)
        except DmaError:
            return 0, 0  # no ring there; the next doorbell tries again
        taken = 0
        for address, word in iter_unpack("<QQ", descriptors):
            self._descriptor(address, word)
            if resets != self._resets:
                break
            if word & _REPORT:
                with suppress(DmaError):  # a write that nobody claims
                    function.dma_write(base + SIZE * index + STATUS_OFFSET, _DONE)
                if word & _IDE and self._registers[e1000.TIDV]:
                    self._delay.start(self._registers[e1000.TIDV], self._registers[e1000.TADV])
                else:
                    causes |= _TXDW
            index = (index + 1) % count
            ring.head = index
            taken += 1
            if self._cost >= PASS_BYTES:
                break
        return taken, causes

    def _descriptor(self, address: int, word: int) -> None:
        if not word & _DEXT:
            self._gather(address, word & _LENGTH, word)
        else:
            kind = Data.dtyp.of(word)
            if kind == CONTEXT:
                context = Context(word)
                self._contexts[context.tse] = ContextOffsets(address), context
            if kind != DATA:
                return  # the others are reserved
            self._gather(address, word & _LONG_LENGTH, word)
        if word & _EOP:
            first, frame, too_long = self._first or 0, self._frame, self._too_long
            self._end_frame()
            if too_long:
                self.dropped += 1
            elif frame:
                self._finish(frame, first, word)

    def _gather(self, address: int, length: int, word: int) -> None:
        if self._first is None:
            self._first = word
        limit = LONGEST_TO_CUT if self._first & _DEXT and self._first & _TSE else LONGEST_FRAME
        if self._too_long or len(self._frame) + length > limit:
            self._too_long = True
            self._frame.clear()
            return
        self._cost += length
        try:
            self._frame += self._function.dma_read(address, length)
        except DmaError:
            self._frame += bytes(length)  # a read that nobody answers brings nothing of anybody's

    def _finish(self, frame: bytearray, first: int, last: int) -> None:
        """Send a whole frame; ``first`` and ``last`` are the words of its outer descriptors."""
        if not first & _DEXT:
            if last & _IC:
                _insert(frame, Legacy.css.of(last), Legacy.cso.of(last), 0)
            self._emit(frame, last)
        elif first & _TSE:
            resets, (offsets, context) = self._resets, self._contexts[1]
            self._statistics.count(Statistic.TSCTC)
            try:
                if not context.tcp:
                    raise ValueError("segmentation of UDP")
                for segment in segments(bytes(frame), context.hdrlen, context.mss, offsets.ipcss, offsets.tucss):
                    if resets == self._resets:
                        self._emit(bytearray(segment), last)
            except ValueError:
                self.dropped += 1
                self._statistics.count(Statistic.TSCTFC)
        else:
            offsets, _ = self._contexts[0]
            if first & Data.ixsm.mask:
                _insert(frame, offsets.ipcss, offsets.ipcso, offsets.ipcse)
            if first & Data.txsm.mask:
                _insert(frame, offsets.tucss, offsets.tucso, offsets.tucse)
            self._emit(frame, last)

    def _emit(self, frame: bytearray, last: int) -> None:
        registers = self._registers
        if last & _VLE and registers[e1000.CTRL] & _VME and len(frame) >= TAG_AT:
            tag = registers[e1000.VET].to_bytes(2, "big") + Legacy.special.of(last).to_bytes(2, "big")
            frame[TAG_AT:TAG_AT] = tag
        if registers[e1000.TCTL] & _PSP and len(frame) < UNPADDED:
            frame += bytes(UNPADDED - len(frame))
        if len(frame) < SHORTEST:
            self.dropped += 1
            return
        self._cost += FRAME_COST
        self._statistics.sent(frame)
        self._send(bytes(frame))


def _insert(frame: bytearray, start: int, at: int, last: int) -> None:
    """Insert a checksum; one whose places are not in the frame is left out.  A ``last`` of 0 is the frame's."""
    with suppress(ValueError):
        insert_checksum(frame, start, at, min(last + 1, len(frame)) if last else None)
