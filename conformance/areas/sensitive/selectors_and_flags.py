"""PUSHF, MOV from CS and LAR: what a program can see of its level, its flags and the descriptor tables.

None of these can be made to trap by the guest, so a monitor that runs the guest's kernel at another level than CPL 0, or
on the host's descriptor tables, shows here.  LAR finds exactly the guest's descriptors: of the trampoline's GDT these are
code and data (0x08 to 0x18, 0x68, 0x70, 0x88 to 0xA0, and with DPL 3: 0x20 to 0x30, 0x78, 0x80) and the TSS (0x38); the
guest has no LDT.
"""

from virtproof.conformance.case import Insn, completes, family
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.flags import Rflags

row = family(
    "sensitive",
    sdm("2B", "Instruction Set Reference, 'PUSHF/PUSHFD/PUSHFQ-Push EFLAGS Register onto the Stack'"),
    sdm("2A", "Instruction Set Reference, 'LAR-Load Access Rights Byte'"),
    apm(2, "Segmented Virtual Memory, 'Checking Access Rights'"),
)

SHOW = (Insn("9c", "pushfq"), Insn("58", "pop rax"))
CLI, STI, NOP = Insn("fa", "cli"), Insn("fb", "sti"), Insn("90", "nop")
MOV_CS, PUSH_CS = Insn("8c c8", "mov eax, cs"), (Insn("0e", "push cs"), Insn("58", "pop eax"))

# For every selector with RPL 0: ECX counts those that LAR finds, EDX adds them up.
SCAN = (
    Insn("31 c9", "xor ecx, ecx"),
    Insn("31 d2", "xor edx, edx"),
    Insn("31 db", "xor ebx, ebx"),
    Insn("0f 02 c3", "lar eax, ebx"),
    Insn("75 04", "jne 0xf"),
    Insn("ff c1", "inc ecx"),
    Insn("01 da", "add edx, ebx"),
    Insn("66 83 c3 04", "add bx, 4"),
    Insn("75 f1", "jne 6"),
    Insn("31 c0", "xor eax, eax"),
)
ALL = (*range(0x08, 0x40, 8), *range(0x68, 0xA8, 8))
DPL_3 = (0x20, 0x28, 0x30, 0x78, 0x80)
FOUND_AT_0 = {"rcx": len(ALL), "rdx": sum(ALL), "rbx": 0, "rax": 0}
FOUND_AT_3 = {"rcx": len(DPL_3), "rdx": sum(DPL_3), "rbx": 0, "rax": 0}

IF, IOPL3 = Rflags.if_.mask, Rflags.iopl.mask
LONG64, PROT32 = Mode.LONG64, Mode.PROT32

# fmt: off
CASES = (
    row("sens.misc.pushf_if0",     "PUSHF shows IF = 0 after CLI",           LONG64, (CLI, *SHOW),      completes(regs={"rax": 2}), flags=2 | IF),
    row("sens.misc.pushf_if1",     "PUSHF shows IF = 1 after STI",           LONG64, (STI, NOP, *SHOW), completes(regs={"rax": 2 | IF})),
    row("sens.misc.pushf_cpl3",    "PUSHF at CPL 3 shows IF and IOPL",       LONG64, SHOW,              completes(regs={"rax": 2 | IF | IOPL3}), flags=2 | IF | IOPL3, ring=3),
    row("sens.misc.pushf_if0_cpl3", "PUSHF at CPL 3 shows IF = 0",           LONG64, SHOW,              completes(regs={"rax": 2}), ring=3),
    row("sens.misc.mov_cs_rpl",    "MOV from CS at CPL 0 shows RPL 0",       LONG64, MOV_CS,            completes(regs={"rax": 0x08})),
    row("sens.misc.mov_cs_cpl3",   "MOV from CS at CPL 3 shows RPL 3",       LONG64, MOV_CS,            completes(regs={"rax": 0x33}), ring=3),
    row("sens.misc.push_cs32",     "PUSH CS at CPL 0 shows RPL 0",           PROT32, PUSH_CS,           completes(regs={"rax": 0x08})),
    row("sens.misc.sysfs_hidden",  "LAR at CPL 0 finds the guest's descriptors", LONG64, SCAN,          completes(regs=FOUND_AT_0)),
    row("sens.misc.lar_scan_cpl3", "LAR at CPL 3 finds the guest's DPL 3 ones",  LONG64, SCAN,          completes(regs=FOUND_AT_3), ring=3),
)
# fmt: on
