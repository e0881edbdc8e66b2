"""Protection keys for user pages: bits 62:59 of a leaf's entry name a key, and PKRU says what its pages allow.

Two bits a key: AD (access disable) refuses reads and writes of user pages, by the supervisor too; WD (write disable)
refuses the user's writes, and the supervisor's while CR0.WP = 1.  Fetches and supervisor pages are never refused, and
nothing is while CR4.PKE = 0.  The error code has PK set beside P; an entry that is not present has no key.

WRPKRU takes EAX to PKRU at any ring, at once and without a flush; ECX and EDX must be 0.  No row puts PKRU back: all
pages of the trampoline have key 0, which no row closes.
"""

from __future__ import annotations

from virtproof.conformance.case import Expect, Insn, Row, completes, cr0, cr4, family, faults
from virtproof.conformance.window import CELL, NEW, OLD, SKIP, VA, caught_by, maps, page
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector

row = family(
    "paging",
    sdm("3A", "Paging, 'Protection Keys'"),
    sdm("2", "Instruction Set Reference, 'WRPKRU' and 'RDPKRU'"),
    apm(2, "Page Translation and Protection, 'Protection Key Rights for User Pages'"),
    requires=("pku",),
    proves=("pku",),
    priority=2,
)

LONG64 = Mode.LONG64
KEY1 = 1 << 59  # in the entry
AD, WD = 0x4, 0x8  # of key 1 in PKRU
PKE = cr4(on=Cr4.pke.mask)
OK = None

# fmt: off
WRPKRU, RDPKRU = Insn("0f 01 ef", "wrpkru"), Insn("0f 01 ee", "rdpkru")
READ           = Insn("48 8b 33", "mov rsi, qword ptr [rbx]")
WRITE          = Insn("48 89 3b", "mov qword ptr [rbx], rdi")
FETCH          = Insn("ff d3", "call rbx")
LOAD_RDI, LOAD_RBP, LOAD_R8 = Insn("48 8b 3b", "mov rdi, qword ptr [rbx]"), Insn("48 8b 2b", "mov rbp, qword ptr [rbx]"), Insn("4c 8b 03", "mov r8, qword ptr [rbx]")
SWAP           = Insn("41 92", "xchg r10d, eax")
CR4_R8         = Insn("41 0f 22 e0", "mov cr4, r8")

RIGHTS = (  # error code of the #PF, of a page that the page tables leave open to everybody
    #            user: read  write fetch  supervisor: read  write fetch
    ("none", 0,        OK,   OK,   OK,                OK,   OK,   OK),
    ("wd",   WD,       OK,   0x27, OK,                OK,   0x23, OK),
    ("ad",   AD,       0x25, 0x27, OK,                0x21, 0x23, OK),
)
TOUCHES = (("ur", READ, 3), ("uw", WRITE, 3), ("ux", FETCH, 3), ("kr", READ, 0), ("kw", WRITE, 0), ("kx", FETCH, 0))
# fmt: on


def _regs(pkru: int) -> dict[str, int]:
    return {"rax": pkru, "rcx": 0, "rdx": 0, "rbx": VA, "rdi": NEW}


def _outcome(touch: Insn, code: int | None) -> Expect:
    if code is not None:
        return faults(Vector.PF, code, cr2=VA, memory={CELL: OLD})
    regs = {"rsi": OLD} if touch is READ else {}
    return completes(regs=regs, memory={CELL: NEW if touch is WRITE else OLD})


def _key(name: str, pkru: int, short: str, touch: Insn, ring: int, code: int | None) -> Row:
    verb = {READ: "read", WRITE: "write", FETCH: "fetch"}[touch]
    outcome = "succeeds" if code is None else f"raises #PF({code:#04x})"
    return row(
        f"pg.pku.{name}.{short}",
        f"{'User' if ring else 'Supervisor'} {verb} of a user page, its key with AD={pkru >> 2 & 1} WD={pkru >> 3},"
        f" {outcome}",
        LONG64,
        (WRPKRU, touch),
        _outcome(touch, code),
        ring=ring,
        regs=_regs(pkru),
        fill={CELL: OLD},
        # Supervisor code may not be fetched from a user page with SMEP, nor data be read with SMAP: both are off.
        sets=(maps(page(user=True, also=KEY1)), PKE),
        discriminates=code is not None,
        refs=("claim.pku",) if code is not None else (),
    )


OPEN = (maps(page(user=True, also=KEY1)), PKE)
IN_CELL = {"fill": {CELL: OLD}}
PKE_OFF = int(INITIAL[LONG64].cr4)

# fmt: off
CASES = (
    *(
        _key(name, pkru, short, touch, ring, code)
        for name, pkru, *codes in RIGHTS for (short, touch, ring), code in zip(TOUCHES, codes, strict=True)
    ),
    row("pg.pk.wd_wp0",   "WD does not refuse the supervisor's write while WP = 0", LONG64, (WRPKRU, WRITE), _outcome(WRITE, OK),
        regs=_regs(WD), sets=(*OPEN, cr0(off=Cr0.wp.mask)), **IN_CELL),
    row("pg.pk.sup_page", "PKRU does not refuse accesses to supervisor pages",      LONG64, (WRPKRU, READ),  _outcome(READ, OK),
        regs=_regs(AD), sets=(maps(page(also=KEY1)), PKE), **IN_CELL),
    row("pg.pk.pke0",     "While CR4.PKE = 0 keys refuse nothing",                  LONG64, (WRPKRU, CR4_R8, READ), _outcome(READ, OK),
        regs=_regs(AD) | {"r8": PKE_OFF}, sets=OPEN, **IN_CELL),
    row("pg.pk.np",       "An entry that is not present has no key: PK is clear",   LONG64, (WRPKRU, READ),  _outcome(READ, 0x04),
        regs=_regs(AD), sets=(maps(page(user=True, present=False, also=KEY1)), PKE), ring=3, **IN_CELL),
    row("pg.pk.wrpkru_nofl", "WRPKRU has its effect at once: AD 0, 1, 0, 1", LONG64,
        (*SKIP, WRPKRU, READ, SWAP, WRPKRU, LOAD_RDI, SWAP, WRPKRU, LOAD_RBP, SWAP, WRPKRU, LOAD_R8),
        completes(regs={"rax": AD, "r10": 0, "rsi": OLD, "rbp": OLD, "r9": 0x2121}), regs=_regs(0) | {"r9": 0, "r10": AD},
        sets=(*OPEN, *caught_by(2)), priority=1, **IN_CELL),
    row("pg.pk.wrpkru_ecx",     "WRPKRU with ECX not 0 raises #GP(0)", LONG64, WRPKRU, faults(Vector.GP, 0), regs=_regs(AD) | {"rcx": 1}, sets=(PKE,)),
    row("pg.pk.wrpkru_ecx.edx", "WRPKRU with EDX not 0 raises #GP(0)", LONG64, WRPKRU, faults(Vector.GP, 0), regs=_regs(AD) | {"rdx": 1}, sets=(PKE,)),
    row("pg.pk.switch",   "PKRU outlives an exit to the host", LONG64,
        (WRPKRU, Insn("e6 80", "out 0x80, al"), Insn("31 c0", "xor eax, eax"), RDPKRU),
        completes(regs={"rax": 0x5555_5554, "rdx": 0}), regs=_regs(0x5555_5554), sets=(PKE,), priority=1),
)
# fmt: on
