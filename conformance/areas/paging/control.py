"""Bits that change access rights take effect at once: CR0.WP, CR4.SMEP, CR4.SMAP, EFER.NXE, and RFLAGS.AC by STAC, CLAC.

Software that switches one of them need not flush the TLB.  Each is switched to and fro between accesses to a page that
the processor has already used.  Where an access must fault on the way, a handler in the stimulus notes the error code
in R9, eight bits a fault, and goes on behind the instruction.
"""

from __future__ import annotations

from virtproof.conformance.case import At, Insn, completes, cr0, cr4, family, faults, mem64
from virtproof.conformance.window import (
    CELL,
    FETCH,
    NEW,
    OLD,
    READ,
    SKIP,
    TOUCH,
    VA,
    WRITE,
    caught_by,
    granted,
    maps,
    page,
    pde,
    table,
)
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr

row = family(
    "paging",
    sdm("3A", "Paging, 'Determination of Access Rights'"),
    apm(2, "Page Translation and Protection, 'Page-Protection Checks'"),
    **TOUCH,
)

LONG64 = Mode.LONG64

# fmt: off
RETURN = (  # to the caller of the code that could not be fetched
    Insn("eb 20",             "jmp 0x22"),
    Insn("49 c1 e1 08",       "shl r9, 8"),
    Insn("4c 0b 0c 24",       "or r9, qword ptr [rsp]"),
    Insn("48 83 c4 08",       "add rsp, 8"),
    Insn("48 8b 44 24 18",    "mov rax, qword ptr [rsp + 0x18]"),
    Insn("48 8b 00",          "mov rax, qword ptr [rax]"),
    Insn("48 89 04 24",       "mov qword ptr [rsp], rax"),
    Insn("48 83 44 24 18 08", "add qword ptr [rsp + 0x18], 8"),
    Insn("48 cf",             "iretq"),
)
CAUGHT = caught_by(2)

STORE_RSI, STORE_RDI = Insn("48 89 33", "mov qword ptr [rbx], rsi"), Insn("48 89 3b", "mov qword ptr [rbx], rdi")
LOAD_RCX, LOAD_RSI   = Insn("48 8b 0b", "mov rcx, qword ptr [rbx]"), Insn("48 8b 33", "mov rsi, qword ptr [rbx]")
LOAD_RDI             = Insn("48 8b 3b", "mov rdi, qword ptr [rbx]")
CR0_R8, CR0_R10      = Insn("41 0f 22 c0", "mov cr0, r8"), Insn("41 0f 22 c2", "mov cr0, r10")
CR4_R8, CR4_R10      = Insn("41 0f 22 e0", "mov cr4, r8"), Insn("41 0f 22 e2", "mov cr4, r10")
IMPLICIT = (  # the handler notes the error code in R9 and goes on behind the instruction, which has 2 bytes
    Insn("eb 09",          "jmp 0xb"),
    Insn("41 59",          "pop r9"),
    Insn("48 83 04 24 02", "add qword ptr [rsp], 2"),
    Insn("48 cf",          "iretq"),
    Insn("0f 00 d0",       "lldt ax"),
    Insn("8e d9",          "mov ds, ecx"),
    Insn("0f 20 d6",       "mov rsi, cr2"),
    Insn("0f 00 d2",       "lldt dx"),
)
STAC, CLAC           = Insn("0f 01 cb", "stac"), Insn("0f 01 ca", "clac")
NXE_OFF              = (Insn("89 f0", "mov eax, esi"), Insn("0f 30", "wrmsr"))
NXE_ON               = (Insn("89 f8", "mov eax, edi"), Insn("0f 30", "wrmsr"))
RELOAD_CR3           = (Insn("0f 20 dd", "mov rbp, cr3"), Insn("0f 22 dd", "mov cr3, rbp"))

BASE = INITIAL[LONG64]
WP    = {"rbx": VA, "r9": 0, "r8": int(BASE.cr0.but(wp=0)),  "r10": int(BASE.cr0), "rax": 1, "rsi": 2, "rdi": 3}
SMEP  = {"rbx": VA, "r9": 0, "r8": int(BASE.cr4.but(smep=1)), "r10": int(BASE.cr4), "rcx": 0}
SMAP  = {"rbx": VA, "r9": 0, "r8": int(BASE.cr4.but(smap=1)), "r10": int(BASE.cr4), "rsi": 2}
NXE   = {"rbx": VA, "r9": 0, "rcx": Msr.IA32_EFER, "rdx": 0, "rsi": int(BASE.efer.but(nxe=0)), "rdi": int(BASE.efer)}
INC_ECX_RET = 0xC3_C1FF
FLAT_DATA = 0x00CF_9300_0000_FFFF
LDT_LOW = 0x82 << 40 | (VA - 8 & 0xFF_FFFF) << 16 | 0xF  # a descriptor of an LDT with two entries, the second at VA

CASES = (
    row("pg.ctl.wp_toggle",   "CR0.WP 1, 0, 1: a supervisor write to a read-only page faults, succeeds, faults", LONG64,
        (*SKIP, WRITE, CR0_R8, STORE_RSI, CR0_R10, STORE_RDI),
        completes(regs={"r9": 0x0303}, memory={CELL: 2}), regs=WP, sets=(maps(page(write=False)), *CAUGHT)),
    row("pg.ctl.smep_toggle", "CR4.SMEP 0, 1, 0: a supervisor fetch from a user page succeeds, faults, succeeds", LONG64,
        (*RETURN, FETCH, CR4_R8, FETCH, CR4_R10, FETCH),
        completes(regs={"r9": 0x11, "rcx": 2}, keeps=False), regs=SMEP, fill={CELL: INC_ECX_RET}, sets=(maps(page(user=True)), *CAUGHT),
        requires=("smep",), proves=("smep",), discriminates=True, refs=("claim.smep",)),
    row("pg.ctl.smap_toggle", "CR4.SMAP 0, 1, 0: a supervisor read of a user page succeeds, faults, succeeds", LONG64,
        (*SKIP, LOAD_RCX, CR4_R8, LOAD_RSI, CR4_R10, LOAD_RDI),
        completes(regs={"r9": 0x01, "rcx": OLD, "rsi": 2, "rdi": OLD}), regs=SMAP, sets=(maps(page(user=True)), *CAUGHT),
        requires=("smap",), proves=("smap",), discriminates=True, refs=("claim.smap",), priority=2),
    row("pg.ctl.nxe_toggle",  "EFER.NXE 1, 0, 1: bit 63 of the entry forbids the fetch, is reserved, forbids the fetch", LONG64,
        (*RETURN, FETCH, *NXE_OFF, *RELOAD_CR3, FETCH, *NXE_ON, *RELOAD_CR3, FETCH),
        completes(regs={"r9": 0x110911}, keeps=False), regs=NXE, sets=(maps(page(nx=True)), *CAUGHT),
        requires=("nx",), proves=("nx",), discriminates=True, refs=("claim.nx",), priority=2),
    row("pg.ctl.stac_effect", "STAC opens user pages to the supervisor, CLAC closes them", LONG64,
        (STAC, LOAD_RCX, CLAC, LOAD_RSI),
        faults(Vector.PF, 0x01, cr2=VA, regs={"rcx": OLD}), sets=(maps(page(user=True)), cr4(on=Cr4.smap.mask)), requires=("smap",)),
    row("pg.ctl.smap_implicit", "SMAP refuses the processor's own accesses to user pages, even with AC = 1: a descriptor in the LDT", LONG64, IMPLICIT,
        completes(regs={"r9": 0x01, "rsi": VA}), regs={"rax": 0x48, "rcx": 0x0C, "rdx": 0}, flags=0x2 | Rflags.ac.mask, fill={CELL: FLAT_DATA},
        sets=(maps(page(user=True)), mem64(At("gdt", 0x48), LDT_LOW), mem64(At("gdt", 0x50), VA >> 32), cr4(on=Cr4.smap.mask), *CAUGHT), requires=("smap",), priority=2),
    row("pg.ctl.smep_andnot_wp", "SMEP forbids the fetch from a page that WP = 0 lets the supervisor write", LONG64,
        (WRITE, FETCH),
        faults(Vector.PF, 0x11, cr2=VA, rip=VA, regs={"rsp": At("kernel_stack_top", -8)}, memory={CELL: NEW}),
        sets=(maps(page(user=True, write=False)), cr0(off=Cr0.wp.mask), cr4(on=Cr4.smep.mask)), requires=("smep",), priority=2),
    row("pg.ctl.user_upper_sup", "SMAP spares a page that is a user page at some levels only", LONG64,
        READ, granted(READ), sets=(maps(page(user=True)), mem64(pde(), table(At("window_pt"), user=False)), cr4(on=Cr4.smap.mask)),
        requires=("smap",), priority=2),
)
# fmt: on
