"""How accesses meet the page tables: over the end of a page, through two mappings, restarted, and the address in CR2.

An access that crosses into another page is translated twice; where the second translation fails, CR2 holds the first
address of the second page and nothing of the access has happened.  A repeated string instruction stops at the element
that faults, with its registers telling how far it came, and goes on from there.  CR2 is the linear address: the segment
base is in it.

Several entries may map one frame, and tables may be shared or contain themselves.
"""

from __future__ import annotations

from virtproof.conformance.case import At, Insn, Ram, Value, completes, family, faults, mem8, mem64, mmio_read, msr
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
    page_2m,
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

LONG64, COMPAT32, PROT32 = Mode.LONG64, Mode.COMPAT32, Mode.PROT32
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
STORE_RSI_RDI         = Insn("48 89 3e", "mov qword ptr [rsi], rdi")
LOAD_RBP              = Insn("48 8b 2b", "mov rbp, qword ptr [rbx]")
INVLPG                = Insn("0f 01 3b", "invlpg byte ptr [rbx]")
JUMP                  = Insn("ff e3", "jmp rbx")
PUSH                  = Insn("50", "push rax")
MOVSB                 = Insn("f3 a4", "rep movsb byte ptr [rdi], byte ptr [rsi]")
LOAD_FS               = Insn("64 48 8b 04 25 08 00 00 00", "mov rax, qword ptr fs:[8]")
CALL                  = FETCH
LOAD_RCX              = Insn("48 8b 0b", "mov rcx, qword ptr [rbx]")
LOAD_RSI              = Insn("48 8b 33", "mov rsi, qword ptr [rbx]")
LOAD_R9_RDI           = Insn("4c 8b 0f", "mov r9, qword ptr [rdi]")
STORE_R10             = Insn("4d 89 1a", "mov qword ptr [r10], r11")
XADD                  = Insn("f0 0f c1 03", "lock xadd dword ptr [rbx], eax")
CMPXCHG16B            = Insn("48 0f c7 0b", "cmpxchg16b xmmword ptr [rbx]")
LOAD32, LOAD32_SUM    = Insn("8b 03", "mov eax, dword ptr [ebx]"), Insn("8b 0c 33", "mov ecx, dword ptr [ebx + esi]")
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
    row("pg.acc.walk_ro_pt", "A page table that is mapped read-only is walked, and marked", LONG64, (WRITE, LOAD_R8_RSI),
        completes(regs={"r8": GIB4 + PAGE + 0x63}), regs={"rax": NEW, "rbx": VA + MIB2, "rsi": WINDOW + PAGE},
        sets=(maps(page(GIB4, write=False), 1), mem64(pde(1), table(GIB4))), ram=(Ram(GIB4, 2 * PAGE),), fill={GIB4: GIB4 + PAGE + 3}, priority=2),
    row("pg.acc.pt_as_data", "A page table that is mapped as data is edited there",  LONG64, (LOAD_RCX, STORE_R10, INVLPG, LOAD_RSI),
        completes(regs={"rcx": OLD, "rsi": OTHER}), regs={"rbx": VA, "r10": WINDOW + PAGE, "r11": page(FRAME + PAGE)},
        sets=(maps(page()), maps(page(At("window_pt")), 1)), fill={CELL: OLD, CELL + PAGE: OTHER}, priority=2),
    # The page directory is the page table of the window's second 2 MiB: its first entry maps window_pt there, its second itself.
    row("pg.acc.pt_level_alias", "One page is a page directory and a page table",     LONG64, (READ, LOAD_RCX_RSI, LOAD_R9_RDI),
        completes(regs={"rax": OLD, "rcx": page(accessed=True), "r9": table(At("window_pd"), accessed=True)}),
        regs={"rbx": VA, "rsi": WINDOW + MIB2, "rdi": WINDOW + MIB2 + PAGE + 8},
        sets=(maps(page(accessed=True)), mem64(pde(), table(At("window_pt"), accessed=True)), mem64(pde(1), table(At("window_pd"), accessed=True))), priority=2),
    row("pg.acc.alias_size", "Pages of 4 KiB and of 2 MiB of the same memory show the same", LONG64, (LOAD_RCX_RSI, WRITE, LOAD_R8_RSI, STORE_RSI_RDI, LOAD_RBP),
        completes(regs={"rcx": OLD, "r8": NEW, "rbp": OTHER}), regs={"rax": NEW, "rbx": VA, "rsi": VA + MIB2 + PAGE, "rdi": OTHER},
        sets=(maps(page(MIB2 + PAGE)), mem64(pde(1), page_2m(MIB2))), ram=(Ram(MIB2, 2 * PAGE),), fill={MIB2 + PAGE + 0x128: OLD}, priority=2),

    row("pg.acc.lock_cross", "A locked addition over the end of a page",              LONG64, XADD,
        completes(regs={"rax": 0x7788_5566}, memory={TAIL: 0x88AB_1111_1111_1111, HEAD: 0x2222_2222_2222_88AA}),
        regs={"rax": 0x1122_3345, "rbx": END - 2}, sets=SWAPPED, fill={TAIL: 0x5566_1111_1111_1111, HEAD: 0x2222_2222_2222_7788}, priority=2),
    row("pg.acc.cmpxchg16b_ro", "CMPXCHG16B writes even where it does not match: a read-only page refuses it", LONG64, CMPXCHG16B,
        faults(Vector.PF, 0x03, cr2=VA + 8), regs={"rax": 1, "rdx": 1, "rbx": VA + 8}, sets=(maps(page(write=False)),), requires=("cmpxchg16b",), priority=2),
    row("pg.acc.enter_pf",   "CALL with the stack in an absent page does not jump, and leaves RSP alone", LONG64, CALL,
        faults(Vector.PF, 0x02, cr2=END - 8, rsp=END), regs={"rbx": VA, "rsp": END}, sets=(ON_ITS_OWN_STACK,), priority=2),
    row("pg.acc.cr2_compat", "In compatibility mode an address has 32 bits, and so has CR2", COMPAT32, LOAD32_SUM,
        faults(Vector.PF, 0x00, cr2=0x5000_0000), regs={"rbx": 0xC000_0000, "rsi": 0x9000_0000}, priority=2),
    row("pg.misc.pg0_4g",    "Without paging there are 4 GiB, and addresses wrap", PROT32, (LOAD32, LOAD32_SUM),
        completes(regs={"rax": 0xFFFF_FFFF, "rcx": NEW & 0xFFFF_FFFF}, accesses=(mmio_read(0xFFFF_F000, 4, 0xFFFF_FFFF),)),
        regs={"rbx": 0xFFFF_F000, "rsi": MIB2 + PAGE + 0x128}, ram=(Ram(MIB2, PAGE),), fill={MIB2 + 0x128: NEW}, priority=2),
)
# fmt: on
