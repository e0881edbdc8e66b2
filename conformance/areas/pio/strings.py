"""INS and OUTS: port DX to memory at RDI, memory at RSI to port DX.

With REP, RCX counts down to 0, and each item is one access: a host may take several out of the guest at once, but none
may be lost, repeated, or go out of order.  RDI or RSI moves behind each item by its size, upwards while DF = 0, and
downwards while DF = 1.  With RCX = 0 nothing happens at all.

A page fault in the middle is a fault of the instruction with its prefix: RCX and RDI tell how far it came, so that
running it again goes on there.
"""

from virtproof.conformance.case import (
    Answers,
    At,
    Insn,
    Row,
    Value,
    completes,
    family,
    faults,
    msr,
    pio_in,
    pio_out,
)
from virtproof.conformance.window import FRAME, WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr

row = family(
    "pio",
    sdm("2A", "Instruction Set Reference, 'INS/INSB/INSW/INSD-Input from Port to String'"),
    sdm("2B", "Instruction Set Reference, 'OUTS/OUTSB/OUTSW/OUTSD-Output String to Port'"),
    sdm("2B", "Instruction Set Reference, 'REP/REPE/REPZ/REPNE/REPNZ-Repeat String Operation Prefix'"),
    apm(3, "General-Purpose Instruction Reference, 'INS' and 'OUTS'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_IO"),
)

LONG64 = Mode.LONG64
DATA = At("kernel_data")
PORT = 0x1234
ITEMS = (0x8191_A1B1, 0x8292_A2B2, 0x8393_A3B3, 0x8494_A4B4, 0x8595_A5B5)  # the low bytes of each are what is moved
DF = Rflags.df.mask

REP_INSB = Insn("f3 6c", "rep insb byte ptr [rdi], dx")
REP_INSW = Insn("66 f3 6d", "rep insw word ptr [rdi], dx")
REP_INSD = Insn("f3 6d", "rep insd dword ptr [rdi], dx")
REP_OUTSB = Insn("f3 6e", "rep outsb dx, byte ptr [rsi]")
REP_OUTSW = Insn("66 f3 6f", "rep outsw dx, word ptr [rsi]")
REP_OUTSD = Insn("f3 6f", "rep outsd dx, dword ptr [rsi]")

# fmt: off
FORMS = (
    # id           instruction  size  first at, from there by
    ("pio.ins1.up",     REP_INSB,   1,  0x08,  +1),
    ("pio.ins1.down",   REP_INSB,   1,  0x20,  -1),
    ("pio.ins2.up",     REP_INSW,   2,  0x08,  +2),
    ("pio.ins2.down",   REP_INSW,   2,  0x20,  -2),
    ("pio.ins4.up",     REP_INSD,   4,  0x08,  +4),
    ("pio.ins4.down",   REP_INSD,   4,  0x20,  -4),
    ("pio.outs1.up",    REP_OUTSB,  1,  0x08,  +1),
    ("pio.outs1.down",  REP_OUTSB,  1,  0x20,  -1),
    ("pio.outs2.up",    REP_OUTSW,  2,  0x08,  +2),
    ("pio.outs2.down",  REP_OUTSW,  2,  0x20,  -2),
    ("pio.outs4.up",    REP_OUTSD,  4,  0x08,  +4),
    ("pio.outs4.down",  REP_OUTSD,  4,  0x20,  -4),
)
# fmt: on


def _memory(size: int, first: int, by: int) -> dict[At, Value]:
    """What the page holds with the items in it, and zeros on both sides."""
    ram = bytearray(0x30)
    for n, item in enumerate(ITEMS):
        at = first + n * by
        ram[at : at + size] = item.to_bytes(4, "little")[:size]
    return {DATA + at: int.from_bytes(ram[at : at + 8], "little") for at in range(0, len(ram), 8)}


def _form(id: str, insn: Insn, size: int, first: int, by: int) -> Row:  # noqa: A002
    ins = insn.text.startswith("rep ins")
    access, pointer = (pio_in, "rdi") if ins else (pio_out, "rsi")
    memory = _memory(size, first, by)
    return row(
        id,
        f"{insn.text.split()[1].upper()} repeated moves items {'up' if by > 0 else 'down'}wards in order",
        LONG64,
        insn,
        completes(
            regs={"rcx": 0, pointer: DATA + (first + len(ITEMS) * by)},
            memory=memory,
            accesses=tuple(access(PORT, size, item & (1 << 8 * size) - 1) for item in ITEMS),
        ),
        regs={"rcx": len(ITEMS), "rdx": PORT, pointer: DATA + first},
        flags=2 | (DF if by < 0 else 0),
        answers=(Answers("pio", PORT, 4, ITEMS),),
        fill={} if ins else memory,
        priority=1 if size == 1 and by > 0 else 2,
    )


BYTES = (Answers("pio", PORT, 1, (0xB1, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8)),)
MANY = 300  # doublewords: more than the kernel hands over at once, which is 1024 bytes
FIRST = 0x8000_0000


def _two(n: int) -> int:
    """Items n and n + 1 of many, as memory holds them."""
    return (FIRST + n + 1) << 32 | FIRST + n


# fmt: off
CASES = (
    *(_form(*form) for form in FORMS),
    row("pio.x.rep0", "With RCX = 0 REP INS and REP OUTS do nothing", LONG64, (REP_INSB, REP_OUTSB, REP_INSD, REP_OUTSD),
        completes(memory={DATA: 0}, accesses=()),
        regs={"rcx": 0, "rdx": PORT, "rdi": DATA, "rsi": DATA}, answers=BYTES),
    row("pio.x.insw_unal", "INSW stores to an odd address", LONG64, Insn("66 6d", "insw word ptr [rdi], dx"),
        completes(regs={"rdi": DATA + 9}, memory={DATA: 0xB1 << 56, DATA + 8: 0xA1}, accesses=(pio_in(PORT, 2, 0xA1B1),)),
        regs={"rdx": PORT, "rdi": DATA + 7}, fill={DATA: 0, DATA + 8: 0}, answers=(Answers("pio", PORT, 4, ITEMS),), priority=3),
    row("pio.x.seg_over", "OUTS reads by the segment that its prefix names", LONG64, Insn("64 6e", "outsb dx, byte ptr fs:[rsi]"),
        completes(regs={"rsi": DATA + 1}, accesses=(pio_out(PORT, 1, 0x5A),)),
        regs={"rdx": PORT, "rsi": DATA}, sets=(msr(Msr.IA32_FS_BASE, 8),), fill={DATA: 0xA5, DATA + 8: 0x5A}, priority=3),
    row("pio.x.addr32", "With 67 REP OUTS counts ECX and moves ESI, whose upper halves become 0", LONG64, Insn("67 f3 6e", "rep outsb dx, byte ptr [esi]"),
        completes(regs={"rcx": 0, "rsi": DATA + 2}, accesses=(pio_out(PORT, 1, 0x5A), pio_out(PORT, 1, 0x6B))),
        regs={"rcx": 0x7_0000_0002, "rdx": PORT, "rsi": DATA + 0x7_0000_0000}, fill={DATA: 0x6B5A}, priority=3),
    row("pio.x.fast_in", "IN and INS bring the same", LONG64, (Insn("ec", "in al, dx"), Insn("6c", "insb byte ptr [rdi], dx")),
        completes(regs={"rax": 0xB1, "rdi": DATA + 1}, memory={DATA: 0xB1}, accesses=2 * (pio_in(PORT, 1, 0xB1),)),
        regs={"rax": 0, "rdx": PORT, "rdi": DATA}, fill={DATA: 0}, answers=(Answers("pio", PORT, 1, (0xB1,)),), priority=3),
    # Two neighbouring pages whose frames lie the other way round.
    row("pio.x.rep_cross", "REP INS goes on in the next page", LONG64, REP_INSB,
        completes(regs={"rcx": 0, "rdi": WINDOW + 0x1004},
                  memory={FRAME + 0x1FF8: 0xB4B3_B2B1_0000_0000, FRAME: 0xB8B7_B6B5, FRAME + 0x2000: 0, FRAME + 0xFF8: 0},
                  accesses=tuple(pio_in(PORT, 1, value) for value in BYTES[0].values)),
        regs={"rcx": 8, "rdx": PORT, "rdi": WINDOW + 0xFFC},
        sets=(maps(page(FRAME + 0x1000), 0), maps(page(FRAME), 1)), answers=BYTES),
    # How often the port was read when the fault comes is not written anywhere.
    row("pio.x.rep_cross_pf", "A page fault in the middle of REP INS says how far it came", LONG64, REP_INSB,
        faults(Vector.PF, 0x02, cr2=WINDOW + 0x1000, regs={"rcx": 4, "rdi": WINDOW + 0x1000},
               memory={FRAME + 0x1FF8: 0xB4B3_B2B1_0000_0000, FRAME + 0x2000: 0}),
        regs={"rcx": 8, "rdx": PORT, "rdi": WINDOW + 0xFFC},
        sets=(maps(page(FRAME + 0x1000), 0),), answers=BYTES, priority=2),
    row("pio.x.rep_big", "REP INS loses nothing where it takes more than one exit", LONG64, REP_INSD,
        completes(regs={"rcx": 0, "rdi": FRAME + 4 * MANY},
                  memory={FRAME + 4 * n: _two(n) for n in (0, 126, 254, 256, 258, 298)} | {FRAME + 4 * MANY: 0}),
        regs={"rcx": MANY, "rdx": PORT, "rdi": FRAME},
        answers=(Answers("pio", PORT, 4, tuple(range(FIRST, FIRST + MANY))),), priority=2),
)
# fmt: on
