"""Large pages: a PDE with PS = 1 maps 2 MiB, a PDPTE with PS = 1 maps 1 GiB (where CPUID says so).

Rights, error codes and CR2 are as for 4 KiB pages.  All address bits below the page's size are offset; the bits of the
entry that would hold them, from 13 up (12 is PAT), are reserved.  In the rows about rights the page begins at physical
address 0, so that it shows the image.

Where CPUID hides pages of 1 GiB that the processor has, two things may come of one: hardware that walks the guest's tables
takes it, shadows refuse it as a reserved bit.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript, Insn, Ram, Value, completes, family, mem64
from virtproof.conformance.compare import completed, mnemonic
from virtproof.conformance.guest import GuestStopped, boot, how_it_ended
from virtproof.conformance.of_kvm import kvm_vcpu
from virtproof.conformance.window import (
    BASE,
    FETCH,
    FRAME,
    NEW,
    OLD,
    READ,
    TOUCH,
    WINDOW,
    WRITE,
    granted,
    page_1g,
    page_2m,
    pde,
    pdpte,
    refused,
)
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.cpuid import Override, overridden
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

row = family(
    "paging",
    sdm("3A", "Paging, '4-Level Paging and 5-Level Paging' and 'PAE Paging'"),
    apm(2, "Page Translation and Protection, '2-Mbyte Page Translation' and '1-Gbyte Page Translation'"),
    **TOUCH,
)

LONG64, PAE32, PROT32 = Mode.LONG64, Mode.PAE32, Mode.PROT32
MIB2, GIB = 1 << 21, 1 << 30
VA = FRAME + (WINDOW + 0x128)  # where a page at 0 shows CELL
IMAGE: dict[str, Value] = {"rax": NEW, "rbx": VA}

# fmt: off
READ_3_CELLS   = (Insn("48 8b 03", "mov rax, qword ptr [rbx]"), Insn("48 8b 0e", "mov rcx, qword ptr [rsi]"), Insn("48 8b 17", "mov rdx, qword ptr [rdi]"))
READ_3_CELLS32 = (Insn("8b 03", "mov eax, dword ptr [ebx]"), Insn("8b 0e", "mov ecx, dword ptr [esi]"), Insn("8b 17", "mov edx, dword ptr [edi]"))
READ32         = Insn("8b 03", "mov eax, dword ptr [ebx]")
# fmt: on

FIRST, MIDDLE, LAST = 0x0F1, 0x0F2, 0x0F3


def _offsets(mode: Mode, size: int) -> dict[str, int]:
    """Registers that point into the first, middle and last 4 KiB of the window's first ``size`` bytes."""
    base = BASE[mode]
    return {"rbx": base + 0x10, "rsi": base + size // 2 + 0x20, "rdi": base + size - 0x18}


def _marks(frame: int, size: int) -> dict[str, object]:
    """Memory for the same three places of a page at ``frame``."""
    pages = {
        frame: frame + 0x10,
        frame + size // 2: frame + size // 2 + 0x20,
        frame + size - 0x1000: frame + size - 0x18,
    }
    return {
        "ram": tuple(Ram(at, 0x1000) for at in pages),
        "fill": dict(zip(pages.values(), (FIRST, MIDDLE, LAST), strict=True)),
    }


ALL_THREE = completes(regs={"rax": FIRST, "rcx": MIDDLE, "rdx": LAST})

WITHOUT = (Override(0x8000_0001, 0, "edx", 0, 1 << 26),)


def _hidden(engine: Engine) -> Iterable[Check]:
    guest = row("hidden", "", LONG64, READ, completes(), sets=(mem64(pdpte(), page_1g(0)),), regs=IMAGE)

    def furnish(machine: Machine) -> None:
        kvm_vcpu(machine).set_cpuid(overridden(machine.vcpu.cpuid(), WITHOUT))

    image, answer, _ = boot(guest, engine, furnish=furnish)
    seen = answer.observation
    if seen is None:
        raise GuestStopped(how_it_ended(answer))
    at = WINDOW + 0x128 + image["frame"]
    if seen.vector == Vector.PF:
        saw = f"#PF({seen.error_code:#x}) at {seen.cr2:#x}"
    else:
        saw = f"{seen.gpr[0]:#x}" if completed(guest, image, seen) else mnemonic(seen.vector)
    wanted = (f"{OLD:#x}", f"#PF(0x9) at {at:#x}")
    yield Check("what the page shows", " or ".join(wanted), saw, saw in wanted)


# fmt: off
RIGHTS = (
    ("ur.u0w1nx0", READ,  3, {"user": False},               0x05, "User read of a page with U=0 faults"),
    ("uw.u1w0nx0", WRITE, 3, {"user": True, "write": False}, 0x07, "User write to a page with W=0 faults"),
    ("ux.u1w1nx1", FETCH, 3, {"user": True, "nx": True},     0x15, "User fetch from a page with NX=1 faults"),
    ("kw.u0w0nx0", WRITE, 0, {"write": False},               0x03, "Supervisor write to a page with W=0 faults"),
    ("ur.u1w1nx0", READ,  3, {"user": True},                 None, "User read of a page with U=1 succeeds"),
)
SIZES = (
    ("2m", "2 MiB page", pde(),   page_2m, (),           ()),
    ("1g", "1 GiB page", pdpte(), page_1g, ("page1gb",), ("page1g",)),
)

CASES: tuple[Case, ...] = (
    HostScript(id="pg.l4.1g.unsupported", title="A 1 GiB page that CPUID hides is taken or refused, and nothing else", area="paging", mode=LONG64,
               cite=(sdm("3A", "Paging, '4-Level Paging and 5-Level Paging'"),), script=_hidden, requires=("page1gb",), priority=2),
    row("pg.l4.2m.rsvd_low",       "Bit 13 of a PDE that maps 2 MiB is reserved",   LONG64, READ, refused(READ, 0x09, va=VA), sets=(mem64(pde(), page_2m(0, also=1 << 13)),), regs=IMAGE),
    row("pg.l4.2m.rsvd_bit20", "Bit 20 of a PDE that maps 2 MiB is reserved",   LONG64, READ, refused(READ, 0x09, va=VA), sets=(mem64(pde(), page_2m(0, also=1 << 20)),), regs=IMAGE),
    row("pg.l4.1g.rsvd_low",       "Bit 13 of a PDPTE that maps 1 GiB is reserved", LONG64, READ, refused(READ, 0x09, va=VA), sets=(mem64(pdpte(), page_1g(0, also=1 << 13)),), regs=IMAGE, requires=("page1gb",)),
    row("pg.l4.1g.rsvd_bit29", "Bit 29 of a PDPTE that maps 1 GiB is reserved", LONG64, READ, refused(READ, 0x09, va=VA), sets=(mem64(pdpte(), page_1g(0, also=1 << 29)),), regs=IMAGE, requires=("page1gb",)),
    row("pg.l4.2m.offset",         "A 2 MiB page takes 21 bits of offset",          LONG64, READ_3_CELLS,   ALL_THREE, sets=(mem64(pde(), page_2m(MIB2)),),  regs=_offsets(LONG64, MIB2), **_marks(MIB2, MIB2)),
    row("pg.l4.1g.offset",         "A 1 GiB page takes 30 bits of offset",          LONG64, READ_3_CELLS,   ALL_THREE, sets=(mem64(pdpte(), page_1g(GIB)),), regs=_offsets(LONG64, GIB),  **_marks(GIB, GIB), requires=("page1gb",), proves=("page1g",), refs=("cpuid.pdpe1gb",)),
    row("pg.p32.pae2m",            "PAE paging: a 2 MiB page takes 21 bits of offset", PAE32, READ_3_CELLS32, ALL_THREE, sets=(mem64(pde(), page_2m(MIB2)),), regs=_offsets(PAE32, MIB2), **_marks(MIB2, MIB2)),
    row("pg.misc.real_nopg",       "Without paging a linear address is the physical one", PROT32, READ32, completes(regs={"rax": FIRST}), regs={"rbx": MIB2 + 0x10}, ram=(Ram(MIB2, 0x1000),), fill={MIB2 + 0x10: FIRST}),

    *(
        row(f"pg.l4.{size}.{name}", f"{what}: {title}", LONG64, touch,
            granted(touch) if code is None else refused(touch, code, ring=ring, va=VA),
            ring=ring, regs=IMAGE, sets=(mem64(entry, make(0, **rights)),), requires=requires, proves=proves, priority=2)
        for size, what, entry, make, requires, proves in SIZES for name, touch, ring, rights, code, title in RIGHTS
    ),
)
# fmt: on
