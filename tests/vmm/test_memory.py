"""Guest memory as devices see it."""

from __future__ import annotations

import pytest

from virtproof.vmm.engine import Memory
from virtproof.vmm.memory import PAGE, AnonymousMemory, GuestMemory, GuestMemoryError


class SlotRecorder:
    """Remembers which slots a VM would have."""

    def __init__(self) -> None:
        self.slots: dict[int, tuple[int, int, bool, bool]] = {}

    def memory_written(self, gpa: int, length: int) -> None: ...

    def set_slot(
        self, slot: int, gpa: int, memory: Memory, *, read_only: bool = False, log_dirty: bool = False
    ) -> None:
        self.slots[slot] = gpa, memory.size, read_only, log_dirty

    def delete_slot(self, slot: int) -> None:
        del self.slots[slot]


@pytest.fixture
def vm() -> SlotRecorder:
    return SlotRecorder()


def test_slots_are_told_to_the_vm(vm: SlotRecorder) -> None:
    with GuestMemory(vm) as memory:
        memory.add(0x8000, PAGE, read_only=True)
        memory.add(0, 2 * PAGE, log_dirty=True)
        assert vm.slots == {0: (0x8000, PAGE, True, False), 1: (0, 2 * PAGE, False, True)}
        assert [slot.gpa for slot in memory.slots] == [0, 0x8000]


def test_a_slot_number_is_used_again(vm: SlotRecorder) -> None:
    with GuestMemory(vm) as memory:
        first = memory.add(0, PAGE)
        memory.add(PAGE, PAGE)
        memory.unmap(first)
        assert memory.map(0x10000, first.memory).number == first.number


def test_an_access_crosses_from_slot_to_slot(vm: SlotRecorder) -> None:
    with GuestMemory(vm) as memory:
        memory.add(0, PAGE)
        memory.add(PAGE, PAGE)
        memory.write(PAGE - 2, b"abcd")
        assert memory.read(PAGE - 3, 6) == b"\0abcd\0"
        assert memory.read(PAGE, 2) == b"cd"


@pytest.mark.parametrize(
    ("gpa", "length"),
    [(2 * PAGE, 1), (2 * PAGE - 1, 2), (-1, 1), (-1, 2), (1 << 64, 1), (0, 1 << 64), (0, -1)],
)
def test_reading_where_there_is_no_memory_is_refused(vm: SlotRecorder, gpa: int, length: int) -> None:
    with GuestMemory(vm) as memory:
        memory.add(0, PAGE)
        memory.add(PAGE, PAGE)
        with pytest.raises(GuestMemoryError):
            memory.read(gpa, length)


def test_a_write_that_does_not_fit_writes_nothing(vm: SlotRecorder) -> None:
    with GuestMemory(vm) as memory:
        memory.add(0, PAGE)
        memory.add(PAGE, PAGE, read_only=True)
        for size in (4, PAGE + 4):
            with pytest.raises(GuestMemoryError):
                memory.write(PAGE - 2, b"\xff" * size)
        assert memory.read(PAGE - 2, 4) == bytes(4)


def test_a_read_only_slot_can_be_read_and_loaded(vm: SlotRecorder) -> None:
    with GuestMemory(vm) as memory:
        memory.add(0, PAGE, read_only=True)
        memory.load(8, b"rom")
        assert memory.read(8, 3) == b"rom"
        assert memory.view(8, 3).readonly
        with pytest.raises(GuestMemoryError, match="read-only"):
            memory.write(8, b"x")


def test_a_view_is_the_memory_itself(vm: SlotRecorder) -> None:
    with GuestMemory(vm) as memory:
        memory.add(0, PAGE)
        memory.view(16, 4)[:] = b"view"
        assert memory.read(16, 4) == b"view"
        with pytest.raises(GuestMemoryError):
            memory.view(PAGE - 1, 2)


def test_the_same_memory_may_be_mapped_twice(vm: SlotRecorder) -> None:
    pages = AnonymousMemory(PAGE)
    with GuestMemory(vm) as memory:
        memory.map(0, pages)
        memory.map(0x10000, pages)
        memory.write(4, b"alias")
        assert memory.read(0x10004, 5) == b"alias"
    pages.close()


@pytest.mark.parametrize("gpa", [0, PAGE, 3 * PAGE])
def test_an_overlap_is_refused(vm: SlotRecorder, gpa: int) -> None:
    with GuestMemory(vm) as memory:
        memory.add(2 * PAGE, 2 * PAGE)
        with pytest.raises(GuestMemoryError, match="overlaps slot 0"):
            memory.add(gpa, 3 * PAGE)
        assert list(vm.slots) == [0]


@pytest.mark.parametrize(("gpa", "size"), [(1, PAGE), (0, PAGE + 1), (0, 0), (-PAGE, PAGE), (1 << 52, PAGE)])
def test_odd_places_and_sizes_are_refused(vm: SlotRecorder, gpa: int, size: int) -> None:
    with GuestMemory(vm) as memory, pytest.raises(GuestMemoryError):
        memory.add(gpa, size)
