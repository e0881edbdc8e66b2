"""SCSI IO and task management: requests that concern the devices.

LSI Fusion-MPT MPI 1.5 interface, "SCSI IO Request", "SCSI Task Management".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import IocStatus, ScsiIo, TaskMgmt, TaskType
from virtproof.spec.scsi import LARGEST_CDB, Status, lun_of
from virtproof.vmm.devices.lsi_mpt.buffers import Refused, segments
from virtproof.vmm.devices.lsi_mpt.ioc import Ioc
from virtproof.vmm.events import After
from virtproof.vmm.pci.function import DmaError, Function
from virtproof.vmm.scsi import target
from virtproof.vmm.scsi.segments import gather, scatter
from virtproof.vmm.scsi.target import LARGEST_TRANSFER, Completion, LogicalUnit
from virtproof.vmm.scsi.tasks import Tasks


class Requests:
    """``push`` posts the context of a request that went well, ``reply`` what there is to say of another."""

    def __init__(
        self,
        ioc: Ioc,
        targets: Mapping[int, Mapping[int, LogicalUnit]],
        function: Function,
        after: After,
        push: Callable[[int], None],
        reply: Callable[[bytes], None],
    ) -> None:
        self._ioc, self._targets, self._function = ioc, targets, function
        self._push, self._reply = push, reply
        self._tasks = Tasks[bytes](after, self._run)  # whole frames: they were copied once, and stay as they were

    @property
    def waiting(self) -> list[bytes]:
        return self._tasks.waiting

    def drop(self) -> None:
        """Nothing that waits will complete."""
        self._tasks.cancel()

    def reset_units(self) -> None:
        """Reset all devices."""
        self._reset(*self._targets)

    def submit(self, frame: bytes) -> None:
        """Take a SCSI IO request."""
        request = ScsiIo.unpack(frame)
        if len(self._tasks) >= mpt.DEPTH:
            self._ioc.fail(IocStatus.INSUFFICIENT_RESOURCES)
            return
        lun = lun_of(request.lun)
        unit = None if lun is None else self._targets.get(request.target, {}).get(lun)
        delay = unit.delay(min(request.length, LARGEST_TRANSFER)) if unit is not None else 0
        self._tasks.submit(frame, delay)

    def _run(self, frame: bytes) -> None:
        request = ScsiIo.unpack(frame)
        try:
            self._finish(request, *self._execute(request, frame))
        except Refused as refused:
            self._fail(request, refused.status)
        except DmaError:
            self._fail(request, IocStatus.SCSI_IO_DATA_ERROR)

    def _execute(self, request: ScsiIo, frame: bytes) -> tuple[Completion, int]:
        if request.bus:
            raise Refused(IocStatus.SCSI_INVALID_BUS)
        if request.target >= self._ioc.model.max_devices:
            raise Refused(IocStatus.SCSI_INVALID_TARGETID)
        units = self._targets.get(request.target)
        if units is None:
            raise Refused(IocStatus.SCSI_DEVICE_NOT_THERE)
        inward, outward = (request.control & mpt.DIRECTION == way for way in (mpt.READ_CONTROL, mpt.WRITE_CONTROL))
        room = request.length if inward or outward else 0
        if room > LARGEST_TRANSFER:
            raise Refused(IocStatus.INVALID_FIELD)
        where = segments(frame, mpt.SCSI_IO_SIZE, room, self._function.dma_read) if room else []
        data_out = gather(self._function.dma_read, where) if outward else b""
        cdb = request.cdb[: min(request.cdb_length, LARGEST_CDB)]
        done = target.execute(units, lun_of(request.lun), cdb, data_out, room if inward else 0)
        if done.length and room and done.reads != inward:
            raise Refused(IocStatus.SCSI_PROTOCOL_ERROR)
        scatter(self._function.dma_write, where, done.data_in)
        return done, room

    def _finish(self, request: ScsiIo, done: Completion, room: int) -> None:
        if done.status is Status.GOOD and done.length == room:
            self._push(request.context & ~mpt.ADDRESS_REPLY)  # nothing to tell
            return
        state, sense, status, moved = 0, 0, IocStatus.SUCCESS, min(done.length, room)
        if done.status is not Status.GOOD:
            sense = self._write_sense(request, done.sense)
            state = mpt.AUTOSENSE_VALID if sense else mpt.AUTOSENSE_FAILED
        elif done.length > room:
            status, moved = IocStatus.SCSI_DATA_OVERRUN, len(done.data_in)
        else:
            status = IocStatus.SCSI_DATA_UNDERRUN
        self._fail(request, status, done.status, state, moved, sense)

    def _write_sense(self, request: ScsiIo, sense: bytes) -> int:
        sense = sense[: request.sense_length]
        try:
            if sense:
                self._function.dma_write(self._ioc.init.sense_high << 32 | request.sense, sense)
        except DmaError:
            return 0
        return len(sense)

    def _fail(
        self,
        request: ScsiIo,
        status: int,
        scsi_status: int = 0,
        state: int | None = None,
        moved: int = 0,
        sense: int = 0,
    ) -> None:
        """Post a reply to a SCSI IO request that says more than "done"."""
        if state is None:
            state = mpt.NO_SCSI_STATUS
        self._reply(
            mpt.SCSI_IO_REPLY.pack(
                request.target, request.bus, mpt.SCSI_IO_REPLY.size // 4, request.function, request.cdb_length,
                request.sense_length, request.msg_flags, request.context, scsi_status, state, status, 0, moved, sense,
                0,
            )
        )  # fmt: skip

    def manage(self, request: TaskMgmt) -> None:
        """Abort or reset; what that terminates is told first."""
        status, terminated = IocStatus.SUCCESS, []
        units = self._targets.get(request.target)
        match request.task_type:
            case TaskType.ABORT_TASK:
                terminated = self._terminate(context=request.task_context, target=request.target)
            case TaskType.RESET_BUS:
                terminated = self._terminate()
                self._reset(*self._targets)
            case TaskType.TARGET_RESET | TaskType.LOGICAL_UNIT_RESET if units is None:
                status = IocStatus.SCSI_DEVICE_NOT_THERE
            case TaskType.TARGET_RESET:
                terminated = self._terminate(target=request.target)
                self._reset(request.target)
            case TaskType.LOGICAL_UNIT_RESET:
                terminated = self._terminate(target=request.target, lun=request.lun)
            case _:
                status = IocStatus.INVALID_FIELD
        for each in terminated:
            self._fail(each, IocStatus.SCSI_TASK_TERMINATED)
        self._reply(
            mpt.TASK_MGMT_REPLY.pack(
                request.target, request.bus, mpt.TASK_MGMT_REPLY.size // 4, request.function, 0, request.task_type,
                request.msg_flags, request.context, status, 0, len(terminated),
            )
        )  # fmt: skip

    def _terminate(self, **which: int | bytes) -> list[ScsiIo]:
        def matches(frame: bytes) -> bool:
            request = ScsiIo.unpack(frame)
            return all(getattr(request, name) == value for name, value in which.items())

        return [ScsiIo.unpack(frame) for frame in self._tasks.cancel(matches)]

    def _reset(self, *targets: int) -> None:
        for number in targets:
            for unit in self._targets[number].values():
                unit.reset()
