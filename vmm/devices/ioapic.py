"""I/O APIC with 24 pins: Intel 82093AA data sheet, with the EOI register of version 20H.

Omitted: a line says whether the interrupt is asserted, so the polarity bit is kept and makes no difference; delivery is
instant, so delivery status is never seen set; an entry for ExtINT, SMI or INIT sends its message like any other, and
the one who is sent it decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtproof.spec import ioapic as spec
from virtproof.spec.ioapic import PINS, Entry, Version
from virtproof.spec.x86.apic import MsiAddress, MsiData

_MASKED = Entry(0).but(masked=1)


class IoApic:
    """One page of registers; ``send`` takes a message, address and data, and says whether anybody accepted it.

    ``ended`` is told of each pin whose level-triggered interrupt was ended.

    >>> from virtproof.vmm.devices.ioapic import IoApic
    >>> ioapic = IoApic(send=lambda address, data: print(hex(address), hex(data)) is None)
    >>> for offset, value in ((0, 0x18), (0x10, 0x60)): ioapic.write(offset, 4, value)  # pin 4, vector 60H
    >>> ioapic.set_line(4, True)
    0xfee00000 0x4060
    """

    def __init__(
        self, send: Callable[[int, int], bool], ended: Callable[[int], None] = lambda pin: None, *, apic_id: int = 0
    ) -> None:
        self._send, self._ended = send, ended
        self.id = apic_id
        self.select = 0
        self.entries = [_MASKED] * PINS
        self.lines = 0  # asserted, a bit each

    def set_line(self, pin: int, level: bool) -> None:
        bit = 1 << pin
        rose = level and not self.lines & bit
        self.lines = self.lines | bit if level else self.lines & ~bit
        if rose:
            self._deliver(pin)

    def eoi(self, vector: int) -> None:
        """A local APIC, or the guest by the EOI register, has ended level-triggered interrupts of ``vector``."""
        for pin, entry in enumerate(self.entries):
            if entry.vector == vector and entry.level and entry.remote_irr:
                self.entries[pin] = entry.but(remote_irr=0)
                self._ended(pin)
                if self.lines & 1 << pin:
                    self._deliver(pin)

    def read(self, offset: int, size: int) -> int:
        if offset & 0xF:
            return 0  # the registers are 32 bits wide, 16 bytes apart
        match offset:
            case spec.SELECT:
                return self.select
            case spec.WINDOW:
                return self._register(self.select)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size > 4:
            value &= 0xFFFF_FFFF
        match offset:
            case spec.SELECT:
                self.select = value & 0xFF
            case spec.WINDOW if size >= 4:
                self._set_register(self.select, value)
            case spec.EOI:
                self.eoi(value & 0xFF)

    def state(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "select": self.select,
            "lines": self.lines,
            "entries": [int(entry) for entry in self.entries],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        identity, select = bytes([state["id"], state["select"]])
        lines, entries = state["lines"], list(state["entries"])
        if not all(type(number) is int and number >= 0 for number in (lines, *entries)):
            raise TypeError(f"lines {lines!r}, or an entry")
        if lines >> PINS or len(entries) != PINS or any(entry & ~Entry.KNOWN for entry in entries):
            raise ValueError(f"lines {lines:#x}, {len(entries)} entries, or bits that have no meaning")
        self.id, self.select, self.lines, self.entries = identity & 0xF, select, lines, [Entry(e) for e in entries]

    def _register(self, index: int) -> int:
        match index:
            case spec.ID | spec.ARBITRATION:
                return self.id << 24
            case spec.VERSION:
                return Version(0).but(version=spec.VERSION_NUMBER, max_entry=PINS - 1)
        pin, high = divmod(index - spec.TABLE, 2)
        if not 0 <= pin < PINS:
            return 0
        return int(self.entries[pin]) >> (32 if high else 0) & 0xFFFF_FFFF

    def _set_register(self, index: int, value: int) -> None:
        if index == spec.ID:
            self.id = value >> 24 & 0xF
        pin, high = divmod(index - spec.TABLE, 2)
        if not 0 <= pin < PINS:
            return
        before = int(self.entries[pin])
        words = before & 0xFFFF_FFFF | value << 32 if high else before & ~0xFFFF_FFFF | value
        entry = Entry(words & spec.WRITABLE | before & Entry.remote_irr.mask)
        if not entry.level:
            entry = entry.but(remote_irr=0)  # an edge has none: software that switches to edge ends it so
        self.entries[pin] = entry
        if entry.level and self.lines & 1 << pin:
            self._deliver(pin)

    def _deliver(self, pin: int) -> None:
        """Send the pin's message: an edge that has just come, or a level that nobody has accepted yet."""
        entry = self.entries[pin]
        if entry.masked or (entry.level and entry.remote_irr):
            return
        address = MsiAddress(MsiAddress.BASE).but(destination=entry.destination, logical=entry.logical)
        data = MsiData(0).but(vector=entry.vector, delivery=entry.delivery, level=entry.level, asserted=1)
        if entry.level:  # before it is sent: who takes it may end it at once
            self.entries[pin] = entry.but(remote_irr=1)
        if not self._send(address, data) and entry.level:
            self.entries[pin] = self.entries[pin].but(remote_irr=0)
