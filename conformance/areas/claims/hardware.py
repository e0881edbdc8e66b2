"""The processor runs guests itself: plain code costs nobody an instruction of emulation, and exits are counted one by one.

An interpreter behind /dev/kvm emulates instructions where VT-x and AMD-V run them.  KVM counts what it emulates
(``insn_emulation``): while a guest runs plain ring-0 code in 64-bit mode, that counter stands still, and so, nearly, do
exits.  CPUID leaves the guest each time on VT-x, and on AMD-V as KVM sets it up.

claim.backend and its like are about every host: behind an interpreter they fail, and that is the finding.  A backend may
run user code directly and interpret the kernel's, so each ring is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from virtproof.conformance.case import At, Case, HostScript, Insn, Program, completes, family
from virtproof.conformance.counters import Counted, needs_hardware, within
from virtproof.conformance.guest import check
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

CITE = (
    sdm("3C", "Introduction to Virtual Machine Extensions, 'Introduction to VMX Operation'"),
    apm(2, "Secure Virtual Machine, 'SVM Hardware Overview'"),
    linux("virt/kvm/api.rst", "KVM_GET_STATS_FD"),
)
LOOPS, CPUIDS = 20_000, 1000
MASK = (1 << 64) - 1


def _mixed(loops: int) -> int:
    """What the loop of exits.c makes of its argument."""
    value = loops
    for n in range(loops):
        value = (5 * value + 1) & MASK
        value = ((value << 7 | value >> 57) & MASK) ^ n
    return value


def _run(
    test: str, argument: int, observations: tuple[int, ...], engine: Engine
) -> tuple[list[Check], Mapping[str, int]]:
    counted = Counted()
    case = Program(
        id=test, title=test, area="claims", mode=Mode.LONG64, cite=CITE, image="exits", irqchip=True,
        arguments=(At(test), argument), observations=observations, seconds=20.0,
    )  # fmt: skip
    return list(counted.run(case, engine)), counted.first


def _plain(engine: Engine) -> Iterable[Check]:
    checks, cost = _run("plain", LOOPS, (_mixed(LOOPS),), engine)
    yield from checks
    yield within(f"{3 * LOOPS} plain instructions", cost, "insn_emulation", 0, 0)
    yield within(f"{3 * LOOPS} plain instructions", cost, "exits", 0, LOOPS // 10)


def _hardware(name: str, engine: Engine) -> Iterable[Check]:
    needs_hardware(engine, name)
    yield from _plain(engine)
    checks, cost = _run("cpuids", CPUIDS, (), engine)
    yield from checks
    yield within(f"{CPUIDS} times CPUID", cost, "exits", CPUIDS, 2 * CPUIDS)


# fmt: off
LOOK = Insn("8a 03", "mov al, byte ptr [rbx]")
LOOP = (LOOK, Insn("48 8d 7c bf 01", "lea rdi, [rdi + rdi*4 + 1]"), Insn("ff c9", "dec ecx"), Insn("75 f7", "jne 2"), LOOK)
# fmt: on
HOLE = 0x2000_0000


class Looks:
    """A device in memory whose reads are acts: user code may have no ports."""

    def __init__(self, counted: Counted, machine: Machine) -> None:
        self._counted, self._machine, self._reads = counted, machine, 0

    def read(self, offset: int, size: int) -> int:
        self._reads += 1
        self._counted.read(self._reads, {}, self._machine)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        pass


def _user(engine: Engine) -> Iterable[Check]:
    counted = Counted()
    value = 0
    for _ in range(LOOPS):
        value = 5 * value + 1 & MASK
    guest = family("claims")(
        "user", "", Mode.LONG64, LOOP, completes(regs={"rdi": value, "rcx": 0}, keeps=False), ring=3, seconds=20.0,
        regs={"rbx": WINDOW, "rcx": LOOPS, "rdi": 0}, sets=(maps(page(HOLE, user=True)),),
    )  # fmt: skip

    def furnish(machine: Machine) -> None:
        machine.bus.add_mmio(HOLE, 1, Looks(counted, machine), "looks")

    yield from check(guest, engine, furnish=furnish)
    yield within(f"{3 * LOOPS} plain instructions", counted.first, "insn_emulation", 0, 100)


def proof(name: str, claim: str, title: str) -> Case:
    return HostScript(
        id=f"claim.{claim}", title=title, area="claims", mode=Mode.LONG64, cite=CITE, script=partial(_hardware, name),
        proves=(claim,), discriminates=True, seconds=30.0,
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    proof("kvm_intel", "vmx", "VT-x runs plain code, and CPUID is an exit"),
    proof("kvm_amd", "svm", "AMD-V runs plain code, and CPUID is an exit"),
    HostScript(
        id="claim.backend", title="Nothing emulates plain code", area="claims", mode=Mode.LONG64, cite=CITE,
        script=_plain, seconds=30.0,
    ),
    HostScript(
        id="claim.backend.ring3", title="Nothing emulates plain user code", area="claims", mode=Mode.LONG64, cite=CITE,
        script=_user, seconds=30.0,
    ),
)  # fmt: skip
