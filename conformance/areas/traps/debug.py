"""Breakpoints, general detect, and the debug registers.

An instruction breakpoint is a fault: it hits before the instruction, unless RF is set, and RF lasts for
one instruction.  A data breakpoint is a trap: it hits after the access; so does an I/O breakpoint (with CR4.DE).  MOV SS
holds a data breakpoint of its own operand back for one instruction, and loses the next one's instruction breakpoint.  General detect (DR7.GD) is a fault upon any
MOV to or from a debug register.  DR6 names the conditions; DR7.GD is cleared on entry.

DR6.BS and BD stay set until software clears them; of B0 to B3 the Intel manual says only that a #DB may clear them.  The
saved RF of an instruction breakpoint is 0, unlike other faults'.

Where the data breakpoint of MOV SS and INT3 meet, Intel's processors enter the handler of #BP and take the #DB there (the
cause of CVE-2018-8897); others differ, so it is judged only that the guest gets one of the two.

A monitor that debugs its guest (KVM_SET_GUEST_DEBUG) borrows the debug registers; the guest sees its own.
"""

from collections.abc import Iterable
from typing import Any

from virtproof.conformance.case import (
    RF,
    At,
    Case,
    Expect,
    HostScript,
    Insn,
    Script,
    Set,
    Value,
    completes,
    cr4,
    dr,
    family,
    faults,
    mem64,
    pio_out,
    traps,
)
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.guest import HOST_PORT, GuestStopped, boot, how_it_ended
from virtproof.conformance.of_kvm import kvm_vcpu
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite, apm, linux, sdm
from virtproof.spec.kvm import Ioctl
from virtproof.spec.kvm.exits import GuestDebugFlag
from virtproof.spec.kvm.structures import GuestDebug
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.debug import DR6_RESET, DR7_RESET, BreakLength, BreakOn, Dr6
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Debug
from virtproof.vmm.machine import Machine

CITE = (
    sdm("3B", "Debug, Branch Profile, TSC, ..., 'Debug Exceptions'"),
    sdm("3B", "Debug, Branch Profile, TSC, ..., 'Debug Registers'"),
    apm(2, "Software-Debug Resources, 'Breakpoints'"),
)
row = family("traps", *CITE)

NOP = Insn("90", "nop")
MOV_SS = Insn("8e d0", "mov ss, eax")
MOV_SS_DATA = Insn("8e 13", "mov ss, word ptr [rbx]")
INT1, INT3 = Insn("f1", "int1"), Insn("cc", "int3")
OUT = Insn("e6 80", "out 0x80, al")
CALL = Insn("ee", "out dx, al")
LOOP = Insn("e2 fe", "loop 0")
STORE8 = Insn("88 03", "mov byte ptr [rbx], al")
STORE8_NEXT = Insn("88 43 01", "mov byte ptr [rbx + 1], al")
STORE8_4 = Insn("88 43 04", "mov byte ptr [rbx + 4], al")
STORE8_2, STORE8_7, STORE8_8 = (
    Insn("88 43 02", "mov byte ptr [rbx + 2], al"),
    Insn("88 43 07", "mov byte ptr [rbx + 7], al"),
    Insn("88 43 08", "mov byte ptr [rbx + 8], al"),
)
LOAD8 = Insn("8a 03", "mov al, byte ptr [rbx]")
FROM_DR0 = Insn("0f 21 c0", "mov rax, dr0")
TO_DR6, FROM_DR6 = Insn("0f 23 f0", "mov dr6, rax"), Insn("0f 21 f0", "mov rax, dr6")
TO_DR7, FROM_DR7 = Insn("0f 23 f8", "mov dr7, rax"), Insn("0f 21 f8", "mov rax, dr7")
TO_DR0 = Insn("0f 23 c0", "mov dr0, rax")
CLEAR_RAX = Insn("31 c0", "xor eax, eax")

TF = 2 | Rflags.tf.mask
B0, BS, BD = Dr6.b0.mask, Dr6.bs.mask, Dr6.bd.mask
B1, B2, B3 = Dr6.b1.mask, Dr6.b2.mask, Dr6.b3.mask
B1_TO_B3 = B1 | B2 | B3
BREAKPOINTS = B0 | B1_TO_B3

HIT = traps(Vector.DB, dr6_set=B0, dr6_clear=B1_TO_B3 | BS | BD)
RTM_AND_BLD = 0x1_0800  # writable where the guest has these features, and 1 otherwise

CODE, DATA = At("kernel_code"), At("kernel_data")


def breakpoint_at(address: Value, on: BreakOn, length: BreakLength = BreakLength.ONE) -> tuple[Set, Set]:
    return dr(0, address), dr(7, int(DR7_RESET.but(l0=1, rw0=on, len0=length)))


def instruction_hit(at: int, **more: Any) -> Expect:
    return faults(Vector.DB, at=at, flags_set=0, flags_clear=RF, dr6_set=B0, dr6_clear=B1_TO_B3 | BS | BD, **more)


X, W, RW, IO = BreakOn.EXECUTE, BreakOn.WRITE, BreakOn.ACCESS, BreakOn.IO
GENERAL_DETECT = (dr(7, int(DR7_RESET.but(gd=1))),)
KNOWN = (mem64(DATA, 0x1122_3344_5566_7788),)
ON_DATA = {"rbx": DATA, "rax": 0x99}
STORED = 0x1122_3344_5566_7799
STALE = (dr(6, int(DR6_RESET | BS)),)
TWICE = (dr(0, DATA), dr(1, DATA), dr(7, int(DR7_RESET.but(l0=1, rw0=W, l1=1, rw1=W))))
ON_SS = (mem64(DATA, 0x10), *breakpoint_at(DATA, RW, BreakLength.TWO))
LONG64 = Mode.LONG64


def _goes_on(engine: Engine) -> Iterable[Check]:
    """The guest gets #BP or #DB, whichever comes first on this processor."""
    guest = row("trap.db.movss_w_int3", "", LONG64, (MOV_SS_DATA, INT3), completes(), regs={"rbx": DATA}, sets=ON_SS)
    _, answer, _ = boot(guest, engine)
    if answer.observation is None:
        raise GuestStopped(how_it_ended(answer))
    vector = answer.observation.vector
    yield Check("exception", "#DB or #BP", mnemonic(vector), vector in (Vector.DB, Vector.BP))


def _debugged(engine: Engine) -> Iterable[Check]:
    """The monitor's breakpoint ends the run; before it the guest has read its own DR0 and DR7."""
    code = (CALL, FROM_DR0, Insn("0f 21 f9", "mov rcx, dr7"), NOP)
    guest = row("trap.db.guestdbg", "", LONG64, code, completes(), regs={"rax": 0, "rdx": HOST_PORT})
    at = sum(len(insn.code) for insn in code[:-1])

    def debug(machine: Machine) -> None:
        wanted = GuestDebug(control=GuestDebugFlag.ENABLE | GuestDebugFlag.USE_HW_BP)
        wanted.arch.debugreg[0] = images.load(LONG64)["kernel_code"] + at
        wanted.arch.debugreg[7] = int(DR7_RESET.but(g0=1))
        kvm_vcpu(machine).set(Ioctl.SET_GUEST_DEBUG, bytes(wanted))

    image, answer, _ = boot(guest, engine, calls={0: debug})
    if not isinstance(answer.end, Debug) or answer.registers is None:
        raise GuestStopped(how_it_ended(answer))
    for name, want, saw in (
        ("address of the exit", image["kernel_code"] + at, answer.end.pc),
        ("DR6 of the exit", B0, answer.end.dr6 & BREAKPOINTS),
        ("DR0 as the guest reads it", 0, answer.registers.rax),
        ("DR7 as the guest reads it", int(DR7_RESET), answer.registers.rcx),
    ):
        yield Check(name, f"{want:#x}", f"{saw:#x}", want == saw)


def script(id: str, title: str, run: Script, *cite: Cite) -> Case:  # noqa: A002
    return HostScript(id=id, title=title, area="traps", mode=LONG64, cite=(*CITE, *cite), script=run, priority=2)


# fmt: off
CASES: tuple[Case, ...] = (
    script("trap.db.movss_w_int3.long64", "MOV SS with a data breakpoint, then INT3: the guest goes on", _goes_on),
    script("trap.db.guestdbg_noleak.long64", "The guest sees its own debug registers, not the monitor's", _debugged, linux("virt/kvm/api.rst", "KVM_SET_GUEST_DEBUG")),

    row("trap.db.x_bp.long64",     "An instruction breakpoint hits before it",          LONG64, (NOP, NOP), instruction_hit(1), sets=breakpoint_at(CODE + 1, X)),
    row("trap.db.x_bp_off.long64", "DR0 without DR7.L0 breaks nothing",                 LONG64, (NOP, NOP), completes(), sets=(dr(0, CODE + 1), dr(7, int(DR7_RESET)))),
    row("trap.db.x_bp_rf.long64",  "RF skips the breakpoint once, and only once",       LONG64, LOOP,       instruction_hit(0, regs={"rcx": 1}), flags=2 | RF, regs={"rcx": 2}, sets=breakpoint_at(CODE, X)),
    row("trap.db.w1.long64",       "A write breakpoint hits after the store",           LONG64, STORE8,     traps(Vector.DB, dr6_set=B0, dr6_clear=B1_TO_B3 | BS, memory={DATA: STORED}), regs=ON_DATA, sets=(*KNOWN, *breakpoint_at(DATA, W))),
    row("trap.db.w_next.long64",   "A write breakpoint of one byte spares the next",    LONG64, STORE8_NEXT, completes(memory={DATA: 0x1122_3344_5566_9988}), regs=ON_DATA, sets=(*KNOWN, *breakpoint_at(DATA, W))),
    row("trap.db.w4.long64",       "A write breakpoint of four bytes ends there",       LONG64, (STORE8_4, STORE8_NEXT), HIT, regs=ON_DATA, sets=breakpoint_at(DATA, W, BreakLength.FOUR), priority=2),
    row("trap.db.w_noread.long64", "A write breakpoint spares loads",                   LONG64, LOAD8,      completes(regs={"rax": 0x88}), regs=ON_DATA, sets=(*KNOWN, *breakpoint_at(DATA, W)), priority=2),
    row("trap.db.rw_read.long64",  "An access breakpoint hits after a load",            LONG64, LOAD8,      traps(Vector.DB, dr6_set=B0, dr6_clear=B1_TO_B3 | BS, regs={"rax": 0x88}), regs=ON_DATA, sets=(*KNOWN, *breakpoint_at(DATA, RW))),
    row("trap.db.bs_plus_b0.long64", "Step and breakpoint make one #DB",                LONG64, STORE8,     traps(Vector.DB, dr6_set=B0 | BS, dr6_clear=B1_TO_B3 | BD), flags=TF, regs=ON_DATA, sets=breakpoint_at(DATA, W)),

    row("trap.db.w2.long64",       "A write breakpoint of two bytes ends there",        LONG64, (STORE8_2, STORE8_NEXT), HIT, regs=ON_DATA, sets=breakpoint_at(DATA, W, BreakLength.TWO), priority=2),
    row("trap.db.w8.long64",       "A write breakpoint of eight bytes ends there",      LONG64, (STORE8_8, STORE8_7), HIT, regs=ON_DATA, sets=breakpoint_at(DATA, W, BreakLength.EIGHT), priority=2),
    row("trap.db.two.long64",      "Two breakpoints on one store make one #DB",         LONG64, STORE8,     traps(Vector.DB, dr6_set=B0 | B1, dr6_clear=B2 | B3 | BS | BD), regs=ON_DATA, sets=TWICE, priority=2),
    row("trap.db.io_bp.long64",    "An I/O breakpoint hits after OUT, which goes out once", LONG64, OUT,    traps(Vector.DB, dr6_set=B0, dr6_clear=B1_TO_B3 | BS | BD, accesses=(pio_out(0x80, 1, 0x5A),)), regs={"rax": 0x5A}, sets=(cr4(on=Cr4.de.mask), *breakpoint_at(0x80, IO)), priority=2),
    row("trap.db.dr6_sticky.long64", "A breakpoint leaves BS set that was",             LONG64, STORE8,     traps(Vector.DB, dr6_set=B0 | BS), regs=ON_DATA, sets=(*STALE, *breakpoint_at(DATA, W)), priority=2),
    row("trap.db.x_bp_movss.long64", "An instruction breakpoint behind MOV SS is lost", LONG64, (MOV_SS, NOP), completes(), regs={"rax": 0x10}, sets=breakpoint_at(CODE + 2, X), priority=2),
    row("trap.db.movss_w.long64",  "MOV SS holds its operand's breakpoint back",        LONG64, (MOV_SS_DATA, NOP, NOP), traps(Vector.DB, at=1, dr6_set=B0, dr6_clear=B1_TO_B3 | BS | BD), regs={"rbx": DATA}, sets=ON_SS, priority=2),
    row("trap.db.movss_w_icebp.long64", "... until INT1, a #DB of its own",              LONG64, (MOV_SS_DATA, INT1), traps(Vector.DB, at=1), regs={"rbx": DATA}, sets=ON_SS, priority=2),

    row("trap.db.gd.long64",       "GD: MOV from a debug register raises #DB before it", LONG64, FROM_DR0,  faults(Vector.DB, flags_set=0, dr6_set=BD, dr6_clear=BREAKPOINTS | BS), sets=GENERAL_DETECT),
    row("trap.db.gd_write.long64", "GD: MOV to DR7 raises #DB before it",               LONG64, TO_DR7,     faults(Vector.DB, flags_set=0, dr6_set=BD, dr6_clear=BREAKPOINTS | BS), sets=GENERAL_DETECT, regs={"rax": 0x400}, priority=2),
    row("trap.db.dr6_reset.long64", "DR6 has bits that stay 1",                         LONG64, (TO_DR6, FROM_DR6), completes(regs={"rax": int(DR6_RESET)}), regs={"rax": RTM_AND_BLD}),
    row("trap.db.dr7_reset.long64", "DR7 has a bit that stays 1",                       LONG64, (CLEAR_RAX, TO_DR7, FROM_DR7), completes(regs={"rax": int(DR7_RESET)})),
    row("trap.db.dr6_hi_gp.long64", "DR6 refuses bits 63:32 with #GP(0)",               LONG64, TO_DR6,     faults(Vector.GP, 0), regs={"rax": 1 << 32}, priority=2),
    row("trap.db.dr7_hi_gp.long64", "DR7 refuses bits 63:32 with #GP(0)",               LONG64, TO_DR7,     faults(Vector.GP, 0), regs={"rax": 1 << 32 | 0x400}, priority=2),
    row("trap.db.dr0_hi_ok.long64", "DR0 keeps 64 bits",                                LONG64, (TO_DR0, CLEAR_RAX, FROM_DR0), completes(regs={"rax": 0xFFFF_8123_4567_89AB}), regs={"rax": 0xFFFF_8123_4567_89AB}, priority=2),
)
# fmt: on
