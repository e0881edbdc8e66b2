"""One request: its data, its logical unit, and how it ended.

VMware PVSCSI interface header (vmw_pvscsi.h), "RingReqDesc", "SGElement", "RingCmpDesc".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from virtproof.spec import pvscsi
from virtproof.spec.pvscsi import Completion, Flags, HostStatus, Request
from virtproof.spec.scsi import LARGEST_CDB, Status
from virtproof.vmm.pci.function import DmaError, Function
from virtproof.vmm.scsi import target
from virtproof.vmm.scsi.segments import Segment, gather, scatter
from virtproof.vmm.scsi.target import LARGEST_TRANSFER, LogicalUnit

LARGEST_LIST = 4096  # elements


class Refused(Exception):
    """A request that reaches no target."""

    def __init__(self, status: HostStatus) -> None:
        super().__init__(status)
        self.status = status


class Execution:
    """Executes requests on ``targets``, whose data ``function`` reaches."""

    def __init__(self, function: Function, targets: Mapping[int, Mapping[int, LogicalUnit]]) -> None:
        self._function, self._targets = function, targets

    def execute(self, request: Request) -> Completion:
        """Do what the request asks for; the completion says how it ended."""
        try:
            return self._executed(request)
        except Refused as refused:
            return Completion(request.context, 0, 0, refused.status, Status.GOOD)
        except DmaError:
            return Completion(request.context, 0, 0, HostStatus.HARDWARE, Status.GOOD)

    def _executed(self, request: Request) -> Completion:
        units = self._targets.get(request.target)
        lun, others = request.lun[1], request.lun[:1] + request.lun[2:]
        if units is None or request.bus or any(others):
            raise Refused(HostStatus.SELECTION_TIMEOUT)
        inward, outward = bool(request.flags & Flags.TO_HOST), bool(request.flags & Flags.TO_DEVICE)
        if inward and outward:
            raise Refused(HostStatus.BAD_MESSAGE)
        if request.flags & Flags.OUT_OF_BAND_CDB or request.cdb_length > LARGEST_CDB:
            raise Refused(HostStatus.SOFTWARE)
        segments = self._segments(request) if inward or outward else []
        room = sum(length for _, length in segments)
        data_out = gather(self._function.dma_read, segments) if outward else b""
        done = target.execute(units, lun, request.cdb[: request.cdb_length], data_out, room if inward else 0)
        if done.length and room and done.reads != inward:
            raise Refused(HostStatus.BAD_MESSAGE)
        scatter(self._function.dma_write, segments, done.data_in)
        return self._ended(request, done, room)

    def _ended(self, request: Request, done: target.Completion, room: int) -> Completion:
        complete = partial(Completion, request.context)
        if done.status is not Status.GOOD:
            return complete(0, self._write_sense(request, done.sense), HostStatus.SUCCESS, done.status)
        if done.length > room:
            return complete(len(done.data_in), 0, HostStatus.DATA_RUN, Status.GOOD)
        asked = request.length if request.flags & (Flags.TO_HOST | Flags.TO_DEVICE) else 0
        under = done.length < asked
        return complete(done.length, 0, HostStatus.UNDERRUN if under else HostStatus.SUCCESS, Status.GOOD)

    def _write_sense(self, request: Request, sense: bytes) -> int:
        sense = sense[: request.sense_length]
        try:
            if sense:
                self._function.dma_write(request.sense, sense)
        except DmaError:
            return 0
        return len(sense)

    def _segments(self, request: Request) -> list[Segment]:
        """Where the data are, at most ``request.length`` bytes; a list may have less."""
        if request.length > LARGEST_TRANSFER:
            raise Refused(HostStatus.SOFTWARE)
        if not request.flags & Flags.SG_LIST:
            return [(request.data, request.length)] if request.length else []
        return self._list(request.data, request.length)

    def _list(self, at: int, left: int) -> list[Segment]:
        segments: list[Segment] = []
        seen = 0
        while left and seen < LARGEST_LIST:
            # As many as lie in this page: the driver's list may end where its memory does.
            room = max(1, (-at % pvscsi.PAGE or pvscsi.PAGE) // pvscsi.ELEMENT_SIZE)
            for address, length, flags in pvscsi.ELEMENT.iter_unpack(
                self._function.dma_read(at, room * pvscsi.ELEMENT_SIZE)
            ):
                seen, at = seen + 1, at + pvscsi.ELEMENT_SIZE
                if flags & pvscsi.CHAIN:
                    at = address
                    break
                if not left or not length:  # an element of no bytes ends the list
                    return segments or self._refuse()
                segments.append((address, min(length, left)))
                left -= segments[-1][1]
        return segments if not left else self._refuse()

    def _refuse(self) -> list[Segment]:
        raise Refused(HostStatus.SOFTWARE)
