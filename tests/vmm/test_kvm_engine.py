"""The KVM engine on the real /dev/kvm."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.processes import descriptors
from tests.vmm.guests import CODE, SECONDS, Enter, Recorder, long64, machine
from virtproof.kvm import KvmError
from virtproof.vmm import exits, modes
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.machine import Machine
from virtproof.vmm.memory import AnonymousMemory
from virtproof.vmm.registers import Registers

pytestmark = pytest.mark.kvm

HLT = b"\xf4"
LOOP = b"\xeb\xfe"
PORT = 0x510
HOLE = 0xC000_0000  # guest-physical, mapped by the page tables, no slot


def with_device(guest: Machine, device: Recorder) -> Machine:
    guest.bus.add_ports(PORT, 8, device, "recorder", width=4)
    guest.bus.add_mmio(HOLE, 0x1000, device, "recorder", width=8)
    return guest


@pytest.mark.parametrize("enter", [modes.real16, modes.prot32, long64], ids=["real16", "prot32", "long64"])
def test_a_guest_talks_through_a_port_and_halts(engine: KvmEngine, enter: Enter) -> None:
    device = Recorder(0x5A)
    # out %al, %dx; in %dx, %al; out %al, %dx; hlt
    with machine(engine, enter, b"\xee\xec\xee" + HLT, registers=Registers(rax=0x42, rdx=PORT)) as guest:
        with_device(guest, device)
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rip == CODE + 4
    assert device.accesses == [(0, 1, 0x42), (0, 1, None), (0, 1, 0x5A)]


def test_port_accesses_of_two_and_four_bytes(engine: KvmEngine) -> None:
    device = Recorder(0xBEEF, 0xFEED_FACE)
    # in %dx, %ax; out %ax, %dx; in %dx, %eax; out %eax, %dx; hlt
    code = b"\x66\xed\x66\xef\xed\xef" + HLT
    with machine(engine, long64, code, registers=Registers(rdx=PORT)) as guest:
        with_device(guest, device)
        assert guest.run(SECONDS) == exits.Halt()
    assert device.accesses == [(0, 2, None), (0, 2, 0xBEEF), (0, 4, None), (0, 4, 0xFEED_FACE)]


def test_string_output_reaches_the_bus_item_by_item(engine: KvmEngine) -> None:
    device = Recorder()
    with machine(
        engine, modes.real16, b"\xf3\x6e" + HLT, registers=Registers(rcx=5, rsi=0x500, rdx=PORT)
    ) as guest:  # rep outsb; hlt
        with_device(guest, device)
        guest.memory.load(0x500, b"hello")
        assert guest.run(SECONDS) == exits.Halt()
    assert bytes(value or 0 for _, _, value in device.accesses) == b"hello"


def test_string_input_of_words_fills_memory_in_order(engine: KvmEngine) -> None:
    device = Recorder(0x1111, 0x2222, 0x3333)
    with machine(
        engine, modes.real16, b"\xf3\x6d" + HLT, registers=Registers(rcx=3, rdi=0x500, rdx=PORT)
    ) as guest:  # rep insw; hlt
        with_device(guest, device)
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.memory.read(0x500, 6) == b"\x11\x11\x22\x22\x33\x33"


# Store and load through the accumulator at a 64-bit absolute address, by size.
MOVES = {1: (b"\xa2", b"\xa0"), 2: (b"\x66\xa3", b"\x66\xa1"), 4: (b"\xa3", b"\xa1"), 8: (b"\x48\xa3", b"\x48\xa1")}


@pytest.mark.parametrize("size", MOVES)
def test_memory_mapped_accesses_of_every_size(engine: KvmEngine, size: int) -> None:
    pattern = 0x8877_6655_4433_2211
    answer = 0xF0E0_D0C0_B0A0_9080 & (1 << 8 * size) - 1
    device = Recorder(answer)
    store, load = MOVES[size]
    address = HOLE.to_bytes(8, "little")
    code = store + address + load + address + HLT
    with machine(engine, long64, code, registers=Registers(rax=pattern)) as guest:
        with_device(guest, device)
        assert guest.run(SECONDS) == exits.Halt()
        mask = (1 << 8 * size) - 1
        assert guest.vcpu.registers().rax & mask == answer
    assert device.accesses == [(0, size, pattern & mask), (0, size, None)]


def test_a_triple_fault_is_a_shutdown(engine: KvmEngine) -> None:
    with machine(engine, modes.prot32, b"\x0f\x0b") as guest:  # ud2, with an empty IDT
        assert guest.run(SECONDS) == exits.Shutdown()


@pytest.mark.parametrize(
    ("code", "irqchip"), [(LOOP, False), (b"\xfa" + HLT, True)], ids=["endless loop", "halted with interrupts off"]
)
def test_the_watchdog_ends_a_guest_that_does_not_end(engine: KvmEngine, code: bytes, irqchip: bool) -> None:
    with machine(engine, modes.real16, code, irqchip=irqchip) as guest:
        assert guest.run(0.05) == exits.Timeout(0.05)


def test_a_guest_has_as_much_more_time_as_its_engine_has_patience(
    engine: KvmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "patience", 4.0)
    with machine(engine, modes.real16, LOOP) as guest:
        assert guest.run(0.05) == exits.Timeout(0.2)


def test_a_guest_can_go_on_after_a_timeout(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, LOOP + HLT) as guest:
        assert isinstance(guest.run(0.05), exits.Timeout)
        guest.vcpu.set_registers(Registers(rip=CODE + len(LOOP)))
        assert guest.run(SECONDS) == exits.Halt()


def test_an_internal_error_is_shown_with_its_disassembly(engine: KvmEngine) -> None:
    # fadds at an address that no slot backs: KVM's emulator knows no x87
    code = b"\xd8\x05" + HOLE.to_bytes(4, "little") + HLT
    with machine(engine, modes.prot32, code) as guest:
        stopped = guest.run(SECONDS)
    assert isinstance(stopped, exits.InternalError)
    assert (stopped.rip, stopped.bits) == (CODE, 32)
    text = str(stopped)
    assert "EMULATION (1)" in text
    assert "d8 05 00 00 00 c0" in text
    assert "fadd dword ptr [0xc0000000]" in text


def test_a_device_stops_the_guest_with_its_access_completed(engine: KvmEngine) -> None:
    class Stop(Recorder):
        def read(self, offset: int, size: int) -> int:
            guest.stop()
            return 0x77

    with machine(engine, modes.real16, b"\xec" + HLT, registers=Registers(rdx=PORT)) as guest:  # in %dx, %al
        with_device(guest, Stop())
        assert guest.run(SECONDS) == exits.Interrupted()
        registers = guest.vcpu.registers()
        assert (registers.rip, registers.rax) == (CODE + 1, 0x77)
        assert guest.run(SECONDS) == exits.Halt()


def test_a_kick_before_the_run_is_not_lost(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, LOOP) as guest:
        guest.vcpu.kick()
        assert guest.vcpu.run(guest.bus) == exits.Interrupted()


def test_another_thread_stops_the_guest(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, b"\xee" + LOOP, registers=Registers(rdx=PORT)) as guest:
        running = threading.Event()

        class Started(Recorder):
            def write(self, offset: int, size: int, value: int) -> None:
                running.set()

        with_device(guest, Started())

        def kick_when_running() -> None:
            running.wait(SECONDS)
            guest.stop()

        kicker = threading.Thread(target=kick_when_running)
        kicker.start()
        assert guest.run(SECONDS) == exits.Interrupted()
        kicker.join()


def test_an_exception_in_a_device_leaves_the_run(engine: KvmEngine) -> None:
    class Broken(Recorder):
        def write(self, offset: int, size: int, value: int) -> None:
            raise ZeroDivisionError

    with machine(engine, modes.real16, b"\xee" + HLT, registers=Registers(rdx=PORT)) as guest:
        with_device(guest, Broken())
        with pytest.raises(ZeroDivisionError):
            guest.run(SECONDS)


def test_a_write_to_a_read_only_slot_goes_to_the_bus(engine: KvmEngine) -> None:
    rom = 0xF_0000
    device = Recorder()
    # mov $0xf000, %ax; mov %ax, %ds; movb $0x99, 0; mov 0, %al; hlt
    code = b"\xb8\x00\xf0\x8e\xd8\xc6\x06\x00\x00\x99\xa0\x00\x00" + HLT
    with machine(engine, modes.real16, code, ram=0x8_0000) as guest:
        guest.memory.add(rom, 0x1000, read_only=True)
        guest.memory.load(rom, b"\x55")
        guest.bus.add_mmio(rom, 0x1000, device, "flash")
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.memory.read(rom, 1) == b"\x55"
        assert guest.vcpu.registers().rax & 0xFF == 0x55
    assert device.accesses == [(0, 1, 0x99)]


def test_the_dirty_log_names_the_pages_written_once(engine: KvmEngine) -> None:
    # mov $0x2000, %ax; mov %ax, %ds; movb $1, 0x2000; movb $1, 0x5000; hlt
    code = b"\xb8\x00\x20\x8e\xd8\xc6\x06\x00\x20\x01\xc6\x06\x00\x50\x01" + HLT
    with machine(engine, modes.real16, code, ram=0x1_0000) as guest:
        slot = guest.memory.add(0x2_0000, 0x9000, log_dirty=True)
        assert guest.vm.dirty_log(slot.number) == bytes(2)
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vm.dirty_log(slot.number) == bytes([1 << 2 | 1 << 5, 0])
        assert guest.vm.dirty_log(slot.number) == bytes(2)


def test_a_slot_can_be_taken_away_and_put_elsewhere(engine: KvmEngine) -> None:
    # mov $0x2000, %ax; mov %ax, %ds; mov 0, %al; hlt
    code = b"\xb8\x00\x20\x8e\xd8\xa0\x00\x00" + HLT
    memory = AnonymousMemory(0x1000)
    memory.view[0] = 0x66
    try:
        with machine(engine, modes.real16, code, ram=0x1_0000) as guest:
            slot = guest.memory.map(0x3_0000, memory)
            guest.memory.unmap(slot)
            guest.memory.map(0x2_0000, memory)
            assert guest.run(SECONDS) == exits.Halt()
            assert guest.vcpu.registers().rax & 0xFF == 0x66
    finally:
        memory.close()


def test_translate_follows_the_guests_tables(engine: KvmEngine) -> None:
    with machine(engine, long64, HLT) as guest:
        mapped, unmapped = guest.vcpu.translate(0x12_3456), guest.vcpu.translate(0x1234_5678_0000)
    assert mapped.valid
    assert mapped.physical == 0x12_3456
    assert not unmapped.valid


def test_special_registers_survive_the_round_trip(engine: KvmEngine) -> None:
    with machine(engine, long64, HLT) as guest:
        special = guest.vcpu.special_registers()
        assert (special.cs.selector, special.cs.l, special.tr.type) == (modes.CODE, 1, 11)
        assert special.cr3 == 0x2000
        assert special.efer == modes.EFER_LME | modes.EFER_LMA


def test_an_interrupt_controller_is_made_only_on_request(engine: KvmEngine) -> None:
    with Machine(engine) as bare, pytest.raises(KvmError) as caught:
        bare.vm.set_irq_line(4, True)
    assert "interrupt controller" in str(caught.value)
    with Machine(engine, irqchip=True) as guest:
        guest.vm.set_irq_line(4, True)
        guest.vm.signal_msi(0xFEE0_0000, 0x41)


def test_the_guest_sees_the_cpuid_it_was_given(engine: KvmEngine) -> None:
    table = engine.kvm.supported_cpuid()
    vendor = next(entry for entry in table if entry.function == 0)
    # xor %eax, %eax; cpuid; hlt
    with machine(engine, modes.real16, b"\x66\x31\xc0\x0f\xa2" + HLT, cpuid=table) as guest:
        assert guest.run(SECONDS) == exits.Halt()
        registers = guest.vcpu.registers()
    assert (registers.rbx, registers.rcx, registers.rdx) == (vendor.ebx, vendor.ecx, vendor.edx)


# ---- nothing is left behind

ODD_SIZE = 0x135_7000  # a mapping of this size is nobody else's


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail if a descriptor, a mapping of guest memory or a kvm_run page outlives the test."""
    before = descriptors()
    yield
    assert descriptors() == before
    with open("/proc/self/maps") as maps:
        spans = [line.split() for line in maps]
    sizes = {int(end, 16) - int(start, 16) for start, end in (span[0].split("-") for span in spans)}
    assert ODD_SIZE not in sizes
    assert not [span for span in spans if "kvm" in span[-1]]


def test_a_machine_leaves_nothing_behind(engine: KvmEngine, nothing_left: None) -> None:
    with machine(engine, modes.real16, HLT, ram=ODD_SIZE) as guest:
        assert guest.run(SECONDS) == exits.Halt()


def test_a_machine_that_fails_half_way_leaves_nothing_behind(
    engine: KvmEngine, nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("virtproof.vmm.engines.kvm.KvmVm.create_vcpu", fail)
    with pytest.raises(ZeroDivisionError):
        Machine(engine, ram=ODD_SIZE)


def test_a_view_that_is_still_held_does_not_break_closing(engine: KvmEngine) -> None:
    with Machine(engine) as guest:
        view = guest.memory.view(0, 16)
    assert len(view) == 16
