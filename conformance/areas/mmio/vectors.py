"""SSE loads and stores of 16 bytes in a hole.

They come out as two accesses of 8 bytes, upwards, because kvm_run carries no more.  MOVAPS checks its alignment before
it looks at memory.
"""

from virtproof.conformance.case import At, Insn, completes, cr4, family, faults, mmio_read, mmio_write
from virtproof.conformance.hole import HOLE, NEXT, QUADWORD, device
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.exception import Vector

row = family(
    "mmio",
    sdm("2B", "Instruction Set Reference, 'MOVUPS' and 'MOVAPS'"),
    apm(4, "128-Bit Media Instruction Reference, 'MOVUPS' and 'MOVAPS'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_MMIO"),
    answers=(device(),),
    sets=(cr4(on=Cr4.osfxsr.mask),),
)

LONG64 = Mode.LONG64
RAM = At("kernel_data")
LOW, HIGH = 0x0807_0605_0403_0201, 0x1817_1615_1413_1211

# fmt: off
CASES = (
    row("mmio.form.movups_load", "A load of 16 bytes is two reads, upwards", LONG64, (Insn("0f 10 03", "movups xmm0, xmmword ptr [rbx]"), Insn("0f 11 07", "movups xmmword ptr [rdi], xmm0")),
        completes(memory={RAM: QUADWORD, RAM + 8: NEXT}, accesses=(mmio_read(HOLE, 8, QUADWORD), mmio_read(HOLE + 8, 8, NEXT))), regs={"rbx": HOLE, "rdi": RAM}),
    row("mmio.form.movups_store", "A store of 16 bytes is two writes, upwards", LONG64, (Insn("0f 10 06", "movups xmm0, xmmword ptr [rsi]"), Insn("0f 11 03", "movups xmmword ptr [rbx], xmm0")),
        completes(accesses=(mmio_write(HOLE, 8, LOW), mmio_write(HOLE + 8, 8, HIGH))), regs={"rbx": HOLE, "rsi": RAM}, fill={RAM: LOW, RAM + 8: HIGH}),
    row("mmio.form.movaps_unal", "MOVAPS of an address not aligned to 16 raises #GP before any access", LONG64, Insn("0f 28 43 01", "movaps xmm0, xmmword ptr [rbx + 1]"),
        faults(Vector.GP, 0, accesses=()), regs={"rbx": HOLE}, priority=2),
)
# fmt: on
