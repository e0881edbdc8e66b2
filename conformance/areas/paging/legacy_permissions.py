"""Access rights of a 4 KiB page in 32-bit and in PAE paging, all entries above it being open.

They are those of 64-bit mode (permissions.py), with these differences.  32-bit paging has no NX bit, and the error code
of its page faults says I for a fetch with CR4.SMEP alone; PAE paging has both where EFER.NXE is set.  PAE paging has no
rights in its topmost entries, the four PDPTEs.
"""

from __future__ import annotations

from virtproof.conformance.case import At, Expect, Insn, Row, Set, completes, cr0, cr4, family, faults, mem32
from virtproof.conformance.window import BASE, CELL, FRAME, NEW, OLD, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector

row = family(
    "paging",
    sdm("3A", "Paging, 'Determination of Access Rights' and 'Page-Fault Exceptions'"),
    apm(2, "Page Translation and Protection, 'Page-Protection Checks'"),
    priority=2,
)

PSE32, PAE32 = Mode.PSE32, Mode.PAE32
READ, WRITE = Insn("8b 03", "mov eax, dword ptr [ebx]"), Insn("89 03", "mov dword ptr [ebx], eax")
FETCH = Insn("ff d3", "call ebx")
OK = None

# fmt: off
PAE_USER = (  # error code of the #PF
    # U W  read  write fetch fetch with NX = 1
    ( 0, 0, 0x05, 0x07, 0x15, 0x15),
    ( 0, 1, 0x05, 0x07, 0x15, 0x15),
    ( 1, 0, OK,   0x07, OK,   0x15),
    ( 1, 1, OK,   OK,   OK,   0x15),
)
TWO_LEVEL_USER = (
    # U W  read  write fetch
    ( 0, 0, 0x05, 0x07, 0x05),
    ( 0, 1, 0x05, 0x07, 0x05),
    ( 1, 0, OK,   0x07, OK),
    ( 1, 1, OK,   OK,   OK),
)
SUPERVISOR = (  # in both modes
    #                   U  W WP SMEP SMAP error code
    ("r.u1.smap1", READ,  1, 1, 1,  0,   1,  0x01),
    ("w.u0w0.wp0", WRITE, 0, 0, 0,  0,   0,  OK),
    ("w.u0w0.wp1", WRITE, 0, 0, 1,  0,   0,  0x03),
    ("x.u1.smep1", FETCH, 1, 1, 1,  1,   0,  0x11),
)
ABSENT = (  # in 32-bit paging
    #          ring error code
    ("kr", READ,  0, 0x00),
    ("kw", WRITE, 0, 0x02),
    ("kx", FETCH, 0, 0x00),
    ("ur", READ,  3, 0x04),
    ("uw", WRITE, 3, 0x06),
    ("ux", FETCH, 3, 0x04),
)
# fmt: on

LOW = 0xFFFF_FFFF
WRITTEN = OLD & ~LOW | NEW & LOW
NAMES = {READ: "read", WRITE: "write", FETCH: "fetch"}
VA = BASE[PAE32] + 0x128  # in both modes
TOUCH = {"regs": {"rax": NEW & LOW, "rbx": VA}, "fill": {CELL: OLD}}


def _maps(mode: Mode, *, user: int, write: int, nx: int = 0, present: bool = True) -> Set:
    if mode is PAE32:
        return maps(page(user=bool(user), write=bool(write), nx=bool(nx), present=present))
    return mem32(At("window_pt"), FRAME + (present | write << 1 | user << 2))


def _outcome(touch: Insn, code: int | None, ring: int = 0) -> Expect:
    if code is None:
        regs = {"rax": OLD & LOW} if touch is READ else {}
        return completes(regs=regs, memory={CELL: WRITTEN if touch is WRITE else OLD})
    if touch is not FETCH:
        return faults(Vector.PF, code, cr2=VA, memory={CELL: OLD})
    pushed = At("user_stack_top" if ring == 3 else "kernel_stack_top", -4)
    return faults(Vector.PF, code, cr2=VA, rip=VA, regs={"rsp": pushed}, memory={CELL: OLD})


def _title(what: str, code: int | None) -> str:
    return f"{what} {'succeeds' if code is None else f'raises #PF({code:#04x})'}"


def _user(mode: Mode, touch: Insn, verb: str, u: int, w: int, nx: int, code: int | None) -> Row:
    pae = mode is PAE32
    bits = f"u{u}w{w}nx{nx}" if pae else f"u{u}w{w}"
    return row(
        f"pg.{'pae' if pae else 'p32'}.user.{verb}.{bits}",
        _title(f"{'PAE' if pae else '32-bit'} paging: user {NAMES[touch]} of a page with U={u} W={w} NX={nx}", code),
        mode,
        touch,
        _outcome(touch, code, 3),
        ring=3,
        sets=(_maps(mode, user=u, write=w, nx=nx),),
        requires=("pae", "nx") if pae else ("pse",),
        proves=("nx",) * (nx and u),
        discriminates=bool(nx and u),
        **TOUCH,
    )


def _supervisor(
    mode: Mode, name: str, touch: Insn, u: int, w: int, wp: int, smep: int, smap: int, code: int | None
) -> Row:
    pae = mode is PAE32
    return row(
        f"pg.{'pae' if pae else 'p32'}.sup.{name}",
        _title(
            f"{'PAE' if pae else '32-bit'} paging: supervisor {NAMES[touch]} of a page with U={u} W={w}"
            f" under WP={wp} SMEP={smep} SMAP={smap}",
            code,
        ),
        mode,
        touch,
        _outcome(touch, code),
        sets=(
            _maps(mode, user=u, write=w),
            *(cr0(off=Cr0.wp.mask),) * (1 - wp),
            *(cr4(on=smep * Cr4.smep.mask | smap * Cr4.smap.mask),) * (smep | smap),
        ),
        requires=(("pae", "nx") if pae else ("pse",)) + ("smep",) * smep + ("smap",) * smap,
        **TOUCH,
    )


def _absent(name: str, touch: Insn, ring: int, code: int) -> Row:
    return row(
        f"pg.p32.np.{name}",
        f"32-bit paging: P = 0, {'user' if ring else 'supervisor'} {NAMES[touch]}",
        PSE32,
        touch,
        _outcome(touch, code, ring),
        ring=ring,
        sets=(_maps(PSE32, user=1, write=1, present=False),),
        requires=("pse",),
        **TOUCH,
    )


# fmt: off
CASES = (
    *(
        _user(PAE32, touch, verb, u, w, nx, code)
        for u, w, *codes in PAE_USER
        for touch, verb, nx, code in zip((READ, WRITE, FETCH, FETCH), "rwxx", (0, 0, 0, 1), codes, strict=True)
    ),
    *(
        _user(PSE32, touch, verb, u, w, 0, code)
        for u, w, *codes in TWO_LEVEL_USER
        for touch, verb, code in zip((READ, WRITE, FETCH), "rwx", codes, strict=True)
    ),
    *(_supervisor(mode, *line) for mode in (PAE32, PSE32) for line in SUPERVISOR),
    *(_absent(*line) for line in ABSENT),
)
# fmt: on
