"""PVSCSI and Fusion-MPT are wrong: registers, rings, messages, lists; or the disks behind them are."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from tests.mutants.mutant import How, of, replaced, wrapped
from virtproof.spec import fusion_mpt as mpt
from virtproof.spec import pvscsi, scsi
from virtproof.spec.fusion_mpt import IocState, IocStatus, PageType
from virtproof.spec.pvscsi import Completion, Flags, HostStatus
from virtproof.spec.scsi import Opcode, Status
from virtproof.vmm.devices.lsi_mpt import adapter, buffers, messages, pages, requests
from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt
from virtproof.vmm.devices.lsi_mpt.buffers import Refused
from virtproof.vmm.devices.lsi_mpt.handshake import Handshake
from virtproof.vmm.devices.lsi_mpt.ioc import Ioc
from virtproof.vmm.devices.lsi_mpt.messages import Messages
from virtproof.vmm.devices.lsi_mpt.models import MODELS
from virtproof.vmm.devices.lsi_mpt.pages import ConfigPages
from virtproof.vmm.devices.lsi_mpt.requests import Requests
from virtproof.vmm.devices.pvscsi import adapter as model
from virtproof.vmm.devices.pvscsi import execution
from virtproof.vmm.devices.pvscsi.adapter import PvScsi
from virtproof.vmm.devices.pvscsi.execution import Execution
from virtproof.vmm.devices.pvscsi.execution import Refused as RequestRefused
from virtproof.vmm.devices.pvscsi.rings import Rings
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.disks.overlay import Overlay
from virtproof.vmm.pci.function import Function
from virtproof.vmm.scsi import block, target
from virtproof.vmm.scsi.block import BlockUnit, DiskUnit
from virtproof.vmm.scsi.cdrom import CdRomUnit
from virtproof.vmm.scsi.target import LogicalUnit, Request
from virtproof.vmm.scsi.tasks import Tasks

card = of("scsi_pvscsi", "hostile.pvscsi.*")
chip = of("scsi_lsi", "hostile.lsi.*")
unit = of("scsi_lsi", "scsi_pvscsi", "hostile.scsi.*")


def without(owner: Any, name: str) -> How:
    return replaced(owner, name, lambda self, *rest, **more: None)


def first(owner: Any, name: str, act: Callable[..., Any]) -> How:
    """``act(self, ...)`` is done before the method."""

    def around(original: Any, self: Any, *rest: Any, **more: Any) -> Any:
        act(self, *rest, **more)
        return original(self, *rest, **more)

    return wrapped(owner, name, around)


def after(owner: Any, name: str, act: Callable[..., Any]) -> How:
    """``act(self, ...)`` is done behind the method."""

    def around(original: Any, self: Any, *rest: Any, **more: Any) -> Any:
        result = original(self, *rest, **more)
        act(self, *rest, **more)
        return result

    return wrapped(owner, name, around)


def tires(original: Any, self: Any, offset: int, size: int, value: int) -> None:
    """After many accesses registers are written no more."""
    self.written = getattr(self, "written", 0) + 1
    if self.written < 50_000:
        original(self, offset, size, value)


def forgets_devices(original: Any, self: LsiMpt, offset: int, size: int, value: int) -> None:
    """The same of what is behind the controller."""
    self.written = getattr(self, "written", 0) + 1  # type: ignore[attr-defined]
    if self.written == 50_000:  # type: ignore[attr-defined]
        self._requests._targets = {}
    original(self, offset, size, value)


# ---- PVSCSI


def request_with(change: Callable[[Any], Any]) -> How:
    """Requests are executed as if they were others."""
    return wrapped(Execution, "_executed", lambda original, self, request: original(self, change(request)))


def forgiven(status: HostStatus) -> How:
    """What ends with ``status`` goes well, unexecuted."""

    def around(original: Any, self: Execution, request: pvscsi.Request) -> Completion:
        try:
            made: Completion = original(self, request)
        except RequestRefused as refused:
            if refused.status is not status:
                raise
            return Completion(request.context, 0, 0, HostStatus.SUCCESS, Status.GOOD)
        return made

    return wrapped(Execution, "_executed", around)


def completion_with(change: Callable[[Completion], Completion]) -> How:
    return wrapped(PvScsi, "_complete", lambda original, self, completion: original(self, change(completion)))


def keeps_rings(original: Any, self: PvScsi) -> None:
    rings = self._rings
    original(self)
    self._rings = rings


def keeps_arguments(original: Any, self: PvScsi, value: int) -> None:
    kept = bytes(self._arguments[:8])
    original(self, value)
    self._arguments += kept


def follows_the_producer(original: Any, self: PvScsi, rings: Rings) -> bool:
    (produced,) = struct.unpack("<I", self.function.dma_read(rings.state, 4))
    if produced - rings.consumed & 0xFFFF_FFFF <= rings.request_entries:
        return bool(original(self, rings))
    for _ in range(2 * rings.request_entries):
        self._submit(pvscsi.Request.unpack(self.function.dma_read(rings.request(), 128)))
        rings.consumed += 1
    return False


def trusts_memory(self: PvScsi, rings: Rings) -> None:
    _, rings.consumed, _, rings.produced, _, _ = struct.unpack("<6I", self.function.dma_read(rings.state, 24))


def counts_on_the_driver(self: PvScsi, rings: Rings) -> None:
    self.function.dma_write(rings.state + pvscsi.CMP_CONS, struct.pack("<I", rings.produced))


def reads_beyond(original: Any, self: Execution, at: int, left: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = original(self, at, left)
    missing = left - sum(length for _, length in found)
    return [*found, (sum(found[-1]), missing)] if missing else found


def completes_what_is_not_there(original: Any, self: PvScsi, status: HostStatus, **which: int) -> None:
    original(self, status, **which)
    if "context" in which and self._rings is not None:
        self._complete(Completion(which["context"], 0, 0, status, 0))
        self._publish()


def refuses_nothing(self: Execution, request: pvscsi.Request) -> None:
    if request.flags & (Flags.TO_HOST | Flags.TO_DEVICE) and not request.length:
        raise RequestRefused(HostStatus.BAD_MESSAGE)


def loses_aborted(original: Any, self: PvScsi, status: HostStatus, **which: int) -> None:
    if status is HostStatus.ABORTED:
        self._tasks.cancel(lambda task: all(getattr(task, name) == value for name, value in which.items()))
    else:
        original(self, status, **which)


# fmt: off
PVSCSI = (
    card("pvscsi-identity", "the adapter has another device id", replaced(pvscsi, "DEVICE", 0x07C1), "pvscsi.pci.identity pvscsi.drv.identity"),
    card("pvscsi-bar", "its BAR has 16 KiB", replaced(pvscsi, "BAR_SIZE", 0x8000 // 2), "pvscsi.pci.identity"),
    card("pvscsi-status", "COMMAND_STATUS is -1 after reset", after(PvScsi, "_clear", lambda self: setattr(self, "_status", pvscsi.FAILED)), "pvscsi.status.reset"),
    card("pvscsi-narrow", "registers can be written by bytes", wrapped(PvScsi, "write", lambda original, self, offset, size, value: original(self, offset, 4, value)), "pvscsi.status.narrow"),
    card("pvscsi-not-enough", "an incomplete command has succeeded", replaced(pvscsi, "NOT_ENOUGH_DATA", 0), "pvscsi.cmd.not_enough"),
    card("pvscsi-unknown", "an unknown command succeeds", replaced(pvscsi, "FAILED", 0), "pvscsi.cmd.unknown"),
    card("pvscsi-message-ring", "SETUP_MSG_RING seems to succeed", replaced(pvscsi, "FAILED", 0), "pvscsi.cmd.msg_ring_probe"),
    card("pvscsi-threshold", "SETUP_REQCALLTHRESHOLD seems to succeed", replaced(pvscsi, "FAILED", 0), "pvscsi.cmd.callthreshold_probe"),
    card("pvscsi-reset-rings", "ADAPTER_RESET keeps the rings", wrapped(PvScsi, "reset", keeps_rings), "pvscsi.cmd.adapter_reset"),
    card("pvscsi-data-kept", "a command keeps the data of the one before", wrapped(PvScsi, "_begin", keeps_arguments), "pvscsi.cmd.new_cmd_discards"),
    card("pvscsi-request-size", "64 requests are in a page", replaced(pvscsi, "REQUESTS_PER_PAGE", 64), "pvscsi.setup.one_page"),
    card("pvscsi-completion-size", "64 completions are in a page", replaced(pvscsi, "COMPLETIONS_PER_PAGE", 64), "pvscsi.setup.eight_pages"),
    card("pvscsi-contiguous", "pages of a ring follow each other", replaced(Rings, "request", lambda self: self.requests[0] + self.consumed % self.request_entries * 128), "pvscsi.setup.noncontig"),
    card("pvscsi-one", "a kick takes one request", replaced(model, "REQUESTS_AT_ONCE", 1), "pvscsi.kick.rw pvscsi.irq.msi pvscsi.io.several"),
    card("pvscsi-non-rw", "KICK_NON_RW_IO does nothing", replaced(pvscsi, "KICK_NON_RW_IO", 0x7000), "pvscsi.kick.nonrw"),
    card("pvscsi-empty-kick", "a kick interrupts even if it finds nothing", after(PvScsi, "_work", lambda self: self._publish()), "pvscsi.kick.empty"),
    card("pvscsi-consumer", "reqConsIdx stays 0", without(PvScsi, "_advance"), "pvscsi.req.cons"),
    card("pvscsi-unwritten", "completions are shown and not written", replaced(PvScsi, "_complete", lambda self, completion: setattr(self._rings, "produced", self._rings.produced + 1)), "pvscsi.drv.polled"),
    card("pvscsi-context", "contexts have 32 bits", completion_with(lambda done: done._replace(context=done.context & 0xFFFF_FFFF)), "pvscsi.cmp.context"),
    card("pvscsi-index", "indices wrap at 128", replaced(model, "INDEX", 0x7F), "pvscsi.idx.wrap"),
    card("pvscsi-tired", "after 50,000 accesses registers cannot be written", wrapped(PvScsi, "write", tires), "hostile.pvscsi.bar_fuzz"),
    card("pvscsi-index-31", "indices wrap at 2^31", replaced(model, "INDEX", 0x7FFF_FFFF), "pvscsi.idx.wrap.32_bits"),
    card("pvscsi-first-piece", "lists are one piece", wrapped(Execution, "_list", lambda original, self, at, left: [(original(self, at, left)[0][0], left)]), "pvscsi.io.sg pvscsi.drv.scattered"),
    card("pvscsi-chain", "chain elements are plain ones", replaced(pvscsi, "CHAIN", 0), "pvscsi.io.sg_chain"),
    card("pvscsi-no-sense", "sense data are not written", replaced(Execution, "_write_sense", lambda self, request, sense: 0), "pvscsi.io.sense pvscsi.drv.errors"),
    card("pvscsi-sense-length", "sense data are written whatever the room", wrapped(Execution, "_write_sense", lambda original, self, request, sense: original(self, request._replace(sense_length=18), sense)), "pvscsi.io.sense_zero"),
    card("pvscsi-selection", "a target that is not there answers", forgiven(HostStatus.SELECTION_TIMEOUT), "pvscsi.io.selto pvscsi.io.several"),
    card("pvscsi-underrun", "underruns are not told", completion_with(lambda done: done._replace(host_status=0) if done.host_status == HostStatus.UNDERRUN else done), "pvscsi.io.underrun"),
    card("pvscsi-lun", "only byte 1 of a LUN counts", request_with(lambda request: request._replace(lun=b"\0" + request.lun[1:2] + bytes(6))), "pvscsi.io.lun_bytes"),
    card("pvscsi-no-data", "a direction without data is an error", first(Execution, "_executed", refuses_nothing), "pvscsi.io.zero_data"),
    card("pvscsi-acknowledge", "INTR_STATUS cannot be cleared", without(PvScsi, "_acknowledge"), "pvscsi.irq.status_w1c"),
    card("pvscsi-unmasked", "the pin ignores INTR_MASK", after(PvScsi, "_interrupt", lambda self: self.function.set_intx(bool(self._pending))), "pvscsi.irq.mask"),
    card("pvscsi-messages", "there are no messages", replaced(Function, "send_message", lambda self, vector=0: False), "pvscsi.irq.msi"),
    card("pvscsi-abort-lost", "an aborted request is never completed", wrapped(PvScsi, "_cancel", loses_aborted), "pvscsi.abort"),
    card("pvscsi-reset-status", "a bus reset says aborted", wrapped(PvScsi, "_cancel", lambda original, self, status, **which: original(self, HostStatus.ABORTED, **which)), "pvscsi.reset_bus"),
    card("pvscsi-reset-absent", "a target that is not there can be reset", wrapped(PvScsi, "_reset_device", lambda original, *rest: original(*rest) or True), "pvscsi.reset_device"),
    card("pvscsi-kick-early", "a kick without rings interrupts", first(PvScsi, "_kick", lambda self: setattr(self, "_pending", 1)), "hostile.pvscsi.kick_before_setup"),
    card("pvscsi-setup", "SETUP_RINGS never fails", wrapped(PvScsi, "_set_up", lambda original, *rest: original(*rest) or True), "hostile.pvscsi.setup_zero_pages hostile.pvscsi.setup_33_pages hostile.pvscsi.setup_ppn_oob"),
    card("pvscsi-sizes", "rings have any size", replaced(model, "is_ring", bool), "hostile.pvscsi.setup_not_pow2"),
    card("pvscsi-jump", "a producer index is followed anywhere", wrapped(PvScsi, "_take", follows_the_producer), "hostile.pvscsi.prod_jump"),
    card("pvscsi-busy", "a kick has a thousand turns", replaced(model, "REQUESTS_AT_ONCE", 1000), "hostile.pvscsi.prod_race"),
    card("pvscsi-trust", "its own indices are in guest memory", first(PvScsi, "_take", trusts_memory), "hostile.pvscsi.cons_tamper"),
    card("pvscsi-overflow", "completions overwrite each other", first(PvScsi, "_take", counts_on_the_driver), "hostile.pvscsi.cmp_overflow"),
    card("pvscsi-no-end", "a list without an end has no data", replaced(Execution, "_refuse", lambda self: []), "hostile.pvscsi.sg_loop"),
    card("pvscsi-over-read", "a short list goes on behind its end", wrapped(Execution, "_list", reads_beyond), "hostile.pvscsi.sg_short"),
    card("pvscsi-length", "data have any length", replaced(execution, "LARGEST_TRANSFER", 1 << 65), "hostile.pvscsi.datalen_huge"),
    card("pvscsi-direction", "directions may conflict", forgiven(HostStatus.BAD_MESSAGE), "hostile.pvscsi.dir_conflict"),
    card("pvscsi-sense-claimed", "senseLen is what was asked for", replaced(Execution, "_write_sense", lambda self, request, sense: request.sense_length), "hostile.pvscsi.sense_oob"),
    card("pvscsi-out-of-band", "the flag for CDBs out of band is ignored", request_with(lambda request: request._replace(flags=request.flags & ~2)), "hostile.pvscsi.oob_cdb_flag"),
    card("pvscsi-no-command", "data without a command fail", first(PvScsi, "_continue", lambda self, value: self._command or setattr(self, "_status", pvscsi.FAILED)), "hostile.pvscsi.cmd_data_overflow"),
    card("pvscsi-late", "what waits outlives a reset", replaced(PvScsi, "_drop", lambda self: None), "hostile.pvscsi.reset_inflight"),
    card("pvscsi-abort-any", "aborting what is not there completes it", wrapped(PvScsi, "_cancel", completes_what_is_not_there), "hostile.pvscsi.abort_wild"),
    card("pvscsi-master-abort", "data for nowhere are no error", completion_with(lambda done: done._replace(host_status=0) if done.host_status == HostStatus.HARDWARE else done), "hostile.pvscsi.data_oob"),
)
# fmt: on


# ---- Fusion-MPT


def other(name: str, **changes: Any) -> How:
    """A model is another."""
    return lambda: patch.dict(MODELS, {name: replace(MODELS[name], **changes)})


def identity(name: str, **changes: int) -> How:
    return other(name, identity=replace(MODELS[name].identity, **changes))


def doorbell(change: Callable[[int], int]) -> How:
    return wrapped(LsiMpt, "_doorbell", lambda original, self, *rest: change(original(self, *rest)))


def keeps_replies(original: Any, self: LsiMpt) -> None:
    kept = list(self._replies)
    original(self)
    self._replies.extend(kept)


def rereads(self: Handshake) -> None:
    self._at = 0


def never_ends(original: Any, self: Handshake) -> None:
    kept = self._reply
    original(self)
    self._reply = kept


def skips(self: Handshake) -> None:
    self._at += 2


def wraps(self: Handshake) -> None:
    if self._reply is not None and self._at >= len(self._reply):
        self._at = 0


def writes_whole(original: Any, self: LsiMpt, data: bytes) -> None:
    told = self._ioc.init
    self._ioc.init = told._replace(reply_frame_size=128)
    original(self, data)
    self._ioc.init = told


def posts_anyway(original: Any, self: LsiMpt, data: bytes) -> None:
    waiting, low = len(self._replies), self._free[0] if self._free else 0
    original(self, data)
    if len(self._replies) == waiting:
        self._push(mpt.ADDRESS_REPLY | low >> 1)


def frame_with(change: Callable[[Any], Any]) -> How:
    return wrapped(Requests, "_execute", lambda original, self, request, frame: original(self, change(request), frame))


def told_as(was: IocStatus, becomes: IocStatus) -> How:
    def around(original: Any, self: Requests, request: Any, status: int, *rest: Any) -> None:
        original(self, request, becomes if status == was else status, *rest)

    return wrapped(Requests, "_fail", around)


def lenient(original: Any, *rest: Any) -> Any:
    try:
        return original(*rest)
    except Refused:
        return []


def any_page(original: Any, self: ConfigPages, kind: int, number: int) -> Any:
    return self._pages.get((kind, number), self._pages[PageType.IOC, 0])


def shortened(original: Any, self: ConfigPages, *rest: Any) -> bytes:
    page = original(self, *rest)
    return bytes((page[0], page[1] - 1)) + page[2:] if page[1] else page


def pads_sense(original: Any, self: Requests, request: Any, sense: bytes) -> int:
    return int(original(self, request, sense.ljust(request.sense_length, b"\0")))


def hides_residual(original: Any, self: Requests, request: Any, done: Any, room: int) -> None:
    original(self, request, done, done.length if done.status is Status.GOOD else room)


def ignores_early(original: Any, self: LsiMpt, low: int) -> None:
    if self._ioc.state is IocState.OPERATIONAL:
        original(self, low)


def takes_unknown(original: Any, self: Messages, frame: bytes) -> bytes:
    return bytes(original(self, frame[:3] + b"\x08" + frame[4:] if frame[3] == 0xFF else frame))


def any_target(original: Any, self: Requests, **which: Any) -> Any:
    return original(self, **{name: value for name, value in which.items() if name == "context"})


# fmt: off
FUSION_MPT = (
    chip("lsi-tired", "after 50,000 accesses there are no devices", wrapped(LsiMpt, "write", forgets_devices), "hostile.lsi.bar_fuzz"),
    chip("lsi-1030", "the 53C1030 has another device id", identity("53c1030", device=0x0031), "lsi.pci.identity_1030 lsi.drv.identity"),
    chip("lsi-1068", "the SAS1068 has another device id", identity("sas1068", device=0x0056), "lsi.pci.identity_1068 lsi.drv.identity_sas"),
    chip("lsi-sizes", "the memory BAR has 128 KiB", replaced(mpt, "MEMORY_SIZE", 128 << 10), "lsi.pci.identity_1030 lsi.pci.identity_1068"),
    chip("lsi-operational", "the controller is operational from the start", after(LsiMpt, "__init__", lambda self, *rest, **more: setattr(self._ioc, "state", IocState.OPERATIONAL)), "lsi.db.reset_state lsi.mem_io_same"),
    chip("lsi-replies-kept", "a message unit reset keeps replies", wrapped(LsiMpt, "_message_unit_reset", keeps_replies), "lsi.db.message_unit_reset"),
    chip("lsi-who", "nobody initialized it", doorbell(lambda value: value & ~0x0700_0000), "lsi.db.whoinit"),
    chip("lsi-inactive", "handshakes are not active", doorbell(lambda value: value & ~0x0800_0000), "lsi.db.handshake_active"),
    chip("lsi-dwords", "replies come in dwords", after(Handshake, "halfword", skips), "lsi.db.reply_16bit"),
    chip("lsi-restart", "an acknowledgement begins a reply anew", after(Handshake, "acknowledge", rereads), "lsi.db.linux_int_ack"),
    chip("lsi-endless", "a handshake never ends", wrapped(Handshake, "acknowledge", never_ends), "lsi.db.end_handshake"),
    chip("lsi-untold", "a handshake without a reply ends unannounced", replaced(Handshake, "taken", lambda self: None), "lsi.tm.by_handshake"),
    chip("lsi-unmasked", "interrupts are not masked after reset", after(LsiMpt, "__init__", lambda self, *rest, **more: setattr(self, "_mask", 0)), "lsi.mask.reset"),
    chip("lsi-mask-bits", "all bits of the mask can be written", replaced(mpt, "INTERRUPTS", 0xFFFF_FFFF), "lsi.mask.bits"),
    chip("lsi-no-reply-bit", "replies do not show in HostInterruptStatus", replaced(mpt, "REPLY_INTERRUPT", 0), "lsi.istatus.reply_bit lsi.irq.intx lsi.irq.msi lsi.drv.interrupts"),
    chip("lsi-empty", "an empty reply FIFO gives 0", replaced(mpt, "EMPTY", 0), "lsi.replyq.empty"),
    chip("lsi-context", "contexts have bit 0 clear", wrapped(LsiMpt, "_push", lambda original, self, reply: original(self, reply ^ 1)), "lsi.replyq.turbo"),
    chip("lsi-shift", "addresses of replies are not shifted", wrapped(LsiMpt, "_push", lambda original, self, reply: original(self, reply | (reply & 0x3FFF_FFFF) << 1 if reply >> 31 else reply)), "lsi.replyq.address lsi.drv.errors"),
    chip("lsi-reply-size", "replies are written whole", wrapped(LsiMpt, "_reply", writes_whole), "lsi.reply.clip_size"),
    chip("lsi-pin", "the pin ignores the mask", after(LsiMpt, "_update", lambda self: self.function.set_intx(bool(self._status))), "lsi.irq.intx"),
    chip("lsi-messages", "there are no messages", replaced(Function, "send_message", lambda self, vector=0: False), "lsi.irq.msi"),
    chip("lsi-version", "IOCFacts has another version", replaced(mpt, "MSG_VERSION", 0x0102), "lsi.iocfacts.fields lsi.drv.facts lsi.drv.facts_sas"),
    chip("lsi-port", "the port of the 53C1030 is SAS", other("53c1030", port_type=mpt.PORT_SAS), "lsi.portfacts.type"),
    chip("lsi-sas-port", "the port of the SAS1068 is parallel", other("sas1068", port_type=mpt.PORT_SCSI), "lsi.portfacts.sas"),
    chip("lsi-init-again", "IOCInit can be repeated", first(Messages, "_ioc_init", lambda self, request: setattr(self._ioc, "state", IocState.READY)), "lsi.iocinit.operational"),
    chip("lsi-ports", "there is every port", replaced(Messages, "_port_status", lambda self, frame: IocStatus.SUCCESS), "lsi.portenable"),
    chip("lsi-event", "the event acknowledgement says that no more will come", replaced(mpt, "CONTINUATION_REPLY", 0), "lsi.event_notify"),
    chip("lsi-page-length", "headers say one dword too little", wrapped(ConfigPages, "read", shortened), "lsi.config.header lsi.config.scsi_port2"),
    chip("lsi-any-page", "unknown pages are there", wrapped(ConfigPages, "_find", any_page), "lsi.config.invalid_page"),
    chip("lsi-single-ended", "the bus is not LVD", replaced(pages, "LVD", 2), "lsi.config.scsi_port0"),
    chip("lsi-id", "the controller has SCSI id 6", other("53c1030", scsi_id=6), "lsi.config.scsi_port2 lsi.portfacts.type"),
    chip("lsi-devices", "there are pages of 64 devices", other("53c1030", max_devices=64), "lsi.config.scsi_dev"),
    chip("lsi-negotiation", "what was negotiated is forgotten", without(ConfigPages, "write"), "lsi.config.scsi_dev.negotiate hostile.lsi.config_write"),
    chip("lsi-handles", "devices have no handles", replaced(ConfigPages, "_handle", lambda self, phy: 0), "lsi.config.sas_iounit0 lsi.config.sas_device0"),
    chip("lsi-no-device", "a target that is not there is an invalid one", told_as(IocStatus.SCSI_DEVICE_NOT_THERE, IocStatus.SCSI_INVALID_TARGETID), "lsi.io.no_device"),
    chip("lsi-bus", "buses are ignored", frame_with(lambda request: request._replace(bus=0)), "lsi.io.no_bus"),
    chip("lsi-sense", "sense data are not written", replaced(Requests, "_write_sense", lambda self, request, sense: 0), "lsi.io.check_condition"),
    chip("lsi-residual", "residuals are not told", wrapped(Requests, "_finish", hides_residual), "lsi.io.underrun lsi.io.overrun"),
    chip("lsi-short-chains", "four chains are followed", replaced(mpt, "MAX_CHAIN_DEPTH", 4), "lsi.io.chain"),
    chip("lsi-narrow", "addresses have 32 bits", wrapped(buffers, "_elements", lambda original, *rest: [(at & 0xFFFF_FFFF, length) for at, length in original(*rest)]), "lsi.io.sge64"),
    chip("lsi-lun", "LUNs are ignored", replaced(requests, "lun_of", lambda address: 0), "lsi.io.lun scsi.inquiry.lun_absent"),
    chip("lsi-terminated", "what is aborted is not told", replaced(Requests, "_terminate", lambda self, **which: []), "lsi.tm.abort lsi.tm.bus_reset"),
    chip("lsi-any-target", "a target reset terminates everybody's tasks", wrapped(Requests, "_terminate", any_target), "lsi.tm.target_reset"),
    chip("lsi-keys", "one key is enough", replaced(mpt, "WRITE_KEYS", (4,)), "lsi.diag.wrseq"),
    chip("lsi-reset", "RESET_ADAPTER does nothing", wrapped(LsiMpt, "_diagnose", lambda original, self, value: original(self, value.but(reset_adapter=0))), "lsi.diag.reset_adapter"),
    chip("lsi-early", "a request before IOCInit is dropped", wrapped(LsiMpt, "_post", ignores_early), "lsi.db.fault hostile.lsi.req_when_ready"),
    chip("lsi-no-fault", "there is no FAULT state", without(Ioc, "fail"), "hostile.lsi.req_addr_oob hostile.lsi.no_reply_frames"),
    chip("lsi-deep", "FIFOs hold a thousand", replaced(mpt, "DEPTH", 1000), "hostile.lsi.req_fifo_flood"),
    chip("lsi-deep-frames", "so for reply frames", replaced(mpt, "DEPTH", 1000), "hostile.lsi.replyfree_flood"),
    chip("lsi-deep-replies", "so for replies", replaced(mpt, "DEPTH", 1000), "hostile.lsi.replies_flood"),
    chip("lsi-reply-nowhere", "a reply that could not be written is posted", wrapped(LsiMpt, "_reply", posts_anyway), "hostile.lsi.reply_oob"),
    chip("lsi-handshake-length", "handshakes of more than 128 dwords are none", wrapped(Handshake, "begin", lambda original, self, dwords: original(self, dwords if dwords <= 128 else 0)), "hostile.lsi.handshake_255"),
    chip("lsi-handshake-zero", "a handshake of no dword waits for one", wrapped(Handshake, "begin", lambda original, self, dwords: original(self, dwords or 1)), "hostile.lsi.handshake_zero"),
    chip("lsi-handshake-reset", "a handshake cannot be reset", replaced(adapter, "RESET_COMMAND", None), "hostile.lsi.handshake_reset"),
    chip("lsi-handshake-short", "ReplyFrameSize may be 0", replaced(mpt, "REPLY_FRAME_MIN", 0), "hostile.lsi.handshake_short"),
    chip("lsi-wrap", "a reply begins anew behind its end", first(Handshake, "halfword", wraps), "hostile.lsi.db_overread"),
    chip("lsi-function", "unknown functions succeed", wrapped(Messages, "answer", takes_unknown), "hostile.lsi.bad_function"),
    chip("lsi-lists", "lists that are none have no data", wrapped(requests, "segments", lenient), "hostile.lsi.sge_chain_loop hostile.lsi.sge_zero_len hostile.lsi.chain_oob"),
    chip("lsi-mismatch", "a list that is too short will do", wrapped(requests, "segments", lenient), "hostile.lsi.sge_len_mismatch"),
    chip("lsi-length", "data have any length", replaced(requests, "LARGEST_TRANSFER", 1 << 40), "hostile.lsi.datalen_4g"),
    chip("lsi-cdb", "a CDB has six bytes at least", frame_with(lambda request: request._replace(cdb_length=max(request.cdb_length, 6))), "hostile.lsi.cdb_len"),
    chip("lsi-sense-pad", "sense data are as long as there is room", wrapped(Requests, "_write_sense", pads_sense), "hostile.lsi.sense_oob"),
    chip("lsi-page-whole", "pages are written whole", replaced(messages, "scatter", lambda write, where, page: write(where[0][0], page)), "hostile.lsi.config_len_lie"),
    chip("lsi-phys", "there are pages of every phy", replaced(ConfigPages, "_phy", lambda self, address: 0), "hostile.lsi.config_sas"),
    chip("lsi-abort-always", "an abort counts one", replaced(Requests, "_terminate", lambda self, **which: [mpt.ScsiIo.unpack(bytes(128))]), "hostile.lsi.tm_self"),
    chip("lsi-late", "what waits outlives a reset", without(Requests, "drop"), "hostile.lsi.reset_inflight"),
    chip("lsi-master-abort", "data for nowhere are no error", told_as(IocStatus.SCSI_IO_DATA_ERROR, IocStatus.SUCCESS), "hostile.lsi.data_oob"),
    chip("lsi-bytes", "registers can be written by bytes", wrapped(LsiMpt, "write", lambda original, self, offset, size, value: original(self, offset, 4, value)), "hostile.lsi.io_width"),
)
# fmt: on


# ---- disks


def does(kind: type[LogicalUnit], opcode: Opcode, command: Callable[[Any, Request], Any]) -> How:
    """An operation code does something else."""
    return lambda: patch.dict(kind.COMMANDS, {opcode: command})  # type: ignore[arg-type]


def counts(opcode: Opcode, value: int) -> How:
    """No block is ``value`` blocks."""

    def around(original: Any, self: BlockUnit, request: Request) -> tuple[int, int]:
        sector, length = original(self, request)
        where = scsi.SPANS[Opcode(request.cdb[0])]
        none = request.cdb[0] == opcode and not request.number(*where.blocks)
        return sector, value * self.BLOCK if none else length

    return wrapped(BlockUnit, "span", around)


def moved(name: str) -> How:
    """Blocks are one further."""

    def around(original: Any, self: DiskUnit, request: Request) -> Any:
        where = scsi.SPANS[Opcode(request.cdb[0])]
        at, length = where.first
        further = (request.number(at, length) + 1).to_bytes(length, "big")
        return original(self, replace(request, cdb=request.cdb[:at] + further + request.cdb[at + length :]))

    table = {code: command for code, command in DiskUnit.COMMANDS.items() if command.__name__ == name}
    changed = {
        code: (lambda self, request, command=command: around(command, self, request)) for code, command in table.items()
    }
    return lambda: patch.dict(DiskUnit.COMMANDS, changed)  # type: ignore[arg-type]


def allowing(change: Callable[[int], int]) -> How:
    return wrapped(Request, "answer", lambda original, self, data, allowed: original(self, data, change(allowed)))


def wrapped_capacity(self: BlockUnit, request: Request) -> target.Completion:
    return request.answer((self.blocks - 1 & 0xFFFF_FFFF).to_bytes(4, "big") + self.BLOCK.to_bytes(4, "big"), 8)


def deferred(self: LogicalUnit, request: Request) -> target.Completion:
    return request.answer(scsi.fixed(scsi.INVALID_OPCODE), request.cdb[4])


def fewer_pages(original: Any, self: LogicalUnit) -> dict[int, bytes]:
    return {page: data for page, data in original(self).items() if page != scsi.Vpd.SERIAL_NUMBER}


# fmt: off
DISKS = (
    unit("scsi-vendor", "INQUIRY data are cut after 5 bytes", replaced(target, "inquiry", lambda kind, product, removable=False: bytes((kind, 0, 6, 2, 0))), "scsi.inquiry.min lsi.io.inquiry lsi.drv.capacity pvscsi.drv.capacity"),
    unit("scsi-read", "reads give the next block", moved("_read_with_flags"), "lsi.io.read pvscsi.io.read scsi.rw16 lsi.drv.polled"),
    unit("scsi-write", "writes go to the next block", moved("_write"), "lsi.io.write pvscsi.io.write lsi.drv.batches lsi.drv.polled_sas pvscsi.drv.batches"),
    unit("scsi-allocation", "the allocation length is ignored", allowing(lambda allowed: 1 << 32), "scsi.inquiry.trunc"),
    unit("scsi-allocation-sign", "the largest allocation length is none", allowing(lambda allowed: allowed % 0xFFFF_FFFF), "hostile.scsi.alloc_len"),
    unit("scsi-lun-absent", "a LUN that is not there is a disk", replaced(target, "_nobody", lambda cdb, data, room: target.Completion(data_in=bytes(min(room, 36)), length=min(room, 36), reads=True)), "scsi.inquiry.lun_absent scsi.inquiry.lun_absent.command"),
    unit("scsi-vpd", "page 80 is not there", wrapped(LogicalUnit, "vpd", fewer_pages), "scsi.vpd.pages"),
    unit("scsi-not-ready", "TEST UNIT READY fails", does(DiskUnit, Opcode.TEST_UNIT_READY, lambda self, request: target.Completion(Status.CHECK_CONDITION, sense=scsi.fixed(scsi.STOPPED))), "scsi.tur lsi.drv.capacity"),
    unit("scsi-capacity", "there is one block more", replaced(BlockUnit, "blocks", property(lambda self: self.medium.sectors * 512 // self.BLOCK + 1)), "scsi.readcap10 scsi.readcap16 scsi.lba_range.across"),
    unit("scsi-capacity-wrap", "READ CAPACITY (10) wraps", does(DiskUnit, Opcode.READ_CAPACITY_10, wrapped_capacity), "scsi.readcap10_big"),
    unit("scsi-none-6", "READ (6) of 0 blocks is of none", counts(Opcode.READ_6, 0), "scsi.rw6_zero"),
    unit("scsi-none-10", "READ (10) of 0 blocks is of 256", counts(Opcode.READ_10, 256), "scsi.rw10_zero"),
    unit("scsi-far", "READ (16) has 32 bits of address", lambda: patch.dict(scsi.SPANS, {Opcode.READ_16: scsi.Span((6, 4), (10, 4))}), "scsi.rw16.far"),
    unit("scsi-range", "blocks beyond the end are an invalid field", replaced(scsi, "LBA_OUT_OF_RANGE", scsi.INVALID_FIELD_IN_CDB), "scsi.lba_range lsi.drv.errors"),
    unit("scsi-opcode", "an unknown command is an invalid field", replaced(scsi, "INVALID_OPCODE", scsi.INVALID_FIELD_IN_CDB), "scsi.bad_opcode"),
    unit("scsi-field", "an invalid field is an unknown command", replaced(scsi, "INVALID_FIELD_IN_CDB", scsi.INVALID_OPCODE), "scsi.bad_field hostile.scsi.len_overflow"),
    unit("scsi-luns", "every LUN is 0", replaced(scsi, "lun_address", lambda lun: bytes(8)), "scsi.report_luns"),
    unit("scsi-mode-header", "MODE SENSE has no block descriptor", replaced(DiskUnit, "mode_header", lambda self: (0, b"")), "scsi.mode_sense scsi.mode_sense.protected"),
    unit("scsi-protected", "write protection is ignored", replaced(DiskUnit, "_writable", property(lambda self: self.medium)), "scsi.mode_sense.protected pvscsi.io.protected"),
    unit("scsi-flush", "SYNCHRONIZE CACHE does nothing", without(DiskUnit, "_flush"), "scsi.sync_cache"),
    unit("scsi-deferred", "REQUEST SENSE repeats the last error", does(DiskUnit, Opcode.REQUEST_SENSE, deferred), "scsi.request_sense"),
    unit("scsi-unmap", "UNMAP does nothing", does(DiskUnit, Opcode.UNMAP, lambda self, request: target.Completion(length=24)), "scsi.sync_cache.unmap"),
    unit("scsi-cd-blocks", "blocks of a CD-ROM have 512 bytes", replaced(CdRomUnit, "BLOCK", 512), "scsi.tur.cdrom"),
    unit("scsi-busy", "START STOP UNIT is always busy", does(DiskUnit, Opcode.START_STOP_UNIT, lambda self, request: target.Completion(Status.BUSY)), "hostile.scsi.cdb_fuzz"),
    unit("scsi-transfer", "a transfer has any length", replaced(block, "LARGEST_TRANSFER", 1 << 60), "hostile.scsi.len_overflow"),
    unit("scsi-unmap-huge", "UNMAP has no limit", replaced(block, "LARGEST_UNMAP", 1 << 60), "hostile.scsi.write_same_huge"),
    unit("scsi-mode-select", "MODE SELECT takes everything", does(DiskUnit, Opcode.MODE_SELECT_6, lambda self, request: target.Completion(length=len(request.data_out))), "hostile.scsi.mode_select"),
    unit("scsi-shared-base", "overlays write to their base", wrapped(Overlay, "write", lambda original, self, sector, data: self._base.write(sector, data)), "hostile.scsi.two_guests"),
    unit("scsi-tasks", "nothing that waits can be cancelled", replaced(Tasks, "cancel", lambda self, which=None: []), "lsi.tm.abort pvscsi.abort"),
    unit("scsi-stuck-data", "the last byte of what is read is lost", wrapped(BlockUnit, "_read", lambda original, self, request: _cut(original(self, request))), "lsi.drv.scattered pvscsi.drv.scattered lsi.drv.interrupts_sas pvscsi.drv.interrupts"),
)
# fmt: on


def _cut(done: target.Completion) -> target.Completion:
    return replace(done, data_in=done.data_in[:-1] + b"\0")


# ---- all at the same time

host = of("virtio.scsi.*")
busy = of("hostile.multi.*", "hostile.pvscsi.*", "hostile.lsi.*")


# fmt: off
BUSY = (
    host("vscsi.written", "what virtio-scsi writes is lost",         replaced(FileDisk, "write", lambda self, sector, data: None), "virtio.scsi.drv.batches virtio.scsi.drv.scattered"),
    busy("busy.tasks",  "requests that wait outlive a reset",        replaced(Tasks, "cancel", lambda self, which=None: []), "hostile.multi.reset_all_busy hostile.multi.reset_all_busy.sas"),
    busy("busy.master", "a reset leaves functions their command",    replaced(Function, "reset", lambda self: None),         "hostile.multi.reset_all_busy"),
    busy("busy.rings",  "PVSCSI's rings outlive a reset",            without(PvScsi, "reset"),                               "hostile.multi.reset_all_busy"),
)
# fmt: on

MUTANTS = (*PVSCSI, *FUSION_MPT, *DISKS, *BUSY)
