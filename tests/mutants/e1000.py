"""The e1000 is wrong: registers, reset, EEPROM, PHY, interrupts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from tests.mutants.mutant import How, of, replaced, wrapped
from virtproof.spec import e1000
from virtproof.spec import e1000_phy as phy
from virtproof.spec.e1000 import Cause, Eecd, Mdic
from virtproof.spec.e1000_phy import Phy
from virtproof.vmm.devices.e1000 import interrupts, nic, statistics
from virtproof.vmm.devices.e1000.eeprom import Eeprom
from virtproof.vmm.devices.e1000.interrupts import Delay, Interrupts
from virtproof.vmm.devices.e1000.nic import E1000, IoWindow
from virtproof.vmm.devices.e1000.phy import CopperPhy

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
        original(self, data)
    else:
        word, bit = divmod(self._at, 16)
        self.output, self._at = self.words[word] >> bit & 1, (self._at + 1) % 1024


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


def still_quiet(original: Any, self: Interrupts) -> None:
    quiet, self._quiet = self._quiet, None
    original(self)
    self._quiet = quiet


def take_quietly(self: Interrupts) -> int:
    causes, self.causes = self.causes, 0
    return causes


def mask_quietly(self: Interrupts, mask: int) -> None:
    self.mask = mask & Cause.KNOWN


class _Forgetful:
    def reset(self) -> None: ...


def reset_keeps_work(original: Any, self: E1000) -> None:
    rings = range(e1000.TDBAL, e1000.TDT + 4)
    kept = {at: value for at, value in self._registers.items() if at in rings or at == e1000.TCTL}
    transmitter, self.transmitter = self.transmitter, _Forgetful()  # type: ignore[assignment]
    original(self)
    self.transmitter = transmitter
    self._registers.update(kept)


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
    adapter("e1000.pba",           "PBA's upper half stays",                             reads(e1000.PBA, lambda v: v & 0xFFFF | 0x10 << 16), "e1000.reg.pba"),
    adapter("e1000.ee_rst",        "EE_RST does nothing",                                without(E1000, "_extended_control"),               "e1000.reg.ee_rst"),
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
    adapter("e1000.itr_reset",     "A reset leaves the time between interrupts running", wrapped(Interrupts, "reset", still_quiet),         "e1000.irq.throttle_reset"),
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
)
# fmt: on
