"""Double faults, and shutdown.

An exception while another is delivered makes #DF where both are contributory (#DE, #TS, #NP, #SS, #GP), or where the
first is a page fault and the second contributory or a page fault.  Any other pair is handled one after the other: #NP
upon #UD is just #NP, a page fault upon #GP is just #PF.  #DF pushes the error code 0; the saved CS and instruction
pointer are undefined.  A contributory exception or page fault while #DF is delivered shuts the processor down; KVM ends
the guest with KVM_EXIT_SHUTDOWN.

The handler of #DF has a stack of its own here (IST1).
"""

from virtproof.conformance.case import At, Expect, Insn, Set, family, faults, mem8, mem16, mem64, stops
from virtproof.conformance.handlers import gate
from virtproof.conformance.window import BASE, FRAME, WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.exception import PageFaultErrorCode, Vector

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 8-Double Fault Exception (#DF)'"),
    apm(2, "Exceptions and Interrupts, '#DF-Double-Fault Exception (Vector 8)'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_SHUTDOWN"),
)

DIV = Insn("f7 f3", "div ebx")
LOAD = Insn("8b 03", "mov eax, dword ptr [rbx]")
XOR, DIV_ECX = Insn("31 c9", "xor ecx, ecx"), Insn("f7 f1", "div ecx")
INT3 = Insn("cc", "int3")
UD2 = Insn("0f 0b", "ud2")
LGDT64, LGDT32 = Insn("0f 01 13", "lgdt [rbx]"), Insn("0f 01 13", "lgdt [ebx]")
LOAD32 = Insn("8b 03", "mov eax, dword ptr [ebx]")
LIDT64 = Insn("0f 01 1b", "lidt [rbx]")
LIDT32 = Insn("0f 01 1b", "lidt [ebx]")
MOV_DS = Insn("8e d8", "mov ds, eax")

DOUBLE = Expect(vector=Vector.DF, error_code=0, at=None, keeps=False, frame=At("ist1_top", -40))
WRITE = int(PageFaultErrorCode.w.mask)

NON_CANONICAL = {"rbx": 1 << 63}
UNMAPPED = {"rbx": WINDOW}
AT_DATA = {"rbx": At("kernel_data")}
NO_TABLE = (mem64(At("kernel_data"), 0), mem64(At("kernel_data", 8), 0))  # limit 0


def absent(vector: int, size: int = 16) -> Set:
    """The gate is not present: delivery raises #NP, which is contributory."""
    return mem8(At("idt", size * vector + 5), 0x0E)


def no_type(vector: int) -> Set:
    """The gate has type 0: delivery raises #GP, which is contributory."""
    return mem8(At("idt", 16 * vector + 5), 0x80)


def no_stack(vector: int) -> tuple[Set, ...]:
    """The gate's stack is not mapped: delivery raises #PF."""
    return (mem8(At("idt", 16 * vector + 4), 2), mem64(At("tss", 44), WINDOW + 0x2000))


def no_canonical_stack(vector: int) -> tuple[Set, ...]:
    """The gate's stack has an address that is not canonical: delivery raises #SS."""
    return (mem8(At("idt", 16 * vector + 4), 2), mem64(At("tss", 44), 1 << 63))


def table_at(base: int) -> tuple[Set, ...]:
    """What LIDT loads from kernel_data: a table of 64 KiB."""
    return (mem16(At("kernel_data"), 0xFFFF), mem64(At("kernel_data", 2), base))


# An interrupt table of which gate 0 begins in the last 8 bytes of an absent page, and gate 14 is present.
SPLIT_IDT = WINDOW + 0xFF8
SPLIT = (*table_at(SPLIT_IDT), maps(page(FRAME), 1), mem64(FRAME + 0xD8, gate(14)), mem64(FRAME + 0xE0, 0))

# Where there are no interrupt stack tables, no exception has a stack.
WINDOW32 = BASE[Mode.PAE32]
NO_STACK_AT_ALL = {"rsp": WINDOW32 + 0x2000, "rbx": WINDOW32}
ON_THIS_STACK = mem8(At("idt", 16 * 8 + 4), 0)  # the gate of #DF without IST

LONG64, PROT32, PAE32, PSE32 = Mode.LONG64, Mode.PROT32, Mode.PAE32, Mode.PSE32

# fmt: off
CASES = (
    row("trap.df.de_then_np.long64",    "#NP upon #DE: #DF",                    LONG64, DIV,  DOUBLE, regs={"rbx": 0},    sets=(absent(0),), priority=2),
    row("trap.df.gp_then_np.long64",    "#NP upon #GP: #DF",                    LONG64, LOAD, DOUBLE, regs=NON_CANONICAL, sets=(absent(13),)),
    row("trap.df.gp_then_pf.long64",    "#PF upon #GP: no #DF, but #PF",        LONG64, LOAD, faults(Vector.PF, WRITE, flags_set=0, cr2=WINDOW + 0x1FF8), regs=NON_CANONICAL, sets=no_stack(13), priority=2),
    row("trap.df.pf_then_np.long64",    "#NP upon #PF: #DF",                    LONG64, LOAD, DOUBLE, regs=UNMAPPED,      sets=(absent(14),), priority=2),
    row("trap.df.pf_then_gp.long64",    "#GP upon #PF: #DF",                    LONG64, LOAD, DOUBLE, regs=UNMAPPED,      sets=(no_type(14),)),
    row("trap.df.pf_then_pf.long64",    "#PF upon #PF: #DF",                    LONG64, LOAD, DOUBLE, regs=UNMAPPED,      sets=no_stack(14)),
    row("trap.df.de_then_gp.long64",    "#GP upon #DE: #DF",                    LONG64, DIV,  DOUBLE, regs={"rbx": 0},    sets=(no_type(0),), priority=2),
    row("trap.df.de_then_ss.long64",    "#SS upon #DE: #DF",                    LONG64, DIV,  DOUBLE, regs={"rbx": 0},    sets=no_canonical_stack(0), priority=2),
    row("trap.df.de_then_pf.long64",    "#PF upon #DE: no #DF, but #PF",        LONG64, (LIDT64, XOR, DIV_ECX), faults(Vector.PF, 0, flags_set=0, cr2=SPLIT_IDT, regs={"rcx": 0}), regs=AT_DATA, sets=SPLIT, priority=2),
    row("trap.df.gp_then_gp.long64",    "#GP upon #GP: #DF",                    LONG64, LOAD, DOUBLE, regs=NON_CANONICAL, sets=(no_type(13),), priority=2),
    row("trap.df.gp_then_ss.long64",    "#SS upon #GP: #DF",                    LONG64, LOAD, DOUBLE, regs=NON_CANONICAL, sets=no_canonical_stack(13), priority=2),
    row("trap.df.pf_then_ss.long64",    "#SS upon #PF: #DF",                    LONG64, LOAD, DOUBLE, regs=UNMAPPED,      sets=no_canonical_stack(14), priority=2),
    row("trap.triple.idt_limit0.long64", "No IDT at all: shutdown",             LONG64, (LIDT64, INT3), stops("shutdown"), regs=AT_DATA, sets=NO_TABLE, refs=("hostile.cpu.triple_fault",)),
    row("trap.triple.idt_limit0.prot32", "No IDT at all: shutdown",             PROT32, (LIDT32, INT3), stops("shutdown"), regs=AT_DATA, sets=NO_TABLE),
    row("trap.triple.df_gate_np.long64", "#NP upon #DF: shutdown",              LONG64, LOAD,   stops("shutdown"), regs=NON_CANONICAL,   sets=(absent(13), absent(8))),
    row("trap.triple.df_gate_np.prot32", "#NP upon #DF: shutdown",              PROT32, MOV_DS, stops("shutdown"), regs={"rax": 0x1234}, sets=(absent(13, 8), absent(8, 8))),
    row("trap.triple.pf_stack_df_stack.long64", "No stack for #PF, nor for #DF: shutdown", LONG64, LOAD, stops("shutdown"), regs=UNMAPPED, sets=(*no_stack(14), mem8(At("idt", 16 * 8 + 4), 2))),
    row("trap.triple.pf_stack_df_stack.pae32", "No stack for #PF, nor for #DF: shutdown", PAE32, LOAD32, stops("shutdown"), regs=NO_STACK_AT_ALL, refs=("trap.triple.pf_stack_df_stack.prot32",)),
    row("trap.triple.pf_stack_df_stack.pse32", "No stack for #PF, nor for #DF: shutdown", PSE32, LOAD32, stops("shutdown"), regs=NO_STACK_AT_ALL),
    row("trap.triple.idt_absent.long64", "The whole IDT not mapped: shutdown",  LONG64, (LIDT64, UD2), stops("shutdown"), regs=AT_DATA, sets=table_at(WINDOW), priority=2),
    row("trap.triple.idt_absent.pae32",  "The whole IDT not mapped: shutdown",  PAE32,  (LIDT32, UD2), stops("shutdown"), regs=AT_DATA, sets=table_at(WINDOW32), refs=("trap.triple.idt_absent.prot32",), priority=2),
    row("trap.triple.gdt_bad_cs.long64", "No code segment for any gate: shutdown", LONG64, (LGDT64, INT3), stops("shutdown"), regs=AT_DATA, sets=NO_TABLE, priority=2),
    row("trap.triple.gdt_bad_cs.prot32", "No code segment for any gate: shutdown", PROT32, (LGDT32, INT3), stops("shutdown"), regs=AT_DATA, sets=NO_TABLE, priority=2),
    row("trap.triple.nc_idt_stack.long64", "RSP not canonical, for #DF too: shutdown", LONG64, UD2, stops("shutdown"), regs={"rsp": 1 << 63}, sets=(ON_THIS_STACK,), priority=2),
)
# fmt: on
