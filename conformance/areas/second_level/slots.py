"""Memory slots: what the host maps at guest-physical addresses is there at once, and nowhere else.

A slot that is created, moved or deleted while the guest stands still has its effect before the ioctl returns: no stale
translation, and no stale knowledge of a hole, survives.  Two slots may share host memory, but no guest-physical page may
be in two slots; what is not whole pages is refused, and so is changing the size, memory or read-only flag of a slot that
exists.  A refused change leaves the map as it was.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from functools import partial

from virtproof.conformance.case import Case, HostScript, Insn, Ram, Row, completes, family
from virtproof.conformance.guest import HOST_PORT, check, hosted
from virtproof.conformance.host_memory import Region
from virtproof.conformance.window import (
    CELL,
    FETCH,
    FRAME,
    NEW,
    OLD,
    VA,
    WINDOW,
    WRITE,
    maps,
    page,
    pte,
)
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.kvm import KvmError
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.vmm.engine import Engine, Vm
from virtproof.vmm.machine import Machine
from virtproof.vmm.memory import Slot

CITE = (linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),)
row = family("second_level", *CITE)

LONG64 = Mode.LONG64
PAGE = 0x1000
GIB3, GIB4 = 3 << 30, 4 << 30
ALL_ONES = (1 << 64) - 1
OTHER = 0x0707_6A6A_9999_B6C3

# The guest reaches these by the trampoline's own map, which is one to one.
AT, ELSEWHERE = 0x3000_0000, 0x2000_0000
CELL_AT, CELL_ELSEWHERE = AT + 0x128, ELSEWHERE + 0x128
SPARE = 9  # a slot number that nothing else uses


def _read_of_hole(address: int) -> Access:
    return Access("mmio", address, 8, False, ALL_ONES)


def _slot(machine: Machine) -> Slot:
    """The slot that the case is about."""
    return next(slot for slot in machine.memory.slots if slot.gpa == AT)


def _create(machine: Machine) -> None:
    machine.memory.add(AT, PAGE)
    machine.memory.load(CELL_AT, OLD.to_bytes(8, "little"))


def _delete(machine: Machine) -> None:
    machine.memory.unmap(_slot(machine))


def _move(machine: Machine) -> None:
    slot = _slot(machine)
    machine.vm.set_slot(slot.number, ELSEWHERE, slot.memory)


def _alias(machine: Machine) -> None:
    _create(machine)
    machine.memory.map(ELSEWHERE, _slot(machine).memory)


Attempt = Callable[[Vm, Slot], None]


def _refused(guest: Row, attempts: tuple[Attempt, ...], code: int, engine: Engine) -> Iterable[Check]:
    """The host attempts changes while the guest waits; the guest then finds its memory as it was."""
    want, answers = errno.errorcode[code], list[str]()

    def attempt_all(machine: Machine) -> None:
        for attempt in attempts:
            try:
                attempt(machine.vm, _slot(machine))
                answers.append("accepted")
            except KvmError as refusal:
                answers.append(errno.errorcode.get(refusal.errno, str(refusal.errno)))

    yield from check(guest, engine, furnish=_create, calls={1: attempt_all})
    expected = [want] * len(attempts)
    yield Check("answers of the ioctl", " ".join(expected), " ".join(answers), answers == expected)


def refuses(id: str, title: str, code: int, *attempts: Attempt, priority: int = 1) -> Case:  # noqa: A002
    """A case in which every attempt must fail with ``code``."""
    guest = row(id, title, LONG64, (CALL, LOAD_RCX), completes(regs={"rcx": OLD}, accesses=()), regs=CALLS)
    script = partial(_refused, guest, attempts, code)
    return HostScript(id=id, title=title, area="second_level", mode=LONG64, cite=CITE, script=script, priority=priority)


def _folded(rounds: int, *values: int) -> int:
    """What the loop below makes of values that it reads in turn: add, then rotate left by 5."""
    fold = 0
    for n in range(rounds):
        fold = fold + values[n % len(values)] & ALL_ONES
        fold = (fold << 5 | fold >> 59) & ALL_ONES
    return fold


PROVES = ("ept", "npt")  # functional only: shadow paging shows guests the same
CALLS = {"rax": 1, "rdx": HOST_PORT, "rbx": CELL_AT, "rdi": CELL_ELSEWHERE}

# fmt: off
CALL, CALL_2 = Insn("ee", "out dx, al"), (Insn("b0 02", "mov al, 2"), Insn("ee", "out dx, al"))
LOAD_RCX     = Insn("48 8b 0b", "mov rcx, qword ptr [rbx]")
LOAD_RSI     = Insn("48 8b 33", "mov rsi, qword ptr [rbx]")
LOAD_RBP     = Insn("48 8b 2b", "mov rbp, qword ptr [rbx]")
LOAD_R8_RDI  = Insn("4c 8b 07", "mov r8, qword ptr [rdi]")
LOAD_R9_RDI  = Insn("4c 8b 0f", "mov r9, qword ptr [rdi]")
STORE_RSI    = Insn("48 89 33", "mov qword ptr [rbx], rsi")
PATCH        = (Insn("89 ce", "mov esi, ecx"), Insn("c6 43 01 22", "mov byte ptr [rbx + 1], 0x22"))
LOAD_4       = (Insn("48 8b 03", "mov rax, qword ptr [rbx]"), Insn("48 8b 0e", "mov rcx, qword ptr [rsi]"),
                Insn("48 8b 17", "mov rdx, qword ptr [rdi]"), Insn("49 8b 28", "mov rbp, qword ptr [r8]"))
EDIT_LOOP    = (
    Insn("4d 89 02",    "mov qword ptr [r10], r8"),
    Insn("0f 01 3b",    "invlpg byte ptr [rbx]"),
    Insn("48 03 33",    "add rsi, qword ptr [rbx]"),
    Insn("48 c1 c6 05", "rol rsi, 5"),
    Insn("4d 87 c1",    "xchg r9, r8"),
    Insn("ff c9",       "dec ecx"),
    Insn("75 ec",       "jne 0"),
)
MOV_ECX_RET = 0xC3_0000_0011_B9  # mov ecx, 0x11; ret
ROUNDS = 1000

CASES: tuple[Case, ...] = (
    hosted(row("slat.create", "A new slot is visible at once", LONG64, (LOAD_RCX, CALL, LOAD_RSI),
               completes(regs={"rcx": ALL_ONES, "rsi": OLD}, accesses=(_read_of_hole(CELL_AT),)), regs=CALLS, proves=PROVES), calls={1: _create}),
    hosted(row("slat.delete", "A deleted slot is a hole at once", LONG64, (LOAD_RCX, CALL, LOAD_RSI),
               completes(regs={"rcx": OLD, "rsi": ALL_ONES}, accesses=(_read_of_hole(CELL_AT),)), regs=CALLS, proves=PROVES), furnish=_create, calls={1: _delete}),
    hosted(row("slat.move", "A moved slot is at its new address and leaves a hole at the old one", LONG64, (LOAD_RCX, LOAD_R8_RDI, CALL, LOAD_RSI, LOAD_R9_RDI),
               completes(regs={"rcx": OLD, "r8": ALL_ONES, "rsi": ALL_ONES, "r9": OLD}, accesses=(_read_of_hole(CELL_ELSEWHERE), _read_of_hole(CELL_AT))), regs=CALLS),
           furnish=_create, calls={1: _move}),
    hosted(row("slat.mmio_gen", "A hole that was read becomes a slot, and the slot a hole", LONG64, (LOAD_RCX, LOAD_RCX, CALL, LOAD_RSI, *CALL_2, LOAD_RBP),
               completes(regs={"rax": 2, "rcx": ALL_ONES, "rsi": OLD, "rbp": ALL_ONES}, accesses=(_read_of_hole(CELL_AT),) * 3), regs=CALLS),
           calls={1: _create, 2: _delete}),
    hosted(row("slat.alias_gpa", "Two slots on the same host memory show the same", LONG64, (LOAD_R8_RDI, STORE_RSI, LOAD_R9_RDI),
               completes(regs={"r8": OLD, "r9": NEW}, accesses=()), regs=CALLS | {"rsi": NEW}), furnish=_alias),

    refuses("slat.overlap",   "A slot that shares a page with another is refused", errno.EEXIST,
            lambda vm, slot: vm.set_slot(SPARE, AT, slot.memory),
            lambda vm, slot: vm.set_slot(SPARE, AT - PAGE, Region(slot.memory.address, 2 * PAGE))),
    refuses("slat.unaligned", "A slot that is not made of whole pages is refused", errno.EINVAL,
            lambda vm, slot: vm.set_slot(SPARE, ELSEWHERE + 1, slot.memory),
            lambda vm, slot: vm.set_slot(SPARE, ELSEWHERE, Region(slot.memory.address, PAGE + 1)),
            lambda vm, slot: vm.set_slot(SPARE, ELSEWHERE, Region(slot.memory.address + 1, PAGE))),
    refuses("slat.wrap",      "A slot that ends beyond the address space is refused", errno.EINVAL,
            lambda vm, slot: vm.set_slot(SPARE, (1 << 64) - PAGE, Region(slot.memory.address, 2 * PAGE)), priority=2),
    refuses("slat.resize",    "A slot does not change its size", errno.EINVAL,
            lambda vm, slot: vm.set_slot(slot.number, AT, Region(slot.memory.address, 2 * PAGE)), priority=2),
    refuses("slat.hva_change", "A slot does not change its memory", errno.EINVAL,
            lambda vm, slot: vm.set_slot(slot.number, AT, Region(slot.memory.address + PAGE, PAGE)), priority=2),
    refuses("slat.flags_readonly_toggle", "A slot does not become read-only", errno.EINVAL,
            lambda vm, slot: vm.set_slot(slot.number, AT, slot.memory, read_only=True), priority=2),

    row("slat.above4g", "Memory above 4 GiB is read, executed and written, and not the memory 4 GiB below", LONG64, (LOAD_RCX, FETCH, WRITE, LOAD_RSI, LOAD_R8_RDI),
        completes(regs={"rcx": OLD, "rsi": NEW, "r8": OTHER}, accesses=()), regs={"rax": NEW, "rbx": VA, "rdi": 0x128},
        sets=(maps(page(GIB4)),), ram=(Ram(GIB4, PAGE),), fill={GIB4 + 0x128: OLD, 0x128: OTHER}),
    row("slat.pci_hole", "Between memory that ends at 3 GiB and memory that begins at 4 GiB is a hole", LONG64, LOAD_4,
        completes(regs={"rax": OLD, "rcx": ALL_ONES, "rdx": ALL_ONES, "rbp": OTHER}, accesses=(_read_of_hole(GIB3), _read_of_hole(GIB4 - 8))),
        regs={"rbx": WINDOW + 0xFF8, "rsi": WINDOW + PAGE, "rdi": WINDOW + 2 * PAGE + 0xFF8, "r8": WINDOW + 3 * PAGE},
        sets=(maps(page(GIB3 - PAGE)), maps(page(GIB3), 1), maps(page(GIB4 - PAGE), 2), maps(page(GIB4), 3)),
        ram=(Ram(GIB3 - PAGE, PAGE), Ram(GIB4, PAGE)), fill={GIB3 - 8: OLD, GIB4: OTHER}),
    row("slat.write_exec", "Code that was written runs as written", LONG64, (FETCH, *PATCH, FETCH),
        completes(regs={"rsi": 0x11, "rcx": 0x22}), regs={"rbx": VA}, sets=(maps(page()),), fill={CELL: MOV_ECX_RET}),
    row("slat.write_protect_pt", "The guest's edits of its page tables count after INVLPG, each one", LONG64, EDIT_LOOP,
        completes(regs={"rsi": _folded(ROUNDS, OLD, OTHER), "rcx": 0}),
        regs={"rbx": VA, "rsi": 0, "rcx": ROUNDS, "r8": page(), "r9": page(FRAME + PAGE), "r10": pte()},
        sets=(maps(page(present=False)),), fill={CELL: OLD, CELL + PAGE: OTHER}, seconds=10.0),
)
# fmt: on
