"""What delivery and segment loads read and write in memory: descriptor tables, which are memory like any other.

They are read and written as by the supervisor, also from ring 3: a page that is absent raises #PF with U/S = 0 and the
address within the table in CR2.  The instruction can be begun anew: its registers are what they were.  A segment load
sets the accessed bit of a descriptor that has it clear; where the page is read-only, and CR0.WP = 1, that is #PF for a
write.  A bit that is set already is not written.

No exception but #PF changes CR2.

Where the table lies in the window it is laid so that CR2 can have one value only, or CR2 is rounded down to the
descriptor: how the processor divides a descriptor into accesses is its own business.
"""

from virtproof.conformance.case import At, Expect, Insn, Set, completes, family, faults, mem16, mem64, traps
from virtproof.conformance.handlers import gate, handled
from virtproof.conformance.window import FRAME, WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import PageFaultErrorCode, Vector

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 14-Page-Fault Exception (#PF)'"),
    sdm("3A", "Paging, 'Determination of Access Rights'"),
    sdm("3A", "Protected-Mode Memory Management, 'Code- and Data-Segment Descriptor Types'"),
    apm(2, "Exceptions and Interrupts, '#PF-Page-Fault Exception (Vector 14)'"),
)

LIDT, LGDT = Insn("0f 01 1b", "lidt [rbx]"), Insn("0f 01 13", "lgdt [rbx]")
UD2, INT3, INT_80 = Insn("0f 0b", "ud2"), Insn("cc", "int3"), Insn("cd 80", "int 0x80")
IRETQ = Insn("48 cf", "iretq")
MOV_DS = Insn("8e d8", "mov ds, eax")
SET_CR2, GET_CR2 = Insn("0f 22 d0", "mov cr2, rax"), Insn("0f 20 d3", "mov rbx, cr2")
LOAD_RSI, LOAD_RBP = Insn("8b 06", "mov eax, dword ptr [rsi]"), Insn("8b 45 00", "mov eax, dword ptr [rbp]")

DATA, TOP = At("kernel_data"), At("kernel_stack_top")
P_W = int(PageFaultErrorCode.p.mask | PageFaultErrorCode.w.mask)

# An interrupt table in the window: gate 6 begins in the last 8 bytes of an absent page; gate 14 is in the next one.
SPLIT = WINDOW + 0xFF8
IDT_IN_WINDOW = (
    mem16(DATA, 0xFFFF), mem64(DATA + 2, SPLIT - 16 * Vector.UD),
    maps(page(FRAME), 1), mem64(FRAME + 0x78, gate(Vector.PF)), mem64(FRAME + 0x80, 0),
)  # fmt: skip
READ_OF_GATE = faults(Vector.PF, 0, flags_set=0, cr2=SPLIT)
# What IRETQ pops: UD2 in ring 3.
TO_UD2 = (
    mem64(DATA + 0x100, At("user_code")), mem64(DATA + 0x108, 0x33), mem64(DATA + 0x110, 2),
    mem64(DATA + 0x118, At("user_stack_top")), mem64(DATA + 0x120, 0x2B), mem16(At("user_code"), 0x0B0F),
)  # fmt: skip
FROM_RING3 = faults(Vector.PF, 0, flags_set=0, cr2=SPLIT, rip=At("user_code"), cs=0x33, regs={"rsp": At("user_stack_top")})  # fmt: skip

# A GDT in the window.  The handler, behind the load, notes error code, CR2 of the descriptor, and DS.
CODE64, DATA32, FRESH = 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_9200_0000_FFFF
LOADS_DS = (
    LGDT, MOV_DS, Insn("5b", "pop rbx"), Insn("0f 20 d2", "mov rdx, cr2"), Insn("48 83 e2 f8", "and rdx, 0xfffffffffffffff8"),
    Insn("8c d9", "mov ecx, ds"),
)  # fmt: skip
HANDLER = handled(Vector.PF, 5)
LOAD_48 = {"rbx": DATA, "rax": 0x48}


def gdt_at(base: int, *entries: tuple[At, int]) -> tuple[Set, ...]:
    """What LGDT loads from kernel_data, and descriptors."""
    return (mem16(DATA, 0x4F), mem64(DATA + 2, base), *(mem64(at, value) for at, value in entries))


SPLIT_GDT = gdt_at(WINDOW + 0x1000 - 0x48, (FRAME + 0xFC0, CODE64), (FRAME + 0xFC8, DATA32))


def whole_gdt(descriptor: int) -> tuple[Set, ...]:
    """All of it in one page, which can be read only; the last entry is ``descriptor``."""
    entries = gdt_at(WINDOW, (FRAME + 8, CODE64), (FRAME + 0x10, DATA32), (FRAME + 0x48, descriptor))
    return (*entries, maps(page(write=False)))


def refused(error_code: int, address: int) -> Expect:
    regs = {"rbx": error_code, "rdx": address, "rcx": 0x10, "rsp": TOP + -40}
    return completes(regs=regs)


KNOWN = 0x1234_5678_9ABC
NC = 1 << 63


def keeps_cr2(pushed: int) -> Expect:
    """The handler, which finds so many bytes of frame, reads CR2 and ends with INT n."""
    return traps(0x80, regs={"rbx": KNOWN, "rsp": TOP + -pushed})


REGS = {"rax": KNOWN, "rsi": NC, "rbp": NC}
LONG64 = Mode.LONG64

# fmt: off
CASES = (
    row("trap.idt.pf_in_delivery.long64", "A gate in an absent page: #PF, a read",      LONG64, (LIDT, UD2), READ_OF_GATE, regs={"rbx": DATA}, sets=IDT_IN_WINDOW, priority=2),
    row("trap.idt.pf_in_delivery.ring3",  "... of the supervisor, from ring 3 too",      LONG64, (LIDT, IRETQ), FROM_RING3, regs={"rbx": DATA, "rsp": DATA + 0x100}, sets=(*IDT_IN_WINDOW, *TO_UD2), priority=2),
    row("trap.idt.gdt_pf.long64",         "A descriptor in an absent page: #PF, DS kept", LONG64, LOADS_DS, refused(0, WINDOW + 0x1000), regs=LOAD_48, sets=(*SPLIT_GDT, maps(page()), *HANDLER), priority=2),
    row("trap.idt.accessed_bit.long64",   "A segment load sets the accessed bit",        LONG64, MOV_DS, completes(memory={At("gdt", 0x48): DATA32}), regs={"rax": 0x48}, sets=(mem64(At("gdt", 0x48), FRESH),), priority=2),
    row("trap.idt.accessed_ro.long64",    "... for which a read-only page is a #PF, DS kept", LONG64, LOADS_DS, refused(P_W, WINDOW + 0x48), regs=LOAD_48, sets=(*whole_gdt(FRESH), *HANDLER), priority=2),
    row("trap.idt.accessed_ro_set.long64", "... but not where it is set already",        LONG64, (LGDT, MOV_DS), completes(), regs=LOAD_48, sets=whole_gdt(DATA32), priority=2),

    row("trap.idt.cr2_only_pf.long64",    "#UD keeps CR2",                               LONG64, (SET_CR2, UD2, GET_CR2, INT_80),      keeps_cr2(40), regs=REGS, sets=handled(Vector.UD, 5), priority=2),
    row("trap.idt.cr2_only_pf.long64.bp", "#BP keeps CR2",                               LONG64, (SET_CR2, INT3, GET_CR2, INT_80),     keeps_cr2(40), regs=REGS, sets=handled(Vector.BP, 4), priority=2),
    row("trap.idt.cr2_only_pf.long64.gp", "#GP keeps CR2",                               LONG64, (SET_CR2, LOAD_RSI, GET_CR2, INT_80), keeps_cr2(48), regs=REGS, sets=handled(Vector.GP, 5), priority=2),
    row("trap.idt.cr2_only_pf.long64.ss", "#SS keeps CR2",                               LONG64, (SET_CR2, LOAD_RBP, GET_CR2, INT_80), keeps_cr2(48), regs=REGS, sets=handled(Vector.SS, 6), priority=2),
)
# fmt: on
