"""I/O permission at CPL 3: IOPL first, then the bitmap of the TSS.

With CPL <= IOPL every port is allowed.  Otherwise a port needs a clear bit in the bitmap, a wide access one for each of
its ports, and the bitmap's bytes must lie within the TSS's limit; else #GP(0), and nothing reaches the monitor.  CPL 0
asks nobody.  The processor reads two bytes of the bitmap for every access, and both must be there.
"""

from virtproof.conformance.case import Answers, At, Insn, Set, completes, family, faults, mem8, mem16, mem64
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

DEVICE = (Answers("pio", 0x80, 16, (0x4433_2211,)),)
row = family(
    "privileged",
    sdm("1", "Input/Output, 'Protected-Mode I/O'"),
    apm(2, "Task Management, 'I/O-Permission Bitmap'"),
    answers=DEVICE,
    regs={"rax": 0, "rdx": 0x87},
)

IN8 = Insn("e4 80", "in al, 0x80")
IN16 = Insn("66 e5 80", "in ax, 0x80")
IN32 = Insn("e5 80", "in eax, 0x80")
OUT16_DX = Insn("66 ef", "out dx, ax")
IN16_DX, REP_INSB = Insn("66 ed", "in ax, dx"), Insn("f3 6c", "rep insb byte ptr [rdi], dx")
OUT8 = Insn("e6 80", "out 0x80, al")

IOPL3 = 2 | Rflags.iopl.mask
REFUSED = faults(Vector.GP, 0, accesses=())
READ8 = completes(regs={"rax": 0x11}, accesses=(Access("pio", 0x80, 1, False, 0x11),))
READ16 = completes(regs={"rax": 0x2211}, accesses=(Access("pio", 0x80, 2, False, 0x2211),))
WROTE8 = completes(accesses=(Access("pio", 0x80, 1, True, 0),))
WROTE16 = completes(accesses=(Access("pio", 0x87, 2, True, 0),))


def bits_80(byte: int, next_byte: int = 0xFF) -> tuple[Set, Set]:
    """The bitmap's bytes for ports 0x80-0x87 and 0x88-0x8F; all other bits are set."""
    return mem8(At("io_bitmap", 0x80 // 8), byte), mem8(At("io_bitmap", 0x88 // 8), next_byte)


LAST = 8192 + 104  # offset of the TSS's last byte, which is its limit; those behind it are zero


def ends_with(offset: int) -> tuple[Set, Set]:
    """The bitmap lies so that the byte for ports 0x80-0x87, which allows them all, is at this offset of the TSS."""
    return mem16(At("tss", 102), offset - 0x80 // 8), mem8(At("tss", offset), 0)


NO_BITMAP = mem16(At("tss", 102), 0xFFFF)  # the bitmap's base lies beyond the limit

LONG64, PROT32 = Mode.LONG64, Mode.PROT32

# fmt: off
CASES = (
    row("priv.io.iopl3.long64",       "IOPL 3 allows a port whose bit is set",     LONG64, IN8,   READ8,  ring=3, flags=IOPL3),
    row("priv.io.iopl3_out.long64",   "IOPL 3 allows OUT as well",                 LONG64, OUT8,  WROTE8, ring=3, flags=IOPL3),
    row("priv.io.iopl2.long64",       "IOPL 2 does not",                           LONG64, IN8,   REFUSED, ring=3, flags=0x2002, priority=2),
    row("priv.io.iopl3.prot32",       "IOPL 3 allows a port whose bit is set",     PROT32, IN8,   READ8,  ring=3, flags=IOPL3),
    row("priv.io.bm_allow.long64",    "A clear bit allows its port",               LONG64, IN8,   READ8,  ring=3, sets=bits_80(0b1111_1110)),
    row("priv.io.bm_allow.prot32",    "A clear bit allows its port",               PROT32, IN8,   READ8,  ring=3, sets=bits_80(0b1111_1110)),
    row("priv.io.bm_deny.long64",     "A set bit denies its port alone",           LONG64, IN8,   REFUSED, ring=3, sets=bits_80(0b0000_0001)),
    row("priv.io.bm_deny.prot32",     "A set bit denies its port alone",           PROT32, IN8,   REFUSED, ring=3, sets=bits_80(0b0000_0001)),
    row("priv.io.bm_word_ok.long64",  "A word with both bits clear is allowed",    LONG64, IN16,  READ16, ring=3, sets=bits_80(0b1111_1100), priority=2),
    row("priv.io.bm_word.long64",     "A word with its second bit set is denied",  LONG64, IN16,  REFUSED, ring=3, sets=bits_80(0b1111_1110)),
    row("priv.io.bm_word.prot32",     "A word with its second bit set is denied",  PROT32, IN16,  REFUSED, ring=3, sets=bits_80(0b1111_1110)),
    row("priv.io.bm_dword.long64",    "A dword with its fourth bit set is denied", LONG64, IN32,  REFUSED, ring=3, sets=bits_80(0b1111_1000), priority=2),
    row("priv.io.bm_cross.long64",    "A word over two bytes of the bitmap",       LONG64, OUT16_DX, WROTE16, ring=3, sets=bits_80(0b0111_1111, 0b1111_1110), priority=2),
    row("priv.io.bm_cross_deny.long64", "... with the second byte's bit set",      LONG64, OUT16_DX, REFUSED, ring=3, sets=bits_80(0b0111_1111, 0b1111_1111)),
    row("priv.io.bm_base_hi.long64",  "Clear bits beyond the limit do not count",  LONG64, IN8,   REFUSED, ring=3, sets=(*bits_80(0), NO_BITMAP), priority=2),
    row("priv.io.bm_limit.long64",    "A byte behind the limit denies",            LONG64, IN8,   REFUSED, ring=3, sets=ends_with(LAST + 1), answers=(), priority=2),
    row("priv.io.bm_tail.long64",     "The limit's own byte denies, for a second one is read", LONG64, IN8, REFUSED, ring=3, sets=ends_with(LAST), answers=(), priority=2),
    row("priv.io.bm_tail.long64.before", "... the byte before it allows",          LONG64, IN8,   READ8,   ring=3, sets=(mem8(At("tss", LAST), 0xFF), *ends_with(LAST - 1)), priority=2, refs=("priv.io.bm_tail.long64",)),
    row("priv.io.port_ffff.long64",   "A word at port FFFFH asks for the bit behind the last port's", LONG64, IN16_DX, REFUSED, ring=3, regs={"rdx": 0xFFFF}, sets=(mem8(At("io_bitmap", 8191), 0),), answers=(), priority=3),
    row("priv.io.rep_ins_deny.long64", "REP INS asks before it moves anything",    LONG64, REP_INSB, faults(Vector.GP, 0, accesses=(), memory={At("user_data"): 7}), ring=3,
        regs={"rcx": 4, "rdx": 0x87, "rdi": At("user_data")}, sets=(mem64(At("user_data"), 7), *bits_80(0b1000_0000)), answers=(), priority=2),
    row("priv.io.cpl0_ignores.long64", "CPL 0 ignores IOPL and bitmap",            LONG64, IN8,   READ8),
)
# fmt: on
