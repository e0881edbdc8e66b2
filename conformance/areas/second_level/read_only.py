"""Read-only slots: the guest reads and executes them as memory; its writes go to the monitor as MMIO.

The memory is unchanged by such a write.  Of a read-modify-write only the write goes out, with the new value.
"""

from virtproof.conformance.case import Case, Insn, completes, family
from virtproof.conformance.guest import HOST_PORT, hosted
from virtproof.conformance.window import NEW, OLD
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.spec.cite import linux
from virtproof.vmm.machine import Machine

row = family("second_level", linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY"))

LONG64 = Mode.LONG64
AT = 0x3000_0000  # by the trampoline's own map, which is one to one
CELL = AT + 0x128
REGS = {"rax": 1, "rbx": CELL, "rdx": HOST_PORT, "rsi": NEW}


def _rom(machine: Machine) -> None:
    machine.memory.add(AT, 0x1000, read_only=True)
    machine.memory.load(CELL, OLD.to_bytes(8, "little"))


def _change(machine: Machine) -> None:
    machine.memory.load(CELL, NEW.to_bytes(8, "little"))


def _written(size: int, value: int) -> tuple[Access, ...]:
    return (Access("mmio", CELL, size, True, value),)


# fmt: off
LOAD_RCX, LOAD_RBP = Insn("48 8b 0b", "mov rcx, qword ptr [rbx]"), Insn("48 8b 2b", "mov rbp, qword ptr [rbx]")
STORE              = Insn("48 89 33", "mov qword ptr [rbx], rsi")
INC                = Insn("ff 03", "inc dword ptr [rbx]")
CALL_HOST          = Insn("ee", "out dx, al")
CALL               = Insn("ff d3", "call rbx")

CASES: tuple[Case, ...] = (
    hosted(row("slat.ro_read", "Reads of a read-only slot see its memory and do not exit", LONG64, LOAD_RCX,
               completes(regs={"rcx": OLD}, accesses=()), regs=REGS), furnish=_rom),
    hosted(row("slat.ro_fetch", "Code in a read-only slot runs", LONG64, CALL,  # OLD begins with RET
               completes(accesses=()), regs=REGS), furnish=_rom),
    hosted(row("slat.ro_write", "A write to a read-only slot exits and changes nothing", LONG64, (STORE, LOAD_RCX),
               completes(regs={"rcx": OLD}, accesses=_written(8, NEW)), regs=REGS), furnish=_rom),
    hosted(row("slat.ro_rmw", "A read-modify-write of a read-only slot writes the new value out", LONG64, (INC, LOAD_RCX),
               completes(regs={"rcx": OLD}, accesses=_written(4, (OLD & 0xFFFF_FFFF) + 1)), regs=REGS, priority=2), furnish=_rom),
    hosted(row("slat.ro_hostwrite", "The guest sees what the host writes to a read-only slot", LONG64, (LOAD_RCX, CALL_HOST, LOAD_RBP),
               completes(regs={"rcx": OLD, "rbp": NEW}, accesses=()), regs=REGS, priority=2), furnish=_rom, calls={1: _change}),
)
# fmt: on
