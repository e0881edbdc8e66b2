"""Instructions that only read, with their operand in a hole.

The hypervisor emulates them, each by what its manual page says: one read of the operand's size at the operand's
address, and the destination gets exactly what it was answered with.  A byte or a word leaves the rest of its register
alone, a doubleword clears the upper half.  CMOV reads whether its condition holds or not.
"""

from virtproof.conformance.case import At, Insn, completes, family, mmio_read
from virtproof.conformance.hole import BYTE, DOUBLEWORD, HOLE, QUADWORD, WORD, device
from virtproof.conformance.window import CELL, VA, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.flags import Rflags

row = family(
    "mmio",
    sdm("2", "Instruction Set Reference, 'MOV', 'MOVZX', 'MOVSX/MOVSXD', 'CMOVcc', 'TEST', 'PUSH', 'LODS'"),
    apm(3, "General-Purpose Instruction Reference"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_MMIO"),
    answers=(device(),),
    regs={"rax": 0x1122_3344_5566_7788, "rbx": HOLE},
)

LONG64 = Mode.LONG64
OLD = 0x1122_3344_5566_7788
POP_RSI_PUSH_RSI_RET = 0xC3_56_5E
STACK = At("kernel_stack_top")
CF, PF, ZF, SF, OF = (getattr(Rflags, name).mask for name in ("cf", "pf", "zf", "sf", "of"))
READ1, READ2 = mmio_read(HOLE, 1, BYTE), mmio_read(HOLE, 2, WORD)
READ4, READ8 = mmio_read(HOLE, 4, DOUBLEWORD), mmio_read(HOLE, 8, QUADWORD)

# fmt: off
CASES = (
    row("mmio.form.mov_load1", "A load of 1 byte is one read, the rest of RAX is kept", LONG64, Insn("8a 03", "mov al, byte ptr [rbx]"),
        completes(regs={"rax": 0x1122_3344_5566_778B}, accesses=(READ1,))),
    row("mmio.form.mov_load2", "A load of 2 bytes is one read, the rest of RAX is kept", LONG64, Insn("66 8b 03", "mov ax, word ptr [rbx]"),
        completes(regs={"rax": 0x1122_3344_5566_9A8B}, accesses=(READ2,))),
    row("mmio.form.mov_load4", "A load of 4 bytes is one read and clears the upper half", LONG64, Insn("8b 03", "mov eax, dword ptr [rbx]"),
        completes(regs={"rax": DOUBLEWORD}, accesses=(READ4,)), refs=("mmio.x.large_map",)),
    row("mmio.form.mov_load8", "A load of 8 bytes is one read", LONG64, Insn("48 8b 03", "mov rax, qword ptr [rbx]"),
        completes(regs={"rax": QUADWORD}, accesses=(READ8,))),
    row("mmio.form.movzx8", "MOVZX of a byte reads a byte", LONG64, Insn("0f b6 03", "movzx eax, byte ptr [rbx]"),
        completes(regs={"rax": BYTE}, accesses=(READ1,))),
    row("mmio.form.movzx16", "MOVZX of a word reads a word", LONG64, Insn("0f b7 03", "movzx eax, word ptr [rbx]"),
        completes(regs={"rax": WORD}, accesses=(READ2,)), priority=2),
    row("mmio.form.movsx8", "MOVSX of a byte reads a byte and extends its sign", LONG64, Insn("48 0f be 03", "movsx rax, byte ptr [rbx]"),
        completes(regs={"rax": 0xFFFF_FFFF_FFFF_FF8B}, accesses=(READ1,)), priority=2),
    row("mmio.form.movsx16", "MOVSX of a word reads a word and extends its sign", LONG64, Insn("48 0f bf 03", "movsx rax, word ptr [rbx]"),
        completes(regs={"rax": 0xFFFF_FFFF_FFFF_9A8B}, accesses=(READ2,)), priority=3),
    row("mmio.form.movsxd", "MOVSXD reads a doubleword and extends its sign", LONG64, Insn("48 63 03", "movsxd rax, dword ptr [rbx]"),
        completes(regs={"rax": 0xFFFF_FFFF_B5A6_9A8B}, accesses=(READ4,)), priority=2),
    row("mmio.x.high_byte", "A load to AH changes AH", LONG64, Insn("8a 23", "mov ah, byte ptr [rbx]"),
        completes(regs={"rax": 0x1122_3344_5566_8B88}, accesses=(READ1,)), priority=2),
    row("mmio.x.r8_15", "A load of 4 bytes to R9 clears its upper half", LONG64, Insn("44 8b 0b", "mov r9d, dword ptr [rbx]"),
        completes(regs={"r9": DOUBLEWORD}, accesses=(READ4,)), priority=2),
    row("mmio.form.cmov_false", "CMOV reads though its condition is false, and clears the upper half", LONG64, Insn("0f 44 03", "cmove eax, dword ptr [rbx]"),
        completes(regs={"rax": 0x5566_7788}, accesses=(READ4,)), priority=2),
    row("mmio.form.test_imm", "TEST reads and does not write", LONG64, Insn("f6 03 40", "test byte ptr [rbx], 0x40"),
        completes(flags_set=ZF | PF, flags_clear=CF | SF | OF, accesses=(READ1,)), flags=2 | CF | SF | OF, priority=2),
    row("mmio.form.push_mem", "PUSH of a quadword reads it once", LONG64, Insn("ff 33", "push qword ptr [rbx]"),
        completes(regs={"rsp": STACK + -8}, memory={STACK + -8: QUADWORD}, accesses=(READ8,)), priority=2),
    row("mmio.form.call_mem", "CALL through a pointer in a hole reads it once and goes there", LONG64, Insn("ff 13", "call qword ptr [rbx]"),
        completes(regs={"rsi": At("kernel_code", 2)}, accesses=(mmio_read(HOLE, 8, VA),)), regs={"rbx": HOLE}, sets=(maps(page()),), fill={CELL: POP_RSI_PUSH_RSI_RET},
        answers=(device(HOLE, VA.to_bytes(8, "little")),), priority=2),
    row("mmio.form.lods1", "LODSB reads a byte and moves on by 1", LONG64, Insn("ac", "lodsb al, byte ptr [rsi]"),
        completes(regs={"rax": 0x1122_3344_5566_778B, "rsi": HOLE + 1}, accesses=(READ1,)), regs={"rax": OLD, "rsi": HOLE}, priority=3),
    row("mmio.form.lods8", "LODSQ reads a quadword and moves on by 8", LONG64, Insn("48 ad", "lodsq rax, qword ptr [rsi]"),
        completes(regs={"rax": QUADWORD, "rsi": HOLE + 8}, accesses=(READ8,)), regs={"rax": OLD, "rsi": HOLE}, priority=3),
)
# fmt: on
