"""SYSCALL, SYSRET, SYSENTER and SYSEXIT: segments from constants and MSRs, never from the GDT.

SYSCALL saves RIP in RCX and RFLAGS in R11, goes to IA32_LSTAR with CS = STAR[47:32] and SS = CS + 8 at CPL 0, clears the
flags that IA32_FMASK names, and leaves RSP.  SYSRET goes the other way: to 64-bit code with CS = STAR[63:48] + 16, or
without REX.W to compatibility mode with CS = STAR[63:48], at CPL 3.  They need EFER.SCE.  It is TF as they leave it that
counts: unlike IRET, SYSRET that sets TF traps before the first instruction there (Linux, arch/x86/entry/entry_64.S).
In compatibility mode SYSCALL
is #UD on Intel processors and goes to IA32_CSTAR on AMD's.

SYSENTER takes CS from IA32_SYSENTER_CS, SS = CS + 8, the stack and instruction pointers from their MSRs, clears IF;
#GP(0) where CS would be null.  SYSEXIT goes to CPL 3 with CS = SYSENTER_CS + 16, or with REX.W + 32 to 64-bit code, RIP
= RDX and RSP = RCX.  In long mode AMD's processors have neither.
"""

from typing import Any

from virtproof.conformance.case import At, Expect, Insn, Set, completes, family, faults, mem16, mem64, msr
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr

LONG64, PROT32, COMPAT32 = Mode.LONG64, Mode.PROT32, Mode.COMPAT32
CF, TF, IF, DF, RF, AC = (f.mask for f in (Rflags.cf, Rflags.tf, Rflags.if_, Rflags.df, Rflags.rf, Rflags.ac))
CODE, USER_CODE, KERNEL, USER = At("kernel_code"), At("user_code"), At("kernel_stack_top"), At("user_stack_top")
INTEL, AMD = {"requires": ("Intel vendor",)}, {"requires": ("AMD vendor",)}

SCE = msr(Msr.IA32_EFER, int(INITIAL[LONG64].efer.but(sce=1)))
STAR = msr(Msr.IA32_STAR, 0x0020_0008 << 32)  # SYSRET: 0x33 and 0x23, 0x2B; SYSCALL: 0x08, 0x10
BASE_CS = 0x10  # SYSENTER_CS of the SYSEXIT rows: 0x23 or 0x33


def syscalls(target: At, *, mask: int = 0) -> tuple[Set, ...]:
    return SCE, STAR, msr(Msr.IA32_LSTAR, target), msr(Msr.IA32_FMASK, mask)


call = family(
    "modes",
    sdm("2B", "Instruction Set Reference, 'SYSCALL-Fast System Call'"),
    apm(3, "System Instruction Reference, 'SYSCALL'"),
    ring=3,
    sets=syscalls(USER_CODE + 4),  # behind SYSCALL and INC
)
ret = family(
    "modes",
    sdm("2B", "Instruction Set Reference, 'SYSRET-Return From Fast System Call'"),
    apm(3, "System Instruction Reference, 'SYSRET'"),
    sets=(SCE, STAR, mem16(USER_CODE, 0x9090), mem16(USER_CODE + 2, 0x0B0F)),  # NOP, NOP, UD2
)
enter = family(
    "modes",
    sdm("2B", "Instruction Set Reference, 'SYSENTER-Fast System Call'"),
    apm(3, "System Instruction Reference, 'SYSENTER'"),
    ring=3,
    sets=(
        msr(Msr.IA32_SYSENTER_CS, 0x0B),  # the RPL does not count
        msr(Msr.IA32_SYSENTER_ESP, At("rsp0_top", -0x100)),
        msr(Msr.IA32_SYSENTER_EIP, USER_CODE + 4),
    ),
)
leave = family(
    "modes",
    sdm("2B", "Instruction Set Reference, 'SYSEXIT-Fast Return from Fast System Call'"),
    apm(3, "System Instruction Reference, 'SYSEXIT'"),
    sets=(msr(Msr.IA32_SYSENTER_CS, BASE_CS), mem16(USER_CODE, 0x0B0F)),
    regs={"rcx": USER, "rdx": USER_CODE},
)

SYSCALL, SYSRETQ, SYSRET = Insn("0f 05", "syscall"), Insn("48 0f 07", "sysretq"), Insn("0f 07", "sysret")
SYSENTER, SYSEXIT, SYSEXITQ = Insn("0f 34", "sysenter"), Insn("0f 35", "sysexit"), Insn("48 0f 35", "sysexitq")
INC = Insn("ff c3", "inc ebx")
LGDT, LGDT_BACK = Insn("0f 01 16", "lgdt [rsi]"), Insn("0f 01 17", "lgdt [rdi]")
WRMSR = Insn("0f 30", "wrmsr")
MANY_EXITS = (Insn("e6 80", "out 0x80, al"), Insn("e2 fc", "loop 0"))

FLAGS = 2 | CF | IF | DF | AC
K = At("kernel_data")
NO_GDT = (mem64(K, 0), mem64(K + 8, 0), mem16(K + 16, 21 * 8 - 1), mem64(K + 18, At("gdt")))


def entered(flags: int = 2, at: At = USER_CODE, **more: Any) -> Expect:
    """SYSCALL has gone to its target at CPL 0."""
    return completes(cs=0x08, ss=0x10, regs={"rcx": at + 2, "r11": flags}, **more)


def at_ring3(cs: int, offset: int = 2, rip: At = USER_CODE, ss: int = 0x2B, **more: Any) -> Expect:
    """The UD2 there runs at CPL 3."""
    return faults(Vector.UD, rip=rip + offset, cs=cs, ss=ss, **more)


TO_USER = {"rcx": USER_CODE, "r11": 2 | CF | IF}

# fmt: off
CASES = (
    call("mode.syscall.entry",    "SYSCALL from ring 3",                              LONG64, (SYSCALL, INC), entered(2 | CF | IF, rsp=USER, flags_set=CF | IF), flags=2 | CF | IF),
    call("mode.syscall.fmask",    "SYSCALL clears the flags of IA32_FMASK",           LONG64, (SYSCALL, INC), entered(FLAGS, flags_set=CF, flags_clear=IF | DF | AC), flags=FLAGS, sets=syscalls(USER_CODE + 4, mask=TF | IF | DF | AC)),
    call("mode.syscall.cpl0",     "SYSCALL at CPL 0",                                 LONG64, (SYSCALL, INC), entered(at=CODE, rsp=KERNEL), ring=0, sets=syscalls(CODE + 4), priority=2),
    call("mode.syscall.cstar",    "SYSCALL in compatibility mode is #UD on Intel",    COMPAT32, (SYSCALL, INC), faults(Vector.UD, at=0), priority=2, **INTEL),
    call("mode.syscall.cstar.amd", "SYSCALL in compatibility mode goes to CSTAR on AMD", COMPAT32, (SYSCALL, INC), completes(cs=0x08, ss=0x10, regs={"rcx": USER_CODE + 2}), sets=(*syscalls(CODE), msr(Msr.IA32_CSTAR, USER_CODE + 4)), priority=2, refs=("mode.syscall.cstar",), **AMD),
    call("mode.syscall.noload",   "SYSCALL does not read the GDT, whose limit is 0",  LONG64, (LGDT, SYSCALL, INC, LGDT_BACK), completes(cs=0x08, ss=0x10, regs={"rcx": CODE + 5, "r11": 2}), ring=0, regs={"rsi": K, "rdi": K + 16}, sets=(*syscalls(CODE + 7), *NO_GDT), priority=2),
    call("mode.syscall.star_kept", "STAR, LSTAR and FMASK outlive 1000 exits",        LONG64, (*MANY_EXITS, SYSCALL, INC), completes(cs=0x08, ss=0x10, flags_set=CF, flags_clear=DF, regs={"rcx": CODE + 6, "r11": 2 | CF | DF}), ring=0, regs={"rcx": 1000}, flags=2 | CF | DF, sets=syscalls(CODE + 8, mask=DF)),
    call("mode.syscall.lstar_nc", "IA32_LSTAR refuses what is not canonical",         LONG64, WRMSR, faults(Vector.GP, 0), ring=0, regs={"rcx": Msr.IA32_LSTAR, "rax": 0, "rdx": 0x8000}),

    ret("mode.syscall.sysretq",   "SYSRETQ to 64-bit code at CPL 3",                  LONG64, SYSRETQ, at_ring3(0x33, rsp=KERNEL, flags_set=CF | IF | RF), regs=TO_USER),
    ret("mode.syscall.sysretd",   "SYSRET to compatibility mode at CPL 3",            LONG64, SYSRET,  at_ring3(0x23, flags_set=CF | IF | RF), regs=TO_USER),
    ret("mode.syscall.iopl",      "SYSRETQ loads IOPL and IF",                        LONG64, SYSRETQ, at_ring3(0x33, flags_set=0x3000 | IF | RF), regs={"rcx": USER_CODE, "r11": 2 | 0x3000 | IF}, priority=3),
    ret("mode.syscall.sysret_nc", "SYSRETQ to an address that is not canonical faults at CPL 0 on Intel", LONG64, SYSRETQ, faults(Vector.GP, 0, cs=0x08, ss=0x10), regs={"rcx": 1 << 47, "r11": 2}, **INTEL),
    ret("mode.syscall.sysret_nc.amd", "... and at CPL 3, at its target, on AMD",      LONG64, SYSRETQ, faults(Vector.GP, 0, cs=0x33, rip=1 << 47), regs={"rcx": 1 << 47, "r11": 2}, refs=("mode.syscall.sysret_nc",), **AMD),
    ret("mode.syscall.r11_tf",    "SYSRET that loads TF is stepped itself: #DB at its target", LONG64, SYSRETQ, Expect(vector=Vector.DB, rip=USER_CODE, cs=0x33, dr6_set=1 << 14, flags_set=TF), regs={"rcx": USER_CODE, "r11": 2 | TF}, priority=2),

    enter("mode.sysenter.entry32", "SYSENTER from ring 3 of protected mode",          PROT32, (SYSENTER, INC), completes(cs=0x08, ss=0x10, flags_set=CF, flags_clear=IF, regs={"rsp": At("rsp0_top", -0x100)}), flags=2 | CF | IF),
    enter("mode.sysenter.entry64", "SYSENTER from ring 3 of 64-bit mode",             LONG64, (SYSENTER, INC), completes(cs=0x08, ss=0x10, flags_set=CF, flags_clear=IF, regs={"rsp": At("rsp0_top", -0x100)}), flags=2 | CF | IF, priority=2, **INTEL),
    enter("mode.sysenter.entry64.amd", "... is #UD on AMD",                           LONG64, (SYSENTER, INC), faults(Vector.UD, at=0), priority=2, refs=("mode.sysenter.entry64",), **AMD),
    enter("mode.sysenter.entry_compat", "SYSENTER from compatibility mode goes to 64-bit code", COMPAT32, (SYSENTER, INC), completes(cs=0x08, ss=0x10, regs={"rsp": At("rsp0_top", -0x100)}), priority=2, **INTEL),
    enter("mode.sysenter.cs3",    "SYSENTER with IA32_SYSENTER_CS = 3, which is null", PROT32, SYSENTER, faults(Vector.GP, 0), sets=(msr(Msr.IA32_SYSENTER_CS, 3),), priority=3),
    enter("mode.sysenter.cs0",    "SYSENTER with IA32_SYSENTER_CS = 0",               PROT32, SYSENTER, faults(Vector.GP, 0), sets=(msr(Msr.IA32_SYSENTER_CS, 0),)),
    leave("mode.sysenter.exit32", "SYSEXIT to ring 3 of protected mode",              PROT32, SYSEXIT, at_ring3(0x23, 0, rsp=USER, regs={"rsp": USER})),
    leave("mode.sysenter.exit64", "SYSEXITQ to ring 3 of 64-bit mode",                LONG64, SYSEXITQ, at_ring3(0x33, 0, ss=0x3B, rsp=USER, regs={"rsp": USER}), priority=2, **INTEL),
)
# fmt: on
