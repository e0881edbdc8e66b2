"""Instructions of features that are switched off raise #UD, and work once they are switched on.

SSE needs CR4.OSFXSR; AVX needs CR4.OSXSAVE and the AVX bit of XCR0; XGETBV needs CR4.OSXSAVE; SYSCALL needs EFER.SCE;
DR4 is another name of DR6 until CR4.DE takes it away.  The enable bits belong to the guest: each is tested off, on, and
off again after it was on, so that a host cannot pass with its own bits or with stale ones.
"""

from virtproof.conformance.case import At, Insn, completes, cr4, dr, family, faults, msr, xcr0
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4, Efer
from virtproof.spec.x86.exception import Vector
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
SYSCALL = Insn("0f 05", "syscall")
MOV_DR4 = Insn("0f 21 e0", "mov rax, dr4")

OSFXSR, OSXSAVE, DE = Cr4.osfxsr.mask, Cr4.osxsave.mask, Cr4.de.mask
X87_SSE, X87_SSE_AVX = 3, 7

_LONG = INITIAL[Mode.LONG64].efer
SCE_OFF = msr(Msr.IA32_EFER, int(_LONG))
SCE_ON = msr(Msr.IA32_EFER, int(_LONG | Efer.sce.mask))
# SYSCALL goes on behind itself: it loads CS 0x08, RCX with the next RIP and R11 with RFLAGS.
TO_NEXT = (SCE_ON, msr(Msr.IA32_STAR, 0x08 << 32), msr(Msr.IA32_LSTAR, At("kernel_code", 2)), msr(Msr.IA32_FMASK, 0))
CALLED = {"rcx": At("kernel_code", 2), "r11": 2}

XCR = {"rcx": 0}
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
)
# fmt: on
