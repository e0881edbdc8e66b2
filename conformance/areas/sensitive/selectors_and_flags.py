"""PUSHF, MOV from CS and LAR: what a program can see of its level, its flags and the descriptor tables.

None of these can be made to trap by the guest, so a monitor that runs the guest's kernel at another level than CPL 0, or
on the host's descriptor tables, shows here.  LAR finds exactly the guest's descriptors: of the trampoline's GDT these are
code and data (0x08 to 0x18, 0x68, 0x70, 0x88 to 0xA0, and with DPL 3: 0x20 to 0x30, 0x78, 0x80) and the TSS (0x38); the
guest has no LDT.

A selector is shown as it was loaded, with its RPL, and CS with the CPL.  A far return to an outer level makes data
segments of a higher privilege null.
"""

from virtproof.conformance.case import At, Insn, completes, family, faults, mem64, traps
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr

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

# A far transfer through a pointer to the instruction behind it; CALL pushes two doublewords.
CALL_FAR = (
    Insn("ff 1b", "call ptr [rbx]"),
    Insn("58", "pop rax"),
    Insn("48 c1 e8 20", "shr rax, 0x20"),
    Insn("0f b7 c0", "movzx eax, ax"),
)
JMP_FAR = (Insn("ff 2b", "jmp ptr [ebx]"), Insn("8c c8", "mov eax, cs"))
NEXT = At("kernel_code", 2 | 0x08 << 32)
RETF = Insn("cb", "retf")
MOV_EDX_DS, MOV_DS_EAX, MOV_DS_ECX = (
    Insn("8c da", "mov edx, ds"),
    Insn("8e d8", "mov ds, eax"),
    Insn("8e d9", "mov ds, ecx"),
)
POP_DS = (Insn("8c d9", "mov ecx, ds"), Insn("6a 29", "push 0x29"), Insn("1f", "pop ds"), MOV_EDX_DS, MOV_DS_ECX)
OUTER = (
    mem64(At("kernel_data"), At("user_code", 0x23 << 32)),
    mem64(At("kernel_data", 8), At("user_stack_top", 0x2B << 32)),
)
# mov eax, ds; mov ebx, es; mov ecx, fs; mov edx, gs; ud2
SELECTORS_SEEN = (
    mem64(At("user_code"), int.from_bytes(bytes.fromhex("8cd8 8cc3 8ce1 8cea"), "little")),
    mem64(At("user_code", 8), 0x0B0F),
)
NULLED = dict.fromkeys(("rax", "rbx", "rcx", "rdx"), 0) | {"rsp": At("user_stack_top")}
FS_BASE = {"rcx": Msr.IA32_FS_BASE, "rax": 0x1000, "rdx": 0, "rbx": 0x2B, "rsi": 0}
FS = (Insn("8e e3", "mov fs, ebx"), Insn("0f 30", "wrmsr"), Insn("8c e7", "mov edi, fs"), Insn("8e e6", "mov fs, esi"))
RDTSC = (Insn("0f 31", "rdtsc"), Insn("48 c1 e2 20", "shl rdx, 0x20"), Insn("48 09 c2", "or rdx, rax"))
TWICE = (
    *RDTSC,
    Insn("48 89 d3", "mov rbx, rdx"),
    *RDTSC,
    Insn("48 29 da", "sub rdx, rbx"),
    Insn("48 c1 fa 3f", "sar rdx, 0x3f"),
)
FIXED = (Insn("68 28 80 00 00", "push 0x8028"), Insn("9d", "popfq"), *SHOW, Insn("25 2a 80 00 00", "and eax, 0x802a"))
LAR_TR = (Insn("0f 02 c3", "lar eax, ebx"), Insn("25 00 0f 00 00", "and eax, 0xf00"))

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
    row("sens.misc.pushf_reserved", "PUSHF: bit 1 is 1, bits 3, 5 and 15 are 0", LONG64, FIXED,          completes(regs={"rax": 2}), priority=2),
    row("sens.misc.push_ss32",     "PUSH SS shows what was loaded",          PROT32, (Insn("16", "push ss"), Insn("58", "pop eax")), completes(regs={"rax": 0x10}), priority=2),
    row("sens.misc.pop_ds32",      "POP DS keeps the RPL it is given",       PROT32, POP_DS,            completes(regs={"rdx": 0x29, "rcx": 0x10}), priority=2),
    row("sens.misc.mov_ds",        "MOV from DS shows the selector loaded",  LONG64, (Insn("8c d9", "mov ecx, ds"), MOV_DS_EAX, MOV_EDX_DS, MOV_DS_ECX), completes(regs={"rdx": 0x2B}, keeps=False), regs={"rax": 0x2B}, priority=2),
    row("sens.misc.fsgs_sel",      "WRMSR of FS_BASE leaves the selector",   LONG64, FS,                completes(regs={"rdi": 0x2B}), regs=FS_BASE, priority=2),
    row("sens.misc.call_far_rpl",  "Far CALL pushes CS with RPL = CPL",      LONG64, CALL_FAR,          completes(regs={"rax": 0x08}), regs={"rbx": At("kernel_data")}, sets=(mem64(At("kernel_data"), NEXT),), priority=2),
    row("sens.misc.jmp_far",       "Far JMP loads CS with RPL = CPL",        PROT32, JMP_FAR,           completes(regs={"rax": 0x08}), regs={"rbx": At("kernel_data"), "rax": 0}, sets=(mem64(At("kernel_data"), NEXT),), priority=2),
    row("sens.misc.retf_outer",    "Far RET to CPL 3 takes the RPL of CS; segments of DPL 0 are null then", PROT32, RETF, faults(Vector.UD, rip=At("user_code", 8), cs=0x23, ss=0x2B, regs=NULLED), regs={"rsp": At("kernel_data")}, sets=(*OUTER, *SELECTORS_SEEN), priority=2),
    row("sens.misc.int_cs_rpl",    "INT 80H at CPL 3 pushes CS and SS with RPL 3", LONG64, Insn("cd 80", "int 0x80"), traps(0x80, cs=0x33, ss=0x2B), ring=3),
    row("sens.misc.rdtsc_mono",    "RDTSC at CPL 3 does not go backwards",   LONG64, TWICE,             completes(regs={"rdx": 0}, keeps=False), ring=3, priority=2),
    row("sens.misc.lar_acc",       "LAR shows the TSS in use as busy",       LONG64, LAR_TR,            completes(regs={"rax": 0xB00}), regs={"rbx": 0x38}, priority=2),
)
# fmt: on
