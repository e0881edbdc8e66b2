"""Accesses that cross a page into a hole, out of one, or from one to another, and unaligned ones inside a hole.

The part in memory is read or written there; each part in a hole comes out as one access at its own address and of its
own length, be that 3 or 5 bytes.  Inside a page no alignment is asked for: an access comes out as it is.  Where the
second page is not mapped nothing happens but the page fault, which names the second page.
"""

from virtproof.conformance.case import Insn, completes, family, faults, mmio_read, mmio_write
from virtproof.conformance.hole import DATA, HOLE, device
from virtproof.conformance.window import FRAME, WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import linux, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "mmio",
    sdm("3A", "Multiple-Processor Management, 'Guaranteed Atomic Operations'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_MMIO"),
)

LONG64 = Mode.LONG64
OLD = 0x1122_3344_5566_7788
EDGE = WINDOW + 0x1000  # between the window's first two pages
FAR = HOLE + 0x5_0000
TAIL, HEAD = device(HOLE + 0xFF8, DATA[:8]), device(FAR, DATA[8:])  # ..., D3, E2, F1 and 08, 17, 26, 35, 44, ...

LOAD4, STORE4 = Insn("8b 03", "mov eax, dword ptr [rbx]"), Insn("89 03", "mov dword ptr [rbx], eax")
LOAD8, STORE8 = Insn("48 8b 03", "mov rax, qword ptr [rbx]"), Insn("48 89 03", "mov qword ptr [rbx], rax")
RAM_HOLE = (maps(page(FRAME), 0), maps(page(FAR), 1))
HOLE_RAM = (maps(page(HOLE), 0), maps(page(FRAME), 1))
HOLE_HOLE = (maps(page(HOLE), 0), maps(page(FAR), 1))
LAST, FIRST = FRAME + 0xFF8, FRAME  # memory words before and behind the edge
RAM = 0x8070_6050_4030_2010


def at(address: int) -> dict[str, int]:
    return {"rax": OLD, "rbx": address}


# fmt: off
CASES = (
    row("mmio.x.cross_ram_hole",      "A store from memory into a hole does both parts",   LONG64, STORE4,
        completes(memory={LAST: 0x7788_6050_4030_2010, FIRST: 0}, accesses=(mmio_write(FAR, 2, 0x5566),)),
        regs=at(EDGE - 2), sets=RAM_HOLE, fill={LAST: RAM}),
    row("mmio.x.cross_ram_hole.load", "A load from memory into a hole joins both parts",   LONG64, LOAD8,
        completes(regs={"rax": 0x4435_2617_0880_7060}, accesses=(mmio_read(FAR, 5, 0x44_3526_1708),)),
        regs=at(EDGE - 3), sets=RAM_HOLE, fill={LAST: RAM}, answers=(HEAD,), refs=("mmio.x.cross_ram_hole",)),
    row("mmio.x.cross_hole_ram",      "A load from a hole into memory joins both parts",   LONG64, LOAD4,
        completes(regs={"rax": 0x3020_10F1}, accesses=(mmio_read(HOLE + 0xFFF, 1, 0xF1),)),
        regs=at(EDGE - 1), sets=HOLE_RAM, fill={FIRST: RAM}, answers=(TAIL,)),
    row("mmio.x.cross_hole_ram.store", "A store from a hole into memory does both parts",  LONG64, STORE4,
        completes(memory={FIRST: 0x8070_6050_4055_6677}, accesses=(mmio_write(HOLE + 0xFFF, 1, 0x88),)),
        regs=at(EDGE - 1), sets=HOLE_RAM, fill={FIRST: RAM}, refs=("mmio.x.cross_hole_ram",)),
    row("mmio.x.cross_hole_hole",     "A load over two holes is two reads of 3 and 5 bytes", LONG64, LOAD8,
        completes(regs={"rax": 0x4435_2617_08F1_E2D3}, accesses=(mmio_read(HOLE + 0xFFD, 3, 0xF1_E2D3), mmio_read(FAR, 5, 0x44_3526_1708))),
        regs=at(EDGE - 3), sets=HOLE_HOLE, answers=(TAIL, HEAD)),
    row("mmio.x.cross_hole_hole.store", "A store over two holes is two writes of 3 and 5 bytes", LONG64, STORE8,
        completes(accesses=(mmio_write(HOLE + 0xFFD, 3, 0x66_7788), mmio_write(FAR, 5, 0x11_2233_4455))),
        regs=at(EDGE - 3), sets=HOLE_HOLE, refs=("mmio.x.cross_hole_hole",)),
    row("mmio.x.cross_unmapped",      "A store from a hole into a page that is not mapped only faults", LONG64, STORE4,
        faults(Vector.PF, 0x02, cr2=EDGE, accesses=()),
        regs=at(EDGE - 2), sets=HOLE_RAM[:1], priority=2),
    row("mmio.x.unaligned",           "An unaligned load inside a hole is one read",       LONG64, LOAD4,
        completes(regs={"rax": 0xC4B5_A69A}, accesses=(mmio_read(HOLE + 1, 4, 0xC4B5_A69A),)),
        regs=at(HOLE + 1), answers=(device(),)),
    row("mmio.x.unaligned8",          "A load across 8 bytes inside a hole is one read",   LONG64, LOAD8,
        completes(regs={"rax": 0x4435_2617_08F1_E2D3}, accesses=(mmio_read(HOLE + 5, 8, 0x4435_2617_08F1_E2D3),)),
        regs=at(HOLE + 5), answers=(device(),), priority=2),
    row("mmio.x.unaligned8.store",    "A store across 8 bytes inside a hole is one write", LONG64, STORE8,
        completes(accesses=(mmio_write(HOLE + 5, 8, OLD),)),
        regs=at(HOLE + 5), refs=("mmio.x.unaligned8",), priority=2),
)
# fmt: on
