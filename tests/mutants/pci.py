"""The PCI bus is wrong: configuration, base addresses, messages, lines, DMA, the BIOS area."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.mutants.mutant import How, of, replaced, wrapped
from virtproof.spec import bus_card, i440fx, pci
from virtproof.spec.i440fx import Attributes
from virtproof.spec.pci import COMMAND, ConfigAddress
from virtproof.vmm.bus import Bus
from virtproof.vmm.devices.bus_card import BusCard
from virtproof.vmm.devices.i440fx import HostBridge
from virtproof.vmm.devices.ioapic import IoApic
from virtproof.vmm.devices.pic import Pic, PicPair, Step
from virtproof.vmm.devices.piix3 import IsaBridge
from virtproof.vmm.machine import Machine
from virtproof.vmm.pci.bus import ConfigPorts, PciBus
from virtproof.vmm.pci.function import Bar, DmaError, Function
from virtproof.vmm.pci.messages import MsiMessages, MsixMessages
from virtproof.vmm.pci.registers import ConfigRegisters
from virtproof.vmm.shadow import ShadowedMemory

config = of("bus", "hostile.bus.*")
line = of("irq_routing", "hostile.pirq.*")
message = of("bus.msi*", "hostile.msi*")
dma = of("dma", "bus.busmaster.*", "bus.status.*")
shadow = of("bus.host.*", "dma.rom*", "dma.fseg", "dma.a0000*")


def never(original: Any, *rest: Any, **more: Any) -> None:
    pass


def latched(original: Any, self: ConfigPorts, offset: int, size: int, value: int) -> None:
    if offset < 4 and size < 4:
        shift = 8 * offset
        kept = self._address & ~((1 << 8 * size) - 1 << shift)
        self._address = ConfigAddress(kept | value << shift & 0xFFFF_FFFF)
        return
    original(self, offset, size, value)


def low_bits_kept(original: Any, self: ConfigPorts, offset: int, size: int, value: int) -> None:
    original(self, offset, size, value)
    if offset == 0 and size == 4:
        self._address = ConfigAddress(value)


def always_enabled(original: Any, self: ConfigPorts) -> Any:
    return self._bus.find(self._address)


def any_bus(original: Any, self: PciBus, address: ConfigAddress) -> Any:
    return original(self, address.but(bus=0))


def any_function(original: Any, self: PciBus, address: ConfigAddress) -> Any:
    return original(self, address) or original(self, address.but(function=0))


def dword_only(original: Any, self: ConfigPorts, offset: int, size: int) -> int:
    return int(original(self, offset & ~3 if offset >= 4 else offset, size))


def identity_writable(
    original: Any, self: ConfigRegisters, offset: int, size: int, value: int = 0, **more: Any
) -> None:
    if offset in (pci.VENDOR_ID, pci.DEVICE_ID):
        more["writable"] = 0xFFFF
    original(self, offset, size, value, **more)


def register_writable(at: int) -> Callable[..., None]:
    def around(original: Any, self: ConfigRegisters, offset: int, size: int, value: int = 0, **more: Any) -> None:
        if offset == at:
            more["writable"] = (1 << 8 * size) - 1
        original(self, offset, size, value, **more)

    return around


def status_written(original: Any, self: ConfigRegisters, offset: int, size: int, value: int = 0, **more: Any) -> None:
    if offset == pci.STATUS:
        more["writable"], more["write_one_clears"] = pci.STATUS_ERRORS, 0
    original(self, offset, size, value, **more)


def pending_hidden(original: Any, self: Function, level: bool) -> None:
    original(self, level)
    self.config.put(pci.STATUS, 2, self.config.get(pci.STATUS, 2) & ~8)


def list_hidden(original: Any, self: Function, identity: int, size: int, offset: int) -> int:
    at = int(original(self, identity, size, offset))
    self.config.add(pci.STATUS, 2, 0)
    return at


def decoded_always(original: Any, self: Function) -> Any:
    kept = self.config.get(COMMAND, 2)
    self.config.put(COMMAND, 2, kept | 3)
    found = list(original(self))
    self.config.put(COMMAND, 2, kept)
    return iter(found)


def rom_always(original: Any, self: Function) -> Any:
    kept = self.config.get(pci.EXPANSION_ROM, 4)
    if kept & ~1 and self._rom is not None:
        self.config.put(pci.EXPANSION_ROM, 4, kept | 1)
    found = list(original(self))
    self.config.put(pci.EXPANSION_ROM, 4, kept)
    return iter(found)


def always_32_bits() -> How:
    return replaced(Bar, "flags", property(lambda self: pci.BAR_IO if self.kind == "io" else 0))


def stays(original: Any, self: Bus, windows: Any) -> None:
    windows = list(windows)
    if windows or not self._windows:
        known = {(w.name, w.offset): w for w in self._windows}
        original(self, [known.get((w.name, w.offset), w) for w in windows])


def last_wins(original: Any, self: Bus, windows: Any) -> None:
    original(self, reversed(list(windows)))


def pin_too(original: Any, self: Function, vector: int = 0) -> bool:
    sent = bool(original(self, vector))
    if self._interrupts is not None:
        self._interrupts.set_intx(True)
    return sent


def mask_ignored(original: Any, self: MsixMessages, vector: int) -> bool:
    return False


def function_mask_ignored(original: Any, self: MsixMessages, vector: int) -> bool:
    return bool(self._table[vector * 16 + 12] & 1)


def not_delivered(original: Any, self: MsixMessages) -> None:
    pass


def unmasked_at_first(original: Any, self: MsixMessages) -> None:
    original(self)
    self._table = bytearray(len(self._table))


def to_anybody(original: Any, self: Function, address: int, data: int) -> None:
    if self._interrupts is not None:
        self._interrupts.send_msi(0xFEE0_0000, data & 0xFF)


def masters_always(original: Any, self: Function, value: int) -> None:
    original(self, value)
    self._master = True


def address_32(original: Any, self: Function, gpa: int, rest: Any) -> Any:
    return original(self, gpa & 0xFFFF_FFFF, rest)


def aligned(original: Any, self: Function, gpa: int, rest: Any) -> Any:
    return original(self, gpa & ~3, rest)


def in_a_page(original: Any, self: Function, gpa: int, data: bytes) -> None:
    original(self, gpa, data[: 4096 - gpa % 4096])


def partly(original: Any, self: Function, gpa: int, data: bytes) -> None:
    with suppress(DmaError):
        original(self, gpa, data)


def load_anywhere(original: Any, self: Function, gpa: int, data: bytes) -> None:
    memory: Any = self._memory
    try:
        memory.load(gpa, data)
    except Exception:
        raise DmaError("nobody") from None


def report_first(original: Any, self: BusCard, command: int) -> None:
    report = self._words[bus_card.Register.REPORT]
    if report:
        self.function.dma_write(report, (self._completed + 1).to_bytes(4, "little"))
    if command & bus_card.Command.MESSAGE:
        self.function.send_message(command >> 8 & 0xFF)
        command &= ~bus_card.Command.MESSAGE
    waiting = getattr(self, "_late", 0)
    self._late = command  # type: ignore[attr-defined]
    if waiting:
        original(self, waiting)


def reread(original: Any, self: BusCard, command: int) -> None:
    original(self, command)
    if command & bus_card.Command.COPY_DESCRIBED:
        original(self, command)


def swizzled(by: int) -> Callable[..., None]:
    def around(original: Any, self: PciBus, at: int, pin: int, level: bool) -> None:
        original(self, at, pin + by, level)

    return around


def last_one_counts(original: Any, self: PciBus, at: int, pin: int, level: bool) -> None:
    self._set_pirq((at // 8 - 1 + pin - 1) % 4, level)


def without_effect(owner: Any, name: str) -> How:
    return replaced(owner, name, lambda *rest: None)


def edge_only(original: Any, self: IoApic, vector: int) -> None:
    lines, self.lines = self.lines, 0
    original(self, vector)
    self.lines = lines


def disable_ignored(original: Any, self: IsaBridge) -> None:
    kept = [self.function.config.get(0x60 + n, 1) for n in range(4)]
    for n, value in enumerate(kept):
        self.function.config.put(0x60 + n, 1, value & 0x0F)
    original(self)
    for n, value in enumerate(kept):
        self.function.config.put(0x60 + n, 1, value)


def old_line_stays(original: Any, self: IsaBridge) -> None:
    self._driven = set() if any(self._levels) else self._driven
    original(self)


def whole_register(original: Any, self: Any, register: int, value: int) -> None:
    original(self, register, value & 0x0F | (value & 0x0F) << 4)


def always(attributes: int) -> Callable[..., None]:
    def around(original: Any, self: ShadowedMemory, segment: Any, found: Attributes) -> None:
        original(self, segment, Attributes(found | attributes) if found else found)

    return around


def rom_not_shadowed(original: Any, self: ShadowedMemory, segment: Any, found: Attributes) -> None:
    original(self, segment, Attributes(3))


# fmt: off
MUTANTS = (
    config("pci.latch_any",        "A byte or word to CF8H latches too",                 wrapped(ConfigPorts, "write", latched),            "bus.cf8.byte_write_not_latch bus.cf8.word_write_not_latch"),
    config("pci.latch_low",        "CF8H keeps bits 1:0",                                wrapped(ConfigPorts, "write", low_bits_kept),      "bus.cf8.dword_latch"),
    config("pci.not_enabled",      "CFCH answers without bit 31",                        wrapped(ConfigPorts, "_selected", always_enabled), "bus.cfc.disabled_all_ones"),
    config("pci.any_bus",          "Every bus is bus 0",                                 wrapped(PciBus, "find", any_bus),                  "bus.absent.bus1_all_ones"),
    config("pci.any_function",     "Every function is function 0",                       wrapped(PciBus, "find", any_function),             "bus.absent.function_of_single"),
    config("pci.dword_only",       "CFCH + n reads from the first byte",                 wrapped(ConfigPorts, "read", dword_only),          "bus.cfc.subword_offsets"),
    config("pci.absent_0",         "What is not there reads 0",                          wrapped(Bus, "pio_in", lambda original, self, port, size: 0 if (value := original(self, port, size)) == (1 << 8 * size) - 1 and port >= 0xCFC else value), "bus.absent.device_all_ones"),
    config("pci.port_0",           "A port without a device reads 0",                    wrapped(Bus, "pio_in", lambda original, self, port, size: 0 if port in (0x2F0, 0x600) else original(self, port, size)), "bus.unclaimed.io"),
    config("pci.memory_0",         "An address without a device reads 0",                wrapped(Bus, "mmio_read", lambda original, self, at, size: 0 if (value := original(self, at, size)) == (1 << 8 * size) - 1 else value), "bus.unclaimed.mmio"),
    config("pci.identity_written", "The identity can be written",                        wrapped(ConfigRegisters, "add", identity_writable), "bus.host.ids_readonly hostile.bus.config_fuzz"),
    config("pci.bridge_other",     "The host bridge is another chip",                    replaced(i440fx, "HOST_BRIDGE", 0x29C0),           "bus.host.identity"),
    config("pci.smram",            "SMRAM begins as 0",                                  replaced(i440fx, "SMRAM_RESET", 0),                "bus.host.smram_reset"),
    config("pci.command_any",      "The command register keeps every bit",               wrapped(ConfigRegisters, "add", register_writable(COMMAND)), "bus.cmd.mask"),
    config("pci.no_list",          "Status bit 4 is 0 though there is a list",           wrapped(Function, "_add_capability", list_hidden), "bus.status.caplist"),
    config("pci.status_written",   "Errors in status are written, not cleared by ones",  wrapped(ConfigRegisters, "add", status_written),   "bus.status.w1c"),
    config("pci.pending_hidden",   "Status bit 3 stays 0",                               wrapped(Function, "set_intx", pending_hidden),     "bus.status.intx_pending"),
    config("pci.pin_written",      "The interrupt pin can be written",                   wrapped(ConfigRegisters, "add", register_writable(pci.INTERRUPT_PIN)), "bus.intpin.fixed"),
    config("pci.list_written",     "Capabilities' ids can be written",                   wrapped(ConfigRegisters, "add", lambda original, self, offset, size, value=0, **more: original(self, offset, size, value, **(more | ({"writable": 0xFFFF} if offset == bus_card.MSI_OFFSET else {})))), "hostile.bus.cap_ro_fuzz"),
    config("pci.list_cut",         "The list ends with its first capability",            wrapped(ConfigRegisters, "add", lambda original, self, offset, size, value=0, **more: original(self, offset, size, 0 if offset == bus_card.MSI_OFFSET + 1 else value, **more)), "bus.caps.walk"),
    config("pci.decoded_always",   "A function decodes whatever its command says",       wrapped(Function, "windows", decoded_always),      "bus.bar.decode_needs_cmd"),
    config("pci.rom_always",       "A ROM decodes without its enable bit",               wrapped(Function, "windows", rom_always),          "bus.rom.enable"),
    config("pci.bar_kind",         "A 64-bit BAR says that it has 32",                   always_32_bits(),                                  "bus.bar.size_mem64 bus.bar.low_bits_ro"),
    config("pci.bar_any_bit",      "A BAR keeps the bits below its size",                wrapped(ConfigRegisters, "add", register_writable(pci.BASE_ADDRESS)), "bus.bar.size_mem32"),
    config("pci.io_bar_any_bit",   "An I/O BAR keeps the bits below its size",           wrapped(ConfigRegisters, "add", register_writable(pci.BASE_ADDRESS + 4)), "bus.bar.size_io"),
    config("pci.rom_any_bit",      "The ROM's BAR keeps the bits below its size",        wrapped(ConfigRegisters, "add", register_writable(pci.EXPANSION_ROM)), "bus.rom.size"),
    config("pci.bar_stays",        "A BAR that moves answers where it was",              wrapped(Bus, "set_windows", stays),                "bus.bar.move bus.bar.restore_value"),
    config("pci.last_wins",        "Of two BARs at one address the last one answers",    wrapped(Bus, "set_windows", last_wins),            "hostile.bus.bar_overlap"),
    config("pci.lanes",            "Bytes of a register are its first byte",             wrapped(BusCard, "read", lambda original, self, offset, size: original(self, offset & ~3, size)), "bus.mmio.width8_16 hostile.bus.mmio_width"),
    config("pci.fifo",             "Of a string every second item is lost",              wrapped(BusCard, "write", lambda original, self, offset, size, value: original(self, offset, size, value) if offset != bus_card.Register.FIFO or value & 0x1000_0000 else None), "bus.string_io.count"),

    message("msi.pin_too",         "A message drives the pin too",                       wrapped(Function, "send_message", pin_too),        "bus.msi.replaces_intx"),
    message("msi.pin_stays",       "With messages enabled the pin still works",          replaced(Function, "message_mode", property(lambda self: False)), "bus.msi.replaces_intx"),
    message("msi.data",            "The data of MSI are one more",                       wrapped(MsiMessages, "send", lambda original, self, vector: self._send(0xFEE0_0000, 0x42)), "bus.msi.replaces_intx"),
    message("msi.address_bits",    "MSI's address keeps bits 1:0",                       wrapped(ConfigRegisters, "add", register_writable(bus_card.MSI_OFFSET + 4)), "bus.msi.program"),
    message("msix.unmasked",       "Entries begin unmasked",                             wrapped(MsixMessages, "_clear", unmasked_at_first), "bus.msix.table_rw"),
    message("msix.mask_ignored",   "A masked vector is sent",                            wrapped(MsixMessages, "_masked", mask_ignored),    "bus.msix.pending_bit"),
    message("msix.all_ignored",    "The function's mask is ignored",                     wrapped(MsixMessages, "_masked", function_mask_ignored), "bus.msix.function_mask"),
    message("msix.not_delivered",  "A pending message is not sent when it is unmasked",  wrapped(MsixMessages, "_deliver", not_delivered),  "bus.msix.pending_bit bus.msix.function_mask"),
    message("msix.to_anybody",     "A message goes to the APIC whatever its address",    wrapped(Function, "_message", to_anybody),         "hostile.msix.bad_table"),
    message("msix.many_pending",   "A vector that is not there is pending",              wrapped(MsixMessages, "send", lambda original, self, vector: self._pending.add(vector % 64)), "hostile.msix.table_oob"),
    message("msix.storm",          "Messages are lost",                                  wrapped(MsixMessages, "_message", never),          "hostile.msi.storm"),

    line("pirq.reset",             "Routes begin as 0",                                  replaced(i440fx, "PIRQ_RESET", 0),                 "irq.pirq.reset irq.reset.lines_low"),
    line("pirq.swizzle",           "INTA of slot n is line n mod 4",                     wrapped(PciBus, "set_pin", swizzled(1)),           "irq.pirq.route"),
    line("pirq.disable_ignored",   "Bit 7 of a route is ignored",                        wrapped(IsaBridge, "_drive", disable_ignored),     "irq.pirq.disable"),
    line("pirq.old_stays",         "A line that is routed elsewhere stays high",         wrapped(IsaBridge, "_drive", old_line_stays),      "irq.pirq.reroute_live hostile.pirq.garbage"),
    line("pirq.last_counts",       "A shared line follows who changed last",             wrapped(PciBus, "set_pin", last_one_counts),       "irq.intx.shared_or.line"),
    line("ioapic.eoi_ignored",     "The end of an interrupt leaves the line's bit set",  without_effect(IoApic, "eoi"),                     "irq.ioapic.intx irq.ioapic.intx_shared e1000.irq.ioapic", "e1000.irq.ioapic"),
    line("ioapic.deaf",            "Lines come to the 8259s only",                       without_effect(IoApic, "set_line"),                "irq.ioapic.intx e1000.irq.ioapic", "e1000.irq.ioapic"),
    line("ioapic.always_edge",     "What is level-triggered interrupts when it rises",   wrapped(IoApic, "eoi", edge_only),                 "irq.ioapic.intx_shared"),
    line("pic.icw2",               "ICW2 of the slave is the master's",                  wrapped(Pic, "_write_data", lambda original, self, value: original(self, 0x08 if self.step is Step.ICW2 else value)), "irq.pic.icw"),
    line("pic.icw3",               "The slave is at no line",                            wrapped(PicPair, "set_line", lambda original, self, line, level: original(self, line, level) if line < 8 else None), "irq.pic.icw"),
    line("pic.no_eoi",                "An end of interrupt ends nothing",                   without_effect(Pic, "_operate"),                   "irq.pic.icw"),
    line("pic.icw1",               "What comes after ICW1 are masks",                    without_effect(Pic, "_initialize"),                "irq.pic.icw"),
    line("pirq.reserved",          "A route to a reserved number is one",                replaced(i440fx, "ROUTABLE", range(16)),           "irq.pirq.reserved"),
    line("pirq.not_ored",          "Two lines that go to one interrupt follow the last", wrapped(IsaBridge, "set_pirq", lambda original, self, pirq, level: [original(self, n, level) for n in range(4)]), "irq.intx.shared_or"),
    line("pirq.edge",              "A line that stays high interrupts once",             wrapped(IsaBridge, "_drive", lambda original, self: (original(self), [self._set_line(irq, False) for irq in self._driven])), "irq.intx.level_resample"),
    line("intx.disable_ignored",   "Command bit 10 is ignored",                          wrapped(ConfigRegisters, "get", lambda original, self, offset, size: original(self, offset, size) & ~(0x400 if offset == COMMAND else 0)), "irq.intx.disable_bit"),
    line("reset.lines_stay",       "After a reset lines stay",                           wrapped(PciBus, "reset", never),                   "irq.reset.lines_low"),
    line("pit.pin0",               "The 8254 is at pin 0 of the I/O APIC",               replaced(Machine, "wire_timer", lambda self: None), "irq.ioapic.gsi0_pin2"),

    dma("dma.without_master",      "A function reads and writes without mastering",      wrapped(Function, "_command", masters_always),     "bus.busmaster.off_no_dma", "bus"),
    dma("dma.32_bits",             "DMA loses what is above 4 GiB",                      wrapped(Function, "dma_write", address_32),        "dma.above4g"),
    dma("dma.aligned",             "DMA begins at a dword",                              wrapped(Function, "dma_write", aligned),           "dma.unaligned.addr"),
    dma("dma.in_a_page",           "DMA ends at a page boundary",                        wrapped(Function, "dma_write", in_a_page),         "dma.page_cross dma.slot_cross"),
    dma("dma.silent",              "DMA to nobody is no error",                          wrapped(Function, "dma_write", partly),            "dma.end_of_ram dma.no_mmio_recursion dma.a0000_hole"),
    dma("dma.rom",                 "DMA writes read-only memory",                        wrapped(Function, "dma_write", load_anywhere),     "dma.rom_write_dropped"),
    dma("dma.big_endian",          "Data are written in reverse",                        wrapped(Function, "dma_write", lambda original, self, gpa, data: original(self, gpa, data[::-1])), "dma.endianness dma.low_640k"),
    dma("dma.cut_short",           "A long copy is cut short and said to be done",       wrapped(Function, "dma_read", lambda original, self, gpa, length: original(self, gpa, min(length, 4096))), "dma.bounded_copy"),
    dma("dma.report_first",        "The report and the interrupt come before the data",  wrapped(BusCard, "_do", report_first),             "dma.order.desc_before_irq dma.order.data_before_status"),
    dma("dma.read_twice",          "A descriptor is read again when its copy is done",   wrapped(BusCard, "_do", reread),                   "dma.snapshot_desc"),
    dma("dma.nothing_is_error",    "A copy of nothing is refused",                       wrapped(Function, "dma_read", lambda original, self, gpa, length: original(self, gpa, length) if length else original(self, 1 << 60, 1)), "dma.zero_len"),

    shadow("pam.any_bit",          "PAM registers keep every bit",                       wrapped(ConfigRegisters, "add", register_writable(i440fx.PAM + 1)), "bus.host.pam_write_readback"),
    shadow("pam.ram_at_first",     "The BIOS area begins as RAM",                        wrapped(ShadowedMemory, "shadow", rom_not_shadowed), "bus.host.pam_shadow_rom"),
    shadow("pam.always_writable",  "A segment that can be read can be written",          wrapped(ShadowedMemory, "shadow", always(2)),      "bus.host.pam_readonly dma.rom_write_dropped"),
    shadow("pam.whole",            "A register's low half is about both segments",       wrapped(HostBridge, "_written", whole_register), "bus.host.pam_granularity"),
    shadow("pam.write_lost",       "With the write bit only, writes are lost",           wrapped(ShadowedMemory, "write", never),           "bus.host.pam_shadow_rom.write_through"),
    shadow("pam.reset",            "PAM registers begin as 33H",                         wrapped(ConfigRegisters, "add", lambda original, self, offset, size, value=0, **more: original(self, offset, size, 0x33 if offset == i440fx.PAM + 2 else value, **more)), "bus.host.pam_reset"),
    shadow("pam.never",            "PAM registers do nothing",                           wrapped(ShadowedMemory, "shadow", lambda original, self, segment, found: original(self, segment, Attributes(0)) if segment not in self._slots else None), "bus.host.pam_ram_writable dma.fseg"),
)
# fmt: on
