"""virtio-scsi: VIRTIO 1.2, "SCSI Host Device".

Omitted: several request queues, commands that move data both ways, protection information, asynchronous notifications
(none is ever reported), priorities and task attributes: commands are executed one after the other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from virtproof.spec import scsi
from virtproof.spec import virtio_scsi as spec
from virtproof.spec.virtio import DeviceId
from virtproof.spec.virtio_scsi import Config, ControlType, Event, Feature, ResetReason, Response, TaskManagement
from virtproof.vmm.devices.virtio.queue import Chain, Queue, QueueBroken, saved_number
from virtproof.vmm.devices.virtio.transport import PciPersonality
from virtproof.vmm.events import After
from virtproof.vmm.scsi.target import LARGEST_TRANSFER, LogicalUnit, execute
from virtproof.vmm.scsi.tasks import Tasks

QUEUE_SIZE, CONTROL_SIZE = 256, 64
TARGETS, LUNS = 256, 1 << 14
CDB_LONGEST, SENSE_LONGEST = 260, 252  # what a driver may set; of a CDB the first 16 bytes count

Units = Mapping[int, LogicalUnit]


class Place(NamedTuple):
    """What the 8 bytes of a LUN field name; a LUN that cannot be is None."""

    target: int
    lun: int | None


class Command(NamedTuple):
    """A request that waits for its unit."""

    chain: Chain
    place: Place | None
    id: int


class VirtioScsi(PciPersonality):
    """``targets``: LUN to unit, by target; it is the device's from now on."""

    kind = DeviceId.SCSI
    features = int(Feature.HOTPLUG)
    queue_sizes = CONTROL_SIZE, CONTROL_SIZE, QUEUE_SIZE
    inputs = frozenset({spec.EVENT})

    def __init__(self, targets: Mapping[int, Units], after: After, *, legacy: bool = True) -> None:
        self._targets = dict(targets)
        self._tasks: Tasks[Command] = Tasks(after, self._finish_later)
        self.forget()
        super().__init__(after, legacy=legacy)

    def plug(self, target: int, units: Units) -> None:
        """Add a target, and tell the driver."""
        self._targets[target] = units
        self._announce(target, ResetReason.RESCAN)

    def unplug(self, target: int) -> None:
        """Take a target away: what waits for it ends, and the driver is told."""
        del self._targets[target]
        self._end(lambda place: place.target == target, Response.BAD_TARGET)
        self._announce(target, ResetReason.REMOVED)

    def config(self) -> bytes:
        sizes = spec.EVENT_SIZE, self._sense_size, self._cdb_size
        return struct.pack("<7IHHI", 1, QUEUE_SIZE - 2, 0xFFFF, 128, *sizes, 0, TARGETS - 1, LUNS - 1)

    def configure(self, offset: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        if (offset, len(data)) == (Config.SENSE_SIZE, 4) and value <= SENSE_LONGEST:
            self._sense_size = value
        elif (offset, len(data)) == (Config.CDB_SIZE, 4) and 1 <= value <= CDB_LONGEST:
            self._cdb_size = value

    def serve(self, queue: int, chain: Chain) -> int | None:
        return self._control(chain) if queue == spec.CONTROL else self._request(chain)

    def refilled(self, queue: int) -> None:
        if self._missed:
            self._report(Event.NO_EVENT, bytes(8), 0)

    def abandon(self) -> None:
        self._tasks.cancel()

    def forget(self) -> None:
        self._sense_size, self._cdb_size = spec.SENSE_SIZE, spec.CDB_SIZE
        self._missed = False  # events that there was no buffer for

    def state(self) -> dict[str, Any]:
        return super().state() | {"sizes": [self._sense_size, self._cdb_size], "missed": self._missed}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        sense, cdb = state["sizes"]
        sense, cdb = saved_number(sense, SENSE_LONGEST), saved_number(cdb, CDB_LONGEST)
        super().restore(state)
        self._sense_size, self._cdb_size, self._missed = sense, cdb, bool(state["missed"])

    @property
    def _response(self) -> int:
        """Bytes of a response, behind which data begin."""
        return spec.RESPONSE_HEADER + self._sense_size

    def _request(self, chain: Chain) -> int | None:
        header = spec.REQUEST_HEADER + self._cdb_size
        if chain.to_read < header or chain.to_write < self._response:
            raise QueueBroken(f"a request of {chain.to_read} bytes with room for {chain.to_write}")
        place, tag = _place(chain.read(0, 8)), int.from_bytes(chain.read(8, 8), "little")
        unit = self._unit(place)
        length = chain.to_read - header + chain.to_write - self._response
        delay = unit.delay(min(length, LARGEST_TRANSFER)) if unit is not None else 0
        if delay:
            self._tasks.submit(Command(chain, place, tag), delay)
            return None
        return self._execute(chain, place)

    def _finish_later(self, command: Command) -> None:
        self.virtio.complete(spec.REQUEST, command.chain, lambda: self._execute(command.chain, command.place))

    def _execute(self, chain: Chain, place: Place | None) -> int:
        header = spec.REQUEST_HEADER + self._cdb_size
        out, room = chain.to_read - header, chain.to_write - self._response
        if place is None or place.target not in self._targets:
            return self._answer(chain, Response.BAD_TARGET, residual=max(out, room))
        if max(out, room) > LARGEST_TRANSFER:
            return self._answer(chain, Response.FAILURE, residual=max(out, room))
        cdb = chain.read(spec.REQUEST_HEADER, min(self._cdb_size, scsi.LARGEST_CDB))
        ended = execute(self._targets[place.target], place.lun, cdb, chain.read(header, out), room)
        moved = min(ended.length, max(out, room))
        response = Response.OVERRUN if ended.length > max(out, room) else Response.OK
        chain.write(ended.data_in, self._response)
        residual = max(out, room) - moved
        return self._answer(chain, response, residual=residual, status=ended.status, sense=ended.sense) + len(
            ended.data_in
        )

    def _answer(
        self, chain: Chain, response: Response, *, residual: int = 0, status: int = 0, sense: bytes = b""
    ) -> int:
        sense = sense[: self._sense_size]
        head = struct.pack("<IIHBB", len(sense), residual & 0xFFFF_FFFF, 0, status, response)
        return chain.write(head + sense.ljust(self._sense_size, b"\0"))

    def _control(self, chain: Chain) -> int:
        if not chain.to_write:
            raise QueueBroken("a control request with no room for its response")
        request = chain.read(0, spec.TASK_MANAGEMENT)
        kind = int.from_bytes(request[:4], "little") if len(request) >= 4 else -1
        if kind == ControlType.TASK_MANAGEMENT and len(request) == spec.TASK_MANAGEMENT:
            subtype, lun, tag = struct.unpack("<4xI8sQ", request)
            return chain.write(bytes([self._manage(subtype, _place(lun), tag)]))
        if kind in (ControlType.ASYNC_QUERY, ControlType.ASYNC_SUBSCRIBE):
            lun = request[4:12]
            there = len(request) >= spec.ASYNC_NOTIFICATION and self._unit(_place(lun)) is not None
            return chain.write(bytes(4) + bytes([Response.OK if there else Response.BAD_TARGET]))
        return chain.write(bytes([Response.FUNCTION_REJECTED]))

    def _manage(self, function: int, place: Place | None, tag: int) -> Response:
        """ "Device Operation: controlq", task management functions."""
        if place is None or place.target not in self._targets:
            return Response.BAD_TARGET
        if self._unit(place) is None and function != TaskManagement.I_T_NEXUS_RESET:
            return Response.INCORRECT_LUN
        match function:
            case TaskManagement.ABORT_TASK:
                self._end(place.__eq__, Response.ABORTED, tag)
            case TaskManagement.ABORT_TASK_SET | TaskManagement.CLEAR_TASK_SET:
                self._end(place.__eq__, Response.ABORTED)
            case TaskManagement.LOGICAL_UNIT_RESET:
                self._reset_units(place.__eq__)
            case TaskManagement.I_T_NEXUS_RESET:
                self._reset_units(lambda other: other.target == place.target)
            case TaskManagement.QUERY_TASK | TaskManagement.QUERY_TASK_SET:
                every = function == TaskManagement.QUERY_TASK_SET
                waits = (task.place == place and (every or task.id == tag) for task in self._tasks.waiting)
                return Response.FUNCTION_SUCCEEDED if any(waits) else Response.OK
            case _:
                return Response.FUNCTION_REJECTED
        return Response.OK  # FUNCTION COMPLETE

    def _reset_units(self, which: Callable[[Place], bool]) -> None:
        self._end(which, Response.RESET)
        for target, units in self._targets.items():
            for lun, unit in units.items():
                if which(Place(target, lun)):
                    unit.reset()

    def _end(self, which: Callable[[Place], bool], response: Response, tag: int | None = None) -> None:
        """End commands that wait, without executing them."""

        def meant(command: Command) -> bool:
            return command.place is not None and which(command.place) and tag in (None, command.id)

        for command in self._tasks.cancel(meant):
            self.virtio.complete(spec.REQUEST, command.chain, lambda chain=command.chain: self._answer(chain, response))  # type: ignore[misc]

    def _announce(self, target: int, reason: ResetReason) -> None:
        if self.virtio.has(Feature.HOTPLUG):
            self._report(Event.TRANSPORT_RESET, bytes((1, target)) + bytes(6), reason)

    def _report(self, event: int, lun: bytes, reason: int) -> None:
        """Tell the driver of an event, or remember that there was no room to."""

        def put(queue: Queue) -> bool:
            chain = queue.pop()
            if chain is None:
                return False
            missed = spec.EVENTS_MISSED * self._missed
            queue.push(chain, chain.write(struct.pack("<I8sI", event | missed, lun, reason)))
            return True

        self._missed = not self.virtio.give(spec.EVENT, put)

    def _unit(self, place: Place | None) -> LogicalUnit | None:
        if place is None or place.lun is None:
            return None
        return self._targets.get(place.target, {}).get(place.lun)


def _place(field: bytes) -> Place | None:
    """1, target, and a single-level LUN of the peripheral or flat method; None where it is nothing like that."""
    if field[:1] != b"\1" or len(field) < 8:
        return None
    high, low = field[2], field[3]
    known = high >> 6 == 1 or high == 0
    return Place(field[1], (high & 0x3F) << 8 | low if known and not any(field[4:]) else None)
