"""Several vCPUs: they run side by side, stop together, start as the architecture says."""

from __future__ import annotations

import os
import select
import threading

import pytest

from tests.processes import descriptors, new_threads
from tests.vmm.guests import CODE, SECONDS, Recorder, machine
from virtproof.spec.fault import Fault
from virtproof.spec.kvm.exits import MpStateValue
from virtproof.vmm import exits, modes, smp
from virtproof.vmm.engine import Vcpu
from virtproof.vmm.engines.kvm import KvmEngine, KvmVcpu
from virtproof.vmm.events import EventLoop
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

pytestmark = pytest.mark.kvm

PORT = 0x510
HLT, SPIN = b"\xf4", b"\xeb\xfe"
OUT_FOREVER = b"\xee\xeb\xfd"  # out %al, %dx; jmp to it


class Counter:
    """Counts writes by value, and stops the machine after ``limit``."""

    def __init__(self, guest: Machine, limit: int) -> None:
        self.guest, self.limit = guest, limit
        self.counts: dict[int, int] = {}
        self.threads: set[int] = set()

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.threads.add(threading.get_ident())
        self.counts[value] = self.counts.get(value, 0) + 1
        if sum(self.counts.values()) >= self.limit:
            self.guest.stop()


def start(guest: Machine, **values: int) -> None:
    """Have every vCPU execute the code at CODE, with its index in AL."""
    for index, vcpu in enumerate(guest.vcpus):
        vcpu.set_special_registers(modes.real16(vcpu.special_registers()))
        vcpu.set_registers(Registers(rip=CODE, rsp=0x8000 - 0x100 * index, rax=index, **values))


def test_two_vcpus_spinning_on_exits_do_not_starve_each_other(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, OUT_FOREVER, vcpus=2) as guest:
        counter = Counter(guest, 4000)
        guest.bus.add_ports(PORT, 1, counter, "counter", width=1)
        start(guest, rdx=PORT)
        assert guest.run(SECONDS) == exits.Interrupted()
    assert set(counter.counts) == {0, 1}
    assert min(counter.counts.values()) > 4000 // 20
    assert len(counter.threads) == 2


def test_a_machine_has_halted_when_every_vcpu_has(engine: KvmEngine) -> None:
    device = Recorder()
    with machine(engine, modes.real16, b"\xee" + HLT, vcpus=3) as guest:
        guest.bus.add_ports(PORT, 1, device, "recorder", width=1)
        start(guest, rdx=PORT)
        assert guest.run(SECONDS) == exits.Halt()
    assert sorted(value or 0 for _, _, value in device.accesses) == [0, 1, 2]


def test_one_vcpu_stops_all_and_is_named(engine: KvmEngine) -> None:
    # test %al, %al; jz .; lidt of an empty table is what reset left: ud2 with IDT limit 0 is a triple fault
    code = b"\x84\xc0\x74\xfe\x0f\x0b"
    with machine(engine, modes.prot32, code, vcpus=2) as guest:
        for index, vcpu in enumerate(guest.vcpus):
            vcpu.set_special_registers(modes.prot32(vcpu.special_registers()))
            vcpu.set_registers(Registers(rip=CODE, rax=index))
        assert guest.run(SECONDS) == exits.Shutdown()
        assert guest.stopped_by == 1


def test_the_time_is_up_for_all(engine: KvmEngine) -> None:
    before = set(threading.enumerate())
    with machine(engine, modes.real16, SPIN, vcpus=3) as guest:
        start(guest)
        assert guest.run(0.05) == exits.Timeout(0.05)
        assert guest.run(0.01) == exits.Timeout(0.01)
    assert new_threads(before) in ([], ["watchdog"])  # that of the process, where this is its first use


def test_a_vcpu_that_spins_does_not_hold_up_the_stop_of_another(engine: KvmEngine) -> None:
    # test %al, %al; jz .; out %al, %dx; jmp .
    with machine(engine, modes.real16, b"\x84\xc0\x74\xfe\xee" + SPIN, vcpus=2) as guest:
        guest.bus.add_ports(PORT, 1, Counter(guest, 1), "counter", width=1)
        start(guest, rdx=PORT)
        assert guest.run(SECONDS) == exits.Interrupted()


def test_an_exception_in_a_device_leaves_the_run_and_stops_all(engine: KvmEngine) -> None:
    class Broken(Recorder):
        def write(self, offset: int, size: int, value: int) -> None:
            raise ZeroDivisionError

    before = set(threading.enumerate())
    with machine(engine, modes.real16, b"\x84\xc0\x74\xfe\xee" + SPIN, vcpus=2) as guest:
        guest.bus.add_ports(PORT, 1, Broken(), "broken", width=1)
        start(guest, rdx=PORT)
        with pytest.raises(ZeroDivisionError):
            guest.run(SECONDS)
        assert new_threads(before) == []


def test_devices_of_several_vcpus_run_one_at_a_time(engine: KvmEngine) -> None:
    class Alone(Counter):
        inside = 0
        most = 0

        def write(self, offset: int, size: int, value: int) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            select.select([], [], [], 0)  # lets another thread run
            super().write(offset, size, value)
            self.inside -= 1

    with machine(engine, modes.real16, OUT_FOREVER, vcpus=3) as guest:
        device = Alone(guest, 600)
        guest.bus.add_ports(PORT, 1, device, "alone", width=1)
        start(guest, rdx=PORT)
        guest.run(SECONDS)
    assert device.most == 1


def test_a_timer_runs_while_vcpus_spin(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, SPIN, vcpus=2) as guest:
        start(guest)
        guest.after(1_000_000, guest.stop)
        assert guest.run(SECONDS) == exits.Interrupted()


def test_a_descriptor_is_served_while_vcpus_spin(engine: KvmEngine) -> None:
    fd = os.eventfd(1)
    try:
        with machine(engine, modes.real16, SPIN, vcpus=2) as guest:
            start(guest)
            guest.events.add_reader(fd, guest.stop)
            assert guest.run(SECONDS) == exits.Interrupted()
    finally:
        os.close(fd)


# xAPIC registers through MMIO, 32-bit protected mode.  BSP: enable, INIT and SIPI to all but self, then spin.
APIC = 0xFEE0_0000


def apic_write(register: int, value: int) -> bytes:
    """movl $value, APIC + register"""
    return b"\xc7\x05" + (APIC + register).to_bytes(4, "little") + value.to_bytes(4, "little")


def test_application_processors_start_by_init_and_sipi(engine: KvmEngine) -> None:
    """Each AP starts in real mode at the page that the SIPI's vector names, and tells its APIC id."""
    page = 0x9
    bsp = apic_write(0xF0, 0x1FF) + apic_write(0x300, 0xC4500) + apic_write(0x300, 0xC4600 | page) + SPIN
    # movl $1, %eax; cpuid; shr $24, %ebx; mov %bl, %al; mov $PORT, %dx; out %al, %dx; cli; hlt -- in real mode
    ap = b"\x66\xb8\x01\x00\x00\x00\x0f\xa2\x66\xc1\xeb\x18\x88\xd8\xba\x10\x05\xee\xfa\xf4"
    with machine(
        engine, modes.prot32, bsp, vcpus=3, ram=0x1_0000, irqchip=True, cpuid=engine.supported_cpuid()
    ) as guest:
        guest.memory.load(page << 12, ap)
        assert [vcpu.mp_state() for vcpu in guest.vcpus] == [
            MpStateValue.RUNNABLE,
            MpStateValue.UNINITIALIZED,
            MpStateValue.UNINITIALIZED,
        ]
        counter = Counter(guest, 2)
        guest.bus.add_ports(PORT, 1, counter, "ids", width=1)
        assert guest.run(SECONDS) == exits.Interrupted()
        assert counter.counts == {1: 1, 2: 1}
        assert guest.vcpus[1].special_registers().cs.base == page << 12


def test_a_processor_that_waits_for_sipi_does_not_hang_the_run(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, SPIN, vcpus=2, irqchip=True) as guest:
        assert guest.run(0.05) == exits.Timeout(0.05)


def test_mp_states_can_be_set(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, b"\xee" + HLT, vcpus=2, irqchip=True) as guest:
        counter = Counter(guest, 2)
        guest.bus.add_ports(PORT, 1, counter, "counter", width=1)
        start(guest, rdx=PORT)
        guest.vcpus[1].set_mp_state(MpStateValue.RUNNABLE)
        assert guest.run(SECONDS) == exits.Interrupted()
        assert counter.counts == {0: 1, 1: 1}


@pytest.mark.parametrize("count", [0, -1, 1 << 20])
def test_too_many_vcpus_are_refused_with_the_number_there_may_be(engine: KvmEngine, count: int) -> None:
    before = descriptors()
    with pytest.raises(Fault, match=f"1 to {engine.max_vcpus}"):
        Machine(engine, vcpus=count)
    assert descriptors() == before


def test_an_index_beyond_what_the_kernel_numbers_is_named(engine: KvmEngine) -> None:
    with Machine(engine) as guest, pytest.raises(Fault, match="indices below"):
        guest.vm.create_vcpu(1 << 30)


def test_a_machine_of_several_vcpus_leaves_nothing_behind(engine: KvmEngine) -> None:
    before = descriptors()
    with machine(engine, modes.real16, HLT, vcpus=4) as guest:
        start(guest)
        assert guest.run(SECONDS) == exits.Halt()
    assert descriptors() == before


def test_a_vcpu_that_does_not_come_back_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Stuck:
        wakeful = False

        def run(self, bus: object) -> exits.Exit:
            released.wait(SECONDS)
            return exits.Interrupted()

        def kick(self) -> None:
            pass

    monkeypatch.setattr(smp, "STUCK", 0.05)
    stuck: list[Vcpu] = [Stuck()]  # type: ignore[list-item]
    with EventLoop() as events:
        crew = smp.Crew(stuck, [None], threading.RLock(), events)  # type: ignore[list-item]
        with pytest.raises(Fault, match="stop vCPU 0"):
            crew.run(0.01)
        released.set()
        crew.close()


def test_a_single_vcpu_runs_on_the_callers_thread(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, OUT_FOREVER, registers=Registers(rdx=PORT)) as guest:
        counter = Counter(guest, 3)
        guest.bus.add_ports(PORT, 1, counter, "counter", width=1)
        assert guest.run(SECONDS) == exits.Interrupted()
        assert isinstance(guest.vcpu, KvmVcpu)
    assert counter.threads == {threading.get_ident()}
