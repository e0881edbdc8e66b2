"""How a guest's page tables are walked where it shows: by shadows of them, or by five levels.

- A module told to do without second-level translation keeps shadow page tables: each page fault of the guest's own making
  comes out, and is counted (``pf_guest``).  Where none does, something else is in use than the module says.
- claim.backend.tables asks that of every host, whatever it claims: page faults, MOV to CR3 and INVLPG at ring 0, page
  faults at ring 3, for a backend may run user code directly and interpret the kernel's.  Where hardware walks the guest's
  tables none of them comes out; how they do come out tells shadows from an interpreter's own walks.
- KVM itself says whether it uses second-level translation: KVM_CAP_PRE_FAULT_MEMORY is offered where it does, since Linux
  6.11.  What the module's parameter says must agree.
- Where the second level is hardware's, so is the guest's own walk, and a load of CR3 does not come out: a page of 1 GiB
  that a guest maps, PCIDs that keep their translations apart, prove the processor's.  KVM's shadows would show the same.
- Five levels: with CR4.LA57 an address that four levels refuse (#GP) is translated, and bit 56 is the first that is
  refused.  The host turns it on from outside, for a guest would have to leave 64-bit mode.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import partial

from virtproof.conformance.areas.claims.hardware import HOLE, Looks
from virtproof.conformance.areas.paging import large, tlb
from virtproof.conformance.areas.second_level.cost import ALIAS, ROUNDS
from virtproof.conformance.case import At, Case, HostScript, Insn, Program, Row, completes, family
from virtproof.conformance.counters import SECOND_LEVEL, Counted, needs_hardware, needs_second_level, parameter, within
from virtproof.conformance.guest import Inapplicable, check, check_program
from virtproof.conformance.handlers import handled
from virtproof.conformance.of_kvm import kvm_engine
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.kvm import Cap
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

ROWS = {row.id: row for row in (*large.CASES, *tlb.CASES) if isinstance(row, Row)}
SAID_SINCE = (6, 11)
PAGE = 4096
NOISE = ROUNDS // 2  # exits that may be the host's own

# fmt: off
BY_SHADOWS = {"pf_guest": 0, "exits": NOISE, "insn_emulation": ROUNDS // 10}  # counter -> by how much it may grow
OWN_AFFAIRS = (
    # test            what           counters
    ("faults",        "page faults", BY_SHADOWS),
    ("cr3_loads",     "CR3 loads",   {"exits": NOISE, "tlb_flush": NOISE}),
    ("invalidations", "INVLPGs",     {"exits": NOISE, "invlpg": 0}),
)
# fmt: on


def program(test: str, observations: tuple[int, ...], *arguments: int) -> Program:
    return Program(
        id=test, title=test, area="claims", mode=Mode.LONG64, cite=(), image="exits",
        arguments=(At(test), *arguments), observations=observations, seconds=20.0,
    )  # fmt: skip


def _shadows(engine: Engine) -> Iterable[Check]:
    needs_hardware(engine, *SECOND_LEVEL)
    module = engine.backend.name
    if parameter(module, SECOND_LEVEL[module]) is not False:
        raise Inapplicable(f"{module} does not say that {SECOND_LEVEL[module]} is off")
    counted = Counted()
    yield from counted.run(program("faults", (ALIAS,), ROUNDS), engine)
    yield within(f"{ROUNDS} times", counted.first, "pf_guest", ROUNDS, 2 * ROUNDS)


def _walked(engine: Engine) -> Iterable[Check]:
    """Page faults, MOV to CR3 and INVLPG at ring 0."""
    for test, what, counters in OWN_AFFAIRS:
        counted = Counted()
        observations = (ALIAS,) if test == "faults" else ()
        yield from counted.run(program(test, observations, ROUNDS), engine)
        for counter, most in counters.items():
            yield within(f"{ROUNDS} {what}", counted.first, counter, 0, most)


# fmt: off
LOOK = Insn("8a 03", "mov al, byte ptr [rbx]")
FAULTS = (LOOK, Insn("8b 06", "mov eax, dword ptr [rsi]"), Insn("ff c9", "dec ecx"), Insn("75 fa", "jne 2"), LOOK)
STEP_OVER = bytes.fromhex(
    "48 83 c4 08"       # add rsp, 8
    "48 83 04 24 02"    # add qword ptr [rsp], 2
    "48 cf"             # iretq
    "90 90 90 90 90")
HANDLED = 3 * ROUNDS + ROUNDS // 10  # kernel code, of which this case does not speak
# fmt: on


def _walked_for_user_code(engine: Engine) -> Iterable[Check]:
    counted = Counted()
    guest = family("claims")(
        "user_faults", "", Mode.LONG64, FAULTS, completes(regs={"rcx": 0}, keeps=False), ring=3, seconds=20.0,
        regs={"rbx": WINDOW, "rsi": WINDOW + PAGE, "rcx": ROUNDS},
        sets=(maps(page(HOLE, user=True)), *handled(Vector.PF, 0)),
        fill={At("kernel_code", 8 * n): int.from_bytes(STEP_OVER[8 * n :][:8], "little") for n in range(2)},
    )  # fmt: skip

    def furnish(machine: Machine) -> None:
        machine.bus.add_mmio(HOLE, 1, Looks(counted, machine), "looks")

    yield from check(guest, engine, furnish=furnish)
    for counter, most in (BY_SHADOWS | {"insn_emulation": HANDLED}).items():
        yield within(f"{ROUNDS} page faults of user code", counted.first, counter, 0, most)


def _said_by_kvm(engine: Engine) -> Iterable[Check]:
    needs_hardware(engine, *SECOND_LEVEL)
    module = engine.backend.name
    name = SECOND_LEVEL[module]
    on = parameter(module, name)
    if on is None:
        raise Inapplicable(f"{module} does not say whether {name} is on")
    said = bool(kvm_engine(engine).kvm.check_extension(Cap.PRE_FAULT_MEMORY))
    if not said and _linux() < SAID_SINCE:
        raise Inapplicable("this kernel has no KVM_CAP_PRE_FAULT_MEMORY: it came with Linux 6.11")
    words = {True: "offered", False: "not offered"}
    what = f"KVM_CAP_PRE_FAULT_MEMORY while {module}.{name} is {'on' if on else 'off'}"
    yield Check(what, words[on], words[said], said == on)


def _by_hardware(row: Row, engine: Engine) -> Iterable[Check]:
    needs_second_level(engine)
    yield from check(row, engine)


def by_hardware(id: str, title: str, claim: str, row: str) -> Case:  # noqa: A002
    """A row of the area paging, as a proof: it is run where the processor walks the guest's tables."""
    guest = ROWS[row]
    return HostScript(
        id=id, title=title, area="claims", mode=guest.mode, cite=guest.cite, script=partial(_by_hardware, guest),
        requires=guest.requires, proves=(claim,), discriminates=True, priority=2,
    )  # fmt: skip


def _linux() -> tuple[int, ...]:
    """The kernel's version, as far as it has numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


def _five_levels(engine: Engine) -> Iterable[Check]:
    top = images.load("exits")["top"]

    def switch(machine: Machine) -> None:
        special = machine.vcpu.special_registers()
        special.cr3, special.cr4 = top, special.cr4 | Cr4.la57.mask
        machine.vcpu.set_special_registers(special)

    yield from check_program(
        program("five_levels", (5, 1, Vector.GP, 0, Vector.PF, (1 << 56) - 4)), engine, calls={1: switch}
    )


# fmt: off
WALKS = (
    sdm("3C", "VMX Support for Address Translation, 'The Extended Page Table Mechanism (EPT)'"),
    apm(2, "Secure Virtual Machine, 'Nested Paging'"),
    linux("virt/kvm/api.rst", "KVM_GET_STATS_FD"),
)

CASES: tuple[Case, ...] = (
    HostScript(id="claim.no_tdp", title="Without EPT or NPT each guest page fault comes out", area="claims", mode=Mode.LONG64, script=_shadows, priority=2, seconds=20.0,
               cite=(linux("virt/kvm/x86/mmu.rst", "Basic operation"), linux("virt/kvm/api.rst", "KVM_GET_STATS_FD"))),
    HostScript(id="claim.backend.tables", title="A guest's page faults, CR3 loads and INVLPGs are its own", area="claims", mode=Mode.LONG64, script=_walked, seconds=30.0, cite=WALKS),
    HostScript(id="claim.backend.tables.ring3", title="The page faults of user code are the guest's own", area="claims", mode=Mode.LONG64, script=_walked_for_user_code, seconds=30.0, cite=WALKS),
    HostScript(id="claim.no_tdp.capability", title="KVM says of second-level translation what its module says", area="claims", mode=Mode.LONG64, script=_said_by_kvm, priority=2,
               cite=(linux("virt/kvm/api.rst", "KVM_PRE_FAULT_MEMORY"),)),
    by_hardware("claim.pdpe1gb", "The processor walks a guest's page of 1 GiB",              "page1g", "pg.l4.1g.offset"),
    by_hardware("claim.pcid",    "The processor keeps the translations of two PCIDs apart", "pcid",   "pg.tlb.pcid_sep"),
    HostScript(id="claim.la57", title="Five levels translate what four refuse", area="claims", mode=Mode.LONG64, script=_five_levels, priority=2,
               cite=(sdm("3A", "Paging, '4-Level Paging and 5-Level Paging'"), apm(2, "Page Translation and Protection, 'Long-Mode Page Translation'")),
               refs=("pg.misc.la57_canon",), requires=("la57",), proves=("la57",), discriminates=True),
)
# fmt: on
