"""The instruction: two bytes, four registers, nothing else.

EAX selects the leaf and ECX the subleaf; a leaf without subleaves ignores ECX.  In 64-bit mode the upper halves of the
four registers are cleared.  RFLAGS and the other registers are kept.  Every privilege level gets the same answer, unless
CPUID faulting is on: then CPUID raises #GP(0) above level 0.  Prefixes of operand size and repetition change nothing, a
LOCK prefix makes it #UD.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript, Insn, completes, family, faults, msr
from virtproof.conformance.guest import Inapplicable, boot, check, observe
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine

LONG64 = Mode.LONG64
CITE = (
    sdm("2A", "Instruction Set Reference, 'CPUID-CPU Identification'"),
    apm(3, "General-Purpose Instruction Reference, 'CPUID'"),
)
FAULTING = (sdm("3A", "Processor Management and Initialization, 'CPUID faulting'"),)
row = family("cpuid", *CITE)

CPUID = Insn("0f a2", "cpuid")
LOCK_CPUID = Insn("f0 0f a2", "(bad)")
UPPER = tuple(
    Insn(f"48 c1 {modrm} 20", f"shr {name}, 0x20")
    for name, modrm in (("rax", "e8"), ("rbx", "eb"), ("rcx", "e9"), ("rdx", "ea"))
)
CLEAR = tuple(
    Insn(f"{opcode} 00 00 00 00", f"mov {name}, 0")
    for name, opcode in (("eax", "b8"), ("ebx", "bb"), ("ecx", "b9"), ("edx", "ba"))
)
HIGH = 0x5A5A_5A5A << 32
ZERO = dict.fromkeys(("rax", "rbx", "rcx", "rdx"), 0)
STATUS = 0x8D7  # OF SF ZF AF PF CF and the bit that is always 1
DF = 1 << 10
LEAF1 = {"rax": 1, "rcx": 0}

PLATFORM_INFO, MISC_FEATURES_ENABLES = 0xCE, 0x140
CPUID_FAULTING = 1 << 31  # of PLATFORM_INFO: it can be switched on
RDMSR = Insn("0f 32", "rdmsr")


def _same(engine: Engine) -> Iterable[Check]:
    """Leaves 0 and 1 at each privilege level that differs from the kernel's."""
    for leaf in (0, 1):
        answers = []
        for ring in (0, 3):
            seen, _ = observe(
                row(f"ring {ring}", "", LONG64, CPUID, completes(keeps=False), regs={"rax": leaf, "rcx": 0}, ring=ring),
                engine,
            )
            answers.append(" ".join(f"{seen.gpr[n]:08x}" for n in (0, 3, 1, 2)))
        yield Check(f"leaf {leaf} at CPL 3", answers[0], answers[1], answers[0] == answers[1])


def _faulting(engine: Engine) -> Iterable[Check]:
    """Off, on, off, where PLATFORM_INFO says that the guest may."""
    read = row("read", "", LONG64, RDMSR, completes(keeps=False), regs={"rcx": PLATFORM_INFO})
    _, answer, _ = boot(read, engine)
    seen = answer.observation
    if seen is None or seen.vector == Vector.GP or not seen.gpr[0] & CPUID_FAULTING:
        raise Inapplicable("MSR_PLATFORM_INFO does not offer CPUID faulting to this guest")
    on, off = msr(MISC_FEATURES_ENABLES, 1), msr(MISC_FEATURES_ENABLES, 0)
    for sets, ring, expect in (
        ((off,), 3, completes(keeps=False)),
        ((on,), 3, faults(Vector.GP, 0)),
        ((on,), 0, completes(keeps=False)),
        ((on, off), 3, completes(keeps=False)),
    ):
        yield from check(row("faulting", "", LONG64, CPUID, expect, regs=LEAF1, ring=ring, sets=sets), engine)


# fmt: off
CASES: tuple[Case, ...] = (
    row("cpuid.regs_zeroext",  "CPUID clears bits 63:32 of its four registers", LONG64, (CPUID, *UPPER), completes(regs=ZERO), regs={"rax": HIGH, "rbx": HIGH, "rcx": HIGH, "rdx": HIGH}),
    row("cpuid.serialize_rip", "CPUID keeps the flags and all other registers", LONG64, (CPUID, *CLEAR), completes(regs=ZERO, flags_set=STATUS | DF), regs=LEAF1, flags=STATUS | DF),
    row("cpuid.prefix.66",     "66H before CPUID changes nothing",              LONG64, (Insn("66 0f a2", "cpuid"), *CLEAR), completes(regs=ZERO), regs=LEAF1, priority=3, refs=("cpuid.prefix",)),
    row("cpuid.prefix.f3",     "F3H before CPUID changes nothing",              LONG64, (Insn("f3 0f a2", "cpuid"), *CLEAR), completes(regs=ZERO), regs=LEAF1, priority=3, refs=("cpuid.prefix",)),
    row("cpuid.lock",          "LOCK CPUID raises #UD",                         LONG64, LOCK_CPUID, faults(Vector.UD), regs=LEAF1, priority=3),
    HostScript(id="cpuid.cpl3",     title="CPUID at CPL 3 gives what it gives at CPL 0",      area="cpuid", mode=LONG64, cite=CITE,     script=_same,     priority=2, refs=("sens.misc.cpuid_free",)),
    HostScript(id="cpuid.faulting", title="CPUID faulting: #GP(0) at CPL 3, none at CPL 0",   area="cpuid", mode=LONG64, cite=FAULTING, script=_faulting, priority=2),
)
# fmt: on
