"""What parts of VT-x and AMD-V spare the host, by KVM's counters: each tells the feature from what behaves like it.

- Unrestricted guest: big real mode (a segment with a limit of 4 GiB) runs on the processor.  Without it KVM interprets
  each instruction; plain real mode could pass for virtual-8086 mode and proves nothing.
- VPID, ASID: a translation outlives exits.  The host changes the guest's page table while the guest waits in an exit,
  and the guest, which has not invalidated anything, may still read the old page.  Where it never does nothing is proven:
  a processor may forget at any time.  With shadow page tables the same shows for another reason.
- Page-modification logging: once a page has been written, the dirty log costs no fault when it is written again.  Without
  it each page is write-protected whenever the log is read.
- APIC virtualization (APICv, AVIC): sending oneself an interrupt, taking and ending it cost no exits.  There is no PIT
  here: while one reinjects, KVM does without AVIC.

These proofs are about hardware, and about modules that claim the feature.  Beside them claim.backend.real and
claim.backend.apic ask the same of every host, whatever it claims: how they come out names the technique.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from virtproof.conformance.case import At, Case, HostScript, Insn, Program, Ram, completes, family
from virtproof.conformance.counters import Counted, needs_hardware, needs_parameter, needs_second_level, within
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check, check_program
from virtproof.conformance.host_memory import Mapping as Pages
from virtproof.conformance.of_kvm import kvm_vcpu
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite, apm, linux, sdm
from virtproof.vmm.cpuid import Override, overridden
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

ROUNDS, PAGE = 1000, 4096
PAGES, FRESH, SLOT = 1200, 0x3000_0000, 9  # more pages than the processor's own buffer has entries, twice over


def proof(
    id: str,  # noqa: A002
    title: str,
    script: Callable[[Engine], Iterable[Check]],
    claims: tuple[str, ...],
    *cite: Cite,
    mode: Mode = Mode.LONG64,
    priority: int = 2,
    refs: tuple[str, ...] = (),
) -> Case:
    return HostScript(
        id=id, title=title, area="claims", mode=mode, cite=(*cite, linux("virt/kvm/api.rst", "KVM_GET_STATS_FD")),
        script=script, proves=claims, discriminates=bool(claims), priority=priority, refs=refs, seconds=30.0,
    )  # fmt: skip


def program(test: str, observations: tuple[int, ...], *arguments: int) -> Program:
    return Program(
        id=test, title=test, area="claims", mode=Mode.LONG64, cite=(), image="exits", irqchip=True,
        arguments=(At(test), *arguments), observations=observations, seconds=20.0,
    )  # fmt: skip


# fmt: off
LOOP = (
    Insn("ee", "out dx, al"),
    Insn("67 66 03 3b", "add edi, dword ptr [ebx]"), Insn("66 49", "dec ecx"), Insn("75 f8", "jne 1"),
    Insn("b0 02", "mov al, 2"), Insn("ee", "out dx, al"),
)
# fmt: on
LOOPS = 50_000


def _unrestricted(engine: Engine) -> None:
    needs_parameter(engine, {"kvm_intel": "unrestricted_guest"})


def _amd(engine: Engine) -> None:
    needs_hardware(engine, "kvm_amd")


def _anything(engine: Engine) -> None:
    """The rule is about every host."""


def _big_real_mode(needs: Callable[[Engine], None], engine: Engine) -> Iterable[Check]:
    needs(engine)
    counted = Counted()

    def limit(machine: Machine, bytes_: int) -> None:
        """The hidden part of DS, which real mode leaves as it is."""
        special = machine.vcpu.special_registers()
        special.ds = special.ds._replace(limit=bytes_, g=int(bytes_ > 0xFFFFF))
        machine.vcpu.set_special_registers(special)

    acts = {1: partial(limit, bytes_=0xFFFF_FFFF), 2: partial(limit, bytes_=0xFFFF)}
    guest = family("claims")(
        "big_real_mode", "", Mode.REAL16, LOOP, completes(regs={"rdi": 3 * LOOPS, "rcx": 0}, keeps=False),
        regs={"rax": 1, "rdx": HOST_PORT, "rbx": FRESH, "rcx": LOOPS, "rdi": 0},
        ram=(Ram(FRESH, PAGE),), fill={FRESH: 3}, seconds=20.0,
    )  # fmt: skip
    yield from check(guest, engine, calls={n: partial(counted.read, n, acts) for n in acts})
    yield within(f"{3 * LOOPS} instructions", counted.first, "insn_emulation", 0, 100)


def _translations(engine: Engine) -> Iterable[Check]:
    needs_second_level(engine)
    image = images.load("exits")
    kept: list[int] = []

    def word(machine: Machine, symbol: str) -> int:
        return int.from_bytes(machine.memory.read(image[symbol], 8), "little")

    def remap(machine: Machine) -> None:
        entry = word(machine, "entry_address")
        machine.memory.write(entry, word(machine, "replacement").to_bytes(8, "little"))

    yield from check_program(
        program("translations", (0, 0), ROUNDS), engine, calls={1: remap, 3: lambda machine: kept.append(1)}
    )
    if not kept:
        raise Inapplicable(f"no translation outlived one of {ROUNDS} exits, which proves nothing")
    yield Check("translations that outlived an exit", "some", str(len(kept)), True)


def _logging(engine: Engine) -> Iterable[Check]:
    needs_parameter(engine, {"kvm_intel": "pml"})
    counted = Counted()
    logged: list[int] = []
    with Pages(PAGES * PAGE) as pages:
        pages.pages.madvise(mmap.MADV_NOHUGEPAGE)

        def furnish(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, FRESH, pages)

        def begin(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, FRESH, pages, log_dirty=True)

        def read(machine: Machine) -> None:
            logged.append(int.from_bytes(machine.vm.dirty_log(SLOT), "little").bit_count())

        acts = {1: begin, 3: read, 2: read}
        yield from counted.run(program("rewrites", (), PAGES), engine, furnish=furnish, calls=acts)
    yield Check("pages in the log", f"{PAGES} {PAGES}", " ".join(map(str, logged)), logged == [PAGES, PAGES])
    yield within(f"{PAGES} pages written again", counted.second, "pf_taken", 0, PAGES // 10)


SELF_IPI, ICR = 2, 0
WITHOUT = (Override(0x1, 0, "ecx", 0, 1 << 21), Override(0x8000_0001, 0, "ecx", 0, 1 << 2))


def _claimed(parameters: Mapping[str, str], by: int, engine: Engine) -> Iterable[Check]:
    needs_parameter(engine, parameters)
    yield from _interrupts(by, engine)


def _interrupts(by: int, engine: Engine) -> Iterable[Check]:
    counted = Counted()

    def furnish(machine: Machine) -> None:
        """Older kernels have no AVIC for guests that may use x2APIC or SVM."""
        if by == ICR:
            kvm_vcpu(machine).set_cpuid(overridden(machine.vcpu.cpuid(), WITHOUT))

    case = program("self_interrupts", (ROUNDS,), ROUNDS, by)
    yield from counted.run(case, engine, furnish=furnish)
    for counter in ("exits", "insn_emulation"):  # an interpreter carries the registers out without an exit
        yield within(f"{ROUNDS} interrupts", counted.first, counter, 0, ROUNDS // 2)


# fmt: off
BIG_REAL, TAGS, PML = (sdm("3C", place) for place in (
    "VM Entries, 'Checks on the Guest State Area' (unrestricted guest)",
    "VMX Support for Address Translation, 'Virtual Processor Identifiers (VPIDs)'",
    "VMX Support for Address Translation, 'Page-Modification Logging'"))
VIRTUAL_APIC = sdm("3C", "APIC Virtualization and Virtual Interrupts, 'Virtualizing MSR-Based APIC Accesses'")
AVIC = apm(2, "Secure Virtual Machine, 'Advanced Virtual Interrupt Controller'")

CASES: tuple[Case, ...] = (
    proof("claim.unrestricted", "Big real mode runs without emulation",                 partial(_big_real_mode, _unrestricted), ("unrestricted_guest",), BIG_REAL, mode=Mode.REAL16, priority=1),
    proof("claim.unrestricted.amd", "Big real mode runs without emulation on AMD-V",    partial(_big_real_mode, _amd), ("svm",), apm(2, "Secure Virtual Machine, 'Paged Real Mode'"), mode=Mode.REAL16, priority=1),
    proof("claim.vpid",         "A translation outlives an exit",                       _translations,  ("vpid", "asid"), TAGS, apm(2, "Secure Virtual Machine, 'TLB Control'")),
    proof("claim.pml",          "The dirty log costs no fault for each page",           _logging,       ("pml",), PML, refs=("claim.ept_ad",)),
    proof("claim.apicv",        "SELF IPI and EOI of the x2APIC do not leave the guest", partial(_claimed, {"kvm_intel": "enable_apicv"}, SELF_IPI), ("apicv",), VIRTUAL_APIC),
    proof("claim.apicv.avic",   "ICR and EOI of the xAPIC do not leave the guest",      partial(_claimed, {"kvm_amd": "avic"}, ICR), ("avic",), AVIC, refs=("claim.apicv",)),
    proof("claim.backend.real", "Nothing emulates big real mode",                       partial(_big_real_mode, _anything), (), BIG_REAL, mode=Mode.REAL16, priority=1),
    proof("claim.backend.apic", "The x2APIC sends, delivers and ends interrupts without help", partial(_interrupts, SELF_IPI), (), VIRTUAL_APIC),
    proof("claim.backend.apic.memory", "The xAPIC sends, delivers and ends interrupts without help", partial(_interrupts, ICR), (), AVIC),
)
# fmt: on
