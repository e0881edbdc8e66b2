"""An ioeventfd takes a guest's write away from the monitor: the event is signalled, and nothing comes out.

It is for writes of its own size at its own address; with a value, for writes of just that.  Any other write, and every
read, comes out as before, and so does everything once it is detached.  An irqfd is the way back: each signal of the
event is an edge of its line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import Literal

from virtproof.conformance.case import At, Case, HostScript, Insn, Program, Row, completes, family, mmio_write, pio_out
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check, check_program
from virtproof.conformance.of_kvm import event, kvm_vm, signalled
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm import Cap
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.routing import to_vector

LONG64 = Mode.LONG64
CITE = (linux("virt/kvm/api.rst", "KVM_IOEVENTFD"),)
IRQFD = (linux("virt/kvm/api.rst", "KVM_IRQFD"),)
HOLE, PORT, VALUE = 0x3000_0000, 0x1234, 0x1122_3344
GSI, VECTOR = 24, 0x41

row = family("second_level", *CITE)


Kind = Literal["pio", "mmio"]


def _attached(guest: Row, kind: Kind, address: int, events: int, engine: Engine) -> Iterable[Check]:
    """The guest's writes of VALUE are events until act 1 detaches the eventfd."""
    with event() as fd:

        def attach(machine: Machine) -> None:
            kvm_vm(machine).attach_ioeventfd(fd, kind, address, 4, value=VALUE)

        def detach(machine: Machine) -> None:
            kvm_vm(machine).detach_ioeventfd(fd, kind, address, 4, value=VALUE)

        yield from check(guest, engine, furnish=attach, calls={1: detach})
        yield signalled(fd, events)


def _any_length(engine: Engine) -> Iterable[Check]:
    """An ioeventfd of length 0 takes writes of every size."""
    with event() as fd:

        def attach(machine: Machine) -> None:
            vm = kvm_vm(machine)
            if not vm.check_extension(Cap.IOEVENTFD_ANY_LENGTH):
                raise Inapplicable("this kernel does not offer KVM_CAP_IOEVENTFD_ANY_LENGTH")
            vm.attach_ioeventfd(fd, "mmio", HOLE, 0)

        code = (STORE_1, STORE_2, STORE_4, STORE_8, STORE_BESIDE)
        expect = completes(accesses=(mmio_write(HOLE + 4, 4, VALUE),))
        yield from check(row("slat.ioeventfd_len0", "", LONG64, code, expect, regs=REGS), engine, furnish=attach)
        yield signalled(fd, 4)


def signals(
    id: str,  # noqa: A002
    title: str,
    area: str,
    kind: Kind,
    address: int,
    code: tuple[Insn, ...],
    *accesses: Access,
) -> Case:
    guest = row(id, title, LONG64, code, completes(accesses=accesses, keeps=False), regs=REGS)
    script = partial(_attached, guest, kind, address, 2)
    return HostScript(id=id, title=title, area=area, mode=LONG64, cite=CITE, script=script)


def _irqfd(engine: Engine) -> Iterable[Check]:
    """Three signals of an event that is routed to a message are three interrupts."""
    if not engine.kernel_irqchip:
        raise Inapplicable("the interrupt controllers are the monitor's own, KVM knows nothing of them")
    with event() as fd:

        def route(machine: Machine) -> None:
            machine.vm.set_routes([to_vector(GSI, VECTOR)])
            machine.vm.attach_irqfd(fd, GSI)

        def signal(machine: Machine) -> None:
            os.eventfd_write(fd, 1)

        guest = Program(
            id="irqfd", title="irqfd", area="interrupts", mode=LONG64, cite=IRQFD, image="lapic", irqchip=True,
            arguments=(At("three_messages"), 0), observations=(VECTOR, VECTOR, VECTOR, 0), seconds=10.0,
        )  # fmt: skip
        yield from check_program(guest, engine, furnish=route, calls={0: signal})


# fmt: off
REGS = {"rax": VALUE, "rbx": HOLE, "rdx": PORT, "rcx": HOST_PORT}
STORE_4, STORE_2 = Insn("89 03", "mov dword ptr [rbx], eax"), Insn("66 89 03", "mov word ptr [rbx], ax")
STORE_1, STORE_8 = Insn("88 03", "mov byte ptr [rbx], al"), Insn("48 89 03", "mov qword ptr [rbx], rax")
STORE_BESIDE     = Insn("89 43 04", "mov dword ptr [rbx + 4], eax")
OUT_4, OUT_2     = Insn("ef", "out dx, eax"), Insn("66 ef", "out dx, ax")
OTHER            = Insn("ff c0", "inc eax")
BACK             = Insn("ff c8", "dec eax")
DETACH           = (Insn("50", "push rax"), Insn("87 ca", "xchg edx, ecx"), Insn("b0 01", "mov al, 1"), Insn("ee", "out dx, al"),
                    Insn("87 ca", "xchg edx, ecx"), Insn("58", "pop rax"))

CASES: tuple[Case, ...] = (
    signals("slat.ioeventfd", "A store that an ioeventfd waits for is an event, any other comes out", "second_level", "mmio", HOLE,
            (STORE_4, OTHER, STORE_4, BACK, STORE_2, STORE_BESIDE, STORE_4, *DETACH, STORE_4),
            mmio_write(HOLE, 4, VALUE + 1), mmio_write(HOLE, 2, VALUE & 0xFFFF), mmio_write(HOLE + 4, 4, VALUE), mmio_write(HOLE, 4, VALUE)),
    signals("pio.x.ioeventfd", "An OUT that an ioeventfd waits for is an event, any other comes out", "pio", "pio", PORT,
            (OUT_4, OTHER, OUT_4, BACK, OUT_2, OUT_4, *DETACH, OUT_4),
            pio_out(PORT, 4, VALUE + 1), pio_out(PORT, 2, VALUE & 0xFFFF), pio_out(PORT, 4, VALUE)),
    HostScript(id="slat.ioeventfd_len0", title="An ioeventfd of length 0 takes writes of every size at its address", area="second_level", mode=LONG64, cite=CITE, script=_any_length, priority=2),
    HostScript(id="int.lapic.irqfd_edge", title="Each signal of an irqfd is an interrupt", area="interrupts", mode=LONG64, cite=IRQFD, script=_irqfd, seconds=10.0),
)
# fmt: on
