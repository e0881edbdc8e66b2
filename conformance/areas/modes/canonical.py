"""Canonical addresses: bits 63 to 48 of a linear address must equal bit 47.

An address that is not canonical never reaches the page tables: an access by it raises #GP(0), and so does one that
reaches over the edge, even where its first bytes are mapped.  A CALL to such an address faults at the CALL with nothing
pushed, a RET at the RET.  INVLPG and LEA take any address.  (Loads, branches and #SS are in segments.py.)
"""

from virtproof.conformance.case import At, Insn, completes, family, faults, mem8, mem64
from virtproof.conformance.window import CELL, FRAME, OLD, maps, page, pde, pdpte, pml4e, table
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "modes",
    sdm("1", "Basic Execution Environment, 'Canonical Addressing'"),
    apm(1, "Memory Model, 'Canonical Address Form'"),
)

LONG64 = Mode.LONG64
LAST, FIRST = 0x0000_7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000  # the edges of the hole
HOLE = LAST + 1

# The tables of the window once more, at the edges.
MAPPED_LAST = (
    mem64(pml4e(255), table(At("window_pdpt"))),
    mem64(pdpte(511), table(At("window_pd"))),
    mem64(pde(511), table(At("window_pt"))),
    maps(page(), 511),
)
MAPPED_FIRST = (mem64(pml4e(256), table(At("window_pdpt"))), maps(page()))

# fmt: off
LOAD, STORE  = Insn("48 8b 03", "mov rax, qword ptr [rbx]"), Insn("48 89 03", "mov qword ptr [rbx], rax")
LOAD_BYTE    = Insn("8a 03", "mov al, byte ptr [rbx]")
CALL         = Insn("ff d3", "call rbx")
PUSH, RET    = Insn("53", "push rbx"), Insn("c3", "ret")
LEA          = Insn("48 8d 03", "lea rax, [rbx]")
LOAD_FS_RBP  = Insn("64 48 8b 45 00", "mov rax, qword ptr fs:[rbp]")
CLFLUSH      = Insn("0f ae 3b", "clflush byte ptr [rbx]")
MOVSB        = Insn("a4", "movsb byte ptr [rdi], byte ptr [rsi]")
PREFETCH     = Insn("0f 18 0b", "prefetcht0 byte ptr [rbx]")
NOP_MEMORY   = Insn("0f 1f 03", "nop dword ptr [rbx]")
INVLPG       = Insn("0f 01 3b", "invlpg byte ptr [rbx]")
GP           = faults(Vector.GP, 0)

CASES = (
    row("mode.canon.store",    "A store to an address that is not canonical raises #GP(0)",  LONG64, STORE,       GP, regs={"rbx": FIRST - 0x1000}, priority=2),
    row("mode.canon.span",     "A load that reaches over the edge raises #GP(0)",            LONG64, LOAD,        GP, regs={"rbx": LAST - 3}, sets=MAPPED_LAST, priority=2),
    row("mode.canon.call",     "A CALL to such an address faults at the CALL and pushes nothing", LONG64, CALL,   GP, regs={"rbx": HOLE}, priority=2),
    row("mode.canon.ret",      "A RET to such an address faults at the RET, and RSP is kept", LONG64, (PUSH, RET),
        faults(Vector.GP, 0, regs={"rsp": At("kernel_stack_top", -8)}), regs={"rbx": HOLE}),
    row("mode.canon.rsp",      "A PUSH to such an address raises #SS(0)",                    LONG64, PUSH,        faults(Vector.SS, 0, frame=At("ist1_top", -40)), regs={"rsp": HOLE + 8}, sets=(mem8(At("idt", 16 * Vector.SS + 4), 1),)),
    row("mode.canon.fs_rbp",   "A load by RBP through FS raises #GP(0)",                     LONG64, LOAD_FS_RBP, GP, regs={"rbp": HOLE}, priority=3),
    row("mode.canon.clflush",  "CLFLUSH raises #GP(0)",                                      LONG64, CLFLUSH,     GP, regs={"rbx": HOLE}, priority=3),
    row("mode.canon.bndx",     "MOVSB from such an address raises #GP(0)",                   LONG64, MOVSB,       GP, regs={"rsi": HOLE, "rdi": At("kernel_data")}, priority=3),
    row("mode.canon.prefetch", "PREFETCHT0 takes any address",                               LONG64, PREFETCH,    completes(), regs={"rbx": HOLE}, priority=3),
    row("mode.canon.nop_mem",  "NOP with an operand in memory takes any address",            LONG64, NOP_MEMORY,  completes(), regs={"rbx": HOLE}, priority=3),
    row("mode.canon.lea",      "LEA takes any address",                                      LONG64, LEA,         completes(regs={"rax": HOLE}), regs={"rbx": HOLE}, priority=3),
    row("mode.canon.invlpg",   "INVLPG takes any address",                                   LONG64, INVLPG,      completes(),                   regs={"rbx": HOLE}, priority=2),
    row("mode.canon.bit47_lo", "The last address below the hole is canonical",               LONG64, LOAD_BYTE,   completes(regs={"rax": 0x77}), regs={"rax": 0, "rbx": LAST}, sets=MAPPED_LAST, fill={FRAME + 0xFF8: 0x77 << 56}, priority=2),
    row("mode.canon.bit47_hi", "The first address above the hole is canonical",              LONG64, LOAD,        completes(regs={"rax": OLD}),  regs={"rbx": FIRST + 0x128}, sets=MAPPED_FIRST, fill={CELL: OLD}),
)
# fmt: on
