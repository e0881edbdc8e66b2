"""Read-only slots: the guest reads and executes them as memory; its writes go to the monitor as MMIO.

The memory is unchanged by such a write.  Of a read-modify-write only the write goes out, with the new value.
"""

from virtproof.conformance.case import At, Case, Insn, Row, completes, family
from virtproof.conformance.guest import HOST_PORT, hosted
from virtproof.conformance.window import CELL as FRAME_CELL
from virtproof.conformance.window import NEW, OLD, VA
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.spec.cite import linux
from virtproof.spec.x86.flags import Rflags
from virtproof.vmm.machine import Machine

CITE = (linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY"),)
row = family("second_level", *CITE)

LONG64 = Mode.LONG64
AT = 0x3000_0000  # by the trampoline's own map, which is one to one
CELL = AT + 0x128
STACK = At("kernel_stack_top")
REGS = {"rax": 1, "rbx": CELL, "rdx": HOST_PORT, "rsi": NEW}


def _rom(machine: Machine) -> None:
    machine.memory.add(AT, 0x1000, read_only=True)
    machine.memory.load(CELL, OLD.to_bytes(8, "little"))


def _change(machine: Machine) -> None:
    machine.memory.load(CELL, NEW.to_bytes(8, "little"))


def _tables(machine: Machine) -> None:
    """A PML4, PDPT, page directory and page table that map VA and what the trampoline maps: all that A and D may mark."""
    image = images.load(LONG64.value)
    machine.memory.add(AT, 4 * 0x1000, read_only=True)
    for at, entry in (
        (AT, image["pdpt"] + 0x23),
        (AT + 8, AT + 0x1000 + 0x23),
        (AT + 0x1000, AT + 0x2000 + 0x23),
        (AT + 0x2000, AT + 0x3000 + 0x23),
        (AT + 0x3000, image["frame"] + 0x63),
    ):
        machine.memory.load(at, entry.to_bytes(8, "little"))


def _written(size: int, value: int) -> tuple[Access, ...]:
    return (Access("mmio", CELL, size, True, value),)


# fmt: off
LOAD_RCX, LOAD_RBP = Insn("48 8b 0b", "mov rcx, qword ptr [rbx]"), Insn("48 8b 2b", "mov rbp, qword ptr [rbx]")
STORE              = Insn("48 89 33", "mov qword ptr [rbx], rsi")
INC                = Insn("ff 03", "inc dword ptr [rbx]")
CALL_HOST          = Insn("ee", "out dx, al")
CMPXCHG            = Insn("f0 0f b1 33", "lock cmpxchg dword ptr [rbx], esi")
PUSH, SAVE_RSP, OTHER_RSP = Insn("56", "push rsi"), Insn("49 89 e0", "mov r8, rsp"), Insn("48 89 fc", "mov rsp, rdi")
CR3_R8, CR3_R9     = Insn("41 0f 22 d8", "mov cr3, r8"), Insn("41 0f 22 d9", "mov cr3, r9")
CALL               = Insn("ff d3", "call rbx")

CASES: tuple[Case, ...] = (
    hosted(row("slat.ro_read", "Reads of a read-only slot see its memory and do not exit", LONG64, LOAD_RCX,
               completes(regs={"rcx": OLD}, accesses=()), regs=REGS), furnish=_rom),
    hosted(row("slat.ro_fetch", "Code in a read-only slot runs", LONG64, CALL,  # OLD begins with RET
               completes(accesses=()), regs=REGS), furnish=_rom),
    hosted(row("slat.ro_write", "A write to a read-only slot exits and changes nothing", LONG64, (STORE, LOAD_RCX),
               completes(regs={"rcx": OLD}, accesses=_written(8, NEW)), regs=REGS), furnish=_rom),
    hosted(row("slat.ro_cmpxchg", "LOCK CMPXCHG on a read-only slot writes the new value out", LONG64, (CMPXCHG, LOAD_RCX),
               completes(regs={"rcx": OLD}, flags_set=Rflags.zf.mask, accesses=_written(4, NEW & 0xFFFF_FFFF)), regs=REGS | {"rax": OLD & 0xFFFF_FFFF}, priority=2), furnish=_rom),
    hosted(row("slat.ro_stack", "PUSH to a read-only slot writes out, and moves RSP", LONG64, (PUSH, SAVE_RSP, OTHER_RSP, LOAD_RCX),
               completes(regs={"rcx": OLD, "r8": CELL, "rsp": STACK}, accesses=_written(8, NEW)), regs=REGS | {"rsp": CELL + 8, "rdi": STACK}, priority=2), furnish=_rom),
    hosted(Row(id="pg.misc.cr3_ro_slot", title="Page tables in a read-only slot are walked, their A and D set beforehand", area="paging", mode=LONG64, cite=CITE,
               code=(CR3_R8, LOAD_RCX, STORE, LOAD_RBP, CR3_R9), expect=completes(regs={"rcx": OLD, "rbp": NEW}, accesses=()),
               regs={"rbx": VA, "rsi": NEW, "r8": AT, "r9": At("pml4")}, fill={FRAME_CELL: OLD}, priority=2), furnish=_tables),
    hosted(row("slat.ro_rmw", "A read-modify-write of a read-only slot writes the new value out", LONG64, (INC, LOAD_RCX),
               completes(regs={"rcx": OLD}, accesses=_written(4, (OLD & 0xFFFF_FFFF) + 1)), regs=REGS, priority=2), furnish=_rom),
    hosted(row("slat.ro_hostwrite", "The guest sees what the host writes to a read-only slot", LONG64, (LOAD_RCX, CALL_HOST, LOAD_RBP),
               completes(regs={"rcx": OLD, "rbp": NEW}, accesses=()), regs=REGS, priority=2), furnish=_rom, calls={1: _change}),
)
# fmt: on
