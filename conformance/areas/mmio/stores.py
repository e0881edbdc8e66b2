"""Instructions that write to a hole, and those that read and write: exchange, arithmetic, LOCK.

A store is one write of the operand's size.  Read-modify-write is one read, then one write, with LOCK or without;
CMPXCHG writes even where it does not match: the old value.  BTS with a register looks at the doubleword that holds the
bit.  Flags are those of the operation.
"""

from virtproof.conformance.case import At, Insn, completes, family, mmio_read, mmio_write
from virtproof.conformance.hole import BYTE, DOUBLEWORD, HOLE, QUADWORD, WORD, device
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.flags import Rflags

row = family(
    "mmio",
    sdm("2", "Instruction Set Reference, 'MOV', 'POP', 'PUSH', 'XCHG', 'XADD', 'CMPXCHG', 'BTS', 'LOCK'"),
    apm(3, "General-Purpose Instruction Reference"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_MMIO"),
    answers=(device(),),
    regs={"rax": 0x1122_3344_5566_7788, "rbx": HOLE},
)

LONG64 = Mode.LONG64
OLD = 0x1122_3344_5566_7788
STACK = At("kernel_stack_top")
CF, PF, AF, ZF, SF, OF = (getattr(Rflags, name).mask for name in ("cf", "pf", "af", "zf", "sf", "of"))
READ4 = mmio_read(HOLE, 4, DOUBLEWORD)


def write(size: int, value: int) -> Access:
    return mmio_write(HOLE, size, value)


# fmt: off
CASES = (
    row("mmio.form.mov_store1", "A store of 1 byte is one write", LONG64, Insn("88 03", "mov byte ptr [rbx], al"),
        completes(accesses=(write(1, 0x88),))),
    row("mmio.form.mov_store2", "A store of 2 bytes is one write", LONG64, Insn("66 89 03", "mov word ptr [rbx], ax"),
        completes(accesses=(write(2, 0x7788),))),
    row("mmio.form.mov_store4", "A store of 4 bytes is one write", LONG64, Insn("89 03", "mov dword ptr [rbx], eax"),
        completes(accesses=(write(4, 0x5566_7788),))),
    row("mmio.form.mov_store8", "A store of 8 bytes is one write", LONG64, Insn("48 89 03", "mov qword ptr [rbx], rax"),
        completes(accesses=(write(8, OLD),))),
    row("mmio.form.mov_imm1", "An immediate of 1 byte is one write", LONG64, Insn("c6 03 fe", "mov byte ptr [rbx], 0xfe"),
        completes(accesses=(write(1, 0xFE),)), priority=2),
    row("mmio.form.mov_imm2", "An immediate of 2 bytes is one write", LONG64, Insn("66 c7 03 ed fe", "mov word ptr [rbx], 0xfeed"),
        completes(accesses=(write(2, 0xFEED),)), priority=2),
    row("mmio.form.mov_imm4", "An immediate of 4 bytes is one write", LONG64, Insn("c7 03 be ba ed fe", "mov dword ptr [rbx], 0xfeedbabe"),
        completes(accesses=(write(4, 0xFEED_BABE),)), priority=2),
    row("mmio.form.mov_imm8", "An immediate is sign-extended to 8 bytes", LONG64, Insn("48 c7 03 fe ff ff ff", "mov qword ptr [rbx], 0xfffffffffffffffe"),
        completes(accesses=(write(8, 0xFFFF_FFFF_FFFF_FFFE),)), priority=2),
    row("mmio.x.rex_spl", "With REX the byte register is SIL", LONG64, Insn("40 88 33", "mov byte ptr [rbx], sil"),
        completes(accesses=(write(1, 0x5A),)), regs={"rbx": HOLE, "rsi": 0x5A, "rdx": 0xA500}, priority=2),
    row("mmio.form.pop_mem", "POP to memory writes once", LONG64, (Insn("50", "push rax"), Insn("8f 03", "pop qword ptr [rbx]")),
        completes(accesses=(write(8, OLD),)), priority=2),
    row("mmio.form.push_stack", "PUSH to a stack in a hole writes below RSP", LONG64, (Insn("50", "push rax"), Insn("48 89 e1", "mov rcx, rsp"), Insn("48 89 fc", "mov rsp, rdi")),
        completes(regs={"rcx": HOLE + 8, "rsp": STACK}, accesses=(mmio_write(HOLE + 8, 8, OLD),)), regs={"rax": OLD, "rsp": HOLE + 0x10, "rdi": STACK}, priority=2),

    row("mmio.form.xchg1", "XCHG reads, then writes the old register", LONG64, Insn("86 03", "xchg byte ptr [rbx], al"),
        completes(regs={"rax": 0x1122_3344_5566_778B}, accesses=(mmio_read(HOLE, 1, BYTE), write(1, 0x88))), priority=2),
    row("mmio.form.xchg2", "XCHG reads, then writes the old register", LONG64, Insn("66 87 03", "xchg word ptr [rbx], ax"),
        completes(regs={"rax": 0x1122_3344_5566_9A8B}, accesses=(mmio_read(HOLE, 2, WORD), write(2, 0x7788))), priority=2),
    row("mmio.form.xchg4", "XCHG reads, then writes the old register", LONG64, Insn("87 03", "xchg dword ptr [rbx], eax"),
        completes(regs={"rax": DOUBLEWORD}, accesses=(READ4, write(4, 0x5566_7788))), priority=2),
    row("mmio.form.xchg8", "XCHG reads, then writes the old register", LONG64, Insn("48 87 03", "xchg qword ptr [rbx], rax"),
        completes(regs={"rax": QUADWORD}, accesses=(mmio_read(HOLE, 8, QUADWORD), write(8, OLD))), priority=2),
    row("mmio.form.add_rmw1", "ADD reads, then writes the sum", LONG64, Insn("00 03", "add byte ptr [rbx], al"),
        completes(flags_set=CF | AF, flags_clear=ZF | SF, accesses=(mmio_read(HOLE, 1, BYTE), write(1, 0x02))), regs={"rax": 0x77, "rbx": HOLE}, flags=2 | ZF | SF, priority=2),
    row("mmio.form.add_rmw2", "ADD reads, then writes the sum", LONG64, Insn("66 01 03", "add word ptr [rbx], ax"),
        completes(flags_set=SF, flags_clear=CF | ZF, accesses=(mmio_read(HOLE, 2, WORD), write(2, 0xBC9F))), regs={"rax": 0x2214, "rbx": HOLE}, flags=2 | CF | ZF, priority=2),
    row("mmio.form.add_rmw4", "ADD reads, then writes the sum", LONG64, Insn("01 03", "add dword ptr [rbx], eax"),
        completes(flags_set=CF | PF | AF | ZF, flags_clear=SF | OF, accesses=(READ4, write(4, 0))), regs={"rax": 0x4A59_6575, "rbx": HOLE}, flags=2 | SF | OF, priority=2),
    row("mmio.form.add_rmw8", "ADD reads, then writes the sum", LONG64, Insn("48 01 03", "add qword ptr [rbx], rax"),
        completes(flags_set=CF, flags_clear=ZF | SF, accesses=(mmio_read(HOLE, 8, QUADWORD), write(8, 0x0305_0709_0B0D_1213))), flags=2 | ZF | SF, priority=2),
    row("mmio.form.inc", "INC reads, then writes one more, and keeps CF", LONG64, Insn("ff 03", "inc dword ptr [rbx]"),
        completes(flags_set=CF | SF, flags_clear=ZF | OF, accesses=(READ4, write(4, 0xB5A6_9A8C))), flags=2 | CF | ZF | OF, priority=2),
    row("mmio.form.or_lock", "LOCK OR reads, then writes", LONG64, Insn("f0 09 03", "lock or dword ptr [rbx], eax"),
        completes(flags_set=SF, flags_clear=CF | ZF | OF, accesses=(READ4, write(4, 0xF5E6_FF8B))), flags=2 | CF | ZF | OF, priority=2),
    row("mmio.form.xadd_lock", "LOCK XADD reads, writes the sum, gives the old value", LONG64, Insn("f0 0f c1 03", "lock xadd dword ptr [rbx], eax"),
        completes(regs={"rax": DOUBLEWORD}, accesses=(READ4, write(4, 0x0B0D_1213))), priority=2),
    row("mmio.form.cmpxchg_lock", "LOCK CMPXCHG that matches writes the new value", LONG64, Insn("f0 0f b1 0b", "lock cmpxchg dword ptr [rbx], ecx"),
        completes(flags_set=ZF, accesses=(READ4, write(4, 0x5566_7788))), regs={"rax": DOUBLEWORD, "rbx": HOLE, "rcx": OLD}, priority=2),
    row("mmio.form.cmpxchg1_hit", "CMPXCHG that matches writes the new value", LONG64, Insn("0f b0 0b", "cmpxchg byte ptr [rbx], cl"),
        completes(flags_set=ZF, accesses=(mmio_read(HOLE, 1, BYTE), write(1, 0x88))), regs={"rax": BYTE, "rbx": HOLE, "rcx": OLD}, priority=2),
    row("mmio.form.cmpxchg2_hit", "CMPXCHG that matches writes the new value", LONG64, Insn("66 0f b1 0b", "cmpxchg word ptr [rbx], cx"),
        completes(flags_set=ZF, accesses=(mmio_read(HOLE, 2, WORD), write(2, 0x7788))), regs={"rax": WORD, "rbx": HOLE, "rcx": OLD}, priority=2),
    row("mmio.form.cmpxchg8_hit", "CMPXCHG that matches writes the new value", LONG64, Insn("48 0f b1 0b", "cmpxchg qword ptr [rbx], rcx"),
        completes(flags_set=ZF, accesses=(mmio_read(HOLE, 8, QUADWORD), write(8, OLD))), regs={"rax": QUADWORD, "rbx": HOLE, "rcx": OLD}, priority=2),
    row("mmio.form.cmpxchg4_hit", "CMPXCHG that matches writes the new value", LONG64, Insn("0f b1 0b", "cmpxchg dword ptr [rbx], ecx"),
        completes(flags_set=ZF, accesses=(READ4, write(4, 0x5566_7788))), regs={"rax": DOUBLEWORD, "rbx": HOLE, "rcx": OLD}, priority=2),
    row("mmio.form.cmpxchg4_miss", "CMPXCHG that does not match writes the old value back", LONG64, Insn("0f b1 0b", "cmpxchg dword ptr [rbx], ecx"),
        completes(regs={"rax": DOUBLEWORD}, flags_clear=ZF, accesses=(READ4, write(4, DOUBLEWORD))), regs={"rax": OLD, "rbx": HOLE, "rcx": 7}, flags=2 | ZF, priority=3),
    row("mmio.form.bts_reg", "BTS with bit 37 reads and writes the second doubleword", LONG64, Insn("0f ab 0b", "bts dword ptr [rbx], ecx"),
        completes(flags_clear=CF, accesses=(mmio_read(HOLE + 4, 4, 0xF1E2_D3C4), mmio_write(HOLE + 4, 4, 0xF1E2_D3E4))), regs={"rbx": HOLE, "rcx": 37}, flags=2 | CF, priority=2),
)
# fmt: on
