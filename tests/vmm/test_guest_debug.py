"""Guest debugging, MSRs answered by the monitor, and statistics."""

from __future__ import annotations

import os
import struct

import pytest

from tests.processes import descriptors
from tests.vmm.guests import CODE, SECONDS, long64, machine
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Cap
from virtproof.spec.kvm.exits import GuestDebugFlag, MsrFilterFlag
from virtproof.spec.x86.debug import BreakLength, BreakOn, Dr6
from virtproof.spec.x86.exception import Vector
from virtproof.vmm import exits, modes
from virtproof.vmm.debug import HardwareBreakpoint, control
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.msr_filter import MAX_RANGE, deny
from virtproof.vmm.registers import Registers
from virtproof.vmm.stats import Stats

NOP, HLT, INT3 = b"\x90", b"\xf4", b"\xcc"
DB, BP = 1, 3


def offers(engine: KvmEngine, flag: GuestDebugFlag) -> None:
    offered = engine.kvm.check_extension(Cap.SET_GUEST_DEBUG2)
    if offered and not offered & flag:
        pytest.skip(f"this kernel does not offer KVM_GUESTDBG_{flag.name}")


@pytest.mark.kvm
@pytest.mark.parametrize("enter", [modes.real16, modes.prot32, long64], ids=["real16", "prot32", "long64"])
def test_single_steps_stop_after_each_instruction(engine: KvmEngine, enter: object) -> None:
    offers(engine, GuestDebugFlag.SINGLESTEP)
    with machine(engine, enter, NOP * 3 + HLT) as guest:  # type: ignore[arg-type]
        guest.vcpu.debug(single_step=True)
        for step in range(1, 4):
            stopped = guest.run(SECONDS)
            assert isinstance(stopped, exits.Debug)
            assert (stopped.exception, stopped.pc) == (DB, CODE + step)
            assert Dr6(stopped.dr6).bs
        guest.vcpu.debug()
        assert guest.run(SECONDS) == exits.Halt()


@pytest.mark.kvm
def test_a_hardware_breakpoint_stops_before_its_instruction(engine: KvmEngine) -> None:
    offers(engine, GuestDebugFlag.USE_HW_BP)
    with machine(engine, long64, NOP * 5 + HLT) as guest:
        guest.vcpu.debug(hardware=[HardwareBreakpoint(0x9999), HardwareBreakpoint(CODE + 3)])
        stopped = guest.run(SECONDS)
        assert isinstance(stopped, exits.Debug)
        assert (stopped.exception, stopped.pc) == (DB, CODE + 3)
        assert Dr6(stopped.dr6).b1
        guest.vcpu.debug()
        assert guest.run(SECONDS) == exits.Halt()


@pytest.mark.kvm
def test_a_software_breakpoint_is_the_monitors(engine: KvmEngine) -> None:
    offers(engine, GuestDebugFlag.USE_SW_BP)
    if engine.backend.name == "kvm_pvm":
        pytest.skip("kvm_pvm cannot run INT3 in ring 0")
    with machine(engine, long64, NOP + INT3 + HLT) as guest:
        guest.vcpu.debug(software=True)
        stopped = guest.run(SECONDS)
        assert isinstance(stopped, exits.Debug)
        assert (stopped.exception, stopped.pc) == (BP, CODE + 1)


def test_dr7_enables_what_was_asked() -> None:
    dr7 = control([HardwareBreakpoint(1), HardwareBreakpoint(2, BreakOn.WRITE, BreakLength.FOUR)])
    assert (dr7.g0, dr7.g1, dr7.g2, dr7.rw0, dr7.len0, dr7.rw1, dr7.len1) == (True, True, False, 0, 0, 1, 3)
    with pytest.raises(Fault, match="four"):
        control([HardwareBreakpoint(0)] * 5)


# ---- MSRs

UNKNOWN_MSR = 0x1234_5678
RDMSR = b"\xb9" + UNKNOWN_MSR.to_bytes(4, "little") + b"\x0f\x32" + HLT
WRMSR = b"\xb9" + UNKNOWN_MSR.to_bytes(4, "little") + b"\xb8\x11\0\0\0\xba\x22\0\0\0\x0f\x30" + HLT


def needs(engine: KvmEngine, cap: Cap) -> None:
    if not engine.kvm.check_extension(cap):
        pytest.skip(f"this kernel does not offer KVM_CAP_{cap.name}")


@pytest.mark.kvm
def test_the_monitor_answers_a_read_of_an_msr(engine: KvmEngine) -> None:
    needs(engine, Cap.X86_USER_SPACE_MSR)
    seen: list[exits.RdMsr | exits.WrMsr] = []

    def answer(access: exits.RdMsr | exits.WrMsr) -> int:
        seen.append(access)
        return 0x1122_3344_5566_7788

    with machine(engine, modes.prot32, RDMSR) as guest:
        guest.vm.send_msrs_to_monitor()
        guest.vcpu.on_msr = answer
        assert guest.run(SECONDS) == exits.Halt()
        registers = guest.vcpu.registers()
    assert (registers.rdx, registers.rax) == (0x1122_3344, 0x5566_7788)
    assert [(type(access), access.index) for access in seen] == [(exits.RdMsr, UNKNOWN_MSR)]
    assert "RDMSR of 0x12345678" in str(seen[0])


@pytest.mark.kvm
def test_the_monitor_takes_a_write_of_an_msr(engine: KvmEngine) -> None:
    needs(engine, Cap.X86_USER_SPACE_MSR)
    seen: list[exits.RdMsr | exits.WrMsr] = []

    def answer(access: exits.RdMsr | exits.WrMsr) -> int:
        seen.append(access)
        return 0

    with machine(engine, modes.prot32, WRMSR) as guest:
        guest.vm.send_msrs_to_monitor()
        guest.vcpu.on_msr = answer
        assert guest.run(SECONDS) == exits.Halt()
    (write,) = seen
    assert isinstance(write, exits.WrMsr)
    assert (write.index, write.value) == (UNKNOWN_MSR, 0x22_0000_0011)


@pytest.mark.kvm
@pytest.mark.parametrize("code", [RDMSR, WRMSR], ids=["read", "write"])
def test_an_msr_without_an_answer_ends_the_run_and_then_faults(engine: KvmEngine, code: bytes) -> None:
    needs(engine, Cap.X86_USER_SPACE_MSR)
    with machine(engine, modes.prot32, code) as guest:
        guest.vm.send_msrs_to_monitor()
        assert isinstance(guest.run(SECONDS), exits.RdMsr | exits.WrMsr)
        assert guest.run(SECONDS) == exits.Shutdown()  # #GP with an empty IDT


@pytest.mark.kvm
def test_an_access_that_ended_the_run_can_be_answered(engine: KvmEngine) -> None:
    needs(engine, Cap.X86_USER_SPACE_MSR)
    with machine(engine, modes.prot32, RDMSR) as guest:
        guest.vm.send_msrs_to_monitor()
        assert isinstance(guest.run(SECONDS), exits.RdMsr)
        guest.vcpu.answer_msr(0x77)
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rax == 0x77


STAR = 0xC000_0081


@pytest.mark.kvm
def test_a_filtered_msr_is_sent_to_the_monitor_and_its_neighbour_is_not(engine: KvmEngine) -> None:
    needs(engine, Cap.X86_MSR_FILTER)
    # rdmsr of STAR, then of LSTAR
    code = b"\xb9" + STAR.to_bytes(4, "little") + b"\x0f\x32\xb9" + (STAR + 1).to_bytes(4, "little") + b"\x0f\x32" + HLT
    seen: list[int] = []

    def answer(access: exits.RdMsr | exits.WrMsr) -> int:
        seen.append(access.index)
        return 0

    with machine(engine, long64, code, cpuid=engine.supported_cpuid()) as guest:
        guest.vm.send_msrs_to_monitor()
        guest.vm.set_msr_filter([deny([STAR, STAR + 2], MsrFilterFlag.READ | MsrFilterFlag.WRITE)])
        guest.vcpu.on_msr = answer
        assert guest.run(SECONDS) == exits.Halt()
    assert seen == [STAR]


@pytest.mark.kvm
def test_more_ranges_than_the_kernel_takes_are_refused(engine: KvmEngine) -> None:
    needs(engine, Cap.X86_MSR_FILTER)
    with machine(engine, modes.real16, HLT) as guest, pytest.raises(Fault, match="16"):
        guest.vm.set_msr_filter([deny([index]) for index in range(17)])


def test_a_range_denies_its_msrs_and_allows_those_between() -> None:
    found = deny([0x15, 0x10, 0x12])
    assert (found.base, found.count) == (0x10, 6)
    assert found.bitmap == bytes([0b01_1010])
    for wrong in ([], [0, MAX_RANGE]):
        with pytest.raises(Fault):
            deny(wrong)


@pytest.mark.kvm
def test_msrs_are_read_and_set_and_the_refused_are_named(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, HLT, cpuid=engine.supported_cpuid()) as guest:
        assert guest.vcpu.set_msrs({STAR: 0x1234, UNKNOWN_MSR: 1, STAR + 1: 0x5678}) == (UNKNOWN_MSR,)
        assert guest.vcpu.get_msrs([UNKNOWN_MSR, STAR, UNKNOWN_MSR + 1, STAR + 1]) == {STAR: 0x1234, STAR + 1: 0x5678}


# ---- statistics


@pytest.mark.kvm
def test_exits_are_counted_by_name(engine: KvmEngine) -> None:
    needs(engine, Cap.BINARY_STATS_FD)
    before = descriptors()
    with machine(engine, modes.real16, b"\xee" * 5 + HLT, registers=Registers(rdx=0x510)) as guest:
        first = guest.vcpu.statistics()
        assert guest.run(SECONDS) == exits.Halt()
        second = guest.vcpu.statistics()
        vm = guest.vm.statistics()
    assert descriptors() == before
    was, now = first["exits"], second["exits"]
    assert isinstance(was, int)
    assert isinstance(now, int)
    assert now - was >= 5
    assert any(isinstance(value, list) for value in second.values())  # the histograms of halt polling
    assert "remote_tlb_flush" in vm


def statistics_file(*rows: tuple[str, int, list[int]], names: int | None = None, size: int | None = None) -> int:
    """A file as KVM lays it out: rows of name, flags, values."""
    header = struct.pack("<6I", 0, 16, names if names is not None else len(rows), 24, 32, 32 + 32 * len(rows))
    table, data = b"", b""
    for name, flags, values in rows:
        table += struct.pack("<IhHII16s", flags, 0, size or len(values), len(data), 0, name.encode())
        data += struct.pack(f"<{len(values)}Q", *values)
    fd = os.memfd_create("statistics")
    os.write(fd, header + bytes(8) + table + data)
    return fd


def test_numbers_and_histograms_are_told_apart() -> None:
    with Stats(statistics_file(("exits", 0, [7]), ("wait_hist", 4, [1, 2, 3]), ("one_bucket", 3, [9]))) as stats:
        assert stats.read() == {"exits": 7, "wait_hist": [1, 2, 3], "one_bucket": [9]}


@pytest.mark.parametrize(
    "fd",
    [
        lambda: statistics_file(("exits", 0, [7]), names=1 << 30),
        lambda: statistics_file(("exits", 0, [7]), names=50),
        lambda: statistics_file(("exits", 0, [7]), size=0xFFFF),
        lambda: os.memfd_create("empty"),
    ],
    ids=["too many names", "names cut short", "too many values", "empty"],
)
def test_odd_statistics_are_a_fault_and_leave_no_descriptor(fd: object) -> None:
    before = descriptors()
    with pytest.raises(Fault, match="statistics"):
        Stats(fd())  # type: ignore[operator]
    assert descriptors() == before


def test_the_vectors_of_debugging_are_the_architectures() -> None:
    assert (Vector.DB, Vector.BP) == (DB, BP)
