"""Privileged instructions in 32-bit code outside CPL 0: rings 1 to 3 of protected mode, ring 3 of compatibility mode.

The rules of ``instructions`` hold at each of these levels: #GP(0), nothing changes, nothing reaches the monitor.  A guest
kernel that was moved out of ring 0 has nothing but these faults to be noticed by.  Some instructions do not exist here,
and raise #UD at any level: SWAPGS, and on Intel's processors SYSRET.  SYSEXIT is none of AMD's instructions under long
mode, where the manual leaves open which of the two it raises.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from virtproof.conformance.case import At, Insn, Row, Value, cr0, cr4, family, faults, mem8, mem64, msr
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr

row = family(
    "privileged",
    sdm("3A", "Protection, 'Privileged Instructions'"),
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 13-General Protection Exception (#GP)'"),
    apm(2, "System Instructions, 'System-Management Instructions'"),
    expect=faults(Vector.GP, 0, accesses=()),
)

Level = tuple[Mode, int]
Registers = Mapping[str, Value]
Options = dict[str, Any]  # further fields of the row
PROT32, COMPAT32 = Mode.PROT32, Mode.COMPAT32
P1, P2, P3, C3 = (PROT32, 1), (PROT32, 2), (PROT32, 3), (COMPAT32, 3)
IN_PROT, USERS, ALL = (P1, P2, P3), (P3, C3), (P1, P2, P3, C3)

CR0 = {mode: {"rax": int(INITIAL[mode].cr0)} for mode in (PROT32, COMPAT32)}
CR4 = {mode: {"rax": int(INITIAL[mode].cr4)} for mode in (PROT32, COMPAT32)}
USER: Registers = {"rbx": At("user_data")}
ZERO, MSW, DR7 = {"rax": 0}, {"rax": 0x31}, {"rax": 0x400}
EFER, SYSENTER = {"rcx": Msr.IA32_EFER}, {"rcx": Msr.IA32_SYSENTER_CS, "rax": 0, "rdx": 0}
XCR0 = {"rcx": 0, "rax": 1, "rdx": 0}
STRING: Registers = {"rdx": 0x80, "rsi": At("user_data"), "rdi": At("user_data")}
INVALIDATE_ALL: Registers = {"rbx": At("user_data"), "rax": 2}  # its descriptor is all zeros

TSS_AVAILABLE: Options = {"sets": (mem8(At("gdt", 0x38 + 5), 0x89),)}
TS: Options = {"sets": (cr0(on=Cr0.ts.mask),)}
TSD: Options = {"sets": (cr4(on=Cr4.tsd.mask),)}
OSXSAVE: Options = {"sets": (cr4(on=Cr4.osxsave.mask),), "requires": ("xsave",)}
SCE = {mode: (msr(Msr.IA32_EFER, INITIAL[mode].efer | Efer.sce.mask),) for mode in (PROT32, COMPAT32)}
ENTERED = (msr(Msr.IA32_SYSENTER_CS, 0x08),)  # what SYSEXIT needs
RETURN = {"rcx": At("user_code"), "rdx": At("user_code")}
KEPT: Options = {
    "sets": (mem64(At("user_data"), 7),),
    "expect": faults(Vector.GP, 0, accesses=(), memory={At("user_data"): 7}),
}
UD = faults(Vector.UD, at=0, accesses=())
INTEL, AMD = {"requires": ("Intel vendor",)}, {"requires": ("AMD vendor",)}

SYSRET, SYSEXIT = Insn("0f 07", "sysret"), Insn("0f 35", "sysexit")
SWAPGS, NOP = Insn("0f 01 f8", "swapgs"), Insn("90", "nop")

# fmt: off
TABLE: tuple[tuple[str, Insn, tuple[Level, ...], Registers, Options], ...] = (
    # the rule      the instruction                                          refused at          registers     and
    ("lgdt",         Insn("0f 01 13", "lgdt [ebx]"),                          IN_PROT,            USER,         {}),
    ("lidt",         Insn("0f 01 1b", "lidt [ebx]"),                          ALL,                USER,         {}),
    ("lldt",         Insn("0f 00 d0", "lldt ax"),                             ALL,                ZERO,         {}),
    ("ltr",          Insn("0f 00 d8", "ltr ax"),                              ALL,                {"rax": 0x38}, TSS_AVAILABLE),
    ("lmsw",         Insn("0f 01 f0", "lmsw ax"),                             ALL,                MSW,          {}),
    ("clts",         Insn("0f 06", "clts"),                                   IN_PROT,            {},           TS),
    ("mov_to_cr0",   Insn("0f 22 c0", "mov cr0, eax"),                        (P3,),              CR0[PROT32],  {}),
    ("mov_to_cr0",   Insn("0f 22 c0", "mov cr0, eax"),                        (C3,),              CR0[COMPAT32], {}),
    ("mov_from_cr0", Insn("0f 20 c0", "mov eax, cr0"),                        IN_PROT,            {},           {}),
    ("mov_to_cr2",   Insn("0f 22 d0", "mov cr2, eax"),                        (P3,),              {},           {}),
    ("mov_from_cr2", Insn("0f 20 d0", "mov eax, cr2"),                        (P3,),              {},           {}),
    ("mov_to_cr3",   Insn("0f 22 d8", "mov cr3, eax"),                        IN_PROT,            ZERO,         {}),
    ("mov_to_cr3",   Insn("0f 22 d8", "mov cr3, eax"),                        (C3,),              {"rax": At("pml4")}, {}),
    ("mov_from_cr3", Insn("0f 20 d8", "mov eax, cr3"),                        ALL,                {},           {}),
    ("mov_to_cr4",   Insn("0f 22 e0", "mov cr4, eax"),                        IN_PROT,            CR4[PROT32],  {}),
    ("mov_to_cr4",   Insn("0f 22 e0", "mov cr4, eax"),                        (C3,),              CR4[COMPAT32], {}),
    ("mov_from_cr4", Insn("0f 20 e0", "mov eax, cr4"),                        (P3,),              {},           {}),
    ("mov_to_dr0",   Insn("0f 23 c0", "mov dr0, eax"),                        (P3,),              ZERO,         {}),
    ("mov_to_dr7",   Insn("0f 23 f8", "mov dr7, eax"),                        ALL,                DR7,          {}),
    ("mov_from_dr6", Insn("0f 21 f0", "mov eax, dr6"),                        USERS,              {},           {}),
    ("invd",         Insn("0f 08", "invd"),                                   USERS,              {},           {}),
    ("wbinvd",       Insn("0f 09", "wbinvd"),                                 (P1, P3, C3),       {},           {}),
    ("wbnoinvd",     Insn("f3 0f 09", "wbnoinvd"),                            (P3,),              {},           {}),
    ("invlpg",       Insn("0f 01 3b", "invlpg byte ptr [ebx]"),               ALL,                USER,         {}),
    ("invpcid",      Insn("66 0f 38 82 03", "invpcid eax, xmmword ptr [ebx]"), USERS,             INVALIDATE_ALL, {"requires": ("invpcid",)}),
    ("hlt",          Insn("f4", "hlt"),                                       IN_PROT,            {},           {}),
    ("rdmsr",        Insn("0f 32", "rdmsr"),                                  ALL,                EFER,         {}),
    ("wrmsr",        Insn("0f 30", "wrmsr"),                                  ALL,                SYSENTER,     {}),
    ("xsetbv",       Insn("0f 01 d1", "xsetbv"),                              ALL,                XCR0,         OSXSAVE),
    ("sti",          Insn("fb", "sti"),                                       ALL,                {},           {}),
    ("in_al",        Insn("e4 80", "in al, 0x80"),                            IN_PROT,            {},           {}),
    ("out_dx",       Insn("ee", "out dx, al"),                                ALL,                {"rdx": 0x80}, {}),
    ("insb",         Insn("6c", "insb byte ptr es:[edi], dx"),                (P3,),              STRING,       KEPT),
    ("outsb",        Insn("6e", "outsb dx, byte ptr [esi]"),                  (P3,),              STRING,       {}),
    ("rdpmc_pce0",   Insn("0f 33", "rdpmc"),                                  ALL,                {"rcx": 0},   {}),
    ("rdtsc_tsd",    Insn("0f 31", "rdtsc"),                                  ALL,                {},           TSD),
    ("rdtscp_tsd",   Insn("0f 01 f9", "rdtscp"),                              (P3,),              {},           TSD | {"requires": ("rdtscp",)}),
)
# fmt: on


def _rows() -> Iterator[Row]:
    """Each line of the table at each of its levels; rings 1 and 2 are of priority 3, for no system of today uses them."""
    for rule, insn, levels, regs, more in TABLE:
        for mode, ring in levels:
            what = f"{insn.text.upper()} at CPL {ring}"
            id_, priority = f"priv.{rule}.cpl{ring}.{mode}", 2 if ring == 3 else 3
            yield row(id_, what, mode, insn, ring=ring, regs=regs, priority=priority, **more)


# fmt: off
CASES = (
    *_rows(),
    row("priv.cli.cpl1.prot32",   "CLI at CPL 1 with IOPL 0", PROT32, Insn("fa", "cli"), ring=1, priority=3),
    row("priv.cli.cpl2.prot32",   "CLI at CPL 2 with IOPL 1", PROT32, Insn("fa", "cli"), ring=2, flags=0x1002, priority=3),
    row("priv.cli.cpl3.prot32",   "CLI at CPL 3 with IOPL 2", PROT32, Insn("fa", "cli"), ring=3, flags=0x2002, priority=2),
    row("priv.in_al.cpl2.prot32.iopl1", "IN at CPL 2 with IOPL 1", PROT32, Insn("e4 80", "in al, 0x80"), ring=2, flags=0x1002, priority=3),

    *(row(f"priv.swapgs.cpl{ring}.{mode}", "SWAPGS is no instruction of 32-bit code", mode, (SWAPGS, NOP), UD, ring=ring, priority=2 if ring == 3 else 3)
      for mode, ring in ALL),

    row("priv.sysret.cpl3.prot32",       "SYSRET of 32-bit code is none of Intel's instructions", PROT32,   (SYSRET, NOP), UD, ring=3, regs=RETURN, sets=SCE[PROT32],   priority=2, **INTEL),
    row("priv.sysret.cpl3.compat32",     "SYSRET of 32-bit code is none of Intel's instructions", COMPAT32, (SYSRET, NOP), UD, ring=3, regs=RETURN, sets=SCE[COMPAT32], priority=2, **INTEL),
    row("priv.sysret.cpl3.prot32.amd",   "SYSRET at CPL 3, AMD's processors",                     PROT32,   SYSRET,        ring=3, regs=RETURN, sets=SCE[PROT32],       priority=2, **AMD),
    row("priv.sysret.cpl3.compat32.amd", "SYSRET at CPL 3, AMD's processors",                     COMPAT32, SYSRET,        ring=3, regs=RETURN, sets=SCE[COMPAT32],     priority=2, **AMD),
    row("priv.sysexit.cpl3.prot32",      "SYSEXIT at CPL 3",                                      PROT32,   SYSEXIT,       ring=3, regs=RETURN, sets=ENTERED,           priority=2),
    row("priv.sysexit.cpl3.compat32",    "SYSEXIT at CPL 3, Intel's processors",                  COMPAT32, SYSEXIT,       ring=3, regs=RETURN, sets=ENTERED,           priority=2, **INTEL),
)
# fmt: on
