"""Guest-physical memory: slots mapped into Unicorn, and what is not memory, which goes to the bus.

A write to a read-only slot goes to the bus as well.  A page that belongs to no slot is mapped as a device when it is
first touched.  An access reaches the bus whole where it lies in one page, and in two pieces where it crosses into
another, as KVM does it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from virtproof.spec.fault import Fault
from virtproof.vmm.engine import Accesses, Memory
from virtproof.vmm.engines.software.hooks import DEVICE_READ, REFUSED_ACCESS, Hooks, map_device
from virtproof.vmm.engines.software.layout import State
from virtproof.vmm.engines.software.native import Crossing, Gate, WriteLog, add_hook, delete_hook

if TYPE_CHECKING:
    from unicorn import Uc

PAGE = 4096
MOST_HOLES = 256  # pages that are mapped as devices at a time


class Log:
    """The dirty bitmap of a slot, and the hook that fills it.

    What a write that crosses into another page leaves there is noted for the page that follows in physical memory.
    """

    def __init__(self, uc: Uc, gate: Gate, gpa: int, size: int) -> None:
        from unicorn import UC_HOOK_MEM_WRITE  # noqa: PLC0415

        self._uc = uc
        pages = size // PAGE
        self.length = (pages + 7) // 8
        self._bitmap = (ctypes.c_ubyte * ((pages + 64) // 64 * 8))()  # a write may reach behind the slot
        self._data = WriteLog(gpa, ctypes.addressof(self._bitmap))
        self._hook = add_hook(uc, UC_HOOK_MEM_WRITE, gate.writes, ctypes.addressof(self._data), gpa, gpa + size - 1)
        uc.ctl_flush_tb()  # translated code does not know of the hook

    def note(self, page: int) -> None:
        self._bitmap[page // 8] |= 1 << page % 8

    def take(self) -> bytes:
        found = bytes(self._bitmap)[: self.length]
        ctypes.memset(self._bitmap, 0, len(self._bitmap))
        return found

    def close(self) -> None:
        delete_hook(self._uc, self._hook)


class Slot(NamedTuple):
    """A range and the memory behind it; ``log`` notes what is written."""

    gpa: int
    memory: Memory
    view: memoryview
    read_only: bool
    log: Log | None

    @property
    def end(self) -> int:
        return self.gpa + self.memory.size


class Slots:
    """The slots of a VM, which has one processor; ``bus`` answers what no slot backs.

    Unicorn's memory is not changed while it runs: what a device asks for is done when it has stopped, before the next
    instruction.
    """

    def __init__(self, uc: Uc, state: State, hooks: Hooks, gate: Gate, retry: Callable[[], None]) -> None:
        """``retry`` has the instruction at hand abandoned and run again."""
        import unicorn  # noqa: PLC0415

        self._uc, self._state, self._gate = uc, state, gate
        self._retry = retry
        self.bus: Accesses | None = None
        self.running = False
        self._slots: dict[int, Slot] = {}
        self._by_address: list[Slot] = []
        self._recent: Slot | None = None  # the one that was found last
        self._holes: set[int] = set()
        self._code: set[int] = set()  # pages that code was translated from
        self._waiting: list[Callable[[], None]] = []
        self._asked: dict[int, tuple[int, Memory, bool]] = {}  # the slots as they are when nothing waits any more
        self._at = self._value = self._due = 0  # the device read at hand: address, answer, bytes Unicorn still asks for
        self._read = (0, 0)  # the last read of a device or port: address of the instruction, bytes
        self._repeats = 0  # bytes of a write that Unicorn brings once more, one by one
        self._part: tuple[int, int] | None = None  # of a write to do with the first of them: bytes, value
        self.dummy = False  # the next write is the one with which Unicorn tries INS's destination
        self._crossing: Crossing | None = None  # from the first access on that crosses into another page
        self._abandoned = False
        self._device_read = hooks.callback(DEVICE_READ, self._piece)
        unmapped = unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED
        hooks.add(unmapped, REFUSED_ACCESS, self._touched)
        hooks.add(unicorn.UC_HOOK_MEM_READ_PROT, REFUSED_ACCESS, self._reads)
        hooks.add(unicorn.UC_HOOK_MEM_WRITE_PROT, REFUSED_ACCESS, self._writes)

    # ---- slots

    def set_slot(self, number: int, gpa: int, memory: Memory, *, read_only: bool, log_dirty: bool) -> None:
        """Create or change a slot.  Raises Fault where it overlaps another, or is not made of whole pages."""
        tried = f"put slot {number} at {gpa:#x}"
        if gpa % PAGE or memory.size % PAGE or memory.size <= 0 or not 0 <= gpa <= (1 << 52) - memory.size:
            raise Fault(tried, "it is not made of whole pages of the address space", f"use multiples of {PAGE}")
        for other, (start, there, _) in self._asked.items():
            if other != number and gpa < start + there.size and start < gpa + memory.size:
                raise Fault(tried, f"it overlaps slot {other} at {start:#x}", "delete that first")
        _, kept, rights = self._asked.get(number, (0, memory, read_only))
        if kept is not memory or rights != read_only:
            raise Fault(tried, "a slot keeps its memory and its rights", "delete it and create it anew")
        self._asked[number] = gpa, memory, read_only
        self._do(lambda: self._set(number, gpa, memory, read_only, log_dirty))

    def delete_slot(self, number: int) -> None:
        self._asked.pop(number, None)
        self._do(lambda: self._delete(number))

    def dirty_log(self, number: int) -> bytes:
        """Return and clear a slot's bitmap.  Raises Fault where it has none."""
        slot = self._slots.get(number)
        if slot is None or slot.log is None:
            raise Fault(f"read the dirty log of slot {number}", "there is none", "map the slot with log_dirty")
        return slot.log.take()

    def translated(self, page: int) -> None:
        """Code of the page at a guest-physical address has been translated."""
        self._code.add(page)

    def written(self, gpa: int, length: int) -> None:
        """The monitor has written memory: what was translated there is forgotten."""
        if any(page in self._code for page in range(gpa & -PAGE, gpa + length, PAGE)):
            self._code.clear()
            self._do(self._uc.ctl_flush_tb)

    def left(self) -> None:
        """The processor has stopped: do what was asked for while it ran."""
        self.running = False
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            change()

    def _do(self, change: Callable[[], None]) -> None:
        if self.running:
            self._waiting.append(change)
            self._gate.words.kick = 1
        else:
            change()

    def _set(self, number: int, gpa: int, memory: Memory, read_only: bool, log_dirty: bool) -> None:
        from unicorn import UC_PROT_ALL, UC_PROT_EXEC, UC_PROT_READ  # noqa: PLC0415

        old = self._slots.get(number)
        if old is not None and old.gpa == gpa:
            if old.log is not None and not log_dirty:
                old.log.close()
            log = (old.log or Log(self._uc, self._gate, gpa, memory.size)) if log_dirty else None
            self._keep(number, old._replace(log=log))
            return
        self._delete(number)
        for page in [page for page in self._holes if gpa <= page < gpa + memory.size]:
            self._unmap(page, PAGE)
            self._holes.discard(page)
        self._uc.mem_map_ptr(gpa, memory.size, UC_PROT_ALL, memory.address)
        if read_only:
            self._uc.mem_protect(gpa, memory.size, UC_PROT_READ | UC_PROT_EXEC)
        view = memoryview((ctypes.c_ubyte * memory.size).from_address(memory.address)).cast("B")
        log = Log(self._uc, self._gate, gpa, memory.size) if log_dirty else None
        self._keep(number, Slot(gpa, memory, view, read_only, log))

    def _delete(self, number: int) -> None:
        slot = self._slots.pop(number, None)
        if slot is None:
            return
        self._by_address.remove(slot)
        self._recent = None
        if slot.log is not None:
            slot.log.close()
        self._unmap(slot.gpa, slot.memory.size)
        self._uc.ctl_flush_tb()

    def _unmap(self, gpa: int, size: int) -> None:
        cr2 = self._state.cr[2]
        self._uc.mem_unmap(gpa, size)  # which looks for translated code at ``gpa`` as a linear address, and may fault
        self._state.cr[2] = cr2

    def _keep(self, number: int, slot: Slot) -> None:
        self._slots[number] = slot
        self._recent = None
        self._by_address = sorted(self._slots.values(), key=lambda slot: slot.gpa)

    def _find(self, address: int) -> Slot | None:
        recent = self._recent
        if recent is not None and recent.gpa <= address < recent.end:
            return recent
        for slot in self._by_address:
            if slot.gpa <= address < slot.end:
                self._recent = slot
                return slot
        return None

    # ---- what the processor itself reads and writes: linear.Physical

    def read(self, address: int, size: int) -> int:
        slot = self._find(address)
        if slot is None:
            assert self.bus is not None
            return self.bus.mmio_read(address, size)
        at = address - slot.gpa
        return int.from_bytes(slot.view[at : at + size], "little")

    def write(self, address: int, size: int, value: int) -> None:
        slot = self._find(address)
        if slot is None or slot.read_only:
            assert self.bus is not None
            self.bus.mmio_write(address, size, value)
            return
        at = address - slot.gpa
        slot.view[at : at + size] = value.to_bytes(size, "little")
        if slot.log is not None:
            slot.log.note(at // PAGE)

    def bytes_at(self, address: int, size: int) -> bytes:
        slot = self._find(address)
        return b"" if slot is None else bytes(slot.view[address - slot.gpa : address - slot.gpa + size])

    # ---- accesses of instructions to what is not memory

    def entering(self) -> None:
        """The processor is about to run."""
        self.running, self._abandoned = True, False
        self._due = self._repeats = 0
        self._part, self.dummy = None, False

    def port_read(self, size: int) -> None:
        """The instruction at hand has read a port."""
        self._read, self.dummy = (self._gate.words.address, size), False

    def note_crossings(self) -> None:
        """From now on know of each access whether it crosses into the next page; it makes memory slower."""
        from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE  # noqa: PLC0415

        self._crossing = Crossing()
        add_hook(self._uc, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, self._gate.crossings, ctypes.addressof(self._crossing))
        self._uc.ctl_flush_tb()

    def _abandon(self) -> None:
        """Run the instruction again, and know of crossings then."""
        self._abandoned = True
        self._retry()

    def _touched(self, access: int, address: int, size: int, value: int, data: object) -> bool:
        """A page that is not mapped is touched for the first time; the access goes on to the hooks below."""
        if len(self._holes) >= MOST_HOLES:
            for page in self._holes:
                self._unmap(page, PAGE)
            self._holes.clear()
        page = address & -PAGE
        map_device(self._uc, page, PAGE, self._device_read)
        self._uc.mem_protect(page, PAGE, 0)  # so that they see each access whole
        self._holes.add(page)
        return True

    def _reads(self, access: int, address: int, size: int, value: int, data: object) -> bool:
        """A device is read.  All of it is fetched now: Unicorn asks for 4 bytes at a time, or for too much."""
        self._read = self._gate.words.address, size
        here = min(size, PAGE - address % PAGE)
        if here < size and self._crossing is None:
            self._abandon()
        else:
            self._fetch(address, here, due=size if address % size == 0 or here < size else 2 * size)
        return True

    def _fetch(self, address: int, size: int, due: int) -> None:
        assert self.bus is not None
        self._at, self._due = address, due
        self._value = self.bus.mmio_read(address, size)

    def _piece(self, offset: int, size: int, page: int | None) -> int:
        """Unicorn asks for a part of the read at hand, or for the part of one that lies in another page."""
        address = (page or 0) + offset  # ctypes gives a null pointer as None
        if not self._due or address & -PAGE != self._at & -PAGE:
            if self._crossing is None and not self._abandoned:
                self._abandon()
            if self._abandoned or self._crossing is None:
                return 0
            self._fetch(address, self._crossing.rest, due=self._crossing.size)
        self._due -= size
        shift = 8 * (address - self._at)
        return (self._value >> shift if shift >= 0 else self._value << -shift) & (1 << 8 * size) - 1

    def _writes(self, access: int, address: int, size: int, value: int, data: object) -> bool:
        """A device or a read-only slot is written.  Unicorn then brings what is not aligned once more, as bytes."""
        here, value = min(size, PAGE - address % PAGE), value & (1 << 8 * size) - 1
        if self._abandoned:
            return True
        if self._repeats and size == 1:
            if self._part is not None:
                self._store(address, *self._part)
                self._part = None
            self._repeats -= 1
        elif here < size:  # nothing is done before Unicorn has seen that the other page may be written
            if self._crossing is None:
                self._abandon()
            self._repeats, self._part = here, (here, value)
        elif self.dummy:
            self.dummy, self._repeats = False, size if address % size else 0
        elif size == 1 and address % PAGE == 0 and self._may_be_rest():
            if self._crossing is None:
                self._abandon()
            else:
                rest, self._crossing.rest = self._crossing.rest, 0
                self._store(address, rest, self._crossing.value >> 8 * (self._crossing.size - rest))
                self._repeats = rest - 1
        else:
            self._repeats = size if address % size else 0
            self._store(address, size, value)
        return True

    def _may_be_rest(self) -> bool:
        """May the byte at the start of a page be of a write that began in the page before?"""
        if self._crossing is not None:
            return bool(self._crossing.rest)
        instruction, size = self._read
        return instruction != self._gate.words.address or size > 1

    def _store(self, address: int, size: int, value: int) -> None:
        assert self.bus is not None
        self.bus.mmio_write(address, size, value & (1 << 8 * size) - 1)
