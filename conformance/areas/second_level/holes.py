"""Guest-physical addresses that no slot backs: an access ends at the monitor with its exact address, size and data.

Nothing is made up: a read gives what the monitor answers, a write reaches it once, and memory elsewhere is untouched.
Instructions cannot be fetched from there: KVM ends the guest with an emulation error, its RIP still at the target.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtproof.conformance.case import Answers, Case, HostScript, Insn, completes, family
from virtproof.conformance.guest import boot, how_it_ended
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm import InternalError as Suberror
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import InternalError

CITE = (linux("virt/kvm/api.rst", "The kvm_run structure, KVM_EXIT_MMIO"),)
row = family("second_level", *CITE)

LONG64 = Mode.LONG64
AT = 0x3000_0128  # by the trampoline's own map, which is one to one
ANSWER, DATA = 0x8877_6655_4433_2211, 0xF0E1_D2C3_B4A5_9687
DEVICE = (Answers("mmio", AT & ~0xFFF, 0x1000, (ANSWER,)),)
KEPT = 0x0101_0101_0101_0101  # what RAX holds beforehand


def _read(size: int) -> Access:
    return Access("mmio", AT, size, False, ANSWER & (1 << 8 * size) - 1)


def _write(size: int) -> Access:
    return Access("mmio", AT, size, True, DATA & (1 << 8 * size) - 1)


# fmt: off
LOADS = (
    # bytes             instruction                                       RAX afterwards
    (1, "hole_read.8",  Insn("8a 03", "mov al, byte ptr [rbx]"),          KEPT & ~0xFF | 0x11),
    (2, "hole_read.16", Insn("66 8b 03", "mov ax, word ptr [rbx]"),       KEPT & ~0xFFFF | 0x2211),
    (4, "hole_read.32", Insn("8b 03", "mov eax, dword ptr [rbx]"),        0x4433_2211),
    (8, "hole_read.64", Insn("48 8b 03", "mov rax, qword ptr [rbx]"),     ANSWER),
)
STORES = (
    (1, "hole_write.8",  Insn("88 03", "mov byte ptr [rbx], al")),
    (2, "hole_write.16", Insn("66 89 03", "mov word ptr [rbx], ax")),
    (4, "hole_write.32", Insn("89 03", "mov dword ptr [rbx], eax")),
    (8, "hole_write.64", Insn("48 89 03", "mov qword ptr [rbx], rax")),
)
JUMP = Insn("ff e3", "jmp rbx")
# fmt: on


def _fetch(engine: Engine) -> Iterable[Check]:
    _, answer, _ = boot(row("fetch", "", LONG64, JUMP, completes(), regs={"rbx": AT}), engine)
    end = answer.end
    stopped = isinstance(end, InternalError) and end.suberror == Suberror.EMULATION
    yield Check("the guest ends with", "KVM internal error EMULATION (1)", how_it_ended(answer), stopped)
    if answer.registers is not None:
        rip = answer.registers.rip
        yield Check("RIP", f"{AT:#x}", f"{rip:#x}", rip == AT)


CASES: tuple[Case, ...] = (
    *(
        row(f"slat.{name}", f"A {8 * size}-bit read of a hole exits with its address and size", LONG64, load,
            completes(regs={"rax": rax}, accesses=(_read(size),)), regs={"rax": KEPT, "rbx": AT}, answers=DEVICE, refs=("slat.hole_read",))
        for size, name, load, rax in LOADS
    ),
    *(
        row(f"slat.{name}", f"A {8 * size}-bit write to a hole exits with its address, size and data", LONG64, store,
            completes(accesses=(_write(size),)), regs={"rax": DATA, "rbx": AT}, answers=DEVICE, refs=("slat.hole_write",))
        for size, name, store in STORES
    ),
    HostScript(id="slat.hole_fetch", title="A fetch from a hole ends the guest", area="second_level", mode=LONG64, cite=CITE, script=_fetch, refs=("hostile.bus.mmio_exec",)),
)  # fmt: skip
