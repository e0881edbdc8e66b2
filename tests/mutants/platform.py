"""The clock, power management, keyboard, reset ports, logs, fw_cfg and loaders are wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.mutants.mutant import How, of, replaced, wrapped
from virtproof.spec import mc146818
from virtproof.spec.fw_cfg import Control
from virtproof.spec.mc146818 import Cell
from virtproof.spec.piix4 import Pm1Status
from virtproof.vmm import platform as wiring
from virtproof.vmm.devices import debug_console, fw_cfg, i8042, piix4_pm
from virtproof.vmm.devices import mc146818 as rtc
from virtproof.vmm.devices.apm import Apm
from virtproof.vmm.devices.debug_console import DebugConsole
from virtproof.vmm.devices.debug_exit import DebugExit
from virtproof.vmm.devices.fw_cfg import FwCfg, FwCfgDma
from virtproof.vmm.devices.i8042 import KeyboardController
from virtproof.vmm.devices.mc146818 import Rtc
from virtproof.vmm.devices.piix4_pm import Piix4Pm
from virtproof.vmm.devices.port92 import FastA20
from virtproof.vmm.devices.reset_control import ResetPort
from virtproof.vmm.firmware import acpi, smbios
from virtproof.vmm.firmware.blob import Blob
from virtproof.vmm.loaders import bzimage, pvh
from virtproof.vmm.shadow import ShadowedMemory

pc = of("rtc_pm")
firmware = of("firmware")


def reads(owner: Any, change: Callable[[int], int]) -> How:
    """What a device's registers read is changed."""
    return wrapped(owner, "read", lambda original, self, *rest: change(original(self, *rest)))


def cell(index: int, change: Callable[[int], int]) -> How:
    def read(original: Any, self: Rtc, offset: int, size: int) -> int:
        value = int(original(self, offset, size))
        return change(value) if offset and self._index == index else value

    return wrapped(Rtc, "read", read)


def without(owner: Any, name: str) -> How:
    return replaced(owner, name, lambda self, *rest, **more: None)


def flags_stay(original: Any, self: Rtc) -> int:
    before = self._flags
    value = int(original(self))
    self._flags = before
    return value


def uie_stays(original: Any, self: Rtc, b: Any) -> None:
    original(self, b)
    self._b = self._b.but(uie=b.uie)


def set_ignored(original: Any, self: Rtc, b: Any) -> None:
    original(self, b.but(set=0))


def month_ignored(original: Any, self: Rtc, registers: Any) -> int:
    return int(original(self, {**registers, Cell.MONTH: 1}))


def alarm_exact(self: Rtc, cell: Cell) -> range:
    value = self._cells[cell]
    return range(value, value + 1) if value < 60 else range(0)


def index_bit_7(original: Any, self: Rtc, offset: int, size: int, value: int) -> None:
    original(self, offset, size, value)
    if offset == 0:
        self._index = value & 0x7F if value < 0x80 else 0x7F


def pm_written(change: Callable[[Piix4Pm, int], int]) -> How:
    def write(original: Any, self: Piix4Pm, offset: int, size: int, value: int) -> None:
        original(self, offset, size, change(self, value) if offset == 0 else value)

    return wrapped(Piix4Pm, "write", write)


def power_button_twice(original: Any, self: Piix4Pm, offset: int, size: int, value: int) -> None:
    """Clearing an event clears them all but the button."""
    before = self._status
    original(self, offset, size, value)
    if offset < 2:
        self._status = Pm1Status(self._status | before & Pm1Status.pwrbtn.mask)


def always_resets(original: Any, self: ResetPort, offset: int, size: int, value: int) -> None:
    if value & 4:
        self._value = self._value.but(rst_cpu=0)
    original(self, offset, size, value)


def low_byte_resets(original: Any, self: FwCfg, offset: int, size: int, value: int) -> None:
    if offset == 0:
        self.select(value)


def not_reset_by_select(self: FwCfg, key: int) -> None:
    self._key = key


def wraps_round(self: FwCfg, count: int) -> bytes:
    content = self._content or b"\0"
    data = bytes(content[(self._at + number) % len(content)] for number in range(min(count, 1 << 20)))
    self.skip(count)
    return data


def high_kept(original: Any, self: FwCfgDma, offset: int, size: int, value: int) -> None:
    high = self._high
    original(self, offset, size, value)
    if offset >= 4:
        self._high = high


def writes_allowed(original: Any, self: FwCfgDma, control: int, length: int, address: int) -> int:
    return 0 if control & Control.WRITE else int(original(self, control, length, address))


def keys_always(original: Any, self: KeyboardController, codes: bytes) -> None:
    self._control = self._control.but(keyboard_disabled=0)
    original(self, codes)


def one_edge(original: Any, self: KeyboardController, *, fell: bool = False) -> None:
    original(self, fell=False)


def no_answer(original: Any, self: KeyboardController, data: Any, *, aux: bool = False) -> None:
    if bytes(data) != b"\xfa\xaa":
        original(self, data, aux=aux)


def any_pulse(original: Any, self: KeyboardController, command: int) -> None:
    original(self, command)
    if command == 0xFF:
        self._reset_machine()


def rom_writable(original: Any, self: ShadowedMemory, *rest: Any) -> Any:
    slot = original(self, *rest)
    return self._memory.change(slot, read_only=False) if slot is not None and slot.read_only else slot


def with_rbx(original: Any, *rest: Any, **more: Any) -> Any:
    image = original(*rest, **more)
    return image._replace(registers=replace(image.registers, rbx=1))


def flipped(at: int) -> Callable[..., bytes]:
    def around(original: Any, *rest: Any) -> bytes:
        data = bytearray(original(*rest))
        data[at] ^= 1
        return bytes(data)

    return around


def at_its_start(original: Any, *rest: Any, **more: Any) -> Any:
    image = original(*rest, **more)
    return image._replace(registers=replace(image.registers, rip=image.registers.rip & ~(bzimage.spec.ENTRY_64)))


def info_moved(original: Any, kernel: Any, layout: Any) -> int:
    return int(original(kernel, layout)) + 8


# fmt: off
MUTANTS = (
    pc("rtc.index",        "Bit 7 of the index is part of it",            wrapped(Rtc, "write", index_bit_7),                       "rtc.index.mask"),
    pc("rtc.a",            "UIP is always set",                           cell(Cell.A, lambda value: value | 0x80),                  "rtc.regA.reset rtc.uip.toggles"),
    pc("rtc.uip",          "UIP is never set",                            replaced(Rtc, "_updating", False),                         "rtc.uip.toggles"),
    pc("rtc.b",            "The clock begins in binary",                  replaced(rtc.spec, "RESET_B", mc146818.B(0x06)),           "rtc.regB.reset rtc.time.bcd"),
    pc("rtc.d",            "Register D says that the battery was empty",  cell(Cell.D, lambda value: 0),                             "rtc.regD.vrt"),
    pc("rtc.bcd",          "BCD is binary",                               replaced(rtc, "_bcd", lambda value: value),                "rtc.time.bcd"),
    pc("rtc.century",      "There is no century",                         cell(Cell.CENTURY, lambda value: 0),                       "rtc.century"),
    pc("rtc.set",          "SET does not stop the clock",                 wrapped(Rtc, "_control", set_ignored),                     "rtc.time.set"),
    pc("rtc.set_uie",      "SET leaves UIE",                              wrapped(Rtc, "_control", uie_stays),                       "rtc.regB.set_clears_uie"),
    pc("rtc.month",        "The month that is written is not taken",      wrapped(Rtc, "_decoded", month_ignored),                   "rtc.time.set"),
    pc("rtc.flags",        "Reading C clears nothing",                    wrapped(Rtc, "_take_flags", flags_stay),                   "rtc.c.read_clear"),
    pc("rtc.period",       "No flag rises",                                wrapped(Rtc, "_settle", lambda original, self: None),      "rtc.pie.rate rtc.uie"),
    pc("rtc.wildcard",     "Alarm bytes of C0H match nothing",            replaced(Rtc, "_choices", alarm_exact),                    "rtc.alarm"),
    pc("rtc.rate_low",     "RS = 1 and 2 are as fast as the others say",  replaced(Rtc, "_period", property(lambda self: 1 << self._a.rs - 1 if self._a.rs else 0)), "rtc.pie.rate_low"),
    pc("rtc.divider",      "A divider that is released begins a second",  wrapped(Rtc, "_start", lambda original, self, phase: original(self, 0)), "rtc.regA.divider"),
    pc("rtc.pm_lost",      "PM is lost in what is set",                   wrapped(Rtc, "_hour", lambda original, self, value: original(self, value & 0x7F)), "rtc.time.12h_set"),
    pc("rtc.year",         "The year that is written is not taken",       wrapped(Rtc, "_decoded", lambda original, self, registers: original(self, {**registers, Cell.YEAR: 0x26})), "rtc.time.12h_set"),
    pc("rtc.no_timer",     "No interrupt comes by itself",                without(Rtc, "_arm"),                                      "rtc.uie rtc.pie.irqs"),
    pc("rtc.memory",       "The RAM's size is not in the clock's memory", replaced(wiring, "cmos", lambda ram, vcpus: {}),           "rtc.mem.ext_3031 rtc.mem.ext_3435 rtc.mem.high_5b5d"),

    pc("pm.base",          "The ports never answer",                      replaced(piix4_pm.spec, "PMIOSE", 0),                      "pm.base.move"),
    pc("pm.rate",          "The timer counts 3579546 times a second",     replaced(piix4_pm.spec, "TIMER_HZ", 3_579_546),            "pm.tmr.rate"),
    pc("pm.wide",          "The timer has 32 bits",                       replaced(piix4_pm.spec, "TIMER_BITS", 32),                 "pm.tmr.rate"),
    pc("pm.w1c",           "A zero clears an event",                      pm_written(lambda self, value: ~value & 0xFFFF),           "pm.sts.w1c"),
    pc("pm.button",        "The power button's event stays",              wrapped(Piix4Pm, "write", power_button_twice),             "pm.sts.w1c"),
    pc("pm.sci",           "Events raise no interrupt",                   without(Piix4Pm, "_update"),                               "pm.en.sci"),
    pc("pm.sleep",         "SLP_EN does nothing",                         replaced(Piix4Pm, "_set_control", lambda self, control: setattr(self, "_control", control)), "pm.cnt.s5 pm.cnt.slp_en_ro0"),
    pc("pm.own",           "ACPI is never handed the hardware",           without(Piix4Pm, "own"),                                   "pm.smi_cmd.enable"),
    pc("apm.status",       "Port B3 does not keep a byte",                reads(Apm, lambda value: value & 0x0F),                    "pm.b3.scratch"),

    pc("i8042.locked",     "The keyboard is locked",                      replaced(KeyboardController, "status", property(lambda self: int(bool(self._queue)))), "i8042.status_idle"),
    pc("i8042.test",       "The self-test fails",                         replaced(i8042.spec, "CONTROLLER_TEST_PASSED", 0xFC),      "i8042.selftest"),
    pc("i8042.port_test",  "The keyboard's test fails",                   replaced(i8042.spec, "PORT_TEST_PASSED", 1),               "i8042.kbdtest"),
    pc("i8042.argument",   "Commands take no byte",                       without(KeyboardController, "_take_argument"),             "i8042.ctr"),
    pc("i8042.reset",      "The keyboard does not answer its reset",      wrapped(KeyboardController, "_put", no_answer),            "i8042.kbd_reset"),
    pc("i8042.ack",        "The keyboard does not acknowledge",           replaced(i8042.spec, "ACK", 0xFE),                         "i8042.kbd_cmds"),
    pc("i8042.disabled",   "A keyboard that is disabled types",           wrapped(KeyboardController, "type_keys", keys_always),     "i8042.irq1"),
    pc("i8042.edge",       "Two bytes are one interrupt",                 wrapped(KeyboardController, "_update", one_edge),          "i8042.irq1"),
    pc("i8042.pulse",      "Command FF resets",                           wrapped(KeyboardController, "_execute", any_pulse),        "i8042.reset_fe"),
    pc("port92.a20",       "A20 reads open",                              reads(FastA20, lambda value: value | 2),                   "port92.a20_rw"),
    pc("port92.reset",     "Port 92 does not reset",                      replaced(FastA20, "write", lambda self, offset, size, value: None), "port92.fast_reset port92.a20_rw"),
    pc("cf9.edge",         "RST_CPU resets while it is held",             wrapped(ResetPort, "write", always_resets),                "cf9.hard_reset"),
    pc("cf9.read",         "Port CF9 cannot be read",                     reads(ResetPort, lambda value: 0xFF),                      "cf9.no_edge"),
    pc("debug.present",    "The logs say that they are not there",        reads(DebugConsole, lambda value: 0xFF),                   "debug.402_read debug.e9"),
    pc("debug.lost",       "What is logged is lost",                      without(DebugConsole, "write"),                            "debug.402_write debug.e9"),
    pc("debug.exit",       "The exit status is the value",                replaced(DebugExit, "write", lambda self, offset, size, value: self._on_exit(value & 0xFF)), "debug.exit_f4"),
    pc("debug.endless",    "A log has no end",                            replaced(debug_console, "LIMIT", 1 << 40),                 "hostile.debug.flood", "hostile.debug.*"),

    firmware("fw_cfg.select",  "Selecting goes on where the item was left", replaced(FwCfg, "select", not_reset_by_select),          "fwcfg.select_resets_offset"),
    firmware("fw_cfg.end",     "An item goes round",                      replaced(FwCfg, "take", wraps_round),                      "fwcfg.read_past_end fwcfg.dma_select_read.end"),
    firmware("fw_cfg.files",   "There are no files",                      without(FwCfg, "_add_files"),                              "fwcfg.file_dir fwcfg.file_read"),
    firmware("fw_cfg.numbers", "The machine's numbers are not there",     replaced(wiring, "numbers", lambda ram, vcpus: {}),        "fwcfg.signature fwcfg.id fwcfg.nb_cpus fwcfg.max_cpus"),
    firmware("fw_cfg.dma",     "DMA does nothing",                        replaced(FwCfgDma, "_carry_out", lambda self, *rest: 0),   "fwcfg.dma_select_read fwcfg.dma_skip"),
    firmware("fw_cfg.high",    "The high half stays",                     wrapped(FwCfgDma, "write", high_kept),                     "fwcfg.dma_low_triggers.high"),
    firmware("fw_cfg.write",   "Items can be written",                    wrapped(FwCfgDma, "_carry_out", writes_allowed),           "fwcfg.dma_write_ro"),
    firmware("fw_cfg.name",    "DMA does not say what it is",             reads(FwCfgDma, lambda value: 0),                          "fwcfg.dma_signature"),
    firmware("fw_cfg.longest", "A transfer may be of any length",         replaced(fw_cfg, "BEYOND", 1 << 33),                       "hostile.fwcfg.dma_len_max", "hostile.fwcfg.*"),
    firmware("shadow.rom",     "The ROM can be written",                  wrapped(ShadowedMemory, "_mapped", rom_writable),          "fw.map.rom_readonly"),
    firmware("acpi.root",      "The RSDP's second sum is wrong",             wrapped(acpi, "rsdp", flipped(35)),                        "acpi.rsdp"),
    firmware("acpi.sums",      "Tables do not add up to 0",                  without(Blob, "checksum"),                                 "acpi.rsdp"),
    firmware("acpi.ports",     "The FADT tells of other ports",              replaced(acpi, "PM_BASE", 0x700),                          "acpi.fadt_ports"),
    firmware("acpi.own",       "ACPI is never switched on",                  without(Piix4Pm, "own"),                                   "acpi.fadt_ports"),
    firmware("acpi.still",     "The PM timer stands still",                  replaced(Piix4Pm, "_clocks", property(lambda self: 7)),      "acpi.fadt_ports"),
    firmware("acpi.ids",       "The MADT has other processors",              wrapped(acpi, "_madt", lambda original, ids: original(tuple(each + 1 for each in ids))), "acpi.madt_cpus"),
    firmware("acpi.timer_pin", "The timer is said to be at pin 0",           replaced(acpi, "TIMER_PIN", 0),                            "acpi.madt_cpus"),
    firmware("acpi.facs",      "The FACS is too short",                      replaced(acpi, "_FACS", struct.Struct("<4sII48x")),        "acpi.facs_align"),
    firmware("smbios.entry_2", "The entry point for a BIOS has wrong sums",  wrapped(smbios, "entry_2", flipped(6)),                    "smbios.v21_checksums"),
    firmware("smbios.entry_3", "That of SMBIOS 3 has a wrong sum",           wrapped(smbios, "entry_3", flipped(5)),                    "smbios.v21_checksums.entry_3"),
    firmware("smbios.memory",  "A memory device has twice the memory",       wrapped(smbios, "_memory_device", lambda original, ram: original(2 * ram)), "smbios.v21_checksums.entry_3"),
    firmware("linux.registers", "EBX holds something",                    wrapped(bzimage, "load", with_rbx),                        "boot.bz.entry32"),
    firmware("linux.entry",    "Code of 64 bits is entered where it lies",  wrapped(bzimage, "load", at_its_start),                    "boot.bz.entry64"),
    firmware("linux.sectors",  "No sectors of set-up code are none",         replaced(bzimage.spec, "DEFAULT_SETUP_SECTS", 0),          "boot.bz.setup_sects_zero"),
    firmware("linux.sectors_3", "... or are 3",                              replaced(bzimage.spec, "DEFAULT_SETUP_SECTS", 3),          "boot.bz.setup_sects_zero"),
    firmware("linux.initrd",   "The RAM disk's limit is not kept",        wrapped(bzimage, "_place_initrd", lambda original, layout, content, limit: original(layout, content, 0xFFFF_FFFF)), "boot.bz.initrd_limit"),
    firmware("linux.map",      "The zero page has no memory map",         replaced(bzimage, "_tell_memory", lambda *rest: None),     "boot.bz.zero_page_e820 e820.sorted_disjoint"),
    firmware("pvh.info",       "EBX points behind the start info",        wrapped(pvh, "_inform", info_moved),                       "boot.pvh.memmap"),
)
# fmt: on
