"""SGDT, SIDT, SLDT, STR and SMSW: the guest's own values at every level, or #GP with CR4.UMIP outside CPL 0.

These five read the state of the machine and are not privileged by themselves.  A processor that virtualizes shows the
guest what the guest loaded; a software monitor that runs guest code on the host's tables shows the host's, unless it
catches every one of them.  With CR4.UMIP = 1 they raise #GP(0) where CPL > 0, and store nothing; CPL 0 may go on.

Only SMSW tells UMIP in the processor from UMIP as KVM emulates it: KVM makes the others exit, but SMSW has no exit of
its own, so on an Intel processor without UMIP the SMSW row fails where KVM offers UMIP nevertheless.

SGDT and SIDT store the limit (2 bytes), then the base (8 bytes, 4 outside 64-bit mode).
"""

from virtproof.conformance.case import At, Expect, Insn, Set, completes, cr0, cr4, family, faults, mem64
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector

row = family(
    "sensitive",
    sdm("3A", "System Architecture Overview, 'System Instruction Summary'"),
    sdm("3A", "System Architecture Overview, 'Control Registers', CR4.UMIP"),
    apm(2, "System Resources, 'User Mode Instruction Prevention (UMIP)'"),
)

# Stored at offset 6, so that the base falls on a word of its own.
SGDT, SIDT = Insn("0f 01 43 06", "sgdt [rbx + 6]"), Insn("0f 01 4b 06", "sidt [rbx + 6]")
SGDT32, SIDT32 = Insn("0f 01 43 06", "sgdt [ebx + 6]"), Insn("0f 01 4b 06", "sidt [ebx + 6]")
SMSW, SMSW32 = Insn("0f 01 23", "smsw word ptr [rbx]"), Insn("0f 01 23", "smsw word ptr [ebx]")
SLDT, STR = Insn("0f 00 c0", "sldt eax"), Insn("0f 00 c8", "str eax")
LLDT, UNLOAD_LDT = Insn("0f 00 d0", "lldt ax"), Insn("0f 00 d1", "lldt cx")
SLDT_EDX = Insn("0f 00 c2", "sldt edx")
# Real mode: the 32-bit operand size, because the manuals disagree about the high byte of a 24-bit base.
LGDT_SI, SGDT_BX = Insn("66 0f 01 14", "lgdt [si]"), Insn("66 0f 01 07", "sgdt [bx]")

SIDT_BX, LIDT_SI = Insn("66 0f 01 0f", "sidt [bx]"), Insn("66 0f 01 1c", "lidt [si]")
SIDT_DI, LIDT_BX = Insn("66 0f 01 0d", "sidt [di]"), Insn("66 0f 01 1f", "lidt [bx]")  # the old one again

KERNEL, USER = At("kernel_data"), At("user_data")
FILL = 0xEEEE_EEEE_EEEE_EEEE
LOW6 = FILL & (1 << 48) - 1
GDT_LIMIT, IDT_LIMIT, IDT32_LIMIT = 21 * 8 - 1, 256 * 16 - 1, 256 * 8 - 1
TR = 0x38
UMIP = cr4(on=Cr4.umip.mask)


def filled(at: At) -> tuple[Set, Set]:
    return mem64(at, FILL), mem64(at + 8, FILL)


def table(at: At, limit: int, base: str) -> Expect:
    """Limit and base were stored at ``at + 6``, and nothing behind."""
    return completes(memory={at: limit << 48 | LOW6, at + 8: At(base)})


def table32(at: At, limit: int, base: str) -> Expect:
    return completes(memory={at: limit << 48 | LOW6, at + 8: At(base, 0xEEEE_EEEE << 32)})


def word(at: At, value: int) -> Expect:
    return completes(memory={at: FILL & ~0xFFFF | value})


def refused(at: At) -> Expect:
    return faults(Vector.GP, 0, memory={at: FILL, at + 8: FILL})


K, U = {"rbx": KERNEL}, {"rbx": USER}
FILL_K, FILL_U = filled(KERNEL), filled(USER)
# CR0 with EM set: no host runs so.
EM = (cr0(on=Cr0.em.mask),)
MSW = 0x0035
MSW_REAL = 0x0014

# An LDT of the guest's own in the spare entry 0x48, unloaded again.
LDT = (mem64(At("gdt", 0x48), 0x0000_8200_0000_0017), mem64(At("gdt", 0x50), 0))
LDTR = {"rax": 0x48, "rcx": 0}
OWN_IDT = 0x0BAD_F00D << 16 | 0x0237
OWN_GDT = 0x5678_9ABC << 16 | 0x1237  # limit and base, as LGDT reads them

HAS_UMIP = {"requires": ("umip",), "proves": ("umip",)}
LONG64, PROT32, COMPAT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.COMPAT32, Mode.REAL16

# fmt: off
CASES = (
    row("sens.sgdt.cpl0.long64", "SGDT at CPL 0: the guest's GDT",     LONG64, SGDT, table(KERNEL, GDT_LIMIT, "gdt"), regs=K, sets=FILL_K),
    row("sens.sidt.cpl0.long64", "SIDT at CPL 0: the guest's IDT",     LONG64, SIDT, table(KERNEL, IDT_LIMIT, "idt"), regs=K, sets=FILL_K),
    row("sens.sldt.cpl0.long64", "SLDT at CPL 0: the guest's LDT",     LONG64, (LLDT, SLDT_EDX, UNLOAD_LDT), completes(regs={"rdx": 0x48}), regs=LDTR, sets=LDT),
    row("sens.str.cpl0.long64",  "STR at CPL 0: the guest's TSS",      LONG64, STR,  completes(regs={"rax": TR})),
    row("sens.smsw.cpl0.long64", "SMSW at CPL 0: the guest's CR0",     LONG64, SMSW, word(KERNEL, MSW), regs=K, sets=(*FILL_K, *EM)),

    row("sens.sgdt.cpl3.long64", "SGDT at CPL 3: the guest's GDT",     LONG64, SGDT, table(USER, GDT_LIMIT, "gdt"),   regs=U, sets=FILL_U, ring=3),
    row("sens.sidt.cpl3.long64", "SIDT at CPL 3: the guest's IDT",     LONG64, SIDT, table(USER, IDT_LIMIT, "idt"),   regs=U, sets=FILL_U, ring=3),
    row("sens.sldt.cpl3.long64", "SLDT at CPL 3: the guest has none",  LONG64, SLDT, completes(regs={"rax": 0}),      ring=3),
    row("sens.str.cpl3.long64",  "STR at CPL 3: the guest's TSS",      LONG64, STR,  completes(regs={"rax": TR}),     ring=3),
    row("sens.smsw.cpl3.long64", "SMSW at CPL 3: the guest's CR0",     LONG64, SMSW, word(USER, MSW), regs=U, sets=(*FILL_U, *EM), ring=3),

    row("sens.sgdt.umip.cpl3.long64", "SGDT at CPL 3 with UMIP: #GP",  LONG64, SGDT, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, **HAS_UMIP),
    row("sens.sidt.umip.cpl3.long64", "SIDT at CPL 3 with UMIP: #GP",  LONG64, SIDT, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, **HAS_UMIP),
    row("sens.sldt.umip.cpl3.long64", "SLDT at CPL 3 with UMIP: #GP",  LONG64, SLDT, faults(Vector.GP, 0),  sets=(UMIP,),          ring=3, **HAS_UMIP),
    row("sens.str.umip.cpl3.long64",  "STR at CPL 3 with UMIP: #GP",   LONG64, STR,  faults(Vector.GP, 0),  sets=(UMIP,),          ring=3, **HAS_UMIP),
    row("sens.smsw.umip.cpl3.long64", "SMSW at CPL 3 with UMIP: #GP",  LONG64, SMSW, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, discriminates=True, refs=("claim.umip",), **HAS_UMIP),

    row("sens.sgdt.umip.cpl0.long64", "SGDT at CPL 0 with UMIP runs",  LONG64, SGDT, table(KERNEL, GDT_LIMIT, "gdt"), regs=K, sets=(*FILL_K, UMIP), **HAS_UMIP, priority=2),
    row("sens.smsw.umip.cpl0.long64", "SMSW at CPL 0 with UMIP runs",  LONG64, SMSW, word(KERNEL, MSW), regs=K, sets=(*FILL_K, *EM, UMIP), **HAS_UMIP, priority=2),
    row("sens.sgdt.umip_again.cpl3.long64", "SGDT at CPL 3 after UMIP was cleared", LONG64, SGDT, table(USER, GDT_LIMIT, "gdt"), regs=U, sets=(*FILL_U, UMIP, cr4()), ring=3, **HAS_UMIP),
    row("sens.smsw.umip_again.cpl3.long64", "SMSW at CPL 3 after UMIP was cleared", LONG64, SMSW, word(USER, MSW), regs=U, sets=(*FILL_U, *EM, UMIP, cr4()), ring=3, **HAS_UMIP),

    row("sens.sgdt.cpl0.prot32", "SGDT at CPL 0: the guest's GDT",     PROT32, SGDT32, table32(KERNEL, GDT_LIMIT, "gdt"),   regs=K, sets=FILL_K, priority=2),
    row("sens.sidt.cpl0.prot32", "SIDT at CPL 0: the guest's IDT",     PROT32, SIDT32, table32(KERNEL, IDT32_LIMIT, "idt"), regs=K, sets=FILL_K, priority=2),
    row("sens.str.cpl0.prot32",  "STR at CPL 0: the guest's TSS",      PROT32, STR,    completes(regs={"rax": TR}), priority=2),
    row("sens.smsw.cpl0.prot32", "SMSW at CPL 0: the guest's CR0",     PROT32, SMSW32, word(KERNEL, MSW), regs=K, sets=(*FILL_K, *EM), priority=2),
    row("sens.sgdt.cpl3.prot32", "SGDT at CPL 3: the guest's GDT",     PROT32, SGDT32, table32(USER, GDT_LIMIT, "gdt"),     regs=U, sets=FILL_U, ring=3, priority=2),
    row("sens.sidt.cpl3.prot32", "SIDT at CPL 3: the guest's IDT",     PROT32, SIDT32, table32(USER, IDT32_LIMIT, "idt"),   regs=U, sets=FILL_U, ring=3, priority=2),
    row("sens.str.cpl3.prot32",  "STR at CPL 3: the guest's TSS",      PROT32, STR,    completes(regs={"rax": TR}),         ring=3, priority=2),
    row("sens.smsw.cpl3.prot32", "SMSW at CPL 3: the guest's CR0",     PROT32, SMSW32, word(USER, MSW), regs=U, sets=(*FILL_U, *EM), ring=3, priority=2),
    row("sens.sgdt.umip.cpl3.prot32", "SGDT at CPL 3 with UMIP: #GP",  PROT32, SGDT32, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, **HAS_UMIP, priority=2),

    row("sens.sldt.cpl0.prot32", "SLDT at CPL 0: the guest's LDT",     PROT32, (LLDT, SLDT_EDX, UNLOAD_LDT), completes(regs={"rdx": 0x48}), regs=LDTR, sets=LDT, priority=2),
    row("sens.sldt.cpl3.prot32", "SLDT at CPL 3: the guest has none",  PROT32, SLDT,   completes(regs={"rax": 0}),          ring=3, priority=2),
    row("sens.sidt.umip.cpl3.prot32", "SIDT at CPL 3 with UMIP: #GP",  PROT32, SIDT32, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, **HAS_UMIP, priority=2),
    row("sens.sldt.umip.cpl3.prot32", "SLDT at CPL 3 with UMIP: #GP",  PROT32, SLDT,   faults(Vector.GP, 0), sets=(UMIP,),          ring=3, **HAS_UMIP, priority=2),
    row("sens.str.umip.cpl3.prot32",  "STR at CPL 3 with UMIP: #GP",   PROT32, STR,    faults(Vector.GP, 0), sets=(UMIP,),          ring=3, **HAS_UMIP, priority=2),
    row("sens.smsw.umip.cpl3.prot32", "SMSW at CPL 3 with UMIP: #GP",  PROT32, SMSW32, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, discriminates=True, **HAS_UMIP, priority=2),

    row("sens.sgdt.cpl3.compat32", "SGDT at CPL 3: the guest's GDT",   COMPAT32, SGDT32, table32(USER, GDT_LIMIT, "gdt"), regs=U, sets=FILL_U, ring=3, priority=2),
    row("sens.sidt.cpl3.compat32", "SIDT at CPL 3: the guest's IDT",   COMPAT32, SIDT32, table32(USER, IDT_LIMIT, "idt"), regs=U, sets=FILL_U, ring=3, priority=2),
    row("sens.sldt.cpl3.compat32", "SLDT at CPL 3: the guest has none", COMPAT32, SLDT,  completes(regs={"rax": 0}),      ring=3, priority=2),
    row("sens.str.cpl3.compat32",  "STR at CPL 3: the guest's TSS",    COMPAT32, STR,    completes(regs={"rax": TR}),     ring=3, priority=2),
    row("sens.smsw.cpl3.compat32", "SMSW at CPL 3: the guest's CR0",   COMPAT32, SMSW32, word(USER, MSW), regs=U, sets=(*FILL_U, *EM), ring=3, priority=2),
    row("sens.sgdt.umip.cpl3.compat32", "SGDT at CPL 3 with UMIP: #GP", COMPAT32, SGDT32, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, **HAS_UMIP, priority=2),
    row("sens.sidt.umip.cpl3.compat32", "SIDT at CPL 3 with UMIP: #GP", COMPAT32, SIDT32, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, **HAS_UMIP, priority=2),
    row("sens.sldt.umip.cpl3.compat32", "SLDT at CPL 3 with UMIP: #GP", COMPAT32, SLDT,  faults(Vector.GP, 0), sets=(UMIP,),          ring=3, **HAS_UMIP, priority=2),
    row("sens.str.umip.cpl3.compat32",  "STR at CPL 3 with UMIP: #GP", COMPAT32, STR,    faults(Vector.GP, 0), sets=(UMIP,),          ring=3, **HAS_UMIP, priority=2),
    row("sens.smsw.umip.cpl3.compat32", "SMSW at CPL 3 with UMIP: #GP", COMPAT32, SMSW32, refused(USER), regs=U, sets=(*FILL_U, UMIP), ring=3, discriminates=True, **HAS_UMIP, priority=2),

    row("sens.sidt.umip.cpl0.long64", "SIDT at CPL 0 with UMIP runs",  LONG64, SIDT, table(KERNEL, IDT_LIMIT, "idt"), regs=K, sets=(*FILL_K, UMIP), **HAS_UMIP, priority=2),
    row("sens.sldt.umip.cpl0.long64", "SLDT at CPL 0 with UMIP runs",  LONG64, (LLDT, SLDT_EDX, UNLOAD_LDT), completes(regs={"rdx": 0x48}), regs=LDTR, sets=(*LDT, UMIP), **HAS_UMIP, priority=2),
    row("sens.str.umip.cpl0.long64",  "STR at CPL 0 with UMIP runs",   LONG64, STR,  completes(regs={"rax": TR}), sets=(UMIP,), **HAS_UMIP, priority=2),

    row("sens.sidt.cpl0.real16", "SIDT in real mode: the guest's IDT", REAL16, (SIDT_BX, LIDT_SI, SIDT_DI, LIDT_BX), completes(memory={KERNEL + 32: 0xEEEE << 48 | OWN_IDT}), regs={"rbx": KERNEL, "rsi": KERNEL + 16, "rdi": KERNEL + 32}, sets=(mem64(KERNEL, FILL), mem64(KERNEL + 16, OWN_IDT), mem64(KERNEL + 32, FILL)), priority=2),
    row("sens.sgdt.cpl0.real16", "SGDT in real mode: the guest's GDT", REAL16, (LGDT_SI, SGDT_BX), completes(memory={KERNEL: 0xEEEE << 48 | OWN_GDT}), regs={"rbx": KERNEL, "rsi": KERNEL + 16}, sets=(mem64(KERNEL, FILL), mem64(KERNEL + 16, OWN_GDT)), priority=2),
    row("sens.smsw.cpl0.real16", "SMSW in real mode: the guest's CR0", REAL16, Insn("0f 01 27", "smsw word ptr [bx]"), word(KERNEL, MSW_REAL), regs=K, sets=(mem64(KERNEL, FILL), *EM), priority=2),
)
# fmt: on
