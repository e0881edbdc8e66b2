"""Guest memory: anonymous mappings as slots, and the only way in which devices may reach them."""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from virtproof.spec.fault import Fault
from virtproof.vmm.engine import Memory

PAGE = mmap.PAGESIZE
PHYSICAL_ADDRESSES = 1 << 52


class GuestMemoryError(Fault):
    """An access to guest-physical addresses that no slot, or only a read-only slot, backs."""


class AnonymousMemory:
    """Zeroed pages of this process; memory is taken from the host only as pages are touched."""

    def __init__(self, size: int) -> None:
        if size <= 0 or size % PAGE:
            raise GuestMemoryError(
                "make guest memory", f"{size:#x} bytes is not a multiple of {PAGE}", "use whole pages"
            )
        self.size = size
        try:
            self._pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as err:
            raise GuestMemoryError(f"map {size:#x} bytes of guest memory", str(err.strerror), "use less") from err
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self.view = memoryview(self._pages)

    def close(self) -> None:
        """Unmap the pages.  A view that somebody still holds keeps them mapped until it is dropped."""
        self.view.release()
        with suppress(BufferError):  # the mapping goes with the last view of it
            self._pages.close()


@dataclass(frozen=True, slots=True)
class Slot:
    """A guest-physical range and what backs it."""

    number: int
    gpa: int
    memory: AnonymousMemory
    read_only: bool = False
    log_dirty: bool = False

    @property
    def end(self) -> int:
        return self.gpa + self.memory.size


class SlotTable(Protocol):
    """The part of ``engine.Vm`` that has slots."""

    def set_slot(
        self, slot: int, gpa: int, memory: Memory, *, read_only: bool = False, log_dirty: bool = False
    ) -> None: ...
    def delete_slot(self, slot: int) -> None: ...


class GuestMemory:
    """The slots of one VM.

    ``read`` and ``write`` are what devices use: they cross from slot to slot, respect read-only slots and raise
    GuestMemoryError, with nothing written, where any byte is out of reach.  ``load`` is the monitor's own write: it
    fills read-only slots too.
    """

    def __init__(self, vm: SlotTable) -> None:
        self._vm = vm
        self._slots: list[Slot] = []  # by address
        self._starts: list[int] = []
        self._owned: list[AnonymousMemory] = []

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(self._slots)

    def add(self, gpa: int, size: int, *, read_only: bool = False, log_dirty: bool = False) -> Slot:
        """Make fresh zeroed memory and put it at ``gpa``."""
        memory = AnonymousMemory(size)
        self._owned.append(memory)
        return self.map(gpa, memory, read_only=read_only, log_dirty=log_dirty)

    def map(self, gpa: int, memory: AnonymousMemory, *, read_only: bool = False, log_dirty: bool = False) -> Slot:
        """Put existing memory at ``gpa``; the same memory may be mapped more than once."""
        tried = f"map a slot at {gpa:#x}"
        if gpa % PAGE or not 0 <= gpa <= PHYSICAL_ADDRESSES - memory.size:
            raise GuestMemoryError(tried, "not a page-aligned guest-physical address", f"use multiples of {PAGE}")
        for other in self._slots:
            if gpa < other.end and other.gpa < gpa + memory.size:
                raise GuestMemoryError(tried, f"it overlaps slot {other.number} at {other.gpa:#x}", "unmap that first")
        number = next(n for n in range(len(self._slots) + 1) if all(s.number != n for s in self._slots))
        slot = Slot(number, gpa, memory, read_only, log_dirty)
        self._vm.set_slot(number, gpa, memory, read_only=read_only, log_dirty=log_dirty)
        at = bisect_right(self._starts, gpa)
        self._slots.insert(at, slot)
        self._starts.insert(at, gpa)
        return slot

    def unmap(self, slot: Slot) -> None:
        """Take a slot away; its memory stays and may be mapped again."""
        at = self._slots.index(slot)
        self._vm.delete_slot(slot.number)
        del self._slots[at], self._starts[at]

    def read(self, gpa: int, length: int) -> bytes:
        return b"".join(slot.memory.view[start:end] for slot, start, end in self._pieces("read", gpa, length))

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        pieces = self._pieces("write", gpa, len(data))
        for slot, _, _ in pieces:
            if slot.read_only:
                raise GuestMemoryError(
                    f"write {len(data):#x} bytes at {gpa:#x}", f"slot {slot.number} at {slot.gpa:#x} is read-only"
                )
        self._store(pieces, data)

    def load(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """Write as the monitor: to read-only slots as well."""
        self._store(self._pieces("load", gpa, len(data)), data)

    def view(self, gpa: int, length: int) -> memoryview:
        """Return a window that must lie in one slot; it is not writable where the slot is read-only."""
        pieces = self._pieces("view", gpa, length)
        if len(pieces) != 1:
            raise GuestMemoryError(f"view {length:#x} bytes at {gpa:#x}", "the range is not inside one slot")
        slot, start, end = pieces[0]
        window = slot.memory.view[start:end]
        return window.toreadonly() if slot.read_only else window

    def close(self) -> None:
        """Unmap the memory that ``add`` made; the guest must not run any more."""
        self._slots.clear()
        self._starts.clear()
        for memory in self._owned:
            memory.close()
        self._owned.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _pieces(self, verb: str, gpa: int, length: int) -> list[tuple[Slot, int, int]]:
        """Cut a range at slot borders: slot, start and end inside its memory."""
        pieces = []
        at, end = gpa, gpa + length
        if gpa < 0 or length < 0:
            raise GuestMemoryError(f"{verb} {length} bytes at {gpa}", "negative address or length")
        while at < end:
            index = bisect_right(self._starts, at) - 1
            slot = self._slots[index] if index >= 0 else None
            if slot is None or at >= slot.end:
                raise GuestMemoryError(f"{verb} {length:#x} bytes at {gpa:#x}", f"no memory at {at:#x}")
            stop = min(end, slot.end)
            pieces.append((slot, at - slot.gpa, stop - slot.gpa))
            at = stop
        return pieces

    @staticmethod
    def _store(pieces: list[tuple[Slot, int, int]], data: bytes | bytearray | memoryview) -> None:
        source = memoryview(data).cast("B")
        done = 0
        for slot, start, end in pieces:
            slot.memory.view[start:end] = source[done : done + end - start]
            done += end - start
