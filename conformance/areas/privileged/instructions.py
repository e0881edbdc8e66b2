"""Privileged instructions of 64-bit code at CPL 3 raise #GP(0), and change nothing.

At CPL 0 each of the stimuli here would succeed: operands are valid and features enabled, so that the privilege level is
all that can be wrong.  Nothing may reach the monitor.  CLI, STI, IN and OUT are allowed where CPL <= IOPL, RDTSC while
CR4.TSD is clear.
"""

from virtproof.conformance.case import At, Insn, completes, cr0, cr4, family, faults, mem8, mem64, msr
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr

REFUSED = faults(Vector.GP, 0, accesses=())
row = family(
    "privileged",
    sdm("3A", "Protection, 'Privileged Instructions'"),
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 13-General Protection Exception (#GP)'"),
    apm(2, "System Instructions, 'System-Management Instructions'"),
    expect=REFUSED,
    ring=3,
)

RDTSC = Insn("0f 31", "rdtsc")
# RAX = is the time-stamp counter running?
TSC_RUNS = (
    RDTSC,
    Insn("09 d0", "or eax, edx"),
    Insn("b8 00 00 00 00", "mov eax, 0"),
    Insn("ba 00 00 00 00", "mov edx, 0"),
    Insn("0f 95 c0", "setne al"),
)
RUNNING = completes(regs={"rax": 1, "rdx": 0})

USER = {"rbx": At("user_data")}
CR0, CR4, EFER = map(int, INITIAL[Mode.LONG64])
TSC_DENIED = cr4(on=Cr4.tsd.mask)
LDT_NULL, TSS = {"rax": 0}, {"rax": 0x38}
TSS_AVAILABLE = (mem8(At("gdt", 0x38 + 5), 0x89),)
SCE = (msr(Msr.IA32_EFER, EFER | Efer.sce.mask),)
ENTERED = (msr(Msr.IA32_SYSENTER_CS, 0x08),)  # what SYSEXIT needs
RETURN = {"rcx": At("user_code"), "rdx": At("user_code")}
VMCB = {"rax": At("frame")}
SVM = {"sets": (msr(Msr.IA32_EFER, EFER | Efer.svme.mask),), "requires": ("svm",), "priority": 2}
SYSEXIT, NOP = Insn("0f 35", "sysexit"), Insn("90", "nop")

LONG64 = Mode.LONG64

# fmt: off
CASES = (
    row("priv.lgdt.cpl3.long64",         "LGDT at CPL 3",          LONG64, Insn("0f 01 13", "lgdt [rbx]"),             regs=USER),
    row("priv.lidt.cpl3.long64",         "LIDT at CPL 3",          LONG64, Insn("0f 01 1b", "lidt [rbx]"),             regs=USER),
    row("priv.lldt.cpl3.long64",         "LLDT at CPL 3",          LONG64, Insn("0f 00 d0", "lldt ax"),                regs=LDT_NULL),
    row("priv.ltr.cpl3.long64",          "LTR at CPL 3",           LONG64, Insn("0f 00 d8", "ltr ax"),                 regs=TSS, sets=TSS_AVAILABLE),
    row("priv.clts.cpl3.long64",         "CLTS at CPL 3",          LONG64, Insn("0f 06", "clts"),                      sets=(cr0(on=Cr0.ts.mask),)),
    row("priv.lmsw.cpl3.long64",         "LMSW at CPL 3",          LONG64, Insn("0f 01 f0", "lmsw ax"),                regs={"rax": CR0 & 0xFFFF}, priority=2),
    row("priv.mov_to_cr0.cpl3.long64",   "MOV to CR0 at CPL 3",    LONG64, Insn("0f 22 c0", "mov cr0, rax"),           regs={"rax": CR0}),
    row("priv.mov_from_cr0.cpl3.long64", "MOV from CR0 at CPL 3",  LONG64, Insn("0f 20 c0", "mov rax, cr0"), priority=2),
    row("priv.mov_to_cr3.cpl3.long64",   "MOV to CR3 at CPL 3",    LONG64, Insn("0f 22 d8", "mov cr3, rax"),           regs={"rax": At("pml4")}),
    row("priv.mov_from_cr3.cpl3.long64", "MOV from CR3 at CPL 3",  LONG64, Insn("0f 20 d8", "mov rax, cr3")),
    row("priv.mov_to_cr4.cpl3.long64",   "MOV to CR4 at CPL 3",    LONG64, Insn("0f 22 e0", "mov cr4, rax"),           regs={"rax": CR4}),
    row("priv.mov_to_cr8.cpl3.long64",   "MOV to CR8 at CPL 3",    LONG64, Insn("44 0f 22 c0", "mov cr8, rax"),        regs={"rax": 0}, priority=2),
    row("priv.mov_to_dr7.cpl3.long64",   "MOV to DR7 at CPL 3",    LONG64, Insn("0f 23 f8", "mov dr7, rax"),           regs={"rax": 0x400}),
    row("priv.mov_from_dr6.cpl3.long64", "MOV from DR6 at CPL 3",  LONG64, Insn("0f 21 f0", "mov rax, dr6"), priority=2),
    row("priv.invd.cpl3.long64",         "INVD at CPL 3",          LONG64, Insn("0f 08", "invd"), priority=2),
    row("priv.wbinvd.cpl3.long64",       "WBINVD at CPL 3",        LONG64, Insn("0f 09", "wbinvd")),
    row("priv.invlpg.cpl3.long64",       "INVLPG at CPL 3",        LONG64, Insn("0f 01 3b", "invlpg byte ptr [rbx]"),  regs=USER),
    row("priv.hlt.cpl3.long64",          "HLT at CPL 3",           LONG64, Insn("f4", "hlt")),
    row("priv.rdmsr.cpl3.long64",        "RDMSR at CPL 3",         LONG64, Insn("0f 32", "rdmsr"),                     regs={"rcx": Msr.IA32_EFER}),
    row("priv.wrmsr.cpl3.long64",        "WRMSR at CPL 3",         LONG64, Insn("0f 30", "wrmsr"),                     regs={"rcx": Msr.IA32_SYSENTER_CS, "rax": 0, "rdx": 0}),
    row("priv.swapgs.cpl3.long64",       "SWAPGS at CPL 3",        LONG64, Insn("0f 01 f8", "swapgs")),
    row("priv.xsetbv.cpl3.long64",       "XSETBV at CPL 3",        LONG64, Insn("0f 01 d1", "xsetbv"),                 regs={"rcx": 0, "rax": 1, "rdx": 0}, requires=("xsave",), sets=(cr4(on=Cr4.osxsave.mask),)),
    row("priv.sysret.cpl3.long64",       "SYSRET at CPL 3",        LONG64, Insn("48 0f 07", "sysretq"),                regs={"rcx": At("user_code"), "r11": 2}, sets=SCE, priority=2),
    row("priv.cli.cpl3.long64",          "CLI at CPL 3, IOPL 0",   LONG64, Insn("fa", "cli")),
    row("priv.sti.cpl3.long64",          "STI at CPL 3, IOPL 0",   LONG64, Insn("fb", "sti")),
    row("priv.in_al.cpl3.long64",        "IN at CPL 3, IOPL 0",    LONG64, Insn("e4 80", "in al, 0x80")),
    row("priv.out_dx.cpl3.long64",       "OUT at CPL 3, IOPL 0",   LONG64, Insn("ee", "out dx, al"),                   regs={"rdx": 0x80}),
    row("priv.insb.cpl3.long64",         "INS at CPL 3, IOPL 0",   LONG64, Insn("6c", "insb byte ptr [rdi], dx"),      faults(Vector.GP, 0, accesses=(), memory={At("user_data"): 7}), regs={"rdx": 0x80, "rdi": At("user_data")}, sets=(mem64(At("user_data"), 7),), priority=2),
    row("priv.rdtsc_tsd.cpl3.long64",    "RDTSC at CPL 3, TSD = 1", LONG64, RDTSC,                                      sets=(TSC_DENIED,), priority=2),
    row("priv.rdtsc_tsd0.cpl3.long64",   "RDTSC runs at CPL 3 with TSD = 0",               LONG64, TSC_RUNS, RUNNING, priority=2),
    row("priv.rdtsc_tsd0.again.cpl3.long64","RDTSC runs at CPL 3 after TSD was cleared",   LONG64, TSC_RUNS, RUNNING,     sets=(TSC_DENIED, cr4())),
    row("priv.rdtsc_tsd.cpl0.long64",    "RDTSC runs at CPL 0 with TSD = 1",               LONG64, TSC_RUNS, RUNNING,     sets=(TSC_DENIED,), ring=0, priority=2),
    row("priv.mov_from_cr2.cpl3.long64", "MOV from CR2 at CPL 3",  LONG64, Insn("0f 20 d0", "mov rax, cr2"), priority=2),
    row("priv.mov_to_cr2.cpl3.long64",   "MOV to CR2 at CPL 3",    LONG64, Insn("0f 22 d0", "mov cr2, rax"), priority=2),
    row("priv.mov_from_cr4.cpl3.long64", "MOV from CR4 at CPL 3",  LONG64, Insn("0f 20 e0", "mov rax, cr4"), priority=2),
    row("priv.mov_from_cr8.cpl3.long64", "MOV from CR8 at CPL 3",  LONG64, Insn("44 0f 20 c0", "mov rax, cr8"), priority=2),
    row("priv.mov_to_dr0.cpl3.long64",   "MOV to DR0 at CPL 3",    LONG64, Insn("0f 23 c0", "mov dr0, rax"),           regs={"rax": 0}, priority=2),
    row("priv.wbnoinvd.cpl3.long64",     "WBNOINVD at CPL 3",      LONG64, Insn("f3 0f 09", "wbnoinvd"), priority=2),
    row("priv.invpcid.cpl3.long64",      "INVPCID at CPL 3",       LONG64, Insn("66 0f 38 82 03", "invpcid rax, xmmword ptr [rbx]"), regs=USER | {"rax": 2}, requires=("invpcid",), priority=2),
    row("priv.sysexit.cpl3.long64",      "SYSEXIT at CPL 3, Intel's processors", LONG64, SYSEXIT,                      regs=RETURN, sets=ENTERED, requires=("Intel vendor",), priority=2),
    row("priv.outsb.cpl3.long64",        "OUTS at CPL 3, IOPL 0",  LONG64, Insn("6e", "outsb dx, byte ptr [rsi]"),     regs={"rdx": 0x80, "rsi": At("user_data")}, priority=2),
    row("priv.rdpmc_pce0.cpl3.long64",   "RDPMC at CPL 3, PCE = 0", LONG64, Insn("0f 33", "rdpmc"),                    regs={"rcx": 0}, priority=2),
    row("priv.rdtscp_tsd.cpl3.long64",   "RDTSCP at CPL 3, TSD = 1", LONG64, Insn("0f 01 f9", "rdtscp"),               sets=(TSC_DENIED,), requires=("rdtscp",), priority=2),
    # With CR4.VMXE or EFER.SVME set, which a guest can do where it is offered nested virtualization.
    row("priv.vmxon_e.cpl3.long64",      "VMXON at CPL 3",         LONG64, Insn("f3 0f c7 33", "vmxon qword ptr [rbx]"), regs=USER, sets=(cr4(on=Cr4.vmxe.mask),), requires=("vmx",), priority=2),
    row("priv.vmrun_e.cpl3.long64",      "VMRUN at CPL 3",         LONG64, Insn("0f 01 d8", "vmrun rax"),              regs=VMCB, **SVM),
    row("priv.vmload.cpl3.long64",       "VMLOAD at CPL 3",        LONG64, Insn("0f 01 da", "vmload rax"),             regs=VMCB, **SVM),
    row("priv.stgi.cpl3.long64",         "STGI at CPL 3",          LONG64, Insn("0f 01 dc", "stgi"), **SVM),
    row("priv.skinit.cpl3.long64",       "SKINIT at CPL 3",        LONG64, Insn("0f 01 de", "skinit eax"),             regs=VMCB, **SVM),
    # These two look at the level first: outside CPL 0 they do not exist.
    row("priv.mwait.cpl3.long64",        "MONITOR at CPL 3: #UD",  LONG64, (Insn("0f 01 c8", "monitor"), NOP), faults(Vector.UD, at=0), regs={"rax": At("user_data"), "rcx": 0, "rdx": 0}, priority=2),
    row("priv.mwait.cpl3.long64.mwait",  "MWAIT at CPL 3: #UD",    LONG64, (Insn("0f 01 c9", "mwait"), NOP),   faults(Vector.UD, at=0), regs={"rax": 0, "rcx": 0}, priority=2, refs=("priv.mwait.cpl3.long64",)),

    row("priv.hlt.cpl3.pae32",           "HLT at CPL 3",       Mode.PAE32, Insn("f4", "hlt")),
)
# fmt: on
