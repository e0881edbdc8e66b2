"""Two processors leave the guest at the same time: each gets its own answer, and one change of memory is everybody's.

The ports and the addresses of a processor bring what it wrote there last; a mix-up of two exits brings something else.
When the host has deleted a slot, no processor reads its memory any more, not by a translation of its own either.

The numbers are what the test of that name in guest_payloads/litmus.c observes.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtproof.conformance.case import At, Case, HostScript, Program
from virtproof.conformance.guest import check_program
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite, linux
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine

RUN = (linux("virt/kvm/api.rst", "'The kvm_run structure'"),)
SLOT = (linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),)
PORT, DEVICE, TAKEN, PAGE = 0x1000, 0xD000_0000, 0x3000_0000, 0x1000


class Latches:
    """Registers that keep what was written: by offset."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}

    def read(self, offset: int, size: int) -> int:
        return self._values.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        self._values[offset] = value


def guest(test: str, processors: int, rounds: int, cite: tuple[Cite, ...]) -> Program:
    return Program(
        id=test, title=test, area="smp", mode=Mode.LONG64, cite=cite, image="litmus", irqchip=True, vcpus=processors,
        arguments=(At(test), processors, rounds), observations=(0,), seconds=20.0,
    )  # fmt: skip


def _ports(engine: Engine) -> Iterable[Check]:
    def furnish(machine: Machine) -> None:
        machine.bus.add_ports(PORT, 16, Latches(), "latches")

    return check_program(guest("ports", 2, 1000, RUN), engine, furnish=furnish)


def _device(engine: Engine) -> Iterable[Check]:
    def furnish(machine: Machine) -> None:
        machine.bus.add_mmio(DEVICE, 32, Latches(), "latches")

    return check_program(guest("device", 2, 1000, RUN), engine, furnish=furnish)


def _delete(engine: Engine) -> Iterable[Check]:
    def furnish(machine: Machine) -> None:
        machine.memory.add(TAKEN, PAGE)

    def delete(machine: Machine) -> None:
        machine.memory.unmap(next(slot for slot in machine.memory.slots if slot.gpa == TAKEN))

    return check_program(guest("deleted", 3, 0, SLOT), engine, furnish=furnish, calls={0: delete})


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="pio.x.smp",       title="Two processors that use ports get their own data",   area="pio",          mode=Mode.LONG64, cite=RUN,  script=_ports,  seconds=20.0),
    HostScript(id="mmio.x.smp",      title="Two processors that use devices get their own data", area="mmio",         mode=Mode.LONG64, cite=RUN,  script=_device, seconds=20.0),
    HostScript(id="slat.smp_delete", title="A deleted slot is gone for every processor at once", area="second_level", mode=Mode.LONG64, cite=SLOT, script=_delete, seconds=20.0),
)
# fmt: on
