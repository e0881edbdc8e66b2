"""Real mode is CPL 0: what is privileged works, and what is about protection does not exist.

Instructions whose operands are selectors or tables of selectors raise #UD; SYSENTER and SYSEXIT raise #GP.
A host that cannot run real mode in hardware interprets it, and each of these by its own means.
"""

from virtproof.conformance.case import Insn, completes, cr0, cr4, dr, family, faults, msr, pio_in, pio_out, xcr0
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr

row = family(
    "privileged",
    sdm("3B", "8086 Emulation, 'Real-Address Mode'"),
    apm(2, "System-Management Instructions, 'Real Mode'"),
    priority=3,  # a guest's firmware does little of this
)

REAL16 = Mode.REAL16
NOP = Insn("90", "nop")
READ_CR0, READ_CR4 = Insn("0f 20 c3", "mov ebx, cr0"), Insn("0f 20 e3", "mov ebx, cr4")
RDMSR, WRMSR = Insn("0f 32", "rdmsr"), Insn("0f 30", "wrmsr")
CLEAR = (Insn("66 31 c0", "xor eax, eax"), Insn("66 31 d2", "xor edx, edx"))
FLAGS = (Insn("9c", "pushf"), Insn("58", "pop ax"))
RUNS = (
    Insn("0f 31", "rdtsc"), Insn("66 09 d0", "or eax, edx"), Insn("66 ba 00 00 00 00", "mov edx, 0"),
    Insn("66 b8 00 00 00 00", "mov eax, 0"), Insn("0f 95 c0", "setne al"),
)  # fmt: skip

CR0 = int(INITIAL[REAL16].cr0)
TS, DE, TSD, IF = Cr0.ts.mask, Cr4.de.mask, Cr4.tsd.mask, Rflags.if_.mask
LOW, HIGH = 0x9ABC_DEF0, 0x1234_5678

# fmt: off
NO_SUCH = (
    ("lldt", Insn("0f 00 d0", "lldt ax"), 2),
    ("str",  Insn("0f 00 c8", "str ax"), 2),
    ("ltr",  Insn("0f 00 d8", "ltr ax"), 3),
    ("sldt", Insn("0f 00 c0", "sldt ax"), 3),
    ("verr", Insn("0f 00 e0", "verr ax"), 3),
    ("verw", Insn("0f 00 e8", "verw ax"), 3),
    ("lar",  Insn("0f 02 c0", "lar ax, ax"), 3),
    ("lsl",  Insn("0f 03 c0", "lsl ax, ax"), 3),
    ("arpl", Insn("63 c0", "arpl ax, ax"), 3),
)

CASES = (
    *(row(f"priv.{name}.real16", f"{name.upper()} does not exist in real mode", REAL16, (insn, NOP), faults(Vector.UD, at=0), priority=priority)
      for name, insn, priority in NO_SUCH),
    row("priv.sysexit.real16",          "SYSEXIT raises #GP in real mode",  REAL16, Insn("0f 35", "sysexit"),  faults(Vector.GP), sets=(msr(Msr.IA32_SYSENTER_CS, 8),)),
    row("priv.sysexit.real16.sysenter", "SYSENTER raises #GP in real mode", REAL16, Insn("0f 34", "sysenter"), faults(Vector.GP), sets=(msr(Msr.IA32_SYSENTER_CS, 8),), refs=("priv.sysexit.real16",)),

    row("priv.lmsw.real16",         "LMSW loads TS",             REAL16, (Insn("0f 01 f0", "lmsw ax"), READ_CR0),      completes(regs={"rbx": CR0 | TS}), regs={"rax": CR0 | TS}, sets=(cr0(),)),
    row("priv.clts.real16",         "CLTS clears CR0.TS",        REAL16, (Insn("0f 06", "clts"), READ_CR0),            completes(regs={"rbx": CR0}), sets=(cr0(on=TS),)),
    row("priv.mov_to_cr0.real16",   "MOV loads CR0",             REAL16, (Insn("0f 22 c0", "mov cr0, eax"), READ_CR0), completes(regs={"rbx": CR0 | TS}), regs={"rax": CR0 | TS}, sets=(cr0(),)),
    row("priv.mov_from_cr0.real16", "CR0 reads as it was set",   REAL16, READ_CR0,                                     completes(regs={"rbx": CR0 | TS}), sets=(cr0(on=TS),)),
    row("priv.mov_to_cr4.real16",   "MOV loads CR4",             REAL16, (Insn("0f 22 e0", "mov cr4, eax"), READ_CR4), completes(regs={"rbx": DE}), regs={"rax": DE}, sets=(cr4(),)),
    row("priv.mov_to_dr0.real16",   "DR0 takes an address",      REAL16, (Insn("0f 23 c0", "mov dr0, eax"), Insn("0f 21 c3", "mov ebx, dr0")), completes(regs={"rbx": LOW}), regs={"rax": LOW}, sets=(dr(0, 0),)),
    row("priv.invd.real16",         "INVD runs",                 REAL16, Insn("0f 08", "invd"),   completes()),
    row("priv.wbinvd.real16",       "WBINVD runs",               REAL16, Insn("0f 09", "wbinvd"), completes()),
    row("priv.rdmsr.real16",        "RDMSR brings the register to EDX:EAX", REAL16, RDMSR,       completes(regs={"rax": LOW, "rdx": HIGH}), regs={"rcx": Msr.IA32_STAR}, sets=(msr(Msr.IA32_STAR, HIGH << 32 | LOW),)),
    row("priv.wrmsr.real16",        "WRMSR keeps EDX:EAX",       REAL16, (WRMSR, *CLEAR, RDMSR), completes(), regs={"rcx": Msr.IA32_STAR, "rax": LOW, "rdx": HIGH}, sets=(msr(Msr.IA32_STAR, 0),)),
    row("priv.xsetbv.real16",       "XSETBV loads XCR0",         REAL16, (Insn("0f 01 d1", "xsetbv"), *CLEAR, Insn("0f 01 d0", "xgetbv")), completes(), regs={"rcx": 0, "rax": 3, "rdx": 0}, sets=(cr4(on=Cr4.osxsave.mask), xcr0(1)), requires=("xsave",)),
    row("priv.cli.real16",          "CLI clears IF",             REAL16, (Insn("fa", "cli"), *FLAGS), completes(regs={"rax": 0x0101_0002}), flags=2 | IF),
    row("priv.sti.real16",          "STI sets IF",               REAL16, (Insn("fb", "sti"), *FLAGS), completes(regs={"rax": 0x0101_0002 | IF})),
    row("priv.in_al.real16",        "IN reads a port",           REAL16, Insn("e4 80", "in al, 0x80"), completes(regs={"rax": 0x0101_01FF}, accesses=(pio_in(0x80, 1, 0xFF),))),
    row("priv.out_dx.real16",       "OUT writes to a port",      REAL16, Insn("ee", "out dx, al"), completes(accesses=(pio_out(0x80, 1, 0x5A),)), regs={"rax": 0x5A, "rdx": 0x80}),
    row("priv.rdtsc_tsd.real16",    "RDTSC runs with CR4.TSD = 1", REAL16, RUNS,                  completes(regs={"rax": 1, "rdx": 0}), sets=(cr4(on=TSD),)),
)
# fmt: on
