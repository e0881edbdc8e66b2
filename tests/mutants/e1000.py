"""The e1000 is wrong: registers, EEPROM, PHY, interrupts, rings, offloads, filters."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from tests.mutants.mutant import How, of, replaced, wrapped
from virtproof.spec import e1000
from virtproof.spec import e1000_phy as phy
from virtproof.spec.e1000 import Cause, Eecd, Mdic, Statistic
from virtproof.spec.e1000_phy import Phy
from virtproof.vmm.devices.e1000 import checked, filters, interrupts, nic, receive, statistics, transmit
from virtproof.vmm.devices.e1000.eeprom import Eeprom
from virtproof.vmm.devices.e1000.filters import Filter, Match
from virtproof.vmm.devices.e1000.interrupts import Delay, Interrupts
from virtproof.vmm.devices.e1000.nic import E1000, IoWindow
from virtproof.vmm.devices.e1000.phy import CopperPhy
from virtproof.vmm.devices.e1000.receive import Receiver
from virtproof.vmm.devices.e1000.ring import Ring
from virtproof.vmm.devices.e1000.statistics import Statistics
from virtproof.vmm.devices.e1000.transmit import Transmitter

adapter = of("e1000", "hostile.e1000.*")

Change = Callable[[int], int]
ALL = 0xFFFF_FFFF


def without(owner: Any, name: str, result: Any = None) -> How:
    return replaced(owner, name, lambda *rest, **more: result)


def reads(at: int, change: Change) -> How:
    """A register of the memory BAR reads ``change`` of what it holds."""
    return wrapped(
        E1000,
        "read",
        lambda original, self, offset, size: (change if offset & ~3 == at else int)(original(self, offset, size)),
    )


def writes(at: int, change: Change) -> How:
    """A register gets ``change`` of what is written."""

    def written(original: Any, self: E1000, offset: int, size: int, value: int) -> None:
        original(self, offset, size, change(value) if offset == at else value)

    return wrapped(E1000, "write", written)


def keeps(*offsets: int, mask: int = ALL) -> How:
    """Registers keep other bits of what is written."""
    return lambda: patch.dict(nic._WRITABLE, dict.fromkeys(offsets, mask))


def model(name: Any, **fields: Any) -> How:
    return lambda: patch.dict(nic.MODELS, {name: replace(nic.MODELS[name], **fields)})


def after_reset(change: Callable[[E1000], object]) -> How:
    """Something happens in a device reset that should not."""

    def reset(original: Any, self: E1000) -> None:
        original(self)
        change(self)

    return wrapped(E1000, "_reset", reset)


def reset_keeps(*offsets: int) -> How:
    def reset(original: Any, self: E1000) -> None:
        kept = {at: self._registers[at] for at in offsets}
        original(self)
        self._registers.update(kept)

    return wrapped(E1000, "_reset", reset)


# ---- EEPROM and PHY


def lowest_first(original: Any, self: Eeprom, data: bool) -> None:
    if self._at is None:
        return original(self, data)
    word, bit = divmod(self._at, 16)
    self.output, self._at = self.words[word] >> bit & 1, (self._at + 1) % 1024
    return None


def never_deselected(original: Any, self: Eeprom, select: bool, clock: bool, data: bool) -> None:
    original(self, True, clock, data)


def by_any_edge(original: Any, self: Eeprom, select: bool, clock: bool, data: bool) -> None:
    if select and clock != self._clock and not clock:
        self._step(data)
    original(self, select, clock, data)


def any_phy(original: Any, self: E1000, value: int) -> None:
    original(self, Mdic(value & Mdic.KNOWN).but(phyadd=1))


def absent_reads_0(original: Any, self: CopperPhy, register: int) -> int:
    return int(original(self, register) or 0)


def once_stays(original: Any, self: CopperPhy, value: int) -> None:
    original(self, value)
    self.registers[Phy.CONTROL] |= value & 0x8200


# ---- interrupts


def unmasked(original: Any, self: Interrupts) -> None:
    mask, self.mask = self.mask, Cause.KNOWN
    original(self)
    self.mask = mask


def pulsed(original: Any, self: Interrupts) -> None:
    original(self)
    if self._level:
        self._set_line(False)


def take_quietly(self: Interrupts) -> int:
    causes, self.causes = self.causes, 0
    return causes


def mask_quietly(self: Interrupts, mask: int) -> None:
    self.mask = mask & Cause.KNOWN


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


def reset_keeps_work(original: Any, self: E1000) -> None:
    rings = range(e1000.TDBAL, e1000.TDT + 4)
    kept = {at: value for at, value in self._registers.items() if at in rings or at == e1000.TCTL}
    transmitter, self.transmitter = self.transmitter, _Forgetful()  # type: ignore[assignment]
    original(self)
    self.transmitter = transmitter
    self._registers.update(kept)


def tctl_quiet(original: Any, self: E1000, offset: int, size: int, value: int) -> None:
    if offset == e1000.TCTL:
        self._registers[offset] = value
    else:
        original(self, offset, size, value)


class _Forgetful:
    def reset(self) -> None: ...


# ---- receiving


def padding_lost(original: Any, self: Receiver, data: bytes, size: int, said: int) -> bool:
    return bool(original(self, data.rstrip(b"\0"), size, said))


def short_of_buffers(original: Any, self: Receiver, data: bytes, size: int, said: int) -> bool:
    return bool(original(self, data[:size], size, said))


def field(name: str, value: Any) -> How:
    return replaced(receive, name, value)


def matches(change: Callable[[Filter, bytes, Match], Match]) -> How:
    return wrapped(Filter, "match", lambda original, self, frame: change(self, frame, original(self, frame)))


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
    adapter("e1000.device",        "The 82540EM has another id",                         model("82540em", device=0x100F),                   "e1000.pci.identity e1000.drv.identity"),
    adapter("e1000.device_545",    "The 82545EM has another id",                         model("82545em", device=0x100E),                   "e1000.pci.identity_545 e1000.drv.identity_545"),
    adapter("e1000.pin",           "It has no interrupt pin",                            model("82540em", interrupt_pin=0),                 "e1000.pci.identity e1000.reg.ics_raises e1000.rx.interrupts e1000.drv.interrupts"),
    adapter("e1000.size",          "The memory BAR has 64 KiB",                          replaced(e1000, "MEMORY_SIZE", 64 << 10),          "e1000.pci.identity"),
    adapter("e1000.ctrl",          "CTRL is another after reset",                        reads(e1000.CTRL, lambda v: v ^ 0x200),            "e1000.reg.ctrl_reset"),
    adapter("e1000.speed",         "STATUS says 10 Mb/s",                                reads(e1000.STATUS, lambda v: v & ~0xC0),          "e1000.reg.status_reset e1000.reg.io_read"),
    adapter("e1000.cable",         "A cable that is pulled is not noticed",              without(E1000, "set_link"),                        "e1000.reg.status_link_down e1000.tx.no_link"),
    adapter("e1000.lsc",           "A change of the link does not interrupt",            wrapped(E1000, "_link_changed", lambda original, self: setattr(self, "_link", self.link)), "e1000.reg.status_link_down e1000.phy.bmsr_link"),
    adapter("e1000.rst_rings",     "A reset leaves the rings",                           reset_keeps(e1000.TDT, e1000.TDLEN, e1000.TCTL),   "e1000.reg.ctrl_rst_selfclear e1000.drv.reset"),
    adapter("e1000.rst_nothing",   "CTRL.RST does nothing but clear itself",             without(E1000, "_reset"),                          "e1000.reg.ctrl_rst_selfclear e1000.reg.io_window e1000.drv.reset hostile.e1000.reset_in_pieces"),
    adapter("e1000.rst_pci",       "A reset clears the configuration space",             after_reset(lambda self: self.function.write_config(0x14, 4, 0)), "e1000.reg.rst_keeps_pci"),
    adapter("e1000.rst_mac",       "A reset does not load the address",                  after_reset(lambda self: self._registers.update({e1000.RA: 0})), "e1000.reg.rst_keeps_mac e1000.drv.reset"),
    adapter("e1000.rst_phy",       "A reset is one of the PHY as well",                  after_reset(lambda self: self.phy.reset()),        "e1000.reg.rst_phy"),
    adapter("e1000.rst_goes_on",   "After a reset descriptors are worked on",            wrapped(E1000, "_reset", reset_keeps_work),        "hostile.e1000.reset_in_pieces"),
    adapter("e1000.phy_rst",       "CTRL.PHY_RST does nothing",                          without(CopperPhy, "hold_reset"),                  "e1000.reg.ctrl_phy_rst"),
    adapter("e1000.io_write",      "IODATA cannot be written",                           wrapped(IoWindow, "write", lambda original, self, offset, size, value: original(self, offset, size, value) if not offset else None), "e1000.reg.io_window"),
    adapter("e1000.io_read",       "IODATA reads 0",                                     wrapped(IoWindow, "read", lambda original, self, offset, size: 0 if offset else original(self, offset, size)), "e1000.reg.io_read"),
    adapter("e1000.io_anywhere",   "IOADDR is not looked at beyond its low bits",        replaced(IoWindow, "_reaches", property(lambda self: setattr(self, "address", self.address & 0x1_FFFC) is None)), "hostile.e1000.ioaddr_oob"),
    adapter("e1000.unknown",       "What is no register reads as ones",                  wrapped(E1000, "read", lambda original, self, offset, size: original(self, offset, size) if offset & ~3 in nic._WRITABLE or offset & ~3 in statistics.OFFSETS else ALL), "e1000.reg.unknown_zero"),
    adapter("e1000.rdlen",         "RDLEN keeps all bits",                               keeps(e1000.RDLEN, e1000.TDLEN),                   "e1000.reg.rdlen_mask"),
    adapter("e1000.rdt",           "Tails keep all bits",                                keeps(e1000.RDT, e1000.TDT),                       "e1000.reg.rdt_16bit"),
    adapter("e1000.tdbal",         "TDBAL keeps its low bits",                           keeps(e1000.TDBAL),                                "e1000.reg.rdbal_align"),
    adapter("e1000.xdctl",         "TXDCTL and RXDCTL cannot be written",                keeps(e1000.TXDCTL, e1000.RXDCTL, mask=0),         "e1000.xdctl.enable"),

    adapter("e1000.imc",           "IMC does nothing",                                   writes(e1000.IMC, lambda v: 0),                    "e1000.reg.ims_set_imc_clear e1000.irq.level"),
    adapter("e1000.ims",           "IMS sets one bit of the mask only",                              writes(e1000.IMS, lambda v: v & 0x04),              "e1000.reg.ims_set_imc_clear e1000.irq.level"),
    adapter("e1000.icr_stays",     "Reading ICR does not clear",                         replaced(Interrupts, "take", lambda self: self.causes), "e1000.reg.icr_read_clear e1000.irq.icr_read_drops e1000.tx.icr_txdw"),
    adapter("e1000.icr_w1c",       "Writing ICR clears all",                             wrapped(Interrupts, "clear", lambda original, self, causes: original(self, ALL)), "e1000.reg.icr_w1c"),
    adapter("e1000.ics",           "ICS does nothing",                                   writes(e1000.ICS, lambda v: 0),                    "e1000.reg.ics_raises e1000.irq.masked_pending"),
    adapter("e1000.unmasked",      "The mask does not count",                            wrapped(Interrupts, "_update", unmasked),          "e1000.irq.level e1000.irq.masked_pending"),
    adapter("e1000.pulse",         "The pin is a pulse",                                 wrapped(Interrupts, "_update", pulsed),            "e1000.irq.level e1000.irq.level_twice"),
    adapter("e1000.icr_no_drop",   "Reading ICR leaves the pin",                         replaced(Interrupts, "take", take_quietly),        "e1000.irq.icr_read_drops"),
    adapter("e1000.ims_late",      "A mask counts for later causes only",                replaced(Interrupts, "set_mask", mask_quietly),    "e1000.irq.masked_pending e1000.irq.level"),
    adapter("e1000.itr",           "ITR does nothing",                                   without(E1000, "_throttle"),                       "e1000.irq.throttle"),
    adapter("e1000.itr_unit",      "ITR counts in other units",                          replaced(interrupts, "THROTTLE_NS", 255),          "e1000.irq.throttle"),
    adapter("e1000.delay",         "Delays are none",                                    wrapped(Delay, "start", lambda original, self, delay, limit: original(self, 0, 0)), "e1000.tx.idle_delay e1000.rx.delay"),

    adapter("e1000.words",         "The EEPROM's words have their bytes swapped",        wrapped(Eeprom, "word", lambda original, self, address: int.from_bytes(original(self, address).to_bytes(2, "little"), "big")), "e1000.eeprom.mac_words e1000.eeprom.eerd_done"),
    adapter("e1000.checksum",      "The EEPROM's sum is wrong",                          replaced(phy, "CHECKSUM", 0xBABB),                 "e1000.eeprom.checksum"),
    adapter("e1000.eerd_done",     "EERD says DONE in bit 1",                            reads(e1000.EERD, lambda v: v & ~0x10 | v >> 3 & 2), "e1000.eeprom.eerd_done"),
    adapter("e1000.eerd_range",    "EERD wraps",                                         replaced(Eeprom, "word", lambda self, address: self.words[address % 64]), "e1000.eeprom.eerd_range"),
    adapter("e1000.bits",          "The lowest bit of a word comes first",               wrapped(Eeprom, "_step", lowest_first),            "e1000.eeprom.microwire e1000.eeprom.checksum"),
    adapter("e1000.gnt",           "The pins are granted to nobody",                     reads(e1000.EECD, lambda v: v & ~Eecd.gnt.mask),   "e1000.eeprom.gnt"),
    adapter("e1000.cs",            "CS does not count",                                  wrapped(Eeprom, "drive", never_deselected),        "e1000.eeprom.cs_reset hostile.e1000.eecd_fuzz"),
    adapter("e1000.edges",         "Both edges of SK count",                             wrapped(Eeprom, "drive", by_any_edge),             "e1000.eeprom.microwire"),

    adapter("e1000.phy_id",        "The PHY is another",                                 lambda: patch.dict(phy.RESET, {Phy.ID1: 0x0142}),  "e1000.phy.id e1000.drv.phy"),
    adapter("e1000.phy_write",     "The PHY cannot be written",                          without(CopperPhy, "write", True),                 "e1000.phy.ready e1000.phy.bmsr_link"),
    adapter("e1000.mdac",          "MDAC never comes",                                   writes(e1000.MDIC, lambda v: v & ~Mdic.interrupt.mask), "e1000.phy.ready"),
    adapter("e1000.ready",         "READY is not set",                                   reads(e1000.MDIC, lambda v: v & ~Mdic.ready.mask), "e1000.phy.ready e1000.phy.id"),
    adapter("e1000.any_phy",       "A PHY answers at every address",                     wrapped(E1000, "_access_phy", any_phy),            "e1000.phy.bad_addr hostile.e1000.mdic_fuzz"),
    adapter("e1000.all_registers", "A register that the PHY has not reads 0",            wrapped(CopperPhy, "read", absent_reads_0),        "e1000.phy.unimpl hostile.e1000.mdic_fuzz"),
    adapter("e1000.negotiation",   "A negotiation never ends",                           without(CopperPhy, "_end"),                        "e1000.phy.bmsr_link e1000.phy.power_down"),
    adapter("e1000.at_once",       "A negotiation takes no link away",                   wrapped(CopperPhy, "_begin", lambda original, self: (original(self), self._end())[0]), "e1000.phy.bmsr_link"),
    adapter("e1000.once",          "Reset and restart of the PHY stay set",              wrapped(CopperPhy, "_control", once_stays),        "e1000.phy.bmcr_selfclear"),
    adapter("e1000.power",         "A PHY without power has a link",                     wrapped(CopperPhy, "_control", lambda original, self, value: original(self, value & ~phy.Control.power_down.mask)), "e1000.phy.power_down"),

    adapter("e1000.dd",            "DD is not written",                                  replaced(transmit, "_DONE", b"\0"),                "e1000.tx.legacy_one_descriptor e1000.tx.context_reports hostile.e1000.len_zero"),
    adapter("e1000.dd_always",     "DD is written without RS",                           replaced(transmit, "_REPORT", ALL),                "e1000.tx.no_rs_no_dd"),
    adapter("e1000.txdw",          "TXDW does not come",                                 replaced(transmit, "_TXDW", 0),                    "e1000.tx.icr_txdw e1000.tx.interrupts e1000.drv.interrupts"),
    adapter("e1000.eop",           "Each descriptor is a frame",                         split(ALL),                                        "e1000.tx.multi_desc e1000.tx.context_first e1000.drv.segments"),
    adapter("e1000.never_eop",     "No descriptor ends a frame",                         split(0),                                          "e1000.tx.legacy_one_descriptor e1000.tx.batch e1000.tx.ifcs e1000.drv.polled_545"),
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
    adapter("e1000.null",          "A buffer at 0 is one",                               wrapped(Receiver, "_buffers", lambda original, self, *rest: [address or 0x30_0000 for address in original(self, *rest)]), "e1000.rx.null_buffer"),

    adapter("e1000.outside",       "Heads and tails outside of a ring count",            wrapped(Ring, "now", outside_too),    "hostile.e1000.tdt_beyond"),
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
