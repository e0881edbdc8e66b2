"""The monitor is wrong: the bus, memory slots, exits, what one VM has of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from tests.mutants.mutant import How, of, replaced, wrapped
from tests.mutants.processor import both
from virtproof.vmm.backing import HostMemory
from virtproof.vmm.bus import Bus
from virtproof.vmm.engines.software.cpu import RAX, Cpu
from virtproof.vmm.engines.software.execution import Execution
from virtproof.vmm.engines.software.slots import Log, Slots
from virtproof.vmm.engines.software.vcpu import SoftwareVcpu
from virtproof.vmm.exits import Interrupted
from virtproof.vmm.interrupts import InjectedInterrupts
from virtproof.vmm.user_irqchip import LocalApics

bus = of("mmio", "pio", "second_level")
slot = of("second_level", "isolation", "mmio")
vm = of("isolation", "smp")
PAGE = 4096


# ---- accesses


def length(by: int) -> Callable[..., int]:
    def around(original: Any, self: Bus, address: int, size: int) -> int:
        return int(original(self, address, max(1, min(8, size + by)))) & (1 << 8 * size) - 1

    return around


def write_length(by: int) -> Callable[..., None]:
    def around(original: Any, self: Bus, address: int, size: int, value: int) -> None:
        size = max(1, min(8, size + by))
        original(self, address, size, value & (1 << 8 * size) - 1)

    return around


def elsewhere(original: Any, self: Bus, address: int, *rest: int) -> Any:
    return original(self, address + 1, *rest)


def twice(original: Any, self: Bus, *rest: int) -> Any:
    original(self, *rest)
    return original(self, *rest)


def never(original: Any, self: Bus, *rest: int) -> None:
    pass


def nobody_is_0(original: Any, self: Bus, address: int, size: int) -> int:
    value = int(original(self, address, size))
    return 0 if value == (1 << 8 * size) - 1 else value


def big_endian(original: Any, self: Bus, address: int, size: int, value: int) -> None:
    original(self, address, size, int.from_bytes(value.to_bytes(size, "little"), "big"))


def read_as_big_endian(original: Any, self: Bus, address: int, size: int) -> int:
    return int.from_bytes(int(original(self, address, size)).to_bytes(size, "little"), "big")


def in_bytes(original: Any, self: Bus, address: int, size: int, value: int) -> None:
    for n in range(size):
        original(self, address + n, 1, value >> 8 * n & 0xFF)


def read_in_bytes(original: Any, self: Bus, address: int, size: int) -> int:
    return sum(int(original(self, address + n, 1)) << 8 * n for n in range(size))


def wrapping_to_4g(original: Any, self: Bus, address: int, *rest: int) -> Any:
    return original(self, address & 0xFFFF_FFFF, *rest)


def held_back() -> How:
    """A write comes out with the next one, behind it."""
    waiting: dict[int, tuple[int, ...]] = {}

    def around(original: Any, self: Bus, *rest: int) -> None:
        held = waiting.pop(id(self), None)
        if held is None:
            waiting[id(self)] = rest
        else:
            original(self, *rest)
            original(self, *held)

    return wrapped(Bus, "mmio_write", around)


def again_when_kicked(original: Any, self: Execution, port: int, size: int, value: int, data: object) -> None:
    original(self, port, size, value, data)
    if self._kicked:
        original(self, port, size, value, data)


# ---- slots


def log(change: Callable[[bytes], bytes]) -> How:
    return wrapped(Log, "take", lambda original, self: change(original(self)))


def not_cleared(self: Log) -> bytes:
    return bytes(self._bitmap)[: self.length]


def first_lost(found: bytes) -> bytes:
    bits = int.from_bytes(found, "little")
    return (bits & bits - 1).to_bytes(len(found), "little")


def neighbours(found: bytes) -> bytes:
    bits = int.from_bytes(found, "little")
    return ((bits | bits << 1) & (1 << 8 * len(found)) - 1).to_bytes(len(found), "little")


def rights_lost(
    original: Any, self: Slots, number: int, gpa: int, memory: Any, read_only: bool, log_dirty: bool
) -> None:
    original(self, number, gpa, memory, False, log_dirty)


def kept(original: Any, self: Slots, number: int) -> None:
    """A deleted slot stays where it is."""
    if not self.running and number not in self._slots:
        original(self, number)


class Longer:
    """Memory with one page more than there is."""

    def __init__(self, memory: Any) -> None:
        self.address, self.size, self.inner = memory.address, memory.size + PAGE, memory


def page_longer(original: Any, self: Slots, number: int, gpa: int, memory: Any, *rest: Any) -> None:
    overlap = any(gpa + memory.size == other.gpa for other in self._slots.values())
    original(self, number, gpa, memory if overlap or number < 2 else Longer(memory), *rest)


def page_shorter(original: Any, self: Slots, number: int, gpa: int, memory: Any, *rest: Any) -> None:
    class Shorter:
        address, size = memory.address, memory.size - PAGE

    original(self, number, gpa, Shorter if memory.size > PAGE else memory, *rest)


class Part:
    """A part of some memory."""

    def __init__(self, memory: Any, offset: int, size: int) -> None:
        self.address, self.size, self.inner = memory.address + offset, size, memory


def above_4g_below(original: Any, self: Slots, number: int, gpa: int, memory: Any, *rest: Any) -> None:
    low = gpa & 0xFFFF_FFFF
    if gpa >> 32 and low + memory.size <= self._slots[0].end:
        memory = Part(self._slots[0].memory, low, memory.size)
    original(self, number, gpa, memory, *rest)


# ---- what is left of another VM


def recycled() -> How:
    """New memory is that of the last guest of the same size."""
    left: dict[int, bytes] = {}

    def init(original: Any, self: HostMemory, size: int, **rest: Any) -> None:
        original(self, size, **rest)
        if size in left:
            self.view[:] = left[size]

    def close(original: Any, self: HostMemory) -> None:
        if self.size <= 4 << 20:
            left[self.size] = bytes(self.view)
        original(self)

    return both(wrapped(HostMemory, "__init__", init), wrapped(HostMemory, "close", close))


def left_in(name: str) -> How:
    """State of a processor that was closed is in the next one: general registers, debug registers."""
    left: dict[str, list[int]] = {}

    def close(original: Any, self: SoftwareVcpu) -> None:
        if vars(self):
            source = self._cpu.state.regs if name == "regs" else self._cpu.events.dr
            left[name] = [int(value) for value in source][: 16 if name == "regs" else 4]
        original(self)

    def reset(original: Any, self: Cpu) -> None:
        original(self)
        target = self.state.regs if name == "regs" else self.events.dr
        for number, value in enumerate(left.get(name, [0, 0x5A17, 0, 0])):
            target[number] = value

    return both(wrapped(SoftwareVcpu, "close", close), wrapped(Cpu, "reset", reset))


def swapped_at_exits(pick: Callable[[Cpu], tuple[Any, list[int]]]) -> How:
    """In an access that comes out, state of this processor is mixed with that of the one before."""
    last: dict[str, tuple[int, list[int]]] = {}

    def around(original: Any, self: Execution, *rest: Any) -> Any:
        result = original(self, *rest)
        target, indices = pick(self._cpu)
        mine = [int(target[n]) for n in indices]
        owner, values = last.get("", (id(self), mine))
        if owner != id(self):
            for n, value in zip(indices, values, strict=True):
                target[n] = value
        last[""] = id(self), mine
        return result

    return wrapped(Execution, "_out", around)


def registers_of(cpu: Cpu) -> tuple[Any, list[int]]:
    return cpu.state.regs, [12, 13, 14, 15]


def debug_registers_of(cpu: Cpu) -> tuple[Any, list[int]]:
    return cpu.events.dr, [0, 1, 2, 3]


def xmm_left() -> How:
    def around(original: Any, self: Cpu) -> None:
        from unicorn.x86_const import UC_X86_REG_XMM0, UC_X86_REG_XMM15

        original(self)
        for register in (UC_X86_REG_XMM0, UC_X86_REG_XMM15):
            self.uc.reg_write(register, 0x5A17)

    return wrapped(Cpu, "reset", around)


def xmm_mixed() -> How:
    """In an access that comes out XMM0 becomes that of the processor before."""
    last: dict[str, tuple[int, int]] = {}

    def around(original: Any, self: Execution, *rest: Any) -> Any:
        from unicorn.x86_const import UC_X86_REG_XMM0

        mine = int(self._uc.reg_read(UC_X86_REG_XMM0))
        owner, value = last.get("", (id(self), mine))
        if owner != id(self):
            self._uc.reg_write(UC_X86_REG_XMM0, value)
        last[""] = id(self), mine
        return original(self, *rest)

    return wrapped(Execution, "_out", around)


def messages_to_all() -> How:
    """A message goes to the processors of every machine."""
    known: WeakSet[LocalApics] = WeakSet()

    def attach(original: Any, self: LocalApics, *rest: Any, **more: Any) -> None:
        known.add(self)
        original(self, *rest, **more)

    def signal(original: Any, self: LocalApics, address: int, data: int) -> bool:
        return sum(original(one, address, data) for one in (self, *(known - {self}))) > 0

    return both(wrapped(LocalApics, "attach", attach), wrapped(LocalApics, "signal_msi", signal))


def page_early(original: Any, self: Slots, number: int, gpa: int, *rest: Any) -> None:
    original(self, number, gpa - PAGE if gpa >= 0x1000_0000 else gpa, *rest)


# ---- running


def forgets_rax(original: Any, self: Execution, accesses: Any) -> Any:
    stopped = original(self, accesses)
    if isinstance(stopped, Interrupted):
        self._cpu.state.regs[RAX] = 0
    return stopped


def halts_go_on(original: Any, self: Execution) -> Any:
    original(self)
    return None


def rip_at_halt(original: Any, self: Execution) -> Any:
    stopped = original(self)
    if stopped is not None:
        self._cpu.state.rip -= 1
    return stopped


def runs_one(original: Any, self: Execution, accesses: Any) -> Any:
    """One instruction is run though a kick was waiting."""
    if not self._kicked:
        return original(self, accesses)
    self._kicked, self._stepping = False, True
    original(self, accesses)
    self._stepping = False
    return Interrupted()


def next_vector(original: Any, self: InjectedInterrupts) -> int | None:
    vector = original(self)
    return None if vector is None else vector + 1


# fmt: off
MUTANTS = (
    bus("bus.read_longer",    "A read of memory that is none is a byte longer",          wrapped(Bus, "mmio_read", length(1)),              "mmio.form.mov_load1"),
    bus("bus.read_shorter",   "A read of memory that is none is a byte shorter",         wrapped(Bus, "mmio_read", length(-1)),             "mmio.form.mov_load8"),
    bus("bus.write_shorter",  "A write to memory that is none is a byte shorter",        wrapped(Bus, "mmio_write", write_length(-1)),      "mmio.form.mov_store8"),
    bus("bus.write_longer",   "A write to memory that is none is a byte longer",         wrapped(Bus, "mmio_write", write_length(1)),       "mmio.form.mov_store1"),
    bus("bus.next_address",   "A write comes out at the next address",                   wrapped(Bus, "mmio_write", elsewhere),             "mmio.form.mov_store1"),
    bus("bus.next_read",      "A read comes out at the next address",                    wrapped(Bus, "mmio_read", elsewhere),              "mmio.form.mov_load4"),
    bus("bus.write_twice",    "A write comes out twice",                                 wrapped(Bus, "mmio_write", twice),                 "mmio.form.mov_store4 mmio.x.signal"),
    bus("bus.read_twice",     "A read comes out twice",                                  wrapped(Bus, "mmio_read", twice),                  "mmio.form.mov_load2"),
    bus("bus.write_lost",     "A write is lost",                                         wrapped(Bus, "mmio_write", never),                 "mmio.form.mov_store2"),
    bus("bus.write_order",    "Writes come out in another order",                        held_back(),                                       "mmio.x.wc_order"),
    bus("bus.write_bytes",    "A write comes out byte by byte",                          wrapped(Bus, "mmio_write", in_bytes),              "mmio.form.mov_store4"),
    bus("bus.read_bytes",     "A read comes out byte by byte",                           wrapped(Bus, "mmio_read", read_in_bytes),          "mmio.x.unaligned"),
    bus("bus.write_swapped",  "A write has its bytes reversed",                          wrapped(Bus, "mmio_write", big_endian),            "mmio.form.mov_store8"),
    bus("bus.read_swapped",   "A read has its bytes reversed",                           wrapped(Bus, "mmio_read", read_as_big_endian),     "mmio.form.mov_load8"),
    bus("bus.nobody_0",       "Where nobody is memory reads 0",                          wrapped(Bus, "mmio_read", nobody_is_0),            "slat.hole_read.8 int.apicmode.x_to_off", "interrupts", "timers"),
    bus("bus.above_4g",       "Addresses lose what is above 4 GiB",                      wrapped(Bus, "mmio_write", wrapping_to_4g),        "mmio.x.above4g"),
    bus("pio.nobody_0",       "Where nobody is a port reads 0",                          wrapped(Bus, "pio_in", nobody_is_0),               "pio.x.unhandled", "timers"),
    bus("pio.out_twice",      "OUT comes out twice",                                     wrapped(Bus, "pio_out", twice),                    "pio.out1.imm"),
    bus("pio.out_lost",       "OUT to a port where somebody is is lost, but one byte wide", wrapped(Bus, "pio_out", lambda original, self, port, size, value: original(self, port, size, value) if size in (1, 4) else None), "pio.out2.dx"),
    bus("pio.in_next",        "IN reads the next port",                                  wrapped(Bus, "pio_in", elsewhere),                 "pio.in4.dx"),
    bus("pio.in_swapped",     "IN has its bytes reversed",                               wrapped(Bus, "pio_in", read_as_big_endian),        "pio.in2.imm"),
    bus("pio.in_twice",       "IN comes out twice",                                      wrapped(Bus, "pio_in", twice),                     "pio.in1.dx"),
    bus("pio.bytes",          "OUT comes out byte by byte",                              wrapped(Bus, "pio_out", lambda original, self, port, size, value: in_bytes(original, self, port, size, value) if size != 4 or port < 0x5650 else original(self, port, size, value)), "pio.out4.imm"),
    bus("pio.kicked",         "OUT that a signal interrupts is done again",              wrapped(Execution, "_out", again_when_kicked),     "pio.x.rip_once"),

    slot("slot.longer",       "A slot is one page too long",                             wrapped(Slots, "_set", page_longer),               "iso.past_end"),
    slot("slot.shorter",      "A slot is one page too short",                            wrapped(Slots, "_set", page_shorter),              "iso.fresh_zero"),
    slot("slot.early",        "A slot begins one page early",                            wrapped(Slots, "_set", page_early),                "iso.before_start"),
    slot("slot.read_only",    "A read-only slot can be written",                         wrapped(Slots, "_set", rights_lost),               "slat.ro_write"),
    slot("slot.deleted",      "A deleted slot stays",                                    wrapped(Slots, "_delete", kept),                   "slat.delete"),
    slot("slot.above_4g",     "A slot above 4 GiB shows the memory 4 GiB below",                     wrapped(Slots, "_set", above_4g_below),            "slat.above4g"),
    slot("dirty.lost",        "The first written page is not in the dirty log",          log(first_lost),                                   "slat.dirty_exact"),
    slot("dirty.more",        "The page behind a written one is in the dirty log",       log(neighbours),                                   "slat.dirty_exact"),
    slot("dirty.kept",        "Reading the dirty log does not clear it",                 replaced(Log, "take", not_cleared),                "slat.dirty_clear"),
    slot("dirty.once",        "The dirty log is empty when it is read",                  log(lambda found: bytes(len(found))),              "slat.dirty_pml"),

    vm("vm.memory",           "New memory has what another guest left",                  recycled(),                                        "iso.fresh_zero_recycled"),
    vm("vm.registers",        "General registers of a processor are in the next one",    left_in("regs"),                                   "iso.gpr_leak"),
    vm("vm.debug_registers",  "Debug registers of a processor are in the next one",      left_in("dr"),                                     "iso.dr_leak"),
    vm("vm.xmm",              "XMM registers of a new processor are not 0",              xmm_left(),                                        "iso.xmm_leak"),
    vm("vm.registers_mixed",  "R12 to R15 of two guests are mixed in exits",             swapped_at_exits(registers_of),                    "iso.gpr_pingpong"),
    vm("vm.debug_mixed",      "Debug registers of two guests are mixed in exits",        swapped_at_exits(debug_registers_of),              "iso.dr_pingpong"),

    vm("run.stopped",         "RAX is lost when a guest that spins is stopped",          wrapped(Execution, "run", forgets_rax),            "iso.cli_spin"),
    vm("vm.xmm_mixed",        "XMM0 of two guests is mixed in exits",                    xmm_mixed(),                                       "iso.xmm_pingpong"),
    vm("vm.messages",         "A message goes to the processors of every machine",       messages_to_all(),                                 "iso.two_vms_irq"),
    vm("run.halt",            "HLT does not come out",                                   wrapped(Execution, "_halt", halts_go_on),          "int.user.hlt_exit", "interrupts"),
    vm("run.halt_rip",        "RIP is at the HLT when it comes out",                     wrapped(Execution, "_halt", rip_at_halt),          "int.user.hlt_exit", "interrupts"),
    vm("run.immediate",       "An instruction runs before a kick counts",                wrapped(Execution, "run", runs_one),               "int.user.immediate", "interrupts"),
    vm("run.injected_vector",  "The vector behind the one that was handed over comes",    wrapped(InjectedInterrupts, "acknowledge", next_vector), "int.user.inject", "interrupts", "traps"),
)
# fmt: on
