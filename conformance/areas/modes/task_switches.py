"""Task switches: a processor's own change of context, which VT-x and AMD-V leave to the monitor.

A JMP or CALL to a TSS or task gate, an interrupt or exception through a task gate, and IRET with NT = 1 save all registers
in the old TSS and load them from the new one, LDTR and, with paging on, CR3 among them; CR0.TS is set.  JMP and IRET make
the old TSS available again.  CALL and a gate leave it busy, put its selector into the new TSS (the back link) and set NT;
IRET goes back by the link and clears NT in what it saves.  An error code is pushed on the new task's stack.

The TSS must be available: #GP(TSS), or for the back link #TS; present: #NP(TSS); of 104 bytes at least: #TS(TSS).  Its DPL, or
that of the gate, is judged as a data segment's.  What is wrong with the new task's segments is #TS(selector), raised
in the new task before its first instruction.

The new task's TSS is in kernel_data, 0x48 in the GDT, and its EIP leads to the end of the code: its registers are what
is observed.
"""

from collections.abc import Mapping
from typing import Any

from virtproof.conformance.case import (
    At,
    Expect,
    Insn,
    Part,
    SendMsi,
    SendNmi,
    Set,
    completes,
    family,
    faults,
    mem16,
    mem32,
    mem64,
)
from virtproof.conformance.guest import HOST_PORT
from virtproof.conformance.spare import DATA_TO_FF, HIGH, SELECTOR, spare
from virtproof.guest_payloads.table import SetKind
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "modes",
    sdm("3A", "Task Management, 'Task Switching'"),
    sdm("3A", "Task Management, 'Task Linking'"),
    apm(2, "Task Management, 'Switching Tasks'"),
)

PROT32, PAE32 = Mode.PROT32, Mode.PAE32
TSS = At("kernel_data")
STACK = At("kernel_stack_top", -0x400)
AVAILABLE, BUSY = 0x89, 0x8B
NT = Rflags.nt.mask

JMP, CALL = Insn("ea 00 00 00 00 48 00", "ljmp 0x48:0"), Insn("9a 00 00 00 00 48 00", "lcall 0x48, 0")
JMP_BUSY, JMP_LDT = Insn("ea 00 00 00 00 38 00", "ljmp 0x38:0"), Insn("ea 00 00 00 00 4c 00", "ljmp 0x4c:0")
INT_80 = Insn("cd 80", "int 0x80")
IRET = Insn("cf", "iretd")
SEND, NOP = Insn("ee", "out dx, al"), Insn("90", "nop")
UD2 = Insn("0f 0b", "ud2")
MOV_DS, MOV_SS = Insn("8e d8", "mov ds, eax"), Insn("8e d0", "mov ss, eax")
LOAD = Insn("8b 03", "mov eax, dword ptr [ebx]")
FROM_CR2, FROM_CR3 = Insn("0f 20 d2", "mov edx, cr2"), Insn("0f 20 da", "mov edx, cr3")
FLD1 = Insn("d9 e8", "fld1")
ENABLE_APIC = Insn("c7 83 f0 00 00 00 ff 01 00 00", "mov dword ptr [ebx + 0xf0], 0x1ff")
STI = Insn("fb", "sti")


def task(
    end: int,
    access: int = AVAILABLE,
    *,
    cs: int = 0x08,
    ss: int = 0x10,
    ldt: int = 0,
    limit: int = 0x67,
    flags: int = 2,
) -> dict[str, Any]:
    """The new task: it begins ``end`` bytes behind the start of the code; each register is its own number, from A1H on."""
    at_code = At("kernel_code", end)
    fill: Mapping[At, int] = {
        TSS + 0x28: 0xA1 | 0xA2 << 32,  # EAX, ECX
        TSS + 0x30: 0xA3 | 0xA4 << 32,  # EDX, EBX
        TSS + 0x40: 0xA7 | 0xA8 << 32,  # ESI, EDI
        TSS + 0x48: 0x10 | cs << 32,  # ES, CS
        TSS + 0x50: ss | 0x10 << 32,  # SS, DS
        TSS + 0x58: 0x10 | 0x10 << 32,  # FS, GS
        TSS + 0x60: ldt | 0x68_0000 << 32,  # LDTR, no I/O bitmap
    }
    sets = (
        mem64(TSS + 0x20, at_code + (flags << 32)),
        mem64(TSS + 0x38, STACK + (0xA6 << 32)),  # ESP, EBP
        *spare(HIGH << 32 | access << 40 | limit),
        Set(SetKind.MEM16, At("gdt", SELECTOR + 2), TSS),
    )
    return {"fill": fill, "sets": sets}


def with_sets(said: dict[str, Any], *more: Set) -> dict[str, Any]:
    return said | {"sets": (*said["sets"], *more)}


def task_gate(vector: int, access: int = 0xE5) -> Set:
    return mem64(At("idt", 8 * vector), access << 40 | SELECTOR << 16)


NEW = {"rax": 0xA1, "rcx": 0xA2, "rdx": 0xA3, "rbx": 0xA4, "rsp": STACK, "rbp": 0xA6, "rsi": 0xA7, "rdi": 0xA8}
PUSHED = {"rsp": STACK + -4}
# The old TSS, of selector 0x38, and the two descriptors.
LINK = Part("back link", 0, 2, 0x38, -1)
OLD_BUSY, OLD_AVAILABLE = Part("old TSS's type", 5, 1, BUSY, -1), Part("old TSS's type", 5, 1, AVAILABLE, -1)
NEW_BUSY = Part("new TSS's type", 5, 1, BUSY, -1)
OLD_TSS, NEW_TSS, OLD_STATE = At("gdt", 0x38), At("gdt", SELECTOR), At("tss")


def left(eip: int, flags: int = 2) -> Mapping[At, Any]:
    """By JMP or IRET: the old TSS is available, and has the registers that the row began with."""
    return {
        OLD_TSS: (OLD_AVAILABLE,), NEW_TSS: (NEW_BUSY,),
        OLD_STATE + 0x20: At("kernel_code", eip + (flags << 32)), OLD_STATE + 0x28: 0x0202_0202_0101_0101,
        OLD_STATE + 0x30: 0x0404_0404_0303_0303, OLD_STATE + 0x38: At("kernel_stack_top", 0x0606_0606 << 32),
        OLD_STATE + 0x40: 0x0808_0808_0707_0707, OLD_STATE + 0x48: 0x08_0000_0010, OLD_STATE + 0x50: 0x10_0000_0010,
    }  # fmt: skip


NESTED: Mapping[At, Any] = {TSS: (LINK,), OLD_TSS: (OLD_BUSY,), NEW_TSS: (NEW_BUSY,)}


def switched(
    memory: Mapping[At, Any] = NESTED, flags_set: int = NT, *, error: int | None = None, **more: Any
) -> Expect:
    """The new task runs; ``error`` is what lies on its stack."""
    regs = NEW
    if error is not None:
        regs, memory = NEW | PUSHED, {**memory, STACK + -4: (Part("error code", 0, 4, error, -1),)}
    return completes(cs=0x08, regs=regs | more.pop("regs", {}), memory=memory, flags_set=flags_set, **more)


# #TS goes to a third task, for the new one may have no stack to take it: TSS_3 in the GDT's 0x58.
TSS_3, SELECTOR_3, STACK_3 = TSS + 0x100, 0x58, At("kernel_stack_top", -0x600)
THIRD = {
    TSS_3 + 0x28: 0xB1, TSS_3 + 0x30: 0, TSS_3 + 0x40: 0, TSS_3 + 0x48: 0x10 | 0x08 << 32, TSS_3 + 0x50: 0x10 | 0x10 << 32,
    TSS_3 + 0x58: 0x10 | 0x10 << 32, TSS_3 + 0x60: 0x68_0000 << 32,
}  # fmt: skip


def with_third(said: dict[str, Any]) -> dict[str, Any]:
    return {
        "fill": said["fill"] | THIRD,
        "sets": (
            *said["sets"],
            mem64(TSS_3 + 0x20, At("kernel_code", 7 + (2 << 32))),
            mem64(TSS_3 + 0x38, STACK_3),
            *spare(HIGH << 32 | AVAILABLE << 40 | 0x67, 2),
            Set(SetKind.MEM16, At("gdt", SELECTOR_3 + 2), TSS_3),
            mem64(At("idt", 8 * Vector.TS), 0xE5 << 40 | SELECTOR_3 << 16),
        ),
    }


def in_new_task(selector: int) -> Expect:
    """#TS(selector), saved in the new task, which has run no instruction."""
    zero = dict.fromkeys(("rcx", "rdx", "rbx", "rbp", "rsi", "rdi"), 0)
    return completes(
        cs=0x08,
        flags_set=NT,
        regs=zero | {"rax": 0xB1, "rsp": STACK_3 + -4},
        memory={
            TSS_3: (Part("back link", 0, 2, SELECTOR, -1),), STACK_3 + -4: (Part("error code", 0, 4, selector, -1),),
            NEW_TSS: (NEW_BUSY,), TSS + 0x20: (Part("EIP of the new task", 0, 2, 0x5007, -1),),
            TSS + 0x28: 0xA2_0000_00A1,
        },
    )  # fmt: skip


# The other segment: SS of 256 bytes, where ESP does not lie.
NO_STACK = spare(DATA_TO_FF, 2)
APIC = 0xFEE0_0000

# fmt: off
CASES = (
    row("mode.task.jmp.prot32",      "JMP to a TSS: all registers change, the old TSS is available",  PROT32, JMP,    switched(left(7), 0, flags_clear=NT), **task(7)),
    row("mode.task.call.prot32",     "CALL to a TSS: NT, the back link, the old TSS stays busy",      PROT32, CALL,   switched(), **task(7)),
    row("mode.task.int_gate.prot32", "INT n through a task gate",                                     PROT32, INT_80, switched(), **with_sets(task(2), task_gate(0x80))),
    row("mode.task.exc_ec.prot32",   "#GP through a task gate: its error code is on the new stack",   PROT32, MOV_DS, switched(error=0x1234), regs={"rax": 0x1234}, **with_sets(task(2), task_gate(13))),
    row("mode.task.iret.prot32",     "IRET with NT goes back by the link",                            PROT32, IRET,   switched(left(1), 0, flags_clear=NT), flags=2 | NT, **with_sets(task(1, BUSY), mem16(At("tss"), SELECTOR)), refs=("mode.iret.nt32",)),
    row("mode.task.nmi.prot32",      "An NMI through a task gate",                                    PROT32, (SEND, NOP, NOP), switched(), regs={"rax": 0, "rdx": HOST_PORT}, irqchip=True, acts=(SendNmi(),), **with_sets(task(3), task_gate(2)), priority=2),
    row("mode.task.irq.prot32",      "An interrupt through a task gate",                              PROT32, (ENABLE_APIC, SEND, STI, NOP, NOP), switched(), regs={"rax": 0, "rdx": HOST_PORT, "rbx": APIC}, irqchip=True, acts=(SendMsi(APIC, 0x80),), **with_sets(task(14), task_gate(0x80)), priority=2),
    row("mode.task.pf.pae32",        "#PF through a task gate: CR2 and the error code",               PAE32,  (LOAD, FROM_CR2), switched(error=0, regs={"rdx": 0x4000_0128}), regs={"rbx": 0x4000_0128}, **with_sets(task(2), task_gate(14), mem32(TSS + 0x1C, At("pdpt"))), priority=2, refs=("mode.task.pf.prot32",)),
    row("mode.task.df.prot32",       "#DF through a task gate, where there is no stack",              PROT32, (MOV_SS, UD2), switched(error=0), regs={"rax": 0x58}, **with_sets(task(4), task_gate(8), *NO_STACK)),
    row("mode.task.busy.prot32",     "JMP to a busy TSS",                                             PROT32, JMP_BUSY, faults(Vector.GP, 0x38), priority=2, refs=("mode.task.self.prot32",)),
    row("mode.task.gdtr_tiTSS.prot32", "JMP to a TSS selector with TI = 1",                           PROT32, JMP_LDT, faults(Vector.GP, 0x4C), **task(7), priority=3),
    row("mode.task.np.prot32",       "JMP to a TSS that is not present",                              PROT32, JMP,    faults(Vector.NP, 0x48), **task(7, 0x09), priority=2),
    row("mode.task.limit.prot32",    "JMP to a TSS of 103 bytes",                                     PROT32, JMP,    faults(Vector.TS, 0x48), **task(7, limit=0x66), priority=2),
    row("mode.task.ldt_bad.prot32",  "The new LDTR names no LDT",                                     PROT32, JMP,    in_new_task(0x10), **with_third(task(7, ldt=0x10)), priority=2),
    row("mode.task.cs_bad.prot32",   "The new CS is data",                                            PROT32, JMP,    in_new_task(0x10), **with_third(task(7, cs=0x10)), priority=2),
    row("mode.task.ss_bad.prot32",   "The new SS is of DPL 3, CS of DPL 0",                           PROT32, JMP,    in_new_task(0x28), **with_third(task(7, ss=0x2B)), priority=2),
    row("mode.task.dpl.prot32",      "JMP from ring 3 to a TSS of DPL 0",                             PROT32, JMP,    faults(Vector.GP, 0x48), ring=3, **task(7), priority=2),
    row("mode.task.gate_dpl.prot32", "INT n from ring 3, a task gate of DPL 0",                       PROT32, INT_80, faults(Vector.GP, 0x80 * 8 + 2, flags_set=0), ring=3, **with_sets(task(2), task_gate(0x80, 0x85)), priority=2),
    row("mode.task.cr3.pae32",       "CR3 is loaded where paging is on",                              PAE32,  (JMP, FROM_CR3), switched({}, 0, regs={"rdx": TSS + 0x200}), **with_sets(task(7), mem32(TSS + 0x1C, TSS + 0x200), mem64(TSS + 0x200, At("pd", 1))), refs=("mode.task.cr3.prot32",)),
    row("mode.task.ts_bit.prot32",   "CR0.TS is set, and x87 raises #NM",                             PROT32, (JMP, FLD1), faults(Vector.NM, regs=NEW), **task(7)),
)
# fmt: on
