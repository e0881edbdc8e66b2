"""KVM's hypercalls: VMCALL on Intel, VMMCALL on AMD, number in RAX, answer in RAX.

KVM_HC_VAPIC_POLL_IRQ (1) does nothing and answers 0; a number that nobody knows brings -KVM_ENOSYS (-1000).  Outside
ring 0 every one brings -KVM_EPERM (-1).  None raises an exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from virtproof.conformance.case import Case, HostScript, Insn, Row, completes, family
from virtproof.conformance.guest import Inapplicable, check
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.vmm.engine import Engine

row = family("claims", linux("virt/kvm/x86/hypercalls.rst", "Linux KVM Hypercall"), priority=2)
MASK = (1 << 64) - 1
POLL_IRQ, UNKNOWN = 1, 0x7FFF
ENOSYS, EPERM = -1000 & MASK, -1 & MASK


def _on_kvm(guest: Row, engine: Engine) -> Iterable[Check]:
    if engine.name != "kvm":
        raise Inapplicable("hypercalls are an interface of KVM's")
    yield from check(guest, engine)


def hypercall(
    id: str,  # noqa: A002
    title: str,
    form: tuple[Insn, str],
    number: int,
    answer: int,
    *,
    ring: int = 0,
    refs: tuple[str, ...] = (),
) -> Case:
    insn, vendor = form
    guest = row(id, title, Mode.LONG64, insn, completes(regs={"rax": answer}), regs={"rax": number}, ring=ring)
    return HostScript(
        id=id, title=title, area=guest.area, mode=guest.mode, cite=guest.cite, priority=guest.priority,
        refs=refs, requires=(vendor,), script=partial(_on_kvm, guest),
    )  # fmt: skip


# fmt: off
VMCALL, VMMCALL = (Insn("0f 01 c1", "vmcall"), "Intel vendor"), (Insn("0f 01 d9", "vmmcall"), "AMD vendor")
CALL, CALL3 = ("claim.hypercall",), ("claim.hypercall_cpl3",)

CASES: tuple[Case, ...] = (
    hypercall("claim.hypercall",             "VMCALL: a hypercall that does nothing answers 0",  VMCALL,  POLL_IRQ, 0),
    hypercall("claim.hypercall.unknown",     "VMCALL: an unknown number brings -1000",           VMCALL,  UNKNOWN,  ENOSYS, refs=CALL),
    hypercall("claim.hypercall.amd",         "VMMCALL: a hypercall that does nothing answers 0", VMMCALL, POLL_IRQ, 0,      refs=CALL),
    hypercall("claim.hypercall.unknown_amd", "VMMCALL: an unknown number brings -1000",          VMMCALL, UNKNOWN,  ENOSYS, refs=CALL),
    hypercall("claim.hypercall_cpl3",        "VMCALL at CPL 3 brings -1, and no exception",      VMCALL,  POLL_IRQ, EPERM,  ring=3),
    hypercall("claim.hypercall_cpl3.amd",    "VMMCALL at CPL 3 brings -1, and no exception",     VMMCALL, POLL_IRQ, EPERM,  ring=3, refs=CALL3),
)
# fmt: on
