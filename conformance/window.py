"""The window: a range of linear addresses that belongs to stimuli alone, and the entries of its page tables.

Its tables are symbols of the trampolines that page: ``window_pt``, ``window_pd`` and, in long mode, ``window_pdpt``
and the PML4 entry that leads there.  They are open (present, writable, user) down to ``window_pt``, whose entries are
all empty.  Every maker of an entry gives a ``Value``, so that a frame may be a place in the image.
"""

from __future__ import annotations

from typing import Any

from virtproof.conformance.case import At, Expect, Insn, Set, Value, completes, faults, mem64
from virtproof.conformance.handlers import handled
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.paging import Entry64, Page1G, Page2M, Page4K, Table64

WINDOW = 1 << 39  # in 64-bit mode
BASE = {Mode.LONG64: WINDOW, Mode.PAE32: 1 << 30, Mode.PSE32: 1 << 30}

FRAME = At("frame")  # four pages of memory to be mapped in the window

# One touch of the window's first page in 64-bit mode, at a byte that neither the page nor a cache line begins with.
VA, CELL = WINDOW + 0x128, FRAME + 0x128
OLD, NEW = 0x0DD0_55AA_3C3C_B6C3, 0x1122_3344_5566_7788  # OLD begins with RET, so that it can be called
READ = Insn("48 8b 03", "mov rax, qword ptr [rbx]")
WRITE = Insn("48 89 03", "mov qword ptr [rbx], rax")
FETCH = Insn("ff d3", "call rbx")
TOUCH: dict[str, Any] = {"regs": {"rax": NEW, "rbx": VA}, "fill": {CELL: OLD}}


def granted(touch: Insn) -> Expect:
    """READ brings OLD to RAX, WRITE puts NEW into memory, the RET that FETCH finds comes back."""
    if touch is READ:
        return completes(regs={"rax": OLD}, memory={CELL: OLD})
    return completes(memory={CELL: NEW if touch is WRITE else OLD})


def refused(touch: Insn, code: int, *, ring: int = 0, va: Value = VA) -> Expect:
    """#PF with this error code and the exact address in CR2; nothing has moved but the stack of FETCH."""
    kept = {CELL: OLD}
    if touch is not FETCH:
        return faults(Vector.PF, code, cr2=va, memory=kept)
    pushed = At("user_stack_top" if ring == 3 else "kernel_stack_top", -8)
    return faults(Vector.PF, code, cr2=va, rip=va, regs={"rsp": pushed}, memory=kept)


PF_GATE = At("idt", 16 * Vector.PF)


# fmt: off
SKIP = (  # a #PF handler at offset 2, which notes the error code in R9 and goes on behind an instruction of 3 bytes
    Insn("eb 13",          "jmp 0x15"),
    Insn("49 c1 e1 08",    "shl r9, 8"),
    Insn("4c 0b 0c 24",    "or r9, qword ptr [rsp]"),
    Insn("48 83 c4 08",    "add rsp, 8"),
    Insn("48 83 04 24 03", "add qword ptr [rsp], 3"),
    Insn("48 cf",          "iretq"),
)
# fmt: on


def caught_by(offset: int) -> tuple[Set, ...]:
    """Send page faults to this offset of the row's own code, for stimuli that go on behind a fault (ring 0)."""
    return handled(Vector.PF, offset)


def pte(n: int = 0) -> At:
    """Where the entry lies that maps the window's page ``n``."""
    return At("window_pt", 8 * n)


def pde(n: int = 0) -> At:
    """Where the entry lies that maps 2 MiB of the window."""
    return At("window_pd", 8 * n)


def pdpte(n: int = 0) -> At:
    """Where the entry lies that maps 1 GiB of the window; 64-bit mode only."""
    return At("window_pdpt", 8 * n)


def pml4e(n: int = WINDOW >> 39) -> At:
    """Where a PML4 entry lies; that of the window, unless told."""
    return At("pml4", 8 * n)


def page(
    frame: Value = FRAME,
    kind: type[Entry64] = Page4K,
    /,
    *,
    present: bool = True,
    write: bool = True,
    user: bool = False,
    nx: bool = False,
    accessed: bool = False,
    dirty: bool = False,
    global_: bool = False,
    also: int = 0,
) -> Value:
    """An entry that maps a page; ``also`` holds further bits, reserved ones say."""
    flags = kind(0).but(p=present, rw=write, us=user, xd=nx, a=accessed, d=dirty, g=global_)
    if kind is not Page4K:
        flags = flags.but(ps=1)
    return frame + (flags | also)


def page_2m(frame: int, **rights: Any) -> Value:
    return page(frame, Page2M, **rights)


def page_1g(frame: int, **rights: Any) -> Value:
    return page(frame, Page1G, **rights)


def table(
    at: Value,
    *,
    present: bool = True,
    write: bool = True,
    user: bool = True,
    nx: bool = False,
    accessed: bool = False,
    also: int = 0,
) -> Value:
    """An entry that leads to the next table."""
    return at + (Table64(0).but(p=present, rw=write, us=user, xd=nx, a=accessed) | also)


def maps(entry: Value = page(), n: int = 0) -> Set:  # noqa: B008 -- immutable
    """Map the window's page ``n``."""
    return mem64(pte(n), entry)
