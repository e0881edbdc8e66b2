"""Many slots, slots that come and go, slot numbers at the limit, and memory far up.

However many slots there are, each address leads to its own, and between them are holes.  KVM_CAP_NR_MEMSLOTS says how
many numbers there are; the next one is refused.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript, Insn, Ram, completes, family
from virtproof.conformance.features import physical_bits
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check, hosted
from virtproof.conformance.host_memory import Mapping
from virtproof.conformance.of_kvm import kvm_vm
from virtproof.conformance.window import NEW, OLD, VA, maps, page
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.kvm import KvmError
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm import Cap
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

CITE = (linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),)
row = family("second_level", *CITE, priority=2)

LONG64 = Mode.LONG64
PAGE, AT = 0x1000, 0x3000_0000
ALL_ONES = (1 << 64) - 1
MANY, ROUNDS = 500, 1000
TERABYTE = 1 << 40

# fmt: off
LOAD  = Insn("48 8b 0b", "mov rcx, qword ptr [rbx]")
STORE, AGAIN = Insn("48 89 33", "mov qword ptr [rbx], rsi"), Insn("48 8b 2b", "mov rbp, qword ptr [rbx]")
FOLD  = (  # add a word, rotate, a page on
    Insn("48 03 33",    "add rsi, qword ptr [rbx]"),
    Insn("48 c1 c6 05", "rol rsi, 5"),
    Insn("48 01 fb",    "add rbx, rdi"),
    Insn("ff c9",       "dec ecx"),
    Insn("75 f2",       "jne 0"),
)
CALL_AND_FOLD = (
    Insn("ee",          "out dx, al"),
    Insn("48 03 33",    "add rsi, qword ptr [rbx]"),
    Insn("48 c1 c6 05", "rol rsi, 5"),
    Insn("ff c9",       "dec ecx"),
    Insn("75 f4",       "jne 0"),
)
# fmt: on


def _value(n: int) -> int:
    """What page ``n`` holds at its start: none like another."""
    return (n + 1) * 0x9E37_79B9_7F4A_7C15 & ALL_ONES


def _folded(values: Iterable[int]) -> int:
    fold = 0
    for value in values:
        fold = fold + value & ALL_ONES
        fold = (fold << 5 | fold >> 59) & ALL_ONES
    return fold


def _slots_and_holes(machine: Machine) -> None:
    for n in range(0, 2 * MANY, 2):
        machine.memory.add(AT + n * PAGE, PAGE)
        machine.memory.load(AT + n * PAGE, _value(n).to_bytes(8, "little"))


def _come_and_go(machine: Machine) -> None:
    """Create the slot where there is none, delete it where it is: each time another content."""
    slot = next((slot for slot in machine.memory.slots if slot.gpa == AT), None)
    if slot is not None:
        machine.memory.unmap(slot)
    else:
        machine.memory.add(AT, PAGE)
        machine.memory.load(AT, NEW.to_bytes(8, "little"))


def _last_number(engine: Engine) -> Iterable[Check]:
    """The guest reads memory in the slot with the highest number; the number behind it is refused."""
    answers: list[str] = []
    with Mapping(PAGE) as mapping, Mapping(PAGE) as other:
        mapping.pages[0x128:0x130] = OLD.to_bytes(8, "little")

        def number(machine: Machine, n: int, at: int, memory: Mapping) -> None:
            try:
                machine.vm.set_slot(n, at, memory)
                answers.append("accepted")
            except KvmError as refusal:
                answers.append(errno.errorcode.get(refusal.errno, str(refusal.errno)))

        def furnish(machine: Machine) -> None:
            slots = kvm_vm(machine).check_extension(Cap.NR_MEMSLOTS)
            number(machine, slots - 1, AT, mapping)
            number(machine, slots, AT + 0x10_0000, other)

        expect = completes(regs={"rcx": OLD}, accesses=())
        yield from check(
            row("slat.max_slots", "", LONG64, LOAD, expect, regs={"rbx": AT + 0x128}), engine, furnish=furnish
        )
    saw = " ".join(answers)
    yield Check("the last number, and the next", "accepted EINVAL", saw, saw == "accepted EINVAL")


def _sparse(engine: Engine) -> Iterable[Check]:
    if TERABYTE >> physical_bits(engine):
        raise Inapplicable(f"physical addresses have {physical_bits(engine)} bits")
    guest = row(
        "slat.sparse", "", LONG64, (LOAD, STORE, AGAIN), completes(regs={"rcx": OLD, "rbp": NEW}, accesses=()),
        regs={"rbx": VA, "rsi": NEW}, sets=(maps(page(TERABYTE)),), ram=(Ram(TERABYTE, PAGE),), fill={TERABYTE + 0x128: OLD},
    )  # fmt: skip
    yield from check(guest, engine)


def _hole(address: int) -> Access:
    return Access("mmio", address, 8, False, ALL_ONES)


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="slat.max_slots", title="There are as many slot numbers as KVM says", area="second_level", mode=LONG64, cite=CITE, script=_last_number, priority=2),
    HostScript(id="slat.sparse",    title="Memory at 1 TiB",                            area="second_level", mode=LONG64, cite=CITE, script=_sparse, priority=2),
    hosted(row("slat.many", f"{MANY} slots and as many holes in turn, each at its place", LONG64, FOLD,
               completes(keeps=False, regs={"rsi": _folded(ALL_ONES if n % 2 else _value(n) for n in range(2 * MANY)), "rcx": 0},
                         accesses=tuple(_hole(AT + n * PAGE) for n in range(1, 2 * MANY, 2))),
               regs={"rbx": AT, "rsi": 0, "rdi": PAGE, "rcx": 2 * MANY}, seconds=20.0), furnish=_slots_and_holes),
    hosted(row("slat.modify_stress", f"A slot comes and goes {ROUNDS} times, and the guest sees each time what is there", LONG64, CALL_AND_FOLD,
               completes(keeps=False, regs={"rsi": _folded(ALL_ONES if n % 2 else NEW for n in range(ROUNDS)), "rcx": 0}, accesses=(_hole(AT),) * (ROUNDS // 2)),
               regs={"rax": 1, "rbx": AT, "rsi": 0, "rdx": HOST_PORT, "rcx": ROUNDS}, seconds=60.0), calls={1: _come_and_go}),
)
# fmt: on
