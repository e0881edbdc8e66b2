"""A machine that is not there, for sessions without KVM."""

from __future__ import annotations

from virtproof.spec.fault import Fault
from virtproof.spec.x86.fxsave import Fxsave
from virtproof.vmm.backing import GuestMemoryError
from virtproof.vmm.engine import Translation
from virtproof.vmm.gdb.debuggee import Kind, Point
from virtproof.vmm.gdb.registers import State
from virtproof.vmm.registers import Registers, SpecialRegisters

BASE, SIZE = 0x1000, 0x100


class FakeDebuggee:
    """SIZE bytes of memory at BASE, registers that stay as they are set, room for two breakpoints, no watchpoints."""

    def __init__(self, vcpus: int = 2) -> None:
        self.vcpus = vcpus
        self.memory = bytearray(range(SIZE))
        self.states = [State(Registers(rip=0x1000 + n), SpecialRegisters(), Fxsave()) for n in range(vcpus)]
        self.points: set[Point] = set()

    def about(self, vcpu: int) -> str:
        return f"vCPU {vcpu}"

    def state(self, vcpu: int) -> State:
        general, special, fpu = self.states[vcpu]
        return State(
            Registers.unpack(general.pack()),
            SpecialRegisters.unpack(special.pack()),
            Fxsave.from_buffer_copy(bytes(fpu)),
        )

    def set_state(self, vcpu: int, state: State) -> None:
        self.states[vcpu] = state

    def read(self, vcpu: int, address: int, length: int) -> bytes:
        if not BASE <= address < BASE + SIZE:
            raise GuestMemoryError(f"read {address:#x}", "nothing is there")
        return bytes(self.memory[address - BASE : address - BASE + length])

    def write(self, vcpu: int, address: int, data: bytes) -> None:
        if not BASE <= address <= BASE + SIZE - len(data):
            raise GuestMemoryError(f"write {address:#x}", "nothing is there")
        self.memory[address - BASE : address - BASE + len(data)] = data

    def translate(self, vcpu: int, address: int) -> Translation:
        return Translation(BASE <= address < BASE + SIZE, address, True, False)

    def insert(self, vcpu: int, point: Point) -> bool:
        if point.kind > Kind.EXECUTE:
            return False
        if len(self.points) == 2:
            raise Fault("set a breakpoint", "there are two")
        self.points.add(point)
        return True

    def remove(self, point: Point) -> None:
        self.points.discard(point)

    def remove_all(self) -> None:
        self.points.clear()

    def statistics(self, vcpu: int) -> dict[str, int | list[int]]:
        return {"exits": 7, "quiet": 0, "halts": [1, 2]}
