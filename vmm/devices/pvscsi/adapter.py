"""VMware PVSCSI: the paravirtual SCSI adapter (spec/pvscsi.py).

The rings' indices and sizes that belong to the device are kept here: what the guest writes over them changes nothing.
A kick handles a bounded number of requests and bytes, and the event loop the rest.  A request is taken from its ring
only when there is room for its completion.

Omitted: the message ring (hot plug), the request call threshold, CONFIG pages, CDBs out of band: drivers ask before
they use them.  A ring that turns out not to be in memory is forgotten, as by a reset.
"""
# ruff: noqa: E701 -- one register, one line

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from virtproof.spec import pvscsi
from virtproof.spec.pvscsi import Command, Completion, HostStatus, Interrupt, Request, SetupRings
from virtproof.spec.scsi import Status
from virtproof.vmm.devices.pvscsi.execution import Execution
from virtproof.vmm.devices.pvscsi.rings import INDEX, Rings, is_ring
from virtproof.vmm.events import After, Timer
from virtproof.vmm.pci.function import Bar, DmaError, Function, Identity, Msi, Msix
from virtproof.vmm.scsi.target import LARGEST_TRANSFER, LogicalUnit
from virtproof.vmm.scsi.tasks import Tasks

REQUESTS_AT_ONCE = 64  # of one kick; and so many bytes:
BYTES_AT_ONCE = 4 << 20


class PvScsi:
    """``targets``: by number below 64, the logical units of each, by number below 256."""

    def __init__(self, targets: Mapping[int, Mapping[int, LogicalUnit]], after: After) -> None:
        self._targets, self._after = targets, after
        self.function = Function(
            Identity(
                pvscsi.VENDOR, pvscsi.DEVICE, pvscsi.CLASS, pvscsi.REVISION,
                subsystem_vendor=pvscsi.VENDOR, subsystem=pvscsi.DEVICE, interrupt_pin=1,
            ),
            [Bar(0, pvscsi.BAR_SIZE, "memory32", self)],
            msi=Msi(offset=pvscsi.MSI_OFFSET),
            msix=Msix(vectors=1, bar=0, table=pvscsi.MSIX_TABLE, pba=pvscsi.MSIX_PBA),
        )  # fmt: skip
        self._execution = Execution(self.function, targets)
        self._tasks = Tasks[Request](after, self._execute_late)
        self._more: Timer | None = None  # requests that the last kick left
        self._command: Command | None
        self._rings: Rings | None
        self._clear()

    def read(self, offset: int, size: int) -> int:
        return self._register(offset & ~3) >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def _register(self, offset: int) -> int:
        match offset:
            case pvscsi.COMMAND_STATUS:
                return self._status
            case pvscsi.INTR_STATUS:
                return self._pending
            case pvscsi.INTR_MASK:
                return self._enabled
        return 0

    # fmt: off
    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4:
            return  # no register is narrower
        match offset:
            case pvscsi.COMMAND:        self._begin(value)
            case pvscsi.COMMAND_DATA:   self._continue(value)
            case pvscsi.INTR_STATUS:    self._acknowledge(value)
            case pvscsi.INTR_MASK:      self._enable(value & pvscsi.INTERRUPTS)
            case pvscsi.KICK_RW_IO | pvscsi.KICK_NON_RW_IO:
                self._kick()
    # fmt: on

    def reset(self) -> None:
        """Forget the rings and what waits; the logical units are as after power-on."""
        self._drop()
        self._reset_units(self._targets)
        self._clear()
        self._interrupt()

    def state(self) -> dict[str, Any]:
        return {
            "command": [self._command, self._arguments.hex(), self._status],
            "interrupts": [self._pending, self._enabled],
            "rings": None if self._rings is None else asdict(self._rings),
            "waiting": [request.pack().hex() for request in self._tasks.waiting],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        command, arguments, status = state["command"]
        pending, enabled = (int(value) & pvscsi.INTERRUPTS for value in state["interrupts"])
        rings = None if state["rings"] is None else Rings.restored(state["rings"])
        waiting = [Request.unpack(_sized(bytes.fromhex(raw), pvscsi.REQUEST_SIZE)) for raw in state["waiting"]]
        if len(waiting) > (rings.completion_entries if rings else 0):
            raise ValueError(f"{len(waiting)} requests wait")
        known = command in pvscsi.ARGUMENTS
        self._drop()
        self._command = Command(command) if known else None
        self._arguments = bytearray.fromhex(arguments)[: pvscsi.ARGUMENTS[Command(command)] if known else 0]
        self._status, self._pending, self._enabled = int(status) & INDEX, pending, enabled
        self._rings = rings
        for request in waiting:
            self._submit(request)
        if rings is not None:
            self._later()
        self.function.set_intx(bool(self._pending & self._enabled))

    def _clear(self) -> None:
        self._command = None
        self._arguments = bytearray()
        self._status = pvscsi.SUCCEEDED
        self._pending = self._enabled = 0
        self._rings = None

    def _drop(self) -> None:
        """Nothing that waits will complete."""
        self._tasks.cancel()
        if self._more is not None:
            self._more.cancel()
            self._more = None

    # Commands

    def _begin(self, value: int) -> None:
        self._arguments.clear()
        self._command = Command(value) if value in pvscsi.ARGUMENTS else None
        if self._command is None:
            self._status = pvscsi.FAILED
        elif pvscsi.ARGUMENTS[self._command]:
            self._status = pvscsi.NOT_ENOUGH_DATA
        else:
            self._command_complete()

    def _continue(self, value: int) -> None:
        if self._command is not None:
            self._arguments += value.to_bytes(4, "little")
            if len(self._arguments) >= pvscsi.ARGUMENTS[self._command]:
                self._command_complete()

    def _command_complete(self) -> None:
        command, arguments = self._command, bytes(self._arguments)
        self._command = None
        self._arguments.clear()
        done = True
        match command:
            case Command.ADAPTER_RESET:
                self.reset()
            case Command.SETUP_RINGS:
                done = self._set_up(SetupRings.unpack(arguments))
            case Command.RESET_BUS:
                self._reset_units(self._targets)
                self._cancel(HostStatus.BUS_RESET)
            case Command.RESET_DEVICE:
                done = self._reset_device(*pvscsi.RESET_DEVICE.unpack(arguments))
            case Command.ABORT_CMD:
                context = pvscsi.ABORT_CMD.unpack(arguments)[0]
                self._cancel(HostStatus.ABORTED, context=context)
        self._status = pvscsi.SUCCEEDED if done else pvscsi.FAILED

    def _set_up(self, setup: SetupRings) -> bool:
        self._drop()
        self._rings = None
        counts = setup.request_pages, setup.completion_pages
        if not all(map(is_ring, counts)):
            return False
        pages = setup.state, *setup.requests[: counts[0]], *setup.completions[: counts[1]]
        if max(pages) >= 1 << 40:  # beyond every physical address
            return False
        state, *rest = (page * pvscsi.PAGE for page in pages)
        rings = Rings(state, tuple(rest[: counts[0]]), tuple(rest[counts[0] :]))
        logs = rings.request_entries.bit_length() - 1, rings.completion_entries.bit_length() - 1
        try:
            self.function.dma_write(state, pvscsi.RINGS_STATE.pack(0, 0, logs[0], 0, 0, logs[1]))
        except DmaError:
            return False
        self._rings = rings
        return True

    def _reset_device(self, number: int, lun: bytes) -> bool:
        if number not in self._targets:
            return False
        self._reset_units((number,))
        self._cancel(HostStatus.BUS_RESET, target=number)
        return True

    def _reset_units(self, targets: Iterable[int]) -> None:
        for number in targets:
            for unit in self._targets[number].values():
                unit.reset()

    def _cancel(self, status: HostStatus, **which: int) -> None:
        """Complete the requests that wait and whose fields are ``which``, unexecuted."""
        cancelled = self._tasks.cancel(lambda task: all(getattr(task, name) == of for name, of in which.items()))
        try:
            for request in cancelled:
                self._complete(Completion(request.context, 0, 0, status, Status.GOOD))
            if cancelled:
                self._publish()
        except DmaError:
            self._lose()

    # Requests

    def _kick(self) -> None:
        if self._rings is not None and self._more is None:
            self._work()

    def _later(self) -> None:
        if self._more is None:
            self._more = self._after(0, self._work)

    def _work(self) -> None:
        self._more = None
        rings = self._rings
        if rings is None:
            return
        before = rings.produced
        try:
            left = self._take(rings)
            if rings.produced != before:
                self._publish()
            else:
                self._advance(rings)
        except DmaError:
            self._lose()
            return
        if left:
            self._later()

    def _take(self, rings: Rings) -> bool:
        """Execute requests; is anything left that can be done?"""
        taken = moved = waiting = room = 0
        while True:
            if not waiting or not room:
                raw = self.function.dma_read(rings.state, pvscsi.RINGS_STATE.size)
                prod, _, _, _, cmp_cons, _ = pvscsi.RINGS_STATE.unpack(raw)
                waiting = prod - rings.consumed & INDEX
                room = rings.completion_entries - (rings.produced - cmp_cons & INDEX) - len(self._tasks)
                # More than a ring holds is nonsense, and a full completion ring has to be read first.
                if not 0 < waiting <= rings.request_entries or room <= 0:
                    return False
            if taken >= REQUESTS_AT_ONCE or moved >= BYTES_AT_ONCE:
                return True
            request = Request.unpack(self.function.dma_read(rings.request(), pvscsi.REQUEST_SIZE))
            rings.consumed = rings.consumed + 1 & INDEX
            self._submit(request)
            taken, moved = taken + 1, moved + request.length
            waiting, room = waiting - 1, room - 1

    def _submit(self, request: Request) -> None:
        unit = self._targets.get(request.target, {}).get(request.lun[1])
        delay = unit.delay(min(request.length, LARGEST_TRANSFER)) if unit is not None else 0
        if delay:
            self._tasks.submit(request, delay)
        else:
            self._complete(self._execution.execute(request))

    def _execute_late(self, request: Request) -> None:
        try:
            self._complete(self._execution.execute(request))
            self._publish()
        except DmaError:
            self._lose()
        else:
            self._later()  # a place among the completions may have been what the next request waits for

    # Completions

    def _complete(self, completion: Completion) -> None:
        rings = self._rings
        if rings is not None:
            self.function.dma_write(rings.completion(), completion.pack())
            rings.produced = rings.produced + 1 & INDEX

    def _advance(self, rings: Rings) -> None:
        self.function.dma_write(rings.state + pvscsi.REQ_CONS, rings.consumed.to_bytes(4, "little"))

    def _publish(self) -> None:
        """Show the guest how far both rings are, then interrupt."""
        rings = self._rings
        if rings is None:
            return
        self._advance(rings)
        self.function.dma_write(rings.state + pvscsi.CMP_PROD, rings.produced.to_bytes(4, "little"))
        self._pending |= Interrupt.COMPLETION_0
        self._interrupt()

    def _lose(self) -> None:
        self._drop()
        self._rings = None

    def _acknowledge(self, value: int) -> None:
        self._pending &= ~value
        self.function.set_intx(bool(self._pending & self._enabled))

    def _enable(self, mask: int) -> None:
        self._enabled = mask
        self._interrupt()

    def _interrupt(self) -> None:
        """A message for each batch of completions: drivers that use them leave INTR_STATUS alone."""
        level = bool(self._pending & self._enabled)
        if level:
            self.function.send_message()
        self.function.set_intx(level)


def _sized(raw: bytes, size: int) -> bytes:
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes instead of {size}")
    return raw
