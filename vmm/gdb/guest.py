"""A machine that is debugged: what ``debuggee.Debuggee`` asks for, done with a ``Machine``.

While the machine stands still, its memory is as the guest has it: software breakpoints are put there when it goes on,
and taken away when it stops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from virtproof.spec.fault import Fault
from virtproof.spec.kvm.exits import InternalError, MpStateValue
from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.spec.x86.debug import BreakLength, BreakOn, Dr6
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.paging import is_canonical
from virtproof.vmm import exits, modes
from virtproof.vmm.debug import MAX_BREAKPOINTS, HardwareBreakpoint
from virtproof.vmm.engine import Engine, Translation
from virtproof.vmm.gdb.debuggee import GdbSignal, Kind, Point, Resume, Stop
from virtproof.vmm.gdb.registers import State
from virtproof.vmm.machine import Machine
from virtproof.vmm.memory import PAGE, GuestMemoryError
from virtproof.vmm.registers import Registers

MAX_SOFTWARE = 1024  # software breakpoints; GDB has no limit of its own
INT3 = b"\xcc"
PROBE_SECONDS = 1.0

_ADDRESSES = 1 << 64
_NOWHERE = Translation(valid=False, physical=0, writeable=False, user=False)
_ON = {Kind.EXECUTE: BreakOn.EXECUTE, Kind.WRITE: BreakOn.WRITE, Kind.ACCESS: BreakOn.ACCESS}
_LENGTHS = {8: BreakLength.EIGHT, 4: BreakLength.FOUR, 2: BreakLength.TWO, 1: BreakLength.ONE}


class Guest:
    """Debugs ``machine`` while nobody runs it; ``run`` runs it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._software: dict[Point, int] = {}  # with the guest-physical address
        self._hardware: dict[Point, tuple[HardwareBreakpoint, ...]] = {}
        self._armed: list[tuple[Point, HardwareBreakpoint]] = []  # what is in DR0 to DR3 while the guest runs

    # ---- what stands still

    @property
    def vcpus(self) -> int:
        return len(self.machine.vcpus)

    def about(self, vcpu: int) -> str:
        state = self.machine.vcpus[vcpu].mp_state()
        return f"vCPU {vcpu}" + ("" if state is MpStateValue.RUNNABLE else f" ({state.name.lower().replace('_', ' ')})")

    def state(self, vcpu: int) -> State:
        it = self.machine.vcpus[vcpu]
        return State(it.registers(), it.special_registers(), it.fpu())

    def set_state(self, vcpu: int, state: State) -> None:
        """Set what has changed: KVM looks more closely at some registers than the processor does."""
        it = self.machine.vcpus[vcpu]
        if state.special != it.special_registers():
            it.set_special_registers(state.special)
        if bytes(state.fpu) != bytes(it.fpu()):
            it.set_fpu(state.fpu)
        it.set_registers(state.general)

    def read(self, vcpu: int, address: int, length: int) -> bytes:
        data = bytearray()
        try:
            for physical, count in self._pieces(vcpu, address, length):
                data += self.machine.memory.read(physical, count)
        except GuestMemoryError:
            if not data:
                raise
        return bytes(data)

    def write(self, vcpu: int, address: int, data: bytes) -> None:
        pieces, memory, at = list(self._pieces(vcpu, address, len(data))), self.machine.memory, 0
        for physical, count in pieces:
            memory.read(physical, count)  # is there memory?
        for physical, count in pieces:
            memory.load(physical, data[at : at + count])
            at += count

    def translate(self, vcpu: int, address: int) -> Translation:
        """Walk the page tables; an address that the processor would not even walk for is not mapped."""
        special = self.machine.vcpus[vcpu].special_registers()
        if special.efer & Efer.lma.mask:
            reached = is_canonical(address, 57 if special.cr4 & Cr4.la57.mask else 48)
        else:
            reached = address < 1 << 32
        return self.machine.vcpus[vcpu].translate(address) if reached else _NOWHERE

    def _pieces(self, vcpu: int, address: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield guest-physical address and length of the part in each page."""
        end = min(address + length, _ADDRESSES)
        while address < end:
            count = min(end, (address // PAGE + 1) * PAGE) - address
            found = self.translate(vcpu, address)
            if not found.valid:
                raise GuestMemoryError(f"translate {address:#x}", "the guest's page tables do not map it")
            yield found.physical, count
            address += count

    def statistics(self, vcpu: int) -> Mapping[str, int | list[int]]:
        return self.machine.vcpus[vcpu].statistics()

    # ---- breakpoints

    def insert(self, vcpu: int, point: Point) -> bool:
        match point.kind:
            case Kind.SOFTWARE:
                if len(self._software) >= MAX_SOFTWARE:
                    raise Fault("set a breakpoint", f"there are {MAX_SOFTWARE}", "remove some")
                ((physical, _),) = self._pieces(vcpu, point.address, 1)
                self.machine.memory.read(physical, 1)
                self._software[point] = physical
            case Kind.READ:
                return False  # x86 has no such thing
            case Kind.WRITE | Kind.ACCESS if not self.watches:
                return False
            case _:
                covered = cover(point)
                others = (them for other, them in self._hardware.items() if other != point)
                if len(covered) + sum(map(len, others)) > MAX_BREAKPOINTS:
                    raise Fault(f"watch {point.length} bytes", "the processor has four debug registers")
                self._hardware[point] = covered
        return True

    def remove(self, point: Point) -> None:
        self._software.pop(point, None)
        self._hardware.pop(point, None)

    def remove_all(self) -> None:
        self._software.clear()
        self._hardware.clear()

    @cached_property
    def watches(self) -> bool:
        """Do data breakpoints stop this engine's guests?  Tried on a guest of one instruction."""
        return watchpoints_work(self.machine.engine)

    # ---- what goes on

    def run(self, resume: Resume, seconds: float) -> Stop | exits.Exit | exits.Timeout | None:
        """Run some vCPUs until one meets a breakpoint or has made its step (Stop), or the machine's run ends.

        None: nothing of that kind, run it again.
        """
        machine, patched = self.machine, self._patch()
        try:
            self._arm(resume)
            ended = machine.run(seconds, only=resume.steps | resume.runs)
        finally:
            for physical, byte in patched.items():
                if machine.memory.read(physical, 1) == INT3:  # else the guest has new code there
                    machine.memory.load(physical, byte)
        vcpu = machine.stopped_by
        match ended:
            case exits.Debug(Vector.DB, _, dr6):
                return Stop(GdbSignal.TRAP, vcpu, self._met(Dr6(dr6)))
            case exits.Debug(Vector.BP, pc):
                point = self._at(pc)
                if point is None:
                    machine.vcpus[vcpu].debug(inject_breakpoint=True)
                    return None
                return Stop(GdbSignal.TRAP, vcpu, point)
            case exits.InternalError(InternalError.EMULATION):
                # A backend that interprets kernel code may not know INT3.
                it = machine.vcpus[vcpu]
                registers = it.registers()
                point = self._at(it.special_registers().cs.base + registers.rip)
                if point is not None:
                    it.set_registers(registers)  # takes back the #UD that KVM may have queued
                    return Stop(GdbSignal.TRAP, vcpu, point)
        return ended

    def release(self) -> None:
        """Forget all breakpoints, give the guest its debug registers back."""
        self.remove_all()
        self._arm(Resume())

    def _patch(self) -> dict[int, bytes]:
        patched = {}
        for physical in set(self._software.values()):
            patched[physical] = self.machine.memory.read(physical, 1)
            self.machine.memory.load(physical, INT3)
        return patched

    def _arm(self, resume: Resume) -> None:
        self._armed = [(point, piece) for point, covered in self._hardware.items() for piece in covered]
        if any(not vcpu.special_registers().cr0 & Cr0.pe.mask for vcpu in self.machine.vcpus):
            # Where real mode is emulated, INT3 goes to the guest's handler and is not seen here.
            more = [(point, HardwareBreakpoint(point.address)) for point in self._software]
            self._armed += more[: MAX_BREAKPOINTS - len(self._armed)]
        hardware = [piece for _, piece in self._armed]
        for index, vcpu in enumerate(self.machine.vcpus):
            step = index in resume.steps
            vcpu.debug(single_step=step, software=bool(self._software), hardware=hardware, block_interrupts=step)

    def _met(self, dr6: Dr6) -> Point | None:
        """Return the breakpoint or watchpoint that DR6 names; None for a step."""
        met = [point for at, (point, _) in enumerate(self._armed) if dr6 >> at & 1]
        watched = next((point for point in met if point.kind in {Kind.WRITE, Kind.ACCESS}), None)
        return watched or (met[0] if met and not dr6.bs else None)

    def _at(self, address: int) -> Point | None:
        return next((point for point in self._software if point.address == address), None)


def cover(point: Point) -> tuple[HardwareBreakpoint, ...]:
    """Cut a range into the aligned pieces that debug registers can watch.  Raises Fault where four are not enough."""
    address, length = (point.address, 1) if point.kind is Kind.EXECUTE else (point.address, max(point.length, 1))
    made, end = [], address + length
    while address < end:
        size = next(size for size in _LENGTHS if address % size == 0 and address + size <= end)
        made.append(HardwareBreakpoint(address, _ON[point.kind], _LENGTHS[size]))
        address += size
        if len(made) > MAX_BREAKPOINTS:
            raise Fault(f"watch {length} bytes", "the processor has four debug registers of at most 8 bytes")
    return tuple(made)


def watchpoints_work(engine: Engine) -> bool:
    """Have a guest write to a byte that is watched: a backend that interprets instructions may not look."""
    code, target = 0x1000, 0x2000
    with Machine(engine, ram=0x3000) as machine:
        machine.memory.load(code, b"\xa2" + target.to_bytes(4, "little") + b"\xf4")  # mov %al, target; hlt
        vcpu = machine.vcpu
        vcpu.set_special_registers(modes.prot32(vcpu.special_registers()))
        vcpu.set_registers(Registers(rip=code))
        vcpu.debug(hardware=[HardwareBreakpoint(target, BreakOn.WRITE)])
        return isinstance(machine.run(PROBE_SECONDS), exits.Debug)
