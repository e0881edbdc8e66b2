"""Every access is checked against its segment: limit, type, and whether there is one.

Outside 64-bit mode an access has to lie within the limit with all of its bytes: offsets 0 to the limit, or where the
segment expands down, those above it.  G = 1 counts the limit in pages and fills the low 12 bits with ones.  What fails is
#GP(0), through SS #SS(0), and so are a store to code or to read-only data, a load from execute-only code, and any access
through a null selector.  A string instruction stops with its registers at the element that failed, and a fetch beyond
the limit of CS faults at the first byte outside.

64-bit mode ignores base, limit and type of CS, DS, ES and SS; FS and GS add their base and nothing else.
"""

from virtproof.conformance.case import At, Insn, completes, family, faults, mem8, mem16, mem64, msr
from virtproof.conformance.spare import (
    CODE,
    CODE_64_EXECUTE_ONLY,
    CODE_EXECUTE_ONLY,
    DATA,
    DATA_ABOVE_7FF,
    DATA_ABOVE_7FF_DPL3,
    DATA_READ_ONLY,
    DATA_TO_FF,
    based,
    limited,
    spare,
)
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr

row = family(
    "modes",
    sdm("3A", "Protection, 'Limit Checking'"),
    sdm("3A", "Protection, 'Type Checking'"),
    apm(2, "Segmented Virtual Memory, 'Segment-Limit Checks'"),
)
long = family(
    "modes",
    sdm("3A", "Protected-Mode Memory Management, 'Segmentation in IA-32e Mode'"),
    apm(2, "Segmented Virtual Memory, 'Segmentation in 64-bit mode'"),
    priority=2,
)

PROT32, LONG64, COMPAT32 = Mode.PROT32, Mode.LONG64, Mode.COMPAT32
GP, SS = Vector.GP, Vector.SS
K = At("kernel_data")

MOV_DS, MOV_SS, MOV_ES, MOV_FS = (
    Insn("8e d8", "mov ds, eax"),
    Insn("8e d0", "mov ss, eax"),
    Insn("8e c0", "mov es, eax"),
    Insn("8e e0", "mov fs, eax"),
)
AT_FF, AT_100 = (
    Insn("8a 15 ff 00 00 00", "mov dl, byte ptr [0xff]"),
    Insn("8a 15 00 01 00 00", "mov dl, byte ptr [0x100]"),
)
DWORD_AT_FC, DWORD_AT_FD = (
    Insn("8b 15 fc 00 00 00", "mov edx, dword ptr [0xfc]"),
    Insn("8b 15 fd 00 00 00", "mov edx, dword ptr [0xfd]"),
)
AT_FFFF, AT_10000 = (
    Insn("8a 15 ff ff 00 00", "mov dl, byte ptr [0xffff]"),
    Insn("8a 15 00 00 01 00", "mov dl, byte ptr [0x10000]"),
)
AT_800, AT_7FF = (
    Insn("8a 15 00 08 00 00", "mov dl, byte ptr [0x800]"),
    Insn("8a 15 ff 07 00 00", "mov dl, byte ptr [0x7ff]"),
)
LOAD, LOAD_1 = Insn("8a 13", "mov dl, byte ptr [ebx]"), Insn("8a 53 01", "mov dl, byte ptr [ebx + 1]")
LOAD_SS, LOAD_SS_1 = Insn("36 8a 13", "mov dl, byte ptr ss:[ebx]"), Insn("36 8a 53 01", "mov dl, byte ptr ss:[ebx + 1]")
STORE = Insn("88 13", "mov byte ptr [ebx], dl")
STORE_CS, LOAD_CS = Insn("2e 88 13", "mov byte ptr cs:[ebx], dl"), Insn("2e 8a 13", "mov dl, byte ptr cs:[ebx]")
PUSH = Insn("52", "push edx")
STOSB, REP_STOSB = Insn("aa", "stosb byte ptr es:[edi], al"), Insn("f3 aa", "rep stosb byte ptr es:[edi], al")
NOP = Insn("90", "nop")
JMP_KERNEL_7 = Insn("ea 07 50 01 00 48 00", "ljmp 0x48:0x15007")  # kernel_code, behind the jump: trampoline.ld
LOAD64, STORE64 = Insn("48 8b 13", "mov rdx, qword ptr [rbx]"), Insn("48 89 13", "mov qword ptr [rbx], rdx")
LOAD64_FS, LOAD64_CS = (
    Insn("64 48 8b 13", "mov rdx, qword ptr fs:[rbx]"),
    Insn("2e 48 8b 13", "mov rdx, qword ptr cs:[rbx]"),
)
JMP_FAR = Insn("ff 2b", "jmp ptr [rbx]")

S, U = {"rax": 0x48, "rdx": 0}, {"rax": 0x4B}
USER_ABOVE_7FF = spare(DATA_ABOVE_7FF_DPL3)
MARK = 0x1122_3344_5566_7788

# fmt: off
CASES = (
    row("mode.limit.up_byte.prot32",    "The byte at the limit can be read, the next cannot",  PROT32, (MOV_DS, AT_FF, AT_100),           faults(GP, 0, regs={"rdx": 0x77}), regs=S, sets=(*spare(DATA_TO_FF), mem16(0xFF, 0x77))),
    row("mode.limit.up_dword.prot32",   "A word has to end at the limit",                      PROT32, (MOV_DS, DWORD_AT_FC, DWORD_AT_FD), faults(GP, 0, regs={"rdx": 0x5566_7788}), regs=S, sets=(*spare(DATA_TO_FF), mem64(0xFC, MARK))),
    row("mode.limit.down.prot32",       "Expand-down: the byte above the limit can be read, the one at it cannot", PROT32, (MOV_DS, AT_800, AT_7FF), faults(GP, 0, regs={"rdx": 0x77}), regs=S, sets=(*spare(DATA_ABOVE_7FF), mem16(0x800, 0x77)), priority=2),
    row("mode.limit.down16.prot32",     "Expand-down with B = 0 ends at 0xFFFF",               PROT32, (MOV_DS, AT_FFFF, AT_10000),       faults(GP, 0, regs={"rdx": 0x77}), regs=S, sets=(*spare(DATA_ABOVE_7FF & ~(1 << 54)), mem8(0xFFFF, 0x77)), priority=3),
    row("mode.limit.ss.prot32",         "Through SS it is #SS(0)",                             PROT32, (MOV_SS, LOAD_SS, LOAD_SS_1),      faults(SS, 0, regs={"rdx": 0x77}), regs=S | {"rbx": K + 0xFF}, sets=(*limited(DATA, K + 0xFF), mem16(K + 0xFF, 0x77))),
    row("mode.limit.push.prot32.ring3", "PUSH below an expand-down stack: #SS(0), ESP is kept", PROT32, (MOV_SS, PUSH),                   faults(SS, 0, rsp=0x802, frame=At("rsp0_top", -20)), ring=3, regs=U | {"rsp": 0x802}, sets=USER_ABOVE_7FF, priority=2, refs=("mode.limit.push.prot32",)),
    row("mode.limit.write_ro.prot32",   "A store to read-only data",                           PROT32, (MOV_DS, STORE),                   faults(GP, 0, memory={K: MARK}), regs=S | {"rbx": K}, sets=(*spare(DATA_READ_ONLY), mem64(K, MARK))),
    row("mode.limit.write_cs.prot32",   "A store through CS",                                  PROT32, STORE_CS,                          faults(GP, 0, memory={K: MARK}), regs={"rbx": K}, sets=(mem64(K, MARK),)),
    row("mode.limit.read_xo.prot32",    "A load through execute-only CS",                      PROT32, (JMP_KERNEL_7, LOAD_CS),           faults(GP, 0, cs=0x48), regs={"rbx": K}, sets=spare(CODE_EXECUTE_ONLY), priority=2),
    row("mode.limit.null_ds.prot32",    "A load through a null DS",                            PROT32, (MOV_DS, LOAD),                    faults(GP, 0), regs={"rax": 0, "rbx": K}),
    row("mode.limit.g_bit.prot32",      "G = 1: the limit is in pages, the last one whole",    PROT32, (MOV_DS, LOAD, LOAD_1),            faults(GP, 0, regs={"rdx": 0x77}), regs=S | {"rbx": K + -1}, sets=(*spare(0x00C0_9300_0000_0015), mem16(K + -1, 0x77)), priority=2),
    row("mode.limit.string_es.prot32",  "STOS beyond the limit of ES: EDI is kept",            PROT32, (MOV_ES, STOSB),                   faults(GP, 0), regs=S | {"rdi": 0x100}, sets=spare(DATA_TO_FF), priority=2),
    row("mode.limit.rep_partial.prot32", "REP STOS over the limit of ES stops there",          PROT32, (MOV_ES, REP_STOSB),               faults(GP, 0, regs={"rcx": 8, "rdi": K + 0x100}, memory={K + 0xF8: 0x4848_4848_4848_4848, K + 0x100: MARK}), regs=S | {"rcx": 16, "rdi": K + 0xF8},
        sets=(*limited(DATA, K + 0xFF), mem64(K + 0xF8, MARK), mem64(K + 0x100, MARK)), priority=2),
    row("mode.limit.cs_fetch.prot32",   "A fetch beyond the limit of CS faults at the first byte outside", PROT32, (JMP_KERNEL_7, NOP, NOP, NOP), faults(GP, 0, at=3, cs=0x48), sets=limited(CODE, At("kernel_code", 8)), priority=2),

    long("mode.limit.limit_ignored.long64", "Base and limit of DS do not matter in 64-bit mode", LONG64, (MOV_DS, LOAD64),                  completes(regs={"rdx": MARK}), regs=S | {"rbx": K}, sets=(*based(DATA_TO_FF, K), mem64(K, MARK))),
    long("mode.limit.fs_base.long64",   "The base of FS is added in 64-bit mode",              LONG64, LOAD64_FS,                         completes(regs={"rdx": MARK}), regs={"rbx": 0x20}, sets=(msr(Msr.IA32_FS_BASE, K), mem64(K + 0x20, MARK))),
    long("mode.limit.fs_limit.long64",  "... of FS the base counts, the limit does not",       LONG64, (MOV_FS, LOAD64_FS),               completes(regs={"rdx": MARK}), regs=S | {"rbx": 0x120}, sets=(*based(DATA_TO_FF, K), mem64(K + 0x120, MARK))),
    long("mode.limit.null_fs.long64",   "A null FS can be used in 64-bit mode",                LONG64, (MOV_FS, LOAD64_FS),               completes(regs={"rdx": MARK}), regs={"rax": 0, "rbx": K}, sets=(msr(Msr.IA32_FS_BASE, 0), mem64(K, MARK))),
    long("mode.limit.compat_limit.long64", "Compatibility mode checks limits",                 COMPAT32, (MOV_DS, AT_FF, AT_100),         faults(GP, 0, regs={"rdx": 0x77}), regs=S, sets=(*spare(DATA_TO_FF), mem16(0xFF, 0x77))),
    long("mode.limit.ro64.long64",      "A store through read-only DS in 64-bit mode",         LONG64, (MOV_DS, STORE64),                 completes(memory={K: MARK}), regs=S | {"rbx": K, "rdx": MARK}, sets=(*spare(DATA_READ_ONLY), mem64(K, 0))),
    long("mode.limit.cs_xo64.long64",   "A load through execute-only CS in 64-bit mode",       LONG64, (JMP_FAR, LOAD64_CS),              completes(cs=0x48, regs={"rdx": At("kernel_code", 2 + (0x48 << 32))}), regs={"rbx": K}, sets=(*spare(CODE_64_EXECUTE_ONLY), mem64(K, At("kernel_code", 2 + (0x48 << 32))))),
)
# fmt: on
