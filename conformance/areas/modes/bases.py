"""Bases of FS and GS, and of the descriptor tables; and LMSW and SMSW, the old way to CR0.

In 64-bit mode FS and GS take their bases from MSRs, which RDFSBASE and its relatives read and write at any level where
CR4.FSGSBASE is set; a base that is not canonical is #GP(0).  SWAPGS exchanges GS's with IA32_KERNEL_GS_BASE.  A null
selector in FS makes the base 0 on Intel processors, on AMD's where CPUID says so.

The tables may lie anywhere in the canonical range; LGDT and LIDT refuse other bases with #GP(0), and keep what they had.

LMSW writes CR0[3:0] only, and cannot clear PE.  SMSW reads what MOV from CR0 reads.
"""

from virtproof.conformance.case import At, Insn, completes, cr0, cr4, family, faults, mem16, mem64, msr, traps
from virtproof.conformance.spare import CODE_64, DATA
from virtproof.conformance.window import FRAME, WINDOW, maps, page
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr

base = family(
    "modes",
    sdm("3A", "Protected-Mode Memory Management, 'Segment Loading Instructions in IA-32e Mode'"),
    apm(2, "Segmented Virtual Memory, 'FS and GS Registers in 64-Bit Mode'"),
    priority=2,
)
table = family(
    "modes",
    sdm("3A", "System Architecture Overview, 'Memory-Management Registers'"),
    apm(2, "Segmented Virtual Memory, 'Descriptor Tables'"),
    priority=2,
)
msw = family(
    "modes",
    sdm("2A", "Instruction Set Reference, 'LMSW-Load Machine Status Word'"),
    apm(3, "System Instruction Reference, 'LMSW'"),
)

LONG64, PROT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.REAL16
K = At("kernel_data")
FS = {"rcx": Msr.IA32_FS_BASE}
NOT_CANONICAL = 1 << 47

RDMSR = Insn("0f 32", "rdmsr")
MOV_FS = Insn("8e e3", "mov fs, ebx")
RDFSBASE, RDGSBASE = Insn("f3 48 0f ae c0", "rdfsbase rax"), Insn("f3 48 0f ae cb", "rdgsbase rbx")
WRFSBASE, WRGSBASE = Insn("f3 48 0f ae d0", "wrfsbase rax"), Insn("f3 48 0f ae d8", "wrgsbase rax")
SYSCALL = Insn("0f 05", "syscall")
GS_BASE = Insn("b9 01 01 00 c0", "mov ecx, 0xc0000101")
SWAPGS, CPUID = Insn("0f 01 f8", "swapgs"), Insn("0f a2", "cpuid")
KEEP = (Insn("89 c6", "mov esi, eax"), Insn("89 d7", "mov edi, edx"))
LGDT, LIDT = Insn("0f 01 13", "lgdt [rbx]"), Insn("0f 01 1b", "lidt [rbx]")
MOV_DS, READ_DS = Insn("8e d8", "mov ds, eax"), Insn("8c df", "mov edi, ds")
INT3 = Insn("cc", "int3")
LMSW, LMSW16 = Insn("0f 01 f0", "lmsw ax"), Insn("0f 01 f0", "lmsw ax")
SMSW = Insn("48 0f 01 e0", "smsw rax")
READ_CR0 = Insn("0f 20 c3", "mov rbx, cr0")
READ_CR0_32 = Insn("0f 20 c3", "mov ebx, cr0")
TO_CR0_CX = Insn("0f 22 c1", "mov cr0, ecx")
JMP_NEXT = Insn("ea 0c 90 00 00", "ljmp 0:0x900c")  # behind the jump: kernel_code of real16.ld

FSGSBASE = cr4(on=Cr4.fsgsbase.mask)
HAS_FSGSBASE = {"requires": ("fsgsbase",)}
SCE = msr(Msr.IA32_EFER, int(INITIAL[LONG64].efer.but(sce=1)))
ABOVE_4G = (mem16(K, 0xFFF), mem64(K + 2, WINDOW), maps(page()))
ODD_BASE = (mem16(K, 0xFFF), mem64(K + 2, 0xAAAA_AAAA_AAAA_AAAA))
MP, EM, TS = Cr0.mp.mask, Cr0.em.mask, Cr0.ts.mask
CR0 = int(INITIAL[LONG64].cr0)
GS_A, GS_B = 0x1111_2222_3333, 0x4444_5555_6666

# fmt: off
CASES = (
    base("mode.misc.nullsel_fs_base", "A null selector in FS makes its base 0",           LONG64, (MOV_FS, RDMSR), completes(regs={"rax": 0, "rdx": 0}), regs=FS | {"rbx": 0}, sets=(msr(Msr.IA32_FS_BASE, 0x1234_5678_9ABC),), requires=("Intel vendor",)),
    base("mode.misc.nullsel_fs_base.clears", "... and where CPUID has NullSelectClearsBase", LONG64, (MOV_FS, RDMSR), completes(regs={"rax": 0, "rdx": 0}), regs=FS | {"rbx": 0}, sets=(msr(Msr.IA32_FS_BASE, 0x1234_5678_9ABC),), requires=("null_select_clears_base",), refs=("mode.misc.nullsel_fs_base",)),
    base("mode.misc.fsgsbase_rd",  "RDFSBASE and RDGSBASE read the MSRs",                 LONG64, (RDFSBASE, RDGSBASE), completes(regs={"rax": GS_A, "rbx": GS_B}), ring=3, sets=(FSGSBASE, msr(Msr.IA32_FS_BASE, GS_A), msr(Msr.IA32_GS_BASE, GS_B)), **HAS_FSGSBASE),
    base("mode.misc.fsgsbase_wr",  "WRGSBASE at ring 3 writes the MSR, which ring 0 reads", LONG64, (WRGSBASE, SYSCALL, GS_BASE, RDMSR), completes(cs=0x08, regs={"rax": GS_A & 0xFFFF_FFFF, "rdx": GS_A >> 32, "rcx": Msr.IA32_GS_BASE, "r11": 2}), ring=3, regs={"rax": GS_A},
        sets=(FSGSBASE, SCE, msr(Msr.IA32_STAR, 0x08 << 32), msr(Msr.IA32_LSTAR, At("user_code", 7)), msr(Msr.IA32_FMASK, 0), msr(Msr.IA32_GS_BASE, 0)), **HAS_FSGSBASE),
    base("mode.misc.fsgsbase_nc",  "WRFSBASE of what is not canonical",                   LONG64, WRFSBASE, faults(Vector.GP, 0), regs={"rax": NOT_CANONICAL}, sets=(FSGSBASE,), **HAS_FSGSBASE),
    base("mode.misc.swapgs_exits", "SWAPGS holds over exits, both ways",                  LONG64, (SWAPGS, CPUID, GS_BASE, RDMSR, *KEEP, CPUID, SWAPGS, CPUID, GS_BASE, RDMSR), completes(keeps=False, regs={"rsi": GS_B & 0xFFFF_FFFF, "rdi": GS_B >> 32, "rax": GS_A & 0xFFFF_FFFF, "rdx": GS_A >> 32}), regs={"rax": 0, "rcx": 0},
        sets=(msr(Msr.IA32_GS_BASE, GS_A), msr(Msr.IA32_KERNEL_GS_BASE, GS_B)), priority=1),

    table("mode.misc.gdt_4g",      "A GDT above 4 GiB",                                   LONG64, (LGDT, MOV_DS, READ_DS), completes(regs={"rdi": 0x18}), regs={"rbx": K, "rax": 0x18}, sets=(*ABOVE_4G, mem64(FRAME + 8, CODE_64), mem64(FRAME + 0x10, DATA), mem64(FRAME + 0x18, DATA))),
    table("mode.misc.idt_4g",      "An IDT above 4 GiB",                                  LONG64, (LIDT, INT3), traps(Vector.BP), regs={"rbx": K}, sets=(*ABOVE_4G, mem64(FRAME + 0x30, At("stubs", 16 * 3 + (0x08 << 16) + (0x8E << 40))), mem64(FRAME + 0x38, 0))),
    table("mode.misc.gdt_max",     "The last of 8192 descriptors",                        LONG64, (LGDT, MOV_DS, READ_DS), completes(regs={"rdi": 0xFFF8}), regs={"rbx": K, "rax": 0xFFF8}, sets=(mem16(K, 0xFFFF), mem64(K + 2, WINDOW), maps(page()), maps(page(FRAME + 0x1000), 15), mem64(FRAME + 8, CODE_64), mem64(FRAME + 0x10, DATA), mem64(FRAME + 0x1FF8, DATA)), priority=3),
    table("mode.seg.lgdt_nc",      "LGDT of a base that is not canonical",                LONG64, LGDT, faults(Vector.GP, 0), regs={"rbx": K}, sets=ODD_BASE),
    table("mode.seg.lidt_nc",      "LIDT of a base that is not canonical",                LONG64, LIDT, faults(Vector.GP, 0), regs={"rbx": K}, sets=ODD_BASE),

    msw("mode.misc.lmsw_pe_set",   "LMSW can set PE",                                     REAL16, (LMSW16, Insn("0f 20 c3", "mov ebx, cr0"), TO_CR0_CX, JMP_NEXT), completes(regs={"rbx": 0x11}), regs={"rax": 1, "rcx": 0x10}, priority=2),
    msw("mode.misc.lmsw_pe_clear", "LMSW clears MP, EM and TS, and not PE",               PROT32, (LMSW, READ_CR0_32), completes(regs={"rbx": CR0 & 0x7FFF_FFFF}), regs={"rax": 0}, sets=(cr0(on=MP | EM | TS),)),
    msw("mode.misc.lmsw_hi",       "LMSW leaves CR0[31:4]",                               LONG64, (LMSW, READ_CR0), completes(regs={"rbx": CR0}), regs={"rax": 0xFFF1}, sets=(cr0(on=MP),), priority=2),
    msw("mode.misc.smsw_matches",  "SMSW reads what MOV from CR0 reads",                  LONG64, (SMSW, READ_CR0), completes(regs={"rax": CR0 | MP, "rbx": CR0 | MP}), sets=(cr0(on=MP),)),
)
# fmt: on
