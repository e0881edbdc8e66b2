"""Privileged instructions at CPL 0 of 64-bit code do what they are there for.

The other half of ``instructions``: what is refused outside ring 0 works in it.  What an instruction loads is not what was
there before, so that a host which ignores it is found out, and is put back by the code or by the walker.
"""

from typing import Any

from virtproof.conformance.case import (
    Answers,
    At,
    Case,
    Insn,
    Part,
    Set,
    completes,
    cr0,
    cr4,
    dr,
    family,
    faults,
    mem8,
    mem16,
    mem64,
    msr,
    pio_in,
    pio_out,
    xcr0,
)
from virtproof.conformance.window import VA, WINDOW, caught_by, maps, page
from virtproof.guest_payloads.table import SetKind
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr

row = family(
    "privileged",
    sdm("3A", "System Architecture Overview, 'System Instruction Summary'"),
    sdm("3A", "Protection, 'Privileged Instructions'"),
    apm(2, "System Instructions, 'System-Management Instructions'"),
    priority=2,
)

LONG64 = Mode.LONG64
CR0, CR4, EFER = map(int, INITIAL[LONG64])
GDT, DATA, KERNEL = At("gdt"), At("kernel_data"), At("kernel_stack_top")
READ_CR0, READ_CR2, READ_CR3, READ_CR4 = (
    Insn("0f 20 c3", "mov rbx, cr0"), Insn("0f 20 d3", "mov rbx, cr2"),
    Insn("0f 20 db", "mov rbx, cr3"), Insn("0f 20 e3", "mov rbx, cr4"),
)  # fmt: skip
RDMSR, WRMSR = Insn("0f 32", "rdmsr"), Insn("0f 30", "wrmsr")
ZERO = (Insn("31 c0", "xor eax, eax"), Insn("31 d2", "xor edx, edx"))

# LGDT and LIDT: a table elsewhere, read back, and the guest's own again.  At kernel_data: 0 the other's limit and base,
# 10H the own, 20H what was read back.
FOREIGN_LIMIT, FOREIGN_BASE, LIMIT = 0x1237, 0x5678_9ABC_DEF0, 0xFFF
READ_BACK = {DATA + 0x20: FOREIGN_BASE << 16 & (1 << 64) - 1 | FOREIGN_LIMIT, DATA + 0x28: FOREIGN_BASE >> 48}
THREE = {"rbx": DATA, "rsi": DATA + 0x10, "rdi": DATA + 0x20}


def two_tables(own: str) -> tuple[Set, ...]:
    other = mem16(DATA, FOREIGN_LIMIT), mem64(DATA + 2, FOREIGN_BASE)
    return *other, mem16(DATA + 0x10, LIMIT), mem64(DATA + 0x12, At(own)), mem64(DATA + 0x20, 0), mem64(DATA + 0x28, 0)


# An LDT at kernel_data with one flat data segment, in the spare entry 48H of the GDT: bits 23:16 of the address are 1.
LDT = (
    mem64(GDT + 0x48, 0x0000_8201_0000_0007), Set(SetKind.MEM16, GDT + 0x4A, DATA), mem64(GDT + 0x50, 0),
    mem64(DATA, 0x00CF_9300_0000_FFFF),
)  # fmt: skip
# A second descriptor of the TSS there; that of the guest's own is made available for the way back.
TSS = (
    mem64(GDT + 0x48, 0x0000_8900_0000_0067), Set(SetKind.MEM16, GDT + 0x4A, At("tss")), mem64(GDT + 0x50, 0),
    mem8(GDT + 0x38 + 5, 0x89),
)  # fmt: skip
BUSY = {GDT + 0x48: (Part("type of the TSS descriptor", 5, 1, 0x8B, 0xFF),)}

# What CR0 and CR4 may hold here besides their initial value, without a change for the rest of the row.
MORE0, MORE4 = Cr0(0).but(am=1, mp=1), Cr4(0).but(de=1, tsd=1)
HIGH = 0xFFFF_8123_4567_89AB
UPPER, LOWER = 0x1234_5678, 0x9ABC_DEF0
APIC = (maps(page(0xFEE0_0000)),)
APIC_TPR = Insn("8b 9e 80 00 00 00", "mov ebx, dword ptr [rsi + 0x80]")
SET_APIC_TPR = Insn("c7 86 80 00 00 00 70 00 00 00", "mov dword ptr [rsi + 0x80], 0x70")

# Where SYSRET and SYSEXIT lead: the UD2 there tells what they have loaded.
THERE = (mem16(At("user_code"), 0x0B0F),)
SYSRET_SETS = (*THERE, msr(Msr.IA32_EFER, EFER | Efer.sce.mask), msr(Msr.IA32_STAR, 0x0023_0008 << 32))
SYSEXIT_SETS = (*THERE, msr(Msr.IA32_SYSENTER_CS, 0x10))
RETURN = {"rcx": At("user_code"), "r11": Rflags(2).but(cf=1, zf=1)}
EXIT = {"rdx": At("user_code"), "rcx": At("user_stack_top")}
AT_USER: dict[str, Any] = {"rip": At("user_code"), "handler_ss": 0, "frame": At("rsp0_top", -40)}
SYSEXIT, NOP = Insn("0f 35", "sysexit"), Insn("90", "nop")
INTEL, AMD = {"requires": ("Intel vendor",)}, {"requires": ("AMD vendor",)}

NO_BITMAP = (mem16(At("tss", 102), 0xFFFF),)
DEVICE = (Answers("pio", 0x80, 1, (0xA5,)),)
# RAX = is the time-stamp counter running?
RUNS = (
    Insn("09 d0", "or eax, edx"), Insn("b8 00 00 00 00", "mov eax, 0"), Insn("ba 00 00 00 00", "mov edx, 0"),
    Insn("0f 95 c0", "setne al"),
)  # fmt: skip
GS, KERNEL_GS = 0x1234_5678, 0x0BAD_CAFE
PMC0 = 0xC1  # the first general-purpose counter
SVME = msr(Msr.IA32_EFER, EFER | Efer.svme.mask)
IF = Rflags.if_.mask

# fmt: off
CASES: tuple[Case, ...] = (
    row("priv.lgdt.cpl0.long64",  "LGDT loads limit and base", LONG64,
        (Insn("0f 01 13", "lgdt [rbx]"), Insn("0f 01 07", "sgdt [rdi]"), Insn("0f 01 16", "lgdt [rsi]")),
        completes(memory=READ_BACK), regs=THREE, sets=two_tables("gdt")),
    row("priv.lidt.cpl0.long64",  "LIDT loads limit and base", LONG64,
        (Insn("0f 01 1b", "lidt [rbx]"), Insn("0f 01 0f", "sidt [rdi]"), Insn("0f 01 1e", "lidt [rsi]")),
        completes(memory=READ_BACK), regs=THREE, sets=two_tables("idt")),
    row("priv.lldt.cpl0.long64",  "LLDT loads a table, in which a selector is found", LONG64,
        (Insn("0f 00 d0", "lldt ax"), Insn("8e e1", "mov fs, ecx"), Insn("8c e2", "mov edx, fs"), Insn("0f 00 c3", "sldt ebx"), Insn("0f 00 d7", "lldt di")),
        completes(regs={"rbx": 0x48, "rdx": 4}), regs={"rax": 0x48, "rcx": 4, "rdi": 0}, sets=LDT),
    row("priv.ltr.cpl0.long64",   "LTR loads a TSS and makes its descriptor busy", LONG64,
        (Insn("0f 00 d8", "ltr ax"), Insn("0f 00 cb", "str ebx"), Insn("0f 00 d9", "ltr cx")),
        completes(regs={"rbx": 0x48}, memory=BUSY), regs={"rax": 0x48, "rcx": 0x38}, sets=TSS),

    row("priv.lmsw.cpl0.long64",         "LMSW loads TS, EM and MP",         LONG64, (Insn("0f 01 f0", "lmsw ax"), READ_CR0), completes(regs={"rbx": CR0 | 0xA}), regs={"rax": 0xFFF0 | 0xA}),
    row("priv.clts.cpl0.long64",         "CLTS clears CR0.TS",               LONG64, (Insn("0f 06", "clts"), READ_CR0),    completes(regs={"rbx": CR0}), sets=(cr0(on=Cr0.ts.mask),)),
    row("priv.mov_to_cr0.cpl0.long64",   "MOV loads CR0",                    LONG64, (Insn("0f 22 c0", "mov cr0, rax"), READ_CR0), completes(regs={"rbx": CR0 | MORE0}), regs={"rax": CR0 | MORE0}),
    row("priv.mov_from_cr0.cpl0.long64", "CR0 reads as it was set",          LONG64, READ_CR0, completes(regs={"rbx": CR0 | MORE0}), sets=(cr0(on=MORE0),)),
    row("priv.mov_from_cr2.cpl0.long64", "CR2 holds the address of the last page fault", LONG64, (Insn("ff 23", "jmp qword ptr [rbx]"), READ_CR2),
        completes(regs={"rbx": VA, "rsp": KERNEL + -48}), regs={"rbx": VA}, sets=caught_by(2)),
    row("priv.mov_to_cr2.cpl0.long64",   "CR2 takes 64 bits",                LONG64, (Insn("0f 22 d0", "mov cr2, rax"), READ_CR2), completes(regs={"rbx": HIGH}), regs={"rax": HIGH}),
    row("priv.mov_to_cr3.cpl0.long64",   "CR3 takes PWT and PCD",            LONG64, (Insn("0f 22 d8", "mov cr3, rax"), READ_CR3), completes(regs={"rbx": At("pml4", 0x18)}), regs={"rax": At("pml4", 0x18)}),
    row("priv.mov_from_cr3.cpl0.long64", "CR3 reads as the guest's own table, not as the host's", LONG64, READ_CR3, completes(regs={"rbx": At("pml4")})),
    row("priv.mov_to_cr4.cpl0.long64",   "MOV loads CR4",                    LONG64, (Insn("0f 22 e0", "mov cr4, rax"), READ_CR4), completes(regs={"rbx": CR4 | MORE4}), regs={"rax": CR4 | MORE4}),
    row("priv.mov_from_cr4.cpl0.long64", "CR4 reads as it was set: VMXE of a host does not show", LONG64, READ_CR4, completes(regs={"rbx": CR4 | MORE4}), sets=(cr4(on=MORE4),)),
    row("priv.mov_to_cr8.cpl0.long64",   "CR8 is bits 7:4 of the APIC's task priority", LONG64, (Insn("44 0f 22 c0", "mov cr8, rax"), APIC_TPR), completes(regs={"rbx": 0x50}), regs={"rax": 5, "rsi": WINDOW}, sets=APIC, irqchip=True),
    row("priv.mov_from_cr8.cpl0.long64", "The APIC's task priority is seen in CR8", LONG64, (SET_APIC_TPR, Insn("44 0f 20 c0", "mov rax, cr8")), completes(regs={"rax": 7}), regs={"rsi": WINDOW}, sets=APIC, irqchip=True),
    row("priv.mov_to_dr0.cpl0.long64",   "DR0 takes an address",             LONG64, (Insn("0f 23 c0", "mov dr0, rax"), Insn("0f 21 c3", "mov rbx, dr0")), completes(regs={"rbx": HIGH}), regs={"rax": HIGH}, sets=(dr(0, 0),)),
    row("priv.mov_to_dr7.cpl0.long64",   "DR7 takes what enables nothing",   LONG64, (Insn("0f 23 f8", "mov dr7, rax"), Insn("0f 21 fb", "mov rbx, dr7")), completes(regs={"rbx": 0xD_0400}), regs={"rax": 0xD_0400}, sets=(dr(7, 0x400),)),
    row("priv.mov_from_dr6.cpl0.long64", "DR6 reads as it was set, over its fixed bits", LONG64, Insn("0f 21 f0", "mov rax, dr6"), completes(regs={"rax": 0xFFFF_4FF2}), sets=(dr(6, 0xFFFF_4FF2),)),
    row("priv.mov_from_dr6.cpl0.long64.clear", "DR6 cleared is FFFF0FF0H",   LONG64, Insn("0f 21 f0", "mov rax, dr6"), completes(regs={"rax": 0xFFFF_0FF0}), sets=(dr(6, 0x1_0800),), refs=("priv.mov_from_dr6.cpl0.long64",)),

    row("priv.invd.cpl0.long64",     "INVD runs",     LONG64, Insn("0f 08", "invd"),        completes()),
    row("priv.wbinvd.cpl0.long64",   "WBINVD runs",   LONG64, Insn("0f 09", "wbinvd"),      completes()),
    row("priv.wbnoinvd.cpl0.long64", "WBNOINVD runs, as WBINVD where it does not exist", LONG64, Insn("f3 0f 09", "wbnoinvd"), completes()),
    row("priv.invlpg.cpl0.long64",   "INVLPG runs",   LONG64, Insn("0f 01 3b", "invlpg byte ptr [rbx]"), completes(), regs={"rbx": VA}),
    row("priv.invpcid.cpl0.long64",  "INVPCID runs",  LONG64, Insn("66 0f 38 82 03", "invpcid rax, xmmword ptr [rbx]"), completes(), regs={"rax": 2, "rbx": DATA}, requires=("invpcid",)),

    row("priv.rdmsr.cpl0.long64",  "RDMSR brings the guest's EFER to EDX:EAX", LONG64, RDMSR, completes(regs={"rax": EFER | Efer.sce.mask, "rdx": 0}), regs={"rcx": Msr.IA32_EFER}, sets=(msr(Msr.IA32_EFER, EFER | Efer.sce.mask),)),
    row("priv.wrmsr.cpl0.long64",  "WRMSR keeps EDX:EAX",  LONG64, (WRMSR, *ZERO, RDMSR), completes(), regs={"rcx": Msr.IA32_STAR, "rax": LOWER, "rdx": UPPER}, sets=(msr(Msr.IA32_STAR, 0),)),
    row("priv.swapgs.cpl0.long64", "SWAPGS exchanges the bases", LONG64,
        (Insn("0f 01 f8", "swapgs"), RDMSR, Insn("89 c3", "mov ebx, eax"), Insn("ff c1", "inc ecx"), RDMSR),
        completes(regs={"rbx": KERNEL_GS, "rax": GS, "rcx": Msr.IA32_KERNEL_GS_BASE, "rdx": 0}), regs={"rcx": Msr.IA32_GS_BASE},
        sets=(msr(Msr.IA32_GS_BASE, GS), msr(Msr.IA32_KERNEL_GS_BASE, KERNEL_GS))),
    row("priv.xsetbv.cpl0.long64", "XSETBV loads XCR0", LONG64, (Insn("0f 01 d1", "xsetbv"), *ZERO, Insn("0f 01 d0", "xgetbv")),
        completes(), regs={"rcx": 0, "rax": 3, "rdx": 0}, sets=(cr4(on=Cr4.osxsave.mask), xcr0(1)), requires=("xsave",)),
    row("priv.sysret.cpl0.long64", "SYSRET returns to CPL 3 at RCX, with the flags of R11", LONG64, Insn("48 0f 07", "sysretq"),
        faults(Vector.UD, cs=0x33, ss=0x2B, rsp=KERNEL, flags_set=Rflags(0).but(cf=1, zf=1, rf=1), **AT_USER), regs=RETURN, sets=SYSRET_SETS),
    row("priv.sysexit.cpl0.long64", "SYSEXIT returns to 32-bit code of CPL 3 at EDX", LONG64, SYSEXIT,
        faults(Vector.UD, cs=0x23, ss=0x2B, rsp=At("user_stack_top"), regs={"rsp": At("user_stack_top")}, **AT_USER), regs=EXIT, sets=SYSEXIT_SETS, **INTEL),
    row("priv.sysexit.cpl0.long64.rexw", "SYSEXIT with REX.W returns to 64-bit code of CPL 3 at RDX", LONG64, Insn("48 0f 35", "sysexitq"),
        faults(Vector.UD, cs=0x33, ss=0x3B, rsp=At("user_stack_top"), regs={"rsp": At("user_stack_top")}, **AT_USER), regs=EXIT, sets=SYSEXIT_SETS, **INTEL),
    row("priv.sysexit.cpl0.long64.amd", "SYSEXIT is none of AMD's instructions in long mode", LONG64, (SYSEXIT, NOP), faults(Vector.UD, at=0), regs=EXIT, sets=SYSEXIT_SETS, **AMD),

    row("priv.cli.cpl0.long64",    "CLI clears IF",        LONG64, Insn("fa", "cli"),  completes(flags_clear=IF), flags=2 | IF),
    row("priv.sti.cpl0.long64",    "STI sets IF",          LONG64, Insn("fb", "sti"),  completes(flags_set=IF)),
    row("priv.in_al.cpl0.long64",  "IN at CPL 0 asks neither IOPL nor the bitmap",   LONG64, Insn("e4 80", "in al, 0x80"), completes(regs={"rax": 0xA5}, accesses=(pio_in(0x80, 1, 0xA5),)), regs={"rax": 0}, sets=NO_BITMAP, answers=DEVICE),
    row("priv.out_dx.cpl0.long64", "OUT at CPL 0 asks neither IOPL nor the bitmap",  LONG64, Insn("ee", "out dx, al"),     completes(accesses=(pio_out(0x80, 1, 0x5A),)), regs={"rax": 0x5A, "rdx": 0x80}, sets=NO_BITMAP, answers=DEVICE),
    row("priv.insb.cpl0.long64",   "INS at CPL 0 asks neither IOPL nor the bitmap",  LONG64, Insn("6c", "insb byte ptr [rdi], dx"),
        completes(regs={"rdi": DATA + 1}, accesses=(pio_in(0x80, 1, 0xA5),), memory={DATA: 0xA5}), regs={"rdx": 0x80, "rdi": DATA}, sets=(mem64(DATA, 0), *NO_BITMAP), answers=DEVICE),
    row("priv.outsb.cpl0.long64",  "OUTS at CPL 0 asks neither IOPL nor the bitmap", LONG64, Insn("6e", "outsb dx, byte ptr [rsi]"),
        completes(regs={"rsi": DATA + 1}, accesses=(pio_out(0x80, 1, 0x5A),)), regs={"rdx": 0x80, "rsi": DATA}, sets=(mem64(DATA, 0x5A), *NO_BITMAP), answers=DEVICE),
    row("priv.rdpmc_pce0.cpl0.long64", "RDPMC reads a counter that stands still", LONG64, Insn("0f 33", "rdpmc"), completes(regs={"rax": 0x1234, "rdx": 0}), regs={"rcx": 0}, sets=(msr(PMC0, 0x1234),), requires=("pmu",)),
    row("priv.rdtscp_tsd.cpl0.long64", "RDTSCP at CPL 0 with TSD = 1 brings the counter and TSC_AUX", LONG64, (Insn("0f 01 f9", "rdtscp"), *RUNS),
        completes(regs={"rax": 1, "rdx": 0, "rcx": 0x1_2345}), sets=(cr4(on=Cr4.tsd.mask), msr(Msr.IA32_TSC_AUX, 0x1_2345)), requires=("rdtscp",)),

    row("priv.stgi.cpl0.long64",   "STGI runs with EFER.SVME = 1", LONG64, Insn("0f 01 dc", "stgi"), completes(), sets=(SVME,), requires=("svm",)),
    row("priv.vmload.cpl0.long64", "VMLOAD loads what VMSAVE has saved: here the base that SWAPGS exchanges", LONG64,
        (Insn("0f 01 db", "vmsave rax"), Insn("0f 01 f8", "swapgs"), Insn("0f 01 da", "vmload rax"), RDMSR),
        completes(regs={"rax": KERNEL_GS, "rdx": 0}), regs={"rax": At("frame"), "rcx": Msr.IA32_KERNEL_GS_BASE},
        sets=(SVME, msr(Msr.IA32_GS_BASE, GS), msr(Msr.IA32_KERNEL_GS_BASE, KERNEL_GS)), requires=("svm",)),
)
# fmt: on
