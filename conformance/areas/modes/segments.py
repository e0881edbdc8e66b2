"""Loading segments and system segments in long mode, and addresses that are not canonical.

A selector beyond the table's limit, of the wrong type or of the wrong level raises #GP(selector), with the RPL bits
clear; a descriptor that is not present raises #NP(selector), but #SS(selector) for SS.  A null selector is fine for DS and
raises #GP(0) for TR and for a far jump.  The registers keep what they held.

An address whose bits 63:47 differ raises #GP(0), or #SS(0) through RSP and RBP, and no page fault.  Where a jump
to one is reported, at the jump or at its target, is not judged: processors of AMD's are said to differ.
"""

from virtproof.conformance.case import At, Insn, Set, family, faults, mem8, mem64
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "modes",
    sdm("3A", "Protection, 'Privilege Level Checking When Accessing Data Segments'"),
    sdm("1", "Basic Execution Environment, 'Canonical Addressing'"),
    apm(2, "Segmented Virtual Memory, 'Segment-Protection Checks'"),
)

MOV_DS, MOV_SS = Insn("8e d8", "mov ds, eax"), Insn("8e d0", "mov ss, eax")
LTR, LLDT = Insn("0f 00 d8", "ltr ax"), Insn("0f 00 d0", "lldt ax")
JMP_FAR = Insn("ff 2b", "jmp ptr [rbx]")
LOAD = Insn("48 8b 03", "mov rax, qword ptr [rbx]")
LOAD_RBP = Insn("48 8b 45 00", "mov rax, qword ptr [rbp]")
LOAD_RSP = Insn("48 8b 04 24", "mov rax, qword ptr [rsp]")
JMP_RBX = Insn("ff e3", "jmp rbx")
IRETQ = Insn("48 cf", "iretq")

GP, NP, SS = Vector.GP, Vector.NP, Vector.SS
SPARE = At("gdt", 0x48)
DATA_ABSENT, DATA_READ_ONLY, CODE64_ABSENT, CODE64_DPL3 = (
    0x00CF_1300_0000_FFFF,
    0x00CF_9100_0000_FFFF,
    0x00AF_1B00_0000_FFFF,
    0x00AF_FB00_0000_FFFF,
)
LDT_ABSENT = 0x0000_0200_0000_0017
NOT_CANONICAL = 1 << 47


def spare(descriptor: int) -> tuple[Set, ...]:
    return (mem64(SPARE, descriptor), mem64(SPARE + 8, 0))


def far(selector: int) -> tuple[Set, ...]:
    """A far pointer in kernel_data, m16:32."""
    return (mem64(At("kernel_data"), At("kernel_code", selector << 32)),)


AT_DATA = {"rbx": At("kernel_data")}
TSS_ABSENT = (mem8(At("gdt", 0x38 + 5), 0x09),)
NT = 0x4002
LONG64 = Mode.LONG64

# fmt: off
CASES = (
    row("mode.seg.ds.limit",    "DS: beyond the GDT",              LONG64, MOV_DS,  faults(GP, 0x1234), regs={"rax": 0x1234}),
    row("mode.seg.ds.np",       "DS: not present",                 LONG64, MOV_DS,  faults(NP, 0x48),   regs={"rax": 0x48}, sets=spare(DATA_ABSENT)),
    row("mode.seg.ds.dpl",      "DS: DPL 0 at CPL 3",              LONG64, MOV_DS,  faults(GP, 0x10),   regs={"rax": 0x10}, ring=3),
    row("mode.seg.ss.np",       "SS: not present",                 LONG64, MOV_SS,  faults(SS, 0x48),   regs={"rax": 0x48}, sets=spare(DATA_ABSENT)),
    row("mode.seg.ss.ro",       "SS: read-only",                   LONG64, MOV_SS,  faults(GP, 0x48),   regs={"rax": 0x48}, sets=spare(DATA_READ_ONLY)),
    row("mode.seg.ss.dpl",      "SS: DPL 0 at CPL 3",              LONG64, MOV_SS,  faults(GP, 0x10),   regs={"rax": 0x13}, ring=3),
    row("mode.seg.ss.rpl",      "SS: RPL 3 at CPL 0",              LONG64, MOV_SS,  faults(GP, 0x10),   regs={"rax": 0x13}),
    row("mode.seg.cs.null",     "Far JMP: null selector",          LONG64, JMP_FAR, faults(GP, 0),      regs=AT_DATA, sets=far(0)),
    row("mode.seg.cs.data",     "Far JMP: data segment",           LONG64, JMP_FAR, faults(GP, 0x10),   regs=AT_DATA, sets=far(0x10)),
    row("mode.seg.cs.np",       "Far JMP: not present",            LONG64, JMP_FAR, faults(NP, 0x48),   regs=AT_DATA, sets=(*spare(CODE64_ABSENT), *far(0x48))),
    row("mode.seg.cs.dpl_gt",   "Far JMP: DPL 3 at CPL 0",         LONG64, JMP_FAR, faults(GP, 0x48),   regs=AT_DATA, sets=(*spare(CODE64_DPL3), *far(0x48))),
    row("mode.task.long64",     "Far JMP: TSS in long mode",       LONG64, JMP_FAR, faults(GP, 0x38),   regs=AT_DATA, sets=far(0x38)),
    row("mode.seg.ltr.null",    "LTR: null selector",              LONG64, LTR,     faults(GP, 0),      regs={"rax": 0}),
    row("mode.seg.ltr.busy",    "LTR: busy TSS",                   LONG64, LTR,     faults(GP, 0x38),   regs={"rax": 0x38}),
    row("mode.seg.ltr.np",      "LTR: not present",                LONG64, LTR,     faults(NP, 0x38),   regs={"rax": 0x38}, sets=TSS_ABSENT),
    row("mode.seg.lldt.np",     "LLDT: not present",               LONG64, LLDT,    faults(NP, 0x48),   regs={"rax": 0x48}, sets=spare(LDT_ABSENT)),
    row("mode.iret.nt64",       "IRET with NT = 1 in long mode",   LONG64, IRETQ,   faults(GP, 0),      flags=NT),
    row("mode.canon.load",      "A load through DS: #GP(0)",       LONG64, LOAD,    faults(GP, 0),      regs={"rbx": NOT_CANONICAL}),
    row("mode.canon.rbp",       "A load through RBP: #SS(0)",      LONG64, LOAD_RBP, faults(SS, 0),     regs={"rbp": NOT_CANONICAL}),
    row("mode.canon.rsp_disp",  "A load through RSP: #SS(0)",      LONG64, LOAD_RSP, faults(SS, 0, frame=At("ist1_top", -40)), regs={"rsp": NOT_CANONICAL}, sets=(mem8(At("idt", 16 * 12 + 4), 1),), priority=2),
    row("mode.canon.jmp",       "A near JMP: #GP(0)",              LONG64, JMP_RBX, faults(GP, 0, at=None), regs={"rbx": NOT_CANONICAL}),
)
# fmt: on
