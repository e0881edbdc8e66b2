"""The e1000 is wrong about frames: rings, offloads, filters, and what a hostile guest does with them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from tests.mutants.e1000 import adapter, reads, without
from tests.mutants.mutant import How, replaced, wrapped
from virtproof.spec import e1000
from virtproof.spec.e1000 import Rctl, Statistic
from virtproof.vmm.devices.e1000 import checked, filters, nic, receive, statistics, transmit
from virtproof.vmm.devices.e1000.filters import Filter, Match
from virtproof.vmm.devices.e1000.interrupts import Delay
from virtproof.vmm.devices.e1000.nic import E1000
from virtproof.vmm.devices.e1000.receive import Receiver
from virtproof.vmm.devices.e1000.ring import Ring
from virtproof.vmm.devices.e1000.statistics import Statistics
from virtproof.vmm.devices.e1000.transmit import Transmitter
from virtproof.vmm.pci.function import DmaError, Function

ALL = 0xFFFF_FFFF


# ---- rings


def split(value: int) -> How:
    return replaced(transmit, "_EOP", value)


def head_stuck(original: Any, self: Transmitter, most: int) -> Any:
    head = self.ring.head
    answer = original(self, most)
    if self.ring.head < head:
        self.ring.head = self.ring.now()[1] - 1
    return answer


def tail_included(original: Any, self: Ring) -> tuple[int, int, int, int]:
    base, count, head, owned = original(self)
    return base, count, head, min(count, owned + 1)


def outside_too(original: Any, self: Ring) -> tuple[int, int, int, int]:
    """Where the tail is outside, all up to it."""
    base, count, head, owned = original(self)
    tail = self._registers[self._tail]
    return base, count, head, (tail - head) % 0x1_0000 if head < count <= tail else owned


def never_empty(original: Any, self: Ring) -> tuple[int, int, int, int]:
    base, count, head, owned = original(self)
    return base, count or 16, head, owned if count else (self._registers[self._tail] - head) % 16


def head_wrapped(original: Any, self: Ring) -> tuple[int, int, int, int]:
    base, count, head, owned = original(self)
    if not count or head < count:
        return base, count, head, owned
    return base, count, head % count, (self._registers[self._tail] - head) % count


def zeros_of_nowhere(original: Any, self: Function, gpa: int, length: int) -> bytes:
    try:
        return bytes(original(self, gpa, length))
    except DmaError:
        return bytes(length)


def statistic_stays(original: Any, self: Statistics, offset: int) -> int:
    kept = dict(self.counts)
    value = int(original(self, offset))
    self.counts = kept
    return value


def check_sequence_sent(original: Any, self: Transmitter, frame: bytearray, last: int) -> None:
    original(self, frame + zlib.crc32(frame).to_bytes(4, "little"), last)


def reversed_take(original: Any, *rest: Any) -> Any:
    return reversed(list(original(*rest)))


def last_options(original: Any, self: Transmitter, frame: bytearray, first: int, last: int) -> None:
    original(self, frame, last, last)


def any_type(original: Any, self: Transmitter, frame: bytearray, last: int) -> None:
    vet, self._registers[e1000.VET] = self._registers[e1000.VET], 0x8100
    original(self, frame, last)
    self._registers[e1000.VET] = vet


def segment(change: Callable[[int, bytearray], None]) -> How:
    """Segments that went wrong; ``change`` gets the number and the frame."""

    def cut(original: Any, *rest: Any) -> Iterator[bytes]:
        for number, each in enumerate(original(*rest)):
            frame = bytearray(each)
            change(number, frame)
            yield bytes(frame)

    return wrapped(transmit, "segments", cut)


def stays(at: int, size: int) -> How:
    """A field is that of the first segment in each."""
    first = bytearray()

    def change(number: int, frame: bytearray) -> None:
        if not number:
            first[:] = frame[at : at + size]
        frame[at : at + size] = first

    return segment(change)


def psh_in_all(number: int, frame: bytearray) -> None:
    frame[47] |= 0x08


def contexts_shared(original: Any, self: Transmitter, address: int, word: int) -> None:
    original(self, address, word)
    self._contexts[0] = self._contexts[1] = next((c for c in self._contexts if c[0] == address), self._contexts[0])


def unbounded_frame(original: Any, self: Transmitter, address: int, length: int, word: int) -> None:
    if self._first is None:
        self._first = word
    self._frame += self._function.dma_read(address, length)


def from_registers(original: Any, self: Transmitter, address: int, length: int, word: int) -> None:
    """A buffer in the adapter's own registers is read through them."""
    if 0xE000_0000 <= address < 0xE002_0000:
        self._first = word
        read = self._interrupts.take
        self._frame += b"".join(read().to_bytes(4, "little") for _ in range(length // 4))
        return
    original(self, address, length, word)


def without_an_end(original: Any, self: Transmitter, frame: bytearray, first: int, last: int) -> None:
    context = self._contexts[1][1]
    if first & transmit._DEXT and first & transmit._TSE and not (context.mss and context.hdrlen < len(frame)):
        self._emit(frame, last)
        return
    original(self, frame, first, last)


def by_payload(original: Any, frame: bytes, header: int, mss: int, *rest: Any) -> Any:
    return original(frame[:header], header, mss, *rest)


def anywhere(frame: bytearray, start: int, at: int, last: int) -> None:
    """A checksum whose field is outside goes to the end of the frame."""
    frame[-2:] = b"\xee\xee"


def late_write_back(original: Any, self: Transmitter) -> None:
    timer, self._timer = self._timer, None
    original(self)
    self._timer = timer


def tctl_quiet(original: Any, self: E1000, offset: int, size: int, value: int) -> None:
    if offset == e1000.TCTL:
        self._registers[offset] = value
    else:
        original(self, offset, size, value)


# ---- receiving


def padding_lost(original: Any, self: Receiver, data: bytes, size: int, said: int) -> bool:
    return bool(original(self, data.rstrip(b"\0"), size, said))


def short_of_buffers(original: Any, self: Receiver, data: bytes, size: int, said: int) -> bool:
    return bool(original(self, data[:size], size, said))


def field(name: str, value: Any) -> How:
    return replaced(receive, name, value)


def matches(change: Callable[[Filter, bytes, Match], Match]) -> How:
    return wrapped(Filter, "match", lambda original, self, frame: change(self, frame, original(self, frame)))


def not_counted(which: Statistic) -> How:
    def count(original: Any, self: Statistics, what: Statistic, n: int = 1) -> None:
        if what != which:
            original(self, what, n)

    return wrapped(Statistics, "count", count)


def cfi_is(change: Callable[[int], int]) -> How:
    return wrapped(Filter, "_vlan_allowed", lambda original, self, frame, rctl: original(self, frame, change(rctl)))


def limit_anew(original: Any, self: Delay, delay: int, limit: int) -> None:
    if self._limit is not None:
        self._limit.cancel()
        self._limit = None
    original(self, delay, limit)


def to_group(frame: bytes) -> bool:
    return bool(frame[0] & 1) and frame[:6] != filters.BROADCAST


def frames_kept(original: Any, self: E1000, frame: bytes) -> bool:
    original(self, frame)
    return True


def any_length(original: Any, self: Receiver, frame: bytes) -> bool:
    return bool(original(self, (frame or b"\xff" * 14).ljust(14, b"\xff")[:1500]))


def nulls_stay(original: Any, self: Receiver, data: bytes, size: int, said: int) -> bool:
    head = self.ring.head
    stored = bool(original(self, data, size, said))
    if not stored:
        self.ring.head = head
    return stored


def written_by_host(original: Any, self: Receiver, address: int, data: bytes) -> None:
    """Read-only memory is written as well."""
    memory = self._function._memory
    if address == 0x1000_0000:
        memory.load(address, data)  # type: ignore[union-attr]
    original(self, address, data)


def looped_and_sent(original: Any, self: E1000, frame: bytes) -> None:
    original(self, frame)
    self._port.send(frame)


# fmt: off
MUTANTS = (
    adapter("e1000.dd",            "DD is not written",                                  replaced(transmit, "_DONE", b"\0"),                "e1000.tx.legacy_one_descriptor e1000.tx.context_reports hostile.e1000.len_zero"),
    adapter("e1000.dd_always",     "DD is written without RS",                           replaced(transmit, "_REPORT", ALL),                "e1000.tx.no_rs_no_dd"),
    adapter("e1000.txdw",          "TXDW does not come",                                 replaced(transmit, "_TXDW", 0),                    "e1000.tx.icr_txdw e1000.tx.interrupts e1000.drv.interrupts"),
    adapter("e1000.eop",           "Each descriptor is a frame",                         split(ALL),                                        "e1000.tx.multi_desc e1000.tx.context_first e1000.drv.segments"),
    adapter("e1000.never_eop",     "No descriptor ends a frame",                         split(0),                                          "e1000.tx.legacy_one_descriptor e1000.tx.batch e1000.tx.ifcs e1000.drv.polled_545 e1000.drv.batches"),
    adapter("e1000.one",           "A doorbell sends one frame",                         wrapped(Transmitter, "_take", lambda original, self, most: original(self, 1) if self.ring.owned and not self._cost else (0, 0)), "e1000.tx.batch"),
    adapter("e1000.order",         "Frames leave in the wrong order",                    wrapped(transmit, "iter_unpack", reversed_take),   "e1000.tx.batch e1000.tx.multi_desc"),
    adapter("e1000.wrap",          "The head does not wrap",                             wrapped(Transmitter, "_take", head_stuck),         "e1000.tx.wrap"),
    adapter("e1000.enabled",       "TCTL.EN does not count",                             replaced(transmit, "_EN", ALL),                    "e1000.tx.disabled"),
    adapter("e1000.tctl",          "Enabling does not send what waits",                  wrapped(E1000, "write", tctl_quiet), "e1000.tx.disabled"),
    adapter("e1000.psp",           "Short frames are not padded",                        replaced(transmit, "_PSP", 0),                     "e1000.tx.pad_short"),
    adapter("e1000.crc_sent",      "The check sequence is sent as well",                 wrapped(Transmitter, "_emit", check_sequence_sent), "e1000.tx.ifcs e1000.tx.legacy_one_descriptor"),
    adapter("e1000.no_link",       "Frames leave without a link",                        wrapped(E1000, "_send", lambda original, self, frame: self._port.send(frame)), "e1000.tx.no_link e1000.tx.loopback"),
    adapter("e1000.loop_sent",     "In loop-back frames leave as well",                  wrapped(E1000, "_send", looped_and_sent),          "e1000.tx.loopback hostile.e1000.loopback_recursion"),
    adapter("e1000.stat_clear",    "Statistics are not cleared",                         wrapped(Statistics, "read", statistic_stays), "e1000.stats.read_clear e1000.stats.64bit_pair"),
    adapter("e1000.stat_pair",     "The low half of a wide statistic clears it",         wrapped(Statistics, "read", lambda original, self, offset: (original(self, offset), self.counts.update({offset: 0}) if offset in e1000.WIDE else None)[0]), "e1000.stats.64bit_pair"),
    adapter("e1000.stat_crc",      "Octets do not count the check sequence",             replaced(statistics, "CRC", 0),                    "e1000.stats.octets e1000.stats.64bit_pair e1000.tx.ifcs"),

    adapter("e1000.sums",          "Checksums are not inserted",                         without(transmit, "_insert"),                      "e1000.tx.csum_legacy_ic e1000.tx.context_csum e1000.drv.checksums"),
    adapter("e1000.options",       "The last descriptor says which checksums",           wrapped(Transmitter, "_finish", last_options),     "e1000.tx.context_first"),
    adapter("e1000.cut_seq",       "Sequence numbers of segments stay",                  stays(38, 4),                                      "e1000.tx.tso_ipv4 e1000.drv.segments"),
    adapter("e1000.cut_id",        "Identifications of segments stay",                   stays(18, 2),                                      "e1000.tx.tso_ipv4 e1000.drv.segments"),
    adapter("e1000.cut_psh",       "Every segment has PSH",                              segment(psh_in_all),                               "e1000.tx.tso_ipv4 e1000.drv.segments"),
    adapter("e1000.one_context",   "There is one context for both kinds of frames",      wrapped(Transmitter, "_descriptor", contexts_shared), "e1000.tx.context_both"),
    adapter("e1000.vle",           "VLE does nothing",                                   replaced(transmit, "_VLE", 0),                     "e1000.tx.vlan_insert e1000.drv.tags"),
    adapter("e1000.vet",           "Tags are of type 8100",                              wrapped(Transmitter, "_emit", any_type),           "e1000.tx.vlan_type"),
    adapter("e1000.vme_sent",      "Tags are inserted without VLAN mode",                replaced(transmit, "_VME", ALL),                   "e1000.tx.vlan_mode"),

    adapter("e1000.rx_dd",         "DD is not written to receive descriptors",           field("_LAST", 2 << 32),                           "e1000.rx.one_frame e1000.drv.polled"),
    adapter("e1000.secrc",         "SECRC does nothing",                                 field("_SECRC", 0),                                "e1000.rx.secrc e1000.rx.one_frame"),
    adapter("e1000.always_secrc",  "The check sequence is always stripped",              field("_SECRC", ALL),                              "e1000.rx.crc_counted"),
    adapter("e1000.rxt0",          "RXT0 does not come",                                 replaced(nic, "_RXT0", 0),                         "e1000.rx.irq_rxt0 e1000.rx.interrupts e1000.rx.delay"),
    adapter("e1000.tail",          "The descriptor at the tail is used",                 wrapped(Ring, "now", tail_included),   "e1000.rx.rdt_ownership e1000.rx.rdt_last e1000.tx.legacy_one_descriptor"),
    adapter("e1000.mpc",           "Frames that are missed are not counted",             wrapped(Statistics, "count", lambda original, self, what, n=1: original(self, what, n) if what != Statistic.MPC else None), "e1000.rx.rdt_ownership hostile.e1000.rx_flood hostile.e1000.rdlen_zero hostile.e1000.rdh_beyond"),
    adapter("e1000.rxdmt0",        "RXDMT0 comes at a quarter",                          field("_RDMTS", 15),                               "e1000.rx.rxdmt0"),
    adapter("e1000.rdmts",         "RDMTS counts from a quarter for code 1 on",           replaced(receive, "_RDMTS", 9),                    "e1000.rx.rxdmt0_quarter e1000.rx.rxdmt0_eighth"),
    adapter("e1000.radv",          "RADV does nothing",                                  wrapped(Delay, "start", lambda original, self, delay, limit: original(self, delay, 0)), "e1000.rx.absolute_delay"),
    adapter("e1000.radv_again",    "Each frame starts RADV anew",                        wrapped(Delay, "start", limit_anew),               "e1000.rx.absolute_delay"),
    adapter("e1000.rdtr_once",     "Further frames do not start RDTR anew",              wrapped(Delay, "start", lambda original, self, delay, limit: None if self._timer else original(self, delay, limit)), "e1000.rx.delay_again"),
    adapter("e1000.fpd",           "FPD does nothing",                                   without(Delay, "flush"),                           "e1000.rx.delay_again"),
    adapter("e1000.fpd_always",    "FPD interrupts where nothing waits",                 wrapped(Delay, "flush", lambda original, self: self.end()), "e1000.rx.delay_again"),
    adapter("e1000.one_buffer",    "A frame takes one buffer",                           wrapped(Receiver, "_store", short_of_buffers),     "e1000.rx.multi_buffer e1000.drv.small_buffers"),
    adapter("e1000.bsex",          "BSEX does nothing",                                  field("_SIZE_BITS", 3 << 16),                      "e1000.rx.bsize_codes"),
    adapter("e1000.lpe",           "Long frames are taken without LPE",                  field("_LPE", ALL),                                "e1000.rx.lpe"),
    adapter("e1000.lpe_never",     "Long frames are never taken",                        field("_LPE", 0),                                  "e1000.rx.lpe"),
    adapter("e1000.rx_enabled",    "RCTL.EN does not count",                             field("_EN", ALL),                                 "e1000.rx.disabled"),
    adapter("e1000.never_ready",   "Nobody is told of new descriptors",                  without(E1000, "_ready"),                          "e1000.rx.queue_resume"),
    adapter("e1000.swallowed",     "Frames without a descriptor are lost",               wrapped(E1000, "receive", frames_kept),            "e1000.rx.queue_resume e1000.rx.rdt_ownership"),
    adapter("e1000.rx_wrap",       "The receive head does not wrap",                     wrapped(Receiver, "_buffers", lambda original, self, wanted, base, count, index, owned: original(self, wanted, base, count, index, min(owned, count - index - 1))), "e1000.rx.wrap"),
    adapter("e1000.rx_pad",        "Short frames are stored as they are",                wrapped(Receiver, "_store", padding_lost),         "e1000.rx.short_pad"),
    adapter("e1000.strip",         "Tags are not removed",                               field("_VME", 0),                                  "e1000.rx.vlan_strip e1000.drv.tags"),
    adapter("e1000.strip_always",  "Tags are removed without VLAN mode",                 field("_VME", ALL),                                "e1000.rx.vlan_kept"),
    adapter("e1000.rxcsum",        "Received checksums are not looked at",               field("checked", lambda data, rxcsum: checked._UNCHECKED), "e1000.rx.checksum"),
    adapter("e1000.rxcsum_good",   "Received checksums are always right",                wrapped(receive, "checked", lambda original, data, rxcsum: original(data, rxcsum) & ~(0xFF << 40)), "e1000.rx.checksum"),
    adapter("e1000.all_addresses", "Every unicast address is taken",                     matches(lambda self, frame, was: was if frame[0] & 1 else Match.EXACT), "e1000.rx.filter_unicast e1000.drv.filters"),
    adapter("e1000.one_address",   "The first receive address counts only",              replaced(e1000, "ADDRESSES", 1),                   "e1000.rx.filter_unicast"),
    adapter("e1000.av",            "RAH.AV does not count",                              wrapped(filters, "ReceiveAddressHigh", lambda original, value: original(value | 1 << 31)), "e1000.rx.filter_unicast"),
    adapter("e1000.upe",           "UPE does nothing",                                   lambda: patch.dict(filters._PROMISCUOUS, {False: 0}), "e1000.rx.filter_upe_mpe"),
    adapter("e1000.mpe",           "MPE does nothing",                                   lambda: patch.dict(filters._PROMISCUOUS, {True: 0}), "e1000.rx.filter_upe_mpe"),
    adapter("e1000.bam",           "Broadcasts are always taken",                        replaced(filters, "_BAM", ALL),                    "e1000.rx.filter_bam e1000.drv.filters"),
    adapter("e1000.mta",           "MTA does not count",                                 matches(lambda self, frame, was: Match.INEXACT if to_group(frame) else was), "e1000.rx.filter_mta e1000.rx.filter_upe_mpe"),
    adapter("e1000.mo",            "MO does not count",                                  replaced(filters, "HASH_SHIFTS", (4, 4, 4, 4)),    "e1000.rx.filter_mta"),
    adapter("e1000.vfe",           "VFTA does not count",                                without(Filter, "_vlan_allowed", True),            "e1000.rx.filter_vlan e1000.drv.tags"),
    adapter("e1000.hash_all",      "A broadcast is not looked for in MTA",               matches(lambda self, frame, was: Match.NONE if was is Match.INEXACT and not to_group(frame) else was), "e1000.rx.broadcast_hash"),
    adapter("e1000.pif",           "PIF is never set",                                   field("_PIF", 0),                                  "e1000.rx.broadcast_hash"),
    adapter("e1000.cfien",         "CFIEN does nothing",                                 cfi_is(lambda rctl: rctl & ~Rctl.cfien.mask),      "e1000.rx.cfi"),
    adapter("e1000.cfien_always",  "CFI of a tag always counts",                         cfi_is(lambda rctl: rctl | Rctl.cfien.mask),       "e1000.rx.cfi e1000.rx.filter_vlan"),
    adapter("e1000.cfi",           "CFI of RCTL does not count",                         cfi_is(lambda rctl: rctl & ~Rctl.cfi.mask),        "e1000.rx.cfi"),
    adapter("e1000.undersize",     "Short frames are not counted",                       not_counted(Statistic.RUC),                        "e1000.rx.undersize"),
    adapter("e1000.rnbc",          "A want of buffers is not counted",                   not_counted(Statistic.RNBC),                       "e1000.rx.rdt_ownership"),
    adapter("e1000.kinds",         "Each frame is counted as one to a single address",   wrapped(Statistics, "received", lambda original, self, frame: original(self, b"\0" + frame[1:])), "e1000.stats.kinds"),
    adapter("e1000.rst_stats",     "A reset leaves the statistics",                      without(Statistics, "reset"),                      "e1000.stats.kinds"),
    adapter("e1000.null",          "A buffer at 0 is one",                               wrapped(Receiver, "_buffers", lambda original, self, *rest: [address or 0x30_0000 for address in original(self, *rest)]), "e1000.rx.null_buffer"),

    adapter("e1000.outside",       "Heads and tails outside of a ring count",            wrapped(Ring, "now", outside_too),    "hostile.e1000.tdt_beyond"),
    adapter("e1000.length_0",      "A ring of length 0 has 16 descriptors",              wrapped(Ring, "now", never_empty),                 "hostile.e1000.tdlen_zero"),
    adapter("e1000.head_wrapped",  "A head outside of a ring is taken to be inside",     wrapped(Ring, "now", head_wrapped),                "hostile.e1000.tdh_beyond"),
    adapter("e1000.zeros",         "Descriptors where no memory is are zeros",           wrapped(Function, "dma_read", zeros_of_nowhere),   "hostile.e1000.ring_wrap64"),
    adapter("e1000.endless",       "A frame without an end is kept",                     wrapped(Transmitter, "_gather", unbounded_frame),  "hostile.e1000.no_eop_forever hostile.e1000.no_eop_small hostile.e1000.len_max"),
    adapter("e1000.own_registers", "Data from the adapter's own registers are read there", wrapped(Transmitter, "_gather", from_registers),  "hostile.e1000.desc_dma_own_bar"),
    adapter("e1000.uncut",         "What cannot be cut is sent whole",                   wrapped(Transmitter, "_finish", without_an_end),   "hostile.e1000.tso_mss_zero hostile.e1000.tso_hdrlen_over"),
    adapter("e1000.payload",       "Segments have no data",                              wrapped(transmit, "segments", by_payload),         "hostile.e1000.tso_paylen_lie e1000.tx.tso_ipv4"),
    adapter("e1000.sum_anywhere",  "A checksum outside of the frame goes to its end",    replaced(transmit, "_insert", anywhere),           "hostile.e1000.csum_oob"),
    adapter("e1000.runts",         "Frames without a header are sent",                   replaced(transmit, "SHORTEST", 0),                 "hostile.e1000.vlan_short"),
    adapter("e1000.null_stays",    "Descriptors without a buffer are looked at again",   wrapped(Receiver, "_store", nulls_stay),           "hostile.e1000.rx_null_all"),
    adapter("e1000.rom",           "Frames are stored in ROM",                           wrapped(Receiver, "_write", written_by_host),      "hostile.e1000.rx_buffer_rom"),
    adapter("e1000.any_length",    "Frames of any length are stored",                    wrapped(Receiver, "receive", any_length),          "hostile.e1000.host_giant e1000.rx.lpe"),
    adapter("e1000.kept_in_loop",  "In loop-back nothing comes back",                    wrapped(E1000, "_send", lambda original, self, frame: None), "e1000.tx.loopback e1000.drv.polled hostile.e1000.rx_buffer_over_ring hostile.e1000.ring_in_hole"),
    adapter("e1000.deaf",          "ICR is read from memory that does not change",       reads(e1000.ICR, lambda v: 0),                     "hostile.e1000.icr_poll_storm e1000.rx.irq_rxt0"),
)
# fmt: on
