"""IRET: what it pops, and what it refuses.

In 64-bit mode it pops five quadwords always: RIP, CS, RFLAGS, RSP, SS.  To ring 3 it makes DS, ES, FS and GS null where
their DPL is below.  A null SS is taken for 64-bit code below CPL 3 only.  It never returns to an inner level: #GP(CS).
#GP(0) where CS is null or RIP is not canonical, #NP(CS) where the segment is not present, #GP(SS) where SS does not fit
to CS.  At CPL 0 it loads IF and IOPL; VM is ignored in long mode; RF holds back an instruction breakpoint once.

In protected mode IRETD at CPL 0 with VM set enters virtual-8086 mode, with all six segments from the stack.
"""

from virtproof.conformance.case import At, Expect, Insn, Set, completes, dr, family, faults, mem8, mem32, mem64
from virtproof.conformance.spare import CODE_64_ABSENT, DATA, spare
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "modes",
    sdm("2A", "Instruction Set Reference, 'IRET/IRETD/IRETQ-Interrupt Return'"),
    sdm("3A", "Interrupt and Exception Handling, 'IRET in IA-32e Mode'"),
    apm(2, "Exceptions and Interrupts, 'Long-Mode Interrupt Return'"),
)

LONG64, PROT32 = Mode.LONG64, Mode.PROT32
IRETQ, IRETD = Insn("48 cf", "iretq"), Insn("cf", "iretd")
INC = Insn("ff c1", "inc ecx")
JMP_BACK = Insn("eb fc", "jmp 2")
DEC_32 = Insn("48 ff c9", "dec rcx")  # DEC EAX, and INC EBX's neighbour, DEC ECX, in 32-bit code

GP, NP = Vector.GP, Vector.NP
CODE, KERNEL, USER, WORK = (
    At("kernel_code"),
    At("kernel_stack_top"),
    At("user_stack_top"),
    At("kernel_stack_top", -0x200),
)
FRAME = KERNEL + -40
POPS = {"rsp": FRAME}
CF, IF, RF, VM = (f.mask for f in (Rflags.cf, Rflags.if_, Rflags.rf, Rflags.vm))
IOPL3 = 0x3000


def frame(
    cs: int, rip: At | int, ss: int = 0x10, rsp: At | int = WORK, flags: int = 2, *, at: At = FRAME
) -> tuple[Set, ...]:
    values = (rip, cs, flags, rsp, ss)
    return tuple(mem64(at + 8 * n, value) for n, value in enumerate(values))


MOV_EAX_DS_UD2 = 0x0B0F_D88C  # what runs at ring 3
END = CODE + 4  # behind IRETQ and INC
AT_USER = (mem32(At("user_code"), MOV_EAX_DS_UD2),)
LAST = WINDOW + 0xFF8  # RIP lies there, the other four in the next page
PF_ON_IST1 = mem8(At("idt", 16 * Vector.PF + 4), 1)
UD_ON_IST1 = mem8(At("idt", 16 * Vector.UD + 4), 1)
BREAKPOINT = (dr(0, CODE + 2), dr(7, 0x401))  # where IRETQ returns to

# EIP, CS; EFLAGS, ESP; SS, ES; DS, FS; GS.  The code lies at 1500:0, which is kernel_code.
VM86_FRAME = tuple(
    mem64(KERNEL + -40 + 8 * n, value)
    for n, value in enumerate(
        (1 | 0x1500 << 32, 2 | VM | 0x0100 << 32, 0x1400 | 0x1401 << 32, 0x1402 | 0x1403 << 32, 0x1404)
    )
)
IN_VM86 = Expect(
    vector=Vector.UD, rip=9, cs=0x1500, ss=0x1400, rsp=0x0100, flags_set=VM,
    regs={"rax": 0x0101_1402, "rcx": 0x0202_1401, "rdx": 0x0303_1403, "rbx": 0x0404_1404, "rsp": 0x0100},
)  # fmt: skip
READ_SEGMENTS = (
    Insn("8c d8", "mov eax, ds"),
    Insn("8c c1", "mov ecx, es"),
    Insn("8c e2", "mov edx, fs"),
    Insn("8c eb", "mov ebx, gs"),
)

# fmt: off
CASES = (
    row("mode.iret.same64",     "On the same level RSP and SS are popped too",   LONG64, (IRETQ, INC), completes(cs=0x08, ss=0x48, rsp=WORK, flags_set=CF, regs={"rsp": WORK}), regs=POPS, sets=(*spare(DATA), *frame(0x08, END, 0x48, flags=2 | CF))),
    row("mode.iret.outer64",    "To ring 3: DS, whose DPL is 0, becomes null",   LONG64, IRETQ, faults(Vector.UD, rip=At("user_code", 2), cs=0x33, ss=0x2B, rsp=USER, regs={"rax": 0, "rsp": USER}), regs=POPS, sets=(*AT_USER, *frame(0x33, At("user_code"), 0x2B, USER))),
    row("mode.iret.compat",     "To compatibility mode: 48 is no prefix there",  LONG64, (IRETQ, DEC_32), completes(cs=0x18, rsp=WORK, regs={"rax": 4, "rcx": 6, "rsp": WORK}, keeps=False), regs=POPS | {"rax": 5, "rcx": 7}, sets=frame(0x18, CODE + 2)),
    row("mode.iret.null_ss64_c0", "A null SS to 64-bit code of ring 0",          LONG64, (IRETQ, INC), completes(ss=0, regs={"rsp": WORK}), regs=POPS, sets=frame(0x08, END, 0)),
    row("mode.iret.null_ss64_c3", "A null SS to ring 3",                         LONG64, IRETQ, faults(GP, 0),    regs=POPS, sets=frame(0x33, At("user_code"), 3, USER), priority=2),
    row("mode.iret.null_ss_compat", "A null SS to compatibility mode",           LONG64, IRETQ, faults(GP, 0),    regs=POPS, sets=frame(0x18, CODE, 0), priority=2),
    row("mode.iret.nc_rip",     "RIP is not canonical",                          LONG64, IRETQ, faults(GP, 0),    regs=POPS, sets=frame(0x08, 1 << 47)),
    row("mode.iret.cs_null",    "CS is null",                                    LONG64, IRETQ, faults(GP, 0),    regs=POPS, sets=frame(0, CODE), priority=2),
    row("mode.iret.cs_np",      "CS is not present",                             LONG64, IRETQ, faults(NP, 0x48), regs=POPS, sets=(*spare(CODE_64_ABSENT), *frame(0x48, CODE)), priority=2),
    row("mode.iret.ss_dpl",     "SS of DPL 3 for CS of ring 0",                  LONG64, IRETQ, faults(GP, 0x28), regs=POPS, sets=frame(0x08, CODE, 0x28), priority=2),
    row("mode.iret.rpl_lt_cpl", "From ring 3 to ring 0",                         LONG64, IRETQ, faults(GP, 0x08), ring=3, regs={"rsp": USER + -40}, sets=frame(0x08, CODE, at=USER + -40)),
    row("mode.iret.flags",      "IF and IOPL at CPL 0",                          LONG64, (IRETQ, INC), completes(flags_set=IF | IOPL3, regs={"rsp": WORK}), regs=POPS, sets=frame(0x08, END, flags=2 | IF | IOPL3), priority=2),
    row("mode.iret.rf",         "RF holds a breakpoint back once",               LONG64, (IRETQ, INC, JMP_BACK), faults(Vector.DB, at=1, flags_set=0, dr6_set=1, regs={"rcx": 8, "rsp": WORK}), regs=POPS | {"rcx": 7}, sets=(*BREAKPOINT, *frame(0x08, CODE + 2, flags=2 | RF)), priority=2),
    row("mode.iret.vm_ignored", "VM is ignored in long mode",                    LONG64, (IRETQ, INC), completes(cs=0x08, flags_clear=VM, regs={"rsp": WORK}), regs=POPS, sets=frame(0x08, END, flags=2 | VM), priority=2),
    row("mode.iret.pf_stack",   "A frame that is not mapped",                    LONG64, IRETQ, faults(Vector.PF, 0, cr2=LAST, rsp=LAST), regs={"rsp": LAST}, sets=(PF_ON_IST1, maps(page(), 1)), priority=2),
    row("mode.iret.nc_rsp",     "RSP is not canonical, and is loaded",           LONG64, (IRETQ, INC), completes(rsp=1 << 47, frame=At("ist1_top", -40), regs={"rsp": 1 << 47}), regs=POPS, sets=(UD_ON_IST1, *frame(0x08, END, rsp=1 << 47)), priority=3),
    row("mode.iret.vm86_32",    "IRETD with VM enters virtual-8086 mode with its segments", PROT32, (IRETD, *READ_SEGMENTS), IN_VM86, regs={"rsp": KERNEL + -40}, sets=VM86_FRAME, priority=2),
)
# fmt: on
