"""Processors that use devices at the same time, and MSRs that nobody has.

A base address that one processor moves while another reads through it: each read finds the register or nobody.  Cards
that are told to copy at the same time copy what each was told.
"""

from functools import partial

from virtproof.conformance.bus_rig import a_card_each
from virtproof.conformance.case import At, Case, HostScript, Program
from virtproof.conformance.guest import check_program
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.bus_card import SIGNATURE
from virtproof.spec.cite import Cite, sdm
from virtproof.vmm.machine import Machine

BASES = (Cite("PCI Local Bus Specification 3.0", "'Base Addresses'"),)
MASTER = (Cite("PCI Local Bus Specification 3.0", "'Bus Operation', 'Arbitration'"),)
MSRS = (sdm("2C", "Instruction Set Reference, RDMSR and WRMSR"),)
MIB = 1 << 20


def furnish(machine: Machine) -> None:
    """The machine gets its cards; the first is at 00:02.0."""
    a_card_each(machine)


def races(id: str, title: str, cite: tuple[Cite, ...], vcpus: int, rounds: int, *seen: int, test: str, priority: int = 1) -> HostScript:  # fmt: skip  # noqa: A002
    """A test of guest_payloads/devices/races.c."""
    program = Program(
        id=id, title=title, area="hostile", mode=Mode.LONG64, cite=cite, priority=priority, image="races", vcpus=vcpus,
        irqchip=True, memory=4 * MIB, arguments=(At(test), vcpus, rounds), observations=seen, seconds=20.0,
    )  # fmt: skip
    return HostScript(
        id=id, title=title, area="hostile", mode=Mode.LONG64, cite=cite, priority=priority,
        script=partial(check_program, program, furnish=furnish),
    )  # fmt: skip


# fmt: off
CASES: tuple[Case, ...] = (
    races("hostile.bus.bar_toggle_race", "A BAR that moves while another processor reads it",  BASES,  2, 500,  0, SIGNATURE,             test="moving_bar"),
    races("hostile.multi.parallel_kick", "Four processors and four cards at the same time",    MASTER, 4, 100,  0, 100, 100, 100, 100,    test="a_card_each"),
    races("hostile.cpu.msr_fuzz",        "MSRs that nobody has: #GP for each read and write",  MSRS,   1, 300,  1,                        test="random_msrs", priority=2),
)
# fmt: on
