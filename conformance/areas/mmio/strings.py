"""STOS, MOVS, INS and OUTS with memory in a hole.

Each item is one access of its size (to MOVS inside a hole a read and a write), in the order of the items: upwards while
DF = 0, downwards while DF = 1.  RCX ends as 0, and RSI and RDI behind the last item.
"""

from virtproof.conformance.case import (
    Answers,
    At,
    Insn,
    completes,
    family,
    faults,
    mmio_read,
    mmio_write,
    pio_in,
    pio_out,
)
from virtproof.conformance.hole import BYTE, DOUBLEWORD, HOLE, NEXT, QUADWORD, WORD, device
from virtproof.conformance.window import FRAME, WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "mmio",
    sdm("2", "Instruction Set Reference, 'STOS', 'MOVS', 'INS', 'OUTS', 'REP'"),
    apm(3, "General-Purpose Instruction Reference"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_MMIO"),
    answers=(device(),),
)

LONG64 = Mode.LONG64
RAM = At("kernel_data")
OLD = 0x1122_3344_5566_7788
TO_HOLE = {"rax": OLD, "rcx": 3, "rdi": HOLE}
RAM_TO_HOLE = {"rcx": 3, "rsi": RAM, "rdi": HOLE}
HOLE_TO_RAM = {"rcx": 3, "rsi": HOLE, "rdi": RAM}
SOURCE = {RAM: 0x0807_0605_0403_0201, RAM + 8: 0x1817_1615_1413_1211, RAM + 16: 0x2827_2625_2423_2221}
EDGE = WINDOW + 0x1000  # behind the window's first page
DF = Rflags.df.mask

MOVSB = Insn("f3 a4", "rep movsb byte ptr [rdi], byte ptr [rsi]")
MOVSW = Insn("66 f3 a5", "rep movsw word ptr [rdi], word ptr [rsi]")
MOVSD = Insn("f3 a5", "rep movsd dword ptr [rdi], dword ptr [rsi]")
MOVSQ = Insn("f3 48 a5", "rep movsq qword ptr [rdi], qword ptr [rsi]")


def read(size: int, value: int, at: int = 0) -> Access:
    return mmio_read(HOLE + at, size, value)


def write(size: int, value: int, at: int = 0) -> Access:
    return mmio_write(HOLE + at, size, value)


# fmt: off
CASES = (
    row("mmio.form.stos1", "REP STOSB writes item by item, upwards", LONG64, Insn("f3 aa", "rep stosb byte ptr [rdi], al"),
        completes(regs={"rcx": 0, "rdi": HOLE + 3}, accesses=tuple(write(1, 0x88, at) for at in (0, 1, 2))), regs=TO_HOLE),
    row("mmio.form.stos2", "REP STOSW writes item by item, upwards", LONG64, Insn("66 f3 ab", "rep stosw word ptr [rdi], ax"),
        completes(regs={"rcx": 0, "rdi": HOLE + 6}, accesses=tuple(write(2, 0x7788, at) for at in (0, 2, 4))), regs=TO_HOLE, priority=2),
    row("mmio.form.stos4", "REP STOSD writes item by item, upwards", LONG64, Insn("f3 ab", "rep stosd dword ptr [rdi], eax"),
        completes(regs={"rcx": 0, "rdi": HOLE + 12}, accesses=tuple(write(4, 0x5566_7788, at) for at in (0, 4, 8))), regs=TO_HOLE),
    row("mmio.form.stos8", "REP STOSQ writes item by item, upwards", LONG64, Insn("f3 48 ab", "rep stosq qword ptr [rdi], rax"),
        completes(regs={"rcx": 0, "rdi": HOLE + 24}, accesses=tuple(write(8, OLD, at) for at in (0, 8, 16))), regs=TO_HOLE, priority=2),
    row("mmio.form.movs_to1", "REP MOVSB to a hole writes item by item", LONG64, MOVSB,
        completes(regs={"rcx": 0, "rsi": RAM + 3, "rdi": HOLE + 3}, accesses=(write(1, 0x01), write(1, 0x02, 1), write(1, 0x03, 2))), regs=RAM_TO_HOLE, fill=SOURCE, priority=2),
    row("mmio.form.movs_to2", "REP MOVSW to a hole writes item by item", LONG64, MOVSW,
        completes(regs={"rcx": 0, "rsi": RAM + 6, "rdi": HOLE + 6}, accesses=(write(2, 0x0201), write(2, 0x0403, 2), write(2, 0x0605, 4))), regs=RAM_TO_HOLE, fill=SOURCE, priority=2),
    row("mmio.form.movs_to4", "REP MOVSD to a hole writes item by item", LONG64, MOVSD,
        completes(regs={"rcx": 0, "rsi": RAM + 12, "rdi": HOLE + 12}, accesses=(write(4, 0x0403_0201), write(4, 0x0807_0605, 4), write(4, 0x1413_1211, 8))), regs=RAM_TO_HOLE, fill=SOURCE, priority=2),
    row("mmio.form.movs_to8", "REP MOVSQ to a hole writes item by item", LONG64, MOVSQ,
        completes(regs={"rcx": 0, "rsi": RAM + 24, "rdi": HOLE + 24}, accesses=tuple(write(8, value, 8 * n) for n, value in enumerate(SOURCE.values()))), regs=RAM_TO_HOLE, fill=SOURCE, priority=2),
    row("mmio.form.movs_down1", "With DF = 1 items go downwards", LONG64, MOVSB,
        completes(regs={"rcx": 0, "rsi": RAM + -1, "rdi": HOLE + 5}, accesses=(write(1, 0x03, 8), write(1, 0x02, 7), write(1, 0x01, 6))), regs={"rcx": 3, "rsi": RAM + 2, "rdi": HOLE + 8}, flags=2 | DF, fill=SOURCE, priority=3),
    row("mmio.form.movs_from1", "REP MOVSB from a hole reads item by item", LONG64, MOVSB,
        completes(regs={"rcx": 0, "rsi": HOLE + 3, "rdi": RAM + 3}, memory={RAM: 0xA6_9A8B}, accesses=(read(1, 0x8B), read(1, 0x9A, 1), read(1, 0xA6, 2))), regs=HOLE_TO_RAM, priority=2),
    row("mmio.form.movs_from2", "REP MOVSW from a hole reads item by item", LONG64, MOVSW,
        completes(regs={"rcx": 0, "rsi": HOLE + 6, "rdi": RAM + 6}, memory={RAM: QUADWORD & 0xFFFF_FFFF_FFFF}, accesses=(read(2, WORD), read(2, 0xB5A6, 2), read(2, 0xD3C4, 4))), regs=HOLE_TO_RAM, priority=2),
    row("mmio.form.movs_from4", "REP MOVSD from a hole reads item by item", LONG64, MOVSD,
        completes(regs={"rcx": 0, "rsi": HOLE + 12, "rdi": RAM + 12}, memory={RAM: QUADWORD, RAM + 8: 0x3526_1708}, accesses=(read(4, DOUBLEWORD), read(4, 0xF1E2_D3C4, 4), read(4, 0x3526_1708, 8))), regs=HOLE_TO_RAM, priority=2),
    row("mmio.form.movs_from8", "REP MOVSQ from a hole reads item by item", LONG64, MOVSQ,
        completes(regs={"rcx": 0, "rsi": HOLE + 16, "rdi": RAM + 16}, memory={RAM: QUADWORD, RAM + 8: NEXT}, accesses=(read(8, QUADWORD), read(8, NEXT, 8))), regs={"rcx": 2, "rsi": HOLE, "rdi": RAM}, priority=2),
    # Whether the item that faults is read first is the processor's choice.
    row("mmio.x.rep_pf", "REP MOVSD from a hole that meets an absent page tells how far it came", LONG64, MOVSD,
        faults(Vector.PF, 0x02, cr2=EDGE, regs={"rcx": 2, "rsi": HOLE + 8, "rdi": EDGE}, memory={FRAME + 0xFF8: QUADWORD}),
        regs={"rcx": 4, "rsi": HOLE, "rdi": EDGE - 8}, sets=(maps(page()),), priority=2),
    row("mmio.form.movs_both", "REP MOVSB inside a hole reads and writes in turn", LONG64, MOVSB,
        completes(regs={"rcx": 0, "rsi": HOLE + 2, "rdi": HOLE + 10}, accesses=(read(1, 0x8B), write(1, 0x8B, 8), read(1, 0x9A, 1), write(1, 0x9A, 9))), regs={"rcx": 2, "rsi": HOLE, "rdi": HOLE + 8}, priority=2),
    row("mmio.form.insb", "INSB to a hole: the port first, then memory", LONG64, Insn("6c", "insb byte ptr [rdi], dx"),
        completes(regs={"rdi": HOLE + 1}, accesses=(pio_in(0x80, 1, 0x5A), write(1, 0x5A))), regs={"rdx": 0x80, "rdi": HOLE}, answers=(device(), Answers("pio", 0x80, 1, (0x5A,))), priority=2),
    row("mmio.form.outsb", "OUTSB from a hole: memory first, then the port", LONG64, Insn("6e", "outsb dx, byte ptr [rsi]"),
        completes(regs={"rsi": HOLE + 1}, accesses=(read(1, BYTE), pio_out(0x80, 1, BYTE))), regs={"rdx": 0x80, "rsi": HOLE}, priority=2),
)
# fmt: on
