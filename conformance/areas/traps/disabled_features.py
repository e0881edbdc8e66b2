"""Instructions of features that are switched off raise #UD, and work once they are switched on.

SSE needs CR4.OSFXSR; AVX needs CR4.OSXSAVE and the AVX bit of XCR0, AVX-512 three more; XGETBV, XSETBV and XSAVE need
CR4.OSXSAVE; SYSCALL and SYSRET need EFER.SCE; RDFSBASE needs CR4.FSGSBASE; RDPKRU needs CR4.PKE.  MMX cannot be had with
CR0.EM.  DR4 and DR5 are other names of DR6 and DR7 until CR4.DE takes them away.  VMXON without CR4.VMXE and VMRUN without
EFER.SVME are no instructions, whatever the processor has.  STAC is none outside ring 0.  The enable bits belong to the guest: each is tested off, on, and
off again after it was on, so that a host cannot pass with its own bits or with stale ones.
"""

from virtproof.conformance.case import At, Insn, completes, cr0, cr4, dr, family, faults, mem16, msr, xcr0
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.spec.x86.debug import DR7_RESET
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr

row = family(
    "traps",
    sdm("3A", "System Architecture Overview, 'Control Registers'"),
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 6-Invalid Opcode Exception (#UD)'"),
    apm(2, "System Resources, 'CR4 Register'"),
    expect=faults(Vector.UD),
)

MOVAPS = Insn("0f 28 c1", "movaps xmm0, xmm1")
VMOVAPS = Insn("c5 fc 28 c1", "vmovaps ymm0, ymm1")
XGETBV = Insn("0f 01 d0", "xgetbv")
ZMM_MOVE = Insn("62 f1 7c 48 28 c1", "vmovaps zmm0, zmm1")
XSETBV = Insn("0f 01 d1", "xsetbv")
XSAVE = Insn("0f ae 23", "xsave ptr [rbx]")
RDFSBASE = Insn("f3 48 0f ae c0", "rdfsbase rax")
RDPKRU = Insn("0f 01 ee", "rdpkru")
SYSRET = Insn("48 0f 07", "sysretq")
VMXON, VMRUN = Insn("f3 0f c7 33", "vmxon qword ptr [rbx]"), Insn("0f 01 d8", "vmrun rax")
STAC = Insn("0f 01 cb", "stac")
MOV_DR5, FROM_DR5 = Insn("0f 23 e8", "mov dr5, rax"), Insn("0f 21 e8", "mov rax, dr5")
MMX = Insn("0f 6f c1", "movq mm0, mm1")
SYSCALL = Insn("0f 05", "syscall")
MOV_DR4 = Insn("0f 21 e0", "mov rax, dr4")

OSFXSR, OSXSAVE, DE = Cr4.osfxsr.mask, Cr4.osxsave.mask, Cr4.de.mask
X87_SSE, X87_SSE_AVX, X87_TO_ZMM = 3, 7, 0xE7
FSGSBASE, PKE = Cr4.fsgsbase.mask, Cr4.pke.mask
FS_BASE = 0x1234_5678_9ABC

_LONG = INITIAL[Mode.LONG64].efer
SCE_OFF = msr(Msr.IA32_EFER, int(_LONG))
SCE_ON = msr(Msr.IA32_EFER, int(_LONG | Efer.sce.mask))
# SYSCALL goes on behind itself: it loads CS 0x08, RCX with the next RIP and R11 with RFLAGS.
TO_NEXT = (SCE_ON, msr(Msr.IA32_STAR, 0x08 << 32), msr(Msr.IA32_LSTAR, At("kernel_code", 2)), msr(Msr.IA32_FMASK, 0))
CALLED = {"rcx": At("kernel_code", 2), "r11": 2}

# SYSRET from here to UD2 in ring 3.
RETURNS = (SCE_ON, msr(Msr.IA32_STAR, 0x23 << 48), mem16(At("user_code"), 0x0B0F))
RETURN = {"rcx": At("user_code"), "r11": 2}
RETURNED = faults(Vector.UD, rip=At("user_code"), cs=0x33, ss=0x2B)

SAVE = {"rbx": At("kernel_data"), "rax": 0, "rdx": 0}  # nothing is asked to be saved
XCR = {"rcx": 0}
XCR_SSE = {"rcx": 0, "rax": X87_SSE, "rdx": 0}
NO_BREAKPOINTS = {"rax": int(DR7_RESET)}
DR6 = dr(6, 0xFFFF_0FF1)  # a mark that DR6 keeps: B0
ON = cr4(on=OSXSAVE | OSFXSR)
OFF = cr4()

LONG64 = Mode.LONG64

# fmt: off
CASES = (
    row("trap.ud.feat.sse_osfxsr0.long64",         "SSE with OSFXSR = 0 raises #UD",                  LONG64, MOVAPS),
    row("trap.ud.feat.sse_osfxsr1.long64",         "SSE with OSFXSR = 1 runs",                        LONG64, MOVAPS,  completes(), sets=(cr4(on=OSFXSR),)),
    row("trap.ud.feat.sse_osfxsr_again.long64",    "SSE after OSFXSR was cleared raises #UD",         LONG64, MOVAPS,  sets=(cr4(on=OSFXSR), OFF)),
    row("trap.ud.feat.avx_osxsave0.long64",        "AVX with OSXSAVE = 0 raises #UD",                 LONG64, VMOVAPS, requires=("avx",), sets=(ON, xcr0(X87_SSE_AVX), cr4(on=OSFXSR))),
    row("trap.ud.feat.avx_xcr0.long64",            "AVX with XCR0.AVX = 0 raises #UD",                LONG64, VMOVAPS, requires=("avx",), sets=(ON, xcr0(X87_SSE))),
    row("trap.ud.feat.avx_on.long64",              "AVX with OSXSAVE and XCR0.AVX runs",              LONG64, VMOVAPS, completes(), requires=("avx",), sets=(ON, xcr0(X87_SSE_AVX))),
    row("trap.ud.feat.avx_xcr0_again.long64",      "AVX after XCR0.AVX was cleared raises #UD",       LONG64, VMOVAPS, requires=("avx",), sets=(ON, xcr0(X87_SSE_AVX), xcr0(X87_SSE))),
    row("trap.ud.feat.xgetbv_off.long64",          "XGETBV with OSXSAVE = 0 raises #UD",              LONG64, XGETBV,  regs=XCR),
    row("trap.ud.feat.xgetbv_on.long64",           "XGETBV with OSXSAVE = 1 reads the guest's XCR0",  LONG64, XGETBV,  completes(regs={"rax": X87_SSE, "rdx": 0}), regs=XCR, requires=("xsave",), sets=(ON, xcr0(X87_SSE))),
    row("trap.ud.feat.xgetbv_again.long64",        "XGETBV after OSXSAVE was cleared raises #UD",     LONG64, XGETBV,  regs=XCR, requires=("xsave",), sets=(ON, OFF)),
    row("trap.ud.feat.syscall_sce0.long64",        "SYSCALL with SCE = 0 raises #UD",                 LONG64, SYSCALL),
    row("trap.ud.feat.syscall_sce1.long64",        "SYSCALL with SCE = 1 enters LSTAR",               LONG64, SYSCALL, completes(regs=CALLED), sets=TO_NEXT),
    row("trap.ud.feat.syscall_sce_again.long64",   "SYSCALL after SCE was cleared raises #UD",        LONG64, SYSCALL, sets=(*TO_NEXT, SCE_OFF)),
    row("trap.ud.feat.dr4_de1.long64",             "MOV from DR4 with DE = 1 raises #UD",             LONG64, MOV_DR4, sets=(cr4(on=DE),)),
    row("trap.db.dr4_alias.long64",                "MOV from DR4 with DE = 0 reads DR6",              LONG64, MOV_DR4, completes(regs={"rax": 0xFFFF_0FF1}), sets=(DR6,), priority=2),
    row("trap.ud.feat.dr4_de_again.long64",        "MOV from DR4 after DE was cleared reads DR6",     LONG64, MOV_DR4, completes(regs={"rax": 0xFFFF_0FF1}), sets=(DR6, cr4(on=DE), OFF)),
    row("trap.ud.feat.dr5_de1.long64",             "MOV to DR5 with DE = 1 raises #UD",               LONG64, MOV_DR5, regs=NO_BREAKPOINTS, sets=(cr4(on=DE),), priority=2),
    row("trap.ud.feat.dr5_de0.long64",             "MOV from DR5 with DE = 0 reads DR7",              LONG64, FROM_DR5, completes(regs=NO_BREAKPOINTS), priority=2),
    row("trap.ud.feat.avx512_xcr0.long64",         "AVX-512 without its bits of XCR0 raises #UD",     LONG64, ZMM_MOVE, requires=("avx512f",), sets=(ON, xcr0(X87_SSE_AVX)), priority=2),
    row("trap.ud.feat.avx512_on.long64",           "AVX-512 with its bits of XCR0 runs",              LONG64, ZMM_MOVE, completes(), requires=("avx512f",), sets=(ON, xcr0(X87_TO_ZMM)), priority=2),
    row("trap.ud.feat.avx512_again.long64",        "AVX-512 after its bits were cleared raises #UD",  LONG64, ZMM_MOVE, requires=("avx512f",), sets=(ON, xcr0(X87_TO_ZMM), xcr0(X87_SSE_AVX)), priority=2),
    row("trap.ud.feat.xsetbv_off.long64",          "XSETBV with OSXSAVE = 0 raises #UD",              LONG64, XSETBV,  regs=XCR_SSE, priority=2),
    row("trap.ud.feat.xsetbv_on.long64",           "XSETBV with OSXSAVE = 1 runs",                    LONG64, XSETBV,  completes(), regs=XCR_SSE, requires=("xsave",), sets=(xcr0(X87_SSE), ON), priority=2),
    row("trap.ud.feat.xsave_off.long64",           "XSAVE with OSXSAVE = 0 raises #UD",               LONG64, XSAVE,   regs=SAVE, priority=2),
    row("trap.ud.feat.xsave_on.long64",            "XSAVE with OSXSAVE = 1 runs",                     LONG64, XSAVE,   completes(), regs=SAVE, requires=("xsave",), sets=(ON,), priority=2),
    row("trap.ud.feat.xsave_again.long64",         "XSAVE after OSXSAVE was cleared raises #UD",      LONG64, XSAVE,   regs=SAVE, requires=("xsave",), sets=(ON, OFF), priority=2),
    row("trap.ud.feat.rdfsbase_off.long64",        "RDFSBASE with FSGSBASE = 0 raises #UD",           LONG64, RDFSBASE, priority=2),
    row("trap.ud.feat.rdfsbase_on.long64",         "RDFSBASE with FSGSBASE = 1 reads FS.base",        LONG64, RDFSBASE, completes(regs={"rax": FS_BASE}), requires=("fsgsbase",), sets=(cr4(on=FSGSBASE), msr(Msr.IA32_FS_BASE, FS_BASE)), priority=2),
    row("trap.ud.feat.rdfsbase_again.long64",      "RDFSBASE after FSGSBASE was cleared raises #UD",  LONG64, RDFSBASE, requires=("fsgsbase",), sets=(cr4(on=FSGSBASE), OFF), priority=2),
    row("trap.ud.feat.rdpkru_off.long64",          "RDPKRU with PKE = 0 raises #UD",                  LONG64, RDPKRU,  regs=XCR, priority=2),
    row("trap.ud.feat.rdpkru_on.long64",           "RDPKRU with PKE = 1 runs, and clears EDX",        LONG64, RDPKRU,  completes(keeps=False, regs={"rdx": 0}), regs=XCR, requires=("pku",), sets=(cr4(on=PKE),), priority=2),
    row("trap.ud.feat.rdpkru_again.long64",        "RDPKRU after PKE was cleared raises #UD",         LONG64, RDPKRU,  regs=XCR, requires=("pku",), sets=(cr4(on=PKE), OFF), priority=2),
    row("trap.ud.feat.sysret_sce0.long64",         "SYSRET with SCE = 0 raises #UD",                  LONG64, SYSRET,  regs=RETURN, priority=2),
    row("trap.ud.feat.sysret_sce1.long64",         "SYSRET with SCE = 1 goes to ring 3",              LONG64, SYSRET,  RETURNED, regs=RETURN, sets=RETURNS, priority=2),
    row("trap.ud.feat.sysret_sce_again.long64",    "SYSRET after SCE was cleared raises #UD",         LONG64, SYSRET,  regs=RETURN, sets=(*RETURNS, SCE_OFF), priority=2),
    row("trap.ud.feat.vmxon_off.long64",           "VMXON with VMXE = 0 raises #UD",                  LONG64, VMXON,   regs=SAVE, priority=2),
    row("trap.ud.feat.vmrun_off.long64",           "VMRUN with SVME = 0 raises #UD",                  LONG64, VMRUN,   regs={"rax": At("frame")}, priority=2),
    row("trap.ud.feat.stac_cpl3.long64",           "STAC at CPL 3 raises #UD",                        LONG64, STAC,    ring=3, priority=2),
    row("trap.ud.feat.stac_cpl0.long64",           "STAC at CPL 0 sets AC",                           LONG64, STAC,    completes(flags_set=Rflags.ac.mask), requires=("smap",), priority=2),
    row("trap.ud.feat.mmx_em1.long64",             "MMX with EM = 1 raises #UD",                      LONG64, MMX,     sets=(cr0(on=Cr0.em.mask),), priority=2),
    row("trap.ud.feat.mmx_em_again.long64",        "MMX after EM was cleared runs",                   LONG64, MMX,     completes(), sets=(cr0(on=Cr0.em.mask), cr0()), priority=2),
)
# fmt: on
