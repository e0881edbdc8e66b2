"""Virtio devices are wrong: the transport, virtqueues, and each kind of device."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any
from unittest.mock import patch

from tests.mutants.mutant import How, of, replaced, wrapped
from virtproof.spec import virtio as spec
from virtproof.spec.virtio import Common, Legacy, Place, available_size
from virtproof.spec.virtio_blk import Feature, RequestStatus, RequestType
from virtproof.vmm.devices.virtio import device, net, rng, scsi, transport
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.console import VirtioConsole
from virtproof.vmm.devices.virtio.device import Virtio
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.net_filter import ReceiveFilter
from virtproof.vmm.devices.virtio.queue import Chain, Queue, QueueBroken
from virtproof.vmm.devices.virtio.rng import VirtioRng
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.devices.virtio.transport import Transport
from virtproof.vmm.disks.disk import DiskError
from virtproof.vmm.pci.function import DmaError, Function

everything = of("virtio", "hostile.virtio.*")
bus = of("virtio.pci.*", "virtio.common.*", "virtio.status.*", "virtio.isr.*", "virtio.notify.*", "virtio.legacy.*")
ring = of("virtio.ring.*", "hostile.virtio.*")
adapter = of("virtio.net.*", "hostile.virtio.net*")
disk = of("virtio.blk.*", "hostile.virtio.*")
host = of("virtio.scsi.*", "hostile.virtio.scsi*")
others = of("virtio.rng.*", "virtio.console.*", "hostile.virtio.rng*")


def nothing(*rest: Any, **more: Any) -> None:
    pass


def attribute(owner: Any, name: str, get: Any) -> How:
    return replaced(owner, name, property(get))


def together(*hows: How) -> How:
    def how() -> AbstractContextManager[Any]:
        stack = ExitStack()
        for each in hows:
            stack.enter_context(each())
        return stack

    return how


# ---- transport


def reads(wrong: Place, value: int) -> How:
    return wrapped(
        Transport,
        "_common",
        lambda original, self, place: value if place == wrong else original(self, place),
    )


def last_queue(self: Transport) -> Any:
    queues = self.virtio.queues
    return queues[min(self._queue_select, len(queues) - 1)]


def only_status(self: Virtio) -> None:
    self.status = 0


def never_fails(original: Any, self: Virtio, value: int, *, legacy: bool = False) -> None:
    original(self, value & 0x7F, legacy=legacy)


def failed_for_ever(original: Any, self: Virtio, value: int, *, legacy: bool = False) -> None:
    original(self, value | self.status & 0x80, legacy=legacy)


def without_version(original: Any, self: Virtio) -> bool:
    accepted, self.accepted = self.accepted, self.accepted | spec.Feature.VERSION_1
    try:
        return bool(original(self))
    finally:
        self.accepted = accepted


def isr_stays(original: Any, self: Transport) -> int:
    return self._isr


def same_generation(original: Any, self: Virtio) -> None:
    generation = self.generation
    original(self)
    self.generation = generation


def first_vector(original: Any, self: Transport, cause: Any, vector: int) -> None:
    original(self, cause, 0)


def legacy_size(original: Any, self: Transport, place: Place, value: int) -> None:
    if place == Legacy.QUEUE_SIZE and self._selected is not None:
        self._selected.size = value
    original(self, place, value)


def legacy_never_resets(original: Any, self: Transport, value: int, *, legacy: bool) -> None:
    if value or not legacy:
        original(self, value, legacy=legacy)


def anywhere(self: Any) -> tuple[int, int]:
    return 0, 4


# ---- queues


def hushed(original: Any, self: Virtio, step: Any) -> None:
    with suppress(QueueBroken, DmaError):
        step()


def first_head(original: Any, self: Queue, chain: Chain, written: int) -> None:
    original(self, chain, written)
    self._done[-1] = 0, written


def no_indirect(original: Any, self: Virtio) -> None:
    original(self)
    for queue in self.queues:
        queue.indirect = False


def event_idx_forgotten(original: Any, self: Virtio) -> None:
    original(self)
    for queue in self.queues:
        queue.event_idx = False


def first_element(original: Any, self: Chain, offset: int, length: int) -> bytes:
    readable, self.readable = self.readable, self.readable[:1]
    try:
        return bytes(original(self, offset, length)).ljust(min(length, 16), b"\0")
    finally:
        self.readable = readable


def fifteen_bits(original: Any, self: Queue, address: int) -> int:
    return int(original(self, address)) & 0x7FFF


def never_quiet(original: Any, self: Queue, dma: Any, limit: int, *, quiet: bool = False) -> None:
    original(self, dma, limit)


def not_live_either(self: Virtio, number: int, chain: Chain, finish: Any) -> None:
    self.queues[number]._taken.append(chain.head)
    self.queues[number].enabled = True
    finish()


def minds_absent(original: Any, self: Virtio, number: int) -> None:
    def broken() -> None:
        raise QueueBroken(f"queue {number}")

    if number < len(self.queues):
        original(self, number)
    else:
        self.guarded(broken)


# ---- devices


def changed(owner: Any, at: int) -> How:
    """A byte of the configuration is another."""

    def around(original: Any, self: Any) -> bytes:
        config = bytearray(original(self))
        config[at] ^= 0x40
        return bytes(config)

    return wrapped(owner, "config", around)


def no_buffers_named(original: Any, self: VirtioNet, frame: bytes, buffers: int) -> bytes:
    return bytes(original(self, frame, 0))


def lost_without_buffers(original: Any, self: VirtioNet, queue: Queue, frame: bytes) -> bool:
    original(self, queue, frame)
    return True


def down_lets_in(original: Any, self: VirtioNet, frame: bytes) -> bool:
    link, self._link = self._link, True
    try:
        return bool(original(self, frame))
    finally:
        self._link = link


def always_acknowledged(original: Any, self: VirtioNet, *rest: Any) -> bool:
    original(self, *rest)
    return True


def request(change: Any) -> How:
    """``change(original, self, chain, kind, sector, room)`` is what a request comes to."""
    return wrapped(VirtioBlk, "_request", change)


def next_sector(original: Any, self: VirtioBlk, chain: Chain, kind: int, sector: int, room: int) -> Any:
    return original(self, chain, kind, sector + (kind == RequestType.IN), room)


def skipped(what: RequestType) -> How:
    return request(
        lambda original, self, chain, kind, *rest: (
            (0, RequestStatus.OK) if kind == what else original(self, chain, kind, *rest)
        )
    )


def all_is_well(original: Any, self: VirtioBlk, *rest: Any) -> Any:
    with suppress(DiskError, DmaError):
        return original(self, *rest)
    return 0, RequestStatus.OK


def nothing_unknown(original: Any, self: VirtioBlk, *rest: Any) -> Any:
    done, status = original(self, *rest)
    return done, RequestStatus.OK if status == RequestStatus.UNSUPP else status


def answers(**wrong: Any) -> How:
    """Fields of a response are always these."""
    return wrapped(
        VirtioScsi,
        "_answer",
        lambda original, self, chain, response, **fields: original(
            self, chain, **({"response": response} | fields | wrong)
        ),
    )


def nameless(original: Any, self: VirtioBlk, *rest: Any) -> Any:
    with patch.object(self, "_serial", bytes(20)):
        return original(self, *rest)


def said_writable(original: Any, self: VirtioBlk, *rest: Any, **more: Any) -> None:
    original(self, *rest, **more)
    self.features &= ~Feature.RO


def any_length(original: Any, self: VirtioScsi, chain: Chain) -> Any:
    with suppress(QueueBroken):
        return original(self, chain)
    return 0


def never_missed(original: Any, self: VirtioScsi, *rest: Any) -> None:
    original(self, *rest)
    self._missed = False


def zeros(original: Any, self: VirtioRng, queue: int, chain: Chain) -> int:
    return chain.write(bytes(min(chain.to_write, 64)))


def target_0(field: bytes) -> Any:
    return scsi.Place(0, 0)


BREAKS = (
    "desc_loop desc_next_oob head_oob avail_jump indirect_nested indirect_badlen indirect_and_next write_then_read ring_oob blk_status_missing scsi_short_req addr_oob addr_oob_rng"
)  # fmt: skip

# fmt: off
MUTANTS = (
    bus("virtio.id",          "Modern devices have another id",                         replaced(transport, "MODERN_DEVICE", 0x1140),              "virtio.pci.ids"),
    bus("virtio.capability",  "The capabilities have another id",                       replaced(transport, "VENDOR_CAPABILITY", 0x0A),            "virtio.pci.caps"),
    bus("virtio.walk",        "The structures are not to be found",                     replaced(transport, "VENDOR_CAPABILITY", 0x0A),            "virtio.pci.walk"),
    bus("virtio.window",      "The window in configuration space is closed",            replaced(transport._Window, "_access", lambda self: None),  "virtio.pci.cfg_cap"),
    everything("virtio.window_open", "... or always open",                              replaced(transport._Window, "_access", anywhere),          "hostile.virtio.cfgcap_oob"),
    bus("virtio.halves",      "Features have no upper half",                            replaced(transport, "_half", lambda number, select: number & 0xFFFF_FFFF), "virtio.common.features_window"),
    bus("virtio.readback",    "What the driver takes does not read back",               reads(Common.DRIVER_FEATURE, 0),                           "virtio.common.driver_feature_readback"),
    bus("virtio.vector0",     "Queues have vector 0 after reset",                       replaced(spec, "NO_VECTOR", 0),                            "virtio.common.queue_defaults"),
    bus("virtio.absent",      "There is no end of queues",                              attribute(Transport, "_selected", last_queue),             "virtio.common.queue_absent"),
    bus("virtio.address",     "Both halves of an address are the lower one",            replaced(transport, "_shifted", lambda number, down: number), "virtio.common.halves"),
    bus("virtio.vectors",     "Any vector is taken",                                    replaced(Transport, "_vector", lambda self, value: value), "virtio.common.msix_vector"),
    bus("virtio.reset",       "A reset clears the status only",                         replaced(Virtio, "reset", only_status),                    "virtio.status.reset"),
    bus("virtio.failed",      "FAILED does not read back",                              wrapped(Virtio, "set_status", never_fails),                "virtio.status.sequence"),
    everything("virtio.failed_stays", "A device that has failed cannot be reset",       wrapped(Virtio, "set_status", failed_for_ever),            "hostile.virtio.status_fuzz"),
    bus("virtio.agrees",      "FEATURES_OK is never refused",                           replaced(Virtio, "_acceptable", lambda self: True),        "virtio.status.features_ok_reject"),
    bus("virtio.version",     "... or not without VERSION_1",                           wrapped(Virtio, "_acceptable", without_version),           "virtio.status.need_version1"),
    bus("virtio.early",       "Queues are looked at before DRIVER_OK",                  attribute(Virtio, "live", lambda self: self._function.bus_master), "virtio.status.no_dma_before_ok"),
    bus("virtio.isr",         "Reading ISR does not clear it",                          wrapped(Transport, "_take_isr", isr_stays),                "virtio.isr.read_clear"),
    bus("virtio.generation",  "The configuration changes without another generation",   wrapped(Virtio, "config_changed", same_generation),        "virtio.isr.config_change"),
    bus("virtio.message",     "All messages have the first vector",                     wrapped(Transport, "_signal", first_vector),               "virtio.isr.messages"),
    everything("virtio.silent", "Messages are lost",                                    replaced(Function, "send_message", lambda self, vector=0: True), "virtio.net.by_interrupt"),
    everything("virtio.silent_disk", "... those of a disk too",                         replaced(Function, "send_message", lambda self, vector=0: True), "virtio.blk.by_interrupt"),
    bus("virtio.multiplier",  "Queues are notified at half the distance",               replaced(transport, "NOTIFY_MULTIPLIER", 2),               "virtio.notify.multiplier"),
    bus("virtio.legacy.rings", "The legacy used ring is not aligned",                   replaced(device, "legacy_rings", lambda base, size: (base + 16 * size, base + 16 * size + available_size(size))), "virtio.legacy.pfn"),
    bus("virtio.legacy.size", "The legacy queue size can be written",                   wrapped(Transport, "_set_legacy", legacy_size),            "virtio.legacy.qsize_ro"),
    bus("virtio.legacy.status", "Writing 0 to the legacy status does nothing",          wrapped(Transport, "_set_status", legacy_never_resets),    "virtio.legacy.status_reset"),
    bus("virtio.legacy.config", "The legacy configuration stays where it is",           attribute(Transport, "_legacy_config", lambda self: 20),   "virtio.legacy.cfg_shift"),

    ring("virtio.length",     "The used length is 0",                                   wrapped(Queue, "push", lambda original, self, chain, written: original(self, chain, 0)), "virtio.ring.used_len"),
    ring("virtio.head",       "The used ring names descriptor 0",                       wrapped(Queue, "push", first_head),                        "virtio.ring.order_out_of_order"),
    ring("virtio.one",        "A notification serves one chain",                        replaced(device, "STINT", 0),                              "virtio.ring.many"),
    ring("virtio.indirect",   "Indirect tables are offered and not known",              wrapped(Virtio, "_negotiated", no_indirect),               "virtio.ring.indirect"),
    ring("virtio.interrupts", "A driver that wants no interrupts gets them",            wrapped(Queue, "flush", lambda original, self: original(self) or True), "virtio.ring.no_interrupt"),
    ring("virtio.event",      "EVENT_IDX is offered and not known",                     wrapped(Virtio, "_negotiated", event_idx_forgotten),       "virtio.ring.event_idx"),
    ring("virtio.layout",     "Only the first descriptor is read",                      wrapped(Chain, "read", first_element),                     "virtio.ring.any_layout"),
    ring("virtio.layout_net", "... of a frame too",                                     wrapped(Chain, "read", first_element),                     "virtio.ring.any_layout_net"),
    ring("virtio.wraps",      "Indices have 15 bits",                                   wrapped(Queue, "_word", fifteen_bits),                     "virtio.ring.idx_wrap"),
    adapter("virtio.noisy",   "Notifications are wanted while there are buffers",       wrapped(Queue, "__init__", never_quiet),                   "virtio.net.polled"),
    adapter("virtio.noisy_unplaced", "... wherever the windows are",                    wrapped(Queue, "__init__", never_quiet),                   "virtio.net.unplaced"),
    adapter("virtio.bells",   "One chain a notification: bells do not keep up",         replaced(device, "STINT", 0),                              "virtio.net.bells"),
    *(everything(f"virtio.unharmed.{name}", "A broken queue breaks nothing",            wrapped(Virtio, "guarded", hushed),                        f"hostile.virtio.{name}") for name in BREAKS.split()),
    ring("virtio.size",       "Any queue size is taken",                                replaced(Queue, "accepts", lambda self, size: True),       "hostile.virtio.qsize_bad"),
    ring("virtio.notified",   "A notification of a queue that is not there breaks the device", wrapped(Virtio, "notify", minds_absent), "hostile.virtio.notify_bad"),
    disk("virtio.late",       "A request outlives a reset",                             together(replaced(VirtioBlk, "abandon", nothing), replaced(Virtio, "complete", not_live_either)), "hostile.virtio.reset_inflight"),

    adapter("net.mac",        "The configuration has another MAC",                      changed(VirtioNet, 2),                                     "virtio.net.mac"),
    adapter("net.link",       "The link's status is not told",                          changed(VirtioNet, 7),                                     "virtio.net.status_link"),
    adapter("net.down",       "Frames come in while the link is down",                  wrapped(VirtioNet, "receive", down_lets_in),               "virtio.net.status_link"),
    adapter("net.header10",   "The header has 10 bytes",                                attribute(VirtioNet, "_header", lambda self: 10),          "virtio.net.tx"),
    adapter("net.header12",   "The header has 12 bytes for legacy drivers too",         attribute(VirtioNet, "_header", lambda self: 12),          "virtio.net.hdr12"),
    adapter("net.buffers",    "A received frame does not say over how many buffers",    wrapped(VirtioNet, "_received", no_buffers_named),         "virtio.net.rx"),
    adapter("net.merge",      "Frames are never spread",                                replaced(VirtioNet, "_spread", lambda self, *rest: True),  "virtio.net.rx_mrg"),
    adapter("net.csum",       "Checksums are left out",                                 replaced(net, "outgoing", lambda header, frame: (frame,)), "virtio.net.csum"),
    adapter("net.segments",   "Large frames go out as they are",                        replaced(net, "outgoing", lambda header, frame: (frame,)), "virtio.net.tso"),
    adapter("net.offload",    "Offloads that make no sense are ignored",                replaced(net, "outgoing", lambda header, frame: (frame,)), "hostile.virtio.net_gso_bad"),
    adapter("net.filter",     "Every frame is let in",                                  replaced(ReceiveFilter, "accepts", lambda self, frame, mac: True), "virtio.net.ctrl_rx"),
    adapter("net.ack",        "Every command is acknowledged",                          wrapped(VirtioNet, "_command", always_acknowledged),       "hostile.virtio.net_ctrl_len"),
    adapter("net.no_room",    "Frames without buffers are gone",                        wrapped(VirtioNet, "_put", lost_without_buffers),          "virtio.net.no_rx_buffers"),
    adapter("net.short",      "Frames of any length go out",                            replaced(net, "SHORTEST", -1),                            "hostile.virtio.net_hdr_short"),

    disk("blk.capacity",      "The capacity is another",                                changed(VirtioBlk, 0),                                     "virtio.blk.capacity"),
    disk("blk.capacity_driver", "... for a driver in C too",                            changed(VirtioBlk, 0),                                     "virtio.blk.capacity_driver"),
    disk("blk.size",          "Blocks have another size",                               changed(VirtioBlk, 20),                                    "virtio.blk.blk_size"),
    disk("blk.sector",        "Reading brings the next sector",                         request(next_sector),                                      "virtio.blk.read"),
    disk("blk.lost",          "What is written is lost",                                skipped(RequestType.OUT),                                  "virtio.blk.write"),
    disk("blk.lost_driver",   "... and a driver notices",                               skipped(RequestType.OUT),                                  "virtio.blk.written"),
    disk("blk.flush",         "FLUSH does nothing",                                     skipped(RequestType.FLUSH),                                "virtio.blk.flush"),
    disk("blk.id",            "The disk has no name",                                   request(nameless),                                         "virtio.blk.get_id"),
    disk("blk.unknown",       "Unknown types succeed",                                  request(nothing_unknown),                                  "virtio.blk.unsupp"),
    disk("blk.errors",        "Errors are not told",                                    request(all_is_well),                                      "virtio.blk.oob"),
    disk("blk.errors_length", "... of lengths that are no sectors",                     request(all_is_well),                                      "hostile.virtio.blk_unaligned_len"),
    disk("blk.errors_4g",     "... of lengths that no memory has",                      request(all_is_well),                                      "hostile.virtio.len_4g"),
    disk("blk.errors_wrap",   "... of sectors that would wrap",                         request(all_is_well),                                      "hostile.virtio.blk_sector_wrap"),
    disk("blk.writable",      "A read-only disk does not say so",                       wrapped(VirtioBlk, "__init__", said_writable),             "virtio.blk.ro"),

    host("scsi.config",       "The configuration has another sense size",               changed(VirtioScsi, 20),                                   "virtio.scsi.cfg"),
    host("scsi.data",         "Data are not read",                                      replaced(scsi, "LARGEST_TRANSFER", 0),                     "virtio.scsi.cmd"),
    host("scsi.target",       "Every target is the first",                              replaced(scsi, "_place", target_0),                        "virtio.scsi.bad_target"),
    host("scsi.manage",       "... for task management too",                            replaced(scsi, "_place", target_0),                        "virtio.scsi.tmf"),
    host("scsi.sense",        "Sense data are lost",                                    answers(sense=b""),                                        "virtio.scsi.sense"),
    host("scsi.residual",     "The residual is 0",                                      answers(residual=0),                                       "virtio.scsi.resid"),
    host("scsi.overrun",      "An overrun is not told",                                 answers(response=0),                                       "virtio.scsi.overrun"),
    host("scsi.missed",       "Missed events are forgotten",                            wrapped(VirtioScsi, "_report", never_missed),              "hostile.virtio.scsi_event_flood"),

    others("rng.zeros",       "Random bytes are zeros",                                 wrapped(VirtioRng, "serve", zeros),                        "virtio.rng.entropy"),
    others("rng.empty",       "Nothing is filled",                                      replaced(VirtioRng, "serve", lambda self, queue, chain: 0), "virtio.rng.fill"),
    others("rng.much",        "A request is filled however long it is",                 replaced(rng, "MOST", 1 << 16),                            "hostile.virtio.rng_huge"),
    others("console.tx",      "The console is mute",                                    replaced(VirtioConsole, "serve", lambda self, queue, chain: 0), "virtio.console.tx"),
    others("console.rx",      "The console is deaf",                                    replaced(VirtioConsole, "_deliver", nothing),              "virtio.console.rx"),
)
# fmt: on
