"""32-bit paging: two levels of 4-byte entries, 4 KiB pages and with CR4.PSE pages of 4 MiB.

A page-directory entry with PS set maps 4 MiB where CR4.PSE is set; with CR4.PSE clear the bit is ignored and the entry
leads to a page table.  Bits 20:13 of the entry of a large page are bits 39:32 of its address where the processor has PSE-36,
bit 21 is reserved then.  There is no no-execute bit.  Rights are those of every mode: both levels must allow a write
and a user access, the supervisor's writes obey CR0.WP.
"""

from virtproof.conformance.case import At, Expect, Insn, Part, Ram, Set, completes, cr4, family, faults, mem32
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.exception import Vector

row = family(
    "paging",
    sdm("3A", "Paging, '32-Bit Paging'"),
    apm(2, "Page Translation and Protection, 'Legacy-Mode Page Translation'"),
    requires=("pse",),
)

READ, WRITE = Insn("8b 03", "mov eax, dword ptr [ebx]"), Insn("89 03", "mov dword ptr [ebx], eax")

WINDOW = 1 << 30
LARGE = WINDOW + 0x40_0000  # mapped by the window's second directory entry
P, RW, US, A, D, PS = 1, 2, 4, 0x20, 0x40, 0x80
PTE, PDE, PDE1 = At("window_pt"), At("window_pd"), At("window_pd", 4)
FRAME = At("frame")
GIB4 = 1 << 32
HIGH = 32 << 20  # memory of the row's own, at a multiple of 4 MiB

OLD, NEW = 0x0DD0_55AA, 0x1122_3344
AT_PAGE = {"rax": NEW, "rbx": WINDOW + 0x128}
AT_LARGE = {"rax": NEW, "rbx": LARGE + 0x1128}
IN_FRAME = {"fill": {FRAME + 0x128: OLD}}
IN_LARGE = {"ram": (Ram(HIGH, 0x2000),), "fill": {HIGH + 0x1128: OLD}}

READS = completes(regs={"rax": OLD})


def entry(name: str, flags: int, mask: int = 0xFFF) -> tuple[Part, ...]:
    """The low bits of a 4-byte entry."""
    return (Part(name, 0, 4, flags, mask),)


def maps(flags: int) -> tuple[Set, ...]:
    return (mem32(PTE, FRAME + flags),)


def maps_large(flags: int, *more: Set) -> tuple[Set, ...]:
    return (*more, mem32(PDE1, HIGH + flags))


def refused(code: int, regs: dict[str, int]) -> Expect:
    return faults(Vector.PF, code, cr2=regs["rbx"])


PSE32 = Mode.PSE32

# fmt: off
CASES = (
    row("pg.p32.read",       "A page of 4 KiB",                             PSE32, READ,  READS, regs=AT_PAGE, sets=maps(P), **IN_FRAME),
    row("pg.p32.write",      "... written: accessed and dirty are set",     PSE32, WRITE, completes(memory={FRAME + 0x128: (Part("memory", 0, 4, NEW, -1),), PTE: entry("entry", P | RW | A | D)}), regs=AT_PAGE, sets=maps(P | RW), **IN_FRAME),
    row("pg.p32.absent",     "An entry that is not present",                PSE32, READ,  refused(0, AT_PAGE), regs=AT_PAGE),
    row("pg.p32.wp",         "The supervisor's write to a read-only page",  PSE32, WRITE, refused(3, AT_PAGE), regs=AT_PAGE, sets=maps(P)),
    row("pg.p32.user",       "The user's read of a page of the supervisor", PSE32, READ,  refused(5, AT_PAGE), regs=AT_PAGE, sets=maps(P | RW), ring=3),
    row("pg.p32.user_write", "The user's write to a read-only page",        PSE32, WRITE, refused(7, AT_PAGE), regs=AT_PAGE, sets=maps(P | US), ring=3),
    row("pg.p32.user_read",  "The user's read of a page of the user",       PSE32, READ,  READS, regs=AT_PAGE, sets=maps(P | US), ring=3, **IN_FRAME),
    row("pg.p32.pde_absent", "A directory entry that is not present",       PSE32, READ,  refused(0, AT_PAGE), regs=AT_PAGE, sets=(mem32(PDE, 0),)),
    row("pg.p32.4m",         "A page of 4 MiB",                             PSE32, READ,  READS, regs=AT_LARGE, sets=maps_large(P | PS), **IN_LARGE),
    row("pg.p32.4m_write",   "A read-only page of 4 MiB",                   PSE32, WRITE, refused(3, AT_LARGE), regs=AT_LARGE, sets=maps_large(P | PS), **IN_LARGE),
    row("pg.p32.4m_dirty",   "... written: accessed and dirty are set",     PSE32, WRITE, completes(memory={PDE1: entry("entry", P | RW | PS | A | D)}), regs=AT_LARGE, sets=maps_large(P | RW | PS), **IN_LARGE),
    row("pg.p32.4m_pse0",    "With CR4.PSE clear, PS is ignored",           PSE32, READ,  READS, regs=AT_LARGE, sets=(mem32(PDE1, PTE + (P | PS)), mem32(PTE + 4, FRAME + P), cr4(off=Cr4.pse.mask)), fill={FRAME + 0x128: OLD}, priority=2),
    row("pg.p32.pse36",      "Bits 20:13 of a page of 4 MiB are its address bits 39:32", PSE32, READ, READS, regs=AT_LARGE, sets=(mem32(PDE1, P | PS | 1 << 13),), ram=(Ram(GIB4, 0x2000),), fill={GIB4 + 0x1128: OLD}, requires=("pse", "pse36"), priority=2),
    row("pg.p32.ad",         "A write sets A in both levels, and D in the page's entry alone", PSE32, WRITE, completes(memory={PDE: entry("directory entry", P | RW | US | A), PTE: entry("entry", P | RW | A | D)}), regs=AT_PAGE, sets=(mem32(PDE, PTE + (P | RW | US)), *maps(P | RW)), priority=2, refs=("pg.ad.p32",)),
    row("pg.p32.pse36_rsvd", "Bit 21 of a page of 4 MiB is reserved",       PSE32, READ,  refused(9, AT_LARGE), regs=AT_LARGE, sets=maps_large(P | PS | 1 << 21), **IN_LARGE, priority=2),
)
# fmt: on
