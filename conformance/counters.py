"""KVM's own counters of a vCPU, read between the parts of a program: what the work in between cost.

They tell the hardware from what behaves like it.  The names are those of the kernel: Linux
arch/x86/include/asm/kvm_host.h, struct kvm_vcpu_stat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from virtproof.conformance.case import Program
from virtproof.conformance.guest import Calls, Inapplicable, check_program
from virtproof.conformance.of_kvm import kvm_vcpu
from virtproof.results import Check
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

SECOND_LEVEL = MappingProxyType({"kvm_intel": "ept", "kvm_amd": "npt"})  # the parameter, by module


def needs_hardware(engine: Engine, *names: str) -> None:
    """Raise ``Inapplicable`` where the backend is software, may be, or is none of ``names``."""
    backend = engine.backend
    if backend.software is not False or (names and backend.name not in names):
        raise Inapplicable(f"the backend is {backend.name}: the rule is about {' or '.join(names) or 'hardware'}")


def parameter(module: str, name: str) -> bool | None:
    """Is a parameter of a kernel module on, as the module reads it back?  None: nobody says."""
    try:
        value = Path(f"/sys/module/{module}/parameters/{name}").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return value not in ("N", "0")


def needs_parameter(engine: Engine, names: Mapping[str, str]) -> None:
    """Raise ``Inapplicable`` where the backend is software, none of the modules in ``names``, or told to do without."""
    needs_hardware(engine, *names)
    module = engine.backend.name
    if parameter(module, names[module]) is False:
        raise Inapplicable(f"{module} runs with {names[module]} off: it claims nothing of the kind")


def needs_second_level(engine: Engine) -> None:
    """Raise ``Inapplicable`` where the backend is software, or is told to do without second-level translation."""
    needs_parameter(engine, SECOND_LEVEL)


class Counted:
    """What a program's acts 1, 3 and 2 read, in this order; ``first`` and ``second`` are the differences."""

    def __init__(self) -> None:
        self.readings: dict[int, dict[str, int]] = {}

    def run(
        self,
        case: Program,
        engine: Engine,
        *,
        furnish: Callable[[Machine], None] = lambda machine: None,
        calls: Calls | None = None,
    ) -> Iterator[Check]:
        """Run the program and check its observations.  ``calls`` are done before reading.  Raises ``GuestStopped``."""
        acts = dict(calls or {})
        return check_program(case, engine, furnish=furnish, calls={n: partial(self.read, n, acts) for n in (1, 2, 3)})

    def read(self, act: int, calls: Calls, machine: Machine) -> None:
        """Do the act and read the counters."""
        if act in calls:
            calls[act](machine)
        values = kvm_vcpu(machine).statistics()
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
