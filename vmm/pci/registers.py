"""The 256 bytes of a function's configuration space: what each bit does when it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from virtproof.spec.pci import CONFIG_SIZE
from virtproof.vmm.bus import Device


class _Part(NamedTuple):
    start: int
    end: int
    written: Callable[[int], None]


class _Window(NamedTuple):
    start: int
    end: int
    device: Device


class ConfigRegisters:
    """Bytes with a mask of the bits that can be written and one of those that a written one clears."""

    def __init__(self) -> None:
        self._values = bytearray(CONFIG_SIZE)
        self._reset = bytes(CONFIG_SIZE)
        self._writable = bytearray(CONFIG_SIZE)
        self._clears = bytearray(CONFIG_SIZE)
        self._parts: list[_Part] = []
        self._windows: list[_Window] = []

    def add(
        self,
        offset: int,
        size: int,
        value: int = 0,
        *,
        writable: int = 0,
        write_one_clears: int = 0,
        written: Callable[[int], None] | None = None,
    ) -> None:
        """Lay out a register; ``written`` gets its value after each write that touches it."""
        end = offset + size
        for store, number in ((self._values, value), (self._writable, writable), (self._clears, write_one_clears)):
            store[offset:end] = number.to_bytes(size, "little")
        self._reset = bytes(self._values)
        if written is not None:
            self._parts.append(_Part(offset, end, written))

    def add_window(self, offset: int, length: int, device: Device) -> None:
        """Let accesses that lie in this range go to ``device``."""
        self._windows.append(_Window(offset, offset + length, device))

    def get(self, offset: int, size: int) -> int:
        return int.from_bytes(self._values[offset : offset + size], "little")

    def put(self, offset: int, size: int, value: int) -> None:
        """Change a register as the function itself."""
        self._values[offset : offset + size] = value.to_bytes(size, "little")

    def read(self, offset: int, size: int) -> int:
        for window in self._windows:
            if window.start <= offset and offset + size <= window.end:
                return window.device.read(offset - window.start, size)
        return self.get(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        for window in self._windows:
            if window.start <= offset and offset + size <= window.end:
                window.device.write(offset - window.start, size, value)
                return
        end = offset + size
        for at in range(offset, min(end, CONFIG_SIZE)):
            new = value >> 8 * (at - offset) & 0xFF
            kept = self._values[at] & ~self._writable[at] & ~(new & self._clears[at])
            self._values[at] = kept | new & self._writable[at]
        for start, stop, written in self._parts:
            if offset < stop and start < end:
                written(self.get(start, stop - start))

    def reset(self) -> None:
        """Back to the values the registers were added with."""
        self._values[:] = self._reset

    def state(self) -> str:
        return self._values.hex()

    def restore(self, state: str) -> None:
        """Take what ``state`` gave; bits that nobody can write stay as they are.  Raises ValueError for other sizes."""
        values = bytes.fromhex(state)
        if len(values) != CONFIG_SIZE:
            raise ValueError(f"{len(values)} bytes of configuration space")
        for at, new in enumerate(values):
            changes = self._writable[at] | self._clears[at]
            self._values[at] = self._values[at] & ~changes | new & changes
