"""KVM's own counters of a vCPU, read between the parts of a program: what the work in between cost.

They tell the hardware from what behaves like it.  The names are those of the kernel: Linux
arch/x86/include/asm/kvm_host.h, struct kvm_vcpu_stat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from virtproof.conformance.case import Program
from virtproof.conformance.guest import Inapplicable, check_program
from virtproof.results import Check
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.machine import Machine

PARAMETERS = {"kvm_intel": "ept", "kvm_amd": "npt"}  # of the module: is second-level translation on?


def vcpu_of(machine: Machine) -> KvmVcpu:
    """The first vCPU.  Raises ``Inapplicable`` where it is none of KVM's."""
    if not isinstance(machine.vcpu, KvmVcpu):
        raise Inapplicable("the engine has no counters")
    return machine.vcpu


def needs_hardware(engine: Engine, *names: str) -> None:
    """Raise ``Inapplicable`` where the backend is software, may be, or is none of ``names``."""
    backend = engine.backend
    if backend.software is not False or (names and backend.name not in names):
        raise Inapplicable(f"the backend is {backend.name}: the rule is about {' or '.join(names) or 'hardware'}")


def needs_second_level(engine: Engine) -> None:
    """Raise ``Inapplicable`` where the backend is software, or is told to do without second-level translation."""
    needs_hardware(engine, *PARAMETERS)
    name = PARAMETERS[engine.backend.name]
    try:
        value = Path(f"/sys/module/{engine.backend.name}/parameters/{name}").read_text(encoding="ascii").strip()
    except OSError:
        return  # nobody says that it is off
    if value in ("N", "0"):
        raise Inapplicable(f"{engine.backend.name} runs with {name}={value}: it keeps shadow page tables")


class Counted:
    """What a program's acts 1, 3 and 2 read, in this order; ``first`` and ``second`` are the differences."""

    def __init__(self) -> None:
        self.readings: dict[int, dict[str, int]] = {}

    def run(
        self, case: Program, engine: Engine, *, furnish: Callable[[Machine], None] = lambda machine: None
    ) -> Iterator[Check]:
        """Run the program and check its observations.  Raises ``GuestStopped``."""
        return check_program(case, engine, furnish=furnish, calls={n: partial(self._read, n) for n in (1, 2, 3)})

    def _read(self, act: int, machine: Machine) -> None:
        values = vcpu_of(machine).statistics()
        self.readings[act] = {name: value for name, value in values.items() if isinstance(value, int)}

    @property
    def first(self) -> Mapping[str, int]:
        """From act 1 to act 3, or to act 2 where there is no third."""
        return self._between(1, 3 if 3 in self.readings else 2)

    @property
    def second(self) -> Mapping[str, int]:
        """From act 3 to act 2."""
        return self._between(3, 2)

    def _between(self, first: int, last: int) -> Mapping[str, int]:
        before, after = self.readings.get(first, {}), self.readings.get(last, {})
        return {name: after[name] - before[name] for name in before if name in after}


def within(what: str, counters: Mapping[str, int], name: str, least: int, most: int) -> Check:
    """A check that a counter grew by ``least`` to ``most``; a kernel without it fails."""
    saw = counters.get(name)
    want = f"{least}" if least == most else f"{least} to {most}"
    shown = "no such counter" if saw is None else str(saw)
    return Check(f"{what}: {name}", want, shown, saw is not None and least <= saw <= most)
