"""Access rights of a 4 KiB page in 4-level paging, all entries above it being open.

A user access (CPL 3) needs U/S = 1; a user write also R/W = 1, a user fetch NX = 0.  The supervisor reads every page,
writes those with R/W = 1 (with CR0.WP = 0: every page) and fetches where NX = 0; but CR4.SMEP forbids it to fetch, and
CR4.SMAP, while RFLAGS.AC = 0, to read and write, where U/S = 1.

A refused access raises #PF: P is 1 in the error code, W tells a write, U a user access, I a fetch.  CR2 holds the
address of the access; a refused fetch is reported at its target, after the CALL has completed.
"""

from virtproof.conformance.case import Insn, Row, cr0, cr4, family
from virtproof.conformance.window import FETCH, READ, TOUCH, WRITE, granted, maps, page, refused
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.flags import Rflags

row = family(
    "paging",
    sdm("3A", "Paging, 'Determination of Access Rights' and 'Page-Fault Exceptions'"),
    apm(2, "Page Translation and Protection, 'Page-Protection Checks'"),
    **TOUCH,
)

LONG64 = Mode.LONG64
OK = None

# fmt: off
USER = (  # error code of the #PF
    # U W NX   read   write  fetch
    ( 0, 0, 0, 0x05,  0x07,  0x15),
    ( 0, 0, 1, 0x05,  0x07,  0x15),
    ( 0, 1, 0, 0x05,  0x07,  0x15),
    ( 0, 1, 1, 0x05,  0x07,  0x15),
    ( 1, 0, 0, OK,    0x07,  OK),
    ( 1, 0, 1, OK,    0x07,  0x15),
    ( 1, 1, 0, OK,    OK,    OK),
    ( 1, 1, 1, OK,    OK,    0x15),
)

SUPERVISOR = (
    #                              U  W NX  WP SMEP SMAP AC  error code
    ("r.u0",                READ,  0, 0, 0,  1,  0,   0,  0,  OK),
    ("r.u1.smap0",          READ,  1, 1, 0,  1,  0,   0,  0,  OK),
    ("r.u1.smap1_ac0",      READ,  1, 1, 0,  1,  0,   1,  0,  0x01),
    ("r.u1.smap1_ac1",      READ,  1, 1, 0,  1,  0,   1,  1,  OK),
    ("w.u0w0.wp0",          WRITE, 0, 0, 0,  0,  0,   0,  0,  OK),
    ("w.u0w0.wp1",          WRITE, 0, 0, 0,  1,  0,   0,  0,  0x03),
    ("w.u0w1.wp0",          WRITE, 0, 1, 0,  0,  0,   0,  0,  OK),
    ("w.u0w1.wp1",          WRITE, 0, 1, 0,  1,  0,   0,  0,  OK),
    ("w.u1w0.wp0.smap0",    WRITE, 1, 0, 0,  0,  0,   0,  0,  OK),
    ("w.u1w0.wp1.smap0",    WRITE, 1, 0, 0,  1,  0,   0,  0,  0x03),
    ("w.u1w1.wp0.smap0",    WRITE, 1, 1, 0,  0,  0,   0,  0,  OK),
    ("w.u1w1.wp1.smap0",    WRITE, 1, 1, 0,  1,  0,   0,  0,  OK),
    ("w.u1w0.wp0.smap1_ac0", WRITE, 1, 0, 0,  0,  0,   1,  0,  0x03),
    ("w.u1w0.wp1.smap1_ac0", WRITE, 1, 0, 0,  1,  0,   1,  0,  0x03),
    ("w.u1w1.wp0.smap1_ac0", WRITE, 1, 1, 0,  0,  0,   1,  0,  0x03),
    ("w.u1w1.wp1.smap1_ac0", WRITE, 1, 1, 0,  1,  0,   1,  0,  0x03),
    ("w.u1w0.wp0.smap1_ac1", WRITE, 1, 0, 0,  0,  0,   1,  1,  OK),
    ("w.u1w0.wp1.smap1_ac1", WRITE, 1, 0, 0,  1,  0,   1,  1,  0x03),
    ("w.u1w1.wp0.smap1_ac1", WRITE, 1, 1, 0,  0,  0,   1,  1,  OK),
    ("w.u1w1.wp1.smap1_ac1", WRITE, 1, 1, 0,  1,  0,   1,  1,  OK),
    ("x.u0nx0",             FETCH, 0, 1, 0,  1,  0,   0,  0,  OK),
    ("x.u0nx1",             FETCH, 0, 1, 1,  1,  0,   0,  0,  0x11),
    ("x.u1nx0.smep0",       FETCH, 1, 1, 0,  1,  0,   0,  0,  OK),
    ("x.u1nx0.smep1",       FETCH, 1, 1, 0,  1,  1,   0,  0,  0x11),
    ("x.u1nx1.smep0",       FETCH, 1, 1, 1,  1,  0,   0,  0,  0x11),
    ("x.u1nx1.smep1",       FETCH, 1, 1, 1,  1,  1,   0,  0,  0x11),
)
# fmt: on

VERBS = {"r": READ, "w": WRITE, "x": FETCH}
NAMES = {READ: "read", WRITE: "write", FETCH: "fetch"}


def _outcome(code: int | None) -> str:
    return "succeeds" if code is None else f"raises #PF({code:#04x})"


def _user(u: int, w: int, nx: int, verb: str, code: int | None) -> Row:
    touch = VERBS[verb]
    by_nx = bool(touch is FETCH and u and nx)  # nothing else refuses
    return row(
        f"pg.l4.user.{verb}.u{u}w{w}nx{nx}",
        f"User {NAMES[touch]} of a page with U={u} W={w} NX={nx} {_outcome(code)}",
        LONG64,
        touch,
        granted(touch) if code is None else refused(touch, code, ring=3),
        ring=3,
        sets=(maps(page(user=bool(u), write=bool(w), nx=bool(nx))),),
        priority=1 + nx,
        requires=("nx",) * nx,
        proves=("nx",) * by_nx,
        discriminates=by_nx,
    )


def _supervisor(
    name: str, touch: Insn, u: int, w: int, nx: int, wp: int, smep: int, smap: int, ac: int, code: int | None
) -> Row:
    by = ("nx",) * (nx and not smep) + ("smep",) * (smep and not nx) + ("smap",) * (smap and not ac and w)
    return row(
        f"pg.l4.sup.{name}",
        f"Supervisor {NAMES[touch]} of a page with U={u} W={w} NX={nx} under WP={wp} SMEP={smep} SMAP={smap} AC={ac}"
        f" {_outcome(code)}",
        LONG64,
        touch,
        granted(touch) if code is None else refused(touch, code),
        flags=0x2 | ac * Rflags.ac.mask,
        sets=(
            maps(page(user=bool(u), write=bool(w), nx=bool(nx))),
            *(cr0(off=Cr0.wp.mask),) * (1 - wp),
            *(cr4(on=smep * Cr4.smep.mask | smap * Cr4.smap.mask),) * (smep | smap),
        ),
        priority=2 if touch is WRITE and u else 1,
        requires=("nx",) * nx + ("smep",) * smep + ("smap",) * smap,
        proves=by,
        discriminates=bool(by),
    )


CASES = (
    *(_user(u, w, nx, verb, code) for u, w, nx, *codes in USER for verb, code in zip(VERBS, codes, strict=True)),
    *(_supervisor(*line) for line in SUPERVISOR),
)
