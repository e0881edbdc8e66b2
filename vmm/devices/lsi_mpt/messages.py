"""What the controller answers to messages that concern itself: facts, initialization, events, configuration."""
# ruff: noqa: E701 -- one function, one line

from __future__ import annotations

from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import Config, ConfigAction, Function, IocInit, IocState, IocStatus, PageType
from virtproof.vmm.devices.lsi_mpt.buffers import Refused, segments
from virtproof.vmm.devices.lsi_mpt.ioc import Ioc
from virtproof.vmm.devices.lsi_mpt.pages import ConfigPages
from virtproof.vmm.pci.function import DmaError
from virtproof.vmm.pci.function import Function as PciFunction
from virtproof.vmm.scsi.segments import gather, scatter

LARGEST_PAGE = 0x10000  # bytes that a Config request moves at most


class Messages:
    """``answer`` gives the reply to any message but SCSI IO and task management."""

    def __init__(self, ioc: Ioc, pages: ConfigPages, function: PciFunction) -> None:
        self._ioc, self._pages, self._function = ioc, pages, function

    def answer(self, frame: bytes) -> bytes:
        # fmt: off
        match frame[mpt.FUNCTION_AT]:
            case Function.IOC_INIT:           return self._ioc_init(IocInit.unpack(frame))
            case Function.IOC_FACTS:          return self._ioc_facts(frame)
            case Function.PORT_FACTS:         return self._port_facts(frame)
            case Function.CONFIG:             return self._config(frame)
            case Function.EVENT_NOTIFICATION: return self._event_notification(frame)
            case Function.PORT_ENABLE:        return _default(frame, self._port_status(frame))
            case Function.EVENT_ACK:          return _default(frame, IocStatus.SUCCESS)
            case _:                           return _default(frame, IocStatus.INVALID_FUNCTION)
        # fmt: on

    def _ioc_init(self, request: IocInit) -> bytes:
        status = IocStatus.SUCCESS
        if self._ioc.state is not IocState.READY:
            status = IocStatus.INVALID_STATE
        elif request.reply_frame_size < mpt.REPLY_FRAME_MIN:
            status = IocStatus.INVALID_FIELD
        else:
            self._ioc.state, self._ioc.init = IocState.OPERATIONAL, request
        return mpt.IOC_INIT_REPLY.pack(
            request.who_init, mpt.IOC_INIT_REPLY.size // 4, request.function, request.flags, request.max_devices,
            request.max_buses, request.msg_flags, request.context, status, 0,
        )  # fmt: skip

    def _ioc_facts(self, frame: bytes) -> bytes:
        model, init = self._ioc.model, self._ioc.init
        return mpt.IOC_FACTS_REPLY.pack(
            mpt.MSG_VERSION, mpt.IOC_FACTS_REPLY.size // 4, Function.IOC_FACTS, 0, 0, frame[mpt.FLAGS_AT],
            _context(frame), 0, IocStatus.SUCCESS, 0, mpt.MAX_CHAIN_DEPTH, init.who_init, mpt.BLOCK_SIZE, 0,
            mpt.DEPTH, mpt.FRAME // 4, 0, model.product, init.host_mfa_high, mpt.DEPTH, 1, 0, init.sense_high,
            init.reply_frame_size, model.max_devices, 1, 0, 0, mpt.FW_VERSION, 0, 0, 0, 0, 0,
        )  # fmt: skip

    def _port_status(self, frame: bytes) -> IocStatus:
        port = frame[6]
        return IocStatus.INVALID_FIELD if port else IocStatus.SUCCESS

    def _port_facts(self, frame: bytes) -> bytes:
        model = self._ioc.model
        return mpt.PORT_FACTS_REPLY.pack(
            0, mpt.PORT_FACTS_REPLY.size // 4, Function.PORT_FACTS, 0, frame[6], frame[mpt.FLAGS_AT], _context(frame),
            0, self._port_status(frame), 0, 0, model.port_type, model.max_devices, model.scsi_id,
            mpt.PROTOCOL_INITIATOR, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip

    def _event_notification(self, frame: bytes) -> bytes:
        switch = frame[0]
        return mpt.EVENT_REPLY.pack(
            1, mpt.EVENT_REPLY.size // 4, Function.EVENT_NOTIFICATION, 0, 0,
            frame[mpt.FLAGS_AT] | mpt.CONTINUATION_REPLY, _context(frame), 0, IocStatus.SUCCESS, 0,
            mpt.EVENT_CHANGE, 0, bool(switch),
        )  # fmt: skip

    def _config(self, frame: bytes) -> bytes:
        request, page, status = Config.unpack(frame), b"", IocStatus.SUCCESS
        header = request.version, request.length, request.number, request.type
        extended = request.ext_length, request.ext_type
        try:
            page = self._configure(request, frame)
        except Refused as refused:
            status = refused.status
        except DmaError:
            status = IocStatus.INVALID_SGL
        if page and request.type & 0xF == PageType.EXTENDED:
            extended = len(page) // 4, request.ext_type
            header = page[0], 0, page[2], page[3]
        elif page:
            header = page[0], page[1], page[2], page[3]
        return mpt.CONFIG_REPLY.pack(
            request.action, mpt.CONFIG_REPLY.size // 4, Function.CONFIG, *extended, request.msg_flags, request.context,
            status, 0, *header,
        )  # fmt: skip

    def _configure(self, request: Config, frame: bytes) -> bytes:
        """Return the page that was read or written."""
        kind = request.type & 0xF
        if kind == PageType.EXTENDED:
            kind = request.ext_type
            if kind < PageType.SAS_IO_UNIT:
                raise Refused(IocStatus.CONFIG_INVALID_TYPE)
        if request.action not in ConfigAction.__members__.values():
            raise Refused(IocStatus.CONFIG_INVALID_ACTION)
        page = self._pages.read(kind, request.number, request.address)
        if request.action in (ConfigAction.HEADER, ConfigAction.DEFAULT):
            return page
        size = int.from_bytes(frame[mpt.CONFIG_SIZE : mpt.CONFIG_SIZE + 3], "little")  # of the simple element
        length = min(size, len(page), LARGEST_PAGE)
        where = segments(frame, mpt.CONFIG_SIZE, length, self._function.dma_read) if length else []
        if request.action in (ConfigAction.WRITE_CURRENT, ConfigAction.WRITE_NVRAM):
            self._pages.write(kind, request.number, request.address, gather(self._function.dma_read, where))
        else:
            scatter(self._function.dma_write, where, page)
        return page


def _context(frame: bytes) -> int:
    return int.from_bytes(frame[mpt.CONTEXT_AT : mpt.CONTEXT_AT + 4], "little")


def _default(frame: bytes, status: IocStatus) -> bytes:
    return mpt.DEFAULT_REPLY.pack(
        0, mpt.DEFAULT_REPLY.size // 4, frame[mpt.FUNCTION_AT], 0, frame[6], frame[mpt.FLAGS_AT], _context(frame), 0,
        status, 0,
    )  # fmt: skip
