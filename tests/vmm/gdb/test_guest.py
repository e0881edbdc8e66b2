"""Breakpoints, steps and memory of real guests."""

from __future__ import annotations

import random

import pytest

from tests.vmm.guests import CODE, SECONDS, long64, machine
from virtproof.spec.fault import Fault
from virtproof.spec.x86.debug import BreakLength, BreakOn
from virtproof.vmm import exits, modes
from virtproof.vmm.backing import GuestMemoryError
from virtproof.vmm.debug import HardwareBreakpoint
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.gdb.debuggee import GdbSignal, Kind, Point, Resume, Stop
from virtproof.vmm.gdb.guest import MAX_SOFTWARE, Guest, cover
from virtproof.vmm.gdb.registers import FILES
from virtproof.vmm.gdb.session import Session
from virtproof.vmm.registers import Registers

NOP, HLT, INT3, SPIN = b"\x90", b"\xf4", b"\xcc", b"\xeb\xfe"
RUN, STEP = Resume(runs=frozenset({0})), Resume(steps=frozenset({0}))
BETWEEN = 0x20_0000  # of the test guests' map: not mapped


@pytest.mark.kvm
@pytest.mark.parametrize("enter", [modes.real16, modes.prot32, long64], ids=["real16", "prot32", "long64"])
@pytest.mark.parametrize("kind", [Kind.SOFTWARE, Kind.EXECUTE])
def test_a_breakpoint_stops_before_its_instruction(engine: KvmEngine, enter: object, kind: Kind) -> None:
    with machine(engine, enter, NOP * 4 + HLT) as it:  # type: ignore[arg-type]
        guest, point = Guest(it), Point(kind, CODE + 2)
        assert guest.insert(0, point)
        assert guest.run(RUN, SECONDS) == Stop(GdbSignal.TRAP, 0, point)
        assert it.vcpu.registers().rip == CODE + 2
        assert it.memory.read(CODE, 5) == NOP * 4 + HLT
        guest.remove(point)
        assert guest.run(STEP, SECONDS) == Stop(GdbSignal.TRAP)
        assert it.vcpu.registers().rip == CODE + 3
        assert guest.run(RUN, SECONDS) == exits.Halt()


@pytest.mark.kvm
def test_code_that_the_guest_writes_over_a_breakpoint_stays(engine: KvmEngine) -> None:
    with machine(
        engine, modes.prot32, b"\xa2" + (CODE + 6).to_bytes(4, "little") + HLT + NOP
    ) as it:  # mov %al, 6(code)
        guest = Guest(it)
        guest.insert(0, Point(Kind.SOFTWARE, CODE + 6))
        assert guest.run(RUN, SECONDS) == exits.Halt()
        assert it.memory.read(CODE + 6, 1) == b"\0"


@pytest.mark.kvm
def test_an_int3_of_the_guest_is_no_breakpoint(engine: KvmEngine) -> None:
    with machine(engine, modes.prot32, NOP + INT3 + HLT) as it:
        guest = Guest(it)
        guest.insert(0, Point(Kind.SOFTWARE, CODE + 5))
        ended = guest.run(RUN, SECONDS)
        if isinstance(ended, exits.InternalError):  # kvm_pvm cannot carry it out in ring 0
            return
        assert ended is None
        assert guest.run(RUN, SECONDS) == exits.Shutdown()  # the IDT is empty


@pytest.mark.kvm
def test_a_watchpoint_stops_after_the_write_or_is_not_offered(engine: KvmEngine) -> None:
    target = 0x9000
    store = b"\xa3" + target.to_bytes(4, "little")  # mov %eax, target
    with machine(engine, modes.prot32, NOP + store + NOP + HLT, registers=Registers(rax=7)) as it:
        guest, point = Guest(it), Point(Kind.WRITE, target, 4)
        assert not guest.insert(0, point._replace(kind=Kind.READ))
        if not guest.insert(0, point):
            assert not guest.watches
            pytest.skip(f"the backend {engine.backend.name} does not carry out data breakpoints in ring 0")
        assert guest.run(RUN, SECONDS) == Stop(GdbSignal.TRAP, 0, point)
        assert it.memory.read(target, 1) == b"\x07"
        assert it.vcpu.registers().rip == CODE + 6
        assert guest.run(RUN, SECONDS) == exits.Halt()


@pytest.mark.kvm
def test_only_the_vcpus_that_are_to_run_do(engine: KvmEngine) -> None:
    with machine(engine, modes.prot32, NOP * 3 + SPIN, vcpus=2) as it:
        for vcpu in it.vcpus:
            vcpu.set_special_registers(modes.prot32(vcpu.special_registers()))
            vcpu.set_registers(Registers(rip=CODE))
        guest = Guest(it)
        assert guest.run(Resume(steps=frozenset({1})), SECONDS) == Stop(GdbSignal.TRAP, 1)
        assert [vcpu.registers().rip - CODE for vcpu in it.vcpus] == [0, 1]
        point = Point(Kind.SOFTWARE, CODE + 2)
        guest.insert(0, point)
        assert guest.run(RUN, SECONDS) == Stop(GdbSignal.TRAP, 0, point)
        assert [vcpu.registers().rip - CODE for vcpu in it.vcpus] == [2, 1]
        guest.remove(point)
        ended = guest.run(Resume(steps=frozenset({0}), runs=frozenset({1})), SECONDS)
        assert ended == Stop(GdbSignal.TRAP, 0)


@pytest.mark.kvm
def test_memory_is_reached_through_the_guests_page_tables(engine: KvmEngine) -> None:
    with machine(engine, long64, HLT, ram=0x40_0000) as it:
        guest = Guest(it)
        assert guest.read(0, CODE, 1) == HLT
        guest.write(0, 0x1F_FFFE, b"ab")
        assert guest.read(0, 0x1F_FFFE, 8) == b"ab"  # what there is: the next page is not mapped
        for address, count in ((BETWEEN, 1), (1 << 48, 1), (0x1F_FFFE, 3), (0x4000_0000, 1)):
            with pytest.raises(GuestMemoryError):
                guest.write(0, address, b"x" * count)
        assert guest.read(0, 0x1F_FFFE, 2) == b"ab"  # nothing of it was written
        for address in (BETWEEN, 1 << 48, (1 << 64) - 1, 0x4000_0000):  # the last is mapped to where no memory is
            with pytest.raises(GuestMemoryError):
                guest.read(0, address, 4)
            with pytest.raises(GuestMemoryError):
                guest.insert(0, Point(Kind.SOFTWARE, address))


@pytest.mark.kvm
def test_registers_are_set_and_a_bad_control_register_refused(engine: KvmEngine) -> None:
    with machine(engine, long64, NOP + HLT) as it:
        guest = Guest(it)
        state = guest.state(0)
        assert (state.fpu.fcw, state.fpu.mxcsr) == (0x37F, 0x1F80)  # after reset
        state.general.rbx, state.special.cr2, state.fpu.xmm[3][0], state.fpu.mxcsr = 5, 0x1234, 9, 0x1F00
        guest.set_state(0, state)
        state = guest.state(0)
        values = state.general.rbx, state.special.cr2, state.fpu.xmm[3][0], state.fpu.mxcsr
        assert values == (5, 0x1234, 9, 0x1F00)
        state.special.cr4 = 0  # long mode without PAE
        with pytest.raises(Fault):
            guest.set_state(0, state)


@pytest.mark.kvm
def test_breakpoints_have_a_limit(engine: KvmEngine) -> None:
    with machine(engine, long64, HLT) as it:
        guest = Guest(it)
        for index in range(MAX_SOFTWARE):
            guest.insert(0, Point(Kind.SOFTWARE, 0x1000 + index))
        with pytest.raises(Fault, match="1024"):
            guest.insert(0, Point(Kind.SOFTWARE, 0x9000))
        for index in range(4):
            guest.insert(0, Point(Kind.EXECUTE, 0x1000 + index))
        guest.insert(0, Point(Kind.EXECUTE, 0x1000))  # again: GDB may
        with pytest.raises(Fault, match="four"):
            guest.insert(0, Point(Kind.EXECUTE, 0x9000))


def test_a_range_is_cut_into_what_debug_registers_can_watch() -> None:
    def pieces(address: int, length: int) -> list[tuple[int, BreakLength]]:
        return [(point.address, point.length) for point in cover(Point(Kind.WRITE, address, length))]

    assert pieces(0x1000, 8) == [(0x1000, BreakLength.EIGHT)]
    assert pieces(0x1003, 4) == [(0x1003, BreakLength.ONE), (0x1004, BreakLength.TWO), (0x1006, BreakLength.ONE)]
    assert cover(Point(Kind.EXECUTE, 0x1003, 3)) == (HardwareBreakpoint(0x1003, BreakOn.EXECUTE),)
    with pytest.raises(Fault, match="four"):
        pieces(0x1000, 1 << 62)


@pytest.mark.kvm
def test_no_packet_raises(engine: KvmEngine) -> None:
    """What a debugger may ask, with numbers that make no sense, of a guest that is really there."""
    chance = random.Random(1)

    def number() -> bytes:
        return b"%x" % chance.choice(
            (0, 1, 0x1000, 0x1FFF, 0x9000, BETWEEN, 1 << 31, 1 << 32, 1 << 47, 1 << 48, 1 << 63, (1 << 64) - 1)
        )

    with machine(engine, long64, NOP * 64 + HLT, vcpus=2, cpuid=engine.supported_cpuid()) as it:
        guest = Guest(it)
        session = Session(guest)
        registers = FILES[64].registers
        makers = (
            lambda: b"m%b,%b" % (number(), number()),
            lambda: b"X%b,2:ab" % number(),
            lambda: b"Z%d,%b,%b" % (chance.randrange(5), number(), number()),
            lambda: b"z%d,%b,%b" % (chance.randrange(5), number(), number()),
            lambda: (
                b"P%x=%b" % (n := chance.randrange(len(registers)), chance.randbytes(registers[n].size).hex().encode())
            ),
            lambda: b"G" + chance.randbytes(sum(register.size for register in registers)).hex().encode(),
            lambda: b"Hg%x" % chance.randrange(4),
            lambda: b"qThreadExtraInfo,%b" % number(),
            lambda: b"qRcmd," + (b"translate 0x" + number()).hex().encode(),
            lambda: b"g",
        )
        for _ in range(600):
            assert isinstance(session.handle(chance.choice(makers)()), bytes)
        guest.release()
