"""A device model with a bug costs its own guest, and says where it is: nothing hangs, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial

import pytest

from tests.vmm.guests import CODE, SECONDS, long64, machine
from tests.vmm.pci.wires import Wires
from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.pool import run_cases
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check, Verdict
from virtproof.spec.cite import sdm
from virtproof.spec.fault import unforeseen
from virtproof.vmm.bus import Bus
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Interrupted
from virtproof.vmm.machine import Machine
from virtproof.vmm.pci.bus import ConfigPorts, PciBus
from virtproof.vmm.pci.function import Function, Identity
from virtproof.vmm.registers import Registers

PORT, MEMORY = 0x510, 0xC000_0000
SPIN = "eb fe"


class Broken:
    """A device that has forgotten something."""

    def read(self, offset: int, size: int) -> int:
        return {}[offset]  # type: ignore[no-any-return]

    def write(self, offset: int, size: int, value: int) -> None:
        raise KeyError(offset)

    def fire(self) -> None:
        raise KeyError("late")


class Mute(Broken):
    """A device that answers with no number."""

    def read(self, offset: int, size: int) -> int:
        return None  # type: ignore[return-value]


Host = tuple[Engine, int]  # and how many vCPUs


@pytest.fixture(
    params=[
        pytest.param(("engine", 1), marks=pytest.mark.kvm, id="KVM"),
        pytest.param(("engine", 2), marks=pytest.mark.kvm, id="KVM, two vCPUs"),
        pytest.param(("software", 1), id="software"),
    ]
)
def host(request: pytest.FixtureRequest) -> Host:
    name, vcpus = request.param
    return request.getfixturevalue(name), vcpus


def guest(host: Host, code: str) -> Machine:
    """A guest with the port in DX and the memory's address in RBX; the last of its vCPUs executes ``code``."""
    engine, vcpus = host
    registers = Registers(rdx=PORT + 2, rbx=MEMORY + 0x10, rax=0x5A)
    made = machine(engine, long64, bytes.fromhex(code), registers=registers, vcpus=vcpus)
    if vcpus > 1:
        made.memory.load(CODE + 0x100, bytes.fromhex(SPIN))
        for index, vcpu in enumerate(made.vcpus):
            vcpu.set_special_registers(long64(vcpu.special_registers()))
            last = index == vcpus - 1
            registers.rip, registers.rsp = CODE if last else CODE + 0x100, 0x8000 - 0x100 * index
            vcpu.set_registers(registers)
    return made


def raised_by(machine: Machine) -> KeyError | TypeError:
    with pytest.raises((KeyError, TypeError)) as caught:
        machine.run(SECONDS)
    assert isinstance(caught.value, KeyError | TypeError)
    return caught.value


# fmt: off
ACCESSES = [
    ("ee " + SPIN,       "KeyError: 2; in a 1-byte write of 0x5a at offset 0x2 of toaster (Broken; port 0x512)"),
    ("ec " + SPIN,       "KeyError: 2; in a 1-byte read at offset 0x2 of toaster (Broken; port 0x512)"),
    ("88 03 " + SPIN,    "KeyError: 16; in a 1-byte write of 0x5a at offset 0x10 of oven (Broken; memory 0xc0000010)"),
    ("48 8b 03 " + SPIN, "KeyError: 16; in a 8-byte read at offset 0x10 of oven (Broken; memory 0xc0000010)"),
]
# fmt: on


@pytest.mark.parametrize(("code", "text"), ACCESSES)
def test_an_access_ends_the_run_and_is_named(host: Host, code: str, text: str) -> None:
    with guest(host, code) as made:
        made.bus.add_ports(PORT, 4, Broken(), "toaster")
        made.bus.add_mmio(MEMORY, 0x1000, Broken(), "oven")
        assert unforeseen(raised_by(made)) == text


def test_an_answer_that_is_no_number_is_one_too(host: Host) -> None:
    with guest(host, "ec " + SPIN) as made:
        made.bus.add_ports(PORT, 4, Mute(), "toaster")
        assert "offset 0x2 of toaster (Mute; port 0x512)" in unforeseen(raised_by(made))


def test_a_timer_ends_the_run_and_is_named(host: Host) -> None:
    with guest(host, SPIN) as made:
        made.after(1000, Broken().fire)
        text = f"KeyError: 'late'; in {__name__}.Broken.fire, which a timer called"
        assert unforeseen(raised_by(made)) == text


def test_a_reader_ends_the_run_and_is_named(host: Host) -> None:
    ours, theirs = os.pipe()
    try:
        with guest(host, SPIN) as made:
            made.events.add_reader(ours, partial(Broken.fire, Broken()))
            os.write(theirs, b"x")
            text = f"KeyError: 'late'; in {__name__}.Broken.fire, which reads from a descriptor"
            assert unforeseen(raised_by(made)) == text
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_doorbell_that_breaks_later_is_named(host: Host) -> None:
    class Lazy(Broken):
        def __init__(self, after: Callable[[int, Callable[[], None]], object]) -> None:
            self.after = after

        def write(self, offset: int, size: int, value: int) -> None:
            self.after(0, self.fire)

    with guest(host, "ee " + SPIN) as made:
        made.bus.add_ports(PORT, 4, Lazy(made.after), "toaster")
        assert "Broken.fire, which a timer called" in unforeseen(raised_by(made))


class Card:
    """A PCI device one of whose own registers is broken."""

    def __init__(self) -> None:
        self.function = Function(Identity(0x1234, 0x5678, 0xFF0000))
        self.function.add_register(0x40, 4, writable=0xFF, written=lambda value: Broken().fire())

    def reset(self) -> None: ...
    def state(self) -> dict[str, int]:
        return {}

    def restore(self, state: dict[str, int]) -> None: ...


def test_a_register_in_configuration_space_is_named() -> None:
    bus = Bus()
    pci = PciBus(bus, Wires(), lambda pirq, level: None, lambda address, data: None)
    bus.add_ports(0xCF8, 8, ConfigPorts(pci), "PCI")
    at = pci.add(Card(), 3)
    bus.pio_out(0xCF8, 4, 1 << 31 | at << 8 | 0x40)
    with pytest.raises(KeyError) as caught:
        bus.pio_out(0xCFC, 4, 1)
    assert "in a write of register 0x40 of PCI function 00:03.0 (1234:5678)" in unforeseen(caught.value)


def case(name: str, *, broken: bool) -> Case:
    """A case whose guest writes to a device."""

    def script(engine: Engine) -> Iterable[Check]:
        with guest((engine, 1), "ee " + SPIN) as made:
            made.bus.add_ports(PORT, 4, Broken() if broken else Stops(made), "toaster")
            ended = made.run(SECONDS)
        yield Check("the guest ended", "interrupted by the monitor", str(ended), isinstance(ended, Interrupted))

    return HostScript(
        id=name, title=name, area="bus", mode=Mode.LONG64, cite=(sdm("1", "Input/Output"),), script=script
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_it_costs_a_run_one_case(host: Host, workers: int) -> None:
    cases = [case(name, broken=name == "b") for name in "abcd"]
    results = {result.id: result for result in run_cases(cases, engine=host[0], workers=workers)}
    assert {name: result.verdict for name, result in results.items()} == {
        "a": Verdict.PASS,
        "b": Verdict.ERROR,
        "c": Verdict.PASS,
        "d": Verdict.PASS,
    }
    assert results["b"].reason == f"bug in virtproof: {ACCESSES[0][1]}"
    assert any("raise KeyError(offset)" in line for line in results["b"].evidence)
    assert any(__file__ in line for line in results["b"].evidence)


def test_the_next_guest_is_none_the_worse(host: Host) -> None:
    with guest(host, "ee " + SPIN) as made:
        made.bus.add_ports(PORT, 4, Broken(), "toaster")
        raised_by(made)
    with guest(host, "ee " + SPIN) as made:
        made.bus.add_ports(PORT, 4, Stops(made), "toaster")
        assert made.run(SECONDS) == Interrupted()


class Stops:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.machine.stop()
