"""How accesses meet the page tables: over the end of a page, through two mappings, restarted, and the address in CR2.

An access that crosses into another page is translated twice; where the second translation fails, CR2 holds the first
address of the second page and nothing of the access has happened.  A repeated string instruction stops at the element
that faults, with its registers telling how far it came, and goes on from there.  CR2 is the linear address: the segment
base is in it.

Several entries may map one frame, and tables may be shared or contain themselves.
"""

from __future__ import annotations

from virtproof.conformance.case import At, Insn, Ram, Value, completes, family, faults, mem8, mem64, msr
from virtproof.conformance.window import (
    CELL,
    FETCH,
    FRAME,
    NEW,
    OLD,
    PF_GATE,
    READ,
    TOUCH,
    VA,
    WINDOW,
    WRITE,
    caught_by,
    maps,
    page,
    pde,
    pml4e,
    pte,
    table,
)
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr

row = family(
    "paging",
    sdm("3A", "Paging, 'Page-Fault Exceptions'"),
    apm(2, "Exceptions and Interrupts, '#PF-Page-Fault Exception (Vector 14)'"),
    **TOUCH,
)

LONG64 = Mode.LONG64
GIB4 = 1 << 32
MIB2 = 1 << 21
PAGE = 0x1000

# Two pages of the window over frames in the other order, so that what is adjacent there is not in memory.
UPPER_FRAME, LOWER_FRAME = FRAME + 2 * PAGE, FRAME
SWAPPED = (maps(page(UPPER_FRAME)), maps(page(LOWER_FRAME), 1))
END = WINDOW + PAGE  # of the first page
TAIL, HEAD = UPPER_FRAME + 0xFF8, LOWER_FRAME  # the 8 bytes before END and behind it

SELF = 510  # a PML4 entry that leads back to the PML4
OTHER = 0x0707_6A6A_9999_B6C3

# fmt: off

LOAD_SELF, STORE_SELF = Insn("48 8b 0e", "mov rcx, qword ptr [rsi]"), Insn("4c 89 1e", "mov qword ptr [rsi], r11")
LOAD_RCX_RSI          = Insn("48 8b 0e", "mov rcx, qword ptr [rsi]")
LOAD_R8_RSI           = Insn("4c 8b 06", "mov r8, qword ptr [rsi]")
STORE_RSI             = Insn("48 89 06", "mov qword ptr [rsi], rax")
INVLPG                = Insn("0f 01 3b", "invlpg byte ptr [rbx]")
JUMP                  = Insn("ff e3", "jmp rbx")
PUSH                  = Insn("50", "push rax")
MOVSB                 = Insn("f3 a4", "rep movsb byte ptr [rdi], byte ptr [rsi]")
LOAD_FS               = Insn("64 48 8b 04 25 08 00 00 00", "mov rax, qword ptr fs:[8]")
LOCK_INC              = Insn("f0 ff 03", "lock inc dword ptr [rbx]")
MAP_AND_RETRY = (  # a #PF handler
    Insn("eb 0c",       "jmp 0xe"),
    Insn("49 ff c1",    "inc r9"),
    Insn("4d 89 1a",    "mov qword ptr [r10], r11"),
    Insn("48 83 c4 08", "add rsp, 8"),
    Insn("48 cf",       "iretq"),
)
# fmt: on

ON_ITS_OWN_STACK = mem8(PF_GATE + 4, 2)  # IST2: the stack of the row cannot take the frame

# REP MOVSB from the image to the window, whose second page is absent.
COPY: dict[str, Value] = {
    "rcx": 0x1800,
    "rsi": At("kernel_data"),
    "rdi": WINDOW,
    "r9": 0,
    "r10": pte(1),
    "r11": page(FRAME + PAGE),
}
COPIED = {At("kernel_data", 0xFF8): NEW, At("kernel_data", PAGE): OLD, At("kernel_data", 0x17F8): OTHER}

# fmt: off
CASES = (
    row("pg.acc.cross_read",         "A read over the end of a page joins two frames", LONG64, READ,
        completes(regs={"rax": 0x6677_8811_2233_4455}), regs={"rbx": END - 3}, sets=SWAPPED, fill={TAIL: 0x3344_55 << 40, HEAD: 0x6677_8811_22}),
    row("pg.acc.cross_second_fault", "A write over the end of a page, the next one absent: nothing is written", LONG64, WRITE,
        faults(Vector.PF, 0x02, cr2=END, memory={TAIL: OLD}), regs={"rax": NEW, "rbx": END - 3}, sets=SWAPPED[:1], fill={TAIL: OLD}),
    row("pg.acc.cross_first_fault",  "A write over the end of an absent page: CR2 is its first byte", LONG64, WRITE,
        faults(Vector.PF, 0x02, cr2=END - 3, memory={HEAD: OLD}), regs={"rax": NEW, "rbx": END - 3}, sets=SWAPPED[1:], fill={HEAD: OLD}, priority=2),
    row("pg.acc.lock_cross_fault",   "A locked write over the end of a page, the next one read-only: nothing is written", LONG64, LOCK_INC,
        faults(Vector.PF, 0x03, cr2=END, memory={TAIL: OLD, HEAD: OTHER}), regs={"rbx": END - 2}, sets=(SWAPPED[0], maps(page(LOWER_FRAME, write=False), 1)),
        fill={TAIL: OLD, HEAD: OTHER}, priority=2),
    row("pg.acc.cross_fetch",        "An instruction over the end of a page, the next one absent", LONG64, JUMP,
        faults(Vector.PF, 0x10, cr2=END, rip=END - 2), regs={"rbx": END - 2}, sets=SWAPPED[:1], fill={TAIL: 0xC748 << 48}),  # 48 c7: MOV r64, imm32

    row("pg.acc.rep_fault",          "REP MOVSB that meets an absent page tells how far it came", LONG64, MOVSB,
        faults(Vector.PF, 0x02, cr2=END, regs={"rcx": 0x800, "rsi": At("kernel_data", PAGE), "rdi": END}, memory={FRAME + 0xFF8: NEW}),
        regs=COPY, sets=(maps(page()),), fill=COPIED),
    row("pg.acc.rep_restart",        "REP MOVSB goes on where it was interrupted by #PF", LONG64, (*MAP_AND_RETRY, MOVSB),
        completes(regs={"rcx": 0, "rsi": At("kernel_data", 0x1800), "rdi": WINDOW + 0x1800, "r9": 1},
                  memory={FRAME + 0xFF8: NEW, FRAME + PAGE: OLD, FRAME + 0x17F8: OTHER}),
        regs=COPY, sets=(maps(page()), *caught_by(2)), fill=COPIED),
    row("pg.acc.push_pf",            "PUSH to an absent page leaves RSP alone", LONG64, PUSH,
        faults(Vector.PF, 0x02, cr2=END - 8, rsp=END), regs={"rsp": END}, sets=(ON_ITS_OWN_STACK,)),
    row("pg.acc.cr2_lin",            "CR2 includes the base of FS", LONG64, LOAD_FS,
        faults(Vector.PF, 0x00, cr2=VA + 8), sets=(msr(Msr.IA32_FS_BASE, VA),)),

    row("pg.acc.alias",      "Two linear addresses of one frame show the same memory at once", LONG64, (LOAD_RCX_RSI, WRITE, LOAD_R8_RSI),
        completes(regs={"rax": NEW, "rcx": OLD, "r8": NEW}), sets=(maps(page()), maps(page(), 1)), regs={"rax": NEW, "rbx": VA, "rsi": VA + PAGE}),
    row("pg.acc.shared_pt",  "Two PDEs share a page table and differ in R/W", LONG64, (WRITE, STORE_RSI),
        faults(Vector.PF, 0x03, cr2=VA + MIB2, memory={CELL: NEW}), sets=(maps(page()), mem64(pde(1), table(At("window_pt"), write=False))),
        regs={"rax": NEW, "rbx": VA, "rsi": VA + MIB2}),
    row("pg.acc.selfmap",    "A PML4 entry that leads to the PML4 shows the page tables", LONG64, (LOAD_SELF, FETCH, STORE_SELF, INVLPG, READ),
        completes(regs={"rcx": page(accessed=True), "rax": OTHER}),
        sets=(maps(page(accessed=True)), mem64(pml4e(SELF), table(At("pml4"), user=False))),
        regs={"rbx": VA, "rsi": 0xFFFF_FF00_0000_0000 + (WINDOW >> 9), "r11": page(FRAME + PAGE)}, fill={CELL: OLD, CELL + PAGE: OTHER}),
    row("pg.acc.pt_above4g", "Page tables above 4 GiB are walked", LONG64, READ,
        completes(regs={"rax": OLD}), sets=(mem64(pde(), table(GIB4)),), ram=(Ram(GIB4, 2 * PAGE),),
        fill={GIB4: GIB4 + PAGE + 3, GIB4 + PAGE + 0x128: OLD}, priority=2),
)
# fmt: on
