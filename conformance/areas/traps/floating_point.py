"""#NM, #MF and #XM: the exceptions of x87 and SSE.

CR0.TS lets a kernel load the floating-point state late: any x87 or SSE instruction raises #NM while it is set; FWAIT
does so only with CR0.MP.  CR0.EM says that there is no x87: its instructions raise #NM too.  CLTS, or MOV to CR0, ends
both.  An unmasked x87 error is not reported by the instruction that met it, but as #MF by the next waiting one (with
CR0.NE).  An unmasked SSE error is reported at once: as #XM with CR4.OSXMMEXCPT, else as #UD.  FNSTSW waits for nothing and shows the x87 error.
MXCSR refuses reserved bits with #GP(0).  All are faults without an
error code.
"""

from virtproof.conformance.case import At, Insn, Set, completes, cr0, cr4, family, faults, mem64, xcr0
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 7-Device Not Available Exception (#NM)'"),
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 16-x87 FPU Floating-Point Error (#MF)'"),
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 19-SIMD Floating-Point Exception (#XM)'"),
    apm(2, "Exceptions and Interrupts, '#NM-Device-Not-Available Exception (Vector 7)'"),
    expect=faults(Vector.NM),
)

FXSAVE, XSAVE = Insn("0f ae 03", "fxsave [rbx]"), Insn("0f ae 23", "xsave ptr [rbx]")
MMX, AVX = Insn("0f 6f c1", "movq mm0, mm1"), Insn("c5 fc 28 c1", "vmovaps ymm0, ymm1")
LDMXCSR = Insn("0f ae 13", "ldmxcsr dword ptr [rbx]")
CLTS = Insn("0f 06", "clts")
FLD1 = Insn("d9 e8", "fld1")
FWAIT = Insn("9b", "wait")
MOVAPS = Insn("0f 28 c1", "movaps xmm0, xmm1")

TS, EM, MP = Cr0.ts.mask, Cr0.em.mask, Cr0.mp.mask
OSXSAVE = Cr4.osfxsr.mask | Cr4.osxsave.mask
SSE, SSE_XM = Cr4.osfxsr.mask, Cr4.osfxsr.mask | Cr4.osxmmexcpt.mask

# x87: 1 / 0 with the zero-divide error unmasked (FCW bit 2), then an instruction that waits for nothing, then FWAIT.
X87_DIVIDES = (
    Insn("db e3", "fninit"),
    Insn("d9 2b", "fldcw word ptr [rbx]"),
    FLD1,
    Insn("d9 ee", "fldz"),
    Insn("de f9", "fdivp st(1)"),
    Insn("90", "nop"),
    FWAIT,
)
# FNSTSW instead of FWAIT: ES and ZE stay of the status word.
X87_SHOWS = (
    *X87_DIVIDES[:-2],
    Insn("df e0", "fnstsw ax"),
    Insn("25 84 00 00 00", "and eax, 0x84"),
    Insn("db e3", "fninit"),
)
FCW_ZERO_DIVIDE, FCW_NONE = 0x037B, 0x037F
# SSE: the same with MXCSR bit 9.
SSE_DIVIDES = (
    LDMXCSR,
    Insn("0f 57 c9", "xorps xmm1, xmm1"),
    Insn("f3 0f 10 43 04", "movss xmm0, dword ptr [rbx + 4]"),
    Insn("f3 0f 5e c1", "divss xmm0, xmm1"),
)
ONE = 0x3F80_0000 << 32
MXCSR_ZERO_DIVIDE, MXCSR_NONE, MXCSR_RESERVED = 0x1D80, 0x1F80, 0x1_1F80

AT_DATA = {"rbx": At("kernel_data")}


def data(value: int) -> tuple[Set, ...]:
    return (mem64(At("kernel_data"), value),)


LONG64, COMPAT32, PROT32, REAL16 = Mode.LONG64, Mode.COMPAT32, Mode.PROT32, Mode.REAL16

# fmt: off
CASES = (
    row("trap.nm.fpu_ts.real16",        "x87 with TS = 1 raises #NM in real mode",      REAL16, FLD1,        sets=(cr0(on=TS),), priority=2),
    row("trap.nm.fpu_ts.prot32",        "x87 with TS = 1 raises #NM in protected mode", PROT32, FLD1,        sets=(cr0(on=TS),), priority=2),
    row("trap.nm.fpu_ts.long64",        "x87 with TS = 1 raises #NM in 64-bit mode",    LONG64, FLD1,        sets=(cr0(on=TS),)),
    row("trap.nm.fpu_ts.ring3",         "x87 with TS = 1 raises #NM at CPL 3",          LONG64, FLD1,        sets=(cr0(on=TS),), ring=3, priority=2),
    row("trap.nm.fpu_ts0.long64",       "x87 with TS = EM = 0 runs",                    LONG64, FLD1,        completes()),
    row("trap.nm.clts_retry.long64",    "x87 runs after CLTS",                          LONG64, (CLTS, FLD1), completes(), sets=(cr0(on=TS),), priority=2),
    row("trap.nm.fpu_em.long64",        "x87 with EM = 1 raises #NM",                   LONG64, FLD1,        sets=(cr0(on=EM),)),
    row("trap.nm.sse_ts.long64",        "SSE with TS = 1 raises #NM",                   LONG64, MOVAPS,      sets=(cr4(on=SSE), cr0(on=TS))),
    row("trap.nm.fpu_ts.compat32",      "x87 with TS = 1 raises #NM, compatibility mode", COMPAT32, FLD1,    sets=(cr0(on=TS),), priority=2),
    row("trap.nm.mmx_ts.long64",        "MMX with TS = 1 raises #NM",                   LONG64, MMX,         sets=(cr0(on=TS),), priority=2),
    row("trap.nm.avx_ts.long64",        "AVX with TS = 1 raises #NM",                   LONG64, AVX,         sets=(cr4(on=OSXSAVE), xcr0(7), cr0(on=TS)), requires=("avx",), priority=2),
    row("trap.nm.fxsave_ts.long64",     "FXSAVE with TS = 1 raises #NM",                LONG64, FXSAVE,      regs=AT_DATA, sets=(cr4(on=SSE), cr0(on=TS)), priority=2),
    row("trap.nm.xsave_ts.long64",      "XSAVE with TS = 1 raises #NM",                 LONG64, XSAVE,       regs=AT_DATA, sets=(cr4(on=OSXSAVE), cr0(on=TS)), requires=("xsave",), priority=2),
    row("trap.ud.feat.sse_em1.long64",  "SSE with EM = 1 raises #UD",                   LONG64, MOVAPS,      faults(Vector.UD), sets=(cr4(on=SSE), cr0(on=EM)), priority=2),
    row("trap.nm.wait_ts_mp1.long64",   "FWAIT with TS = MP = 1 raises #NM",            LONG64, FWAIT,       sets=(cr0(on=TS | MP),), priority=2),
    row("trap.nm.wait_ts_mp0.long64",   "FWAIT with TS = 1, MP = 0 does not",           LONG64, FWAIT,       completes(), sets=(cr0(on=TS),), priority=2),
    row("trap.mf.next_waiting.long64",  "An x87 error is reported by the next FWAIT",   LONG64, X87_DIVIDES, faults(Vector.MF), regs=AT_DATA, sets=data(FCW_ZERO_DIVIDE)),
    row("trap.mf.masked.long64",        "A masked x87 error is not reported",           LONG64, X87_DIVIDES, completes(), regs=AT_DATA, sets=data(FCW_NONE), priority=2),
    row("trap.mf.fnstsw_nowait.long64", "FNSTSW shows an x87 error and does not report it", LONG64, X87_SHOWS, completes(regs={"rax": 0x84}), regs=AT_DATA, sets=data(FCW_ZERO_DIVIDE), priority=2),
    row("trap.xm.ldmxcsr_rsvd.long64",  "LDMXCSR with bit 16 raises #GP(0)",            LONG64, LDMXCSR,     faults(Vector.GP, 0), regs=AT_DATA, sets=(cr4(on=SSE), *data(MXCSR_RESERVED)), priority=2),
    row("trap.xm.dze.long64",           "An SSE error raises #XM at once",              LONG64, SSE_DIVIDES, faults(Vector.XM), regs=AT_DATA, sets=(cr4(on=SSE_XM), *data(ONE | MXCSR_ZERO_DIVIDE))),
    row("trap.xm.osxmmexcpt0.long64",   "An SSE error with OSXMMEXCPT = 0 raises #UD",  LONG64, SSE_DIVIDES, faults(Vector.UD), regs=AT_DATA, sets=(cr4(on=SSE), *data(ONE | MXCSR_ZERO_DIVIDE)), priority=2),
    row("trap.xm.masked.long64",        "A masked SSE error is not reported",           LONG64, SSE_DIVIDES, completes(), regs=AT_DATA, sets=(cr4(on=SSE_XM), *data(ONE | MXCSR_NONE)), priority=2),
)
# fmt: on
