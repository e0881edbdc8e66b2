"""Backings of guest memory, and slots that move and change."""

from __future__ import annotations

import mmap

import pytest

from tests.processes import descriptors
from tests.vmm.guests import SECONDS, machine
from tests.vmm.test_memory import SlotRecorder
from virtproof.vmm import backing, exits, modes
from virtproof.vmm.backing import HUGE_PAGE, PAGE, GuestMemoryError, HugetlbMemory, MemfdMemory
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.memory import GuestMemory


def test_a_memfd_is_shared_with_whoever_maps_it() -> None:
    memory = MemfdMemory(2 * PAGE)
    with mmap.mmap(memory.fd, 2 * PAGE) as elsewhere:
        memory.view[PAGE] = 0x5A
        assert elsewhere[PAGE] == 0x5A
        elsewhere[3] = 0xA5
        assert memory.view[3] == 0xA5
    memory.close()
    assert memory.fd == -1


@pytest.mark.parametrize("size", [0, -PAGE, PAGE + 1])
@pytest.mark.parametrize("kind", ["anonymous", "memfd"])
def test_a_size_that_is_not_whole_pages_is_refused(kind: backing.Backing, size: int) -> None:
    before = descriptors()
    with pytest.raises(GuestMemoryError, match="multiple of 4096"):
        backing.MAKERS[kind](size)
    assert descriptors() == before


def test_more_memory_than_can_be_had_is_a_fault_with_advice() -> None:
    with pytest.raises(GuestMemoryError) as caught:
        backing.AnonymousMemory(1 << 60)
    assert "cgroup" in caught.value.remedy


def test_huge_pages_that_are_not_there_are_named_with_the_reserve() -> None:
    before = descriptors()
    with pytest.raises(GuestMemoryError) as caught:
        HugetlbMemory(HUGE_PAGE << 20)  # 2 TiB
    assert "nr_hugepages" in caught.value.remedy
    assert descriptors() == before


def test_moving_a_slot_keeps_its_contents_and_finds_it_at_the_new_place_only() -> None:
    with GuestMemory(SlotRecorder()) as memory:
        memory.add(0, PAGE)
        slot = memory.add(4 * PAGE, PAGE)
        memory.load(4 * PAGE, b"here")
        moved = memory.move(slot, 8 * PAGE)
        assert (moved.number, moved.gpa) == (slot.number, 8 * PAGE)
        assert memory.read(8 * PAGE, 4) == b"here"
        with pytest.raises(GuestMemoryError):
            memory.read(4 * PAGE, 1)
        assert memory.move(moved, 8 * PAGE) == moved  # onto itself is no overlap
        with pytest.raises(GuestMemoryError, match="overlaps slot 0"):
            memory.move(moved, 0)
        assert memory.read(8 * PAGE, 4) == b"here"


def test_a_slot_becomes_read_only_and_writable_again() -> None:
    with GuestMemory(SlotRecorder()) as memory:
        slot = memory.add(0, PAGE)
        closed = memory.change(slot, read_only=True)
        with pytest.raises(GuestMemoryError, match="read-only"):
            memory.write(0, b"x")
        memory.change(closed, read_only=False)
        memory.write(0, b"x")


# ---- under KVM

# mov $0x2000, %ax; mov %ax, %ds; movb $0x77, 0; mov 1, %al; hlt
CODE = b"\xb8\x00\x20\x8e\xd8\xc6\x06\x00\x00\x77\xa0\x01\x00\xf4"


@pytest.mark.kvm
@pytest.mark.parametrize("kind", ["anonymous", "memfd", "hugetlb"])
def test_a_guest_reads_and_writes_memory_of_every_backing(engine: KvmEngine, kind: backing.Backing) -> None:
    with machine(engine, modes.real16, CODE, ram=0x1_0000) as guest:
        size = HUGE_PAGE if kind == "hugetlb" else PAGE
        try:
            guest.memory.add(0x2_0000, size, backing=kind)
        except GuestMemoryError as fault:
            if kind != "hugetlb":
                raise
            pytest.skip(str(fault))
        guest.memory.load(0x2_0001, b"\x99")
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rax & 0xFF == 0x99
        assert guest.memory.read(0x2_0000, 1) == b"\x77"


@pytest.mark.kvm
def test_two_slots_over_one_memory_show_the_same_page(engine: KvmEngine) -> None:
    memory = MemfdMemory(PAGE)
    try:
        with machine(engine, modes.real16, CODE, ram=0x1_0000) as guest:
            guest.memory.map(0x2_0000, memory)
            guest.memory.map(0x4_0000, memory)
            assert guest.run(SECONDS) == exits.Halt()
            assert guest.memory.read(0x4_0000, 1) == b"\x77"
    finally:
        memory.close()


@pytest.mark.kvm
def test_a_guest_finds_a_moved_slot_at_its_new_place(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, CODE, ram=0x1_0000) as guest:
        slot = guest.memory.add(0x4_0000, PAGE)
        guest.memory.load(0x4_0001, b"\x42")
        guest.memory.move(slot, 0x2_0000)
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rax & 0xFF == 0x42


@pytest.mark.kvm
def test_a_slot_made_read_only_sends_writes_to_the_bus(engine: KvmEngine) -> None:
    seen: list[tuple[int, int]] = []
    with machine(
        engine, modes.real16, CODE, ram=0x1_0000, trace=lambda _, at, size, out, value: seen.append((at, value))
    ) as guest:
        slot = guest.memory.add(0x2_0000, PAGE)
        guest.memory.change(slot, read_only=True)
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.memory.read(0x2_0000, 1) == b"\0"
    assert seen == [(0x2_0000, 0x77)]
