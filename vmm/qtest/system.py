"""A PC without processors: memory, bus and devices, and a clock that stands still until it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from virtproof.vmm.board import Board
from virtproof.vmm.bus import Bus
from virtproof.vmm.engine import Memory
from virtproof.vmm.events import EventLoop, ManualClock, Timer
from virtproof.vmm.machine import HIGH_START, LOW_END
from virtproof.vmm.memory import GuestMemory, GuestMemoryError
from virtproof.vmm.platform import Platform

LINES = 24
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
ROUNDS = 64  # of devices that ask for "at once" again and again


class Slots:
    """A virtual machine that only has memory."""

    def set_slot(
        self, slot: int, gpa: int, memory: Memory, *, read_only: bool = False, log_dirty: bool = False
    ) -> None: ...

    def delete_slot(self, slot: int) -> None: ...

    def memory_written(self, gpa: int, length: int) -> None: ...


class Lines:
    """An interrupt sink that tells of each change of a line; messages are counted by nobody."""

    def __init__(self) -> None:
        self.changed: Callable[[int, bool], None] = lambda gsi, level: None
        self._high: set[int] = set()

    def set_line(self, gsi: int, level: bool) -> None:
        if level != (gsi in self._high):
            (self._high.add if level else self._high.discard)(gsi)
            self.changed(gsi, level)

    def send_msi(self, address: int, data: int) -> None: ...

    def on_eoi(self, gsi: int, callback: Callable[[], None]) -> None: ...

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


class System:
    """What ``Board`` and ``Platform`` want of a machine, with ``ram`` bytes of memory."""

    def __init__(self, ram: int) -> None:
        self.memory = GuestMemory(Slots())
        self.memory.add(0, min(ram, LOW_END))
        if ram > LOW_END:
            self.memory.add(HIGH_START, ram - LOW_END)
        self.clock = ManualClock()
        self.events = EventLoop(self.clock)
        self.bus = Bus()
        self.interrupts = Lines()
        self.vcpus: Sequence[object] = (object(),)  # one is told of in fw_cfg and CMOS
        self.board = Board(self)
        self.platform = Platform(self.board, ram=ram, start=EPOCH)

    def after(self, ns: int, callback: Callable[[], None]) -> Timer:
        return self.events.after(ns, callback)

    def wire_timer(self) -> None:
        """There is no timer."""

    def settle(self) -> None:
        """Let devices do what is due at this moment."""
        for _ in range(ROUNDS):
            due = self.events.next_deadline()
            if due is None or due > self.clock.now():
                break
            self.events.poll()

    def step(self, ns: int | None = None) -> None:
        """Let time pass: ``ns``, or up to the next timer; every timer on the way sees its own moment."""
        self.settle()
        due = self.events.next_deadline()
        end = self.clock.now() + ns if ns is not None else (due if due is not None else self.clock.now())
        while (due := self.events.next_deadline()) is not None and due <= end:
            self.clock.advance(max(0, due - self.clock.now()))
            self.events.poll()
        self.clock.advance(end - self.clock.now())
        self.settle()

    def read(self, address: int, length: int) -> bytes:
        """Read as a processor would: RAM, else devices in pieces of 8 bytes."""
        try:
            return self.memory.read(address, length)
        except GuestMemoryError:
            pieces = range(0, length, 8)
            return b"".join(
                self.bus.mmio_read(address + at, min(8, length - at)).to_bytes(min(8, length - at), "little")
                for at in pieces
            )

    def write(self, address: int, data: bytes) -> None:
        """Write as a processor would."""
        try:
            self.memory.write(address, data)
        except GuestMemoryError:
            for at in range(0, len(data), 8):
                piece = data[at : at + 8]
                self.bus.mmio_write(address + at, len(piece), int.from_bytes(piece, "little"))

    def close(self) -> None:
        self.events.close()
        self.memory.close()

    def reset(self) -> None:
        """What system_reset does."""
        self.board.reset()
        self.platform.reset()
