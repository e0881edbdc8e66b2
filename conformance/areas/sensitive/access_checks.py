"""LAR, LSL, VERR and VERW ask whether a segment could be used, and answer in ZF: 1, or 0 with the destination unchanged.

They never fault for what they find.  They find no segment behind the limit of its table, none whose DPL is below CPL or
RPL, and none of a kind that they do not know: LAR and LSL know code, data and TSSs, VERR and VERW code and data only.
LAR gives the second doubleword of the descriptor masked by 00F0FF00H (bits 19:16 are undefined, and not looked at), LSL
the limit in bytes.

The segment is in entry 48H of the guest's GDT.
"""

from virtproof.conformance.case import At, Expect, Insn, completes, family, mem64
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.flags import Rflags

row = family(
    "sensitive",
    sdm("2A", "Instruction Set Reference, 'LAR-Load Access Rights Byte'"),
    sdm("2A", "Instruction Set Reference, 'LSL-Load Segment Limit'"),
    sdm("2B", "Instruction Set Reference, 'VERR/VERW-Verify a Segment for Reading or Writing'"),
    apm(2, "Segmented Virtual Memory, 'Checking Access Rights'"),
    priority=2,
)

LAR = (Insn("0f 02 c3", "lar eax, ebx"), Insn("0f 94 c1", "sete cl"), Insn("25 00 ff f0 00", "and eax, 0xf0ff00"))
LSL = (Insn("0f 03 c3", "lsl eax, ebx"), Insn("0f 94 c1", "sete cl"))
VERR = (Insn("0f 00 e3", "verr bx"), Insn("0f 94 c1", "sete cl"))
VERW = (Insn("0f 00 eb", "verw bx"), Insn("0f 94 c1", "sete cl"))

SPARE, BEYOND = 0x48, 0x2000
ZF = Rflags.zf.mask


def segment(access: int, limit: int = 0xF_1234, flags: int = 0x4) -> int:
    """A descriptor with base 0; ``flags`` are G, D/B, L and AVL."""
    return limit & 0xFFFF | (access | (limit >> 16 | flags << 4) << 8) << 40


DATA_RW, DATA_RW_3, BUSY_TSS = 0x92, 0xF2, 0x8B
KEPT = 0x00A0_5500  # within the mask of LAR
LIMIT = 0xF_1234
LONG64 = Mode.LONG64


def found(**regs: int) -> Expect:
    return completes(regs={"rcx": 1, **regs})


# ZF is the opposite before: in RCX there is neither answer.
ABSENT = completes(regs={"rcx": 0})


def of(selector: int, zf: bool) -> dict[str, object]:
    """``zf`` is what the answer must change, or keep."""
    return {"regs": {"rax": KEPT, "rbx": selector, "rcx": 0}, "flags": 2 | ZF * zf}


def spare(*entry: int) -> tuple[object, ...]:
    return mem64(At("gdt", SPARE), entry[0]), mem64(At("gdt", SPARE + 8), entry[1] if len(entry) > 1 else 0)


RW, RW_3, TSS = spare(segment(DATA_RW)), spare(segment(DATA_RW_3)), spare(segment(BUSY_TSS, flags=0), 0)

# fmt: off
CASES = (
    row("sens.lar.limit",     "LAR behind the limit of the GDT finds nothing",    LONG64, LAR,  ABSENT, **of(BEYOND, True)),
    row("sens.lsl.limit",     "LSL behind the limit of the GDT finds nothing",    LONG64, LSL,  ABSENT, **of(BEYOND, True)),
    row("sens.verr.limit",    "VERR behind the limit of the GDT finds nothing",   LONG64, VERR, ABSENT, **of(BEYOND, True)),
    row("sens.verw.limit",    "VERW behind the limit of the GDT finds nothing",   LONG64, VERW, ABSENT, **of(BEYOND, True)),
    row("sens.lar.data_rw",   "LAR of writable data",                             LONG64, LAR,  found(rax=0x0040_9200), **of(SPARE, False), sets=RW),
    row("sens.lsl.data_rw",   "LSL of writable data",                             LONG64, LSL,  found(rax=LIMIT),       **of(SPARE, False), sets=RW),
    row("sens.lsl.data_4k",   "LSL of data with a limit in pages gives bytes",    LONG64, LSL,  found(rax=LIMIT << 12 | 0xFFF), **of(SPARE, False), sets=spare(segment(DATA_RW, flags=0xC))),
    row("sens.verr.data_rw",  "VERR of writable data",                            LONG64, VERR, found(),                **of(SPARE, False), sets=RW),
    row("sens.verw.data_rw",  "VERW of writable data",                            LONG64, VERW, found(),                **of(SPARE, False), sets=RW),
    row("sens.lar.data_dpl",  "LAR at CPL 3 does not find data of DPL 0",         LONG64, LAR,  ABSENT, **of(SPARE | 3, True), sets=RW, ring=3),
    row("sens.lsl.data_dpl",  "LSL at CPL 3 does not find data of DPL 0",         LONG64, LSL,  ABSENT, **of(SPARE | 3, True), sets=RW, ring=3),
    row("sens.verr.data_dpl", "VERR at CPL 3 does not find data of DPL 0",        LONG64, VERR, ABSENT, **of(SPARE | 3, True), sets=RW, ring=3),
    row("sens.verw.data_dpl", "VERW at CPL 3 does not find data of DPL 0",        LONG64, VERW, ABSENT, **of(SPARE | 3, True), sets=RW, ring=3),
    row("sens.lar.data_dpl3", "LAR at CPL 3 finds data of DPL 3",                 LONG64, LAR,  found(rax=0x0040_F200), **of(SPARE | 3, False), sets=RW_3, ring=3),
    row("sens.lar.tss_busy",  "LAR of a busy TSS",                                LONG64, LAR,  found(rax=0x0000_8B00), **of(SPARE, False), sets=TSS),
    row("sens.lsl.tss_busy",  "LSL of a busy TSS",                                LONG64, LSL,  found(rax=LIMIT),       **of(SPARE, False), sets=TSS),
    row("sens.verr.tss_busy", "VERR does not know a TSS",                         LONG64, VERR, ABSENT,                 **of(SPARE, True), sets=TSS),
)
# fmt: on
