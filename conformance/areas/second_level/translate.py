"""KVM_TRANSLATE leads where the guest's own walk leads, and both where a model of the walk does.

The guest maps pages of several kinds and reads them; while it waits the host asks KVM for each address, and walks the
same tables by the model.  KVM answers for a supervisor read, so U/S, R/W and NX do not matter; ``writeable`` and
``usermode`` in its answer are constants and are not judged.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript, Insn, completes, family, mem64
from virtproof.conformance.guest import HOST_PORT, check
from virtproof.conformance.window import CELL, FRAME, OLD, VA, WINDOW, maps, page, page_2m, pde
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.x86.walk import Page, walk
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

CITE = (linux("virt/kvm/api.rst", "KVM_TRANSLATE"),)
row = family("second_level", *CITE)

PAGE, MIB2 = 0x1000, 1 << 21
OTHER = 0x0707_6A6A_9999_B6C3
FAR = 3 * MIB2 + 0x3128  # in a 2 MiB page

# fmt: off
MAPPED = (  # address, what the guest reads there
    ("a supervisor page",       VA,                  OLD),
    ("a user page, read-only",  VA + PAGE,           OTHER),
    ("a no-execute page",       VA + 2 * PAGE,       OLD),
    ("a 2 MiB page",            WINDOW + MIB2 + FAR % MIB2, OTHER),
)
ELSEWHERE = (
    ("a page that is not present",     VA + 3 * PAGE),
    ("a directory that is not present", VA + 2 * MIB2),
    ("a PML4 entry that is not present", 5 << 39),
    ("the trampoline's own map",       0x1234),
    ("a mapped hole",                  0x3000_0128),
)
SETS = (
    maps(page()),
    maps(page(FRAME + PAGE, user=True, write=False), 1),
    maps(page(nx=True), 2),
    maps(page(present=False), 3),
    mem64(pde(1), page_2m(FAR & ~(MIB2 - 1))),
)
GUEST = row("slat.translate", "", Mode.LONG64, (
    Insn("ee",       "out dx, al"),
    Insn("48 8b 03", "mov rax, qword ptr [rbx]"),
    Insn("48 8b 0e", "mov rcx, qword ptr [rsi]"),
    Insn("48 8b 2f", "mov rbp, qword ptr [rdi]"),
    Insn("4d 8b 08", "mov r9, qword ptr [r8]"),
), completes(regs=dict(zip(("rax", "rcx", "rbp", "r9"), (value for _, _, value in MAPPED), strict=True))),
    regs={"rax": 1, "rdx": HOST_PORT} | dict(zip(("rbx", "rsi", "rdi", "r8"), (address for _, address, _ in MAPPED), strict=True)),
    sets=SETS, fill={CELL: OLD, CELL + PAGE: OTHER, FAR: OTHER})
# fmt: on


def _translate(engine: Engine) -> Iterable[Check]:
    answers: list[Check] = []

    def ask(machine: Machine) -> None:
        cr3 = machine.vcpu.special_registers().cr3
        for what, address in (*((what, address) for what, address, _ in MAPPED), *ELSEWHERE):
            model = walk(lambda at: int.from_bytes(machine.memory.read(at, 8), "little"), cr3, address)
            want = f"{model.physical:#x}" if isinstance(model, Page) else "not mapped"
            said = machine.vcpu.translate(address)
            saw = f"{said.physical:#x}" if said.valid else "not mapped"
            answers.append(Check(f"{address:#x}, {what}", want, saw, want == saw))

    def furnish(machine: Machine) -> None:
        machine.memory.add(FAR & ~(PAGE - 1), PAGE)

    yield from check(GUEST, engine, furnish=furnish, calls={1: ask})
    yield from answers


def _without_paging(engine: Engine) -> Iterable[Check]:
    """Every address below 4 GiB is the physical one, memory or not."""
    answers: list[Check] = []

    def ask(machine: Machine) -> None:
        for address in (0x1234, 0x9_FFFF, 0x3000_0128, 0xFFFF_F000):
            said = machine.vcpu.translate(address)
            saw = f"{said.physical:#x}" if said.valid else "not mapped"
            answers.append(Check(f"{address:#x}", f"{address:#x}", saw, saw == f"{address:#x}"))

    guest = row(
        "slat.translate_pg0", "", Mode.PROT32, Insn("ee", "out dx, al"), completes(), regs={"rax": 1, "rdx": HOST_PORT}
    )
    yield from check(guest, engine, calls={1: ask})
    yield from answers


CASES: tuple[Case, ...] = (
    HostScript(
        id="slat.translate_pg0",
        title="Without paging KVM_TRANSLATE gives the address back",
        area="second_level",
        mode=Mode.PROT32,
        cite=CITE,
        script=_without_paging,
        priority=2,
    ),
    HostScript(
        id="slat.translate",
        title="KVM_TRANSLATE agrees with the guest's own walk",
        area="second_level",
        mode=Mode.LONG64,
        cite=CITE,
        refs=("slat.translate_nc",),
        script=_translate,
    ),
)
