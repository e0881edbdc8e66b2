"""The monitor looks into the interrupt controllers of the kernel, and hangs eventfds and routes on them.

KVM_GET_LAPIC and KVM_GET_IRQCHIP show what the guest reads, and setting what was got changes nothing.  A routing table
replaces the one before.  A detached irqfd interrupts nobody.  One with a resample event keeps its level line high until
the guest's EOI, which it tells of; who still wants the line signals again.  With a split irqchip the EOI of a
level-triggered message is an exit that names its vector.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ctypes import sizeof

from virtproof.conformance.case import At, Case, HostScript, Program, Script
from virtproof.conformance.guest import Inapplicable, check_program
from virtproof.conformance.of_kvm import kvm_vcpu, kvm_vm
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite, linux
from virtproof.spec.kvm import Ioctl
from virtproof.spec.kvm.devices import Irqchip, LapicState
from virtproof.spec.kvm.exits import IrqchipId
from virtproof.vmm.engine import Engine
from virtproof.vmm.interrupts import SplitIrqchip
from virtproof.vmm.machine import Machine
from virtproof.vmm.routing import to_vector

LONG64 = Mode.LONG64
ISR, IRR = 0x100, 0x200  # offsets of eight words each, 16 bytes apart
GSI, LEVEL_LINE, VECTOR, OTHER_VECTOR = 5, 20, 0x41, 0x61
IRQFD = (linux("virt/kvm/api.rst", "KVM_IRQFD"),)
ROUTING = (linux("virt/kvm/api.rst", "KVM_SET_GSI_ROUTING"),)

Call = Callable[[Machine], None]


def of_the_kernel(engine: Engine) -> None:
    """Raise ``Inapplicable`` where the controllers are not the kernel's."""
    if not engine.kernel_irqchip:
        raise Inapplicable("the interrupt controllers are the monitor's own, KVM knows nothing of them")


def guest(image: str, test: str, *observations: int, split: bool = False) -> Program:
    return Program(
        id=test, title=test, area="interrupts", mode=LONG64, cite=(), image=image, irqchip="split" if split else "kernel",
        arguments=(At(test), 0), observations=observations, seconds=10.0,
    )  # fmt: skip


SEEN = guest("requests", "seen_by_host", 0x71, VECTOR, 0)


def vectors(lapic: bytes, bitmap: int) -> list[int]:
    """The vectors whose bits are set in ISR or IRR of the page."""
    words = [int.from_bytes(lapic[bitmap + 16 * n : bitmap + 16 * n + 4], "little") for n in range(8)]
    return [32 * n + bit for n, word in enumerate(words) for bit in range(32) if word >> bit & 1]


def _lapic_shown(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)
    pages: list[bytes] = []

    def look(machine: Machine) -> None:
        pages.append(kvm_vcpu(machine).get(Ioctl.GET_LAPIC, sizeof(LapicState)))

    yield from check_program(SEEN, engine, calls={0: look})
    for name, bitmap, want in (("ISR", ISR, [0x71]), ("IRR", IRR, [VECTOR])):
        saw = [vectors(page, bitmap) for page in pages]
        yield Check(f"vectors in {name}", str([want]), str(saw), saw == [want])


def _lapic_set(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)

    def put_back(machine: Machine) -> None:
        vcpu = kvm_vcpu(machine)
        vcpu.set(Ioctl.SET_LAPIC, vcpu.get(Ioctl.GET_LAPIC, sizeof(LapicState)))

    return check_program(SEEN, engine, calls={0: put_back})


def _pic_shown(engine: Engine) -> Iterable[Check]:
    """What the guest observes of ISR, IRR and IMR is what KVM_GET_IRQCHIP gives of the master."""
    of_the_kernel(engine)
    want = (1 << 3, 1 << 5, 0x88)
    found: list[tuple[int, int, int]] = []

    def look(machine: Machine) -> None:
        asked = bytes(Irqchip(chip_id=IrqchipId.PIC_MASTER))
        pic = Irqchip.from_buffer_copy(kvm_vm(machine).get(Ioctl.GET_IRQCHIP, sizeof(Irqchip), asked)).chip.pic
        found.append((pic.isr, pic.irr, pic.imr))

    calls: dict[int, Call] = {
        0: lambda machine: machine.interrupts.set_line(3, True),
        2: lambda machine: machine.interrupts.set_line(5, True),
        3: look,
    }
    yield from check_program(guest("lines", "pic_seen", *want), engine, calls=calls)
    yield Check("ISR, IRR, IMR by KVM_GET_IRQCHIP", str([want]), str(found), found == [want])


@contextmanager
def events(number: int) -> Iterator[list[int]]:
    fds = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(number)]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def _detached(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)
    with events(1) as (fd,):

        def attach(machine: Machine) -> None:
            machine.vm.set_routes([to_vector(GSI, VECTOR)])
            machine.vm.attach_irqfd(fd, GSI)

        calls: dict[int, Call] = {
            0: lambda machine: os.eventfd_write(fd, 1),
            1: lambda machine: kvm_vm(machine).detach_irqfd(fd, GSI),
        }
        yield from check_program(guest("requests", "until_detached", VECTOR, 0, 0), engine, furnish=attach, calls=calls)


def _rerouted(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)

    def edge(machine: Machine) -> None:
        for level in (True, False):
            machine.vm.set_irq_line(GSI, level)

    def route(machine: Machine, vector: int = VECTOR) -> None:
        machine.vm.set_routes([to_vector(GSI, vector)])

    calls: dict[int, Call] = {0: edge, 1: lambda machine: route(machine, OTHER_VECTOR)}
    return check_program(guest("requests", "rerouted", VECTOR, 0, OTHER_VECTOR, 0), engine, furnish=route, calls=calls)


def _resampled(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)
    with events(2) as (fd, resample):
        told: list[int] = []

        def look(machine: Machine) -> None:
            try:
                told.append(os.eventfd_read(resample))
            except BlockingIOError:
                told.append(0)

        def look_and_signal(machine: Machine) -> None:
            look(machine)
            os.eventfd_write(fd, 1)

        calls: dict[int, Call] = {0: lambda machine: os.eventfd_write(fd, 1), 3: look_and_signal, 4: look}
        yield from check_program(
            guest("lines", "ioapic_resampled", 0x60, 0x60, 0),
            engine,
            furnish=lambda machine: machine.vm.attach_irqfd(fd, LEVEL_LINE, resample=resample),
            calls=calls,
        )
        yield Check("EOIs told of, by interrupt", "[1, 1]", str(told), told == [1, 1])


def _eoi_exit(engine: Engine) -> Iterable[Check]:
    """A level line, as a message of a split irqchip; the monitor lowers it at the EOI."""
    ended: list[int] = []

    def sink(machine: Machine) -> SplitIrqchip:
        assert isinstance(machine.interrupts, SplitIrqchip)
        return machine.interrupts

    def furnish(machine: Machine) -> None:
        interrupts = sink(machine)
        interrupts.route(
            [to_vector(LEVEL_LINE, VECTOR, level=True), to_vector(LEVEL_LINE + 1, OTHER_VECTOR, level=True)]
        )

        def on_eoi() -> None:
            ended.append(VECTOR)
            interrupts.set_line(LEVEL_LINE, False)

        interrupts.on_eoi(LEVEL_LINE, on_eoi)
        interrupts.on_eoi(LEVEL_LINE + 1, lambda: ended.append(OTHER_VECTOR))

    want = guest("lapic", "host_message", 1, 0, VECTOR, 0, 0, split=True)
    calls: dict[int, Call] = {0: lambda machine: sink(machine).set_line(LEVEL_LINE, True)}
    yield from check_program(want, engine, furnish=furnish, calls=calls)
    yield Check("vectors of the exits", str([VECTOR]), str(ended), ended == [VECTOR])


def script(id: str, title: str, run: Script, *cite: Cite) -> Case:  # noqa: A002
    return HostScript(
        id=id, title=title, area="interrupts", mode=LONG64, cite=cite, script=run, priority=2, seconds=10.0
    )


# fmt: off
CASES: tuple[Case, ...] = (
    script("int.lapic.lapic_get",      "KVM_GET_LAPIC shows what is in service and what waits",   _lapic_shown, linux("virt/kvm/api.rst", "KVM_GET_LAPIC")),
    script("int.lapic.lapic_set",      "Setting the local APIC as it is changes nothing",         _lapic_set,   linux("virt/kvm/api.rst", "KVM_SET_LAPIC")),
    script("int.pic.get_irqchip",      "KVM_GET_IRQCHIP shows the 8259 that the guest reads",     _pic_shown,   linux("virt/kvm/api.rst", "KVM_GET_IRQCHIP")),
    script("int.lapic.irqfd_deassign", "A detached irqfd interrupts nobody",                      _detached,    *IRQFD),
    script("int.lapic.irqfd_resample", "A resample event tells of the EOI, and the line is low then", _resampled, *IRQFD),
    script("int.lapic.gsi_route",      "A routing table replaces the one before",                 _rerouted,    *ROUTING),
    script("int.ioapic.exit_eoi",      "The EOI of a level-triggered message is an exit, once",   _eoi_exit,    linux("virt/kvm/api.rst", "'KVM_EXIT_IOAPIC_EOI'")),
)
# fmt: on
