"""The bus card (spec/bus_card.py): copies guest memory, interrupts by pin and by message, keeps words.

A copy is done at once; its data is written before the number of completed commands, and both before the interrupt.
"""
# ruff: noqa: E701 -- one register, one line

from __future__ import annotations

import struct
from collections import deque
from typing import Any

from virtproof.spec import bus_card as card
from virtproof.spec.bus_card import Command, Register, Status
from virtproof.vmm.pci.function import Bar, DmaError, Function, Identity, Msi, Msix

_ROM = b"\x55\xaa" + bytes(card.ROM_SIZE - 2)
_WIDE = (Register.SOURCE, Register.DESTINATION, Register.REPORT)


class BusCard:
    """``capable`` cards have MSI, MSI-X, their BAR and a ROM; others have none of them."""

    def __init__(self, *, capable: bool = True) -> None:
        identity = Identity(
            card.VENDOR, card.DEVICE, card.CLASS, card.REVISION, card.SUBSYSTEM_VENDOR, card.SUBSYSTEM, interrupt_pin=1
        )
        bars = [
            Bar(card.REGISTERS_BAR, card.REGISTERS_SIZE, "memory32", self),
            Bar(card.PORTS_BAR, card.PORTS_SIZE, "io", self),
        ]
        if capable:
            bars.append(Bar(card.MSIX_BAR, card.MSIX_SIZE, "memory64", None, prefetchable=True))
            msix = Msix(card.MSIX_VECTORS, card.MSIX_BAR, card.MSIX_TABLE, card.MSIX_PBA, card.MSIX_OFFSET)
            self.function = Function(identity, bars, rom=_ROM, msi=Msi(4, offset=card.MSI_OFFSET), msix=msix)
        else:
            self.function = Function(identity, bars)
        self.reset()

    def reset(self) -> None:
        self._words = dict.fromkeys(_WIDE, 0)
        self._scratch = self._length = self._completed = 0
        self._status = Status.NONE
        self._pin = False
        self._fifo: deque[int] = deque(maxlen=card.FIFO_DEPTH)

    # fmt: off
    def read(self, offset: int, size: int) -> int:
        at = offset & ~3
        return self._read(at) >> 8 * (offset - at) & (1 << 8 * size) - 1

    def _read(self, at: int) -> int:
        match at:
            case Register.SIGNATURE: return card.SIGNATURE
            case Register.SCRATCH:   return self._scratch
            case Register.LENGTH:    return self._length
            case Register.STATUS:    return self._status
            case Register.PIN:       return self._pin
            case Register.COMPLETED: return self._completed
            case Register.FIFO:      return self._fifo.popleft() if self._fifo else 0
            case _:
                wide = at & ~7
                return self._words[Register(wide)] >> 8 * (at - wide) & 0xFFFF_FFFF if wide in _WIDE else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4 or offset & 3:
            return
        match offset:
            case Register.SCRATCH: self._scratch = value
            case Register.LENGTH:  self._length = value
            case Register.COMMAND: self._do(value)
            case Register.PIN:     self._set_pin(bool(value & 1))
            case Register.MESSAGE: self.function.send_message(value & 0xFF)
            case Register.FIFO if len(self._fifo) < card.FIFO_DEPTH: self._fifo.append(value)
            case _:
                wide = offset & ~7
                if wide in _WIDE:
                    shift = 8 * (offset - wide)
                    old = self._words[Register(wide)]
                    self._words[Register(wide)] = old & ~(0xFFFF_FFFF << shift) | value << shift
    # fmt: on

    def state(self) -> dict[str, Any]:
        return {
            "words": list(self._words.values()),
            "others": [self._scratch, self._length, self._completed, int(self._status)],
            "pin": self._pin,
            "fifo": list(self._fifo),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        words = _unsigned(state["words"], 64)
        scratch, length, completed, status = _unsigned(state["others"], 32)
        fifo = _unsigned(state["fifo"], 32)[: card.FIFO_DEPTH]
        self._status = Status(status)
        self._words = dict(zip(_WIDE, words, strict=True))
        self._scratch, self._length, self._completed = scratch, length, completed
        self._pin, self._fifo = bool(state["pin"]), deque(fifo, card.FIFO_DEPTH)

    def _set_pin(self, level: bool) -> None:
        self._pin = level
        self.function.set_intx(level)

    def _do(self, command: int) -> None:
        if not command & (Command.COPY | Command.COPY_DESCRIBED):
            return
        source, destination, report = self._words.values()
        length = self._length
        try:
            if command & Command.COPY_DESCRIBED:
                source, destination, length = struct.unpack("<3Q", self.function.dma_read(source, 24))
            self.function.dma_write(destination, self.function.dma_read(source, length))
            self._status = Status.DONE
        except DmaError:
            self._status = Status.REFUSED
        self._completed = self._completed + 1 & 0xFFFF_FFFF
        if report:
            try:
                self.function.dma_write(report, self._completed.to_bytes(4, "little"))
            except DmaError:
                self._status = Status.REFUSED
        if command & Command.PIN:
            self._set_pin(True)
        if command & Command.MESSAGE:
            self.function.send_message(command >> 8 & 0xFF)


def _unsigned(values: list[int], width: int) -> list[int]:
    if not all(type(value) is int and 0 <= value < 1 << width for value in values):
        raise ValueError(f"not numbers of {width} bits: {values!r}")
    return list(values)
