"""The VMXNET3 is wrong: registers, activation, rings, offloads, the filter, interrupts; or what it is plugged into is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.mutants.mutant import How, of, replaced, wrapped
from tests.mutants.processor import both
from virtproof.spec import vmxnet3 as spec
from virtproof.spec.vmxnet3 import Cmd, Event, Register, RxStatistics, TxStatistics, TxWord3
from virtproof.vmm.devices.vmxnet3 import adapter, configuration, rss, rx, tx
from virtproof.vmm.devices.vmxnet3.adapter import Vmxnet3
from virtproof.vmm.devices.vmxnet3.filter import RxFilter
from virtproof.vmm.devices.vmxnet3.interrupts import Interrupts
from virtproof.vmm.devices.vmxnet3.rings import CompletionRing, DescriptorRing
from virtproof.vmm.devices.vmxnet3.rss import Rss
from virtproof.vmm.devices.vmxnet3.rx import RxQueue
from virtproof.vmm.devices.vmxnet3.tx import TxQueue
from virtproof.vmm.network.rate_limit import RateLimit
from virtproof.vmm.network.switch import Switch
from virtproof.vmm.token_bucket import TokenBucket

card = of("vmxnet3", "hostile.vmxnet3.*")


def reads(register: int, change: Callable[[int], int]) -> How:
    """A register of BAR 1 reads something else."""

    def around(original: Any, self: Vmxnet3, offset: int) -> int:
        value = int(original(self, offset))
        return change(value) if offset == register else value

    return wrapped(Vmxnet3, "_read_register", around)


def ignores(*registers: int) -> How:
    """A write to a register of BAR 1 does nothing."""

    def around(original: Any, self: Vmxnet3, offset: int, value: int) -> None:
        if offset not in registers:
            original(self, offset, value)

    return wrapped(Vmxnet3, "_write_register", around)


def answers(command: int, result: int) -> How:
    """A command is not carried out, and has this result."""
    return wrapped(
        Vmxnet3, "_command", lambda original, self, value: result if value == command else original(self, value)
    )


def after_activation(change: Callable[[Vmxnet3], None]) -> How:
    def around(original: Any, self: Vmxnet3) -> int:
        was, result = self.active, int(original(self))
        if self.active and not was:
            change(self)
        return result

    return wrapped(Vmxnet3, "_activate", around)


def permanent_counts(original: Any, self: Vmxnet3, frame: bytes) -> bool:
    mac, self._mac = self._mac, self._permanent
    try:
        return bool(original(self, frame))
    finally:
        self._mac = mac


def again(original: Any, self: Vmxnet3) -> int:
    self._active = None
    return int(original(self))


def mask_kept(original: Any, self: Interrupts) -> None:
    masked = self._masked
    original(self)
    self._masked = masked


def shared_kept(original: Any, self: Vmxnet3) -> None:
    shared = self._shared
    original(self)
    self._shared = shared


def address_kept(original: Any, self: Vmxnet3) -> None:
    mac = self._mac
    original(self)
    self._mac = mac


def descriptor_bits(first: Callable[[int, int], tuple[int, int]]) -> How:
    """The words of descriptors to transmit are read otherwise."""

    def around(original: Any, self: TxQueue, descriptor: Any, index: int) -> int:
        address, word2, word3 = descriptor
        return int(original(self, (address, *first(word2, word3)), index))

    return wrapped(TxQueue, "_add", around)


def every_index(original: Any, self: TxQueue, descriptor: Any, index: int) -> int:
    return int(original(self, descriptor, 0))


def completes_each(original: Any, self: TxQueue, descriptor: Any, index: int) -> int:
    sent = int(original(self, descriptor, index))
    if not descriptor[2] & TxWord3.eop.mask:
        self.completions.push(index, 0, 0, 0)
    return sent


def generation_stays(original: Any, self: Any, *rest: Any) -> None:
    original(self, *rest)
    self.generation = True


def any_generation(original: Any, self: DescriptorRing) -> bool:
    mask, self._mask = self._mask, 0
    try:
        return bool(original(self))
    finally:
        self._mask = mask


def without_offload(mode: int) -> How:
    return descriptor_bits(
        lambda word2, word3: (word2, word3 & ~TxWord3.om.mask if TxWord3(word3).om == mode else word3)
    )


def stripped(original: Any, self: RxQueue, frame: bytes, *rest: Any) -> bool:
    self.features &= ~spec.Feature.RX_VLAN
    return bool(original(self, frame, *rest))


def without_mode(bit: int) -> How:
    def around(original: Any, self: RxFilter, frame: bytes, address: bytes) -> bool:
        mode, self.mode = self.mode, self.mode & ~bit
        try:
            return bool(original(self, frame, address))
        finally:
            self.mode = mode

    return wrapped(RxFilter, "accepts", around)


def with_mode(bit: int) -> How:
    def around(original: Any, self: RxFilter, frame: bytes, address: bytes) -> bool:
        mode, self.mode = self.mode, self.mode | bit
        try:
            return bool(original(self, frame, address))
        finally:
            self.mode = mode

    return wrapped(RxFilter, "accepts", around)


def any_tag(original: Any, self: RxFilter, frame: bytes, address: bytes) -> bool:
    vlans, self.vlans = self.vlans, b"\xff" * len(self.vlans)
    try:
        return bool(original(self, frame, address))
    finally:
        self.vlans = vlans


def no_bodies(original: Any, self: RxQueue, length: int) -> Any:
    plan = original(self, length)
    return plan if plan is None or len(plan) == 1 else None


def uncounted(kind: type[TxQueue | RxQueue], at: int) -> How:
    """A counter of a queue stands still."""

    def around(original: Any, self: Vmxnet3) -> None:
        for queue in self._queues:
            if isinstance(queue, kind):
                queue.statistics[at] = 0
        original(self)

    return wrapped(Vmxnet3, "_write_statistics", around)


def error_ignored(original: Any, self: Vmxnet3, event: Event) -> None:
    for queue in self._queues:
        queue.error = 0


def crc(original: Any, self: RxQueue, frame: bytes, *rest: Any) -> bool:
    return bool(original(self, frame + bytes(4), *rest))


def masked_lost(original: Any, self: Interrupts, number: int) -> None:
    if not self.masked(number):
        original(self, number)


def masks_ignored(original: Any, self: Interrupts, number: int) -> None:
    masked, self._masked = self._masked, 0
    original(self, number)
    self._masked = masked


def left_unmasked(original: Any, self: Interrupts) -> int:
    masked = self._masked
    cause = int(original(self))
    self._masked = masked
    return cause


def sticky(original: Any, self: Interrupts) -> int:
    pending = self._pending
    cause = int(original(self))
    self._pending = pending
    return cause


def goes_on(original: Any, self: Vmxnet3) -> None:
    if self._tx:
        self._lost = list(self._tx)
    original(self)


def continued(original: Any, self: Vmxnet3) -> None:
    original(self)
    for queue in getattr(self, "_lost", ()):
        queue.run(64)


def no_segments(original: Any, self: Switch, *rest: Any, **more: Any) -> Any:
    return original(self, *rest, **(more | {"segment": ""}))


def faster(original: Any, self: TokenBucket, rate: int, burst: int, now: Any) -> None:
    original(self, 2 * rate, burst, now)


def slower(original: Any, self: TokenBucket, rate: int, burst: int, now: Any) -> None:
    original(self, rate // 16, burst, now)


# fmt: off
MUTANTS = (
    card("vmxnet3.device_id",    "The device id is another",                       wrapped(Vmxnet3, "__init__", lambda original, self, *rest: (original(self, *rest), self.function.config.add(2, 2, 0x07B1))[0]), "vmxnet3.pci.identity"),
    card("vmxnet3.vectors",      "MSI-X has one vector less",                      wrapped(adapter, "Msix", lambda original, vectors, **more: original(vectors - 1, **more)), "vmxnet3.pci.msix25"),
    card("vmxnet3.pending_bits", "The pending bits of MSI-X lie elsewhere",        wrapped(adapter, "Msix", lambda original, vectors, **more: original(vectors, **(more | {"pba": 0x800}))), "vmxnet3.pci.msix25"),
    card("vmxnet3.vrrs",         "There is no revision",                           reads(Register.VRRS, lambda value: 0), "vmxnet3.vrrs.read vmxnet3.vrrs.select"),
    card("vmxnet3.uvrs",         "There is no version of UPT",                     reads(Register.UVRS, lambda value: 0), "vmxnet3.uvrs.read"),
    card("vmxnet3.perm_mac",     "The permanent address is the current one",       wrapped(Vmxnet3, "_command", lambda original, self, value: int.from_bytes(self._mac[:4], "little") if value == Cmd.GET_PERM_MAC_LO else original(self, value)), "vmxnet3.mac.current"),
    card("vmxnet3.perm_mac_hi",  "The permanent address has no upper half",        answers(Cmd.GET_PERM_MAC_HI, 0), "vmxnet3.mac.perm"),
    card("vmxnet3.mac_write",    "MACL and MACH cannot be written",                ignores(Register.MACL, Register.MACH), "vmxnet3.mac.current"),
    card("vmxnet3.mac_filter",   "The filter goes by the permanent address",       wrapped(Vmxnet3, "receive", permanent_counts), "vmxnet3.mac.current"),
    card("vmxnet3.mac_reset",    "RESET keeps the address",                        wrapped(Vmxnet3, "_clear", lambda original, self: address_kept(original, self) if hasattr(self, "_mac") else original(self)), "vmxnet3.mac.reset"),
    card("vmxnet3.link",         "The link is down",                               answers(Cmd.GET_LINK, 0), "vmxnet3.link.up"),
    card("vmxnet3.link_always",  "The link is always up",                          answers(Cmd.GET_LINK, spec.LINK_UP), "vmxnet3.link.down_event"),
    card("vmxnet3.link_event",   "A change of the link is no event",               replaced(Vmxnet3, "_raise", lambda self, event: None), "vmxnet3.link.down_event vmxnet3.ecr.ack"),
    card("vmxnet3.link_silent",  "Events come without an interrupt",               replaced(Vmxnet3, "_raise", lambda self, event: self._show_events(self._events | event) if self._active else None), "vmxnet3.link.down_event"),
    card("vmxnet3.ecr",          "ECR clears nothing",                             ignores(Register.ECR), "vmxnet3.ecr.ack"),
    card("vmxnet3.ecr_all",      "ECR clears all",                                 wrapped(Vmxnet3, "_acknowledge", lambda original, self, value: original(self, 7)), "vmxnet3.ecr.ack"),
    card("vmxnet3.did",          "GET_DID says another device",                    answers(Cmd.GET_DID_LO, 0x07B1), "vmxnet3.did"),
    card("vmxnet3.conf_intr",    "Only MSI-X is offered",                          answers(Cmd.GET_CONF_INTR, 3), "vmxnet3.conf_intr"),
    card("vmxnet3.unknown",      "An unknown command gives ones",                  answers(0xF00D00FF, 0xFFFF_FFFF), "vmxnet3.cmd.unknown"),
    card("vmxnet3.dsah",         "The upper half of the address does not count",   wrapped(Vmxnet3, "_write_register", lambda original, self, offset, value: original(self, offset, 0 if offset == Register.DSAH else value)), "vmxnet3.dsa.latch hostile.vmxnet3.shared_oob"),
    card("vmxnet3.dsa_zero",     "An address of 0 does not deactivate",            replaced(Vmxnet3, "_locate_low", lambda self, value: setattr(self, "_low", value)), "vmxnet3.dsa.zero_deactivates"),
    card("vmxnet3.no_statistics", "GET_STATS writes nothing",                      answers(Cmd.GET_STATS, 0), "vmxnet3.stats.get"),
    card("vmxnet3.tx_counter",   "Broadcasts that are sent are not counted",       uncounted(TxQueue, TxStatistics.BROADCAST_FRAMES), "vmxnet3.stats.get"),
    card("vmxnet3.rx_counter",   "Frames without a buffer are not counted",        uncounted(RxQueue, RxStatistics.NO_BUFFER), "vmxnet3.rx.no_buffer"),
    card("vmxnet3.error_counter", "Packets with bad offloads are not counted",     uncounted(TxQueue, TxStatistics.ERRORS), "hostile.vmxnet3.tx_bad_offload"),
    card("vmxnet3.status",       "GET_QUEUE_STATUS writes nothing",                answers(Cmd.GET_QUEUE_STATUS, 0), "vmxnet3.queue_status"),

    card("vmxnet3.activate",     "ACTIVATE fails",                                 answers(Cmd.ACTIVATE, 1), "vmxnet3.activate.ok"),
    card("vmxnet3.magic",        "The magic does not count",                       wrapped(configuration.Shared, "unpack", lambda original, area: original(area)._replace(magic=spec.MAGIC)), "vmxnet3.activate.bad_magic"),
    card("vmxnet3.comp_clear",   "Completion rings are not cleared",               replaced(CompletionRing, "clear", lambda self: None), "vmxnet3.activate.clears_comp"),
    card("vmxnet3.comp_clear_long", "More than a completion ring is cleared",      replaced(CompletionRing, "clear", lambda self: self._dma_write(self._base, bytes(16 * self.size + 64))), "hostile.vmxnet3.comp_ring_full"),
    card("vmxnet3.threshold",    "The threshold is not written",                   replaced(spec, "TX_THRESHOLD", 200), "vmxnet3.activate.tx_threshold"),
    card("vmxnet3.again",        "A second ACTIVATE begins the rings anew",        wrapped(Vmxnet3, "_activate", again), "vmxnet3.activate.idempotent"),
    card("vmxnet3.quiesce",      "QUIESCE does nothing",                           answers(Cmd.QUIESCE, 0), "vmxnet3.quiesce"),
    card("vmxnet3.reset",        "RESET does nothing",                             answers(Cmd.RESET, 0), "vmxnet3.reset"),
    card("vmxnet3.reset_mask",   "RESET leaves interrupts open",                   wrapped(Interrupts, "reset", mask_kept), "vmxnet3.reset"),
    card("vmxnet3.reset_shared", "RESET keeps the shared area",                    wrapped(Vmxnet3, "_clear", lambda original, self: shared_kept(original, self) if hasattr(self, "_shared") else original(self)), "vmxnet3.reset"),
    card("vmxnet3.imr_reset",    "Interrupts are open at first",                   wrapped(Interrupts, "__init__", lambda original, self, *rest: (original(self, *rest), setattr(self, "_masked", 0))[0]), "vmxnet3.imr.reset"),
    card("vmxnet3.imr_shared",   "All interrupts share a mask",                    wrapped(Interrupts, "mask", lambda original, self, number, masked: [original(self, n, masked) for n in range(25)]), "vmxnet3.imr.reset"),
    card("vmxnet3.ring_minimum", "Rings of 32 entries are too short",              replaced(spec, "RING_UNIT", 64), "vmxnet3.ring.sizes32"),
    card("vmxnet3.late",         "What was begun before a reset goes on",          both(wrapped(Vmxnet3, "_quiesce", goes_on), wrapped(Vmxnet3, "_continue", continued)), "hostile.vmxnet3.reset_busy"),

    card("vmxnet3.tx_lost",      "Packets are completed but not sent",             wrapped(TxQueue, "_send", lambda original, self, data, first: 0), "vmxnet3.tx.one"),
    card("vmxnet3.tx_no_completion", "There are no completions",                   replaced(CompletionRing, "push", lambda self, *words: None), "vmxnet3.tx.one"),
    card("vmxnet3.tx_cq",        "Every packet has a completion",                  descriptor_bits(lambda word2, word3: (word2, word3 | TxWord3.cq.mask)), "vmxnet3.tx.no_completion"),
    card("vmxnet3.tx_length",    "A length of 0 is 0",                             replaced(spec, "TX_LONGEST", 0), "vmxnet3.tx.len0_16384"),
    card("vmxnet3.tx_gen",       "Generations do not count",                       wrapped(DescriptorRing, "_fetch", any_generation), "vmxnet3.tx.gen_stops"),
    card("vmxnet3.comp_flip",    "The generation of completions does not flip",    wrapped(CompletionRing, "push", generation_stays), "vmxnet3.tx.gen_flip"),
    card("vmxnet3.tx_eop",       "Every descriptor is a packet",                   descriptor_bits(lambda word2, word3: (word2, word3 | TxWord3.eop.mask)), "vmxnet3.tx.multi_frag vmxnet3.tx.data_ring"),
    card("vmxnet3.tx_index",     "Completions name the first descriptor",          wrapped(TxQueue, "_add", every_index), "vmxnet3.tx.multi_frag"),
    card("vmxnet3.tx_each",      "Each descriptor has a completion",               wrapped(TxQueue, "_add", completes_each), "vmxnet3.tx.multi_frag"),
    card("vmxnet3.tx_csum",      "Checksums are not put in",                       without_offload(spec.OffloadMode.CHECKSUM), "vmxnet3.tx.csum"),
    card("vmxnet3.tx_csum_place", "Checksums are put one field further",           wrapped(tx, "insert_checksum", lambda original, frame, start, offset: original(frame, start, offset + 2)), "vmxnet3.tx.csum"),
    card("vmxnet3.tx_tso",       "Large segments are not cut",                     without_offload(spec.OffloadMode.SEGMENTATION), "vmxnet3.tx.tso"),
    card("vmxnet3.tx_mss",       "Segments are one byte too long",                 wrapped(tx, "segments", lambda original, frame, header, mss, *rest: original(frame, header, mss + 1, *rest)), "vmxnet3.tx.tso"),
    card("vmxnet3.tx_vlan",      "Tags are not put in",                            descriptor_bits(lambda word2, word3: (word2, word3 & ~TxWord3.ti.mask)), "vmxnet3.tx.vlan"),
    card("vmxnet3.tx_tci",       "A tag loses its priority",                       wrapped(tx, "tagged", lambda original, frame, tci: original(frame, tci & 0x1FFF)), "vmxnet3.tx.vlan"),
    card("vmxnet3.tx_queues",    "All bells are those of queue 0",                 wrapped(Vmxnet3, "_write_passthrough", lambda original, self, offset, value: original(self, 0x600 if offset & 0xE00 == 0x600 else offset, value)), "vmxnet3.tx.queues hostile.vmxnet3.tx_prod_oob"),
    card("vmxnet3.tx_chain",     "Packets may be in any number of pieces",         replaced(spec, "TX_DESCRIPTORS", 4096), "hostile.vmxnet3.tx_big_chain"),
    card("vmxnet3.tx_long",      "Packets may have any length",                    replaced(tx, "LONGEST", 1 << 30), "hostile.vmxnet3.tx_big_chain"),
    card("vmxnet3.errors",       "Errors do not stop a queue",                     wrapped(Vmxnet3, "_report", error_ignored), "vmxnet3.queue_status hostile.vmxnet3.tx_all_valid"),
    card("vmxnet3.dtype",        "ENCAP is taken for no offload",                  without_offload(spec.OffloadMode.ENCAPSULATED), "hostile.vmxnet3.tx_bad_offload"),

    card("vmxnet3.rx_lost",      "Nothing is received",                            replaced(RxQueue, "receive", lambda self, *rest: False), "vmxnet3.rx.one"),
    card("vmxnet3.rx_data",      "Frames are not written",                         wrapped(RxQueue, "_fill", lambda original, self, frame, *rest: original(self, bytes(len(frame)), *rest)), "vmxnet3.rx.one"),
    card("vmxnet3.rx_crc",       "Lengths count the check sequence",               wrapped(RxQueue, "receive", crc), "vmxnet3.rx.len_no_crc"),
    card("vmxnet3.rx_bodies",    "Frames must fit into a head",                    wrapped(RxQueue, "_plan", no_bodies), "vmxnet3.rx.body_ring1"),
    card("vmxnet3.rx_ring_id",   "Ring 1 is not named",                            wrapped(RxQueue, "__init__", lambda original, self, *rest, **more: (original(self, *rest, **more), setattr(self, "_ids", (0, 0)))[0]), "vmxnet3.rx.body_ring1"),
    card("vmxnet3.rx_csum",      "Every checksum is right",                        replaced(rx, "verified", lambda frame: (0, 0x2D0000)), "vmxnet3.rx.csum_flags"),
    card("vmxnet3.rx_no_csum",   "No checksum is looked at",                       replaced(rx, "verified", lambda frame: (1 << 30, 0)), "vmxnet3.rx.csum_flags"),
    card("vmxnet3.rx_unicast",   "Any station's frames are received",              with_mode(spec.RxMode.PROMISCUOUS), "vmxnet3.rx.filter_modes"),
    card("vmxnet3.rx_promiscuous", "There is no promiscuous mode",                 without_mode(spec.RxMode.PROMISCUOUS), "vmxnet3.rx.filter_modes"),
    card("vmxnet3.rx_broadcast", "Broadcasts are always received",                 with_mode(spec.RxMode.BROADCAST), "vmxnet3.rx.filter_modes"),
    card("vmxnet3.rx_groups",    "All groups are received",                        with_mode(spec.RxMode.ALL_MULTICAST), "vmxnet3.rx.filter_modes vmxnet3.rx.mcast_list"),
    card("vmxnet3.rx_table",     "The table of groups is empty",                   replaced(RxFilter, "set_groups", lambda self, table: None), "vmxnet3.rx.mcast_list"),
    card("vmxnet3.rx_vlans",     "Tags are not filtered",                          wrapped(RxFilter, "accepts", any_tag), "vmxnet3.rx.vlan_filter"),
    card("vmxnet3.rx_strip",     "Tags stay in their frames",                      wrapped(RxQueue, "receive", stripped), "vmxnet3.rx.vlan_strip"),
    card("vmxnet3.rx_feature",   "UPDATE_FEATURE does nothing",                    answers(Cmd.UPDATE_FEATURE, 0), "vmxnet3.rx.csum_flags vmxnet3.rx.vlan_strip"),
    card("vmxnet3.rx_rss",       "All is received by queue 0",                     replaced(Rss, "unpack", lambda area: None), "vmxnet3.rx.queues"),
    card("vmxnet3.rx_table_old", "UPDATE_RSSIDT does nothing",                     answers(Cmd.UPDATE_RSSIDT, 0), "vmxnet3.rx.queues"),
    card("vmxnet3.rx_hash",      "Ports are not hashed",                           wrapped(rss, "toeplitz", lambda original, key, data: original(key, data[:8])), "vmxnet3.rx.queues"),
    card("vmxnet3.rx_mode",      "UPDATE_RX_MODE does nothing",                    answers(Cmd.UPDATE_RX_MODE, 0), "vmxnet3.rx.filter_modes"),
    card("vmxnet3.rx_zero",      "A head in ring 1 is used as a body",             wrapped(RxQueue, "_plan", lambda original, self, length: original(self, length) or ([(0, n), (1, 0)] if (n := next((n for n in range(8) if (d := self.rings[0].peek(n)) and not d[1] & 0x4000), None)) is not None and self.rings[1].peek(0) else None)), "hostile.vmxnet3.rx_body_where_head"),

    card("vmxnet3.irq_lost",     "There are no interrupts",                        replaced(Interrupts, "request", lambda self, number: None), "vmxnet3.irq.tx"),
    card("vmxnet3.irq_zero",     "All interrupts are number 0",                    wrapped(Interrupts, "request", lambda original, self, number: original(self, 0)), "vmxnet3.irq.tx"),
    card("vmxnet3.irq_masked",   "What comes while it is masked is lost",          wrapped(Interrupts, "request", masked_lost), "vmxnet3.irq.masked"),
    card("vmxnet3.irq_unmasked", "Masks do not count",                             wrapped(Interrupts, "request", masks_ignored), "vmxnet3.irq.masked"),
    card("vmxnet3.irq_automask", "Interrupts do not mask themselves",              after_activation(lambda self: setattr(self.interrupts, "auto_mask", False)), "vmxnet3.irq.automask"),
    card("vmxnet3.irq_always",   "Interrupts always mask themselves",              after_activation(lambda self: setattr(self.interrupts, "auto_mask", True)), "vmxnet3.irq.tx"),
    card("vmxnet3.icr",          "ICR reads 0",                                    reads(Register.ICR, lambda value: 0), "vmxnet3.irq.intx_icr"),
    card("vmxnet3.icr_unmasked", "Reading ICR leaves the interrupt unmasked",      wrapped(Interrupts, "cause", left_unmasked), "vmxnet3.irq.intx_automask"),
    card("vmxnet3.icr_sticky",   "Reading ICR changes nothing",                    wrapped(Interrupts, "cause", sticky), "vmxnet3.irq.intx_icr"),
    card("vmxnet3.disable_all",  "The bit that switches interrupts off does not count", replaced(Vmxnet3, "_interrupts_allowed", lambda self: self._active is not None), "vmxnet3.irq.disable_all"),

    card("vmxnet3.queue_limits", "There may be any number of queues",              both(replaced(spec, "TX_QUEUES", 255), replaced(spec, "RX_QUEUES", 255)), "hostile.vmxnet3.queues_255"),
    card("vmxnet3.queue_none",   "There may be no queues",                         wrapped(configuration, "_within", lambda original, what, value, least, most: original(what, value, 0, most)), "hostile.vmxnet3.queues_zero hostile.vmxnet3.ring_size_zero"),
    card("vmxnet3.ring_limits",  "Rings may be of any length",                     replaced(spec, "TX_RING_MAX", 1 << 32), "hostile.vmxnet3.ring_size_huge"),
    card("vmxnet3.queue_table",  "The table of queues may lie anywhere",           replaced(spec, "QUEUE_ALIGN", 1), "hostile.vmxnet3.queuedesc_oob"),
    card("vmxnet3.groups_oob",   "A table of groups that is nowhere leaves the old one", wrapped(RxFilter, "set_groups", lambda original, self, table: original(self, table or b"\x01\x00\x5e\x00\x00\x01")), "hostile.vmxnet3.mfTable_huge"),
    card("vmxnet3.ecr_memory",   "ECR without a shared area writes to address 696", wrapped(Vmxnet3, "_acknowledge", lambda original, self, value: original(self, value) if self._active else self._write(696, bytes(4))), "hostile.vmxnet3.ecr_no_shared"),

    card("switch.segments",      "All segments of a switch are one",               wrapped(Switch, "port", no_segments), "vmxnet3.rx.segments e1000.rx.segments virtio.net.segments", "*.segments"),
    card("switch.silent",        "A switch forwards nothing",                      replaced(Switch, "_forward", lambda self, source, frame: None), "vmxnet3.rx.segments e1000.rx.segments virtio.net.segments", "*.segments"),
    card("rate.twice",           "A limit lets twice its rate pass",               wrapped(TokenBucket, "__init__", faster), "vmxnet3.tx.rate_limit e1000.tx.rate_limit virtio.net.rate_limit", "*.rate_limit"),
    card("rate.slow",            "A limit lets little of its rate pass",           wrapped(TokenBucket, "__init__", slower), "vmxnet3.tx.rate_limit e1000.tx.rate_limit virtio.net.rate_limit", "*.rate_limit"),
    card("rate.none",            "There is no limit",                              replaced(RateLimit, "send", lambda self, frame: self._port.send(frame)), "vmxnet3.tx.rate_limit e1000.tx.rate_limit virtio.net.rate_limit", "*.rate_limit"),
)
# fmt: on
