"""Guest memory: host memory as slots, and the only way in which devices may reach it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from virtproof.vmm.backing import MAKERS, PAGE, AnonymousMemory, Backing, GuestMemoryError, HostMemory
from virtproof.vmm.engine import Memory

__all__ = ["PAGE", "AnonymousMemory", "GuestMemory", "GuestMemoryError", "Slot", "SlotTable"]

PHYSICAL_ADDRESSES = 1 << 52


@dataclass(frozen=True, slots=True)
class Slot:
    """A guest-physical range and what backs it."""

    number: int
    gpa: int
    memory: HostMemory
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
    def memory_written(self, gpa: int, length: int) -> None: ...


class GuestMemory:
    """The slots of one VM.

    ``read`` and ``write`` are what devices use: they cross from slot to slot, respect read-only slots and raise
    GuestMemoryError, with nothing written, where any byte is out of reach.  ``load`` is the monitor's own write: it
    fills read-only slots too.  Both tell the engine, which may have translated code there; writes through ``view`` do
    not.
    """

    def __init__(self, vm: SlotTable) -> None:
        self._vm = vm
        self._slots: list[Slot] = []  # by address
        self._starts: list[int] = []
        self._owned: list[HostMemory] = []

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(self._slots)

    def add(
        self,
        gpa: int,
        size: int,
        *,
        read_only: bool = False,
        log_dirty: bool = False,
        backing: Backing = "anonymous",
    ) -> Slot:
        """Make fresh zeroed memory and put it at ``gpa``."""
        memory = MAKERS[backing](size)
        self._owned.append(memory)
        return self.map(gpa, memory, read_only=read_only, log_dirty=log_dirty)

    def map(self, gpa: int, memory: HostMemory, *, read_only: bool = False, log_dirty: bool = False) -> Slot:
        """Put existing memory at ``gpa``; the same memory may be mapped more than once."""
        self._check(f"map a slot at {gpa:#x}", gpa, memory.size)
        number = next(n for n in range(len(self._slots) + 1) if all(s.number != n for s in self._slots))
        slot = Slot(number, gpa, memory, read_only, log_dirty)
        self._vm.set_slot(number, gpa, memory, read_only=read_only, log_dirty=log_dirty)
        self._insert(slot)
        return slot

    def move(self, slot: Slot, gpa: int) -> Slot:
        """Put a slot elsewhere, its contents kept; return what it is now.  A running guest sees it jump.

        The guest may find nothing at either place for a moment: KVM takes the old mapping away first.
        """
        at = self._slots.index(slot)
        self._check(f"move slot {slot.number} to {gpa:#x}", gpa, slot.memory.size, but=slot)
        moved = replace(slot, gpa=gpa)
        self._vm.set_slot(slot.number, gpa, slot.memory, read_only=slot.read_only, log_dirty=slot.log_dirty)
        del self._slots[at], self._starts[at]
        self._insert(moved)
        return moved

    def change(self, slot: Slot, *, read_only: bool | None = None, log_dirty: bool | None = None) -> Slot:
        """Change the flags of a slot; return what it is now.

        The dirty log is switched in place.  KVM cannot do so with read-only: the slot is deleted and made anew, and a
        running guest may find nothing there for a moment.
        """
        at = self._slots.index(slot)
        changed = replace(
            slot,
            read_only=slot.read_only if read_only is None else read_only,
            log_dirty=slot.log_dirty if log_dirty is None else log_dirty,
        )
        if changed.read_only != slot.read_only:
            self._vm.delete_slot(slot.number)
        if changed != slot:
            self._vm.set_slot(
                slot.number, slot.gpa, slot.memory, read_only=changed.read_only, log_dirty=changed.log_dirty
            )
            self._slots[at] = changed
        return changed

    def unmap(self, slot: Slot) -> None:
        """Take a slot away; its memory stays and may be mapped again."""
        at = self._slots.index(slot)
        self._vm.delete_slot(slot.number)
        del self._slots[at], self._starts[at]

    def read(self, gpa: int, length: int) -> bytes:
        index = bisect_right(self._starts, gpa) - 1
        if index >= 0 and length >= 0:  # most reads lie in one slot
            slot = self._slots[index]
            at = gpa - slot.gpa
            if at + length <= slot.memory.size:
                return bytes(slot.memory.view[at : at + length])
        return b"".join(slot.memory.view[start:end] for slot, start, end in self._pieces("read", gpa, length))

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        pieces = self._pieces("write", gpa, len(data))
        for slot, _, _ in pieces:
            if slot.read_only:
                raise GuestMemoryError(
                    f"write {len(data):#x} bytes at {gpa:#x}", f"slot {slot.number} at {slot.gpa:#x} is read-only"
                )
        self._store(pieces, data)
        self._vm.memory_written(gpa, len(data))

    def load(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """Write as the monitor: to read-only slots as well."""
        self._store(self._pieces("load", gpa, len(data)), data)
        self._vm.memory_written(gpa, len(data))

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

    def _check(self, tried: str, gpa: int, size: int, but: Slot | None = None) -> None:
        if gpa % PAGE or not 0 <= gpa <= PHYSICAL_ADDRESSES - size:
            raise GuestMemoryError(tried, "not a page-aligned guest-physical address", f"use multiples of {PAGE}")
        for other in self._slots:
            if other is not but and gpa < other.end and other.gpa < gpa + size:
                raise GuestMemoryError(tried, f"it overlaps slot {other.number} at {other.gpa:#x}", "unmap that first")

    def _insert(self, slot: Slot) -> None:
        at = bisect_right(self._starts, slot.gpa)
        self._slots.insert(at, slot)
        self._starts.insert(at, slot.gpa)

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
