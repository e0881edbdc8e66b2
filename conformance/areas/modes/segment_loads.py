"""Loading segment registers, LDTR and TR: what is taken, and what is refused.

A data segment register takes readable segments: data, or readable code, whose DPL is not below CPL and RPL.  SS takes
writable data with DPL = RPL = CPL only, and a null selector in 64-bit mode below CPL 3.  A far jump takes code: DPL = CPL
and RPL <= CPL, or DPL <= CPL where it conforms, which leaves CPL as it is; its target has to lie within the limit.  With
TI = 1 the descriptor comes from the LDT, and there has to be one.

LTR and LLDT want a system descriptor of their type in the GDT.  In long mode it has 16 bytes, all below the limit; bits
12:8 of its fourth word are 0, and its base is canonical.

A selector that is refused raises #GP(selector), the RPL bits clear; #GP(0) where it is null.  The registers keep what
they held.  (Further rows are in segments.py.)
"""

from virtproof.conformance.case import At, Insn, Set, completes, family, faults, mem16, mem64
from virtproof.conformance.spare import (
    CODE_64_AND_32,
    CODE_64_CONFORMING,
    CODE_EXECUTE_ONLY,
    CODE_TO_FFF,
    DATA_ABOVE_7FF,
    DATA_ABSENT,
    DATA_READ_ONLY,
    HIGH,
    spare,
)
from virtproof.guest_payloads.table import SetKind
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "modes",
    sdm("3A", "Protection, 'Privilege Level Checking When Accessing Data Segments'"),
    sdm("3A", "Protection, 'Direct Calls or Jumps to Code Segments'"),
    apm(2, "Segmented Virtual Memory, 'Segment-Protection Checks'"),
    priority=2,
)
system = family(
    "modes",
    sdm("3A", "System Architecture Overview, 'Loading and Storing System Registers'"),
    apm(2, "Segmented Virtual Memory, 'System Descriptors'"),
    priority=2,
)

LONG64, PROT32 = Mode.LONG64, Mode.PROT32
GP, NP, SS = Vector.GP, Vector.NP, Vector.SS

MOV_DS, MOV_SS = Insn("8e d8", "mov ds, eax"), Insn("8e d0", "mov ss, eax")
MOV_ES, MOV_FS, MOV_GS = Insn("8e c0", "mov es, eax"), Insn("8e e0", "mov fs, eax"), Insn("8e e8", "mov gs, eax")
MOV_DS_CX, MOV_DS_SI = Insn("8e d9", "mov ds, ecx"), Insn("8e de", "mov ds, esi")
READ_DS, READ_SS = Insn("8c df", "mov edi, ds"), Insn("8c d7", "mov edi, ss")
MOV_FS_CX, LOAD_FS = Insn("8e e1", "mov fs, ecx"), Insn("64 48 8b 13", "mov rdx, qword ptr fs:[rbx]")
LOAD = Insn("48 8b 13", "mov rdx, qword ptr [rbx]")
LOAD_BYTE = Insn("8a 13", "mov dl, byte ptr [ebx]")
LOAD_NEXT = Insn("8a 53 01", "mov dl, byte ptr [ebx + 1]")
STORE_BYTE = Insn("88 13", "mov byte ptr [ebx], dl")
LOAD_SS_7FF = Insn("36 a0 ff 07 00 00", "mov al, byte ptr ss:[0x7ff]")
JMP_FAR = Insn("ff 2b", "jmp ptr [rbx]")
JMP_FAR_64 = Insn("48 ff 2b", "ljmp [rbx]")
JMP_1000 = Insn("ea 00 10 00 00 48 00", "ljmp 0x48:0x1000")
INC = Insn("ff c1", "inc ecx")
LTR, LLDT = Insn("0f 00 d8", "ltr ax"), Insn("0f 00 d0", "lldt ax")
LLDT_CX, SLDT_DX = Insn("0f 00 d1", "lldt cx"), Insn("0f 00 c2", "sldt edx")
LSL = Insn("0f 03 d1", "lsl edx, ecx")
UNLOAD = (Insn("31 c0", "xor eax, eax"), LLDT)

K = At("kernel_data")
LDT, LDT_0 = 0x0000_8200_0000_0017, 0x04  # limit 0x17; the selector of its first entry
NOT_CANONICAL = 0x0000_8000  # bits 63:32 of a base
TSS, TSS_16 = 0x0000_8900_0000_0067, 0x0000_8100_0000_002B
INTERRUPT_GATE = 0x0001_8E00_0008_5000


def far(selector: int, target: At = At("kernel_code"), at: At = K) -> tuple[Set, ...]:  # noqa: B008 -- immutable
    """A far pointer, m16:32."""
    return (mem64(at, target + (selector << 32)),)


# The LDT lies in kernel_data, and has one descriptor: of a segment there that ends after 256 bytes.
OWN_LDT = (
    *spare(LDT | HIGH << 32),
    Set(SetKind.MEM16, At("gdt", 0x4A), K),
    mem64(K, 0x0040_9300_0000_00FF | HIGH << 32),
    Set(SetKind.MEM16, K + 2, K),
)
AT_LDT = {"rax": 0x48, "rcx": LDT_0}

# fmt: off
CASES = (
    row("mode.seg.ds.null",          "DS: a null selector, of no consequence in 64-bit mode", LONG64, (MOV_DS, READ_DS, LOAD), completes(regs={"rdi": 0, "rdx": 7}), regs={"rax": 0, "rbx": K}, sets=(mem64(K, 7),), priority=1),
    row("mode.seg.ds.null.prot32",   "DS: a null selector, which the access is refused for",  PROT32, (MOV_DS, LOAD_BYTE), faults(GP, 0), regs={"rax": 0, "rbx": K}, priority=1, refs=("mode.seg.ds.null",)),
    row("mode.seg.ds.rpl",           "DS: RPL 3, DPL 0 at CPL 0",       LONG64, MOV_DS,  faults(GP, 0x10), regs={"rax": 0x13}),
    row("mode.seg.ds.code_xo",       "DS: execute-only code",           PROT32, MOV_DS,  faults(GP, 0x48), regs={"rax": 0x48}, sets=spare(CODE_EXECUTE_ONLY)),
    row("mode.seg.ds.code_r",        "DS: readable code",               LONG64, (MOV_DS, READ_DS), completes(regs={"rdi": 0x08}), regs={"rax": 0x08}),
    row("mode.seg.ds.system",        "DS: a TSS",                       LONG64, MOV_DS,  faults(GP, 0x38), regs={"rax": 0x38}),
    row("mode.seg.ds.ldt_null",      "DS: TI = 1 without an LDT",       LONG64, MOV_DS,  faults(GP, LDT_0), regs={"rax": LDT_0}),
    row("mode.seg.ds.ldt_ok",        "DS: TI = 1, from the LDT",        LONG64, (LLDT, MOV_DS_CX, READ_DS, LSL, *UNLOAD), completes(regs={"rax": 0, "rdx": 0xFF, "rdi": LDT_0}), regs=AT_LDT, sets=OWN_LDT),
    row("mode.seg.ds.ldt_ok.prot32", "DS: TI = 1, base and limit are the LDT's", PROT32, (LLDT, MOV_DS_CX, *UNLOAD, LOAD_BYTE, LOAD_NEXT), faults(GP, 0, regs={"rax": 0, "rdx": 0x77}),
        regs=AT_LDT | {"rbx": 0xFF, "rdx": 0}, sets=(*OWN_LDT, mem16(K + 0xFF, 0x77)), refs=("mode.seg.ds.ldt_ok",)),
    row("mode.seg.ds.ro",            "DS: read-only data is for reading", PROT32, (MOV_DS, LOAD_BYTE, STORE_BYTE), faults(GP, 0, regs={"rdx": 0x77}), regs={"rax": 0x48, "rbx": K, "rdx": 0}, sets=(*spare(DATA_READ_ONLY), mem16(K, 0x77))),
    row("mode.misc.ldt_use",         "FS: TI = 1, its base is the LDT's in 64-bit mode too", LONG64, (LLDT, MOV_FS_CX, LOAD_FS, *UNLOAD), completes(regs={"rax": 0, "rdx": 7}), regs=AT_LDT | {"rbx": 0x20}, sets=(*OWN_LDT, mem64(K + 0x20, 7))),

    row("mode.seg.ds.np_before_priv.ring3", "DS: not present, and DPL 0 at CPL 3: the level comes first", LONG64, MOV_DS, faults(GP, 0x48), regs={"rax": 0x48}, sets=spare(DATA_ABSENT), ring=3, priority=3, refs=("mode.seg.ds.np_before_priv",)),
    row("mode.seg.es.np",            "ES: not present",                 LONG64, MOV_ES,  faults(NP, 0x48), regs={"rax": 0x48}, sets=spare(DATA_ABSENT), priority=3),
    row("mode.seg.es.dpl",           "ES: DPL 0 at CPL 3",              LONG64, MOV_ES,  faults(GP, 0x10), regs={"rax": 0x10}, ring=3, priority=3),
    row("mode.seg.fs.np",            "FS: not present",                 LONG64, MOV_FS,  faults(NP, 0x48), regs={"rax": 0x48}, sets=spare(DATA_ABSENT), priority=3),
    row("mode.seg.fs.dpl",           "FS: DPL 0 at CPL 3",              LONG64, MOV_FS,  faults(GP, 0x10), regs={"rax": 0x10}, ring=3, priority=3),
    row("mode.seg.gs.np",            "GS: not present",                 LONG64, MOV_GS,  faults(NP, 0x48), regs={"rax": 0x48}, sets=spare(DATA_ABSENT), priority=3),
    row("mode.seg.gs.dpl",           "GS: DPL 0 at CPL 3",              LONG64, MOV_GS,  faults(GP, 0x10), regs={"rax": 0x10}, ring=3, priority=3),

    row("mode.seg.ss.null32",        "SS: a null selector in 32-bit code", PROT32, MOV_SS, faults(GP, 0),    regs={"rax": 0}, priority=1),
    row("mode.seg.ss.null64_cpl0",   "SS: a null selector in 64-bit code at CPL 0", LONG64, (MOV_SS, READ_SS), completes(ss=0, regs={"rdi": 0}), regs={"rax": 0}, priority=1),
    row("mode.seg.ss.null64_rpl",    "SS: a null selector at CPL 3",    LONG64, MOV_SS,  faults(GP, 0),    regs={"rax": 3}, ring=3),
    row("mode.seg.ss.code",          "SS: readable code",               LONG64, MOV_SS,  faults(GP, 0x08), regs={"rax": 0x08}),
    row("mode.seg.ss.limit",         "SS: beyond the GDT",              LONG64, MOV_SS,  faults(GP, 0x1230), regs={"rax": 0x1230}),
    row("mode.seg.ss.expdown",       "SS: expand-down data, below which is #SS(0)", PROT32, (MOV_SS, READ_SS, LOAD_SS_7FF), faults(SS, 0, regs={"rdi": 0x48}), regs={"rax": 0x48}, sets=spare(DATA_ABOVE_7FF)),

    row("mode.seg.cs.dpl_lt",        "Far JMP: DPL 0 at CPL 3",         LONG64, JMP_FAR, faults(GP, 0x08), regs={"rbx": At("user_data")}, sets=far(0x0B, At("user_code"), At("user_data")), ring=3, priority=1),
    row("mode.seg.cs.rpl_gt",        "Far JMP: RPL 3 at CPL 0",         LONG64, JMP_FAR, faults(GP, 0x08), regs={"rbx": K}, sets=far(0x0B)),
    row("mode.seg.cs.conf_ok",       "Far JMP: conforming code of DPL 0 at CPL 3, which CPL stays at", LONG64, (JMP_FAR, INC), completes(cs=0x4B), regs={"rbx": At("user_data")}, sets=(*spare(CODE_64_CONFORMING), *far(0x48, At("user_code", 4), At("user_data"))), ring=3),
    row("mode.seg.cs.conf_hi",       "Far JMP: conforming code of DPL 3 at CPL 0", LONG64, JMP_FAR, faults(GP, 0x48), regs={"rbx": K}, sets=(*spare(CODE_64_CONFORMING | 3 << 45), *far(0x48)), priority=3),
    row("mode.seg.cs.intgate",       "Far JMP: an interrupt gate",      LONG64, JMP_FAR, faults(GP, 0x48), regs={"rbx": K}, sets=(*spare(INTERRUPT_GATE), *far(0x48)), priority=3),
    row("mode.seg.cs.limit",         "Far JMP: beyond the GDT",         LONG64, JMP_FAR, faults(GP, 0x1230), regs={"rbx": K}, sets=far(0x1230)),
    row("mode.trans.cs_ld",          "Far JMP: code with L = D = 1",    LONG64, JMP_FAR, faults(GP, 0x48), regs={"rbx": K}, sets=(*spare(CODE_64_AND_32), *far(0x48)), priority=1),
    row("mode.seg.cs.off_limit",     "Far JMP: a target beyond the limit", PROT32, JMP_1000, faults(GP, 0),  sets=spare(CODE_TO_FFF)),
    row("mode.seg.cs.nc64",          "Far JMP: a target that is not canonical", LONG64, JMP_FAR_64, faults(GP, 0), regs={"rbx": K}, sets=(mem64(K, 1 << 47), mem64(K + 8, 0x08)), requires=("Intel vendor",)),

    system("mode.seg.ltr.data",      "LTR: a data descriptor",          LONG64, LTR,     faults(GP, 0x10), regs={"rax": 0x10}),
    system("mode.seg.ltr.ti",        "LTR: TI = 1",                     LONG64, LTR,     faults(GP, 0x3C), regs={"rax": 0x3C}),
    system("mode.seg.ltr.limit64",   "LTR: only 8 of the 16 bytes lie in the GDT", LONG64, LTR, faults(GP, 0xA0), regs={"rax": 0xA0}, sets=(mem64(At("gdt", 0xA0), TSS),)),
    system("mode.seg.ltr.upper",     "LTR: a type in the upper half",   LONG64, LTR,     faults(GP, 0x48), regs={"rax": 0x48}, sets=spare(TSS, upper=0x1F << 40)),
    system("mode.seg.ltr.nc",        "LTR: a base that is not canonical", LONG64, LTR,   faults(GP, 0x48), regs={"rax": 0x48}, sets=spare(TSS, upper=NOT_CANONICAL)),
    system("mode.seg.lldt.null",     "LLDT: a null selector, and there is no LDT any more", LONG64, (LLDT, LLDT_CX, SLDT_DX, MOV_DS_SI), faults(GP, LDT_0, regs={"rdx": 0}), regs={"rax": 0x48, "rcx": 0, "rsi": LDT_0}, sets=OWN_LDT, priority=1),
    system("mode.seg.ltr.tss16_64",  "LTR: a 16-bit TSS in long mode",  LONG64, LTR,     faults(GP, 0x48), regs={"rax": 0x48}, sets=spare(TSS_16), priority=3),
    system("mode.seg.lldt.upper",    "LLDT: a type in the upper half",  LONG64, LLDT,    faults(GP, 0x48), regs={"rax": 0x48}, sets=spare(LDT, upper=0x1F << 40), priority=3),
    system("mode.seg.lldt.data",     "LLDT: a data descriptor",         LONG64, LLDT,    faults(GP, 0x10), regs={"rax": 0x10}),
    system("mode.seg.lldt.ti",       "LLDT: TI = 1",                    LONG64, LLDT,    faults(GP, 0x4C), regs={"rax": 0x4C}, sets=spare(LDT)),
    system("mode.seg.lldt.nc",       "LLDT: a base that is not canonical", LONG64, LLDT, faults(GP, 0x48), regs={"rax": 0x48}, sets=spare(LDT, upper=NOT_CANONICAL)),
)
# fmt: on
