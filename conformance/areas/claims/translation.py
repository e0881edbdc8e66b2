"""How a guest's page tables are walked where it shows: by shadows of them, or by five levels.

- A module told to do without second-level translation keeps shadow page tables: each page fault of the guest's own making
  comes out, and is counted (``pf_guest``).  Where none does, something else is in use than the module says.
- KVM itself says whether it uses second-level translation: KVM_CAP_PRE_FAULT_MEMORY is offered where it does, since Linux
  6.11.  What the module's parameter says must agree.
- Five levels: with CR4.LA57 an address that four levels refuse (#GP) is translated.  The host turns it on from outside,
  for a guest would have to leave 64-bit mode.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from virtproof.conformance.areas.second_level.cost import ALIAS, ROUNDS
from virtproof.conformance.case import At, Case, HostScript, Program
from virtproof.conformance.counters import SECOND_LEVEL, Counted, needs_hardware, parameter, within
from virtproof.conformance.guest import Inapplicable, check_program
from virtproof.conformance.of_kvm import kvm_engine
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.kvm import Cap
from virtproof.spec.x86.control import Cr4
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

SAID_SINCE = (6, 11)


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


def _linux() -> tuple[int, ...]:
    """The kernel's version, as far as it has numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


def _five_levels(engine: Engine) -> Iterable[Check]:
    top = images.load("exits")["top"]

    def switch(machine: Machine) -> None:
        special = machine.vcpu.special_registers()
        special.cr3, special.cr4 = top, special.cr4 | Cr4.la57.mask
        machine.vcpu.set_special_registers(special)

    yield from check_program(program("five_levels", (5, 1)), engine, calls={1: switch})


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="claim.no_tdp", title="Without EPT or NPT each guest page fault comes out", area="claims", mode=Mode.LONG64, script=_shadows, priority=2, seconds=20.0,
               cite=(linux("virt/kvm/x86/mmu.rst", "Basic operation"), linux("virt/kvm/api.rst", "KVM_GET_STATS_FD"))),
    HostScript(id="claim.no_tdp.capability", title="KVM says of second-level translation what its module says", area="claims", mode=Mode.LONG64, script=_said_by_kvm, priority=2,
               cite=(linux("virt/kvm/api.rst", "KVM_PRE_FAULT_MEMORY"),)),
    HostScript(id="claim.la57", title="Five levels translate what four refuse", area="claims", mode=Mode.LONG64, script=_five_levels, priority=2,
               cite=(sdm("3A", "Paging, '4-Level Paging and 5-Level Paging'"), apm(2, "Page Translation and Protection, 'Long-Mode Page Translation'")),
               requires=("la57",), proves=("la57",), discriminates=True),
)
# fmt: on
