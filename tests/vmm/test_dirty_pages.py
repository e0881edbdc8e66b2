"""Dirty logs cleared by hand, and dirty rings."""

from __future__ import annotations

import pytest

from tests.vmm.guests import CODE, SECONDS, machine
from virtproof.kvm import CapabilityMissing, KvmError
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Cap
from virtproof.vmm import exits, modes
from virtproof.vmm.backing import GuestMemoryError
from virtproof.vmm.dirty_ring import DirtyPage
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

pytestmark = pytest.mark.kvm

PAGE = 0x1000
LOGGED = 0x2_0000
PAGES = 70  # more than a word of the bitmap

# mov $0x2000, %ax; mov %ax, %ds; movb $1, 0x2000; movb $1, 0x5000; hlt; and from the start
TWICE = b"\xb8\x00\x20\x8e\xd8\xc6\x06\x00\x20\x01\xc6\x06\x00\x50\x01\xf4\xeb\xee"


def bits(log: bytes) -> list[int]:
    number = int.from_bytes(log, "little")
    return [at for at in range(8 * len(log)) if number >> at & 1]


def needs(engine: KvmEngine, cap: Cap) -> None:
    if not engine.kvm.check_extension(cap):
        pytest.skip(str(CapabilityMissing(cap, "test it")))


def test_by_hand_the_log_stays_until_it_is_cleared_page_by_page(engine: KvmEngine) -> None:
    needs(engine, Cap.MANUAL_DIRTY_LOG_PROTECT2)
    with machine(engine, modes.real16, TWICE, ram=0x1_0000) as guest:
        guest.vm.protect_dirty_pages_by_hand()
        slot = guest.memory.add(LOGGED, PAGES * PAGE, log_dirty=True)
        assert guest.run(SECONDS) == exits.Halt()
        assert bits(guest.vm.dirty_log(slot.number)) == [2, 5]
        assert bits(guest.vm.dirty_log(slot.number)) == [2, 5]
        guest.vm.clear_dirty_log(slot.number, bytes([1 << 5]) + bytes(8))
        assert bits(guest.vm.dirty_log(slot.number)) == [2]
        assert guest.run(SECONDS) == exits.Halt()
        assert bits(guest.vm.dirty_log(slot.number)) == [2, 5]


def test_a_log_that_starts_set_names_every_page(engine: KvmEngine) -> None:
    needs(engine, Cap.MANUAL_DIRTY_LOG_PROTECT2)
    if not engine.kvm.check_extension(Cap.MANUAL_DIRTY_LOG_PROTECT2) & 2:
        pytest.skip("this kernel has no KVM_DIRTY_LOG_INITIALLY_SET")
    with machine(engine, modes.real16, TWICE, ram=0x1_0000) as guest:
        guest.vm.protect_dirty_pages_by_hand(initially_set=True)
        slot = guest.memory.add(LOGGED, PAGES * PAGE, log_dirty=True)
        assert bits(guest.vm.dirty_log(slot.number)) == list(range(PAGES))
        guest.vm.clear_dirty_log(slot.number, b"\xff" * 8)
        assert bits(guest.vm.dirty_log(slot.number)) == list(range(64, PAGES))
        guest.vm.clear_dirty_log(slot.number, b"\xff", first_page=64)
        assert bits(guest.vm.dirty_log(slot.number)) == []


def test_clearing_part_of_a_word_is_refused_in_words(engine: KvmEngine) -> None:
    needs(engine, Cap.MANUAL_DIRTY_LOG_PROTECT2)
    with Machine(engine, ram=0x1_0000) as guest:
        guest.vm.protect_dirty_pages_by_hand()
        slot = guest.memory.add(LOGGED, PAGES * PAGE, log_dirty=True)
        with pytest.raises(KvmError, match="multiple of 64"):
            guest.vm.clear_dirty_log(slot.number, b"\xff", first_page=3)
        with pytest.raises(KvmError, match="log_dirty"):
            guest.vm.clear_dirty_log(77, b"\xff")


def test_the_log_is_switched_on_and_off_in_place(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, TWICE, ram=0x1_0000) as guest:
        slot = guest.memory.add(LOGGED, PAGES * PAGE)
        assert guest.run(SECONDS) == exits.Halt()
        slot = guest.memory.change(slot, log_dirty=True)
        assert bits(guest.vm.dirty_log(slot.number)) == []
        guest.vcpu.set_registers(Registers(rip=CODE))
        assert guest.run(SECONDS) == exits.Halt()
        assert bits(guest.vm.dirty_log(slot.number)) == [2, 5]
        guest.memory.change(slot, log_dirty=False)
        with pytest.raises(KvmError, match="log_dirty"):
            guest.vm.dirty_log(slot.number)


def test_a_ring_names_the_pages_in_the_order_of_their_writing(engine: KvmEngine) -> None:
    needs(engine, Cap.DIRTY_LOG_RING)
    with machine(engine, modes.real16, TWICE, ram=0x1_0000, dirty_ring=1024) as guest:
        slot = guest.memory.add(LOGGED, PAGES * PAGE, log_dirty=True)
        ring = guest.vcpu.dirty_ring
        assert ring is not None
        assert ring.collect() == []
        for _ in range(2):  # the second time only if the reset watches the pages anew
            assert guest.run(SECONDS) == exits.Halt()
            assert ring.collect() == [DirtyPage(slot.number, 2), DirtyPage(slot.number, 5)]
            assert ring.collect() == []
            assert guest.vm.reset_dirty_rings() == 2
        with pytest.raises(KvmError, match="dirty rings"):
            guest.vm.dirty_log(slot.number)


def test_a_full_ring_ends_the_run_and_a_reset_ring_goes_on(engine: KvmEngine) -> None:
    needs(engine, Cap.DIRTY_LOG_RING)
    # 1: movb $1, (%edi); out %al, %dx; add $0x1000, %edi; loop 1b; hlt
    # The exit lets KVM look at the ring: an interpreting backend may overrun it between two looks.
    code = b"\xc6\x07\x01\xee\x81\xc7\x00\x10\x00\x00\xe2\xf4\xf4"
    pages = 600
    start = Registers(rcx=pages, rdi=LOGGED, rdx=0x510)
    with machine(engine, modes.prot32, code, registers=start, ram=0x1_0000, dirty_ring=256) as guest:
        guest.memory.add(LOGGED, pages * PAGE, log_dirty=True)
        ring = guest.vcpu.dirty_ring
        assert ring is not None
        found: list[DirtyPage] = []
        full = 0
        while True:
            stopped = guest.run(SECONDS)
            found += ring.collect()
            guest.vm.reset_dirty_rings()
            if stopped != exits.DirtyRingFull():
                break
            full += 1
        assert stopped == exits.Halt()
        assert full > 0
        # A store that met the full ring is made once more, so its page may stand there twice.
        assert list(dict.fromkeys(page.page for page in found)) == list(range(pages))
        assert len(found) <= pages + full


def test_a_ring_of_an_odd_size_is_refused_with_the_sizes_there_are(engine: KvmEngine) -> None:
    needs(engine, Cap.DIRTY_LOG_RING)
    with pytest.raises(Fault, match="powers of two"):
        Machine(engine, dirty_ring=1000)
    with Machine(engine) as guest, pytest.raises(Fault):  # too late: there is a vCPU
        guest.vm.enable_dirty_rings(1024)


def test_ram_goes_round_the_space_of_devices_below_4_gib(engine: KvmEngine) -> None:
    try:
        large = Machine(engine, ram=(3 << 30) + (2 << 20))
    except GuestMemoryError as fault:
        pytest.skip(str(fault))
    with large as guest:
        assert [(slot.gpa, slot.memory.size) for slot in guest.memory.slots] == [(0, 3 << 30), (1 << 32, 2 << 20)]


def test_memory_above_4_gib_is_the_guests(engine: KvmEngine) -> None:
    high = 1 << 32
    # 64-bit: movabs %al, high+0x123 ; movabs high+0x200, %al; hlt
    code = b"\xa2" + (high + 0x123).to_bytes(8, "little") + b"\xa0" + (high + 0x200).to_bytes(8, "little") + b"\xf4"
    with machine(engine, modes.real16, code, registers=Registers(rax=0x5A)) as guest:
        guest.memory.add(high, 2 << 20)
        guest.memory.load(high + 0x200, b"\x66")
        guest.memory.load(0x3020, (0x7000 | 3).to_bytes(8, "little"))  # PDPT entry 4: a directory at 0x7000
        guest.memory.load(0x7000, (high | 0x83).to_bytes(8, "little"))
        guest.vcpu.set_special_registers(modes.long64(guest.vcpu.special_registers(), 0x2000))
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.memory.read(high + 0x123, 1) == b"\x5a"
        assert guest.vcpu.registers().rax & 0xFF == 0x66
