"""SSE loads and stores of 16 bytes in a hole.

They come out as two accesses of 8 bytes, upwards, because kvm_run carries no more.  MOVAPS checks its alignment before
it looks at memory.
"""

from virtproof.conformance.case import At, Insn, completes, cr4, family, faults, mmio_read, mmio_write
from virtproof.conformance.hole import HOLE, NEXT, QUADWORD, device
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.exception import Vector

SSE = (cr4(on=Cr4.osfxsr.mask),)
row = family(
    "mmio",
    sdm("2B", "Instruction Set Reference, 'MOVUPS' and 'MOVAPS'"),
    apm(4, "128-Bit Media Instruction Reference, 'MOVUPS' and 'MOVAPS'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_MMIO"),
    answers=(device(),),
    sets=SSE,
)

LONG64 = Mode.LONG64
RAM = At("kernel_data")
FAR = HOLE + 0x5_0000
LOW, HIGH = 0x0807_0605_0403_0201, 0x1817_1615_1413_1211

# fmt: off
CASES = (
    row("mmio.form.movups_load", "A load of 16 bytes is two reads, upwards", LONG64, (Insn("0f 10 03", "movups xmm0, xmmword ptr [rbx]"), Insn("0f 11 07", "movups xmmword ptr [rdi], xmm0")),
        completes(memory={RAM: QUADWORD, RAM + 8: NEXT}, accesses=(mmio_read(HOLE, 8, QUADWORD), mmio_read(HOLE + 8, 8, NEXT))), regs={"rbx": HOLE, "rdi": RAM}),
    row("mmio.form.movups_store", "A store of 16 bytes is two writes, upwards", LONG64, (Insn("0f 10 06", "movups xmm0, xmmword ptr [rsi]"), Insn("0f 11 03", "movups xmmword ptr [rbx], xmm0")),
        completes(accesses=(mmio_write(HOLE, 8, LOW), mmio_write(HOLE + 8, 8, HIGH))), regs={"rbx": HOLE, "rsi": RAM}, fill={RAM: LOW, RAM + 8: HIGH}),
    row("mmio.form.movdqu", "A load of 16 bytes of integers is two reads, upwards", LONG64, (Insn("f3 0f 6f 03", "movdqu xmm0, xmmword ptr [rbx]"), Insn("f3 0f 7f 07", "movdqu xmmword ptr [rdi], xmm0")),
        completes(memory={RAM: QUADWORD, RAM + 8: NEXT}, accesses=(mmio_read(HOLE, 8, QUADWORD), mmio_read(HOLE + 8, 8, NEXT))), regs={"rbx": HOLE, "rdi": RAM}, priority=2),
    row("mmio.form.movq_store", "A store of the lower half of a register is one write", LONG64, (Insn("0f 10 06", "movups xmm0, xmmword ptr [rsi]"), Insn("66 0f d6 03", "movq qword ptr [rbx], xmm0")),
        completes(accesses=(mmio_write(HOLE, 8, LOW),)), regs={"rbx": HOLE, "rsi": RAM}, fill={RAM: LOW, RAM + 8: HIGH}, priority=2),
    row("mmio.x.sse_cross", "A store of 16 bytes over two holes is split where the page ends, and then by 8 bytes", LONG64, (Insn("0f 10 06", "movups xmm0, xmmword ptr [rsi]"), Insn("0f 11 03", "movups xmmword ptr [rbx], xmm0")),
        completes(accesses=(mmio_write(HOLE + 0xFFA, 6, 0x0605_0403_0201), mmio_write(FAR, 8, 0x1615_1413_1211_0807), mmio_write(FAR + 8, 2, 0x1817))),
        regs={"rbx": WINDOW + 0xFFA, "rsi": RAM}, fill={RAM: LOW, RAM + 8: HIGH}, sets=(*SSE, maps(page(HOLE)), maps(page(FAR), 1)), priority=2),
    row("mmio.form.movaps_unal", "MOVAPS of an address not aligned to 16 raises #GP before any access", LONG64, Insn("0f 28 43 01", "movaps xmm0, xmmword ptr [rbx + 1]"),
        faults(Vector.GP, 0, accesses=()), regs={"rbx": HOLE}, priority=2),
)
# fmt: on
