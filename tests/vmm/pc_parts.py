"""The platform of a PC with neither an engine nor a processor: a bus, memory as bytes, and lines that are recorded."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

from virtproof.vmm.backing import GuestMemoryError
from virtproof.vmm.board import Board
from virtproof.vmm.bus import Bus
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.machine import Machine
from virtproof.vmm.platform import Platform

RAM = 1 << 20


class Memory:
    """RAM from 0 up; everything else is out of reach."""

    def __init__(self, size: int = RAM) -> None:
        self.data = bytearray(size)
        self.written = 0  # bytes

    def read(self, gpa: int, length: int) -> bytes:
        self._check(gpa, length)
        return bytes(self.data[gpa : gpa + length])

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        self._check(gpa, len(data))
        self.data[gpa : gpa + len(data)] = data
        self.written += len(data)

    def _check(self, gpa: int, length: int) -> None:
        if not 0 <= gpa <= gpa + length <= len(self.data):
            raise GuestMemoryError(f"reach {length:#x} bytes at {gpa:#x}", "no memory")


class Parts:
    """A ``Platform`` and what it did."""

    def __init__(self, **more: Any) -> None:
        self.clock, self.bus, self.memory = ManualClock(), Bus(), Memory()
        self.loop = EventLoop(self.clock)
        self.levels: dict[int, bool] = {}
        self.asked: list[str] = []
        interrupts = SimpleNamespace(set_line=self._set_line, send_msi=lambda address, data: None)
        machine = SimpleNamespace(
            bus=self.bus, memory=self.memory, interrupts=interrupts, vcpus=(None,), wire_timer=lambda: None
        )
        self.platform = Platform(
            Board(cast(Machine, machine)),
            ram=64 << 20,
            start=datetime(2026, 11, 22),
            reset_machine=lambda: self.asked.append("reset"),
            sleep=lambda kind: self.asked.append(f"sleep {kind}"),
            exit_machine=lambda status: self.asked.append("exit"),
            after=self.loop.after,
            now=self.clock.now,
            **more,
        )

    def elapse(self, ns: int) -> None:
        self.clock.advance(ns)
        self.loop.poll()

    def _set_line(self, gsi: int, level: bool) -> None:
        self.levels[gsi] = level
