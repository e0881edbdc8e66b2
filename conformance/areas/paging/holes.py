"""Page tables where no memory is: the manuals leave open what a walk finds there, and KVM's code paths differ.

What may come of it is a closed set: the access faults as not translated, the guest ends, or KVM gives up on it.  It may not
hang, and it may not read data by an entry that is nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from virtproof.conformance.case import Case, HostScript, Insn, Row, completes, family, mem64
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.guest import boot, how_it_ended
from virtproof.conformance.hole import HOLE
from virtproof.conformance.window import NEW, READ, VA, pde, table
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import InternalError, Shutdown

CITE = (
    sdm("3A", "Paging, 'Accessed and Dirty Flags'"),
    apm(2, "Page Translation and Protection, 'Page-Translation-Table Entry Fields'"),
    linux("virt/kvm/x86/mmu.rst", "Events"),
)
row = family("paging", *CITE)
SWITCH = (Insn("0f 22 d8", "mov cr3, rax"), Insn("90", "nop"))


def _ends(guest: Row, faults: bool, engine: Engine) -> Iterable[Check]:
    """``faults``: the guest's own handler may be told, with the exact address."""
    _, answer, _ = boot(guest, engine)
    seen = answer.observation
    want = "#PF at the address, " * faults + "shutdown, or an internal error of KVM"
    if seen is None:
        ended = isinstance(answer.end, (Shutdown, InternalError))
        yield Check("the guest ends with", want, how_it_ended(answer), ended)
        return
    told = faults and seen.vector == Vector.PF and seen.cr2 == VA
    yield Check("the guest ends with", want, f"{mnemonic(seen.vector)}, CR2 {seen.cr2:#x}", told)


def ends(guest: Row, *, faults: bool) -> Case:
    return HostScript(
        id=guest.id, title=guest.title, area="paging", mode=Mode.LONG64, cite=CITE,
        script=partial(_ends, guest, faults), priority=2,
    )  # fmt: skip


# fmt: off
CASES: tuple[Case, ...] = (
    ends(row("pg.ad.pt_hole", "A page table where no memory is maps nothing, and hangs nobody", Mode.LONG64, READ, completes(),
             regs={"rax": NEW, "rbx": VA}, sets=(mem64(pde(), table(HOLE)),)), faults=True),
    ends(row("pg.misc.cr3_junk_high", "Page tables where no memory is end the guest", Mode.LONG64, SWITCH, completes(),
             regs={"rax": HOLE}), faults=False),
)
# fmt: on
