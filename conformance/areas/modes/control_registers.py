"""Control registers refuse values that no mode has: #GP(0), and the register keeps what it held.

CR0: bits 63:32 are reserved, NW = 1 needs CD = 1, PG = 1 needs PE = 1, and with LME = 1 PAE = 1 and CS.L = 0; 64-bit code
cannot leave paging, nor any with PCIDE = 1.  CR4: bit 31 and all above bit 32 are reserved, PAE and LA57 cannot change in
long mode, PCIDE exists there only, and cannot be set while CR3[11:0] is not 0.  CR3: bits from MAXPHYADDR on are
reserved, bit 63 means something for PCIDE = 1 only; with PAE paging the four PDPTEs are loaded, and checked.  CR8 has four
bits.  EFER has reserved bits, and LME cannot change while paging is on.  XCR0 keeps x87 set, AVX needs SSE, the three of
AVX-512 come together and need AVX; XCR1 cannot be written, and XCR2 does not exist.
"""

from virtproof.conformance.case import At, Insn, cr4, family, faults, mem64, msr
from virtproof.conformance.spare import CODE_64, spare
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4, Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr

row = family(
    "modes",
    sdm("3A", "System Architecture Overview, 'Control Registers'"),
    apm(2, "System Resources, 'System-Control Registers'"),
    expect=faults(Vector.GP, 0),
)

TO_CR0, TO_CR0_32 = Insn("0f 22 c0", "mov cr0, rax"), Insn("0f 22 c0", "mov cr0, eax")
TO_CR3, TO_CR3_32 = Insn("0f 22 d8", "mov cr3, rax"), Insn("0f 22 d8", "mov cr3, eax")
TO_CR4, TO_CR4_32 = Insn("0f 22 e0", "mov cr4, rax"), Insn("0f 22 e0", "mov cr4, eax")
TO_CR8 = Insn("44 0f 22 c0", "mov cr8, rax")
WRMSR, XSETBV, XGETBV = Insn("0f 30", "wrmsr"), Insn("0f 01 d1", "xsetbv"), Insn("0f 01 d0", "xgetbv")
# The PCD and PWT bits of CR3 are harmless, and not 0.
CR3_LOW_BITS = (
    Insn("0f 22 d9", "mov cr3, rcx"),
    TO_CR4,
)

CR0, CR4, EFER = INITIAL[Mode.LONG64]
OSXSAVE = (cr4(on=Cr4.osxsave.mask),)
LONG64, COMPAT32, PAE32, PROT32, REAL16 = Mode.LONG64, Mode.COMPAT32, Mode.PAE32, Mode.PROT32, Mode.REAL16
K = At("kernel_data")
LME = msr(Msr.IA32_EFER, int(Efer(0).but(lme=1)))
PG_ON = {"rax": int(INITIAL[PROT32].cr0.but(pg=1))}
JMP_L = Insn("ea 07 50 01 00 48 00", "ljmp 0x48:0x15007")  # kernel_code, behind the jump: trampoline.ld


def efer(value: int) -> dict[str, int]:
    """The operands of WRMSR."""
    return {"rcx": Msr.IA32_EFER, "rax": value & 0xFFFF_FFFF, "rdx": value >> 32}


def xcr(number: int, low: int, high: int = 0) -> dict[str, int]:
    return {"rcx": number, "rax": low, "rdx": high}


# fmt: off
CASES = (
    row("mode.cr.cr0_pg_pe0",       "CR0: PG = 1 with PE = 0",          REAL16, TO_CR0_32, regs={"rax": int(Cr0(0).but(et=1, pg=1))}),
    row("mode.cr.cr0_nw_cd0",       "CR0: NW = 1 with CD = 0",          LONG64, TO_CR0, regs={"rax": int(CR0.but(nw=1))}),
    row("mode.cr.cr0_hi",           "CR0: bit 32",                      LONG64, TO_CR0, regs={"rax": CR0 | 1 << 32}),
    row("mode.cr.cr0_pg_off_64",    "CR0: PG = 0 in 64-bit code",       LONG64, TO_CR0, regs={"rax": int(CR0.but(pg=0))}),
    row("mode.cr.cr0_pe_off_pg.pae32", "CR0: PE = 0 with PG = 1",         PAE32,  TO_CR0_32, regs={"rax": int(INITIAL[PAE32].cr0.but(pe=0))}, priority=2, refs=("mode.cr.cr0_pe_off_pg",)),
    row("mode.cr.cr0_pg_lme_pae0",  "CR0: PG = 1 with LME = 1, PAE = 0", PROT32, TO_CR0_32, regs=PG_ON, sets=(LME,)),
    row("mode.cr.cr0_pg_lme_csl",   "CR0: PG = 1 with LME = 1, CS.L = 1", PROT32, (JMP_L, TO_CR0_32), faults(Vector.GP, 0, cs=0x48), regs=PG_ON, sets=(*spare(CODE_64), cr4(on=Cr4.pae.mask), LME), priority=2),
    row("mode.cr.cr0_pg_pcide",     "CR0: PG = 0 with PCIDE = 1",       COMPAT32, TO_CR0_32, regs={"rax": int(CR0.but(pg=0))}, sets=(cr4(on=Cr4.pcide.mask),), requires=("pcid",), priority=2),
    row("mode.cr.cr4_hi",           "CR4: bit 40",                      LONG64, TO_CR4, regs={"rax": CR4 | 1 << 40}, priority=2),
    row("mode.cr.cr4_la57_lm",      "CR4: LA57 = 1 in long mode",       LONG64, TO_CR4, regs={"rax": int(CR4.but(la57=1))}, priority=2),
    row("mode.cr.cr4_smxe",         "CR4: SMXE = 1, which is not offered", LONG64, TO_CR4, regs={"rax": int(CR4.but(smxe=1))}, priority=3),
    row("mode.cr.cr4_pcide_lma0",   "CR4: PCIDE = 1 outside long mode", PROT32, TO_CR4_32, regs={"rax": int(Cr4(0).but(pcide=1))}, priority=2),
    row("mode.cr.cr3_hi",           "CR3: bit 51, beyond MAXPHYADDR",   LONG64, TO_CR3, regs={"rax": At("pml4", 1 << 51)}, requires=("MAXPHYADDR below 52",)),
    row("mode.cr.cr3_pdptr",        "CR3: a PDPTE with bit 5 set",      PAE32,  TO_CR3_32, regs={"rax": K}, sets=(mem64(K, At("pd", 0x21)),), priority=2),
    row("mode.cr.cr4_rsvd",         "CR4: bit 31",                      LONG64, TO_CR4, regs={"rax": CR4 | 1 << 31}),
    row("mode.cr.cr4_pae_off_lm",   "CR4: PAE = 0 in long mode",        LONG64, TO_CR4, regs={"rax": int(CR4.but(pae=0))}),
    row("mode.cr.cr4_pcide_cr3",    "CR4: PCIDE = 1 with CR3[11:0] not 0", LONG64, CR3_LOW_BITS, regs={"rcx": At("pml4", 0x18), "rax": int(CR4.but(pcide=1))}, requires=("pcid",)),
    row("mode.cr.cr3_bit63_nopcid", "CR3: bit 63 with PCIDE = 0",       LONG64, TO_CR3, regs={"rax": At("pml4", 1 << 63)}),
    row("mode.cr.cr8_rsvd",         "CR8: bit 4",                       LONG64, TO_CR8, regs={"rax": 0x10}),
    row("mode.efer.lme_pg",         "EFER: LME = 0 while paging is on", LONG64, WRMSR,  regs=efer(int(EFER.but(lme=0)))),
    row("mode.efer.rsvd",           "EFER: bit 2",                      LONG64, WRMSR,  regs=efer(EFER | 1 << 2)),
    row("mode.efer.rsvd_hi",        "EFER: bit 32",                     LONG64, WRMSR,  regs=efer(EFER | 1 << 32), priority=2),
    row("mode.xcr0.zero",           "XCR0: x87 = 0",                    LONG64, XSETBV, regs=xcr(0, 0), requires=("xsave",), sets=OSXSAVE),
    row("mode.xcr0.avx_nosse",      "XCR0: AVX = 1 with SSE = 0",       LONG64, XSETBV, regs=xcr(0, 5), requires=("xsave",), sets=OSXSAVE),
    row("mode.xcr0.unsupported",    "XCR0: bit 62, which nothing has",  LONG64, XSETBV, regs=xcr(0, 1, 1 << 30), requires=("xsave",), sets=OSXSAVE),
    row("mode.xcr0.avx512_part",    "XCR0: one of the three of AVX-512", LONG64, XSETBV, regs=xcr(0, 0x27), requires=("xsave",), sets=OSXSAVE, priority=2),
    row("mode.xcr0.avx512_noavx",   "XCR0: AVX-512 without AVX",        LONG64, XSETBV, regs=xcr(0, 0xE3), requires=("xsave",), sets=OSXSAVE, priority=2),
    row("mode.xcr0.mpx_part",       "XCR0: one of the two of MPX",      LONG64, XSETBV, regs=xcr(0, 0x0B), requires=("xsave",), sets=OSXSAVE, priority=3),
    row("mode.xcr0.amx_part",       "XCR0: one of the two of AMX",      LONG64, XSETBV, regs=xcr(0, 1 << 17 | 3), requires=("xsave",), sets=OSXSAVE, priority=3),
    row("mode.xcr0.hi",             "XCR0: bit 63",                     LONG64, XSETBV, regs=xcr(0, 1, 1 << 31), requires=("xsave",), sets=OSXSAVE, priority=2),
    row("mode.xcr0.xcr2_get",       "XCR2 cannot be read",              LONG64, XGETBV, regs=xcr(2, 0), requires=("xsave",), sets=OSXSAVE, priority=2),
    row("mode.xcr0.xcr1_set",       "XCR1 cannot be written",           LONG64, XSETBV, regs=xcr(1, 1), requires=("xsave",), sets=OSXSAVE),
)
# fmt: on
