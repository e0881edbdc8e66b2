"""The controller as the bus sees it: registers, doorbell, FIFOs, interrupts.

LSI Fusion-MPT MPI 1.5 interface, "System interface registers", "Doorbell".

A request is taken when it is posted and executed at once, unless its disk makes it wait; so the request FIFO holds what
waits.  A FIFO that overflows, a request outside memory or at the wrong time, and an answer for which the driver has
left no frame put the controller into FAULT, which only a reset ends.  Replies are written as far as ReplyFrameSize.

Departures: a message unit reset is recognized in the middle of a handshake and in FAULT, where it is a way out.
Omitted: target mode, firmware transfer, RAID, the diagnostic memory, events but the answer to EventNotification.
"""
# ruff: noqa: E701 -- one register, one line

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import (
    Diagnostic,
    Doorbell,
    DoorbellCommand,
    Function,
    IocInit,
    IocState,
    IocStatus,
    TaskMgmt,
)
from virtproof.vmm.devices.lsi_mpt.handshake import Handshake
from virtproof.vmm.devices.lsi_mpt.ioc import Ioc
from virtproof.vmm.devices.lsi_mpt.messages import Messages
from virtproof.vmm.devices.lsi_mpt.models import MODELS
from virtproof.vmm.devices.lsi_mpt.pages import ConfigPages
from virtproof.vmm.devices.lsi_mpt.requests import Requests
from virtproof.vmm.events import After
from virtproof.vmm.pci.function import Bar, DmaError, Msi
from virtproof.vmm.pci.function import Function as PciFunction
from virtproof.vmm.scsi.target import LogicalUnit

RESET_COMMAND = DoorbellCommand(0).but(function=Function.MESSAGE_UNIT_RESET)
FRAMES = 1 << 32  # the part of an address that the FIFOs hold


class LsiMpt:
    """``targets``: by number below 16 (SAS: 8), the logical units of each; ``model`` is 53c1030 or sas1068."""

    def __init__(
        self, targets: Mapping[int, Mapping[int, LogicalUnit]], after: After, *, model: str = "53c1030"
    ) -> None:
        self._ioc = Ioc(MODELS[model])
        self._pages = ConfigPages(self._ioc.model, targets.keys())
        self.function = PciFunction(
            self._ioc.model.identity,
            [
                Bar(0, mpt.IO_SIZE, "io", self),
                Bar(1, mpt.MEMORY_SIZE, "memory32", self),
                Bar(2, mpt.DIAGNOSTIC_SIZE, "memory32", _Nothing()),
            ],
            msi=Msi(offset=0x40),
        )
        self._messages = Messages(self._ioc, self._pages, self.function)
        self._handshake = Handshake()
        self._requests = Requests(self._ioc, targets, self.function, after, self._push, self._reply)
        self._free: deque[int] = deque()  # reply frames of the driver
        self._replies: deque[int] = deque()
        self._mask = mpt.INTERRUPTS
        self._diagnostic = Diagnostic(0)
        self._keys = 0  # of the write sequence, seen in their order
        self._level = False

    def read(self, offset: int, size: int) -> int:
        if offset & 3 and offset & ~3 == mpt.REPLY_QUEUE:
            return 0  # a part of it takes nothing out
        return self._register(offset & ~3, offset & 3) >> 8 * (offset & 3) & (1 << 8 * size) - 1

    # fmt: off
    def _register(self, offset: int, part: int) -> int:
        match offset:
            case mpt.DOORBELL:              return self._doorbell(0 if part else self._handshake.halfword())
            case mpt.DIAGNOSTIC:            return self._diagnostic
            case mpt.HOST_INTERRUPT_STATUS: return self._status
            case mpt.HOST_INTERRUPT_MASK:   return self._mask
            case mpt.REPLY_QUEUE:           return self._take_reply()
            case _:                         return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4:
            return  # no register is narrower
        match offset:
            case mpt.DOORBELL:              self._ring(value)
            case mpt.WRITE_SEQUENCE:        self._key(value & 0xF)
            case mpt.DIAGNOSTIC:            self._diagnose(Diagnostic(value))
            case mpt.HOST_INTERRUPT_STATUS: self._handshake.acknowledge()
            case mpt.HOST_INTERRUPT_MASK:   self._mask = value & mpt.INTERRUPTS
            case mpt.REQUEST_QUEUE:         self._post(value & ~3)
            case mpt.REPLY_QUEUE:           self._put_frame(value & ~3)
        self._update()
    # fmt: on

    def reset(self) -> None:
        """As after power-on."""
        self._hard_reset()
        self._diagnostic, self._keys = Diagnostic(0), 0
        self._pages.reset()
        self._update()

    def state(self) -> dict[str, Any]:
        return {
            "ioc": [int(self._ioc.state), self._ioc.fault, list(self._ioc.init)],
            "handshake": self._handshake.state(),
            "free": list(self._free),
            "replies": list(self._replies),
            "registers": [self._mask, int(self._diagnostic), self._keys],
            "waiting": [frame.hex() for frame in self._requests.waiting],
            "pages": self._pages.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        number, fault, init = state["ioc"]
        mask, diagnostic, keys = (int(value) for value in state["registers"])
        free, replies = ([int(each) % FRAMES for each in state[name]] for name in ("free", "replies"))
        waiting = [bytes.fromhex(frame) for frame in state["waiting"]]
        ioc, fields = IocState(number), IocInit(*map(int, init))
        if max(len(free), len(replies), len(waiting)) > mpt.DEPTH or any(len(each) != mpt.FRAME for each in waiting):
            raise ValueError("FIFOs that cannot be")
        if not (0 <= keys < len(mpt.WRITE_KEYS) and 0 <= fault <= 0xFFFF and min(fields) >= 0):
            raise ValueError("registers that cannot be")
        if fields.host_mfa_high >= FRAMES or fields.sense_high >= FRAMES or fields.reply_frame_size > 0xFFFF:
            raise ValueError("an initialization that cannot be")
        self._handshake.restore(state["handshake"])
        self._pages.restore(state["pages"])
        self._requests.drop()
        self._ioc.state, self._ioc.fault, self._ioc.init = ioc, fault, fields
        self._free, self._replies = deque(free), deque(replies)
        self._mask, self._diagnostic, self._keys = mask & mpt.INTERRUPTS, Diagnostic(diagnostic & 0xFFFF_FFFF), keys
        for frame in waiting:
            self._requests.submit(frame)
        self._update()

    # Doorbell, diagnostics and resets

    def _doorbell(self, halfword: int) -> int:
        ioc = self._ioc
        data = ioc.fault if ioc.state is IocState.FAULT else halfword
        return Doorbell(0).but(
            state=ioc.state, active=self._handshake.active, who_init=ioc.init.who_init & 7, data=data
        )

    def _ring(self, value: int) -> None:
        command = DoorbellCommand(value)
        if command == RESET_COMMAND:
            self._message_unit_reset()
        elif self._handshake.wants_data:
            request = self._handshake.put(value)
            if request is not None:
                self._handshake.taken()
                self._handle(request.ljust(mpt.FRAME, b"\0"), self._handshake.reply)
        elif command.function == Function.IO_UNIT_RESET:
            self._hard_reset()
        elif command.function == Function.HANDSHAKE and self._ioc.state is not IocState.FAULT:
            self._handshake.begin(command.dwords)

    def _key(self, key: int) -> None:
        self._keys = self._keys + 1 if key == mpt.WRITE_KEYS[self._keys] else int(key == mpt.WRITE_KEYS[0])
        if self._keys == len(mpt.WRITE_KEYS):
            self._keys = 0
            self._diagnostic = self._diagnostic.but(write_enable=1)
        elif not self._keys:
            self._diagnostic = self._diagnostic.but(write_enable=0)

    def _diagnose(self, value: Diagnostic) -> None:
        if not self._diagnostic.write_enable:
            return
        if value.reset_adapter:
            self._hard_reset()
            self._diagnostic = Diagnostic(0).but(reset_history=1)
        else:
            self._diagnostic = self._diagnostic.but(
                disable_arm=value.disable_arm,
                rw_enable=value.rw_enable,
                reset_history=self._diagnostic.reset_history and value.reset_history,
            )

    def _message_unit_reset(self) -> None:
        self._requests.drop()
        self._handshake.reset()
        self._free.clear()
        self._replies.clear()
        self._ioc.reset()

    def _hard_reset(self) -> None:
        self._message_unit_reset()
        self._mask = mpt.INTERRUPTS
        self._requests.reset_units()

    # FIFOs and interrupts

    def _post(self, low: int) -> None:
        if self._ioc.state is not IocState.OPERATIONAL:
            if self._ioc.state is not IocState.FAULT:
                self._ioc.fail(IocStatus.INVALID_STATE)
            return
        try:
            frame = self.function.dma_read(self._ioc.init.host_mfa_high << 32 | low, mpt.FRAME)
        except DmaError:
            self._ioc.fail(IocStatus.INVALID_FIELD)
            return
        self._handle(frame, self._reply)

    def _put_frame(self, low: int) -> None:
        if len(self._free) < mpt.DEPTH:
            self._free.append(low)
        else:
            self._ioc.fail(IocStatus.INSUFFICIENT_RESOURCES)

    def _take_reply(self) -> int:
        reply = self._replies.popleft() if self._replies else mpt.EMPTY
        self._update()
        return reply

    def _push(self, reply: int) -> None:
        """Post what tells itself: a context, or where a frame is."""
        if len(self._replies) < mpt.DEPTH:
            self._replies.append(reply)
        else:
            self._ioc.fail(IocStatus.INSUFFICIENT_RESOURCES)
        self._update()

    def _reply(self, data: bytes) -> None:
        """Post a reply that has to be looked at: it goes into a frame of the driver's."""
        if not self._free:
            self._ioc.fail(IocStatus.INSUFFICIENT_RESOURCES)
            return
        low, init = self._free.popleft(), self._ioc.init
        try:
            self.function.dma_write(init.host_mfa_high << 32 | low, data[: init.reply_frame_size])
        except DmaError:
            return  # a frame outside memory is lost
        self._push(mpt.ADDRESS_REPLY | low >> 1)

    @property
    def _status(self) -> int:
        return mpt.DOORBELL_INTERRUPT * self._handshake.interrupt | mpt.REPLY_INTERRUPT * bool(self._replies)

    def _update(self) -> None:
        level = bool(self._status & ~self._mask)
        if level and not self._level:
            self.function.send_message()
        self._level = level
        self.function.set_intx(level)

    # Messages

    def _handle(self, frame: bytes, respond: Callable[[bytes], None]) -> None:
        match frame[mpt.FUNCTION_AT]:
            case Function.SCSI_IO_REQUEST if self._ioc.state is IocState.OPERATIONAL:
                self._requests.submit(frame)
            case Function.SCSI_TASK_MGMT if self._ioc.state is IocState.OPERATIONAL:
                self._requests.manage(TaskMgmt.unpack(frame))  # it answers through the FIFO, wherever it came from
            case _:
                respond(self._messages.answer(frame))


class _Nothing:
    """The diagnostic memory: nothing is in it."""

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None: ...
