"""What CPUID says of paging, control registers and timers is how the processor behaves.

MAXPHYADDR (80000008H EAX[7:0]): bit MAXPHYADDR of a paging entry is reserved, bit MAXPHYADDR - 1 is an address.  Linear
addresses (EAX[15:8]) have 57 bits where CPUID.7:ECX.LA57 is set, else 48.  A feature that the monitor takes away reads 0,
and its control bit is reserved then: CR4.SMEP, CR4.SMAP, EFER.NXE, IA32_TSC_DEADLINE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtproof.conformance.case import Case, Expect, HostScript, Insn, Script, completes, family, faults, mmio_read
from virtproof.conformance.cpuid_dump import dump
from virtproof.conformance.guest import check
from virtproof.conformance.window import READ, VA, maps, page
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.control import Cr4, Efer
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.cpuid import Override, overridden
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

LONG64 = Mode.LONG64
CITE = (
    sdm("2A", "Instruction Set Reference, 'CPUID-CPU Identification'"),
    apm(3, "Obtaining Processor Information Via the CPUID Instruction"),
)
row = family("cpuid", *CITE)

WIDTHS = (0x8000_0008, 0)
LA57 = 1 << 16  # of leaf 7 ECX
ALL_ONES = (1 << 64) - 1
MOV_CR4 = Insn("0f 22 e0", "mov cr4, rax")
WRMSR = Insn("0f 30", "wrmsr")
CR4, EFER = INITIAL[LONG64].cr4, INITIAL[LONG64].efer
SMEP, SMAP, ERMS = 1 << 7, 1 << 20, 1 << 9  # of leaf 7 EBX


def _without(machine: Machine, *overrides: Override) -> None:
    machine.vcpu.set_cpuid(overridden(machine.vcpu.cpuid(), overrides))


def _physical(engine: Engine) -> Iterable[Check]:
    """A read through an entry with the highest address bit set comes out; one bit higher it is refused."""
    width = dump(engine, [WIDTHS]).answers[WIDTHS].eax & 0xFF
    yield Check("MAXPHYADDR", "36 to 52", str(width), 36 <= width <= 52)
    top = 1 << width - 1
    entries = [(top, completes(regs={"rax": ALL_ONES}, accesses=(mmio_read(top | VA & 0xFFF, 8, ALL_ONES),)))]
    if width < 52:
        entries.append((1 << width, faults(Vector.PF, 0x09, cr2=VA)))
    for frame, expect in entries:
        probe = row("probe", "", LONG64, READ, expect, sets=(maps(page(frame)),), regs={"rbx": VA})
        for one in check(probe, engine):
            yield Check(f"bit {frame.bit_length() - 1}: {one.field}", one.expected, one.observed, one.ok)


def _not_wider(engine: Engine) -> Iterable[Check]:
    offered = next((entry.eax for entry in engine.supported_cpuid() if entry.function == WIDTHS[0]), 0) & 0xFF
    seen = dump(engine, [WIDTHS]).answers[WIDTHS].eax & 0xFF
    yield Check("MAXPHYADDR of the guest", f"at most {offered}", str(seen), seen <= offered)


def _linear(engine: Engine) -> Iterable[Check]:
    """CR4.LA57 cannot be switched in 64-bit mode, so what it would do is not asked; that 48 bits are canonical is."""
    answers = dump(engine, [WIDTHS, (7, 0)]).answers
    want, saw = 57 if answers[7, 0].ecx & LA57 else 48, answers[WIDTHS].eax >> 8 & 0xFF
    yield Check("linear-address bits", str(want), str(saw), want == saw)
    for address, expect in ((1 << 47, faults(Vector.GP, 0)), ((1 << 47) - 8, None)):
        probe = row("probe", "", LONG64, READ, expect or faults(Vector.PF, 0, cr2=address), regs={"rbx": address})
        for one in check(probe, engine):
            yield Check(f"{address:#x}: {one.field}", one.expected, one.observed, one.ok)


def _set(engine: Engine, cr4: int, expect: Expect, *overrides: Override) -> Iterator[Check]:
    probe = row("probe", "", LONG64, MOV_CR4, expect, regs={"rax": CR4 | cr4})
    for one in check(probe, engine, furnish=lambda machine: _without(machine, *overrides)):
        yield Check(f"CR4 with {cr4:#x}: {one.field}", one.expected, one.observed, one.ok)


def _hidden(engine: Engine) -> Iterable[Check]:
    """SMEP, SMAP and ERMS are taken away; with them the control bits go."""
    hide = Override(7, 0, "ebx", 0, SMEP | SMAP | ERMS)
    seen = dump(engine, [(7, 0)], lambda table: overridden(table, [hide])).answers[7, 0].ebx & hide.bits
    yield Check("leaf 7 EBX: SMEP, SMAP, ERMS", "0x0", f"{seen:#x}", not seen)
    for bit in (Cr4(0).but(smep=1), Cr4(0).but(smap=1)):
        yield from _set(engine, bit, faults(Vector.GP, 0), hide)


def _wrmsr(register: int, value: int) -> dict[str, int]:
    return {"rcx": register, "rax": value & 0xFFFF_FFFF, "rdx": value >> 32}


def _nx(engine: Engine) -> Iterable[Check]:
    """EFER.NXE and LME can be written where CPUID has NX and long mode; without NX, NXE is reserved."""
    both = int(Efer(EFER).but(nxe=1, lme=1))
    hide = Override(0x8000_0001, 0, "edx", 0, 1 << 20)
    for what, expect, overrides in (("with NX", completes(), ()), ("without NX", faults(Vector.GP, 0), (hide,))):
        probe = row("probe", "", LONG64, WRMSR, expect, regs=_wrmsr(Msr.IA32_EFER, both))
        for one in check(probe, engine, furnish=lambda machine, taken=overrides: _without(machine, *taken)):  # type: ignore[misc]
            yield Check(f"{what}: {one.field}", one.expected, one.observed, one.ok)


def _deadline(engine: Engine) -> Iterable[Check]:
    """IA32_TSC_DEADLINE is there where leaf 1 ECX bit 24 is, and nowhere else."""
    bit = 1 << 24
    for value, expect in ((bit, completes()), (0, faults(Vector.GP, 0))):
        shown = Override(1, 0, "ecx", value, bit)
        seen = dump(engine, [(1, 0)], lambda table, to=shown: overridden(table, [to])).answers[1, 0].ecx & bit  # type: ignore[misc]
        yield Check("leaf 1 ECX bit 24", f"{value:#x}", f"{seen:#x}", seen == value)
        probe = row("probe", "", LONG64, WRMSR, expect, regs=_wrmsr(Msr.IA32_TSC_DEADLINE, 0), irqchip=True)
        for one in check(probe, engine, furnish=lambda machine, to=shown: _without(machine, to)):  # type: ignore[misc]
            yield Check(f"WRMSR with the bit {value >> 24}: {one.field}", one.expected, one.observed, one.ok)


def script(id: str, title: str, run: Script, priority: int, *requires: str, refs: tuple[str, ...] = ()) -> HostScript:  # noqa: A002
    return HostScript(
        id=id,
        title=title,
        area="cpuid",
        mode=LONG64,
        cite=CITE,
        script=run,
        priority=priority,
        requires=requires,
        refs=refs,
    )


# fmt: off
CASES: tuple[Case, ...] = (
    script("cpuid.maxphys",           "MAXPHYADDR is the width that paging entries have",               _physical,  1, refs=("claim.maxphys",)),
    script("cpuid.maxphys_supported", "MAXPHYADDR is not above what KVM offers",                        _not_wider, 1),
    script("cpuid.maxlin",            "Linear addresses have 57 bits with LA57, else 48",               _linear,    2),
    script("cpuid.leaf7_hidden",      "What the monitor hides reads 0, and cannot be switched on",      _hidden,    1),
    script("cpuid.nx_lm",             "NX agrees with EFER.NXE",                                        _nx,        1, "nx", "long mode"),
    script("cpuid.tscdeadline",       "TSC deadline in leaf 1 agrees with its MSR",                     _deadline,  2, "tsc_deadline", refs=("msr.gen.tscdl_hidden", "msr.rsvd.tsc_deadline")),
)
# fmt: on
