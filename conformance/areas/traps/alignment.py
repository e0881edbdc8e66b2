"""Alignment check: with CR0.AM and RFLAGS.AC set, a data access at CPL 3 to an address that is no multiple of its size
raises #AC(0).

A locked access over the edge of a cache line is no matter of this check: it is atomic, and no exception.  (A host that
detects split locks in its guests slows it down; that does not change what the guest sees.)

It is a fault; memory keeps its value.  CPL 0 is never checked, and one of the two bits is not enough.
"""

from virtproof.conformance.case import At, Insn, completes, cr0, family, faults, mem64
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr0
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags

row = family(
    "traps",
    sdm("3A", "Interrupt and Exception Handling, 'Interrupt 17-Alignment Check Exception (#AC)'"),
    apm(2, "Exceptions and Interrupts, '#AC-Alignment-Check Exception (Vector 17)'"),
)

BYTE = Insn("8a 43 01", "mov al, byte ptr [rbx + 1]")
DWORD = Insn("8b 43 01", "mov eax, dword ptr [rbx + 1]")
SPLIT = Insn("f0 0f c1 03", "lock xadd dword ptr [rbx], eax")
STORE = Insn("89 43 02", "mov dword ptr [rbx + 2], eax")

AM = (cr0(on=Cr0.am.mask),)
AC = 2 | Rflags.ac.mask
USER, KERNEL = At("user_data"), At("kernel_data")
KNOWN = 0x8877_6655_4433_2211
SET_USER = mem64(USER, KNOWN)

# Two bytes on either side of the edge between two cache lines: 33441122H.
EDGE = {"rbx": KERNEL + 0x3E, "rax": 0x0101_0101}
ON_EDGE = (mem64(KERNEL + 0x38, 0x1122 << 48), mem64(KERNEL + 0x40, 0x3344))
ADDED = {KERNEL + 0x38: 0x1223 << 48, KERNEL + 0x40: 0x3445}

REFUSED = faults(Vector.AC, 0, memory={USER: KNOWN})
LOADED = completes(regs={"rax": 0x5544_3322})

LONG64 = Mode.LONG64

# fmt: off
CASES = (
    row("trap.ac.dword.ring3",  "A misaligned load with AM and AC raises #AC(0)",   LONG64, DWORD, REFUSED, ring=3, flags=AC, regs={"rbx": USER},   sets=(SET_USER, *AM)),
    row("trap.ac.store.ring3",  "A misaligned store with AM and AC raises #AC(0)",  LONG64, STORE, REFUSED, ring=3, flags=AC, regs={"rbx": USER},   sets=(SET_USER, *AM), priority=3),
    row("trap.ac.byte.ring3",   "A byte is never misaligned",                       LONG64, BYTE,  completes(regs={"rax": 0x22}), ring=3, flags=AC, regs={"rbx": USER, "rax": 0}, sets=(SET_USER, *AM), priority=3),
    row("trap.ac.am0.ring3",    "AM = 0: no check",                                 LONG64, DWORD, LOADED,  ring=3, flags=AC, regs={"rbx": USER},   sets=(SET_USER,), priority=2),
    row("trap.ac.am_again.ring3", "AM cleared after it was set: no check",          LONG64, DWORD, LOADED,  ring=3, flags=AC, regs={"rbx": USER},   sets=(SET_USER, *AM, cr0())),
    row("trap.ac.flag0.ring3",  "AC = 0: no check",                                 LONG64, DWORD, LOADED,  ring=3,           regs={"rbx": USER},   sets=(SET_USER, *AM), priority=2),
    row("trap.ac.cpl0.long64",  "CPL 0: no check",                                  LONG64, DWORD, LOADED,          flags=AC, regs={"rbx": KERNEL}, sets=(mem64(KERNEL, KNOWN), *AM), priority=2),
    row("trap.ac.splitlock.long64", "A locked access over a cache line's edge works", LONG64, SPLIT, completes(regs={"rax": 0x3344_1122}, memory=ADDED), regs=EDGE, sets=ON_EDGE, priority=2),
)
# fmt: on
