"""The software engine's vCPU as the machine uses it: runs, stops, interrupts, debugging, memory, state."""

from __future__ import annotations

import random
import threading

import pytest

from tests.vmm.guests import CODE, SECONDS, Recorder, long64, machine
from virtproof.spec.fault import Fault
from virtproof.spec.x86.debug import BreakLength, BreakOn, Dr6
from virtproof.vmm import exits, modes
from virtproof.vmm.debug import HardwareBreakpoint
from virtproof.vmm.engines.software import SoftwareEngine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers
from virtproof.vmm.state import restore, save

NOP, HLT, INT3 = b"\x90", b"\xf4", b"\xcc"
PAGE = 0x1000


@pytest.mark.parametrize("enter", [modes.real16, modes.prot32, long64], ids=["real16", "prot32", "long64"])
def test_a_guest_halts(engine: SoftwareEngine, enter: object) -> None:
    with machine(engine, enter, NOP + HLT) as guest:  # type: ignore[arg-type]
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rip == CODE + 2


def test_a_triple_fault_shuts_down(engine: SoftwareEngine) -> None:
    with machine(engine, modes.prot32, b"\x0f\x0b") as guest:
        assert guest.run(SECONDS) == exits.Shutdown()


def test_code_where_no_memory_is_ends_the_run(engine: SoftwareEngine) -> None:
    with machine(engine, modes.prot32, b"\xe9\x00\x00\x00\x10") as guest:  # jmp beyond memory
        assert isinstance(guest.run(SECONDS), exits.InternalError)


def test_a_second_vcpu_is_refused(engine: SoftwareEngine) -> None:
    with pytest.raises(Fault, match="1 to 1"):
        Machine(engine, vcpus=2)
    vm = engine.create_vm()
    vm.create_vcpu(0)
    with pytest.raises(Fault, match="one vCPU"):
        vm.create_vcpu(1)
    vm.close()


# ---- kicks


def test_a_kick_before_the_run_is_not_lost(engine: SoftwareEngine) -> None:
    with machine(engine, modes.prot32, NOP + HLT) as guest:
        guest.vcpu.kick()
        assert guest.vcpu.run(guest.bus) == exits.Interrupted()
        assert guest.vcpu.registers().rip == CODE
        assert guest.vcpu.run(guest.bus) == exits.Halt()


def test_a_kick_by_a_device_comes_after_its_access_and_before_the_next_instruction(engine: SoftwareEngine) -> None:
    with machine(engine, modes.prot32, bytes.fromhex("e680 40 e681 f4")) as guest:  # out; inc eax; out; hlt
        device = Recorder()
        guest.bus.add_ports(0x80, 2, device, "ports")
        guest.bus.trace = lambda *access: guest.vcpu.kick()
        assert guest.vcpu.run(guest.bus) == exits.Interrupted()
        assert (guest.vcpu.registers().rip, guest.vcpu.registers().rax) == (CODE + 2, 0)
        assert guest.vcpu.run(guest.bus) == exits.Interrupted()
        assert [offset for offset, _, _ in device.accesses] == [0, 1]


def test_another_thread_ends_a_loop(engine: SoftwareEngine) -> None:
    with machine(engine, modes.prot32, bytes.fromhex("e680 ebfe")) as guest:
        running = threading.Event()
        guest.bus.trace = lambda *access: running.set()
        kicker = threading.Thread(target=lambda: running.wait(SECONDS) and guest.vcpu.kick())
        kicker.start()
        assert guest.vcpu.run(guest.bus) == exits.Interrupted()
        kicker.join()


def test_what_a_device_raises_comes_out_of_run(engine: SoftwareEngine) -> None:
    class Broken:
        def read(self, offset: int, size: int) -> int:
            raise ZeroDivisionError("mine")

        def write(self, offset: int, size: int, value: int) -> None:
            raise ZeroDivisionError("mine")

    for code in ("e480 f4", "e680 f4", "a100000d00 f4", "a300000d00 f4"):  # in, out, load, store
        with machine(engine, modes.prot32, bytes.fromhex(code), ram=64 << 10) as guest:
            guest.bus.add_ports(0x80, 1, Broken(), "broken")
            guest.bus.add_mmio(0xD0000, 4, Broken(), "broken")
            with pytest.raises(ZeroDivisionError, match="mine"):
                guest.run(SECONDS)


# ---- interrupts


def test_an_nmi_is_blocked_until_iret(engine: SoftwareEngine) -> None:
    """The handler sends the next NMI itself; it comes after IRET, not before."""
    handler = bytes.fromhex("43 e680 43 cf")  # inc bx; out; inc bx; iret
    with machine(engine, modes.real16, bytes.fromhex("e680 f4")) as guest:
        guest.memory.load(2 * 4, (0x1100).to_bytes(4, "little"))
        guest.memory.load(0x1100, handler)
        seen: list[int] = []

        def trace(*access: object) -> None:
            seen.append(guest.vcpu.registers().rbx)
            if len(seen) < 3:
                guest.vcpu.nmi()

        guest.bus.trace = trace
        assert guest.run(SECONDS) == exits.Halt()
        assert seen == [0, 1, 3]


def test_an_nmi_ends_a_halt_again_and_again(engine: SoftwareEngine) -> None:
    """Also where no block of the guest's has run to its end, so that Unicorn did not tell of the handler's."""
    with machine(engine, modes.real16, bytes.fromhex("e680 f4 ebfd")) as guest:  # out; hlt; jmp to hlt
        guest.memory.load(2 * 4, (0x3100).to_bytes(4, "little"))
        guest.memory.load(0x3100, bytes.fromhex("43 cf"))  # inc bx; iret
        guest.bus.trace = lambda *access: guest.vcpu.nmi()
        for count in (1, 2, 3):
            assert guest.run(SECONDS) == exits.Halt()
            assert guest.vcpu.registers().rbx == count
            guest.vcpu.nmi()


def test_a_selector_that_cannot_be_read_faults(engine: SoftwareEngine) -> None:
    code = bytes.fromhex("0f 00 1c 25 00 00 40 00")  # ltr [400000h], which no page maps, and there is no IDT
    with machine(engine, long64, code) as guest:
        assert guest.run(SECONDS) == exits.Shutdown()
        assert guest.vcpu.special_registers().cr2 == 0x400000


@pytest.mark.parametrize("base", [0, 1 << 47])
def test_a_table_lies_at_a_canonical_address(engine: SoftwareEngine, base: int) -> None:
    code = bytes.fromhex("0f 01 14 25 00 50 00 00 f4")  # lgdt [5000h]; hlt, and there is no IDT
    with machine(engine, long64, code) as guest:
        guest.memory.load(0x5000, (0xFFFF).to_bytes(2, "little") + base.to_bytes(8, "little"))
        assert guest.run(SECONDS) == (exits.Shutdown() if base else exits.Halt())


def test_an_interrupt_waits_for_the_instruction_after_sti(engine: SoftwareEngine) -> None:
    code = bytes.fromhex("fb 40 40 f4")  # sti; inc ax; inc ax; hlt
    with machine(engine, modes.real16, code, irqchip="injected") as guest:
        guest.memory.load(4 * 0x25, (0x1100).to_bytes(4, "little"))
        guest.memory.load(0x1100, bytes.fromhex("89c3 fa f4"))  # mov bx, ax; cli; hlt
        guest.interrupts.set_line(5, True)
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rbx == 1


def test_an_interrupt_waits_for_it_also_when_the_guest_is_stopped_there(engine: SoftwareEngine) -> None:
    with machine(engine, modes.real16, bytes.fromhex("fb 40 40 f4"), irqchip="injected") as guest:
        guest.memory.load(4 * 0x25, (0x1100).to_bytes(4, "little"))
        guest.memory.load(0x1100, bytes.fromhex("90 f4"))
        guest.interrupts.set_line(5, True)
        guest.vcpu.debug(single_step=True)
        pcs = [stop.pc for stop in (guest.run(SECONDS) for _ in range(3)) if isinstance(stop, exits.Debug)]
        assert pcs == [CODE + 1, CODE + 2, 0x1101]


# ---- debugging


@pytest.mark.parametrize("enter", [modes.real16, modes.prot32, long64], ids=["real16", "prot32", "long64"])
def test_single_steps(engine: SoftwareEngine, enter: object) -> None:
    with machine(engine, enter, NOP + bytes.fromhex("0fa2 0f20c0") + HLT) as guest:  # type: ignore[arg-type]
        guest.vcpu.debug(single_step=True)
        for pc in (CODE + 1, CODE + 3, CODE + 6):
            stopped = guest.run(SECONDS)
            assert isinstance(stopped, exits.Debug)
            assert (stopped.exception, stopped.pc, Dr6(stopped.dr6).bs) == (1, pc, True)
        guest.vcpu.debug()
        assert guest.run(SECONDS) == exits.Halt()


def test_a_step_over_an_instruction_that_the_engine_carries_out(engine: SoftwareEngine) -> None:
    rdmsr = bytes.fromhex("b9100000000f3290")
    with machine(engine, modes.prot32, rdmsr + HLT) as guest:
        guest.vcpu.debug(single_step=True)
        pcs = [stop.pc for stop in (guest.run(SECONDS) for _ in range(3)) if isinstance(stop, exits.Debug)]
        assert pcs == [CODE + 5, CODE + 7, CODE + 8]


def test_breakpoints_of_the_monitor(engine: SoftwareEngine) -> None:
    store = bytes.fromhex("a200500000")  # mov [5000h], al
    with machine(engine, modes.prot32, NOP + store + NOP + INT3 + HLT) as guest:
        guest.vcpu.debug(
            software=True,
            hardware=[
                HardwareBreakpoint(CODE + 1),
                HardwareBreakpoint(0x5000, BreakOn.WRITE, BreakLength.FOUR),
            ],
        )
        stopped = guest.run(SECONDS)
        assert isinstance(stopped, exits.Debug)
        assert (stopped.pc, Dr6(stopped.dr6).b0) == (CODE + 1, True)
        guest.vcpu.debug(software=True, hardware=[HardwareBreakpoint(0x5000, BreakOn.WRITE, BreakLength.FOUR)])
        stopped = guest.run(SECONDS)
        assert isinstance(stopped, exits.Debug)
        assert (stopped.pc, Dr6(stopped.dr6).b0) == (CODE + 6, True)
        stopped = guest.run(SECONDS)
        assert isinstance(stopped, exits.Debug)
        assert (stopped.exception, stopped.pc) == (3, CODE + 7)


def test_a_load_does_not_hit_a_breakpoint_on_writes(engine: SoftwareEngine) -> None:
    with machine(engine, modes.prot32, bytes.fromhex("a000500000 f4")) as guest:  # mov al, [5000h]; hlt
        guest.vcpu.debug(hardware=[HardwareBreakpoint(0x5000, BreakOn.WRITE)])
        assert guest.run(SECONDS) == exits.Halt()
        guest.vcpu.set_registers(Registers(rip=CODE))
        guest.vcpu.debug(hardware=[HardwareBreakpoint(0x5000, BreakOn.ACCESS)])
        assert isinstance(guest.run(SECONDS), exits.Debug)


def test_a_single_step_of_the_guest_ends_a_halt(engine: SoftwareEngine) -> None:
    code = bytes.fromhex("9c 5b 80cf01 53 9d f4 90")  # pushf; pop bx; or bh, 1; push bx; popf; hlt; nop
    with machine(engine, modes.real16, code) as guest:
        guest.memory.load(1 * 4, (0x3100).to_bytes(4, "little"))
        guest.memory.load(0x3100, bytes.fromhex("59 f4"))  # pop cx; hlt
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rcx == CODE + 8


# ---- memory


def test_writes_are_logged_exactly(engine: SoftwareEngine) -> None:
    with Machine(engine, ram=0) as guest:
        slot = guest.memory.add(0, 16 * PAGE, log_dirty=True)
        guest.memory.load(CODE, bytes.fromhex("a200500000 a3fe7f0000 f4"))  # one byte; four across two pages
        guest.vcpu.set_special_registers(modes.prot32(guest.vcpu.special_registers()))
        guest.vcpu.set_registers(Registers(rip=CODE))
        assert guest.run(SECONDS) == exits.Halt()
        log = int.from_bytes(guest.vm.dirty_log(slot.number), "little")
        assert [page for page in range(16) if log >> page & 1] == [5, 7, 8]
        assert not any(guest.vm.dirty_log(slot.number))


def test_a_slot_moves_under_a_guest_that_runs(engine: SoftwareEngine) -> None:
    """The device that the guest calls moves memory: the next instruction finds it at the new place."""
    code = bytes.fromhex("e680 a100000400 f4")  # out; mov eax, [40000h]; hlt
    with machine(engine, modes.prot32, code, ram=64 << 10) as guest:
        slot = guest.memory.add(0x20000, PAGE)
        guest.memory.load(0x20000, b"\x78\x56\x34\x12")
        guest.bus.trace = lambda kind, *rest: kind == "pio" and guest.memory.move(slot, 0x40000)
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rax == 0x12345678


@pytest.mark.parametrize("offset", range(0xFF8, 0x1000))
@pytest.mark.parametrize("kinds", [("ram", "mmio"), ("mmio", "mmio"), ("mmio", "ram")])
def test_accesses_that_cross_pages(engine: SoftwareEngine, offset: int, kinds: tuple[str, str]) -> None:
    """Each page has its part, once."""
    code = bytes.fromhex("48 8b 03 48 89 03 f4")  # mov rax, [rbx]; mov [rbx], rax; hlt
    registers = Registers(rbx=0x20000 + offset)
    with machine(engine, long64, code, registers=registers, ram=64 << 10, cpuid=engine.supported_cpuid()) as guest:
        seen: list[tuple[int, int, bool]] = []
        guest.bus.trace = lambda kind, address, size, is_write, value: seen.append((address, size, is_write))
        for kind, base in zip(kinds, (0x20000, 0x21000), strict=True):
            if kind == "ram":
                guest.memory.add(base, PAGE)
        assert guest.run(SECONDS) == exits.Halt()
        low = min(PAGE - offset, 8)
        parts = [part for part in ((0x20000 + offset, low, kinds[0]), (0x21000, 8 - low, kinds[1])) if part[1]]
        want = [(address, size) for address, size, kind in parts if kind == "mmio"]
        assert seen == [(*part, False) for part in want] + [(*part, True) for part in want]


def test_code_that_the_monitor_changes_is_run_as_it_is(engine: SoftwareEngine) -> None:
    """Between two runs, and by a device while the guest runs."""
    code = bytes.fromhex("e680 b001 f4 ebf9")  # out; mov al, 1; hlt; jmp to the start
    with machine(engine, modes.prot32, code) as guest:
        values = [5, 9]
        assert guest.run(SECONDS) == exits.Halt()
        guest.memory.load(CODE + 3, bytes(values[:1]))
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rax == values[0]
        guest.bus.trace = lambda *access: guest.memory.write(CODE + 3, bytes(values[1:]))
        assert guest.run(SECONDS) == exits.Halt()
        assert guest.vcpu.registers().rax == values[1]


# ---- state


def test_a_saved_machine_goes_on(engine: SoftwareEngine) -> None:
    code = bytes.fromhex("40 0f6ec8 f4 40 0f7ecb f4")  # inc eax; movd mm1, eax; hlt; inc eax; movd ebx, mm1; hlt
    with machine(engine, modes.prot32, code, cpuid=engine.supported_cpuid(), irqchip=True) as guest:
        assert guest.run(SECONDS) == exits.Halt()
        saved = save(guest)
        assert not saved.missing
    with restore(engine, saved).machine as guest:
        assert guest.run(SECONDS) == exits.Halt()
        registers = guest.vcpu.registers()
        assert (registers.rax, registers.rbx) == (2, 1)


def test_floating_point_registers_are_kept(engine: SoftwareEngine) -> None:
    with machine(engine, modes.prot32, HLT) as guest:
        fpu = guest.vcpu.fpu()
        assert (fpu.fcw, fpu.mxcsr, fpu.ftw) == (0x37F, 0x1F80, 0)
        fpu.fsw, fpu.ftw = 3 << 11, 0x18
        fpu.st[0][:10], fpu.xmm[15][:] = bytes(range(10)), bytes(range(16))
        guest.vcpu.set_fpu(fpu)
        assert bytes(guest.vcpu.fpu()) == bytes(fpu)
        fpu.mxcsr = 1 << 20
        with pytest.raises(Fault, match="reserved"):
            guest.vcpu.set_fpu(fpu)


def test_states_that_cannot_be_are_refused(engine: SoftwareEngine) -> None:
    with machine(engine, modes.prot32, HLT) as guest:
        special = guest.vcpu.special_registers()
        special.cr0 = 1 << 31
        with pytest.raises(Fault, match="PG without PE"):
            guest.vcpu.set_special_registers(special)


# ---- anything


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("enter", [modes.real16, modes.prot32, long64], ids=["real16", "prot32", "long64"])
def test_random_code_ends_in_an_exit(engine: SoftwareEngine, enter: object, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(10):
        with machine(engine, enter, rng.randbytes(64), cpuid=engine.supported_cpuid()) as guest:  # type: ignore[arg-type]
            registers = guest.vcpu.registers()
            for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"):
                setattr(registers, name, rng.getrandbits(rng.choice((4, 16, 32, 64))))
            guest.vcpu.set_registers(registers)
            guest.run(0.02)
