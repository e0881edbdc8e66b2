"""Local APIC, as xAPIC and x2APIC: Intel SDM vol. 3A, "Advanced Programmable Interrupt Controller (APIC)".

Omitted: SMIs; the APIC bus and its errors; LVT CMCI; the sources of LVT thermal and performance; focus processors.
Delivery is instant, so delivery status is never seen set.
"""
# ruff: noqa: E701 -- one register, one line

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from virtproof.spec.x86 import apic as spec
from virtproof.spec.x86.apic import (
    LVT_FIELDS,
    Delivery,
    Divide,
    Esr,
    Icr,
    Lvt,
    Register,
    Shorthand,
    Svr,
    TimerMode,
    Version,
)
from virtproof.spec.x86.msr import X2APIC_MSRS, ApicBase, Msr

_WORD = 0xFFFF_FFFF
_MASKED = Lvt(0).but(masked=1)
_VERSION = Version(0).but(version=spec.VERSION_NUMBER, max_lvt=len(LVT_FIELDS) - 1, directed=1)
_LINTS = Register.LVT_LINT0, Register.LVT_LINT1
_BITMAPS = Register.ISR, Register.TMR, Register.IRR


class CountsDown(Protocol):
    """The timer: ``vmm.devices.apic_timer.ApicTimer``."""

    expired: Callable[[], None]
    initial: int
    divide: Divide

    @property
    def current(self) -> int: ...
    @property
    def deadline(self) -> int: ...
    def set_mode(self, mode: TimerMode) -> None: ...
    def set_divide(self, divide: Divide) -> None: ...
    def start(self, count: int) -> None: ...
    def set_deadline(self, value: int) -> None: ...
    def reset(self) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class LocalApic:
    """The APIC of one processor.

    ``send`` delivers an interrupt command, to this APIC too; its destination is a whole word in x2APIC mode and one
    byte else.  ``ended`` broadcasts the EOI of a level-triggered vector.  ``signal`` is told what the processor gets
    past IRR: NMI, INIT, or STARTUP with its vector.  ``asks`` is called when ``pending`` becomes true.  ``x2apic``,
    ``tsc_deadline`` and ``physical_bits`` are what CPUID offers.
    """

    def __init__(
        self,
        timer: CountsDown,
        *,
        send: Callable[[Icr], None],
        ended: Callable[[int], None] = lambda vector: None,
        signal: Callable[[Delivery, int], None] = lambda delivery, vector: None,
        asks: Callable[[], None] = lambda: None,
        apic_id: int = 0,
        bsp: bool = True,
        x2apic: bool = True,
        tsc_deadline: bool = True,
        physical_bits: int = 52,
    ) -> None:
        self.timer = timer
        timer.expired = lambda: self._local(Register.LVT_TIMER)
        self._send, self._ended, self._signal, self._asks = send, ended, signal, asks
        self._initial_id = apic_id
        self.x2apic, self.tsc_deadline, self.physical_bits = x2apic, tsc_deadline, physical_bits
        self.base = ApicBase(spec.BASE).but(en=1, bsp=bsp)
        self.lint = [False, False]
        self.pending = False  # an interrupt waits that the processor would take with IF set
        self.reset()

    def reset(self) -> None:
        """Power-up and INIT, which leave IA32_APIC_BASE alone: "Local APIC State After Power-Up or Reset"."""
        self.id = self._initial_id & 0xFF
        self.tpr = self.irr = self.isr = self.tmr = self.ldr = 0
        self.dfr = _WORD
        self.svr, self.icr = Svr(0xFF), Icr(0)
        self.esr = self.errors = Esr(0)
        self.lvt = dict.fromkeys(LVT_FIELDS, _MASKED)
        self.timer.reset()
        self._update()

    # ---- the processor's side

    @property
    def x2(self) -> bool:
        return self.base.extd

    @property
    def page(self) -> int:
        """Guest-physical address of the registers; -1 where none answers."""
        return self.base.base << 12 if self.base.en and not self.base.extd else -1

    @property
    def cr8(self) -> int:
        return self.tpr >> 4

    @cr8.setter
    def cr8(self, value: int) -> None:
        self.tpr = (value & 0xF) << 4
        self._update()

    @property
    def ppr(self) -> int:
        service = self.isr.bit_length() - 1 & 0xF0 if self.isr else 0
        return self.tpr if self.tpr & 0xF0 >= service else service

    @property
    def apr(self) -> int:
        """Arbitration priority: who has the lowest gets interrupts of lowest-priority delivery."""
        service, request = (max(of.bit_length() - 1, 0) & 0xF0 for of in (self.isr, self.irr))
        task = self.tpr & 0xF0
        return self.tpr if task >= request and task > service else max(task, service, request)

    @property
    def extint(self) -> bool:
        """Does LINT0 bring an interrupt whose vector the 8259A has?  Without the APIC it is the processor's INTR."""
        if not self.lint[0]:
            return False
        entry = self.lvt[Register.LVT_LINT0]
        return not self.base.en or (not entry.masked and entry.delivery == Delivery.EXTINT)

    def acknowledge(self) -> int:
        """Put the most urgent vector in service and return it; the spurious vector where none may be taken."""
        if not self._deliverable:
            return self.svr.vector
        vector = self.irr.bit_length() - 1
        self.irr &= ~(1 << vector)
        self.isr |= 1 << vector
        self._update()
        return vector

    def read_msr(self, index: int) -> int | None:
        match index:
            case Msr.IA32_APIC_BASE:
                return self.base
            case Msr.IA32_TSC_DEADLINE:
                return self.timer.deadline if self.tsc_deadline else None
        number = index - spec.X2APIC
        if index not in X2APIC_MSRS or not self.x2 or number not in spec.READABLE:
            return None
        return int(self.icr) if number == Register.ICR else self._get(number)

    def write_msr(self, index: int, value: int) -> bool:
        match index:
            case Msr.IA32_APIC_BASE:
                return self._set_base(ApicBase(value))
            case Msr.IA32_TSC_DEADLINE:
                if self.tsc_deadline:
                    self.timer.set_deadline(value)
                return self.tsc_deadline
        number = index - spec.X2APIC
        allowed = spec.X2APIC_WRITABLE.get(Register(number)) if number in spec.X2APIC_WRITABLE else None
        if not self.x2 or allowed is None or value & ~allowed:
            return False
        self._set(Register(number), value)
        return True

    def read(self, offset: int, size: int) -> int:
        """Load from the page: registers are 32 bits wide, 16 bytes apart."""
        number, at = offset >> 4, offset & 0xF
        if number not in spec.XAPIC_READABLE:
            self._error(Esr(0).but(register=1))
            return 0
        return self._get(number) >> 8 * at & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to the page: whole registers only."""
        number = offset >> 4
        if offset & 0xF or size < 4:
            return
        if number in spec.XAPIC_WRITABLE:
            self._set(Register(number), value & spec.XAPIC_WRITABLE[Register(number)])
        elif number not in spec.XAPIC_READABLE:
            self._error(Esr(0).but(register=1))

    # ---- the outside

    def accept(self, delivery: Delivery, vector: int, *, level: bool = False) -> bool:
        """Take an interrupt from a message or an IPI; say whether it was taken."""
        if not self.base.en:
            return False
        match delivery:
            case Delivery.FIXED | Delivery.LOWEST:
                return self.svr.enabled and self._request(vector, level)
            case Delivery.NMI | Delivery.INIT | Delivery.STARTUP:
                self._signal(delivery, vector)
                return True
        return False

    def is_destination(self, destination: int, *, logical: bool, short: bool) -> bool:
        """Is it this APIC that a destination names?  ``short``: the destination is one byte, as in messages."""
        everybody = destination == spec.BROADCAST if short else destination == spec.X2APIC_BROADCAST
        if everybody or not self.base.en:
            return everybody
        if not logical:
            return destination == (self._initial_id if self.x2 else self.id)
        if self.x2:
            mine = self._logical_id
            return destination >> 16 == mine >> 16 and bool(destination & mine & 0xFFFF)
        mine = self.ldr >> 24
        if self.dfr >> 28 == spec.CLUSTER:
            return destination >> 4 == mine >> 4 and bool(destination & mine & 0xF)
        return bool(destination & mine & 0xFF)

    def set_lint(self, number: int, level: bool) -> None:
        """Drive LINT0 or LINT1."""
        rose = level and not self.lint[number]
        self.lint[number] = level
        entry = self.lvt[_LINTS[number]]
        if level and (rose or entry.level):
            self._lint(number)
        self._update()

    def state(self) -> dict[str, Any]:
        words = "base", "id", "tpr", "irr", "isr", "tmr", "ldr", "dfr", "svr", "icr", "esr", "errors"
        return {
            **{name: f"{int(getattr(self, name)):x}" for name in words},
            "lvt": [int(entry) for entry in self.lvt.values()],
            "lint": list(self.lint),
            "timer": self.timer.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""

        def word(name: str, width: int) -> int:
            value = int(state[name], 16)
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} = {value:#x}")
            return value

        base = ApicBase(word("base", 64))
        if not self._valid(base):
            raise ValueError(f"{base}")
        lvt = [Lvt(entry & fields) for entry, fields in zip(state["lvt"], LVT_FIELDS.values(), strict=True)]
        lint0, lint1 = map(bool, state["lint"])
        self.base, self.lint = base, [lint0, lint1]
        self.id, self.tpr = word("id", 8), word("tpr", 8)
        self.irr, self.isr, self.tmr = (word(name, 256) & ~0xFFFF for name in ("irr", "isr", "tmr"))
        self.ldr, self.dfr = word("ldr", 32) & 0xFF << 24, word("dfr", 32) | 0x0FFF_FFFF
        self.svr, self.icr = Svr(word("svr", 32) & Svr.KNOWN), Icr(word("icr", 64) & Icr.KNOWN)
        self.esr, self.errors = (Esr(word(name, 32) & Esr.KNOWN) for name in ("esr", "errors"))
        self.lvt = dict(zip(LVT_FIELDS, lvt, strict=True))
        self.timer.restore(state["timer"])
        self._update()

    # ---- registers

    @property
    def _logical_id(self) -> int:
        """LDR in x2APIC mode."""
        return (self._initial_id >> 4) << 16 | 1 << (self._initial_id & 0xF)

    # fmt: off
    def _get(self, number: int) -> int:
        for bitmap, of in zip(_BITMAPS, (self.isr, self.tmr, self.irr), strict=True):
            if bitmap <= number < bitmap + 8:
                return of >> 32 * (number - bitmap) & _WORD
        match number:
            case Register.ID:            return self._initial_id if self.x2 else self.id << 24
            case Register.VERSION:       return _VERSION
            case Register.TPR:           return self.tpr
            case Register.APR:           return self.apr
            case Register.PPR:           return self.ppr
            case Register.LDR:           return self._logical_id if self.x2 else self.ldr
            case Register.DFR:           return self.dfr
            case Register.SVR:           return self.svr
            case Register.ESR:           return self.esr
            case Register.ICR:           return int(self.icr) & _WORD
            case Register.ICR_HIGH:      return int(self.icr) >> 32
            case Register.INITIAL_COUNT: return self.timer.initial
            case Register.CURRENT_COUNT: return self.timer.current
            case Register.DIVIDE:        return self.timer.divide
            case _:                      return self.lvt.get(Register(number), 0)

    def _set(self, number: Register, value: int) -> None:
        match number:
            case Register.ID:            self.id = value >> 24
            case Register.TPR:           self.tpr = value
            case Register.EOI:           self._end_of_interrupt()
            case Register.LDR:           self.ldr = value
            case Register.DFR:           self.dfr = value | 0x0FFF_FFFF
            case Register.SVR:           self._set_svr(Svr(value))
            case Register.ESR:           self.esr, self.errors = self.errors, Esr(0)
            case Register.ICR:           self._command(Icr(value if self.x2 else int(self.icr) & ~_WORD | value))
            case Register.ICR_HIGH:      self.icr = Icr(int(self.icr) & _WORD | value << 32)
            case Register.INITIAL_COUNT: self.timer.start(value)
            case Register.DIVIDE:        self.timer.set_divide(Divide(value))
            case Register.SELF_IPI:      self._command(Icr(value).but(shorthand=Shorthand.SELF, asserted=1))
            case _:                      self._set_lvt(number, Lvt(value))
        self._update()
    # fmt: on

    def _set_svr(self, value: Svr) -> None:
        self.svr = value
        if not value.enabled:
            self.lvt = {number: entry.but(masked=1) for number, entry in self.lvt.items()}

    def _set_lvt(self, number: Register, entry: Lvt) -> None:
        before = self.lvt[number]
        entry = entry.but(busy=0, remote_irr=before.remote_irr if entry.level else 0)
        self.lvt[number] = entry if self.svr.enabled else entry.but(masked=1)
        if number == Register.LVT_TIMER:
            self.timer.set_mode(TimerMode(entry.mode) if entry.mode in tuple(TimerMode) else TimerMode.ONE_SHOT)
        elif number in _LINTS and entry.level and self.lint[_LINTS.index(number)]:
            self._lint(_LINTS.index(number))

    def _valid(self, base: ApicBase) -> bool:
        possible = (base.en and self.x2apic) or not base.extd
        return possible and not base.reserved and not base >> self.physical_bits

    def _set_base(self, new: ApicBase) -> bool:
        """Change the mode: "x2APIC State Transitions"."""
        old = self.base
        x2_to_x = old.extd and new.en and not new.extd
        off_to_x2 = not old.en and new.extd
        if not self._valid(new) or x2_to_x or off_to_x2:
            return False
        self.base = new
        if old.en != new.en:
            self.reset()
        elif new.extd and not old.extd:
            self.icr = Icr(int(self.icr) & _WORD)
        self._update()
        return True

    # ---- interrupts

    @property
    def _deliverable(self) -> bool:
        return self.base.en and self.irr != 0 and self.irr.bit_length() - 1 >> 4 > self.ppr >> 4

    def _update(self) -> None:
        pending = self._deliverable or self.extint
        rose = pending and not self.pending
        self.pending = pending
        if rose:
            self._asks()

    def _request(self, vector: int, level: bool) -> bool:
        if vector < spec.LOWEST_VECTOR:
            self._error(Esr(0).but(receive_vector=1))
            return False
        bit = 1 << vector
        self.irr |= bit
        self.tmr = self.tmr | bit if level else self.tmr & ~bit
        self._update()
        return True

    def _end_of_interrupt(self) -> None:
        if not self.isr:
            return
        vector = self.isr.bit_length() - 1
        self.isr &= ~(1 << vector)
        if self.tmr >> vector & 1:
            for number, register in enumerate(_LINTS):
                entry = self.lvt[register]
                if entry.remote_irr and entry.vector == vector:
                    self.lvt[register] = entry.but(remote_irr=0)
                    if self.lint[number]:
                        self._lint(number)
            if not self.svr.directed:
                self._ended(vector)

    def _command(self, command: Icr) -> None:
        self.icr = command.but(busy=0)
        delivery = command.delivery
        if delivery in (Delivery.FIXED, Delivery.LOWEST) and command.vector < spec.LOWEST_VECTOR:
            self._error(Esr(0).but(send_vector=1))
        elif delivery != Delivery.INIT or command.asserted or not command.level:  # INIT de-assert is for old APICs
            self._send(self.icr)

    def _local(self, number: Register) -> None:
        """An interrupt of the APIC's own."""
        entry = self.lvt[number]
        if not entry.masked:
            self.accept(Delivery(entry.delivery), entry.vector)

    def _lint(self, number: int) -> None:
        """LINT0 or LINT1 is active: an edge that has just come, or a level."""
        entry = self.lvt[_LINTS[number]]
        if entry.masked or entry.remote_irr or not self.base.en:
            return
        level = entry.level and entry.delivery == Delivery.FIXED
        if self.accept(Delivery(entry.delivery), entry.vector, level=level) and level:
            self.lvt[_LINTS[number]] = entry.but(remote_irr=1)

    def _error(self, error: Esr) -> None:
        if not self.errors & error:
            self.errors = Esr(self.errors | error)
            self._local(Register.LVT_ERROR)
