"""The monitor's interrupt controllers, timers and serial port are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.mutants.mutant import How, of, replaced, wrapped
from virtproof.spec.ioapic import Entry
from virtproof.spec.uart16550 import InterruptId
from virtproof.spec.x86.apic import Register, TimerMode
from virtproof.vmm.devices.apic_timer import ApicTimer
from virtproof.vmm.devices.ioapic import IoApic
from virtproof.vmm.devices.lapic import LocalApic
from virtproof.vmm.devices.pic import Pic, PicPair
from virtproof.vmm.devices.pit import Channel, Pit
from virtproof.vmm.devices.serial import Serial
from virtproof.vmm.user_irqchip import LocalApics, UserIrqchip

apic = of("interrupts", "timers", "smp")
uart = of("serial")


def then(owner: Any, name: str, change: Callable[..., Any]) -> How:
    """``change(self, result)`` is what the method returns."""
    return wrapped(owner, name, lambda original, self, *rest: change(self, original(self, *rest)))


def without(owner: Any, name: str) -> How:
    return replaced(owner, name, lambda self, *rest, **more: None)


# ---- local APIC


def lowest_first(self: LocalApic) -> int:
    if not self._deliverable:
        return int(self.svr.vector)
    bit = self.irr & -self.irr
    self.irr &= ~bit
    self.isr |= bit
    self._update()
    return bit.bit_length() - 1


def ends_lowest(self: LocalApic) -> None:
    if self.isr:
        vector = (self.isr & -self.isr).bit_length() - 1
        self.isr &= self.isr - 1
        if self.tmr >> vector & 1:
            self._ended(vector)


def deliverable(rule: Callable[[LocalApic, int], bool]) -> How:
    def found(self: LocalApic) -> bool:
        return self.base.en and self.irr != 0 and rule(self, self.irr.bit_length() - 1)

    return replaced(LocalApic, "_deliverable", property(found))


def eoi_not_told(original: Any, self: LocalApic) -> None:
    ended, self._ended = self._ended, lambda vector: None
    original(self)
    self._ended = ended


def in_service_not_set(original: Any, self: LocalApic) -> int:
    vector = int(original(self))
    self.isr &= ~(1 << vector)
    return vector


def requested_stays(original: Any, self: LocalApic) -> int:
    vector = int(original(self))
    self.irr |= 1 << vector
    return vector


def accepts_disabled(original: Any, self: LocalApic, delivery: Any, vector: int, *, level: bool = False) -> bool:
    enabled, self.svr = self.svr, self.svr.but(enabled=1)
    try:
        return bool(original(self, delivery, vector, level=level))
    finally:
        self.svr = enabled


def base(change: Callable[[LocalApic, Any], Any]) -> How:
    return wrapped(LocalApic, "_set_base", lambda original, self, new: original(self, change(self, new)))


def transitions(original: Any, self: LocalApic, new: Any) -> bool:
    """A mode that cannot be reached is ignored instead of refused."""
    original(self, new)
    return True


def extint_always(self: LocalApic) -> bool:
    return self.lint[0]


# ---- I/O APIC


def entry_written(original: Any, self: IoApic, index: int, value: int) -> None:
    original(self, index, value)
    pin = (index - 0x10) // 2
    if 0 <= pin < len(self.entries):
        self.entries[pin] = Entry(self.entries[pin] & ~Entry.masked.mask)


def read_only_bits(original: Any, self: IoApic, index: int) -> int:
    return int(original(self, index)) ^ (1 << 12 if index >= 0x10 and not index & 1 else 0)


def no_remote_irr(original: Any, self: IoApic, pin: int) -> None:
    original(self, pin)
    self.entries[pin] = self.entries[pin].but(remote_irr=0)


def always_level(original: Any, self: IoApic, index: int, value: int) -> None:
    original(self, index, value | 1 << 15 if index >= 0x10 and not index & 1 else value)


def not_while_masked(original: Any, self: IoApic, index: int, value: int) -> None:
    lines, self.lines = self.lines, 0
    original(self, index, value)
    self.lines = lines


def not_while_held(original: Any, self: IoApic, vector: int) -> None:
    lines, self.lines = self.lines, 0
    original(self, vector)
    self.lines = lines


# ---- 8259


def rank_reversed(self: Pic, of: int) -> int | None:
    return of.bit_length() - 1 if of else None


def no_level(original: Any, self: Pic, value: int) -> None:
    original(self, 0)


def base_kept(original: Any, self: Pic, value: int) -> None:
    original(self, value)
    self.base = (self.base + 8) & 0xF8


def imr_ignored(original: Any, self: Pic) -> int | None:
    imr, self.imr = self.imr, 0
    try:
        return original(self)  # type: ignore[no-any-return]
    finally:
        self.imr = imr


def edge_not_cleared(original: Any, self: Pic, line: int) -> None:
    original(self, line)
    self.irr |= 1 << line


def to_next_line(original: Any, self: PicPair, line: int, level: bool) -> None:
    original(self, line + 1 if line >= 8 else line, level)


# ---- timers


def gate_ignored(original: Any, self: Channel, level: bool) -> None:
    original(self, True)


def one_shot_again(original: Any, self: ApicTimer) -> None:
    original(self)
    if self.mode is TimerMode.ONE_SHOT:
        self.start(100_000)


def deadline_early(original: Any, self: ApicTimer, value: int) -> None:
    original(self, 1 if value else 0)


def deadline_kept(original: Any, self: ApicTimer) -> None:
    value = self._deadline
    original(self)
    self._deadline = value


def mode_kept_running(self: ApicTimer, mode: Any) -> None:
    self.mode = mode


def masked_fires(original: Any, self: LocalApic, number: Register) -> None:
    lvt = self.lvt[number]
    self.lvt[number] = lvt.but(masked=0)
    original(self, number)
    self.lvt[number] = lvt


# ---- serial port


def sources(hide: InterruptId) -> How:
    original = Serial._source.fget  # type: ignore[attr-defined]

    def found(self: Serial) -> InterruptId:
        source = original(self)
        return InterruptId.NONE if source is hide else source

    return replaced(Serial, "_source", property(found))


def port(offset: int, change: Callable[[int], int]) -> How:
    def around(original: Any, self: Serial, at: int, size: int) -> int:
        value = int(original(self, at, size))
        return change(value) if at == offset else value

    return wrapped(Serial, "read", around)


def put(offset: int, change: Callable[[int], int]) -> How:
    def around(original: Any, self: Serial, at: int, size: int, value: int) -> None:
        original(self, at, size, change(value) if at == offset else value)

    return wrapped(Serial, "write", around)


def identified_stays(original: Any, self: Serial) -> int:
    kept = self._thr_empty
    value = int(original(self))
    self._thr_empty = kept
    self._update()
    return value


def out2_ignored(original: Any, self: Serial) -> None:
    mcr, self._mcr = self._mcr, self._mcr.but(out2=1)
    original(self)
    self._mcr = mcr


def dlab_ignored(original: Any, self: Serial, at: int, size: int, *rest: int) -> Any:
    lcr, self._lcr = self._lcr, self._lcr.but(dlab=0)
    try:
        return original(self, at, size, *rest)
    finally:
        if at != 3:
            self._lcr = lcr


def sent_out_of_loop(original: Any, self: Serial, value: int) -> None:
    original(self, value)
    if self._mcr.loop:
        self._transmit(value)


def not_emptied(original: Any, self: Serial, fcr: Any) -> None:
    received = list(self._received)
    original(self, fcr)
    self._received.extend(received)


def no_enable(original: Any, self: Serial, ier: Any) -> None:
    before = self._thr_empty
    original(self, ier)
    self._thr_empty = before


def no_reassert(original: Any, self: Serial, value: int) -> None:
    before = self._thr_empty
    original(self, value)
    self._thr_empty = before


# fmt: off
MUTANTS = (
    apic("lapic.order",        "The lowest vector that waits is taken first",              replaced(LocalApic, "acknowledge", lowest_first),  "int.lapic.order"),
    apic("lapic.eoi",          "EOI does nothing",                                         without(LocalApic, "_end_of_interrupt"),           "int.lapic.self_fixed"),
    apic("lapic.eoi_lowest",   "EOI ends the lowest vector in service",                    replaced(LocalApic, "_end_of_interrupt", ends_lowest), "int.lapic.eoi_order"),
    apic("lapic.eoi_not_told", "The I/O APIC does not hear of EOI",                        wrapped(LocalApic, "_end_of_interrupt", eoi_not_told), "int.ioapic.level"),
    apic("lapic.isr",          "A vector that was taken is not in ISR",                    wrapped(LocalApic, "acknowledge", in_service_not_set), "int.lapic.nonest"),
    apic("lapic.irr",          "A vector that was taken stays in IRR",                     wrapped(LocalApic, "acknowledge", requested_stays), "int.lapic.self_fixed"),
    apic("lapic.tpr",          "TPR holds nothing back",                                   deliverable(lambda self, vector: vector >> 4 > (self.isr.bit_length() - 1 >> 4 if self.isr else 0)), "int.lapic.tpr_block int.lapic.tpr_f"),
    apic("lapic.tpr_class",    "TPR holds back the classes below its own only",            deliverable(lambda self, vector: vector >> 4 >= self.tpr >> 4 and (not self.isr or vector >> 4 > self.isr.bit_length() - 1 >> 4)), "int.lapic.tpr_block"),
    apic("lapic.no_nesting",   "Nothing interrupts a handler before EOI",                  deliverable(lambda self, vector: not self.isr and vector >> 4 > self.tpr >> 4), "int.lapic.nest"),
    apic("lapic.same_class",   "A higher vector of the same class interrupts a handler",   deliverable(lambda self, vector: vector > max(self.isr.bit_length() - 1, self.tpr | 0xF if self.tpr else 0)), "int.lapic.nonest"),
    apic("lapic.ppr",          "PPR is TPR",                                               replaced(LocalApic, "ppr", property(lambda self: self.tpr)), "int.lapic.ppr"),
    apic("lapic.svr",          "An APIC that SVR disables takes interrupts",               wrapped(LocalApic, "accept", accepts_disabled),    "int.lapic.svr_off"),
    apic("lapic.self_ipi",     "IPIs are not sent",                                        without(LocalApics, "_send"),                      "int.lapic.self_fixed int.lapic.self_x2"),
    apic("lapic.messages",     "Messages are lost",                                        replaced(LocalApics, "signal_msi", lambda self, address, data: False), "int.lapic.msi_fixed"),
    apic("lapic.transitions",  "A mode that cannot be reached is not refused",             wrapped(LocalApic, "_set_base", transitions),      "int.apicmode.x2_to_x"),
    apic("lapic.x2apic",       "APIC_BASE does not keep EXTD",                             base(lambda self, new: new.but(extd=0)),           "int.apicmode.x_to_x2"),
    apic("lapic.off",          "The APIC cannot be switched off",                          base(lambda self, new: new.but(en=1)),             "int.apicmode.x_to_off"),
    apic("lapic.never_on",     "The APIC cannot be switched on again",                     base(lambda self, new: new.but(en=self.base.en and new.en)), "int.apicmode.off_to_x"),
    apic("lapic.extint",       "The 8259 reaches the processor though LINT0 is masked",    replaced(LocalApic, "extint", property(extint_always)), "int.pic.lint0"),

    apic("ioapic.masked",      "Entries do not keep the mask",                             wrapped(IoApic, "_set_register", entry_written),   "int.ioapic.rte_rw"),
    apic("ioapic.status",      "Delivery status reads 1",                                  wrapped(IoApic, "_register", read_only_bits),      "int.ioapic.rte_rw"),
    apic("ioapic.remote_irr",  "A level does not set remote IRR",                          wrapped(IoApic, "_deliver", no_remote_irr),        "int.ioapic.level"),
    apic("ioapic.edge",        "Every entry is level-triggered",                           wrapped(IoApic, "_set_register", always_level),    "int.ioapic.edge"),
    apic("ioapic.unmask",      "A level that came while masked is lost",                   wrapped(IoApic, "_set_register", not_while_masked), "int.ioapic.level_retrigger_mask"),
    apic("ioapic.held",        "A level that is held interrupts once",                     wrapped(IoApic, "eoi", not_while_held),            "int.ioapic.level_held"),
    apic("ioapic.line_lost",   "Lines do not reach the I/O APIC",                          without(IoApic, "set_line"),                       "int.ioapic.edge"),

    apic("pic.priority",       "Line 7 goes first",                                        replaced(Pic, "_most_urgent", rank_reversed),      "int.pic.prio"),
    apic("pic.base",           "ICW2 sets a vector 8 too high",                            wrapped(Pic, "_write_data", base_kept),            "int.pic.init"),
    apic("pic.mask",           "The mask does not count",                                  wrapped(Pic, "_candidate", imr_ignored),           "int.pic.imr"),
    apic("pic.mask_read",      "The mask reads inverted",                                  wrapped(Pic, "read", lambda original, self, offset, size: original(self, offset, size) ^ (0xFF if offset else 0)), "int.pic.imr_read"),
    apic("pic.eoi",            "EOI does nothing",                                         without(Pic, "_end"),                              "int.pic.eoi_ns"),
    apic("pic.edge",           "An edge that was taken stays",                             wrapped(Pic, "_serve", edge_not_cleared),          "int.pic.edge"),
    apic("pic.level",          "ELCR does nothing",                                        wrapped(Pic, "write_elcr", no_level),              "int.pic.level"),
    apic("pic.cascade",        "Lines of the slave are off by one",                        wrapped(PicPair, "set_line", to_next_line),        "int.pic.cascade"),

    apic("timer.one_shot",     "A one-shot timer starts again",                            wrapped(ApicTimer, "_end", one_shot_again),        "time.lapic.oneshot"),
    apic("timer.periodic",     "A periodic timer comes once",                              wrapped(ApicTimer, "_end", lambda original, self: (setattr(self, "initial", 0), original(self))[1]), "time.lapic.periodic"),
    apic("timer.count",        "The current count stands still",                           replaced(ApicTimer, "current", property(lambda self: self.initial if self._due else 0)), "time.lapic.tmcct_dec"),
    apic("timer.masked",       "A masked timer interrupts",                                wrapped(LocalApic, "_local", masked_fires),        "time.lapic.masked"),
    apic("timer.zero",         "An initial count of 0 does not stop the timer",            wrapped(ApicTimer, "start", lambda original, self, value: original(self, value) if value else None), "time.lapic.tmict0"),
    apic("timer.mode",         "A change of mode does not stop the timer",                 replaced(ApicTimer, "set_mode", mode_kept_running), "time.lapic.mode_to_dl"),
    apic("timer.early",        "A deadline comes at once",                wrapped(ApicTimer, "set_deadline", deadline_early), "time.lapic.dl_zero time.lapic.dl_fire"),
    apic("timer.deadline",     "TSC_DEADLINE is not 0 when it has come",                   wrapped(ApicTimer, "_await_deadline", deadline_kept), "time.lapic.dl_fire"),
    apic("timer.past",         "A deadline in the past never comes",                       wrapped(ApicTimer, "set_deadline", lambda original, self, value: original(self, value if not value or self._counter is None or value > self._counter.tsc() else 0)), "time.lapic.dl_past"),
    apic("timer.disarm",       "Writing 0 to TSC_DEADLINE does not disarm",                wrapped(ApicTimer, "set_deadline", lambda original, self, value: original(self, value) if value else None), "time.lapic.dl_zero"),
    apic("pit.count",          "The PIT counts up",                                        then(Channel, "value", lambda self, value: self._count - value), "time.pit.latch"),
    apic("pit.gate",           "The gate of channel 2 is always open",                     wrapped(Channel, "set_gate", gate_ignored),        "time.pit.gate2"),
    apic("pit.latch",          "A latched count goes on",                                  without(Channel, "latch"),                         "time.pit.latch"),
    apic("pit.out",            "OUT of the PIT is inverted",                               replaced(Channel, "out", property(lambda self, out=Channel.out.fget: not out(self))), "time.pit.out2"),  # type: ignore[attr-defined]
    apic("pit.once",           "The PIT interrupts once",                                  without(Pit, "_tick"),                             "time.pit.mode2"),
    apic("lines.lost",         "Lines do not reach any controller",                        without(UserIrqchip, "set_line"),                  "int.pic.prio"),

    uart("uart.thr_source",    "An empty transmitter does not interrupt",                  sources(InterruptId.THR_EMPTY),                    "serial.iir.thre"),
    uart("uart.data_source",   "A byte received does not interrupt",                       sources(InterruptId.DATA_AVAILABLE),               "serial.iir.rda"),
    uart("uart.timeout",       "A byte below the trigger level never interrupts",          sources(InterruptId.CHARACTER_TIMEOUT),            "serial.fifo.timeout"),
    uart("uart.identified",    "Reading IIR does not take the transmitter's interrupt back", wrapped(Serial, "_identify", identified_stays),  "serial.irq.level_drop"),
    uart("uart.reassert",      "A byte written to THR does not interrupt again",           wrapped(Serial, "_send", no_reassert),             "serial.iir.thre_reassert"),
    uart("uart.enable",        "Enabling the transmitter's interrupt does not raise it",   wrapped(Serial, "_enable", no_enable),             "serial.iir.thre"),
    uart("uart.out2",          "IRQ 4 does not need OUT2",                                 wrapped(Serial, "_update", out2_ignored),          "serial.irq.out2_gate"),
    uart("uart.none",          "IIR says 00 while nothing is pending",                     port(2, lambda value: value & ~1),                 "serial.iir.none"),
    uart("uart.fifo_bits",     "IIR does not show the FIFOs",                              port(2, lambda value: value & 0x3F),               "serial.fifo.enable_bits"),
    uart("uart.depth",         "The FIFO holds one byte less",                             replaced(Serial, "_depth", property(lambda self: 15 if self._fcr.enable else 1)), "serial.fifo.depth16"),
    uart("uart.endless",       "The FIFO has no end",                                      replaced(Serial, "_accept", lambda self, byte: self._received.append(byte)), "hostile.serial.fuzz", "hostile.serial.*"),
    uart("uart.not_emptied",   "FCR does not empty the FIFO",                              wrapped(Serial, "_control_fifo", not_emptied),     "serial.fifo.rx_clear"),
    uart("uart.dr",            "LSR does not show a byte",                                 port(5, lambda value: value & ~1),                 "serial.rbr.input"),
    uart("uart.busy",          "LSR shows the transmitter busy",                           port(5, lambda value: value & ~0x60),              "serial.lsr.thre_temt"),
    uart("uart.sent",          "Bytes sent have bit 0 inverted",                           wrapped(Serial, "_send", lambda original, self, value: original(self, value ^ 1)), "serial.thr.output serial.loop.data"),
    uart("uart.loop",          "In loop-back bytes leave as well",                         wrapped(Serial, "_send", sent_out_of_loop),        "serial.loop.data"),
    uart("uart.loop_modem",    "In loop-back MSR shows the line",                          port(6, lambda value: 0xB0),                       "serial.loop.modem"),
    uart("uart.scratch",       "The scratch register forgets a bit",                       put(7, lambda value: value & ~1),                  "serial.scr.rw"),
    uart("uart.ier",           "IER keeps bits that it has not",                           port(1, lambda value: value | 0x10),               "serial.ier.mask serial.ier.seabios_probe"),
    uart("uart.dlab",          "LCR.DLAB does nothing",                                    wrapped(Serial, "read", dlab_ignored),             "serial.dlab.divisor"),
    uart("uart.reset",         "LCR is not 0 after reset",                                 wrapped(Serial, "__init__", lambda original, self, *rest, **more: (original(self, *rest, **more), self.write(3, 1, 3))[0]), "serial.reset.values"),
)
# fmt: on
