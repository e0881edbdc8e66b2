"""PAE paging: three levels of 8-byte entries in 32-bit mode, the topmost four (PDPTEs) in registers of the processor.

MOV to CR3 loads the PDPTEs, and raises #GP(0) where one that is present has a reserved bit: 2:1, 8:5, and 63 down to
MAXPHYADDR.  They have no rights, no A and no D.  In the other entries bits 62:52 are reserved, which are software's in
64-bit mode.
"""

from virtproof.conformance.case import At, Insn, completes, family, faults, mem64
from virtproof.conformance.window import BASE, CELL, NEW, OLD, maps, page, pde, pte, table
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "paging",
    sdm("3A", "Paging, 'PAE Paging'"),
    apm(2, "Page Translation and Protection, 'Legacy-Mode Page Translation'"),
    requires=("pae",),
    priority=2,
)

PAE32 = Mode.PAE32
VA = BASE[PAE32] + 0x128
PDPTE1, UNUSED = At("pdpt", 8), At("pdpt", 24)  # that of the window, and one that nothing needs

# fmt: off
READ, WRITE = Insn("8b 03", "mov eax, dword ptr [ebx]"), Insn("89 03", "mov dword ptr [ebx], eax")
LOAD = (  # the low and high half of a PDPTE, then all of them: CR3 as it is
    Insn("0f 20 da", "mov edx, cr3"),
    Insn("89 03",    "mov dword ptr [ebx], eax"),
    Insn("89 4b 04", "mov dword ptr [ebx + 4], ecx"),
    Insn("0f 22 da", "mov cr3, edx"),
)
PDPTE_RESERVED = (
    ("pg.pae.pdpte_rsvd_8_5",     "bit 5",  1 << 5),
    ("pg.pae.pdpte_rsvd_8_5.8",   "bit 8",  1 << 8),
    ("pg.pae.pdpte_rsvd_2_1",     "bit 1",  1 << 1),
    ("pg.pae.pdpte_rsvd_2_1.2",   "bit 2",  1 << 2),
    ("pg.pae.pdpte_rsvd_63",      "bit 63", 1 << 63),
)

CASES = (
    *(
        row(id_, f"MOV to CR3 refuses a PDPTE with {what}", PAE32, LOAD, faults(Vector.GP, 0, regs={"rdx": At("pdpt")}),
            regs={"rax": (bit | 1) & 0xFFFF_FFFF, "rcx": bit >> 32, "rbx": UNUSED}, sets=(mem64(UNUSED, 0),), refs=(id_.removesuffix(".2").removesuffix(".8"),))
        for id_, what, bit in PDPTE_RESERVED
    ),
    row("pg.pae.pdpte_rsvd_np", "... and takes it where P = 0", PAE32, LOAD, completes(regs={"rdx": At("pdpt")}),
        regs={"rax": 0x1E6, "rcx": 1 << 31, "rbx": UNUSED}, sets=(mem64(UNUSED, 0),), refs=("pg.pae.pdpte_rsvd_8_5",)),
    row("pg.pae.pte_62_52",    "Bit 52 of a page's entry is reserved", PAE32, READ, faults(Vector.PF, 0x09, cr2=VA), regs={"rbx": VA}, sets=(maps(page(also=1 << 52)),)),
    row("pg.pae.pte_62_52.62", "Bit 62 of a page's entry is reserved", PAE32, READ, faults(Vector.PF, 0x09, cr2=VA), regs={"rbx": VA}, sets=(maps(page(also=1 << 62)),), refs=("pg.pae.pte_62_52",)),
    row("pg.ad.pae", "A write sets A in two levels, D in the page's entry, and nothing in the PDPTE", PAE32, WRITE,
        completes(memory={PDPTE1: At("window_pd", 1), pde(): table(At("window_pt"), accessed=True), pte(): page(accessed=True, dirty=True), CELL: OLD & ~0xFFFF_FFFF | NEW & 0xFFFF_FFFF}),
        regs={"rax": NEW & 0xFFFF_FFFF, "rbx": VA}, sets=(mem64(pde(), table(At("window_pt"))), maps(page())), fill={CELL: OLD}),
)
# fmt: on
